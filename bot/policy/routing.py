"""The route of one request: every host and provider able to serve it, best first, and why."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from bot.domain.chat import Candidate, Rejection, Route
from bot.domain.cloud import ProviderSnapshot
from bot.domain.hosts import FleetSnapshot, HostSnapshot
from bot.domain.ids import AUTO, HostName, ModelKey, ProviderName
from bot.policy.budget import dollars_text
from bot.policy.prediction import (
    BLIND,
    Outlook,
    Prediction,
    RouteAsk,
    Standing,
    Strategy,
    outlook,
    predict_load_s,
    predict_seconds,
)

__all__ = [
    "Look",
    "Prediction",
    "RouteAsk",
    "Standing",
    "Strategy",
    "plan_route",
    "plan_with",
    "predict_seconds",
]

_LOCAL_ONLY = "local only"
_NOT_ITS_TYPE = "not in the order of this request type"
_NOT_CONFIGURED = "no such provider is configured"
_NOT_ITS_PERSONA = "chosen, but this persona does not ask it"
_SIGHTLESS = "cannot see images"
_BRIEFLY = {
    _LOCAL_ONLY: "",
    _NOT_ITS_TYPE: "",
    _NOT_CONFIGURED: "",
    _NOT_ITS_PERSONA: "not for this persona",
    _SIGHTLESS: BLIND,
}
"""Of a provider: that it was never meant to answer is no news to readers."""
LOCAL = "local"
"""Stands for all hosts in a request type's order."""
NOT_MEANT = (_LOCAL_ONLY, _NOT_ITS_TYPE)
"""Why a provider is not asked that would not have been asked either, were it well."""
TIE_S = 0.25
"""Predictions closer than this are equal; then idle beats busy beats loading beats cold, and weight
decides."""
MOVE_S, MOVE_SHARE = 0.5, 0.15
"""A wait is left for another, and a load under way for one begun anew, that is sooner by so much,
and by this share of what is left: predictions are no better than that, and every move may leave a
load behind."""
LONGEST_S = 86_400.0
"""Beyond a day all predictions are alike; keeps absurd measurements from breaking the order."""
LOCAL_QUALITY = 5
"""A host's quality beside the providers' configured ones; equal quality stays at home."""
PROVIDER_FIRST_TOKEN_S = 2.0
"""Assumed of a provider until measured, where seconds break a tie."""

Ranked = tuple[int, Standing, float, bool, float, HostName, ModelKey, Candidate]
"""A host's place among others, the lowest first, and what it is as a candidate.

A tie of seconds, then how the model stands there, then weight: it chooses between equals, and never
makes a slower host win; so does who answered last. The name comes behind the burden, so that the
order in which hosts are known does not matter."""
Looked = Iterable[tuple[HostSnapshot, Outlook | Rejection]]
Look = Callable[[ModelKey], Looked]
"""All hosts' outlooks on one model."""


def plan_route(
    snapshot: FleetSnapshot,
    ask: RouteAsk,
    providers: Sequence[ProviderSnapshot] = (),
    now: float | None = None,
) -> Route:
    """Order every host and provider able to serve, and say why the others are not.

    The wanted model comes first wherever a host can serve it, then the alternatives in order;
    each by predicted seconds to the first token. Strategy or request type place the providers.

    Args:
        snapshot: All hosts.
        ask: What the request needs.
        providers: All configured providers.
        now: Monotonic seconds; None takes the snapshot's own time.
    """
    at, hosts = snapshot.taken_at if now is None else now, snapshot.hosts.values()

    def look(key: ModelKey) -> Looked:
        return [(host, outlook(host, key, ask, at)) for host in hosts]

    return plan_with(look, snapshot, ask, providers, at)


def plan_with(
    look: Look,
    snapshot: FleetSnapshot,
    ask: RouteAsk,
    providers: Sequence[ProviderSnapshot],
    now: float,
) -> Route:
    """The route by given outlooks; ``plan_route`` for callers that remember them."""
    home, away = _home(look, snapshot, ask, now)
    cloud, refused = _cloud(ask, providers)
    limit_s = math.inf if ask.max_wait_s is None else ask.max_wait_s
    # Hosts that take too long come after the providers: should none of those serve, they still do.
    soon: list[Candidate] = []
    late: list[Candidate] = []
    for candidate in home:
        (soon if (candidate.seconds or 0.0) <= limit_s else late).append(candidate)
    placed = [*_placed(ask, soon, cloud, providers), *late]
    if ask.first is not None:
        # Sorting keeps the order of the others: whoever chose a provider wanted no other instead.
        placed.sort(key=lambda c: c.provider != ask.first)
    candidates = tuple(placed)
    if candidates:
        words = f"{candidates[0].where}: {candidates[0].reason}"
    else:
        words = "nobody can serve this now" if snapshot.hosts else "no hosts are configured"
    return Route(
        candidates, (*away, *refused), words, _prefers_cloud(ask, providers), chosen=ask.first
    )


def sooner_elsewhere(
    candidates: Sequence[Candidate], here: Candidate, lead_s: float
) -> Candidate | None:
    """The host to which one who waits had better go; None where it had better stay.

    Args:
        candidates: As they would be for whoever asks now.
        here: Where it waits.
        lead_s: By so much it is before whoever asks there now.
    """
    same = [c for c in candidates if c.model == here.model and c.host is not None]
    stay_s = next((c.burden_s - lead_s for c in same if c.host == here.host), math.inf)
    best = next((c for c in same if c.host != here.host), None)
    if best is None or stay_s == math.inf:
        return best
    return best if _is_clearly(best.burden_s, stay_s) else None


def without_guesses(
    candidates: Sequence[Candidate], hosts: Mapping[HostName, HostSnapshot]
) -> Sequence[Candidate]:
    """For whoever waits for a load under way: not those who would begin one for a guessed time.

    What is under way shows how long it takes. With two slow disks the first question of a fleet had
    its model loaded at both. Once loads were measured anywhere all are compared: such guesses are
    few then, and to leave by one cost nothing on whole evenings.
    """
    if any(host.load_bytes_per_s for host in hosts.values()):
        return candidates
    return [c for c in candidates if not _begins_a_load(c, hosts)]


def _begins_a_load(candidate: Candidate, hosts: Mapping[HostName, HostSnapshot]) -> bool:
    host, key = hosts.get(candidate.host or HostName("")), candidate.model
    is_loading = host is not None and host.load is not None and host.load.model_key == key
    return host is not None and not is_loading and not host.has_loaded(key)


def _prefers_cloud(ask: RouteAsk, providers: Sequence[ProviderSnapshot]) -> bool:
    """Would a provider go first though hosts could serve as soon as anybody?"""
    if ask.first in ask.cloud:
        return True
    if ask.order is not None:
        return bool(ask.order) and ask.order[0] != LOCAL
    if ask.strategy == "quality_optimized":
        return any(p.quality > LOCAL_QUALITY for p in providers if p.name in ask.cloud)
    return ask.strategy == "prefer_cloud"


def _ranked(host: HostSnapshot, key: ModelKey, found: Outlook, ask: RouteAsk) -> Ranked:
    seconds, burden_s, reason = found.of(ask)
    tie, name = int((burden_s if burden_s < LONGEST_S else LONGEST_S) / TIE_S), host.name
    # By place: a dozen are made for each question, and names cost as much again.
    candidate = Candidate(key, name, None, seconds, None, burden_s, 0, None, reason)
    is_other = name != ask.sticky_host
    return tie, found.standing, -host.weight, is_other, burden_s, name, key, candidate


def _soonest(host: HostSnapshot, ask: RouteAsk, now: float) -> Ranked | Rejection:
    """The model this host could answer with first.

    A cold one is only thought of where nothing in memory serves: whoever asked for no model in
    particular must not make the host swap models, however long the line for the resident one.
    """
    is_away = not host.is_serving and host.state not in ("asleep", "waking")
    if is_away and isinstance(why := outlook(host, AUTO, ask, now), Rejection):
        return why
    resident = dict.fromkeys(instance.model_key for instance in host.instances)
    loading = host.load.model_key if host.load is not None else None
    # No prediction for a cold model is below its load; one loading now may be nearly done.
    cold = sorted(
        (0.0 if model.key == loading else predict_load_s(host, model)[0], model.key)
        for model in host.models.values()
        if model.key not in resident
    )
    # Kept for the rejection: "no model can serve" alone helps nobody.
    reasons: list[Rejection] = []
    in_memory = _best(host, [(0.0, key) for key in resident], ask, now, reasons)
    best = in_memory or _best(host, cold, ask, now, reasons)
    if best is not None:
        return best
    if not reasons:
        return Rejection(host.name, AUTO, "no models on this host", brief="without a model")
    # An embedding model is the smallest, and so the first: told by it alone, nobody knew that all
    # others are too large.
    reasons = [one for one in reasons if one.brief] or reasons[:1]
    first, more = reasons[0], f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    words = f"no model can serve: `{first.model}`: {first.reason}{more}"
    return Rejection(host.name, AUTO, words, brief=first.brief or "without a model")


def _best(
    host: HostSnapshot,
    models: Iterable[tuple[float, ModelKey]],
    ask: RouteAsk,
    now: float,
    reasons: list[Rejection],
) -> Ranked | None:
    """The soonest of these models, by rising least seconds; adds why the others are out."""
    best: Ranked | None = None
    for least_s, key in models:
        if best is not None and int(min(least_s, LONGEST_S) / TIE_S) > best[0]:
            # They come by rising least seconds: with a thousand models most are never judged.
            break
        found = outlook(host, key, ask, now)
        if isinstance(found, Rejection):
            reasons.append(found)
        else:
            ranked = _ranked(host, key, found, ask)
            best = ranked if best is None else min(best, ranked)
    return best


def _home(
    look: Look, snapshot: FleetSnapshot, ask: RouteAsk, now: float
) -> tuple[list[Candidate], list[Rejection]]:
    """All hosts for each wanted model in turn, each model's by rank, none twice."""
    found: list[Candidate] = []
    rejected: list[Rejection] = []
    for wanted in dict.fromkeys(ask.models):
        able: list[Ranked] = []
        if wanted == AUTO:
            soonest = [_soonest(host, ask, now) for host in snapshot.hosts.values()]
            rejected += [one for one in soonest if isinstance(one, Rejection)]
            able = [one for one in soonest if not isinstance(one, Rejection)]
        else:
            for host, verdict in look(wanted):
                if isinstance(verdict, Rejection):
                    rejected.append(verdict)
                else:
                    able.append(_ranked(host, wanted, verdict, ask))
        # Model by model: an alternative that is sooner does not beat the model that was wanted.
        able = _shared_first(sorted(able))
        # AUTO after a named model may find the very same again: its first place counts.
        known = {(candidate.host, candidate.model) for candidate in found}
        found += [one[-1] for one in able if not known or (one[5], one[6]) not in known]
    return found, rejected


def _shared_first(ranked: list[Ranked]) -> list[Ranked]:
    """Hosts by their place, with a load to join before one to begin that is hardly sooner.

    Of two who asked for a cold model the second had it loaded once more, on the host that was free
    for another model, to be answered a tenth of a second sooner.
    """
    load = next((one for one in ranked if one[1] is Standing.LOADING), None)
    if load is None or ranked[0][1] is not Standing.COLD or _is_clearly(ranked[0][4], load[4]):
        return ranked
    return [load, *(one for one in ranked if one is not load)]


def _is_clearly(sooner_s: float, later_s: float) -> bool:
    return sooner_s + MOVE_S < later_s * (1.0 - MOVE_SHARE)


def _cloud(
    ask: RouteAsk, providers: Sequence[ProviderSnapshot]
) -> tuple[list[Candidate], list[Rejection]]:
    """The providers this request may use, in its order, and why the others are out."""
    known = {provider.name: provider for provider in providers}
    able: list[Candidate] = []
    rejected: list[Rejection] = []
    # In the persona's own order; a provider named twice counts once.
    chosen = () if ask.first is None else (ask.first,)
    for name in dict.fromkeys((*chosen, *ask.cloud)):
        provider = known.get(name)
        refusal = _provider_refusal(ask, name, provider)
        if provider is None or refusal:
            model = ask.models[0] if provider is None else provider.model
            brief = _BRIEFLY.get(refusal, "" if provider is None else provider.brief)
            beyond = provider is not None and provider.is_beyond
            rejected.append(
                Rejection(name, model, refusal, brief=brief, is_cloud=True, is_beyond=beyond)
            )
        else:
            cost = provider.cost_micro_usd
            words = "price unknown" if cost is None else "free"
            words = f"at most {dollars_text(cost)}" if cost else words
            candidate = Candidate(
                provider.model,
                provider=name,
                seconds=provider.first_token_s,
                cost_micro_usd=cost,
                likely_micro_usd=provider.likely_micro_usd,
                reason=f"cloud, {words}",
            )
            able.append(candidate)
    return able, rejected


def _provider_refusal(ask: RouteAsk, name: ProviderName, provider: ProviderSnapshot | None) -> str:
    """Why this provider is out; nothing when it may serve."""
    if ask.local_only:
        return _LOCAL_ONLY
    if provider is None:
        return _NOT_CONFIGURED
    if name not in ask.cloud:
        return _NOT_ITS_PERSONA
    if ask.order is not None and name not in (*ask.order, ask.first):
        return _NOT_ITS_TYPE
    if not provider.is_serving:
        return provider.reason or "out of service"
    if ask.needs_vision and not provider.vision:
        return _SIGHTLESS
    if provider.context_length is not None and provider.context_length < ask.min_context:
        return f"its context window of {provider.context_length:,} tokens is too small"
    return ""


def _placed(
    ask: RouteAsk,
    home: Sequence[Candidate],
    cloud: Sequence[Candidate],
    providers: Sequence[ProviderSnapshot],
) -> Iterable[Candidate]:
    """Hosts and providers in the order the request type or the strategy wants."""
    if ask.order is not None:
        # Without it here, a provider chosen by name that the order leaves out was neither asked
        # nor said to be out.
        return _in_order((*ask.order, ask.first or LOCAL), home, cloud)
    if ask.strategy == "prefer_cloud":
        return [*cloud, *home]
    if ask.strategy == "cost_optimized":
        return [*home, *sorted(cloud, key=_by_cost)]
    if ask.strategy == "quality_optimized":
        quality = {provider.name: provider.quality for provider in providers}
        ranked = [(quality[c.provider], c) for c in sorted(cloud, key=_by_cost) if c.provider]
        # Sorting keeps the order of equals: of the same quality the cheapest comes first.
        ranked.sort(key=lambda entry: -entry[0])
        better = [candidate for rank, candidate in ranked if rank > LOCAL_QUALITY]
        return [*better, *home, *(c for rank, c in ranked if rank <= LOCAL_QUALITY)]
    return [*home, *cloud]


def _in_order(
    order: Sequence[str], home: Sequence[Candidate], cloud: Sequence[Candidate]
) -> Iterable[Candidate]:
    """A request type's order; hosts it does not name still come last, for they cost nothing."""
    by_name = {candidate.where: candidate for candidate in cloud}
    for name in dict.fromkeys([*order, LOCAL]):
        if name == LOCAL:
            yield from home
        elif name in by_name:
            yield by_name[name]


def _by_cost(candidate: Candidate) -> tuple[float, float]:
    """Cheapest first, an unknown price last; hosts, which cost nothing, are never behind."""
    cost = candidate.cost_micro_usd
    seconds = PROVIDER_FIRST_TOKEN_S if candidate.seconds is None else candidate.seconds
    return (math.inf if cost is None else cost), seconds
