import asyncio

import pytest

from bot.sim.errors import ModelGone
from bot.sim.slots import Slots, Withdrawn


async def test_places_are_given_in_the_order_of_asking() -> None:
    slots, order = Slots(1), list[str]()

    async def use(name: str) -> None:
        await slots.acquire(name)
        order.append(name)
        slots.release()

    await slots.acquire("first")
    async with asyncio.TaskGroup() as tasks:
        for name in "abc":
            tasks.create_task(use(name))
        await asyncio.sleep(0)
        assert (slots.running, slots.waiting) == (1, 3)
        slots.release()
    assert order == ["a", "b", "c"]
    assert (slots.running, slots.waiting) == (0, 0)


async def test_whoever_leaves_the_line_is_passed_over() -> None:
    slots = Slots(1)
    await slots.acquire("first")
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(slots.acquire("gone"))
        kept = tasks.create_task(slots.acquire("kept"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        slots.release()
    assert kept.done()
    assert slots.running == 1


async def test_a_place_handed_to_somebody_leaving_goes_to_the_next() -> None:
    slots = Slots(1)
    await slots.acquire("first")
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(slots.acquire("gone"))
        kept = tasks.create_task(slots.acquire("kept"))
        await asyncio.sleep(0)
        slots.release()
        gone.cancel()
    assert kept.done()
    assert (slots.running, slots.waiting) == (1, 0)


async def test_withdrawing_ends_the_wait() -> None:
    slots = Slots(1)
    await slots.acquire("first")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(pytest_raises_withdrawn(slots))
        await asyncio.sleep(0)
        slots.withdraw("me")
        slots.withdraw("nobody")
    assert waiting.done()


async def pytest_raises_withdrawn(slots: Slots) -> None:
    with pytest.raises(Withdrawn):
        await slots.acquire("me")


async def test_an_unloaded_instance_fails_those_in_line_and_those_who_come_later() -> None:
    slots = Slots(1)
    await slots.acquire("first")

    async def wait() -> None:
        with pytest.raises(ModelGone):
            await slots.acquire("second")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wait())
        await asyncio.sleep(0)
        slots.close()
    with pytest.raises(ModelGone):
        await slots.acquire("third")
