"""What is in one host's memory: as the host lists it, with what only Lantern knows beside it."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableSequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import NamedTuple

from bot.domain.errors import UnknownName
from bot.domain.events import FleetEvent, UnloadCause
from bot.domain.hosts import Instance, LoadOrder, Model, OwnInstance
from bot.domain.ids import HostName, InstanceRef, ModelKey
from bot.fleet.queue import Ticket
from bot.policy.names import nearest
from bot.policy.placement import size_of
from bot.policy.spill import LEAST_SLOW, slowdown

SPARED_S = 10.0
"""An instance that would not leave, or works for others, is left in peace for this long."""
FRESH_S = 60.0
"""What came into memory makes way for no guess so soon: two models took turns every second."""
LOST_S = 900.0
"""How long a load lost from sight may still end."""
STRAY_S = 5.0
"""After the last answer of an instance that vanished, how long a copy may still be its work."""
NAMED = "name:"
"""Begins the reference Lantern makes up for an own instance whose host tells none."""


def reference_of(instance: Instance) -> InstanceRef:
    """What one load of one model is known by: the host's own word, else made up from its name."""
    return instance.reference or InstanceRef(f"{NAMED}{instance.identifier}")


class LostLoad(NamedTuple):
    """A load that was lost from sight before its end."""

    order: LoadOrder
    began_at: float
    may_go_on: bool = False
    """Was nothing lost but who waited for it, so that its host goes on with it?"""


@dataclass(slots=True)
class Resident:
    """One instance and what is known of its use; written by its host's scheduler alone."""

    reference: InstanceRef
    """What it is known by."""
    instance: Instance
    """As the host listed it last."""
    since: float
    """When it was first seen."""
    idle_since: float
    own: OwnInstance | None = None
    is_pinned: bool = False
    users: dict[Ticket, str] = field(default_factory=dict[Ticket, str])
    """Who holds it."""
    granted_at: dict[Ticket, float] = field(default_factory=dict[Ticket, float])
    """Since when; of those who held it before this record was begun nobody knows."""
    leaving: str = ""
    """Why it is being unloaded right now, or empty."""
    cause: UnloadCause = "elsewhere"
    """The same in one word; means something while it is leaving."""
    spared_until: float = 0.0
    rates: list[float] = field(default_factory=list[float])
    """Tokens a second of its newest answers that had the host to themselves, oldest first."""
    slowdown: float = 1.0
    uses: int = 0
    """Of ours since it was last seen: then its changed time of use says nothing of others."""
    seen_at: float = 0.0
    """When the host last listed it."""
    reading: set[Ticket] = field(default_factory=set[Ticket])
    """Who of its holders has not heard the first word yet."""
    conversations: tuple[str, ...] = ()
    """As in ``Instance``; the newest last."""
    is_awaited: bool = False
    """Ordered, or loaded for somebody about to ask, and not asked for since."""
    is_stray: bool = False
    """Loaded by LM Studio of its own accord for a turn of ours whose instance was gone."""

    def run_s(self, now: float) -> list[float]:
        """How long each of its answers has been running; 0.0 where nobody knows."""
        return [now - self.granted_at.get(ticket, now) for ticket in self.users]

    def view(
        self,
        is_wanted: bool,
        models: Mapping[ModelKey, Model],
        missed_s: float = 0.0,
        *,
        is_kept_free: bool = False,
    ) -> Instance:
        """The frozen picture; ``is_wanted`` by somebody waiting counts as one more lease."""
        # Rest is not counted under a lease: it begins when the work ends.
        leases, listed = len(self.users) + is_wanted, self.instance
        model = models.get(listed.model_key)
        is_kept = self.own is not None and self.own.idle_ttl_s is None
        awaited_until = math.inf if self.is_awaited or is_kept else self.since + FRESH_S
        # Each field by its name: for every answer there are several of these, and ``replace``
        # looks all of them up.
        return Instance(
            identifier=listed.identifier,
            model_key=listed.model_key,
            reference=listed.reference,
            context_length=listed.context_length,
            parallel=listed.parallel,
            size_bytes=size_of(listed, models),
            weights_bytes=model.weights_bytes if model else None,
            token_bytes=model.token_bytes if model else None,
            kind=listed.kind,
            own=self.own is not None,
            pinned=self.is_pinned,
            leases=leases,
            reading=len(self.reading),
            answers_since=tuple(self.granted_at.values()),
            idle_since=None if leases else self.idle_since,
            idle_ttl_s=self.own.idle_ttl_s if self.own else None,
            last_used=listed.last_used,
            net_ttl_s=listed.net_ttl_s,
            slowdown=self.slowdown,
            spared_until=self.spared_until,
            conversations=self.conversations,
            is_kept_free=is_kept_free,
            missed_s=missed_s,
            awaited_until=awaited_until,
        )


class Residents:
    """Everything in one host's memory. The host's list decides what exists."""

    def __init__(self, host: HostName, own: Iterable[OwnInstance]) -> None:
        self._host = host
        self._own = {record.reference: record for record in own}
        self.all: dict[InstanceRef, Resident] = {}
        """What is on its way out included."""
        self.held: dict[Ticket, Resident] = {}
        """By whom; also what left memory under its holder."""
        self.lost: list[LostLoad] = []
        """Loads of ours whose connection broke, and when they began: what one of them makes is ours
        when it appears, for the host may go on with it."""
        self._vanished: list[Resident] = []
        """What left memory by itself while turns of ours may have been on their way to it."""

    def __iter__(self) -> Iterator[Resident]:
        """What is in memory and not on its way out; safe against changes meanwhile."""
        return iter([resident for resident in self.all.values() if not resident.leaving])

    def of(self, key: ModelKey) -> list[Resident]:
        """The copies of one model."""
        # Asked of each who waits, at every event.
        there = self.all.values()
        return [r for r in there if r.instance.model_key == key and not r.leaving]

    def find(self, name: str) -> list[Resident]:
        """By identifier, else all of a model key; by what is both, all of them.

        A first copy's identifier is the key as well: of two that were meant one stayed.

        Raises:
            UnknownName: nothing of that name is in memory.
        """
        found = [r for r in self if r.instance.identifier == name]
        if all(r.instance.model_key == name for r in found):
            found = self.of(ModelKey(name))
        if not found:
            known = sorted({str(r.instance.identifier) for r in self})
            raise UnknownName("loaded model", name, nearest(name, known))
        return found

    def views(
        self,
        models: Mapping[ModelKey, Model],
        wanted: Collection[InstanceRef] = (),
        missed_s: Callable[[Resident], float] = lambda _: 0.0,
        kept_free: Collection[InstanceRef] = (),
    ) -> tuple[Instance, ...]:
        """Frozen pictures of everything staying.

        Args:
            models: What is on the host's disk, for sizes that it does not tell of its memory.
            wanted: By somebody; counts as leased.
            missed_s: What an eviction would cost those who ask for the model next.
            kept_free: These take no new turns.
        """
        views = [
            r.view(
                r.reference in wanted,
                models,
                missed_s(r),
                is_kept_free=r.reference in kept_free,
            )
            for r in self
        ]
        return tuple(views)

    def is_unloading(self) -> bool:
        """Is anything on its way out?"""
        return any(resident.leaving for resident in self.all.values())

    def take(self, ticket: Ticket, user: str, resident: Resident, now: float | None = None) -> None:
        """Gives a lease; ``now`` is None where nobody knows since when it runs."""
        # Our own use moves the host's "last used" too, and is seen only at the next probe.
        resident.users[ticket] = user
        if now is not None:
            resident.granted_at[ticket] = now
        resident.uses += 1
        resident.reading.add(ticket)
        self.held[ticket] = resident

    def give_back(self, ticket: Ticket, now: float) -> None:
        """Ends a lease, where there is one."""
        if (resident := self.held.pop(ticket, None)) is not None:
            # It may have left memory meanwhile: giving it back changes nothing then.
            del resident.users[ticket]
            resident.granted_at.pop(ticket, None)
            resident.reading.discard(ticket)
            resident.idle_since = now

    def resume(self, ticket: Ticket, user: str, instance: Instance) -> None:
        """Goes on with a lease that was granted before this record was begun."""
        # As old as can be, so that it is not taken for what a load under way is making.
        own = self._record_for(instance)
        reference = reference_of(instance)
        new = Resident(reference, instance, 0.0, 0.0, own, own is not None and own.pinned)
        self.take(ticket, user, self.all.setdefault(reference, new))

    def adopt(self, own: OwnInstance) -> None:
        """An instance Lantern loaded, or what is now to be known of it."""
        # Another record may be the truth of a resident seen before its load had ended.
        self._own[own.reference] = own
        for resident in self.all.values():
            resident.own = self._record_for(resident.instance)

    def timed(
        self, copy: Resident, rate: float, usual: MutableSequence[float]
    ) -> tuple[FleetEvent, ...]:
        """One answer of a copy had the host to itself; news when it turns slow, or quick again.

        Args:
            copy: Whose answer it was.
            rate: Tokens a second.
            usual: The same of its model's newest answers here; takes in this one.
        """
        was_slow = copy.slowdown > 1.0
        usual.append(rate)
        copy.rates = [*copy.rates, rate][-LEAST_SLOW:]
        copy.slowdown = slowdown(usual, copy.rates)
        if (copy.slowdown > 1.0) is was_slow:
            return ()
        told = f"{rate:.1f} tokens a second, where {median(usual):.1f} are usual"
        what, instance = "model quick" if was_slow else "model slow", copy.instance
        return (FleetEvent(what, self._host, instance.model_key, told, instance.identifier),)

    def see(
        self, listed: Iterable[Instance], now: float, loading: ModelKey | None
    ) -> tuple[list[OwnInstance], list[Resident], list[InstanceRef]]:
        """Takes over the host's list; what is not in it is gone.

        Args:
            listed: What the host says it has.
            now: Monotonic seconds.
            loading: What is being loaded for us: such a copy is listed before we know it as ours.

        Returns:
            What is found to be ours, what left, and the own references that no restart need know.
        """
        there = {reference_of(instance): instance for instance in listed}
        claimed = self._claimed(there, now)
        for own in claimed:
            self.adopt(own)
        gone = [resident for ref, resident in self.all.items() if ref not in there]
        self.all = {ref: self._seen(ref, instance, now) for ref, instance in there.items()}
        self._vanished += [resident for resident in gone if resident.uses and not resident.leaving]
        claimed += self._strays(now, loading)
        known = {own.reference for own in map(self._record_for, there.values()) if own is not None}
        missing = [reference for reference in self._own if reference not in known]
        if any(instance.reference is None for instance in there.values()):
            # This interface tells no references, so it cannot prove that one is gone.
            missing = [reference for reference in missing if reference.startswith(NAMED)]
        for reference in missing:
            del self._own[reference]
        return claimed, gone, missing

    def went_away(self) -> None:
        """The host's LM Studio is not there, and with it no load that went on."""
        self.lost = [lost._replace(may_go_on=False) for lost in self.lost]

    def _claimed(self, there: Mapping[InstanceRef, Instance], now: float) -> list[OwnInstance]:
        """What is ours and was not known by its reference yet.

        A lost load is claimed only on proof: an instance not listed before, of that model, with the
        very TTL it was ordered with. Others on the LAN load the same models under the same names.
        """
        self.lost = [lost for lost in self.lost if now - lost.began_at < LOST_S]
        claimed: list[OwnInstance] = []
        for reference, instance in there.items():
            if instance.reference is None or reference in self._own:
                continue
            own, identifier = self._record_for(instance), instance.identifier
            for lost in self.lost if own is None and reference not in self.all else ():
                order, key = lost.order, instance.model_key
                if (order.model_key, order.ttl_s) == (key, instance.net_ttl_s):
                    own = OwnInstance(self._host, reference, identifier, key, order.idle_ttl_s)
                    self.lost.remove(lost)
                    break
            if own is not None:
                claimed.append(replace(own, reference=reference))
        return claimed

    def _strays(self, now: float, loading: ModelKey | None) -> list[OwnInstance]:
        """What LM Studio loaded just in time for turns of ours, now known as ours.

        With JIT on a request to an instance that is gone loads the model once more, without our
        settings or timer, and several at once several copies (LM Studio's tracker, bug 1751): three
        of one model stayed in memory with nobody owning them. Others have such copies too, so there
        are never more of ours than turns that were on their way, and only those with a timer, which
        every such load has and few by hand.
        """
        self._vanished = [r for r in self._vanished if r.users or now - r.idle_since < STRAY_S]
        strays: list[OwnInstance] = []
        for lost in self._vanished:
            key = lost.instance.model_key
            for reference, found in self.all.items():
                seen, is_known = found.instance, found.own is not None
                if not lost.uses or is_known or seen.model_key != key or key == loading:
                    continue
                if seen.net_ttl_s is None or found.since < lost.seen_at:
                    continue
                lost.uses -= 1
                own = OwnInstance(self._host, reference, seen.identifier, key, 0.0)
                # One dictionary for both: whoever gives back the one that is gone frees this too.
                found.is_stray, found.users, found.granted_at = True, lost.users, lost.granted_at
                self.adopt(own)
                strays.append(own)
        return strays

    def _seen(self, reference: InstanceRef, instance: Instance, now: float) -> Resident:
        resident, own = self.all.get(reference), self._record_for(instance)
        if resident is None:
            is_pinned = own is not None and own.pinned
            return Resident(reference, instance, now, now, own, is_pinned, seen_at=now)
        if instance.last_used != resident.instance.last_used and not resident.uses:
            # Another program on the LAN used it: its rest begins anew.
            resident.idle_since = now
        resident.uses, resident.seen_at = len(resident.users), now
        resident.instance, resident.own = instance, own
        return resident

    def _record_for(self, instance: Instance) -> OwnInstance | None:
        if instance.reference is not None and instance.reference in self._own:
            return self._own[instance.reference]
        # Loaded while the host told no references.
        own = self._own.get(InstanceRef(f"{NAMED}{instance.identifier}"))
        return own if own is not None and own.model_key == instance.model_key else None
