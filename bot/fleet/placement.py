"""Decides one load: with which settings, and what must leave memory for it; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from bot.domain.errors import FailureKind
from bot.domain.hosts import HostConfig, Instance, LoadOrder, Model, Wish
from bot.domain.ids import HostName
from bot.domain.personas import LoadSettings
from bot.policy.eviction import NoRoom, RoomPlan, is_evictable, plan_one_more, plan_room
from bot.policy.memory import estimate_bytes, fit_load


@dataclass(frozen=True, slots=True)
class Fits:
    """The load may start once these are gone."""

    order: LoadOrder
    evict: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Blocked:
    """The load must wait until these are at rest."""

    waits_for: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Hopeless:
    """Waiting is no use."""

    kind: FailureKind
    reason: str


Decision = Fits | Blocked | Hopeless


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one host may hold."""

    host: HostName
    memory_bytes: int | None
    max_loaded: int | None
    evict_foreign: bool

    @classmethod
    def of(cls, config: HostConfig, evict_foreign: bool) -> "Limits":
        """The limits of a configured host."""
        return cls(config.name, config.memory_bytes, config.max_loaded, evict_foreign)


def order_for(
    wishes: Sequence[Wish], model: Model, need: int, usual_context: int | None
) -> LoadOrder:
    """One load that serves all these wishes for one model; the first one's settings lead.

    Args:
        wishes: At least one.
        model: As the host's disk has it.
        need: Tokens the largest transcript among them takes.
        usual_context: What this host was seen to load the model with when nothing was said.
    """
    settings = wishes[0].load
    says_nothing = settings.context_length is None
    if says_nothing and usual_context is not None:
        settings = replace(settings, context_length=usual_context)
    settings = _within(fit_load(settings, model, need), model)
    if says_nothing and settings.context_length == usual_context:
        # The host's own default will do: it is left to the host.
        settings = replace(settings, context_length=None)
    idle_ttl_s = _longest(wish.idle_ttl_s for wish in wishes)
    ttl_s = None if idle_ttl_s is None else max(1, ceil(2 * idle_ttl_s))
    return LoadOrder(model.key, model.kind, settings, ttl_s, idle_ttl_s)


def decide_load(
    order: LoadOrder,
    model: Model,
    instances: Sequence[Instance],
    limits: Limits,
    now: float,
    refusal: str | None,
) -> Decision:
    """May this load start, and what must leave first?

    Args:
        order: The load.
        model: As the host's disk has it.
        instances: Everything in memory; those somebody waits for count as leased.
        limits: The host's.
        now: Monotonic seconds.
        refusal: The host's own reason when it refused this load before: one more must leave.
    """
    # Nothing of this model in memory is usable, or nobody would ask for a load: too small.
    outgrown = tuple(i for i in instances if i.model_key == order.model_key and is_evictable(i))
    staying = [i for i in instances if i not in outgrown]
    needed = estimate_bytes(model, order.settings)
    room = plan_room(
        staying,
        needed,
        limits.memory_bytes,
        limits.max_loaded,
        now,
        evict_foreign=limits.evict_foreign,
    )
    match room:
        case RoomPlan(evict=evict):
            if refusal is None:
                return Fits(order, outgrown + evict)
            rest = [i for i in staying if i not in evict]
            return _one_more(order, outgrown + evict, rest, limits, now, refusal)
        case NoRoom(waits_for=waits_for) if waits_for:
            return Blocked(waits_for)
        case NoRoom(reason=reason):
            return Hopeless(
                FailureKind.DOES_NOT_FIT,
                f"{order.model_key} does not fit on {limits.host}: {reason}.",
            )


def _one_more(
    order: LoadOrder,
    evict: tuple[Instance, ...],
    rest: Sequence[Instance],
    limits: Limits,
    now: float,
    refusal: str,
) -> Decision:
    match plan_one_more(rest, now, evict_foreign=limits.evict_foreign):
        case RoomPlan(evict=more):
            return Fits(order, evict + more)
        case NoRoom():
            busy = tuple(i for i in rest if i.own and not i.pinned and i.leases)
            return Blocked(busy) if busy else Hopeless(FailureKind.DOES_NOT_FIT, refusal)


def _within(settings: LoadSettings, model: Model) -> LoadSettings:
    """No more context than the model has."""
    most, asked = model.max_context_length, settings.context_length
    if most is None or asked is None or asked <= most:
        return settings
    return replace(settings, context_length=most)


def _longest(ttls: Iterable[float | None]) -> float | None:
    """The longest rest wished for; None, kept loaded, is longer than any."""
    known = list(ttls)
    return None if None in known else max(t for t in known if t is not None)
