"""One host's instances as it lists them, with what only Lantern knows: leases, owner, rest."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from bot.domain.hosts import Instance, Model, OwnInstance
from bot.domain.ids import InstanceId, InstanceRef, ModelKey
from bot.fleet.signals import Ticket
from bot.policy.memory import with_sizes

SPARED_S = 10.0
"""An instance that would not leave, or works for others, is left in peace for this long."""
LOST_S = 900.0
"""How long a load lost from sight may still end."""
NAMED = "name:"
"""Begins the reference Lantern makes up for an own instance whose host tells none."""


def reference_of(instance: Instance) -> InstanceRef:
    """What one load of one model is known by: the host's own, else made up from its name."""
    return instance.reference or InstanceRef(f"{NAMED}{instance.identifier}")


@dataclass(frozen=True, slots=True)
class LostLoad:
    """A load of ours whose connection broke: it may go on at the host, with nobody there."""

    own: OwnInstance
    """As it would be recorded; its reference is not known yet."""
    ttl_s: int
    """The net it was given: told by the host, it proves whose load this was."""
    since: float


@dataclass(slots=True)
class Holding:
    """One instance and what is known of its use; only the rack writes it."""

    seen: Instance
    since: float
    """When it was first seen."""
    idle_since: float
    own: OwnInstance | None = None
    is_pinned: bool = False
    users: dict[Ticket, str] = field(default_factory=dict[Ticket, str])
    """Who holds it."""
    leaving: str = ""
    """Why it is being unloaded right now, or empty."""
    spared_until: float = 0.0
    last_used: int | None = None
    was_ours: bool = False
    """Did we use it since it was last seen? Then its changed time of use says nothing of others."""

    @property
    def reference(self) -> InstanceRef:
        """What it is known by."""
        return reference_of(self.seen)

    def view(self, held: bool, now: float) -> Instance:
        """The frozen picture; somebody waiting for it, or using it elsewhere, counts as a lease."""
        leases = len(self.users) + (held or now < self.spared_until)
        return replace(
            self.seen,
            own=self.own is not None,
            pinned=self.is_pinned,
            leases=leases,
            idle_since=None if leases else self.idle_since,
            idle_ttl_s=self.own.idle_ttl_s if self.own else None,
        )


class Residents:
    """Everything in one host's memory. The host's list decides what exists."""

    def __init__(self, own: Iterable[OwnInstance]) -> None:
        self._own = {record.reference: record for record in own}
        self._holdings: dict[InstanceRef, Holding] = {}
        self._held_by: dict[Ticket, Holding] = {}
        self._lost: list[LostLoad] = []

    def holding(self, reference: InstanceRef) -> Holding | None:
        """The instance of a reference, when it is in memory."""
        return self._holdings.get(reference)

    def staying(self) -> tuple[Holding, ...]:
        """What is in memory and not on its way out."""
        return tuple(h for h in self._holdings.values() if not h.leaving)

    def serving(self, key: ModelKey, need: int) -> list[Holding]:
        """Instances of a model whose context holds ``need`` tokens; untold counts as enough."""
        return [
            h
            for h in self._holdings.values()
            if h.seen.model_key == key
            and not h.leaving
            and (h.seen.context_length is None or h.seen.context_length >= need)
        ]

    def named(self, identifier: InstanceId) -> Holding | None:
        """The instance of an identifier."""
        found = (h for h in self._holdings.values() if h.seen.identifier == identifier)
        return next(found, None)

    def spare(self, reference: InstanceRef, now: float) -> None:
        """An instance that was to leave and did not is left in peace for a while."""
        holding = self._holdings.get(reference)
        if holding is not None and holding.leaving:
            holding.leaving = ""
            holding.idle_since, holding.spared_until = now, now + SPARED_S

    def is_unloading(self) -> bool:
        """Is anything on its way out?"""
        return any(holding.leaving for holding in self._holdings.values())

    def leases_of(self) -> dict[str, int]:
        """How many leases each user holds."""
        counts: dict[str, int] = {}
        for holding in self._holdings.values():
            for user in holding.users.values():
                counts[user] = counts.get(user, 0) + 1
        return counts

    def has_leases(self) -> bool:
        """Does anybody use anything here?"""
        return bool(self._held_by)

    def views(
        self,
        models: Mapping[ModelKey, Model],
        now: float,
        held: Collection[InstanceRef] = (),
    ) -> tuple[Instance, ...]:
        """Frozen pictures of everything staying; ``held`` are wanted by somebody waiting."""
        pictures = (h.view(h.reference in held, now) for h in self.staying())
        return with_sizes(tuple(pictures), models)

    def see(
        self, residents: Iterable[Instance], now: float
    ) -> tuple[list[Holding], list[InstanceRef]]:
        """Takes over the host's list; what is not in it is gone.

        Returns:
            The instances that left, and the own references that no restart need know any more.
        """
        listed = {reference_of(seen_now): seen_now for seen_now in residents}
        gone = [h for reference, h in self._holdings.items() if reference not in listed]
        self._holdings = {
            reference: self._update(reference, seen_now, now)
            for reference, seen_now in listed.items()
        }
        return gone, self._disown_missing(listed.values())

    def adopt(self, own: OwnInstance) -> None:
        """An instance Lantern loaded."""
        self._own[own.reference] = own
        for holding in self._holdings.values():
            holding.own = self._record_for(holding.seen)

    def expect(self, lost: LostLoad) -> None:
        """A load was lost from sight; when what it made appears, it is ours."""
        self._lost.append(lost)

    def found(self, residents: Iterable[Instance], now: float) -> list[OwnInstance]:
        """Adopts what is ours and was not known by its reference yet; call before ``see``."""
        self._lost = [lost for lost in self._lost if now - lost.since < LOST_S]
        claimed: list[OwnInstance] = []
        for seen_now in residents:
            seen = seen_now
            if seen.reference is None or seen.reference in self._own:
                continue
            own = self._named(seen) or self._taken_from_lost(seen_now)
            if own is not None:
                claimed.append(replace(own, reference=seen.reference, identifier=seen.identifier))
        for own in claimed:
            self.adopt(own)
        return claimed

    def take(self, ticket: Ticket, user: str, holding: Holding) -> None:
        """Gives a lease."""
        holding.users[ticket] = user
        holding.was_ours = True
        self._held_by[ticket] = holding

    def resume(self, ticket: Ticket, user: str, instance: Instance) -> None:
        """Goes on with a lease that was granted before this record was begun."""
        own = self._record_for(instance)
        is_pinned = own is not None and own.pinned
        new = Holding(instance, 0.0, 0.0, own, is_pinned)
        self.take(ticket, user, self._holdings.setdefault(reference_of(instance), new))

    def release(self, ticket: Ticket, now: float) -> None:
        """Ends a lease, if the ticket holds one; its rest counts from now."""
        holding = self._held_by.pop(ticket, None)
        if holding is not None:
            holding.users.pop(ticket, None)
            holding.idle_since = now

    def pin(self, holding: Holding, pinned: bool) -> OwnInstance | None:
        """Pins or unpins; returns the own record that a restart must know."""
        holding.is_pinned = pinned
        if holding.own is None:
            return None
        own = replace(holding.own, pinned=pinned)
        self.adopt(own)
        return own

    def keep_longer(self, holding: Holding, idle_ttl_s: float | None) -> OwnInstance | None:
        """Lets an own instance rest as long as its most patient user wished.

        Returns:
            The own record when it changed.
        """
        own = holding.own
        if own is None or own.idle_ttl_s is None:
            return None
        if idle_ttl_s is not None and idle_ttl_s <= own.idle_ttl_s:
            return None
        changed = replace(own, idle_ttl_s=idle_ttl_s)
        self.adopt(changed)
        return changed

    def _is_listed(self, seen_now: Instance) -> bool:
        return reference_of(seen_now) in self._holdings

    def _update(self, reference: InstanceRef, seen_now: Instance, now: float) -> Holding:
        holding = self._holdings.get(reference)
        record = self._record_for(seen_now)
        if holding is None:
            is_pinned = record is not None and record.pinned
            return Holding(seen_now, now, now, record, is_pinned, last_used=seen_now.last_used)
        if seen_now.last_used != holding.last_used and not holding.was_ours:
            # Another program on the LAN used it: its rest begins anew.
            holding.idle_since = now
        holding.was_ours = bool(holding.users)
        holding.seen, holding.own = seen_now, record
        holding.last_used = seen_now.last_used
        return holding

    def _record_for(self, instance: Instance) -> OwnInstance | None:
        if instance.reference is not None:
            return self._own.get(instance.reference)
        return self._named(instance)

    def _named(self, instance: Instance) -> OwnInstance | None:
        own = self._own.get(InstanceRef(f"{NAMED}{instance.identifier}"))
        return own if own is not None and own.model_key == instance.model_key else None

    def _taken_from_lost(self, seen_now: Instance) -> OwnInstance | None:
        """Claimed only on proof: a load not listed before, of that model, with that very TTL."""
        if self._is_listed(seen_now):
            return None
        lost = next((lost for lost in self._lost if _is_of(lost, seen_now)), None)
        if lost is None:
            return None
        self._lost.remove(lost)
        return lost.own

    def _disown_missing(self, listed: Collection[Instance]) -> list[InstanceRef]:
        records = (self._record_for(seen_now) for seen_now in listed)
        there = {own.reference for own in records if own is not None}
        missing = [reference for reference in self._own if reference not in there]
        if any(seen_now.reference is None for seen_now in listed):
            # This interface tells no references, so it cannot prove that one is gone.
            missing = [reference for reference in missing if reference.startswith(NAMED)]
        for reference in missing:
            del self._own[reference]
        return missing


def _is_of(lost: LostLoad, seen_now: Instance) -> bool:
    is_same_model = seen_now.model_key == lost.own.model_key
    return is_same_model and seen_now.net_ttl_s == lost.ttl_s
