"""The safe channel: events in order, early leaving, errors as they are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from bot.chat.safe_channel import Handover, safe_channel

Emit = Callable[[int], Awaitable[None]]


async def read_all(numbers: AsyncIterator[int]) -> list[int]:
    return [number async for number in numbers]


async def test_events_arrive_in_order_and_the_stream_ends() -> None:
    async def produce(emit: Emit) -> None:
        for number in range(5):
            await emit(number)

    async with safe_channel(produce) as numbers:
        assert [number async for number in numbers] == [0, 1, 2, 3, 4]


async def test_the_producer_is_at_most_one_event_ahead_of_its_reader() -> None:
    made: list[int] = []

    async def produce(emit: Emit) -> None:
        for number in range(3):
            made.append(number)
            await emit(number)

    async with safe_channel(produce) as numbers:
        async for number in numbers:
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(made) <= number + 2


async def test_leaving_early_cancels_the_producer_and_waits_for_its_cleaning_up() -> None:
    cleaned = asyncio.Event()

    async def produce(emit: Emit) -> None:
        try:
            await emit(1)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    async with safe_channel(produce) as numbers:
        async for _ in numbers:
            break
    assert cleaned.is_set()


async def test_leaving_while_an_event_waits_to_be_taken_cancels_too() -> None:
    seen: list[type[BaseException]] = []

    async def produce(emit: Emit) -> None:
        try:
            await emit(1)
            await emit(2)
        except BaseException as error:
            seen.append(type(error))
            raise

    async with safe_channel(produce) as numbers:
        async for _ in numbers:
            await asyncio.sleep(0)
            break
    assert seen == [asyncio.CancelledError]


async def test_the_producers_error_leaves_the_block_as_it_is() -> None:
    async def produce(emit: Emit) -> None:
        await emit(1)
        raise LookupError("gone")

    async def play() -> None:
        async with safe_channel(produce) as numbers:
            await read_all(numbers)

    with pytest.raises(LookupError, match="gone"):
        await play()


async def test_the_readers_error_leaves_the_block_as_it_is() -> None:
    async def produce(emit: Emit) -> None:
        await emit(1)
        await asyncio.Event().wait()

    async def play() -> None:
        async with safe_channel(produce) as numbers:
            await anext(numbers)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await play()


async def test_an_outer_timeout_ends_a_silent_producer() -> None:
    async def produce(emit: Emit) -> None:
        await asyncio.Event().wait()

    async def play() -> None:
        async with asyncio.timeout(0), safe_channel(produce) as numbers:
            await read_all(numbers)

    with pytest.raises(TimeoutError):
        await play()


@pytest.mark.parametrize("then", [[2], []])
async def test_an_event_that_was_not_taken_in_time_is_taken_back(then: list[int]) -> None:
    async def produce(emit: Emit) -> None:
        try:
            async with asyncio.timeout(0):
                await emit(1)
        except TimeoutError:
            for number in then:
                await emit(number)

    async with safe_channel(produce) as numbers:
        for _ in range(5):
            await asyncio.sleep(0)
        assert await read_all(numbers) == then


async def test_last_words_after_the_reader_left_go_nowhere_and_hold_nobody_up() -> None:
    said: list[str] = []

    async def produce(emit: Emit) -> None:
        try:
            await emit(1)
        finally:
            await emit(2)
            said.append("last words")

    async with safe_channel(produce):
        await asyncio.sleep(0)
    assert said == ["last words"]


async def test_what_is_offered_goes_straight_only_while_its_reader_waits_for_more() -> None:
    straight: list[int] = []
    taken: list[bool] = []
    reader_waits = asyncio.Event()

    async def produce(emit: Handover[int]) -> None:
        taken.append(emit.offer([0]))
        await emit(1)
        taken.append(emit.offer([2]))
        await reader_waits.wait()
        taken.append(emit.offer([3, 4]))
        await emit(5)

    async with safe_channel(produce, straight.extend) as numbers:
        for _ in range(3):
            await asyncio.sleep(0)
        assert await anext(numbers) == 1
        for _ in range(3):
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(reader_waits.set)
        assert await anext(numbers) == 5
        assert [number async for number in numbers] == []
    assert (straight, taken) == ([3, 4], [False, False, True])


async def test_nothing_is_taken_at_once_by_a_reader_who_left_or_wants_all_in_order() -> None:
    taken: list[bool] = []
    straight: list[int] = []

    async def produce(emit: Handover[int]) -> None:
        try:
            await asyncio.sleep(0)
            taken.append(emit.offer([1]))
            await asyncio.Event().wait()
        finally:
            taken.append(emit.offer([2]))

    async def play(wants: Callable[[Sequence[int]], object] | None) -> None:
        async with safe_channel(produce, wants) as numbers:
            await read_all(numbers)

    for wants in (None, straight.extend):
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(play(wants))
            for _ in range(5):
                await asyncio.sleep(0)
            reading.cancel()
    assert (straight, taken) == ([1], [False, False, True, False])
