"""Which model is loaded before anybody asks, and where. Pure.

While nobody waits a load costs nobody anything but what it evicts. Two are worth it: a model that
was evicted and will probably be asked for again soon, and one in steady use that another host would
answer with sooner.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bot.domain.chat import Rejection
from bot.domain.hosts import Demand, FleetSnapshot, HostSnapshot, Model, Wish
from bot.domain.ids import HostName, ModelKey
from bot.policy.demand import HORIZON_S, chance, expected_asks
from bot.policy.prediction import (
    USUAL_ANSWER,
    USUAL_PROMPT,
    WRITE_WEIGHT,
    RouteAsk,
    known_model,
    predict_load_s,
    predict_seconds,
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
MOVE_HORIZON_S = 600.0
"""A second copy on a faster host is judged by who asks within so long."""
MOVE_SHARE = 0.5
"""Part of what they gain that counts: they may not come."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """A load that is worth it now."""

    host: HostName
    wish: Wish
    gain_s: float


def plan_ahead(fleet: FleetSnapshot, demands: Mapping[ModelKey, Demand]) -> Ahead | None:
    """The load that spares most; None where none is worth it."""
    hosts = [host for host in fleet.hosts.values() if host.is_serving]
    plans = (plan for key in demands for plan in _plans(hosts, key, demands, fleet.taken_at))
    best = max(plans, key=lambda plan: plan.gain_s, default=None)
    return best if best is not None and best.gain_s > 0.0 else None


def _plans(
    hosts: Sequence[HostSnapshot], key: ModelKey, demands: Mapping[ModelKey, Demand], now: float
) -> Iterator[Ahead]:
    demand = demands[key]
    wish, likely = demand.wish, chance(demand, now)
    if wish is None:
        return
    # Most models are worth no load wherever it were: each prediction spared is one of hundreds.
    asks = MOVE_SHARE * expected_asks(demand, now, MOVE_HORIZON_S)
    there = [_use_s(host, key) for host in hosts if any(i.model_key == key for i in host.instances)]
    if asks * min(there) < WORTH_S if there else likely <= LOAD_SHARE:
        return
    if any(host.load is not None and host.load.model_key == key for host in hosts):
        return
    ask = RouteAsk((key,), wish.min_context, load=wish.load)
    found = [(host, predict_seconds(host, key, ask, now)) for host in hosts]
    able = [(host, said) for host, said in found if not isinstance(said, Rejection)]
    warm = [_use_s(host, key) for host, said in able if not said.load_s]
    cold = [
        (host, said)
        for host, said in able
        if said.load_s and not (said.queue_s or host.waiting or host.load)
    ]
    soonest_s = min((said.load_s for _, said in cold), default=0.0)
    for host, said in cold:
        lost_s = sum(_lost_s(hosts, host, i.model_key, demands, now) for i in said.evicts)
        cost_s, use_s = DOUBT * lost_s + LOAD_SHARE * said.load_s, _use_s(host, key)
        if warm:
            gain_s = asks * (min(warm) - use_s)
        else:
            gain_s = soonest_s * likely
            cost_s += expected_asks(demand, now, HORIZON_S) * use_s
        if gain_s >= WORTH_S:
            yield Ahead(host.name, wish, gain_s - cost_s)


def _lost_s(
    hosts: Sequence[HostSnapshot],
    host: HostSnapshot,
    key: ModelKey,
    demands: Mapping[ModelKey, Demand],
    now: float,
) -> float:
    """What an eviction costs: a load, or where another copy stays, that one's slowness.

    Two models with a copy each on a slow host once took turns on the fast one, a load every 15 s:
    neither was missed there.
    """
    if (demand := demands.get(key)) is None:
        return 0.0
    stays = [
        _use_s(other, key)
        for other in hosts
        if other is not host and any(i.model_key == key for i in other.instances)
    ]
    if not stays:
        load_s, _ = predict_load_s(host, known_model(host, key) or Model(key))
        return load_s * chance(demand, now)
    slower_s = max(0.0, min(stays) - _use_s(host, key))
    return MOVE_SHARE * expected_asks(demand, now, MOVE_HORIZON_S) * slower_s


def _use_s(host: HostSnapshot, key: ModelKey) -> float:
    """What a question costs its asker on a host that has nothing else to do."""
    read_per_s, written_per_s = expected_rates(host, known_model(host, key) or Model(key))
    return USUAL_PROMPT / read_per_s + WRITE_WEIGHT * USUAL_ANSWER / written_per_s
