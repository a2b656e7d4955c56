"""The look at hosts before a question is paid for: whatever they do meanwhile, in virtual time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from virtual_time import play

from bot.chat.walk import FirstLook
from bot.domain.chat import Candidate, Route
from bot.domain.errors import FailureKind
from bot.domain.hosts import FleetMemory, HostConfig, Report
from bot.domain.ids import HostName, ModelKey, ProviderName
from bot.fleet.fleet import Fleet, Recorder
from bot.fleet.scheduler import Scheduler

FIRST, SLOW, DEAD = HostName("first"), HostName("slow"), HostName("dead")
KEY = ModelKey("m")
LOOK_S = 4.0


async def _kept(*_: object) -> None:
    """Nothing is kept."""


class Looked(Fleet):
    """Does as it is told when somebody has one more look taken."""

    looks = 0
    on_look: Callable[[], object] | None = None

    async def look_again(self, *, only_settling: bool = False) -> None:
        if only_settling:
            return
        self.looks += 1
        if self.on_look is not None:
            self.on_look()


class Watched:
    """A question whose first host was asked and broke, over hosts that do as they are told."""

    def __init__(self, *, wake_mac: str | None = None) -> None:
        self.fleet = Looked(
            [HostConfig(name, "10.0.0.1:1", wake_mac=wake_mac) for name in (FIRST, SLOW, DEAD)],
            memory=FleetMemory(),
            recorder=Recorder(_kept, _kept, lambda _: None, _kept, _kept, _kept),
        )
        self.look = FirstLook(self.fleet, LOOK_S)
        self.up(FIRST)
        self.began_with = self.route()
        self.doubt(FIRST)

    def up(self, name: HostName) -> None:
        self.fleet.host(name).feed(Scheduler.on_probed, Report("/api/v1"))

    def down(self, name: HostName, kind: FailureKind = FailureKind.TIMEOUT) -> None:
        self.fleet.host(name).feed(Scheduler.on_probe_failed, "no answer", kind)

    def doubt(self, name: HostName) -> None:
        self.fleet.host(name).feed(Scheduler.on_doubted, "it broke off")

    def route(self) -> Route:
        hosts = self.fleet.snapshot().hosts.values()
        return Route(tuple(Candidate(KEY, host.name) for host in hosts if host.state == "up"))

    async def newcomers(self) -> tuple[list[str], float]:
        """Who was found, and the seconds it took."""
        clock = asyncio.get_running_loop().time
        began = clock()
        found = await self.look.newcomers(self.began_with, self.route)
        return [candidate.where for candidate in found], clock() - began


Step = Callable[[Watched], object]

SEEN: dict[str, tuple[list[Step], list[str], float]] = {
    "up": ([lambda it: it.up(SLOW)], ["slow"], 1),
    # One probe that was late on a busy machine was taken for a host that is away.
    "late once": ([lambda it: it.down(SLOW), lambda it: it.up(SLOW)], ["slow"], 2),
    "late once, the last to be seen": (
        [
            lambda it: (it.down(DEAD), it.down(DEAD)),
            lambda it: it.down(SLOW),
            lambda it: it.up(SLOW),
        ],
        ["slow"],
        3,
    ),
    "away": ([lambda it: [it.down(name) for name in 2 * (SLOW, DEAD)]], [], 1),
    "away, and back when all is decided but one": (
        [lambda it: (it.down(SLOW), it.down(SLOW)), lambda it: it.up(SLOW)],
        ["slow"],
        2,
    ),
    # Another's question broke there in the very moment in which it was found.
    "up and doubted at once": (
        [
            lambda it: (it.down(DEAD), it.down(DEAD)),
            lambda it: (it.up(SLOW), it.doubt(SLOW)),
            lambda it: it.up(SLOW),
        ],
        ["slow"],
        3,
    ),
    "up and gone at once": (
        [lambda it: (it.up(SLOW), it.down(SLOW), it.down(SLOW)), lambda it: it.up(DEAD)],
        ["dead"],
        2,
    ),
    # Whoever broke is asked no more, however soon it is back, and is waited for by nobody.
    "the broken one back": ([lambda it: it.up(FIRST), lambda it: it.up(SLOW)], ["slow"], 2),
    "the others away, the broken one in doubt": (
        [lambda it: (it.up(FIRST), it.doubt(FIRST), *map(it.down, 2 * (SLOW, DEAD)))],
        [],
        1,
    ),
    "never decided": ([lambda it: it.down(SLOW), lambda it: it.doubt(SLOW)], [], LOOK_S),
}


@pytest.mark.parametrize("steps", SEEN)
def test_a_host_is_waited_for_until_it_is_certain_that_it_is_away(steps: str) -> None:
    events, found, seconds = SEEN[steps]

    async def scene() -> None:
        it = Watched()
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(it.newcomers())
            for event in events:
                await asyncio.sleep(1.0)
                event(it)
        assert looking.result() == (found, seconds)

    play(scene())


def test_one_seen_asleep_is_waited_for_while_its_second_call_is_out() -> None:
    async def scene() -> None:
        it = Watched(wake_mac="00:1a:2b:3c:4d:5e")
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(it.newcomers())
            await asyncio.sleep(1.0)
            it.down(SLOW, FailureKind.CONNECT)
            assert it.fleet.snapshot().hosts[SLOW].state == "asleep"
            await asyncio.sleep(1.0)
            it.up(SLOW)
        assert looking.result() == (["slow"], 2.0)

    play(scene())


def test_where_a_provider_goes_first_anyway_nobody_is_waited_for() -> None:
    async def scene() -> None:
        it = Watched()
        it.began_with = replace(it.began_with, prefers_cloud=True)
        assert await it.newcomers() == ([], 0.0)

    play(scene())


def test_each_look_of_a_question_takes_of_one_bound_and_knows_whom_it_found() -> None:
    async def scene() -> None:
        await asyncio.sleep(5.0)
        it = Watched()
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(it.newcomers())
            await asyncio.sleep(1.0)
            it.up(SLOW)
        assert looking.result() == (["slow"], 1.0)
        it.doubt(SLOW)
        assert await it.newcomers() == ([], LOOK_S - 1.0)
        assert await it.newcomers() == ([], 0.0), "though one is still not seen"
        it.up(DEAD)
        assert await it.newcomers() == (["dead"], 0.0), "at once, whatever time is left"
        assert await it.newcomers() == ([], 0.0), "no time is left"
        assert await it.newcomers() == ([], 0.0)

    play(scene())


PAID = Candidate(KEY, provider=ProviderName("zai"))


def _gone(it: Watched) -> None:
    for name in 2 * (FIRST, SLOW, DEAD):
        it.down(name)


class Asked:
    """A question that may be paid for, planned as hosts stand, and how often it was."""

    def __init__(self, *, is_paid: bool, look: Step = lambda _: None) -> None:
        self.it, self.is_paid, self.plans = Watched(), is_paid, 0
        self.it.fleet.on_look = lambda: look(self.it)

    def plan(self) -> Route:
        self.plans += 1
        home = self.it.route().candidates
        return Route((*home, PAID) if self.is_paid else home)

    def pays_unseen(self, route: Route) -> bool:
        hosts = self.it.fleet.snapshot().hosts.values()
        return route.candidates[:1] == (PAID,) and any(host.is_undecided for host in hosts)

    async def planned(self) -> tuple[list[str], float]:
        """Who is asked, and the seconds until that was known."""
        clock = asyncio.get_running_loop().time
        began = clock()
        look = FirstLook(self.it.fleet, LOOK_S)
        found = await look.planned(self.plan, lambda route: route, self.pays_unseen)
        return [candidate.where for candidate in found.candidates], clock() - began


def test_what_one_more_look_leaves_undecided_is_waited_for_before_it_is_paid() -> None:
    async def scene() -> None:
        def back(it: Watched) -> None:
            asked.is_paid = True
            it.up(SLOW)
            it.doubt(SLOW)

        asked = Asked(is_paid=False, look=back)
        _gone(asked.it)
        async with asyncio.TaskGroup() as tasks:
            planning = tasks.create_task(asked.planned())
            await asyncio.sleep(1.0)
            asked.it.up(SLOW)
        assert planning.result() == (["slow", "zai"], 1.0)

    play(scene())


PLANNED: list[tuple[bool, Step, int, int, list[str]]] = [
    (True, lambda it: it.up(FIRST), 0, 1, ["first", "zai"]),
    (True, _gone, 0, 1, ["zai"]),
    (False, _gone, 1, 2, []),
    # Nobody is seen: that ends with its bound, and then it is paid.
    (True, lambda it: it.down(FIRST), 0, 3, ["zai"]),
]


@pytest.mark.parametrize(("is_paid", "step", "looks", "plans", "found"), PLANNED)
def test_a_question_is_looked_again_for_when_nobody_is_there_and_else_planned_once(
    is_paid: bool, step: Step, looks: int, plans: int, found: list[str]
) -> None:
    async def scene() -> None:
        asked = Asked(is_paid=is_paid)
        step(asked.it)
        seconds = LOOK_S if plans == 3 else 0.0
        assert await asked.planned() == (found, seconds)
        assert (asked.it.fleet.looks, asked.plans) == (looks, plans)

    play(scene())
