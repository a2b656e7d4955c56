"""Two minutes of loading and five of reading in silence, under the deadlines as they are shipped.

The loop's clock is put forward, so that every timer on the way believes it: the scheduler's, the
SDK's keep-alive, the HTTP clients', the stream's. Nothing waits that long.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fleet_bench import ONE, Bench, H, a_wish, fleet_over, sim_config

from bot.domain.chat import InferenceRequest, Message
from bot.domain.events import StreamEnd, TextDelta
from bot.fleet.fleet import FleetRules
from bot.fleet.lease import Lease
from bot.inference.streams import Inference
from bot.sim import journal
from bot.sim.host import SimHost
from bot.sim.wire_channels import LoadChannel, Outcome

pytestmark = pytest.mark.slow

COLD_LOAD_S = 120.0
PREFILL_S = 300.0
STEP_S = 10.0
"""At most what the SDK's keep-alive, 20 s, allows; a probe's round trip lies between two steps."""
MAX_LOCAL_WAIT_S = 120.0
QUESTION = InferenceRequest((Message("user", "[[say it is done]]"),))

Prepare = Callable[[SimHost, asyncio.Event], None]


class ForwardLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be put forward."""

    skipped_s = 0.0

    def time(self) -> float:
        return super().time() + self.skipped_s


def play(scene: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=ForwardLoop) as runner:
        runner.run(scene)


async def pass_time(bench: Bench, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ForwardLoop)
    until = loop.time() + seconds
    while loop.time() < until:
        loop.skipped_s += STEP_S
        await bench.fleet.host(H).probe()


async def granted(lease: Lease) -> float:
    async for _ in lease:
        pass
    return lease.granted.load_s


@pytest.mark.parametrize("sockets", [True, False], ids=["one word, then none", "by REST"])
def test_a_cold_load_of_two_minutes_is_waited_for(sockets: bool) -> None:
    async def scene() -> None:
        async with (
            SimHost(sim_config(sockets=sockets)) as sim,
            fleet_over(sim, rules=FleetRules()) as bench,
            # One that got on and then stands is left where somebody else could answer.
            bench.fleet.host(H).lease(
                a_wish(max_wait_s=None if sockets else MAX_LOCAL_WAIT_S)
            ) as lease,
            asyncio.TaskGroup() as tasks,
        ):
            sim.faults.stall_load(0.1)
            waiting = tasks.create_task(granted(lease))
            await sim.journal.wait_for(journal.LoadStarted)
            await pass_time(bench, COLD_LOAD_S)
            assert bench.host().state == "up"
            assert not waiting.done()
            sim.faults.clear()
            assert await waiting >= COLD_LOAD_S
            assert len(sim.journal.of(journal.LoadStarted)) == 1

    play(scene())


def test_a_cold_load_without_any_word_is_waited_for_too(monkeypatch: pytest.MonkeyPatch) -> None:
    commanded, go_on = asyncio.Event(), asyncio.Event()
    run = LoadChannel.run

    async def silent_at_first(channel: LoadChannel) -> Outcome:
        commanded.set()
        await go_on.wait()
        return await run(channel)

    async def scene() -> None:
        async with (
            SimHost(sim_config()) as sim,
            fleet_over(sim, rules=FleetRules()) as bench,
            bench.fleet.host(H).lease(a_wish(max_wait_s=MAX_LOCAL_WAIT_S)) as lease,
            asyncio.TaskGroup() as tasks,
        ):
            waiting = tasks.create_task(granted(lease))
            await commanded.wait()
            await pass_time(bench, COLD_LOAD_S)
            assert not waiting.done()
            go_on.set()
            assert await waiting >= COLD_LOAD_S

    monkeypatch.setattr(LoadChannel, "run", silent_at_first)
    play(scene())


@pytest.mark.parametrize("has_headers", [False, True], ids=["no byte", "headers alone"])
def test_five_minutes_of_reading_the_prompt_are_waited_for(has_headers: bool) -> None:
    async def scene() -> None:
        async with (
            SimHost(sim_config(time_scale=1.0)) as sim,
            fleet_over(sim, rules=FleetRules()) as bench,
            Inference() as inference,
        ):
            await sim.preload(ONE)
            async with bench.fleet.host(H).lease(a_wish()) as lease, asyncio.TaskGroup() as tasks:
                await granted(lease)
                if has_headers:
                    sim.faults.stall_after_tokens(0)
                else:
                    sim.faults.slow_first_token(PREFILL_S)
                answer = tasks.create_task(answered(inference, lease))
                await sim.journal.wait_for(journal.PredictionStarted)
                await pass_time(bench, PREFILL_S - STEP_S)
                assert not answer.done()
                sim.faults.clear()
                while not answer.done():
                    await pass_time(bench, STEP_S)
                assert await answer == "it is done"

    play(scene())


async def answered(inference: Inference, lease: Lease) -> str:
    text, is_whole = "", False
    async with inference.open(lease.endpoint, QUESTION) as deltas:
        async for delta in deltas:
            text += delta.text if isinstance(delta, TextDelta) else ""
            is_whole = isinstance(delta, StreamEnd)
    assert is_whole
    return text
