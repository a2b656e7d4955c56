"""The rows of a table as one test."""

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from types import FunctionType
from typing import cast

import pytest

_Values = Sequence[object]
_PARAM = type(pytest.param())


def rows_as_one(test: object) -> Callable[[], None] | None:
    """A test without arguments that plays every row of a table; None for what is no such table.

    A table's rows are given by one ``parametrize``, and are all that its test takes: no fixture, no
    loop, no other mark. Every row is played, whichever fail before it, and each that fails is told
    with its place and its values. A row that skips fails, too: one alone cannot be left out.
    """
    if not isinstance(test, FunctionType) or inspect.iscoroutinefunction(test):
        return None
    marks = cast("list[pytest.Mark]", getattr(test, "pytestmark", []))
    if [mark.name for mark in marks] != ["parametrize"] or hasattr(test, "hypothesis"):
        return None
    if len(marks[0].args) != 2 or marks[0].kwargs.keys() - {"ids"}:
        return None
    told, given = cast("tuple[str | Sequence[str], Iterable[object]]", marks[0].args)
    names = [name.strip() for name in told.split(",")] if isinstance(told, str) else list(told)
    if set(names) != set(inspect.signature(test).parameters):
        return None
    # What gives its rows but once would have none left for pytest, where this is no such table.
    if not isinstance(given, Collection):
        return None
    is_bare = isinstance(told, str) and len(names) == 1
    rows = [_values(row, is_bare=is_bare) for row in given]
    if not rows or None in rows:
        return None

    def every_row() -> None:
        _play(test, [dict(zip(names, row or (), strict=True)) for row in rows])

    return every_row


def _values(row: object, *, is_bare: bool) -> _Values | None:
    if isinstance(row, _PARAM):
        return None if row.marks else row.values
    return (row,) if is_bare else tuple(cast("Sequence[object]", row))


def _play(test: Callable[..., None], rows: Sequence[dict[str, object]]) -> None:
    broken: list[BaseException] = []
    for number, row in enumerate(rows, start=1):
        try:
            test(**row)
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
            told = ", ".join(f"{name}={value!r}" for name, value in row.items())
            error.add_note(f"in row {number}: {told}")
            broken.append(error)
    if broken:
        raise BaseExceptionGroup(f"{len(broken)} of {len(rows)} rows fail", broken)
