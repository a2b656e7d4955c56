"""A fault of our own inside one host's scheduler: it costs that host alone, which is built anew."""

import asyncio
from collections.abc import Awaitable, Callable, Generator

import pytest
from fleet_bench import GUARD_S, ONE, TWO, Bench, H, a_wish, fleet_over, sim_config
from structlog.testing import capture_logs
from structlog.typing import EventDict

from bot.domain.errors import HostUnreachable
from bot.domain.hosts import Drain, HostSnapshot, SpeedRecord
from bot.domain.ids import HostName
from bot.fleet import host
from bot.fleet.effects import Effects
from bot.fleet.scheduler import Scheduler
from bot.policy.breaker import BreakerRules
from bot.sim import journal
from bot.sim.host import SimHost

OTHER = HostName("studio-2")


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch) -> Generator[list[EventDict]]:
    monkeypatch.setattr(host, "REBUILD_RULES", BreakerRules(threshold=1, base_s=0.01))
    with capture_logs() as entries:
        yield entries


class Trap:
    """Lets the scheduler of the first host raise at its next events of one kind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def set(self, event: str, times: int = 1) -> None:
        on: Callable[..., Effects] = getattr(Scheduler, event)
        left = times

        def trapped(scheduler: Scheduler, *told: object) -> Effects:
            nonlocal left
            if scheduler.config.name == H and left:
                left -= 1
                raise ZeroDivisionError("a fault of our own")
            return on(scheduler, *told)

        self._patch.setattr(Scheduler, event, trapped)


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Trap:
    return Trap(monkeypatch)


def is_logged(logs: list[EventDict]) -> bool:
    return [entry["host"] for entry in logs if entry["event"] == "host broke"] == [H]


async def rebuilt(bench: Bench) -> None:
    """Waits until the first host was out and is back."""
    await bench.until(lambda _: [e.what for e in bench.news].count("host lost") == 1)
    await bench.until_up()


async def probe(bench: Bench) -> None:
    await bench.fleet.host(H).probe()


async def ask(bench: Bench) -> None:
    with pytest.raises(HostUnreachable):
        await bench.use()


async def fail(bench: Bench) -> None:
    bench.fleet.host(H).report_failure("HTTP 500")


async def sweep(bench: Bench) -> None:
    await bench.fleet.evict_idle()


async def load(bench: Bench) -> None:
    with pytest.raises(HostUnreachable):
        await bench.use(TWO)


@pytest.mark.parametrize(
    ("event", "act"),
    [
        ("on_probed", probe),
        ("on_asked", ask),
        ("on_doubted", fail),
        ("on_swept", sweep),
        ("on_progress", load),
        ("on_loaded", load),
    ],
)
async def test_it_costs_that_host_alone_which_is_built_anew(
    trap: Trap,
    logs: list[EventDict],
    event: str,
    act: Callable[[Bench], Awaitable[None]],
) -> None:
    async with (
        SimHost(sim_config()) as sim,
        SimHost(sim_config()) as well,
        fleet_over(sim, well) as bench,
        bench.fleet.host(OTHER).lease(a_wish()) as elsewhere,
    ):
        async for _ in elsewhere:
            pass
        mine, _ = await bench.use()
        trap.set(event)
        await act(bench)
        await rebuilt(bench)
        assert is_logged(logs)
        assert [e.host for e in bench.news if e.what == "host lost"] == [H]
        (known,) = [i for i in bench.host().instances if i.reference == mine.reference]
        assert known.own
        assert (await bench.use())[0].identifier == ONE
        assert bench.host(OTHER).state == "up"
        assert bench.host(OTHER).instances[0].leases == 1
        assert [e.host for e in bench.news if e.what == "host found"].count(OTHER) == 1


async def test_whoever_waits_there_is_told(trap: Trap) -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        sim.faults.stall_load()
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            await anext(lease)
            await sim.journal.wait_for(journal.LoadStarted)
            trap.set("on_probed")
            await bench.fleet.host(H).probe()
            with pytest.raises(HostUnreachable, match="anew"):
                async for _ in lease:
                    pass
        await sim.journal.wait_for(journal.LoadCancelled)
        await rebuilt(bench)
        assert sim.resident == ()


async def test_an_answer_under_way_goes_on_and_its_instance_stays_in_use(trap: Trap) -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        async with bench.fleet.host(H).lease(a_wish(idle_ttl_s=0.0)) as lease:
            async for _ in lease:
                pass
            trap.set("on_probed")
            await bench.fleet.host(H).probe()
            await rebuilt(bench)
            assert lease.granted.instance.identifier == ONE
            assert bench.host().instances[0].leases == 1
            await bench.fleet.evict_idle()
            assert len(bench.host().instances) == 1
        assert bench.host().instances[0].leases == 0
        await bench.fleet.evict_idle()
        await sim.journal.wait_for(journal.Unloaded)


async def test_an_answer_that_ends_while_its_host_is_out_leaves_nothing_held(trap: Trap) -> None:
    async with SimHost(sim_config(time_scale=0)) as sim, fleet_over(sim) as bench:
        async with bench.fleet.host(H).lease(a_wish()) as lease:
            async for _ in lease:
                pass
            trap.set("on_probed")
            await bench.fleet.host(H).probe()
        await rebuilt(bench)
        assert bench.host().instances[0].leases == 0


async def test_a_picture_that_cannot_be_made_costs_that_host_alone(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    async with (
        SimHost(sim_config()) as sim,
        SimHost(sim_config()) as well,
        fleet_over(sim, well) as bench,
    ):
        picture = Scheduler.snapshot

        def broken(scheduler: Scheduler) -> HostSnapshot:
            if scheduler.config.name == H:
                raise ZeroDivisionError("a fault of our own")
            return picture(scheduler)

        monkeypatch.setattr(Scheduler, "snapshot", broken)
        bench.fleet.host(H).report_failure("HTTP 500")
        assert bench.host().state == "down"
        assert (await bench.use(name=OTHER))[0].identifier == ONE
        monkeypatch.setattr(Scheduler, "snapshot", picture)
        await bench.until_up()
        assert (await bench.use())[0].identifier == ONE


async def test_a_speed_that_cannot_be_noted_costs_that_host_alone(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        with monkeypatch.context() as broken:
            broken.setattr(Scheduler, "on_answered", None)
            bench.fleet.host(H).record_speed(SpeedRecord(H, ONE, 100, 50, 0.5, 2.0))
        await rebuilt(bench)
        assert is_logged(logs)


async def test_a_probe_that_is_understood_forgives_a_fault(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A second pause in a row would be an hour long.
    rules = BreakerRules(threshold=1, base_s=0.01, factor=1e6, longest_s=3600.0)
    monkeypatch.setattr(host, "REBUILD_RULES", rules)
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        for _ in range(3):
            trap.set("on_doubted")
            bench.fleet.host(H).report_failure("HTTP 500")
            assert bench.host().state == "down"
            await bench.until_up()


async def test_a_draining_host_stays_so(trap: Trap) -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        bench.fleet.host(H).drain(Drain(H))
        trap.set("on_probed")
        await bench.fleet.host(H).probe()
        await bench.until(lambda found: found.state == "draining")


async def test_a_drain_that_meets_a_fault_of_our_own_says_that_it_is_not_stored(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "REBUILD_RULES", BreakerRules(threshold=1, base_s=3600.0))
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        here = bench.fleet.host(H)
        assert await here.drained(Drain(H)) == ""
        trap.set("on_drained")
        # Not the end of the one before.
        assert await here.drained(Drain(H, is_on=False)) == host.BROKEN
        await bench.until_down()


async def test_a_host_that_breaks_again_and_again_holds_nobody_up(
    trap: Trap, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    async with (
        SimHost(sim_config()) as sim,
        SimHost(sim_config()) as well,
        fleet_over(sim, well) as bench,
    ):
        monkeypatch.setattr(host, "REBUILD_RULES", BreakerRules(threshold=1, base_s=3600.0))
        trap.set("on_probed", times=1000)
        async with asyncio.timeout(GUARD_S):
            await bench.fleet.probe_all()
            await bench.fleet.probe_all()
            await bench.fleet.host(H).probe()
        assert bench.host().state == "down"
        assert bench.host(OTHER).state == "up"
        assert is_logged(logs)
