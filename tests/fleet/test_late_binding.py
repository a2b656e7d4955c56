"""A turn that waits at one host goes to another: with leavers, losses and drains in between.

A whole fleet in virtual time; machines are reckoned (``bench/fleet``). Whatever comes in between
comes at every moment of the move, one step of the loop after the other.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import httpx
import pytest
from virtual_time import play

from bench.fleet.host import Machine
from bench.fleet.lantern import VirtualClient
from bench.fleet.trace import GB, HostSpec, ModelSpec
from bot.chat.host_serving import HostServing
from bot.chat.walk import FirstLook, walk, without
from bot.domain.chat import Candidate, Route
from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.events import Progress
from bot.domain.hosts import Drain, HostConfig, SpeedRecord, Wish
from bot.domain.ids import HostName, ModelKey
from bot.fleet.client import HostClient
from bot.fleet.fleet import Fleet, FleetRules, Recorder
from bot.policy.routing import RouteAsk, plan_route

ONE = ModelKey("lab/one")
MODELS = {ONE: ModelSpec(ONE, 8 * GB, active=8.0, kv_bytes=100_000)}
STUDIO, ATTIC = HostName("studio"), HostName("attic")
SLOTS = 4
STEPS = range(0, 40, 3)
"""Of the loop, after which something comes in between."""


async def _kept(*_: object) -> None: ...


def _noted(*_: object) -> None: ...


@dataclass
class Asker:
    """One question from its route to its end."""

    at: list[HostName] = field(default_factory=list[HostName])
    """Where it was granted an instance."""
    tried: list[HostName] = field(default_factory=list[HostName])
    failed: list[FailureKind] = field(default_factory=list[FailureKind])
    waited: list[float] = field(default_factory=list[float])
    """Seconds until each was granted, wherever it waited."""
    queued: list[float] = field(default_factory=list[float])
    """Of them in the line where it was granted."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to end its answer."""


@dataclass
class Scene:
    """Two machines, and Lantern over them."""

    fleet: Fleet
    machines: dict[HostName, Machine]
    tasks: asyncio.TaskGroup
    may_move: bool = True

    def drain(self, name: HostName, *, is_on: bool = True) -> None:
        self.fleet.host(name).drain(Drain(name, is_on))

    async def holds(self, name: HostName, count: int) -> list[asyncio.Event]:
        """So many answers under way at a host."""
        ends: list[asyncio.Event] = []
        for number in range(count):
            end, began = asyncio.Event(), asyncio.Event()
            self.tasks.create_task(self._answers(name, f"holder {number}", began, end))
            await began.wait()
            ends.append(end)
        return ends

    async def _answers(
        self, name: HostName, user: str, began: asyncio.Event, end: asyncio.Event
    ) -> None:
        async with self.fleet.host(name).lease(Wish(ONE, user=user)) as lease:
            async for _ in lease:
                pass
            began.set()
            await end.wait()

    def asks(self, user: str) -> tuple[Asker, asyncio.Task[None]]:
        asker = Asker()
        return asker, self.tasks.create_task(self._ask(asker, user))

    async def _ask(self, asker: Asker, user: str) -> None:
        hosting = HostServing(self.fleet, None)  # pyright: ignore[reportArgumentType]  # sends nothing

        def routed() -> Route:
            return plan_route(self.fleet.snapshot(), RouteAsk((ONE,)))

        async def unheard(_: Progress) -> None: ...

        async def serve(
            candidate: Candidate, wait_s: float | None, is_last: bool, out: Collection[HostName]
        ) -> None:
            assert candidate.host is not None
            asker.tried.append(candidate.host)
            wish = Wish(ONE, user=user, max_wait_s=wait_s, since=candidate.since)
            async with hosting.lease(
                candidate.host, candidate, wish, routed(), unheard, is_last=is_last,
                replan=(lambda: without(routed(), out)) if self.may_move else Route,
            ) as lease:  # fmt: skip
                asker.at.append(candidate.host)
                asker.waited.append(asyncio.get_running_loop().time() - lease.began_at)
                asker.queued.append(lease.granted.queue_s)
                await asker.done.wait()

        async def note(_: Candidate, error: Unavailable) -> None:
            asker.failed.append(error.kind)

        route, look = routed(), FirstLook(self.fleet, 6.0)
        late = partial(look.newcomers, route, routed)
        await walk(route.candidates, serve, note, max_wait_s=120.0, newcomers=late)

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0.005 if count > 0 else 0)

    async def waits(self, name: HostName, count: int) -> None:
        await self.fleet.host(name).until(lambda host: sum(host.waiting.values()) == count)

    def at_rest(self) -> None:
        """Nobody waits or holds anything anywhere."""
        for host in self.fleet.snapshot().hosts.values():
            assert not host.waiting, host.name
            assert [i.leases for i in host.instances if i.leases] == [], host.name


@asynccontextmanager
async def scene(*warm: HostName, bytes_per_s: int = GB) -> AsyncGenerator[Scene]:
    """``attic`` drains from the start; both have the model on disk, ``warm`` in memory."""
    specs = [
        HostSpec(n, 24 * GB, 200 * GB, 900.0, bytes_per_s, 0.0, MODELS) for n in (STUDIO, ATTIC)
    ]
    machines = {spec.name: Machine(spec, 1) for spec in specs}

    async def connect(config: HostConfig, _http: httpx.AsyncClient, _s: float) -> HostClient:
        await asyncio.sleep(0.01)
        if not machines[config.name].is_up:
            raise HostUnreachable(f"{config.name} refused.", FailureKind.CONNECT)
        return VirtualClient(machines[config.name])

    for name in warm:
        await machines[name].load(MODELS[ONE], 4096)
    configs = [HostConfig(name, f"{name}:1", slots=SLOTS) for name in machines]
    recorder = Recorder(_kept, _kept, _noted, _kept, _kept, _kept)
    rules = replace(FleetRules(), loads_ahead=False)
    async with (
        Fleet(configs, recorder=recorder, rules=rules, connect=connect) as fleet,
        asyncio.TaskGroup() as tasks,
    ):
        await fleet.settled(5.0)
        found = Scene(fleet, machines, tasks)
        found.drain(ATTIC)
        yield found


@asynccontextmanager
async def in_line() -> AsyncGenerator[tuple[Scene, list[asyncio.Event], Asker, asyncio.Task[None]]]:
    """All slots of ``studio`` are taken; one asker has waited there for ten seconds."""
    async with scene(STUDIO, ATTIC) as here:
        ends = await here.holds(STUDIO, SLOTS)
        asker, task = here.asks("ada")
        await here.waits(STUDIO, 1)
        await asyncio.sleep(10.0)
        assert (asker.tried, asker.at) == ([STUDIO], [])
        try:
            yield here, ends, asker, task
        finally:
            asker.done.set()
            for end in ends:
                end.set()


async def _moves() -> None:
    async with in_line() as (here, _, asker, _task):
        here.drain(ATTIC, is_on=False)
        await asyncio.sleep(1.0)
        assert (asker.tried, asker.at, asker.failed) == ([STUDIO, ATTIC], [ATTIC], [])
        assert asker.waited[0] >= 10.0, "with the time it has waited"
        assert asker.queued[0] < 1.0, "none of it in this line"
        assert not here.fleet.snapshot().hosts[STUDIO].waiting


def test_whoever_waits_goes_where_it_is_clearly_sooner_by_now() -> None:
    play(_moves())


async def _outlasts() -> None:
    async with scene(STUDIO, bytes_per_s=8 * GB) as here:
        # By what was learnt a slot is free in half a second, and no load is as soon.
        here.fleet.host(STUDIO).record_speed(SpeedRecord(STUDIO, ONE, 0, 0, 0.1, 1.9))
        ends = await here.holds(STUDIO, SLOTS)
        asker, _ = here.asks("ada")
        await here.waits(STUDIO, 1)
        here.drain(ATTIC, is_on=False)
        await asyncio.sleep(5.0)
        assert asker.tried == [STUDIO]
        # No host changes, nobody comes or leaves.
        await asyncio.sleep(90.0)
        assert (asker.tried, asker.at) == ([STUDIO, ATTIC], [ATTIC])
        asker.done.set()
        for end in ends:
            end.set()


def test_whoever_waits_for_answers_that_outlast_the_usual_goes_where_it_is_sooner() -> None:
    play(_outlasts())


async def _in_between(
    what: Callable[[Scene, asyncio.Task[None]], None], count: int
) -> tuple[list[HostName], list[FailureKind], float]:
    async with in_line() as (here, ends, asker, task):
        here.drain(ATTIC, is_on=False)
        await here.steps(count)
        what(here, task)
        await asyncio.sleep(2.0)
        for end in ends:
            end.set()
        await asyncio.sleep(2.0)
        asker.done.set()
        await asyncio.sleep(1.0)
        assert task.done()
        here.at_rest()
        later, _ = here.asks("bob")
        await asyncio.sleep(2.0)
        assert len(later.at) == 1
        later.done.set()
    return asker.at, asker.failed, min(asker.waited, default=10.0)


@pytest.mark.parametrize("count", STEPS)
def test_whoever_leaves_while_it_moves_is_nowhere_afterwards(count: int) -> None:
    def leaves(_: Scene, task: asyncio.Task[None]) -> None:
        task.cancel()

    at, failed, _ = play(_in_between(leaves, count))
    assert len(at) <= 1
    assert not failed


@pytest.mark.parametrize("count", STEPS)
def test_where_the_host_it_goes_to_drains_it_waits_on_with_its_time(count: int) -> None:
    at, failed, waited_s = play(_in_between(lambda here, _: here.drain(ATTIC), count))
    assert len(at) == 1
    assert waited_s >= 10.0
    assert set(failed) <= {FailureKind.BUSY}


@pytest.mark.parametrize("count", STEPS)
def test_where_the_host_it_goes_to_is_lost_it_is_answered_where_it_was(count: int) -> None:
    def lost(here: Scene, _: asyncio.Task[None]) -> None:
        here.machines[ATTIC].goes()
        here.fleet.host(ATTIC).report_failure("gone")

    at, _, waited_s = play(_in_between(lost, count))
    assert len(at) == 1
    assert waited_s >= 10.0


@pytest.mark.parametrize("count", STEPS)
def test_where_the_host_it_leaves_drains_or_is_lost_it_is_answered_once(count: int) -> None:
    def lost(here: Scene, _: asyncio.Task[None]) -> None:
        here.machines[STUDIO].goes()
        here.fleet.host(STUDIO).report_failure("gone")

    def drains(here: Scene, _: asyncio.Task[None]) -> None:
        here.drain(STUDIO)

    for what in (lost, drains):
        at, _, _ = play(_in_between(what, count))
        assert at == [ATTIC]


async def _bound() -> None:
    async with in_line() as (here, ends, asker, _):
        # As where its key is for one host alone by now, or its place was closed meanwhile.
        here.may_move = False
        stays, _task = here.asks("bob")
        await here.waits(STUDIO, 2)
        here.drain(ATTIC, is_on=False)
        await asyncio.sleep(1.0)
        assert (asker.at, stays.at) == ([ATTIC], [])
        ends[0].set()
        await asyncio.sleep(1.0)
        assert stays.at == [STUDIO]
        stays.done.set()


def test_whose_route_leads_nowhere_else_stays() -> None:
    play(_bound())


# --- loads whose asker went elsewhere -----------------------------------------------------


async def _left_load(then: Callable[[Scene], None], count: int) -> tuple[Scene, list[str], int]:
    async with scene(ATTIC) as here:
        asker, _ = here.asks("ada")
        await here.fleet.host(STUDIO).until(lambda host: host.load is not None)
        await asyncio.sleep(1.0)
        here.drain(ATTIC, is_on=False)
        await asyncio.sleep(0.5)
        assert asker.at == [ATTIC], "it went where the model is"
        await here.steps(count)
        assert here.fleet.snapshot().hosts[STUDIO].load is not None
        then(here)
        await asyncio.sleep(30.0)
        asker.done.set()
        await asyncio.sleep(1.0)
        here.at_rest()
        copies = here.fleet.snapshot().hosts[STUDIO].instances
        assert all(copy.own for copy in copies), "it is nobody's"
        assert len(copies) == len(here.machines[STUDIO].copies)
    return here, [str(copy.identifier) for copy in copies], here.machines[STUDIO].loads


@pytest.mark.parametrize("count", [0, 30, 300])
def test_a_load_whose_asker_went_elsewhere_ends_as_ours_and_once(count: int) -> None:
    _, copies, loads = play(_left_load(lambda _: None, count))
    assert (copies, loads) == ([ONE], 1)


@pytest.mark.parametrize("count", [0, 30, 300])
def test_whoever_asks_there_meanwhile_joins_it(count: int) -> None:
    def asks(here: Scene) -> None:
        async def use() -> None:
            async with here.fleet.host(STUDIO).lease(Wish(ONE, user="bob")) as lease:
                async for _ in lease:
                    pass
                assert lease.granted.load_s > 0.0

        here.tasks.create_task(use())

    _, copies, loads = play(_left_load(asks, count))
    assert (copies, loads) == ([ONE], 1)


@pytest.mark.parametrize("count", [0, 30, 300])
def test_a_drain_or_cancel_of_it_leaves_nothing_behind(count: int) -> None:
    def drains(here: Scene) -> None:
        here.drain(STUDIO)

    def cancels(here: Scene) -> None:
        assert here.fleet.host(STUDIO).cancel_load(ONE)

    for what in (drains, cancels):
        _, copies, loads = play(_left_load(what, count))
        assert (copies, loads) == ([], 1)


def test_a_host_lost_with_such_a_load_is_back_without_it_and_loads_it_once_when_asked() -> None:
    def lost(here: Scene) -> None:
        async def back() -> None:
            machine, host = here.machines[STUDIO], here.fleet.host(STUDIO)
            machine.goes()
            await asyncio.sleep(5.0)
            machine.returns()
            await host.probe()
            async with host.lease(Wish(ONE, user="bob")) as lease:
                async for _ in lease:
                    pass

        here.tasks.create_task(back())

    _, copies, loads = play(_left_load(lost, 0))
    assert (copies, loads) == ([ONE], 2)
