"""Routing: one decision over 100 hosts with 1000 models each.

The index answers an unchanged fleet by one look-up; what that leaves out is told beside it: the
decision after one host changed, the plain function, and both for ``auto``. A turn of an ordinary
fleet never meets an unchanged one: the turn before it changed the host that served it, and no two
transcripts are of one length. A turn is planned from
its conversation to its route; what lies further back than the window must not cost.
"""

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from time import process_time
from timeit import repeat

from bench.table import Row, at_most, told
from bot.chat.choices import Resolved
from bot.chat.planning import Asking, ChatRules, Planner
from bot.domain.chat import Place, Route, Turn, TurnRequest
from bot.domain.cloud import AnswerRoom
from bot.domain.hosts import FleetSnapshot, HostSnapshot, Instance, Model
from bot.domain.ids import (
    AUTO,
    HostName,
    InstanceId,
    ModelKey,
    PersonaName,
    PlaceId,
    TurnId,
    UserId,
)
from bot.domain.personas import Persona
from bot.policy.index import RoutingIndex, shared_models
from bot.policy.privacy import LocalOnly
from bot.policy.routing import RouteAsk, plan_route

HOSTS = 100
MODELS = 1000
ORDINARY = (3, 12)
"""Hosts of an ordinary fleet, with ``ORDINARY_MODELS`` each."""
ORDINARY_MODELS = 40
REPEATS = 5
BEFORE = (20, 400)
"""Turns of a conversation, of a hundred words each: a short one, one beyond any window."""

KEYS = tuple(ModelKey(f"maker-{n % 40}/model-{n:04d}-instruct") for n in range(MODELS))


def run() -> list[Row]:
    fleet, megabytes = _measured_fleet()
    ask = RouteAsk((KEYS[5],), min_context=2000, prompt_tokens=1000)
    anything = replace(ask, models=(AUTO,))
    index = RoutingIndex()
    _check(index, fleet, ask)
    hit = _micros(lambda: index.route(fleet, ask), 20_000)
    changed = _micros(_with_one_host_changed(index, fleet, ask), 200)
    plain = _micros(lambda: plan_route(fleet, ask), 10)
    return [
        at_most("decision from the index, fleet unchanged", hit, "µs", 5.0),
        at_most("inventory in memory", megabytes, "MB", 6.0),
        told("decision from the index, one host changed since", changed, "µs"),
        told("decision by the plain function", plain, "µs"),
        told("auto, by the plain function", _micros(lambda: plan_route(fleet, anything), 1), "µs"),
        told("plain function / index, fleet unchanged", plain / hit, "x"),
        *(
            at_most(f"decision of a real turn, {hosts} hosts of 40 models", real, "µs", 20.0)
            for hosts, real in ((hosts, _micros(_real_turns(hosts), 200)) for hosts in ORDINARY)
        ),
        *(
            told(f"planning a turn, {before} turns before it", _planning_us(fleet, before), "µs")
            for before in BEFORE
        ),
    ]


def _measured_fleet() -> tuple[FleetSnapshot, float]:
    gc.collect()
    tracemalloc.start()
    fleet = _fleet()
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return fleet, held / 1e6


def _fleet() -> FleetSnapshot:
    """Every host tells its own inventory, as a probe does; equal records are shared."""
    pool: dict[Model, Model] = {}
    hosts = (_host(n, shared_models(_inventory(), pool)) for n in range(HOSTS))
    return FleetSnapshot({host.name: host for host in hosts}, taken_at=100.0)


def _inventory(models: int = MODELS) -> dict[ModelKey, Model]:
    sizes = enumerate(KEYS[:models])
    return {
        key: Model(key, display_name=key, size_bytes=4_000_000_000 + n * 10_000_000)
        for n, key in sizes
    }


def _host(n: int, models: dict[ModelKey, Model]) -> HostSnapshot:
    size = models[KEYS[n]].size_bytes
    resident = Instance(
        InstanceId(KEYS[n]),
        KEYS[n],
        size_bytes=size,
        context_length=8192,
        own=True,
        idle_since=float(n),
    )
    return HostSnapshot(
        HostName(f"studio-{n:03d}"),
        f"10.0.0.{n}:1234",
        state="up",
        models=models,
        instances=(resident,),
        memory_bytes=96_000_000_000,
        max_loaded=3,
    )


def _check(index: RoutingIndex, fleet: FleetSnapshot, ask: RouteAsk) -> None:
    """What is timed must be a whole, right answer."""
    route = index.route(fleet, ask)
    assert len(route.candidates) == HOSTS
    assert route.candidates[0].host == HostName("studio-005")


def _planning_us(fleet: FleetSnapshot, before: int) -> float:
    """A turn's transcript, fitted, and its route, over a fleet that stands still."""
    persona, user, place = PersonaName("default"), UserId("discord:7"), Place(PlaceId("discord:1"))
    branch = tuple(
        Turn(
            id=TurnId(f"turn{n}"),
            parent=TurnId(f"turn{n - 1}") if n else None,
            user=user,
            user_name="Ada",
            place=place,
            persona=persona,
            user_text="Go on.",
            reply_text="word " * 100,
            reasoning_text="",
            status="done",
            created_at_ms=n,
        )
        for n in range(before)
    )
    local = LocalOnly("there is no provider")

    async def judge(_words: object) -> LocalOnly:
        return local

    async def prepare() -> None:
        """There is no provider to learn prices of."""

    def providers(
        prompt_tokens: int, answer_tokens: int, now: float, room: AnswerRoom
    ) -> tuple[()]:
        return ()

    planner = Planner(lambda: fleet, ChatRules(persona), providers, prepare)
    resolved = Resolved(Persona(persona), "", KEYS[5], "", is_named=True)
    request = TurnRequest(user=user, user_name="Ada", place=place, text="Why?")
    asking = Asking(resolved, branch, request, local, judge, user)
    assert planner.job(asking).route.candidates
    return _micros(lambda: planner.job(asking), 20)


def _with_one_host_changed(
    index: RoutingIndex, fleet: FleetSnapshot, ask: RouteAsk
) -> Callable[[], Route]:
    """Decide again and again, with another host's record renewed each time."""
    snapshots: list[FleetSnapshot] = []
    numbers = count()

    def decide() -> Route:
        return index.route(snapshots[next(numbers) % len(snapshots)], ask)

    hosts = dict(fleet.hosts)
    for n, name in enumerate(fleet.hosts):
        hosts = {**hosts, name: replace(hosts[name], failures=n + 1)}
        snapshots.append(FleetSnapshot(hosts, 100.0))
    return decide


def _real_turns(hosts: int) -> Callable[[], Route]:
    """Turns as they come: of one conversation each, each longer than the last, each granted its
    slot on the host that serves it, which changed that host's record and its instances'.

    In every second one the host that changed has the model in memory.
    """
    now = {
        host.name: host for host in (_host(n, _inventory(ORDINARY_MODELS)) for n in range(hosts))
    }
    turns: list[tuple[FleetSnapshot, RouteAsk]] = []
    for turn in range(200 * REPEATS):
        name = list(now)[1 if turn % 2 else turn % hosts]
        said, words = f"conversation {turn % 29}", 1000 + 37 * (turn % 150)
        granted = replace(now[name].instances[0], leases=turn % 3, conversations=(said,))
        now = {**now, name: replace(now[name], instances=(granted,))}
        ask = RouteAsk(
            (KEYS[1],),
            min_context=words + 1024,
            prompt_tokens=words,
            new_tokens=words % 301,
            conversation=said,
            sticky_host=name,
        )
        turns.append((FleetSnapshot(now, 100.0 + turn), ask))
    index, numbers = RoutingIndex(), count()
    # None comes twice: the index would know it.
    return lambda: index.route(*turns[next(numbers)])


def _micros(decide: Callable[[], object], number: int) -> float:
    """The best of some repeats, in microseconds of CPU each: no decision waits for anything."""
    return min(repeat(decide, timer=process_time, number=number, repeat=REPEATS)) / number * 1e6
