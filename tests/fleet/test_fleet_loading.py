"""Loading through the real SDK over real sockets: single flight, progress, cancel, failures."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from clocks import LoopClock
from failures import fails
from fleet_bench import (
    EMBED,
    GUARD_S,
    ONE,
    TWO,
    H,
    a_wish,
    fleet_over,
    sim_config,
)

from bot.domain.errors import FailureKind, HostUnreachable
from bot.domain.events import Evicting, Loading, Queued
from bot.domain.hosts import HostConfig, Instance, LoadOrder
from bot.domain.ids import ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet import scheduler
from bot.fleet.client import Stop
from bot.fleet.connection import Connection
from bot.fleet.fleet import FleetRules
from bot.fleet.lan import lan_http
from bot.fleet.lmstudio import SocketClient
from bot.policy.placement import GRACE, load_bytes
from bot.sim import journal
from bot.sim.host import SimHost
from bot.sim.models import GB, SimModel


@pytest.mark.slow
async def test_a_hundred_wishes_for_one_cold_model_are_one_load() -> None:
    async with SimHost(sim_config(parallel=100)) as sim, fleet_over(sim) as bench:
        async with asyncio.TaskGroup() as tasks:
            users = [tasks.create_task(bench.use(user=f"u{n}")) for n in range(100)]
        assert len(sim.journal.of(journal.LoadStarted)) == 1
        assert {user.result()[0].identifier for user in users} == {ONE}
        for user in users:
            fractions = [s.fraction for s in user.result()[1] if isinstance(s, Loading)]
            assert fractions == sorted(fractions)


async def test_the_grant_tells_where_to_send_the_request() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            async for _ in lease:
                pass
            endpoint = lease.endpoint
            assert endpoint.base_url == f"http://{sim.address}/v1"
            assert endpoint.model == ONE
            assert endpoint.accepted_models == {ONE}
            assert bench.host().instances[0].leases == 1
        assert bench.host().instances[0].leases == 0


async def test_an_instance_of_another_name_answers_to_its_key_too() -> None:
    async with SimHost(sim_config()) as sim:
        await sim.preload(ONE, "chat")
        async with fleet_over(sim) as bench, bench.fleet.host(H).lease(a_wish()) as lease:
            assert [step async for step in lease] == []
            assert lease.endpoint.model == "chat"
            assert lease.endpoint.accepted_models == {"chat", ONE}


@pytest.mark.slow
async def test_a_leaver_cancels_nothing_and_the_rest_are_served() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            users = [tasks.create_task(bench.use(user=f"u{n}")) for n in range(3)]
            await sim.journal.wait_for(journal.LoadStarted)
            users[0].cancel()
            await bench.until(lambda host: host.waiting == {ONE: 2})
            sim.faults.clear()
        assert users[1].result()[0].identifier == ONE
        assert len(sim.journal.of(journal.LoadStarted)) == 1
        assert not sim.journal.of(journal.LoadCancelled)


async def test_a_load_everybody_left_goes_on_and_stays_ours() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await sim.journal.wait_for(journal.LoadStarted)
        await bench.until(lambda host: host.waiting == {})
        sim.faults.clear()
        await bench.until(lambda host: len(host.instances) == 1)
        assert bench.host().instances[0].own
        assert bench.host().waiting == {}


async def test_cancel_by_the_last_one_waiting_really_stops_the_host() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await sim.journal.wait_for(journal.LoadStarted)
            assert bench.fleet.host(H).cancel_load(ONE)
            with fails(FailureKind.CANCELLED):
                async for _ in lease:
                    pass
        await sim.journal.wait_for(journal.LoadCancelled)
        await bench.until(lambda host: host.load is None)
        assert sim.resident == ()
        assert bench.news[-1].what == "load failed"


async def test_cancel_before_the_command_was_given_gives_none() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            assert bench.fleet.host(H).cancel_load(ONE)
            with fails(FailureKind.CANCELLED):
                async for _ in lease:
                    pass
        await bench.until(lambda host: host.load is None)
        await bench.fleet.host(H).probe()
        assert not sim.journal.of(journal.LoadFinished)
        assert sim.resident == ()


async def test_a_cancel_asked_before_the_channel_opens_is_sent_as_it_opens() -> None:
    stop = Stop()
    stop.is_asked = True
    async with SimHost(sim_config()) as sim, lan_http() as http:
        sim.faults.stall_load()
        client = await Connection(HostConfig(H, sim.address), http, GUARD_S).connected()
        order = LoadOrder(ONE, "llm", LoadSettings(), ttl_s=60, idle_ttl_s=30)
        assert await client.load(order, lambda _: None, stop) is None
        await client.close()
        assert sim.journal.of(journal.LoadCancelled)
        assert sim.resident == ()


@pytest.mark.parametrize("sockets", [True, False])
async def test_a_load_cancelled_as_it_ends_leaves_memory_again(sockets: bool) -> None:
    config = sim_config(time_scale=0, sockets=sockets)
    async with SimHost(config) as sim, fleet_over(sim) as bench:
        async with bench.fleet.host(H).lease(a_wish()):
            await sim.journal.wait_for(journal.LoadFinished)
            assert bench.fleet.host(H).cancel_load(ONE)
        await sim.journal.wait_for(journal.Unloaded)
        await bench.until(lambda host: host.load is None and host.instances == ())
        assert sim.resident == ()


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 80, 89, 95])
@pytest.mark.parametrize("sockets", [True, False])
async def test_whatever_was_cancelled_is_not_in_memory(sockets: bool, steps: int) -> None:
    config = sim_config(time_scale=0, sockets=sockets)
    async with SimHost(config) as sim, fleet_over(sim) as bench:
        async with bench.fleet.host(H).lease(a_wish()):
            for _ in range(steps):
                await asyncio.sleep(0)
            is_cancelled = bench.fleet.host(H).cancel_load(ONE)
        await bench.until(lambda host: host.load is None)
        if is_cancelled:
            if sim.journal.of(journal.LoadFinished):
                # The cancel was too late; nobody is told of it any more, yet it still has to go.
                await sim.journal.wait_for(journal.Unloaded)
            await bench.until(lambda host: host.instances == ())
            assert sim.resident == ()


async def test_cancel_is_refused_while_somebody_else_waits() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            users = [tasks.create_task(bench.use(user=f"u{n}")) for n in range(2)]
            await sim.journal.wait_for(journal.LoadStarted)
            await bench.until(lambda host: host.waiting == {ONE: 2})
            assert not bench.fleet.host(H).cancel_load(ONE)
            sim.faults.clear()
        assert all(user.result()[0].identifier == ONE for user in users)


async def test_a_failed_load_is_told_with_the_hosts_own_reason_and_tried_once() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.fail_next_load("Engine exited with code 18446744072635812000")
        with fails(FailureKind.LOAD_FAILED, match="code 18446744072635812000"):
            await bench.use()
        assert len(sim.journal.of(journal.LoadStarted)) == 1
        assert bench.news[-1].what == "load failed"
        with fails(FailureKind.LOAD_FAILED, match="again in 5 s: .*code 18446744072635812000"):
            await bench.use()
        assert len(sim.journal.of(journal.LoadStarted)) == 1
        bench.fleet.order_load(ONE)
        assert (await bench.use())[0].identifier == ONE


async def test_settings_of_the_wish_are_really_applied() -> None:
    settings = LoadSettings(
        context_length=16384,
        gpu=0.5,
        flash_attention=True,
        rope_frequency_base=500000.0,
        rope_frequency_scale=0.5,
        num_experts=4,
        kv_cache_quant="q8_0",
    )
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        instance, _ = await bench.use(load=settings, idle_ttl_s=90.0)
        started = sim.journal.of(journal.LoadStarted)[0]
        quant = {"checked": True, "value": "q8_0"}
        assert instance.context_length == 16384
        assert started.ttl_s == 180
        applied = {k: v for k, v in started.config.items() if k != "load.gpuSplitConfig"}
        assert applied == {
            "llm.load.contextLength": 16384,
            "llm.load.llama.acceleration.offloadRatio": 0.5,
            "llm.load.llama.flashAttention": True,
            "llm.load.llama.ropeFrequencyBase": {"checked": True, "value": 500000.0},
            "llm.load.llama.ropeFrequencyScale": {"checked": True, "value": 0.5},
            "llm.load.numExperts": 4,
            "llm.load.llama.kCacheQuantizationType": quant,
            "llm.load.llama.vCacheQuantizationType": quant,
        }


async def test_settings_that_make_no_sense_fail_the_load_in_words() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        with fails(FailureKind.LOAD_FAILED, match="load settings"):
            await bench.use(load=LoadSettings(kv_cache_quant="q9"))
        assert not sim.journal.of(journal.LoadStarted)


async def test_a_model_kept_loaded_gets_no_ttl() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        await bench.use(idle_ttl_s=None)
        assert sim.journal.of(journal.LoadStarted)[0].ttl_s is None


async def test_an_embedding_model_is_loaded_and_unloaded_in_its_own_namespace() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        instance, _ = await bench.use(EMBED, load=LoadSettings(flash_attention=True))
        assert instance.kind == "embedding"
        assert await bench.fleet.host(H).unload(EMBED) == {EMBED: ""}
        assert sim.resident == ()


async def test_a_model_the_host_does_not_have_is_refused() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        with fails(FailureKind.NOT_THERE):
            await bench.use(ModelKey("lab/none"))


async def test_two_cold_models_on_a_one_slot_host_are_both_served() -> None:
    config = sim_config(memory_bytes=6 * GB)
    async with SimHost(config) as sim, fleet_over(sim) as bench, asyncio.TaskGroup() as tasks:
        users = [tasks.create_task(bench.use(key, user=key)) for key in (ONE, TWO)]
        async with asyncio.timeout(GUARD_S):
            assert [(await user)[0].identifier for user in users] == [ONE, TWO]
        assert len(sim.journal.of(journal.LoadStarted)) == 2


@pytest.mark.parametrize("at_rest", [(), (EMBED,)])
async def test_beside_a_busy_model_nothing_at_rest_leaves_in_vain_and_nobody_is_refused(
    at_rest: tuple[ModelKey, ...],
) -> None:
    # A second large one has no room here while the first answers, with or without the small one.
    config = sim_config(memory_bytes=(6 + len(at_rest)) * GB)
    async with SimHost(config) as sim, fleet_over(sim) as bench, asyncio.TaskGroup() as tasks:
        for small in at_rest:
            await bench.use(small)
        async with bench.fleet.host(H).lease(a_wish(user="ada")) as lease:
            async for _ in lease:
                pass
            second = tasks.create_task(bench.use(TWO, user="bob"))
            await sim.journal.wait_for(journal.LoadFailed)
            await bench.until(lambda host: host.load is None)
            assert bench.host().waiting == {TWO: 1}
            assert not sim.journal.of(journal.Unloaded)
            assert not bench.host().limits[TWO].failure
        instance, steps = await second
        assert instance.identifier == TWO
        assert any(isinstance(step, Evicting) for step in steps)


async def test_the_hosts_own_refusal_is_the_reason_given() -> None:
    async with SimHost(sim_config(memory_bytes=5 * GB)) as sim:
        await sim.preload(ONE)
        async with fleet_over(sim) as bench:
            with fails(FailureKind.DOES_NOT_FIT, match="insufficient system resources"):
                await bench.use(TWO)
            assert len(sim.journal.of(journal.LoadFailed)) == 1
            assert [i.identifier for i in sim.resident] == [ONE]


async def test_a_model_the_formula_refuses_is_loaded_where_the_host_knows_better() -> None:
    lean = sim_config(models=(SimModel(ONE, 20 * GB),), context_bytes_per_token=20_000)
    async with SimHost(lean) as sim:
        config = HostConfig(H, sim.address, memory_bytes=23 * GB)
        async with fleet_over(sim, configs=[config]) as bench:
            model = bench.host().models[ONE]
            assert model.weights_bytes == 20 * GB
            assert model.token_bytes == 20_000
            wish = a_wish(load=LoadSettings(context_length=32768))
            order = LoadOrder(ONE, "llm", wish.load, None, None)
            formula = load_bytes(replace(model, weights_bytes=None), order)
            assert (formula or 0) > GRACE * 23 * GB
            made, _ = await bench.use(load=wish.load)
            assert made.context_length == 32768
            asked = [
                c for c in sim.journal.of(journal.Called) if c.endpoint == "estimateModelUsage"
            ]
            assert len(asked) == 1, "once, and not with every probe"


async def test_the_configured_budget_evicts_before_the_load() -> None:
    async with SimHost(sim_config()) as sim:
        configs = [HostConfig(H, sim.address, memory_bytes=7 * GB)]
        async with fleet_over(configs=configs) as bench:
            await bench.use(ONE)
            _, steps = await bench.use(TWO)
            assert steps[0] == Evicting(H, TWO, (ONE,))
            assert [i.identifier for i in sim.resident] == [TWO]
            assert not sim.journal.of(journal.LoadFailed)


@pytest.mark.slow
async def test_an_own_instance_another_program_is_using_is_not_evicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler, "PULSE_S", 0.01)
    async with SimHost(sim_config()) as sim:
        sim.faults.stall_after_tokens(1)
        configs = [HostConfig(H, sim.address, max_loaded=1)]
        async with fleet_over(configs=configs) as bench:
            await bench.use(ONE)
            async with _somebody_else_talks_to(sim):
                with fails(FailureKind.BUSY):
                    await bench.use(TWO, max_wait_s=0.1)
            assert [i.identifier for i in sim.resident] == [ONE]


async def test_a_longer_transcript_gets_a_larger_instance() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        small, _ = await bench.use()
        large, _ = await bench.use(min_context=9000)
        assert (small.context_length, large.context_length) == (4096, 16384)
        assert [i.identifier for i in sim.resident] == [ONE]


async def test_a_foreign_instance_too_small_stays_and_a_second_is_loaded() -> None:
    async with SimHost(sim_config()) as sim:
        await sim.preload(ONE, context_length=2048)
        async with fleet_over(sim) as bench:
            instance, _ = await bench.use(min_context=9000)
            assert instance.identifier == f"{ONE}:2"
            assert len(sim.resident) == 2


async def test_an_instance_loaded_by_others_since_the_last_probe_is_used_not_doubled() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        await sim.preload(ONE)
        instance, _ = await bench.use()
        assert not instance.own
        assert len(sim.resident) == 1


async def test_slots_come_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "PULSE_S", 0.01)
    async with (
        SimHost(sim_config(generation="0.3")) as sim,
        fleet_over(sim) as bench,
        bench.fleet.host(H).lease(a_wish(user="ada")) as first,
    ):
        async for _ in first:
            pass
        async with bench.fleet.host(H).lease(a_wish(user="bob")) as second:
            assert await anext(second) == Queued(H, ONE, 1, None, ONE)
        with fails(FailureKind.BUSY):
            await bench.use(user="eve", max_wait_s=0.01)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 80, 89, 95])
async def test_leaving_at_any_moment_leaks_nothing(steps: int) -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        async with asyncio.TaskGroup() as tasks:
            user = tasks.create_task(bench.use())
            for _ in range(steps):
                await asyncio.sleep(0)
            user.cancel()
        await bench.until(lambda host: host.load is None)
        assert bench.host().waiting == {}
        assert all(instance.leases == 0 for instance in bench.host().instances)
        assert (await bench.use())[0].identifier == ONE


# --- losing the host --------------------------------------------------------------------------


async def test_a_host_killed_while_loading_is_told_and_found_again() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await sim.journal.wait_for(journal.LoadStarted)
            await sim.stop()
            with pytest.raises(HostUnreachable):
                async for _ in lease:
                    pass
        assert bench.host().state == "down"
        await sim.start()
        await bench.fleet.host(H).probe()
        assert bench.host().state == "up"
        assert bench.host().load is None


@pytest.mark.parametrize("memory_gb", [6, 24])
async def test_a_line_that_breaks_in_a_load_costs_nobody_their_answer(
    monkeypatch: pytest.MonkeyPatch, memory_gb: int
) -> None:
    # The host went on with it. Whoever waited was refused; who asked again meanwhile was told that
    # there is no room, and never to come again, or had the model loaded once more beside it.
    monkeypatch.setattr("bot.fleet.host.SOLE_EVERY_S", 0.001)
    monkeypatch.setattr("bot.fleet.host.SOLE_LOOK_S", 0.001)
    sim = SimHost(sim_config(memory_bytes=memory_gb * GB))
    async with sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        sim.faults.drop_mid_load(0.2)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(bench.use())
            await bench.until(lambda host: host.load is not None and host.load.is_held)
            second = tasks.create_task(bench.use())
            await bench.until(lambda host: host.waiting == {ONE: 2})
            sim.faults.clear()
        for asked in (first, second):
            instance, _ = asked.result()
            assert instance.own, "what the host finished alone is still ours to evict"
            assert instance.reference in bench.kept.own
        assert [started.key for started in sim.journal.of(journal.LoadStarted)] == [ONE]


async def test_a_load_whose_line_broke_is_not_waited_for_at_a_host_that_is_gone() -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await sim.journal.wait_for(journal.LoadStarted)
            # Its line breaks, and nobody answers the next probe.
            await sim.stop()
            with pytest.raises(HostUnreachable):
                async for _ in lease:
                    pass
        sim.faults.clear()
        await sim.start()
        await bench.fleet.host(H).probe()
        assert (await bench.use())[0].own
        assert len(sim.journal.of(journal.LoadStarted)) == 2


async def test_leaving_the_fleet_in_the_middle_of_a_load_stops_it_at_the_host() -> None:
    async with SimHost(sim_config()) as sim:
        sim.faults.stall_load()
        async with fleet_over(sim) as bench, bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await sim.journal.wait_for(journal.LoadStarted)
        await sim.journal.wait_for(journal.LoadCancelled)
        assert sim.resident == ()
        # Or the next Lantern waited for it.
        assert bench.kept.begun[-1].is_over


@pytest.mark.slow
async def test_a_host_that_says_nothing_to_a_load_is_given_up(
    loop_clock: LoopClock,
) -> None:
    load = SocketClient.load

    # It hangs with the very command: a moment earlier and what is asked before would meet it.
    async def unheard(
        client: SocketClient, order: LoadOrder, on_progress: Callable[[float], None], stop: Stop
    ) -> Instance | None:
        sim.faults.hang(path="/llm")
        return await load(client, order, on_progress, stop)

    patch = pytest.MonkeyPatch()
    patch.setattr(SocketClient, "load", unheard)
    rules = FleetRules(probe_timeout_s=GUARD_S, load_answer_s=9.0)
    async with SimHost(sim_config()) as sim, fleet_over(sim, rules=rules) as bench:
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await loop_clock.armed(9.0)
            loop_clock.passes(9.0)
            with pytest.raises(HostUnreachable, match="did not answer"):
                async for _ in lease:
                    pass
        patch.undo()
        sim.faults.clear()
        await bench.fleet.host(H).probe()
        assert (await bench.use())[0].identifier == ONE


async def test_a_host_is_looked_at_anew_when_the_pause_after_a_failed_load_is_over(
    loop_clock: LoopClock,
) -> None:
    # A route that left it out was remembered for as long as nothing else changed there.
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.fail_next_load("exit code 7")
        with fails(FailureKind.LOAD_FAILED):
            await bench.use()
        await bench.fleet.host(H).probe()
        # What was set while somebody waited rings first.
        loop_clock.passes(1.0)
        await loop_clock.armed(4.0)
        before = bench.host()
        loop_clock.passes(4.0)
        await bench.until(lambda host: host is not before)
        assert (await bench.use())[0].identifier == ONE


# --- REST only --------------------------------------------------------------------------------


async def test_closed_sockets_load_and_unload_by_rest() -> None:
    async with SimHost(sim_config(sockets=False)) as sim, fleet_over(sim) as bench:
        instance, steps = await bench.use(load=LoadSettings(context_length=8192))
        assert (instance.own, instance.context_length) == (True, 8192)
        assert all(isinstance(step, Loading) for step in steps)
        assert sim.journal.of(journal.LoadStarted)[0].via == "rest"
        assert await bench.fleet.host(H).unload(ONE) == {ONE: ""}
        assert sim.resident == ()


async def test_a_rest_load_cancelled_is_unloaded_the_moment_it_is_there() -> None:
    async with SimHost(sim_config(sockets=False)) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await sim.journal.wait_for(journal.LoadStarted)
            assert bench.fleet.host(H).cancel_load(ONE)
        sim.faults.clear()
        await sim.journal.wait_for(journal.Unloaded)
        await bench.until(lambda host: host.load is None)
        assert sim.resident == ()


async def test_a_rest_load_cancelled_after_a_reconnect_is_unloaded_all_the_same() -> None:
    async with SimHost(sim_config(sockets=False)) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await sim.journal.wait_for(journal.LoadStarted)
            sim.faults.garbage(times=1, path="/v1/models")
            await bench.fleet.host(H).probe()
            assert bench.fleet.host(H).cancel_load(ONE)
        sim.faults.clear()
        await sim.journal.wait_for(journal.Unloaded)
        await bench.until(lambda host: host.load is None and host.instances == ())
        assert sim.resident == ()


async def test_a_rest_refusal_is_the_reason_given() -> None:
    config = sim_config(sockets=False, memory_bytes=2 * GB)
    async with SimHost(config) as sim, fleet_over(sim) as bench:
        with fails(FailureKind.DOES_NOT_FIT, match="insufficient system resources"):
            await bench.use()


async def test_an_old_host_with_closed_sockets_serves_what_is_loaded_and_says_the_rest() -> None:
    config = sim_config(sockets=False, generation="0.3")
    async with SimHost(config) as sim:
        await sim.preload(ONE)
        async with fleet_over(sim) as bench:
            assert (await bench.use())[0].identifier == ONE
            with fails(FailureKind.LOAD_FAILED, match=r"LM Studio 0\.3 with its WebSocket closed"):
                await bench.use(TWO)


@asynccontextmanager
async def _somebody_else_talks_to(sim: SimHost) -> AsyncGenerator[None]:
    """Another program on the LAN has a long answer streamed."""
    body = {
        "model": ONE,
        "stream": True,
        "messages": [{"role": "user", "content": "[[tokens 100000]]"}],
    }
    async with (
        httpx.AsyncClient(trust_env=False, verify=False, timeout=GUARD_S) as http,
        http.stream("POST", f"http://{sim.address}/v1/chat/completions", json=body),
    ):
        yield
