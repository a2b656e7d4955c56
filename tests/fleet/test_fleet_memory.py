"""Own and foreign, across restarts; eviction by rest; unloading and pinning by hand."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from clocks import LoopClock
from failures import fails
from fleet_bench import GUARD_S, ONE, TWO, H, Kept, a_wish, fleet_over, sim_config

from bot.domain.errors import (
    FailureKind,
    NotPermitted,
    Unavailable,
    UnknownName,
)
from bot.domain.events import FleetEvent, Loading
from bot.domain.hosts import Drain, FleetMemory, Instance, LoadBegun, OwnInstance, Speed
from bot.domain.ids import HostName, InstanceId, ModelKey
from bot.fleet import host as host_module
from bot.fleet.host import SPARED, Host
from bot.fleet.lmstudio import SocketClient
from bot.sim import journal
from bot.sim.host import SimHost
from bot.sim.models import GB, SimModel


async def test_an_own_instance_is_known_again_after_a_restart_and_evicted_when_rested() -> None:
    kept = Kept()
    async with SimHost(sim_config(time_scale=0)) as sim:
        async with fleet_over(sim, kept=kept) as bench:
            await bench.use(idle_ttl_s=0.0)
        assert [own.model_key for own in kept.own.values()] == [ONE]
        memory = kept.memory()
        async with fleet_over(sim, kept=kept, memory=memory) as bench:
            assert bench.host().instances[0].own
            await bench.fleet.evict_idle()
            await kept.until(lambda own: not own)
            assert sim.resident == ()


async def test_without_that_memory_it_would_be_foreign_and_stay() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim:
        async with fleet_over(sim) as bench:
            await bench.use(idle_ttl_s=0.0)
        async with fleet_over(sim) as bench:
            assert not bench.host().instances[0].own
            await bench.fleet.evict_idle()
            assert len(sim.resident) == len(bench.host().instances) == 1


# --- hosts that tell no references ------------------------------------------------------------


async def test_own_instances_of_a_rest_only_host_are_known_again_and_evicted_when_rested() -> None:
    kept = Kept()
    async with SimHost(sim_config(time_scale=0, sockets=False)) as sim:
        async with fleet_over(sim, kept=kept) as bench:
            await bench.use(ONE, idle_ttl_s=0.0)
            await bench.use(TWO, idle_ttl_s=0.0)
        assert {own.model_key for own in kept.own.values()} == {ONE, TWO}
        async with fleet_over(sim, kept=kept, memory=kept.memory()) as bench:
            assert all(instance.own for instance in bench.host().instances)
            await bench.fleet.evict_idle()
            await kept.until(lambda own: not own)
            assert sim.resident == ()


async def test_what_others_loaded_on_a_rest_only_host_stays_foreign_after_a_restart() -> None:
    kept = Kept()
    async with SimHost(sim_config(time_scale=0, sockets=False)) as sim:
        async with fleet_over(sim, kept=kept) as bench:
            await bench.use(ONE, idle_ttl_s=0.0)
        sim.unload(ONE)
        await sim.preload(TWO, identifier=ONE)
        await sim.preload(TWO)
        async with fleet_over(sim, kept=kept, memory=kept.memory()) as bench:
            assert not any(instance.own for instance in bench.host().instances)
            await kept.until(lambda own: not own)
            await bench.fleet.evict_idle()
            assert len(sim.resident) == len(bench.host().instances) == 2


async def test_a_pin_on_a_rest_only_host_outlives_a_restart() -> None:
    kept = Kept()
    async with SimHost(sim_config(time_scale=0, sockets=False)) as sim:
        async with fleet_over(sim, kept=kept) as bench:
            await bench.use(idle_ttl_s=0.0)
            bench.fleet.host(H).pin(ONE, True)
            await kept.until(lambda own: any(one.pinned for one in own))
        async with fleet_over(sim, kept=kept, memory=kept.memory()) as bench:
            assert bench.host().instances[0].pinned


async def test_sockets_that_open_later_give_an_own_instance_its_reference() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim:
        sim.faults.status_503(path="/llm")
        async with fleet_over(sim) as bench:
            made, _ = await bench.use(idle_ttl_s=0.0)
            assert (made.own, made.reference) == (True, None)
            sim.faults.clear()
            await bench.fleet.host(H).probe()
            (found,) = bench.host().instances
            assert found.own
            assert found.reference is not None
            await bench.kept.until(lambda own: [one.reference for one in own] == [found.reference])


async def test_an_own_instance_replaced_by_somebody_elses_of_that_name_is_foreign() -> None:
    kept = Kept()
    async with SimHost(sim_config(time_scale=0)) as sim:
        async with fleet_over(sim, kept=kept) as bench:
            await bench.use(idle_ttl_s=0.0)
        sim.unload(ONE)
        await sim.preload(ONE)
        memory = kept.memory()
        async with fleet_over(sim, kept=kept, memory=memory) as bench:
            assert not bench.host().instances[0].own
            await bench.fleet.evict_idle()
            assert len(sim.resident) == len(bench.host().instances) == 1
            await kept.until(lambda own: not own)


async def test_an_instance_swapped_between_two_probes_is_not_unloaded_for_the_old_one() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use(idle_ttl_s=0.0)
        sim.unload(ONE)
        await sim.preload(ONE)
        await bench.fleet.evict_idle()
        assert bench.host().instances == ()
        await bench.until(lambda host: len(host.instances) == 1)
        assert [i.identifier for i in sim.resident] == [ONE]
        assert not bench.host().instances[0].own


async def test_own_instances_are_recorded_before_the_grant() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            async for _ in lease:
                pass
            assert list(bench.kept.own) == [lease.granted.instance.reference]
        assert [record.model_key for record in bench.kept.loads] == [ONE]


async def test_a_database_that_hangs_holds_back_no_model_that_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Kept):
        """Another program holds the database's lock."""

        unlocked = asyncio.Event()

        async def own_added(self, own: OwnInstance) -> None:
            await self.unlocked.wait()
            await super().own_added(own)

    monkeypatch.setattr(host_module, "OWNED_WITHIN_S", 0.0)
    kept = Slow()
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim, kept=kept) as bench:
        instance, _ = await bench.use()
        assert instance.own
        assert kept.own == {}
        kept.unlocked.set()
        await kept.until(lambda own: [each.model_key for each in own] == [ONE])


async def test_a_foreign_instance_is_used_and_never_unloaded() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim:
        await sim.preload(ONE)
        async with fleet_over(sim) as bench:
            instance, steps = await bench.use(idle_ttl_s=0.0)
            assert (instance.own, steps) == (False, [])
            await bench.fleet.evict_idle()
            with pytest.raises(NotPermitted):
                await bench.fleet.host(H).unload(ONE)
            assert len(sim.resident) == 1
            assert await bench.fleet.host(H).unload(ONE, even_foreign=True) == {ONE: ""}
            assert sim.resident == ()


async def test_a_busy_instance_is_not_unloaded_by_hand() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            async for _ in lease:
                pass
            with pytest.raises(NotPermitted):
                await bench.fleet.host(H).unload(ONE)
        await bench.fleet.host(H).unload(ONE)
        with pytest.raises(UnknownName):
            await bench.fleet.host(H).unload(ONE)


async def test_a_refused_unload_says_what_stays_and_the_hosts_own_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise Unavailable("the model is pinned in the window", FailureKind.SERVER)

    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use()
        with monkeypatch.context() as patch:
            patch.setattr(SocketClient, "unload", refuse)
            stays = await bench.fleet.host(H).unload(ONE)
        assert stays == {ONE: "the model is pinned in the window"}
        assert [i.identifier for i in sim.resident] == [ONE]
        assert await bench.fleet.host(H).unload(ONE) == {ONE: ""}


async def test_an_unload_the_host_confirms_and_does_not_do_is_not_called_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nod(*_: object, **__: object) -> None:
        return None

    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use()
        monkeypatch.setattr(SocketClient, "unload", nod)
        assert await bench.fleet.host(H).unload(ONE) == {ONE: "The host still lists it."}


async def test_what_had_left_by_itself_was_not_unloaded() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use()
        sim.unload(ONE)
        assert await bench.fleet.host(H).unload(ONE) == {}
        await bench.use()
        assert await bench.fleet.host(H).unload(ONE) == {ONE: ""}


async def test_beside_another_lantern_what_works_is_not_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def works(*_: object) -> bool:
        return True

    async with SimHost(sim_config(time_scale=0)) as sim:
        await sim.preload(ONE)
        async with fleet_over(sim) as bench:
            with monkeypatch.context() as patch:
                patch.setattr(SocketClient, "_is_working", works)
                left = await bench.fleet.host(H).unload(ONE, even_foreign=True, theirs=())
            assert left == {ONE: SPARED}
            assert len(sim.resident) == 1
            assert await bench.fleet.host(H).unload(ONE, even_foreign=True, theirs=()) == {ONE: ""}


async def test_a_request_during_a_ttl_unload_is_served() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use(idle_ttl_s=0.0)
        async with asyncio.timeout(GUARD_S), asyncio.TaskGroup() as tasks:
            await bench.fleet.evict_idle()
            assert bench.host().instances == ()
            users = [tasks.create_task(bench.use(user=f"u{n}")) for n in range(10)]
        assert {user.result()[0].identifier for user in users} == {ONE}
        assert len(sim.journal.of(journal.LoadStarted)) == 2


async def test_a_hung_host_holds_up_no_eviction_and_piles_up_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []
    unload = SocketClient.unload

    async def noted(client: SocketClient, instance: Instance, **how: bool) -> None:
        begun.append(instance.model_key)
        await unload(client, instance, **how)

    monkeypatch.setattr(SocketClient, "unload", noted)
    async with (
        SimHost(sim_config(time_scale=0)) as hung,
        SimHost(sim_config(time_scale=0)) as well,
        fleet_over(hung, well) as bench,
    ):
        await bench.use(ONE, idle_ttl_s=0.0)
        await bench.use(TWO, HostName("studio-2"), idle_ttl_s=0.0)
        hung.faults.hang()
        for _ in range(3):
            # Half of what the hung one is given.
            async with asyncio.timeout(GUARD_S / 2):
                await bench.fleet.evict_idle()
        await well.journal.wait_for(journal.Unloaded)
        assert len(hung.resident) == 1
        hung.faults.clear()
        await hung.journal.wait_for(journal.Unloaded)
        assert begun == [TWO, ONE]


async def test_the_hosts_own_ttl_unload_is_noticed_and_the_model_loaded_again() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use(idle_ttl_s=60.0)
        sim.skip_time(121)
        await sim.journal.wait_for(journal.Unloaded)
        await bench.fleet.host(H).probe()
        assert bench.host().instances == ()
        assert bench.news[-1].what == "model unloaded"
        assert (await bench.use())[0].own


async def test_pinned_instances_stay_until_unpinned() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use(idle_ttl_s=0.0)
        bench.fleet.host(H).pin(ONE, True)
        await bench.fleet.evict_idle()
        assert bench.host().instances[0].pinned
        await bench.kept.until(lambda own: any(one.pinned for one in own))
        bench.fleet.host(H).pin(ONE, False)
        await bench.fleet.evict_idle()
        await sim.journal.wait_for(journal.Unloaded)
        assert sim.resident == ()


async def test_a_draining_host_is_shown_so_lets_go_of_its_models_and_comes_back() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use()
        bench.fleet.host(H).drain(Drain(H))
        assert bench.host().state == "draining"
        await sim.journal.wait_for(journal.Unloaded)
        await bench.until(lambda host: not host.instances)
        bench.fleet.host(H).drain(Drain(H, is_on=False))
        assert bench.host().state == "up"
        assert (await bench.use())[0].own


async def test_what_a_killed_lantern_was_loading_is_ours_again_after_the_restart() -> None:
    begun = LoadBegun(H, ONE, ttl_s=1234, idle_ttl_s=617.0)
    memory = FleetMemory(begun=(begun,))
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim, memory=memory) as bench:
        # By somebody else, and by the load that went on while no Lantern was there.
        await sim.preload(TWO, ttl_s=1234)
        await sim.preload(ONE, ttl_s=60)
        await bench.fleet.host(H).probe()
        assert not any(instance.own for instance in bench.host().instances)
        await sim.preload(ONE, ttl_s=1234)
        await bench.fleet.host(H).probe()
        (ours,) = (i for i in bench.host().instances if i.own)
        assert (ours.model_key, ours.idle_ttl_s) == (ONE, 617.0)
        await bench.kept.until(lambda own: len(own) == 1)


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.fleet.host.SOLE_EVERY_S", 0.001)
    monkeypatch.setattr("bot.fleet.host.SOLE_LOOK_S", 0.001)


@pytest.mark.usefixtures("quick_looks")
async def test_whoever_asks_after_a_kill_in_a_load_waits_for_that_load() -> None:
    # The model was loaded once more beside it, and stood in memory twice.
    begun = LoadBegun(H, ONE, ttl_s=1234, idle_ttl_s=617.0, age_s=20.0)
    memory = FleetMemory(begun=(begun,))
    async with SimHost(sim_config()) as sim, fleet_over(sim, memory=memory) as bench:
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(bench.use())
            await bench.until(lambda host: host.load is not None and host.load.is_held)
            await sim.preload(ONE, ttl_s=1234)
        instance, steps = asked.result()
        assert instance.own
        assert [step.is_held for step in steps if isinstance(step, Loading)][-1]
        assert len(sim.resident) == 1


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("age_s", [59.95, 60.0, 899.0])
async def test_a_load_that_went_with_a_kill_is_not_waited_for_beyond_its_time(age_s: float) -> None:
    begun = LoadBegun(H, ONE, ttl_s=1234, idle_ttl_s=617.0, age_s=age_s)
    memory = FleetMemory(begun=(begun,))
    async with SimHost(sim_config()) as sim, fleet_over(sim, memory=memory) as bench:
        instance, _ = await bench.use()
        assert instance.own
        assert [started.key for started in sim.journal.of(journal.LoadStarted)] == [ONE]


@pytest.mark.usefixtures("quick_looks")
async def test_a_wait_for_a_lost_load_is_cancelled_at_once_and_holds_up_no_other_model() -> None:
    begun = LoadBegun(H, ONE, ttl_s=1234, idle_ttl_s=617.0)
    memory = FleetMemory(begun=(begun,))
    async with SimHost(sim_config()) as sim, fleet_over(sim, memory=memory) as bench:
        assert (await bench.use(TWO))[0].identifier == TWO
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await bench.until(lambda host: host.load is not None and host.load.is_held)
            assert bench.fleet.host(H).cancel_load(ONE)
            with fails(FailureKind.CANCELLED):
                async for _ in lease:
                    pass
        await bench.until(lambda host: host.load is None)
        assert [started.key for started in sim.journal.of(journal.LoadStarted)] == [TWO]


async def test_a_load_is_noted_before_its_command_and_struck_out_after_it() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use(idle_ttl_s=60.0)
        await bench.kept.until(lambda _: len(bench.kept.begun) == 2)
        noted = LoadBegun(H, ONE, 120, 60.0)
        assert bench.kept.begun == [noted, replace(noted, is_over=True)]
        sim.faults.fail_next_load("exit code 1")
        with pytest.raises(Unavailable):
            await bench.use(TWO)
        await bench.kept.until(lambda _: len(bench.kept.begun) == 4)
        assert bench.kept.begun[-1].is_over


async def test_models_downloaded_and_deleted_meanwhile_are_seen_at_the_next_probe() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        await bench.use(ONE)
        disk = (sim.config.models[1], SimModel("lab/new", GB))
        engine = sim._engine  # pyright: ignore[reportPrivateUsage]  # nobody else changes a disk
        engine.config = replace(sim.config, models=disk)
        await bench.fleet.host(H).probe()
        assert set(bench.host().models) == {TWO, ModelKey("lab/new")}
        made, _ = await bench.use(ModelKey("lab/new"))
        assert made.own
        # What is in memory serves on though its file is gone; once out it is refused in words.
        assert (await bench.use(ONE))[0].identifier == ONE
        sim.unload(ONE)
        await bench.fleet.host(H).probe()
        with pytest.raises(Unavailable, match="does not have"):
            await bench.use(ONE)


async def test_a_drain_outlives_a_restart() -> None:
    kept = Kept()
    async with SimHost(sim_config(time_scale=0)) as sim:
        async with fleet_over(sim, kept=kept) as bench:
            bench.fleet.host(H).drain(Drain(H))
            await kept.until(lambda _: H in kept.drains)
        async with fleet_over(sim, kept=kept, memory=kept.memory()) as bench:
            assert bench.host().state == "draining"
            with pytest.raises(Unavailable, match="draining"):
                await bench.use()


@pytest.mark.parametrize("early_s", [0.0, 0.0004])
async def test_a_drain_for_a_time_ends_by_itself_to_the_second(
    loop_clock: LoopClock, early_s: float
) -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        bench.fleet.host(H).drain(Drain(H, left_s=2.0 + early_s))
        loop_clock.passes(1.999)
        assert bench.host().state == "draining"
        loop_clock.passes(0.001)
        if early_s:
            # A timer that rang once, too early, left the end to the next probe.
            await loop_clock.armed(0.001)
            assert bench.host().state == "draining"
            loop_clock.passes(0.001)
        await bench.until_up()
        resumed = FleetEvent("host resumed", H, reason="its time was over")
        assert bench.news[-1] == resumed


async def test_a_drain_of_the_last_lantern_ends_in_time_while_the_host_says_nothing(
    loop_clock: LoopClock,
) -> None:
    memory = FleetMemory(drains=(Drain(H, left_s=2.0),))
    async with SimHost(sim_config()) as sim, SimHost(sim_config()) as other:
        sim.faults.hang()
        async with fleet_over(sim, other, memory=memory, settled=(HostName("studio-2"),)) as bench:
            assert bench.host().drained_until is not None
            await loop_clock.armed(2.0)
            loop_clock.passes(2.0)
            await bench.until(lambda host: host.drained_until is None)


async def test_of_all_that_is_due_at_a_host_one_timer_tells_and_none_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    later, timers = loop.call_later, list[tuple[float, asyncio.TimerHandle]]()

    def noted(delay: float, *what: Any, **more: Any) -> asyncio.TimerHandle:
        timer = later(delay, *what, **more)
        is_of_host = isinstance(getattr(what[0], "__self__", None), Host)
        timers.extend([(round(delay), timer)] if is_of_host else [])
        return timer

    def pending() -> list[float]:
        return [seconds for seconds, timer in timers if not timer.cancelled()]

    monkeypatch.setattr(loop, "call_later", noted)
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        host = bench.fleet.host(H)
        for left_s, there in ((5000.0, [5000]), (3000.0, [3000]), (4000.0, [3000]), (None, [])):
            host.drain(Drain(H, left_s=left_s))
            assert pending() == there, "one that rings too soon harms nobody"
        host.drain(Drain(H, left_s=6000.0))
        host.drain(Drain(H, is_on=False))
        assert pending() == []
        host.drain(Drain(H, left_s=7000.0))
        assert pending() == [7000]
    assert pending() == []


async def test_leaving_the_fleet_leaves_the_models_and_others_alone() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim:
        await sim.preload(TWO)
        async with fleet_over(sim) as bench:
            await bench.use()
        assert {i.identifier for i in sim.resident} == {ONE, TWO}


async def test_remembered_speeds_predict_the_next_load() -> None:
    memory = FleetMemory(speeds={(H, ONE): Speed(load_s=7.0)}, rates={H: 1e9})
    async with SimHost(sim_config()) as sim, fleet_over(sim, memory=memory) as bench:
        sim.faults.stall_load()
        assert bench.host().load_bytes_per_s == 1e9
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            load = bench.host().load
            assert load is not None
            assert load.expected_s == 7.0


async def test_unloading_by_identifier_takes_that_copy_alone() -> None:
    async with SimHost(sim_config(time_scale=0)) as sim:
        await sim.preload(ONE)
        await sim.preload(ONE)
        async with fleet_over(sim) as bench:
            left = await bench.fleet.host(H).unload(f"{ONE}:2", even_foreign=True)
            assert left == {InstanceId(f"{ONE}:2"): ""}
            assert [i.identifier for i in sim.resident] == [ONE]
