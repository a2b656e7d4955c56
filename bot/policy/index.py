"""Routes remembered: the same answers as ``plan_route`` at a fraction of the time.

Two memories. A whole route is kept while the fleet stands still, so that asking again costs one
look-up. When a host changes, the verdicts on all other hosts are kept and only that host is judged
again; the rest of the work is sorting.

What makes the look-up possible is rounding to ``BUCKET_TOKENS``: a route is exactly the one that
``plan_route`` gives for ``rounded(ask)``. Where a load is under way its remaining seconds may be up
to twice ``FRESH_S`` old. Routes advise; the host's scheduler decides again, exactly, when it acts.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import is_

from bot.domain.chat import Rejection, Route
from bot.domain.cloud import ProviderSnapshot
from bot.domain.hosts import FleetSnapshot, HostSnapshot, Model
from bot.domain.ids import HostName, ModelKey
from bot.policy.routing import JudgeHost, Ranked, RouteAsk, judge_host, plan_with

BUCKET_TOKENS = 256
FRESH_S = 1.0
MOST_ROUTES = 4096
"""Kept at once; beyond it all are forgotten, which costs one planning each."""
MOST_VERDICTS = 20_000
"""Kept at once, some 8 MB; beyond it all are forgotten likewise."""
MOST_POOLED = 20_000
"""Models whose records hosts share."""

_Verdict = Ranked | Rejection


@dataclass(frozen=True, slots=True)
class _Judged:
    """A verdict and what it was made from."""

    host: HostSnapshot
    at: float
    verdict: _Verdict


class RoutingIndex:
    """Answers like ``plan_route``; owned by one caller, holds nothing but what it may forget."""

    def __init__(self) -> None:
        self._hosts: Mapping[HostName, HostSnapshot] = {}
        self._made_at = 0.0
        self._has_loads = False
        self._routes: dict[Hashable, Route] = {}
        self._judged: dict[Hashable, tuple[RouteAsk, dict[tuple[HostName, ModelKey], _Judged]]]
        self._judged = {}
        """By what a verdict depends on, with that as a request."""
        self._verdicts = 0

    def route(
        self,
        snapshot: FleetSnapshot,
        ask: RouteAsk,
        providers: Sequence[ProviderSnapshot] = (),
        now: float | None = None,
    ) -> Route:
        """The route for ``rounded(ask)``; see ``plan_route`` for the arguments."""
        at = snapshot.taken_at if now is None else now
        if snapshot.hosts is not self._hosts or self._has_loads:
            self._follow(snapshot, at)
        needs = (-ask.prompt_tokens // BUCKET_TOKENS, ask.min_context // BUCKET_TOKENS,
                 ask.conversation, ask.new_tokens, ask.answer_tokens, ask.sticky_host,
                 ask.needs_vision, ask.is_chat, ask.load)  # fmt: skip
        key = (needs, ask.max_wait_s, ask.local_only, ask.cloud, ask.strategy, ask.first,
               ask.order, ask.models, tuple(providers))  # fmt: skip
        route = self._routes.get(key)
        if route is None:
            # All at once: to keep count of each one's use would cost what the look-up saves.
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            route = plan_with(self._judge(needs, ask, at), snapshot, ask, providers)
            self._routes[key] = route
        return route

    def _follow(self, snapshot: FleetSnapshot, now: float) -> None:
        """Forget the routes when any host changed or a load under way went on for a while."""
        before, hosts = self._hosts, snapshot.hosts
        # By identity: a host that did not change keeps its record, and comparing two of a thousand
        # models each would cost more than the planning it saves.
        is_same = len(before) == len(hosts) and all(map(is_, before.values(), hosts.values()))
        is_fresh = not self._has_loads or 0.0 <= now - self._made_at < FRESH_S
        self._hosts = hosts
        if is_same and is_fresh:
            return
        self._routes.clear()
        self._made_at = now
        self._has_loads = any(host.load is not None for host in snapshot.hosts.values())

    def _judge(self, needs: Hashable, ask: RouteAsk, now: float) -> JudgeHost:
        """A judge that remembers its verdict on a host until that host changes."""
        if self._verdicts >= MOST_VERDICTS:
            self._judged.clear()
            self._verdicts = 0
        if needs not in self._judged:
            self._judged[needs] = rounded(ask), {}
        same, judged = self._judged[needs]

        def judge(host: HostSnapshot, key: ModelKey) -> _Verdict:
            known = judged.get((host.name, key))
            # What a load under way has left changes with time alone.
            is_fresh = host.load is None or (known and 0.0 <= now - known.at < FRESH_S)
            if known is not None and known.host is host and is_fresh:
                return known.verdict
            verdict = judge_host(host, key, same, now)
            judged[host.name, key] = _Judged(host, now, verdict)
            # One judged anew takes the place of the old: it is counted once.
            self._verdicts += known is None
            return verdict

        return judge


def rounded(ask: RouteAsk) -> RouteAsk:
    """The request with its token counts in whole ``BUCKET_TOKENS``.

    The prompt is rounded up. The context is rounded down: up, it would turn away a transcript that
    was fitted to a window of an odd size.
    """
    return replace(
        ask,
        min_context=ask.min_context // BUCKET_TOKENS * BUCKET_TOKENS,
        prompt_tokens=-(-ask.prompt_tokens // BUCKET_TOKENS) * BUCKET_TOKENS,
    )


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
