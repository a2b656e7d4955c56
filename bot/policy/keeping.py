"""Which models are to be in memory whether or not anybody asks, and where the next is loaded.

A persona with ``keep_loaded`` wants its model somewhere; a pinned model is wanted on its own host.
Nobody who waits or answers makes way for them: only what has rested for a while.
"""

from collections.abc import Iterable
from dataclasses import replace

from bot.domain.hosts import FleetSnapshot, HostSnapshot, Instance, Wish
from bot.domain.ids import AUTO, HostName
from bot.domain.personas import Persona
from bot.domain.values import value
from bot.policy.breaker import BreakerRules
from bot.policy.prediction import Prediction, RouteAsk, predict_seconds

RESTED_S = 300.0
"""What was used less long ago stays: whoever used it is likely to come back."""
KEEP_RULES = BreakerRules(threshold=1, base_s=60.0, longest_s=3600.0)
"""After a load that left the model out of memory: again after 1, 2, 4 ... minutes."""
KEEPER = "kept loaded"
"""Who asks, in a host's line."""


@value
class Keep:
    """A model to be kept in memory: on one host, or on any where None is named."""

    wish: Wish
    host: HostName | None = None


def kept_by(personas: Iterable[Persona]) -> list[Keep]:
    """What personas want kept, once each; the first one's load settings lead."""
    kept: dict[str, Keep] = {}
    for persona in personas:
        if persona.keep_loaded and persona.model != AUTO:
            context = persona.load.context_length or 0
            wish = Wish(persona.model, persona.load, context, None, KEEPER, priority="low")
            kept.setdefault(persona.model, Keep(replace(wish, purpose="order")))
    return list(kept.values())


def plan_keeping(fleet: FleetSnapshot, kept: Iterable[Keep]) -> list[tuple[Keep, HostName]]:
    """Whom to ask for what, at most one thing of each host; nothing where all is well.

    A copy of ours with a timer is asked for too: a lease that wishes it kept takes the timer off.
    """
    plan: dict[HostName, Keep] = {}
    for keep in kept:
        key = keep.wish.model_key
        hosts = [h for h in fleet.hosts.values() if h.is_serving and keep.host in (None, h.name)]
        copies = [(h.name, i) for h in hosts for i in h.instances if i.model_key == key]
        is_coming = any(key in h.waiting or (h.load and h.load.model_key == key) for h in hosts)
        if is_coming or any(not i.own or i.idle_ttl_s is None for _, i in copies):
            continue
        free = [h for h in hosts if h.load is None and not h.waiting and h.name not in plan]
        timed = [name for name, i in copies if not i.leases and name not in plan]
        soonest = min(filter(None, (_cold(h, keep, fleet.taken_at) for h in free)), default=None)
        if copies:
            plan |= {name: keep for name in timed[:1]}
        elif soonest is not None:
            plan[soonest[1]] = keep
    return [(keep, host) for host, keep in plan.items()]


def _cold(host: HostSnapshot, keep: Keep, now: float) -> tuple[float, HostName] | None:
    """When a host would have it in memory; None where it cannot, or others would make way."""
    wish = keep.wish
    ask = RouteAsk((wish.model_key,), wish.min_context, load=wish.load, is_chat=False)
    found = predict_seconds(host, wish.model_key, ask, now)
    if not isinstance(found, Prediction) or not all(_has_rested(i, now) for i in found.evicts):
        return None
    return found.seconds, host.name


def _has_rested(instance: Instance, now: float) -> bool:
    since = instance.idle_since
    # Another kept one would be loaded again at once, and so on for ever.
    is_kept = instance.own and instance.idle_ttl_s is None
    return not is_kept and since is not None and now - since >= RESTED_S
