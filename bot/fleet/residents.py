"""What is in one host's memory: as the host lists it, with what only Lantern knows beside it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from bot.domain.errors import UnknownName
from bot.domain.hosts import Instance, LoadOrder, Model, OwnInstance
from bot.domain.ids import HostName, InstanceRef, ModelKey
from bot.fleet.queue import Ticket
from bot.policy.names import nearest
from bot.policy.placement import with_size

SPARED_S = 10.0
"""An instance that would not leave, or works for others, is left in peace for this long."""
LOST_S = 900.0
"""How long a load lost from sight may still end."""
NAMED = "name:"
"""Begins the reference Lantern makes up for an own instance whose host tells none."""


def reference_of(instance: Instance) -> InstanceRef:
    """What one load of one model is known by: the host's own word, else made up from its name."""
    return instance.reference or InstanceRef(f"{NAMED}{instance.identifier}")


@dataclass(slots=True)
class Resident:
    """One instance and what is known of its use; written by its host's scheduler alone."""

    instance: Instance
    """As the host listed it last."""
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
    was_ours: bool = False
    """Did we use it since it was last seen? Then its changed time of use says nothing of others."""

    @property
    def reference(self) -> InstanceRef:
        """What it is known by."""
        return reference_of(self.instance)

    def view(self, is_wanted: bool) -> Instance:
        """The frozen picture; ``is_wanted`` by somebody waiting counts as one more lease."""
        # Rest is not counted under a lease: it begins when the work ends.
        leases = len(self.users) + is_wanted
        return replace(
            self.instance,
            own=self.own is not None,
            pinned=self.is_pinned,
            leases=leases,
            idle_since=None if leases else self.idle_since,
            idle_ttl_s=self.own.idle_ttl_s if self.own else None,
            spared_until=self.spared_until,
        )


class Residents:
    """Everything in one host's memory. The host's list decides what exists."""

    def __init__(self, host: HostName, own: Iterable[OwnInstance]) -> None:
        self._host = host
        self._own = {record.reference: record for record in own}
        self._all: dict[InstanceRef, Resident] = {}
        self.held: dict[Ticket, Resident] = {}
        """By whom; also what left memory under its holder."""
        self._lost: list[tuple[LoadOrder, float]] = []
        """Loads of ours whose connection broke, and since when: the host may go on with them."""

    def __iter__(self) -> Iterator[Resident]:
        """What is in memory and not on its way out; safe against changes meanwhile."""
        return iter([resident for resident in self._all.values() if not resident.leaving])

    def of(self, instance: Instance) -> Resident:
        """The resident of a picture made of it."""
        return self._all[reference_of(instance)]

    def find(self, name: str) -> list[Resident]:
        """By identifier, else all of a model key.

        Raises:
            UnknownName: nothing of that name is in memory.
        """
        found = [r for r in self if r.instance.identifier == name]
        found = found or [r for r in self if r.instance.model_key == name]
        if not found:
            known = sorted({str(r.instance.identifier) for r in self})
            raise UnknownName("loaded model", name, nearest(name, known))
        return found

    def views(
        self, models: Mapping[ModelKey, Model], wanted: Collection[InstanceRef] = ()
    ) -> tuple[Instance, ...]:
        """Frozen pictures of everything staying; ``wanted`` by somebody counts as leased."""
        return tuple(with_size(r.view(r.reference in wanted), models) for r in self)

    def is_unloading(self) -> bool:
        """Is anything on its way out?"""
        return any(resident.leaving for resident in self._all.values())

    def leases_of(self) -> dict[str, int]:
        """How many leases each user holds."""
        counts: dict[str, int] = {}
        for resident in self._all.values():
            for user in resident.users.values():
                counts[user] = counts.get(user, 0) + 1
        return counts

    def take(self, ticket: Ticket, user: str, resident: Resident) -> None:
        """Gives a lease."""
        # Our own use moves the host's "last used" too, and is seen only at the next probe.
        resident.users[ticket] = user
        resident.was_ours = True
        self.held[ticket] = resident

    def resume(self, ticket: Ticket, user: str, instance: Instance) -> None:
        """Goes on with a lease that was granted before this record was begun."""
        # As old as can be, so that it is not taken for what a load under way is making.
        own = self._record_for(instance)
        new = Resident(instance, 0.0, 0.0, own, own is not None and own.pinned)
        self.take(ticket, user, self._all.setdefault(reference_of(instance), new))

    def release(self, ticket: Ticket, now: float) -> None:
        """Ends a lease, if the ticket holds one; its rest counts from now."""
        # It may have left memory meanwhile: giving it back changes nothing then.
        resident = self.held.pop(ticket, None)
        if resident is not None:
            del resident.users[ticket]
            resident.idle_since = now

    def spare(self, reference: InstanceRef, now: float) -> None:
        """An instance that was to leave and did not is left in peace for a while.

        Without a pause the next look would ask the same host the same again, several times a second
        while anybody waits for the room.
        """
        resident = self._all.get(reference)
        if resident is not None and resident.leaving:
            resident.leaving = ""
            resident.idle_since, resident.spared_until = now, now + SPARED_S

    def adopt(self, own: OwnInstance) -> None:
        """An instance Lantern loaded, or what is now to be known of it."""
        # Another record may be the truth of a resident seen before its load had ended.
        self._own[own.reference] = own
        for resident in self._all.values():
            resident.own = self._record_for(resident.instance)

    def expect(self, order: LoadOrder, since: float) -> None:
        """A load was lost from sight; when what it made appears, it is ours."""
        self._lost.append((order, since))

    def see(
        self, listed: Iterable[Instance], now: float
    ) -> tuple[list[OwnInstance], list[Resident], list[InstanceRef]]:
        """Takes over the host's list; what is not in it is gone.

        Returns:
            What is found to be ours, what left, and the own references that no restart need know.
        """
        there = {reference_of(instance): instance for instance in listed}
        claimed = self._claimed(there, now)
        for own in claimed:
            self.adopt(own)
        gone = [resident for ref, resident in self._all.items() if ref not in there]
        self._all = {ref: self._seen(ref, instance, now) for ref, instance in there.items()}
        known = {own.reference for own in map(self._record_for, there.values()) if own is not None}
        missing = [reference for reference in self._own if reference not in known]
        if any(instance.reference is None for instance in there.values()):
            # This interface tells no references, so it cannot prove that one is gone.
            missing = [reference for reference in missing if reference.startswith(NAMED)]
        for reference in missing:
            del self._own[reference]
        return claimed, gone, missing

    def _claimed(self, there: Mapping[InstanceRef, Instance], now: float) -> list[OwnInstance]:
        """What is ours and was not known by its reference yet.

        A lost load is claimed only on proof: an instance not listed before, of that model, with the
        very TTL it was ordered with. Others on the LAN load the same models under the same names.
        """
        self._lost = [lost for lost in self._lost if now - lost[1] < LOST_S]
        claimed: list[OwnInstance] = []
        for reference, instance in there.items():
            if instance.reference is None or reference in self._own:
                continue
            own, key, identifier = self._named(instance), instance.model_key, instance.identifier
            for lost in self._lost if own is None and reference not in self._all else ():
                order = lost[0]
                if (order.model_key, order.ttl_s) == (key, instance.net_ttl_s):
                    own = OwnInstance(self._host, reference, identifier, key, order.idle_ttl_s)
                    self._lost.remove(lost)
                    break
            if own is not None:
                claimed.append(replace(own, reference=reference, identifier=identifier))
        return claimed

    def _seen(self, reference: InstanceRef, instance: Instance, now: float) -> Resident:
        resident, own = self._all.get(reference), self._record_for(instance)
        if resident is None:
            return Resident(instance, now, now, own, own is not None and own.pinned)
        if instance.last_used != resident.instance.last_used and not resident.was_ours:
            # Another program on the LAN used it: its rest begins anew.
            resident.idle_since = now
        resident.was_ours = bool(resident.users)
        resident.instance, resident.own = instance, own
        return resident

    def _record_for(self, instance: Instance) -> OwnInstance | None:
        if instance.reference is not None:
            return self._own.get(instance.reference)
        return self._named(instance)

    def _named(self, instance: Instance) -> OwnInstance | None:
        """The record of an instance that was loaded while the host told no references."""
        own = self._own.get(InstanceRef(f"{NAMED}{instance.identifier}"))
        return own if own is not None and own.model_key == instance.model_key else None
