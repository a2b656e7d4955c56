"""Whether a model is loaded before anybody asks, because somebody seems about to."""

from bot.domain.hosts import HostSnapshot, Wish
from bot.policy.prediction import Prediction, RouteAsk, predict_seconds

WARM_UP_EVERY_S = 120.0
"""Least seconds between two guesses about one person, right or wrong."""

WARM_UP_TTL_S = 600.0
"""A wrong guess leaves memory after so long; a question meanwhile makes it stay as usual."""

WARM_UP = "warm-up"
"""Who asks, in a host's line."""


def may_warm_up(host: HostSnapshot, wish: Wish, now: float) -> bool:
    """Whether loading it there now takes nothing of anybody.

    The host serves, is at rest, does not hold the model, and has room for it as it stands: nothing
    leaves memory for a guess, and no question finds one before it in line.
    """
    is_at_rest = host.load is None and not any(host.waiting.values())
    # A load slows answers on the same machine.
    is_busy = any(instance.leases for instance in host.instances)
    if not host.is_serving or not is_at_rest or host.has_loaded(wish.model_key) or is_busy:
        return False
    ask = RouteAsk((wish.model_key,), wish.min_context, load=wish.load)
    found = predict_seconds(host, wish.model_key, ask, now)
    return isinstance(found, Prediction) and not found.evicts
