"""Which instances leave memory: because they rested too long, or to make room for a load."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bot.domain.hosts import Instance
from bot.policy.memory import instance_bytes


@dataclass(frozen=True, slots=True)
class RoomPlan:
    """The load fits once these are unloaded, in this order; nothing when it fits already."""

    evict: tuple[Instance, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The load does not fit now."""

    reason: str
    waits_for: tuple[Instance, ...] = ()
    """Leased instances of our own that would make room once idle; empty: waiting is no use."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a load needs and what the host has; None means no limit is known."""

    needed_bytes: int | None
    memory_bytes: int | None
    max_loaded: int | None

    def fits_beside(self, instances: Sequence[Instance]) -> bool:
        """Does the load fit while these stay in memory?"""
        if self.max_loaded is not None and len(instances) >= self.max_loaded:
            return False
        if self.needed_bytes is None or self.memory_bytes is None:
            return True
        return sum(map(instance_bytes, instances)) + self.needed_bytes <= self.memory_bytes


def plan_idle_eviction(
    instances: Iterable[Instance], now: float, *, evict_foreign: bool = False
) -> tuple[Instance, ...]:
    """Instances idle for their whole TTL, counted from the end of work; longest idle first."""
    overdue = (
        instance
        for instance in instances
        if is_evictable(instance, evict_foreign=evict_foreign) and _is_overdue(instance, now)
    )
    return _least_recent_first(overdue, now)


def plan_room(
    instances: Sequence[Instance],
    needed_bytes: int | None,
    memory_bytes: int | None,
    max_loaded: int | None,
    now: float,
    *,
    evict_foreign: bool = False,
) -> RoomPlan | NoRoom:
    """Make room for one load: the least recently used, and no more of them than needed.

    Leased and pinned instances stay, foreign ones too unless ``evict_foreign``.
    """
    room = Room(needed_bytes, memory_bytes, max_loaded)
    if room.fits_beside(instances):
        return RoomPlan((), "fits")
    if (evict := _smallest_set(instances, room, now, evict_foreign)) is not None:
        return RoomPlan(evict, f"after evicting {names(evict)}")
    at_rest = [replace(i, leases=0, idle_since=_idle_since(i, now)) for i in instances]
    if (later := _smallest_set(at_rest, room, now, evict_foreign)) is not None:
        wanted = {instance.identifier for instance in later}
        waits_for = tuple(i for i in instances if i.leases and i.identifier in wanted)
        return NoRoom(f"waits for {names(waits_for)} to finish", waits_for)
    return NoRoom(_why_no_room(instances, room, evict_foreign=evict_foreign))


def plan_one_more(
    instances: Iterable[Instance], now: float, *, evict_foreign: bool = False
) -> RoomPlan | NoRoom:
    """The one instance to evict when the host itself refused a load that should have fitted."""
    idle = (i for i in instances if is_evictable(i, evict_foreign=evict_foreign))
    if not (order := _least_recent_first(idle, now)):
        return NoRoom("the host refused and nothing idle of ours is left to evict")
    return RoomPlan(order[:1], f"the host refused; after evicting {names(order[:1])}")


def is_evictable(instance: Instance, *, evict_foreign: bool = False) -> bool:
    """May this instance be unloaded to make room or for resting too long?"""
    return not instance.leases and not instance.pinned and (instance.own or evict_foreign)


def names(instances: Iterable[Instance]) -> str:
    """The instances' model keys as a list for people."""
    return ", ".join(instance.model_key for instance in instances)


def _is_overdue(instance: Instance, now: float) -> bool:
    if instance.idle_ttl_s is None or instance.idle_since is None:
        return False
    return now - instance.idle_since >= instance.idle_ttl_s


def _least_recent_first(instances: Iterable[Instance], now: float) -> tuple[Instance, ...]:
    """Longest idle first; one whose idle time is unknown counts as used just now."""
    return tuple(sorted(instances, key=lambda i: (_idle_since(i, now), i.identifier)))


def _idle_since(instance: Instance, now: float) -> float:
    return now if instance.idle_since is None else instance.idle_since


def _smallest_set(
    instances: Sequence[Instance], room: Room, now: float, evict_foreign: bool
) -> tuple[Instance, ...] | None:
    """Least recently used until the load fits, without those that turn out not to be needed."""
    chosen: list[Instance] = []
    candidates = (i for i in instances if is_evictable(i, evict_foreign=evict_foreign))
    for instance in _least_recent_first(candidates, now):
        chosen.append(instance)
        if room.fits_beside(_without(instances, chosen)):
            return tuple(_needed_only(instances, chosen, room))
    return None


def _needed_only(
    instances: Sequence[Instance], chosen: Sequence[Instance], room: Room
) -> list[Instance]:
    """Spare the most recently used first."""
    needed = list(chosen)
    for instance in reversed(chosen):
        fewer = [other for other in needed if other is not instance]
        if room.fits_beside(_without(instances, fewer)):
            needed = fewer
    return needed


def _without(instances: Sequence[Instance], gone: Sequence[Instance]) -> list[Instance]:
    identifiers = {instance.identifier for instance in gone}
    return [instance for instance in instances if instance.identifier not in identifiers]


def _why_no_room(instances: Sequence[Instance], room: Room, *, evict_foreign: bool) -> str:
    if room.memory_bytes is not None and (room.needed_bytes or 0) > room.memory_bytes:
        return f"needs about {_gb(room.needed_bytes or 0)}, the host has {_gb(room.memory_bytes)}"
    stay = [i for i in instances if i.pinned or not (i.own or evict_foreign)]
    kept = names(i for i in stay if i.pinned)
    foreign = names(i for i in stay if not i.pinned)
    parts = [f"pinned: {kept}"] * bool(kept) + [f"loaded by others: {foreign}"] * bool(foreign)
    return f"what is in memory must stay ({'; '.join(parts) or 'no room at all'})"


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
