"""The rows of a table as one test."""

import inspect
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import product
from types import FunctionType
from typing import cast

import pytest

_Values = Sequence[object]
_PARAM = type(pytest.param())
_FAILURES = (Exception, pytest.fail.Exception, pytest.skip.Exception)


def rows_as_one(
    test: object, on_a_loop: Callable[..., None] | None = None
) -> Callable[[], None] | None:
    """A test without arguments that plays every row of a table; None for what is no such table.

    A table's rows are given by ``parametrize`` alone, and are all that its test takes: no fixture,
    no other mark. Every row is played, whichever fail before it, and each that fails is told with
    its place and its values. A row that skips fails, too: one alone cannot be left out.

    Args:
        test: What may be such a table.
        on_a_loop: Plays one row of a test that awaits, on a loop that ends with the row; it is
            given the test and the row. Without it, tests that await are no tables.
    """
    if not isinstance(test, FunctionType) or hasattr(test, "hypothesis"):
        return None
    play: Callable[..., None] = test
    if inspect.iscoroutinefunction(test):
        if on_a_loop is None:
            return None
        play = partial(on_a_loop, test)
    marks = cast("list[pytest.Mark]", getattr(test, "pytestmark", []))
    tables = [_table(mark) for mark in marks]
    if not tables or None in tables:
        return None
    rows = [
        {name: value for part in parts for name, value in part.items()}
        for parts in product(*(table or () for table in tables))
    ]
    if not rows or rows[0].keys() != inspect.signature(test).parameters.keys():
        return None

    def every_row() -> None:
        _play(play, rows)

    return every_row


def _table(mark: pytest.Mark) -> list[Mapping[str, object]] | None:
    """What one mark gives its test, row by row; None where it does more, or is another."""
    if mark.name != "parametrize" or len(mark.args) != 2 or mark.kwargs.keys() - {"ids"}:
        return None
    told, given = cast("tuple[str | Sequence[str], Iterable[object]]", mark.args)
    names = [name.strip() for name in told.split(",")] if isinstance(told, str) else list(told)
    # What gives its rows but once would have none left for pytest, where this is no such table.
    if not isinstance(given, Collection):
        return None
    is_bare = isinstance(told, str) and len(names) == 1
    rows = [_values(row, is_bare=is_bare) for row in given]
    if None in rows:
        return None
    return [dict(zip(names, row or (), strict=True)) for row in rows]


def _values(row: object, *, is_bare: bool) -> _Values | None:
    if isinstance(row, _PARAM):
        return None if row.marks else row.values
    return (row,) if is_bare else tuple(cast("Sequence[object]", row))


def _play(test: Callable[..., None], rows: Sequence[Mapping[str, object]]) -> None:
    with each_told() as row:
        for values in rows:
            with row(**values):
                test(**values)


@contextmanager
def each_told() -> Generator[Callable[..., AbstractContextManager[None]]]:
    """Around rows that share what they are played against; gives what stands around each of them.

    Every row is played, whichever fail before it. Use as ``with each_told() as row: for kind in
    KINDS: with row(kind=kind): ...``.

    Raises:
        BaseExceptionGroup: some rows failed; each is told with its place and its values, and
            beside them what ended the block, if anything did.
    """
    broken: list[BaseException] = []
    played = 0

    @contextmanager
    def row(**values: object) -> Generator[None]:
        nonlocal played
        played += 1
        try:
            yield
        except _FAILURES as error:
            told = ", ".join(f"{name}={value!r}" for name, value in values.items())
            error.add_note(f"in row {played}: {told}")
            broken.append(error)

    ended: list[BaseException] = []
    try:
        yield row
    except _FAILURES as error:
        # What broke between two rows hid those that had failed, which may tell why.
        if not broken:
            raise
        ended.append(error)
    if broken:
        raise BaseExceptionGroup(f"{len(broken)} of {played} rows fail", [*broken, *ended])
