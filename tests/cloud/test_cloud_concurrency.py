import asyncio

import pytest

from bot.cloud.concurrency import Gate
from bot.cloud.provider import Provider
from bot.domain.chat import DialectName
from bot.domain.cloud import ProviderConfig
from bot.domain.ids import ModelKey, ProviderName
from bot.policy.concurrency import ANSWERS_TO_WIDEN, CAREFUL_START, Concurrency


def soon() -> float:
    return asyncio.get_running_loop().time() + 60.0


async def test_the_first_to_wait_is_the_first_to_enter() -> None:
    gate, order = Gate(Concurrency(1, 1)), list[int]()

    async def visit(number: int) -> None:
        await gate.enter(soon())
        order.append(number)
        await asyncio.sleep(0)
        gate.leave()

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(visit(number))

    assert order == [0, 1, 2, 3, 4]
    assert (gate.busy, len(gate.waiting)) == (0, 0)


async def test_who_waits_too_long_is_turned_away_and_takes_no_place() -> None:
    gate = Gate(Concurrency(1, 1))
    await gate.enter(soon())
    with pytest.raises(TimeoutError):
        await gate.enter(asyncio.get_running_loop().time())
    assert not gate.waiting
    gate.leave()
    assert gate.busy == 0


async def test_a_place_given_to_somebody_who_just_left_goes_to_the_next() -> None:
    gate = Gate(Concurrency(1, 1))
    await gate.enter(soon())
    async with asyncio.TaskGroup() as group:
        leaver = group.create_task(gate.enter(soon()))
        stayer = group.create_task(gate.enter(soon()))
        await asyncio.sleep(0)
        gate.leave()
        leaver.cancel()
    assert stayer.done()
    assert (gate.busy, len(gate.waiting)) == (1, 0)


async def test_a_cancelled_waiter_is_forgotten() -> None:
    gate = Gate(Concurrency(1, 1))
    await gate.enter(soon())
    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(gate.enter(soon()))
        await asyncio.sleep(0)
        waiter.cancel()
    assert not gate.waiting
    gate.leave()
    await gate.enter(soon())
    assert gate.busy == 1


async def test_fewer_are_let_in_after_too_many_and_more_again_after_answers() -> None:
    gate = Gate(Concurrency(2, 3))
    await gate.enter(soon())
    await gate.enter(soon())
    gate.crowded()
    assert gate.concurrency.limit == 1
    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(gate.enter(soon()))
        await asyncio.sleep(0)
        gate.leave()
        await asyncio.sleep(0)
        assert not waiter.done()
        for _ in range(ANSWERS_TO_WIDEN):
            gate.answered()
    assert (gate.concurrency.limit, gate.busy) == (2, 2)


@pytest.mark.parametrize(
    ("dialect", "most", "first"),
    [("zai", 5, CAREFUL_START), ("zai", 1, 1), ("generic", 5, 5)],
)
def test_a_provider_that_tells_no_limit_starts_with_few_and_the_others_with_all(
    dialect: DialectName, most: int, first: int
) -> None:
    config = ProviderConfig(
        ProviderName("zai"), "http://x", ModelKey("m"), dialect=dialect, max_concurrent=most
    )
    assert Provider(config, lambda _: None).gate.concurrency == Concurrency(first, most)
