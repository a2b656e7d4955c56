"""Routes remembered: the same answers as ``plan_route`` at a fraction of the time.

Two memories. A whole route is kept while the fleet stands still, so that asking again costs one
look-up. When a host changes, every other host's outlook on the model is kept, and only that host is
judged again; a new question, however long its prompt, costs no judgement at all but a sum for each
host.

Where time alone changes something (a load goes on, a host wakes, the pause after a failed load or
unload ends) that may be up to twice ``FRESH_S`` old. Routes advise; the host's scheduler decides
again, exactly, when it acts.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from operator import is_

from bot.domain.chat import Rejection, Route
from bot.domain.cloud import ProviderSnapshot
from bot.domain.hosts import FleetSnapshot, HostSnapshot, LoadLimits, Model
from bot.domain.ids import AUTO, HostName, ModelKey
from bot.domain.personas import LoadSettings
from bot.policy.prediction import Outlook, RouteAsk, contexts_alike, outlook
from bot.policy.routing import Looked, plan_with

FRESH_S = 1.0
MOST_ROUTES = 4096
"""Kept at once; beyond it all are forgotten, which costs one planning each."""
MOST_OUTLOOKS = 20_000
"""Kept at once, some 8 MB; beyond it all are forgotten likewise."""
MOST_TABLES = 16
"""Of one model, of as many contexts that are told apart."""
MOST_POOLED = 20_000
"""Models whose records hosts share."""
_NOBODY = HostSnapshot(HostName(""), "")
_NOTHING_LEARNT = LoadLimits()
_UNKNOWN = Rejection("", AUTO, "")
"""Where nobody has been judged yet."""


@dataclass(slots=True)
class _Table:
    """All hosts' outlooks on one model, which hold for contexts above the one, up to the other."""

    of: tuple[LoadSettings, bool, bool]
    """What they depend on besides: settings of the load, seeing, chatting."""
    at: float
    """When those were made that change with time alone."""
    made_from: list[HostSnapshot]
    found: list[Outlook | Rejection]
    above: list[float]
    """Of each; what holds for all is the highest."""
    up_to: list[float]
    timed_until: list[float]
    """Up to when each of them changes with time alone."""
    holds: tuple[float, float] = (-inf, inf)
    """For which contexts all of them do."""
    all_timed_until: float = -inf
    """Up to when any of them does."""


class RoutingIndex:
    """Answers like ``plan_route``; owned by one caller, holds nothing but what it may forget."""

    def __init__(self) -> None:
        self._hosts: Mapping[HostName, HostSnapshot] = {}
        self._made_at = 0.0
        self._timed_until = -inf
        """Up to when any of the routes changes with time alone."""
        self._routes: dict[Hashable, Route] = {}
        self._tables: dict[ModelKey, list[_Table]] = {}
        """Several for one model are of different contexts, settings and needs."""
        self._outlooks = 0

    def route(
        self,
        snapshot: FleetSnapshot,
        ask: RouteAsk,
        providers: Sequence[ProviderSnapshot] = (),
        now: float | None = None,
    ) -> Route:
        """See ``plan_route``."""
        at = snapshot.taken_at if now is None else now
        self._follow(snapshot.hosts, at)
        key = (ask, *providers)
        route = self._routes.get(key)
        if route is None:
            # All at once: to keep count of each one's use would cost what the look-up saves.
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            look = partial(self._look, snapshot.hosts, ask, at)
            route = self._routes[key] = plan_with(look, snapshot, ask, providers, at)
            if AUTO in ask.models:
                for host in snapshot.hosts.values():
                    self._timed_until = max(self._timed_until, _timed_until(host, AUTO))
        return route

    def _follow(self, hosts: Mapping[HostName, HostSnapshot], now: float) -> None:
        """Forget the routes when any host changed or a load under way went on for a while."""
        before, self._hosts = self._hosts, hosts
        # By identity: a host that did not change keeps its record, and comparing two of a thousand
        # models each would cost more than the planning it saves.
        is_same = hosts is before or (
            len(before) == len(hosts) and all(map(is_, before.values(), hosts.values()))
        )
        is_timed = self._made_at < self._timed_until
        if is_same and (not is_timed or 0.0 <= now - self._made_at < FRESH_S):
            return
        self._routes.clear()
        self._made_at, self._timed_until = now, -inf

    def _look(
        self, hosts: Mapping[HostName, HostSnapshot], ask: RouteAsk, now: float, key: ModelKey
    ) -> Looked:
        """Every host's outlook, remembered until that host changes."""
        if self._outlooks >= MOST_OUTLOOKS:
            self._tables.clear()
            self._outlooks = 0
        table = self._table(len(hosts), ask, now, key)
        made_from, since, is_stale = table.made_from, table.at, not 0.0 <= now - table.at < FRESH_S
        if is_stale:
            table.at = now
        is_changed = False
        for n, host in enumerate(hosts.values()):
            if made_from[n] is host and not (is_stale and since < table.timed_until[n]):
                continue
            made_from[n], table.found[n] = host, outlook(host, key, ask, now)
            table.above[n], table.up_to[n] = contexts_alike(host, key, ask)
            table.timed_until[n] = _timed_until(host, key)
            self._outlooks += 1
            is_changed = True
        if is_changed:
            table.holds = max(table.above), min(table.up_to)
            table.all_timed_until = max(table.timed_until)
        self._timed_until = max(self._timed_until, table.all_timed_until)
        return zip(made_from, table.found, strict=True)

    def _table(self, count: int, ask: RouteAsk, now: float, key: ModelKey) -> _Table:
        """That which holds for such a question, or one in which nobody has been judged yet."""
        tables, context = self._tables.setdefault(key, []), ask.min_context
        of = (ask.load, ask.needs_vision, ask.is_chat)
        for table in tables:
            above, up_to = table.holds
            if above < context <= up_to and len(table.found) == count and table.of == of:
                return table
        table = _Table(
            of,
            now,
            [_NOBODY] * count,
            [_UNKNOWN] * count,
            [-inf] * count,
            [inf] * count,
            [-inf] * count,
        )
        tables.insert(0, table)
        tables[MOST_TABLES:] = ()
        return table


def _timed_until(host: HostSnapshot, key: ModelKey) -> float:
    """Up to when anything there that matters to this model changes with time alone."""
    if host.load is not None or host.woken_at is not None:
        return inf
    # Any model may be the soonest: once a pause was over, none of a host was found for AUTO.
    if key == AUTO:
        until = max([limits.failed_until for limits in host.limits.values()], default=-inf)
    else:
        until = host.limits.get(key, _NOTHING_LEARNT).failed_until
    # What is left in peace for a while seemed to be in use until its host changed.
    for instance in host.instances:
        until = max(until, instance.spared_until)
        if instance.leases and key in (AUTO, instance.model_key):
            # Answers that outlast the usual are thought to go on the longer.
            return inf
    return until


def shared_models(
    models: Mapping[ModelKey, Model], pool: dict[Model, Model]
) -> dict[ModelKey, Model]:
    """An inventory whose entries are the pool's own: hosts with the same models share them.

    A pool that is full forgets all, which costs later hosts their sharing.
    """
    if len(pool) > MOST_POOLED:
        pool.clear()
    shared = (pool.setdefault(model, model) for model in models.values())
    return {model.key: model for model in shared}
