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

    above: float
    up_to: float
    at: float
    """When those were made that change with time alone."""
    rows: list[tuple[HostSnapshot, Outlook | Rejection]]
    """With what each was made from."""
    alike: list[tuple[float, float]]
    """For which contexts each of them holds."""
    is_timed: bool = False
    """Does one of them change with time alone?"""


class RoutingIndex:
    """Answers like ``plan_route``; owned by one caller, holds nothing but what it may forget."""

    def __init__(self) -> None:
        self._hosts: Mapping[HostName, HostSnapshot] = {}
        self._made_at = 0.0
        self._is_timed = False
        self._routes: dict[Hashable, Route] = {}
        self._tables: dict[Hashable, list[_Table]] = {}
        """By what an outlook depends on; several for one model are of different contexts."""
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
        if snapshot.hosts is not self._hosts or self._is_timed:
            self._follow(snapshot, at)
        key = (ask.models, ask.prompt_tokens, ask.min_context, ask.conversation, ask.new_tokens,
               ask.answer_tokens, ask.sticky_host, ask.needs_vision, ask.is_chat, ask.load,
               ask.max_wait_s, ask.local_only, ask.cloud, ask.strategy, ask.first, ask.order,
               *providers)  # fmt: skip
        route = self._routes.get(key)
        if route is None:
            # All at once: to keep count of each one's use would cost what the look-up saves.
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            look = partial(self._look, snapshot, ask, at)
            route = plan_with(look, snapshot, ask, providers, at)
            self._routes[key] = route
        return route

    def _follow(self, snapshot: FleetSnapshot, now: float) -> None:
        """Forget the routes when any host changed or a load under way went on for a while."""
        before, hosts = self._hosts, snapshot.hosts
        # By identity: a host that did not change keeps its record, and comparing two of a thousand
        # models each would cost more than the planning it saves.
        is_same = len(before) == len(hosts) and all(map(is_, before.values(), hosts.values()))
        is_fresh = not self._is_timed or 0.0 <= now - self._made_at < FRESH_S
        self._hosts = hosts
        if is_same and is_fresh:
            return
        self._routes.clear()
        self._made_at = now
        self._is_timed = any(_changes_by_time(host, AUTO, now) for host in hosts.values())

    def _look(self, snapshot: FleetSnapshot, ask: RouteAsk, now: float, key: ModelKey) -> Looked:
        """Every host's outlook, remembered until that host changes."""
        if self._outlooks >= MOST_OUTLOOKS:
            self._tables.clear()
            self._outlooks = 0
        context, hosts = ask.min_context, snapshot.hosts.values()
        tables = self._tables.setdefault((key, ask.load, ask.needs_vision, ask.is_chat), [])
        for table in tables:
            if table.above < context <= table.up_to and len(table.rows) == len(hosts):
                break
        else:
            table = _Table(
                -inf, inf, now, [(_NOBODY, _UNKNOWN)] * len(hosts), [(-inf, inf)] * len(hosts)
            )
            tables.insert(0, table)
            tables[MOST_TABLES:] = ()
        since, is_stale = table.at, not 0.0 <= now - table.at < FRESH_S
        if is_stale:
            table.at = now
        anew = [
            (n, host)
            for n, ((made_from, _), host) in enumerate(zip(table.rows, hosts, strict=True))
            if made_from is not host or (is_stale and _changes_by_time(host, key, since))
        ]
        for n, host in anew:
            table.rows[n] = host, outlook(host, key, ask, now)
            table.alike[n] = contexts_alike(host, key, ask)
        if anew:
            self._outlooks += len(anew)
            table.above = max(above for above, _ in table.alike)
            table.up_to = min(up_to for _, up_to in table.alike)
            table.is_timed = any(_changes_by_time(host, key, now) for host in hosts)
        self._is_timed = self._is_timed or table.is_timed
        return table.rows


def _changes_by_time(host: HostSnapshot, key: ModelKey, since: float) -> bool:
    """Has anything there that matters to this model changed since then with time alone?"""
    if host.load is not None or host.woken_at is not None:
        return True
    # What is left in peace for a while seemed to be in use until its host changed.
    if any(since < instance.spared_until for instance in host.instances):
        return True
    # Any model may be the soonest: once a pause was over, none of a host was found for AUTO.
    learnt = host.limits.values() if key == AUTO else [host.limits.get(key, _NOTHING_LEARNT)]
    return any(since < limits.failed_until for limits in learnt)


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
