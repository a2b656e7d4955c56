"""The rows of a table are one test where workers share the tests, and each that fails is named."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from rows import each_told, rows_as_one


def alone(test: Callable[..., Coroutine[Any, Any, None]], **row: object) -> None:
    asyncio.run(test(**row))


def test_every_row_is_played_and_each_that_fails_is_named_with_its_values() -> None:
    played = list[int]()

    @pytest.mark.parametrize(
        ("one", "other"), [(1, 1), (2, 3), (4, 4), pytest.param(5, 6, id="five")]
    )
    def same(one: int, other: int) -> None:
        played.append(one)
        assert one == other

    together = rows_as_one(same)

    assert together is not None
    with pytest.raises(ExceptionGroup, match="2 of 4 rows fail") as failed:
        together()
    assert played == [1, 2, 4, 5]
    notes = [error.__notes__ for error in failed.value.exceptions]
    assert notes == [["in row 2: one=2, other=3"], ["in row 4: one=5, other=6"]]


def test_a_row_that_raises_nothing_where_it_should_fails() -> None:
    @pytest.mark.parametrize("divisor", [0, 1])
    def divided(divisor: int) -> None:
        with pytest.raises(ZeroDivisionError):
            assert 1 / divisor

    together = rows_as_one(divided)

    assert together is not None
    with pytest.raises(BaseExceptionGroup, match="1 of 2 rows fail"):
        together()


def test_a_row_that_skips_is_named_and_hides_none_of_the_others() -> None:
    @pytest.mark.parametrize("number", [1, 2, 3])
    def odd(number: int) -> None:
        if number == 2:
            pytest.skip("even")
        assert number != 1

    together = rows_as_one(odd)

    assert together is not None
    with pytest.raises(BaseExceptionGroup, match="2 of 3 rows fail") as failed:
        together()
    notes = [error.__notes__ for error in failed.value.exceptions]
    assert notes == [["in row 1: number=1"], ["in row 2: number=2"]]


def test_what_breaks_between_two_rows_hides_none_that_had_failed() -> None:
    def played(*numbers: int) -> None:
        with each_told() as row:
            for number in numbers:
                with row(number=number):
                    assert number != 1
            raise RuntimeError("between")

    with pytest.raises(BaseExceptionGroup, match="1 of 2 rows fail") as failed:
        played(1, 2)
    row, between = failed.value.exceptions
    assert row.__notes__ == ["in row 1: number=1"]
    assert isinstance(between, RuntimeError)
    with pytest.raises(RuntimeError, match="between"):
        played(2)


def test_rows_that_await_are_played_on_loops_of_their_own() -> None:
    loops = set[asyncio.AbstractEventLoop]()
    left = list[asyncio.Task[bool]]()

    @pytest.mark.parametrize("number", [1, 2, 3])
    async def odd(number: int) -> None:
        loop = asyncio.get_running_loop()
        loops.add(loop)
        left.append(loop.create_task(asyncio.Event().wait()))
        await asyncio.sleep(0)
        assert number != 2

    together = rows_as_one(odd, alone)

    assert together is not None
    with pytest.raises(ExceptionGroup, match="1 of 3 rows fail") as failed:
        together()
    assert failed.value.exceptions[0].__notes__ == ["in row 2: number=2"]
    assert len(loops) == 3
    assert all(task.cancelled() for task in left)


def test_of_several_tables_each_row_is_played_with_each() -> None:
    played = set[tuple[int, str]]()

    @pytest.mark.parametrize("letter", "ab")
    @pytest.mark.parametrize("number", [1, 2])
    def seen(number: int, letter: str) -> None:
        played.add((number, letter))

    together = rows_as_one(seen)

    assert together is not None
    together()
    assert played == {(1, "a"), (1, "b"), (2, "a"), (2, "b")}


def test_what_takes_more_than_its_row_stays_as_it_is() -> None:
    row = pytest.mark.parametrize("number", [1])

    def with_fixture(number: int, tmp_path: object) -> None: ...
    async def on_a_loop(number: int) -> None: ...
    def marked(number: int) -> None: ...
    def nothing() -> None: ...
    def pair(one: int, other: int) -> None: ...

    slow, left_out = pytest.mark.slow(row(marked)), pytest.param(1, marks=pytest.mark.skip)
    assert rows_as_one(slow) is None
    assert rows_as_one(row(with_fixture)) is None
    assert rows_as_one(row(on_a_loop)) is None
    assert rows_as_one(slow, alone) is None
    assert rows_as_one(nothing) is None
    assert rows_as_one(pytest.mark.parametrize("number", [left_out])(nothing)) is None
    # Rows that are given once would be gone as pytest asks for them, and the test left out.
    once = iter([(1, 2)])
    assert rows_as_one(pytest.mark.parametrize(("one", "other"), once)(pair)) is None
    assert list(once) == [(1, 2)]
