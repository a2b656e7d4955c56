"""Which model is loaded before anybody asks, and where. Pure.

While nobody waits a load costs nobody anything but what it evicts. Two are worth it: a model that
was evicted and will probably be asked for again soon, and one in steady use that another host would
answer with sooner.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bot.domain.chat import Rejection
from bot.domain.hosts import Demand, FleetSnapshot, HostSnapshot, Wish
from bot.domain.ids import HostName, ModelKey
from bot.policy.demand import HORIZON_S, chance, expected_asks
from bot.policy.prediction import WRITE_WEIGHT, Prediction, RouteAsk, predict_seconds

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
    """The load that spares most; None while anybody waits, or where none is worth it."""
    hosts = [host for host in fleet.hosts.values() if host.is_serving]
    if not hosts or any(host.waiting or host.load for host in hosts):
        return None
    plans = (plan for demand in demands.values() for plan in _plans(hosts, demand, fleet.taken_at))
    best = max(plans, key=lambda plan: plan.gain_s, default=None)
    return best if best is not None and best.gain_s > 0.0 else None


def _plans(hosts: list[HostSnapshot], demand: Demand, now: float) -> Iterator[Ahead]:
    wish = demand.wish
    if wish is None:
        return
    key = wish.model_key
    ask = RouteAsk((key,), wish.min_context, min(USUAL_PROMPT, wish.min_context), load=wish.load)
    found = [(host, predict_seconds(host, key, ask, now)) for host in hosts]
    able = [(host, said) for host, said in found if not isinstance(said, Rejection)]
    warm = [_use_s(said) for _, said in able if not said.load_s]
    cold = [(host, said) for host, said in able if said.load_s and not said.queue_s]
    soonest_s = min((said.load_s for _, said in cold), default=0.0)
    for host, said in cold:
        cost_s = DOUBT * sum(i.missed_s for i in said.evicts) + LOAD_SHARE * said.load_s
        if warm:
            asks = MOVE_SHARE * expected_asks(demand, now, MOVE_HORIZON_S)
            gain_s = asks * (min(warm) - _use_s(said))
        else:
            gain_s = soonest_s * chance(demand, now)
            cost_s += expected_asks(demand, now, HORIZON_S) * _use_s(said)
        if gain_s >= WORTH_S:
            yield Ahead(host.name, wish, gain_s - cost_s)


USUAL_PROMPT = 500
"""Tokens to be read for one question, most of them follow-ups."""


def _use_s(said: Prediction) -> float:
    return said.prefill_s + WRITE_WEIGHT * said.write_s
