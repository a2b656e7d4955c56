"""Which model is loaded before anybody asks, and where. Pure.

While nobody waits a load costs nobody anything but what it evicts. Two are worth it: a model that
was evicted and will probably be asked for again soon, and one in steady use that another host would
answer with sooner.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter

from bot.domain.hosts import Demand, FleetSnapshot, HostSnapshot, Model, Wish
from bot.domain.ids import HostName, ModelKey
from bot.domain.values import value
from bot.policy.demand import (
    COPY_HORIZON_S,
    COPY_SHARE,
    HORIZON_S,
    chance,
    expected_asks,
    missed_s,
)
from bot.policy.placement import left_alone
from bot.policy.prediction import (
    Prediction,
    RouteAsk,
    known_model,
    predict_load_s,
    predict_seconds,
    usual_s,
)
from bot.policy.speeds import expected_rates

AHEAD = "ahead"
"""Who asks, in a host's line."""
WORTH_S = 2.0
"""Seconds that a load must spare those who will ask, at the least."""
DOUBT = 1.5
"""What an eviction costs is known no better than what it gains, and counts so much more."""
LOAD_SHARE = 0.2
"""Part of a load's seconds that counts as its cost: others may come to wait for it."""


@value
class Ahead:
    """A load that is worth it now."""

    host: HostName
    wish: Wish
    gain_s: float


@value
class _Look:
    """All that one look goes by."""

    quiet: Sequence[HostSnapshot]
    """Where nobody waits or loads."""
    holders: Mapping[ModelKey, Sequence[HostSnapshot]]
    """Who has each model in memory."""
    demands: Mapping[ModelKey, Demand]
    now: float


def plan_ahead(fleet: FleetSnapshot, demands: Mapping[ModelKey, Demand]) -> Ahead | None:
    """The load that spares most; None where none is worth it."""
    now = fleet.taken_at
    hosts = [
        replace(host, instances=left_alone(host.instances, now))
        for host in fleet.hosts.values()
        if host.is_serving
    ]
    holders = defaultdict[ModelKey, list[HostSnapshot]](list)
    for host in hosts:
        for key in {instance.model_key for instance in host.instances}:
            holders[key].append(host)
    quiet = [host for host in hosts if not (host.waiting or host.load)]
    look, best = _Look(quiet, holders, demands, now), None
    loading = {host.load.model_key for host in hosts if host.load is not None}
    chances = [c for key in demands if key not in loading for c in _chances(look, key)]
    # Those that could spare most first: with a hundred hosts and models, each of them predicted,
    # one look took a quarter of a second, and there is one a second.
    for most_s, gain_s, host, wish in sorted(chances, key=itemgetter(0), reverse=True):
        least_s = best.gain_s if best is not None else 0.0
        if most_s <= least_s:
            break
        if (said := _cold(host, wish, look.now)) is not None:
            lost_s = sum(_lost_s(look, host, i.model_key) for i in said.evicts)
            net_s = gain_s - DOUBT * lost_s - LOAD_SHARE * said.load_s
            best = Ahead(host.name, wish, net_s) if net_s > least_s else best
    return best


def _chances(look: _Look, key: ModelKey) -> Iterator[tuple[float, float, HostSnapshot, Wish]]:
    """Loads of one model that may be worth it: what each spares at most, and before its costs."""
    demand, now = look.demands[key], look.now
    wish, likely = demand.wish, chance(demand, now)
    if wish is None:
        return
    # Most models are worth no load wherever it were: each prediction spared is one of hundreds.
    asks = COPY_SHARE * expected_asks(demand, now, COPY_HORIZON_S)
    there = {host.name: _use_s(host, key) for host in look.holders.get(key, ())}
    if asks * min(there.values()) < WORTH_S if there else likely <= LOAD_SHARE:
        return
    ask = RouteAsk((key,), wish.min_context)
    found = [(h.name, predict_seconds(h, key, ask, now)) for h in look.holders.get(key, ())]
    warm = [there[n] for n, said in found if isinstance(said, Prediction) and not said.load_s]
    able = [(predict_load_s(h, h.models[key])[0], h) for h in look.quiet if key in h.models]
    soonest_s = 0.0 if warm else _soonest_s(able, wish, now)
    for load_s, host in able:
        use_s = _use_s(host, key)
        gain_s = asks * (min(warm) - use_s) if warm else soonest_s * likely
        if gain_s >= WORTH_S:
            if not warm:
                gain_s -= expected_asks(demand, now, HORIZON_S) * use_s
            yield gain_s - LOAD_SHARE * load_s, gain_s, host, wish


def _soonest_s(able: Sequence[tuple[float, HostSnapshot]], wish: Wish, now: float) -> float:
    """Seconds of the quickest load there could be; ``able`` are with those of the load alone.

    Infinite where none could be: whoever is looked at closely then cannot load it either.
    """
    soonest_s = math.inf
    for load_s, host in sorted(able, key=itemgetter(0)):
        if load_s >= soonest_s:
            break
        if (said := _cold(host, wish, now)) is not None:
            soonest_s = min(soonest_s, said.load_s)
    return soonest_s


def _cold(host: HostSnapshot, wish: Wish, now: float) -> Prediction | None:
    """A load that could begin at once; None where there is none to be had."""
    ask = RouteAsk((wish.model_key,), wish.min_context, load=wish.load)
    said = predict_seconds(host, wish.model_key, ask, now)
    if not isinstance(said, Prediction) or said.queue_s or not said.load_s:
        return None
    return said


def _lost_s(look: _Look, host: HostSnapshot, key: ModelKey) -> float:
    """What an eviction costs: a load, or where another copy stays, that one's slowness."""
    if (demand := look.demands.get(key)) is None:
        return 0.0
    stays = [_use_s(other, key) for other in look.holders.get(key, ()) if other is not host]
    slower_s = min(stays) - _use_s(host, key) if stays else None
    load_s, _ = predict_load_s(host, known_model(host, key) or Model(key))
    return missed_s(demand, look.now, load_s, slower_s)


def _use_s(host: HostSnapshot, key: ModelKey) -> float:
    return usual_s(expected_rates(host, known_model(host, key) or Model(key)))
