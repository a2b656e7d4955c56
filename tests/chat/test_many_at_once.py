"""Many people in one moment: nobody errs for being the fifth."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from house import BOB, QWEN, House, Said, house, sim

from bot.domain.chat import Place
from bot.domain.events import Finished, Queued
from bot.domain.hosts import Wish
from bot.domain.ids import HostName, ModelKey, PlaceId, UserId
from bot.fleet.lease import Lease
from bot.sim.models import GB

MANY = 8


async def asked_at_once(home: House, text: str) -> list[Said]:
    """Each in a conversation of their own."""
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(
                home.ask(text, user=UserId(f"discord:{i}"), place=Place(PlaceId(f"discord:{i}")))
            )
            for i in range(MANY)
        ]
    return [task.result() for task in asked]


async def test_many_long_conversations_at_once_are_all_answered(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN, memory_bytes=8 * GB), memory_gb=8) as home:
        for _ in range(2):
            said = await asked_at_once(home, "word " * 2_500 + "[[tokens 20]]")
            assert all(isinstance(turn.last, Finished) for turn in said)


@pytest.mark.parametrize("has_twin", [True, False])
async def test_who_comes_too_late_for_the_last_free_slot_takes_an_idle_twins_and_waits_in_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_twin: bool
) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        one, two = (home.lantern.fleet.host(HostName(name)) for name in ("one", "two"))
        for name in ("one", "two"):
            await home.hosts[name].preload(QWEN.key)
        await home.lantern.fleet.probe_all()
        asked, wish = one.lease, Wish(ModelKey(QWEN.key), user=BOB)
        async with AsyncExitStack() as others:

            @asynccontextmanager
            async def beaten(wanted: Wish) -> AsyncGenerator[Lease]:
                # Between the route and the wish others of the same moment take every slot.
                taken = [await others.enter_async_context(asked(wish)) for _ in range(4)]
                if not has_twin:
                    taken += [await others.enter_async_context(two.lease(wish)) for _ in range(4)]
                assert all(lease.grant is not None for lease in taken)
                monkeypatch.setattr(one, "lease", asked)
                async with asked(wanted) as lease:
                    yield lease

            monkeypatch.setattr(one, "lease", beaten)
            said = Said()
            async with home.lantern.turns.open(home.request("[[say hi]]")) as events:
                async for event in events:
                    said.events.append(event)
                    if isinstance(event, Queued):
                        await others.aclose()
        queued = [event for event in said.events if isinstance(event, Queued)]
        # Where every slot is taken a line there is, and who stands in it is told.
        assert bool(queued) is not has_twin
        assert said.receipt.host == ("two" if has_twin else "one")
