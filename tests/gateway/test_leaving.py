"""A client that leaves is a cancelled turn, whatever its answer was waiting for."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from clocks import LoopClock

from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, ModelKey, UserId
from bot.sim.journal import (
    LoadFinished,
    LoadStarted,
    PredictionCancelled,
    PredictionEnded,
    PredictionStarted,
)
from tests.gateway.gate import CHATS, PATHS, Gate, any_form, chat, gate
from tests.helpers.house import GUARD_S, QWEN, sim

ONE = HostName("one")


@pytest.fixture
def time_stops(monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[], None]]:
    """Called right before somebody leaves: no timer rings from then on.

    What ends all the same was ended by the leaving itself, not by some look a while later.
    """
    with ExitStack() as stack:

        def stop() -> None:
            stack.enter_context(LoopClock(monkeypatch).guarded())

        yield stop


@asynccontextmanager
async def asking(it: Gate, text: str, **more: object) -> AsyncGenerator[None]:
    """Somebody asks while the block runs, and leaves at its end without having been answered."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(it.ask(CHATS, chat(QWEN.key, text, **more)))
        yield
        assert not task.done()
        task.cancel()


async def until(it: Gate, holds: Callable[[HostSnapshot], bool]) -> None:
    """Returns when it holds of the host; generous, since the machine may be busy."""
    async with asyncio.timeout(GUARD_S):
        await it.house.lantern.fleet.host(ONE).until(holds)


async def stops(it: Gate) -> PredictionCancelled:
    """The generation of somebody who left, ended by that and nothing held."""
    async with asyncio.timeout(GUARD_S):
        ended = await it.house.hosts["one"].journal.wait_for(PredictionCancelled)
        await it.house.lantern.fleet.host(ONE).until(is_at_rest)
    return ended


def is_at_rest(host: HostSnapshot) -> bool:
    return not host.waiting and not any(instance.leases for instance in host.instances)


def prompts(it: Gate) -> list[str]:
    started = it.house.hosts["one"].journal.of(PredictionStarted)
    return [record.messages[-1].text for record in started]


@pytest.mark.parametrize("stream", [True, False])
async def test_in_the_queue(tmp_path: Path, time_stops: Callable[[], None], stream: bool) -> None:
    async with gate(tmp_path, sim("one", QWEN, parallel=1)) as it:
        one = it.house.hosts["one"]
        await one.preload(QWEN.key)
        await it.house.lantern.fleet.host(ONE).probe()
        one.faults.stall_after_tokens(2)
        async with asking(it, "first"):
            await one.journal.wait_for(PredictionStarted)
            async with asking(it, "leaver", stream=stream):
                await until(it, lambda host: bool(host.waiting))
                time_stops()
            await until(it, lambda host: not host.waiting)
        await stops(it)
        assert prompts(it) == ["first"]


@pytest.mark.parametrize("stream", [True, False])
async def test_during_the_load_which_goes_on_for_the_others(
    tmp_path: Path, time_stops: Callable[[], None], stream: bool
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        one.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            async with asking(it, "leaver", stream=stream):
                await one.journal.wait_for(LoadStarted)
                body = chat(QWEN.key, "stays", stream=not stream, max_tokens=3)
                staying = tasks.create_task(it.ask(CHATS, body))
                await until(it, lambda host: host.waiting.get(ModelKey(QWEN.key), 0) == 2)
                time_stops()
            await until(it, lambda host: host.waiting.get(ModelKey(QWEN.key), 0) == 1)
            one.faults.clear("stall_load")
        assert staying.result().status == 200
        assert len(one.journal.of(LoadStarted)) == 1
        assert prompts(it) == ["stays"]


async def test_a_load_whose_only_asker_left_is_found_done_by_the_next(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        one.faults.stall_load()
        async with asking(it, "leaver"):
            await one.journal.wait_for(LoadStarted)
        await until(it, is_at_rest)
        one.faults.clear("stall_load")
        await one.journal.wait_for(LoadFinished)
        answer = await it.ask(CHATS, chat(QWEN.key, "next", max_tokens=2))
        assert answer.status == 200
        assert (len(one.journal.of(LoadStarted)), prompts(it)) == (1, ["next"])


@pytest.mark.parametrize("stream", [True, False])
async def test_while_the_prompt_is_read(
    tmp_path: Path, time_stops: Callable[[], None], stream: bool
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        await one.preload(QWEN.key)
        await it.house.lantern.fleet.host(ONE).probe()
        one.faults.stall_prefill()
        one.faults.stall_after_tokens(0)
        async with asking(it, "leaver", stream=stream):
            await one.journal.wait_for(PredictionStarted)
            await until(it, lambda host: not is_at_rest(host))
            time_stops()
        one.faults.clear("stall_prefill")
        # LM Studio reads a prompt to its end, whoever left; it generates nothing after it.
        assert (await stops(it)).tokens == 0


@pytest.mark.parametrize("path", PATHS)
async def test_while_it_streams(tmp_path: Path, time_stops: Callable[[], None], path: str) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        one.faults.stall_after_tokens(3)
        body = any_form(stream=True, max_tokens=20)
        async with it.session.post(it.base + path, json=body) as got:
            await got.content.readany()
            time_stops()
        assert (await stops(it)).tokens <= 3


async def test_while_a_whole_answer_is_generated(
    tmp_path: Path, time_stops: Callable[[], None]
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        one.faults.stall_after_tokens(3)
        async with asking(it, "leaver"):
            await one.journal.wait_for(PredictionStarted)
            await until(it, lambda host: not is_at_rest(host))
            time_stops()
        assert (await stops(it)).tokens <= 3
        assert len(one.journal.of(PredictionEnded)) == 1


async def test_what_a_leaver_was_told_is_in_the_ledger(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        one.faults.stall_after_tokens(3)
        body = chat(QWEN.key, stream=True, max_tokens=20)
        async with it.session.post(it.base + CHATS, json=body) as got:
            heard = b""
            while heard.count(b"data: ") < 3 and (more := await got.content.readany()):
                heard += more
        await one.journal.wait_for(PredictionCancelled)
        await it.house.lantern.relaying.drain(5.0)
        report = await it.house.lantern.usage.report("today", "all", UserId("me"), None)
        assert (report.total.local_turns, report.total.completion_tokens) == (1, 3)
