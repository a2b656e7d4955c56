"""The messages of one reply, what each shows, and the next call that brings them up to date."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from cogs._faults import SENDING_ERRORS, Fault, fault_of
from cogs._transport import Transport
from cogs._view import Look, cut_short


@dataclass(frozen=True, slots=True)
class Step:
    """One call to Discord."""

    part: int
    look: Look | None
    """None takes the message away."""
    message_id: int | None
    """None makes a new message."""


@dataclass(slots=True)
class _Slot:
    id: int | None
    shown: Look | None = None
    is_kept: bool = False


class Slots:
    """Owned by one writer; parts are brought up to date in order, so they stand in order."""

    def __init__(self) -> None:
        self._slots: list[_Slot] = []
        self._stand_ins: dict[Look, Look] = {}
        self._unsure: set[int] = set()
        """Parts whose creation failed: it may have happened all the same."""
        self._orphans: list[int] = []
        """Messages that could not be edited any more, to be taken away when possible."""
        self._most: int | None = None
        """So many messages there may be at most; None while more may be made."""

    @property
    def is_empty(self) -> bool:
        """Is there no message yet?"""
        return not self._slots

    @property
    def is_visible(self) -> bool:
        """Has a message been given something to show?"""
        return any(slot.shown is not None for slot in self._slots)

    def take_over(self, ids: Sequence[int]) -> None:
        """Messages that are there already, to be filled."""
        self._slots.extend(_Slot(message_id) for message_id in ids)

    def next_step(self, looks: Sequence[Look]) -> Step | None:
        """The first difference between what should be shown and what is."""
        looks = self._within(looks)
        for part, wanted in enumerate(looks):
            look = self._stand_ins.get(wanted, wanted)
            if part >= len(self._slots):
                return Step(part, look, None)
            if self._slots[part].shown != look:
                return Step(part, look, self._slots[part].id)
        if looks and len(self._slots) > len(looks):
            return Step(len(self._slots) - 1, None, self._slots[-1].id)
        if self._orphans:
            return Step(len(self._slots), None, self._orphans[0])
        return None

    async def take(self, step: Step, transport: Transport) -> None:
        """Makes the call and remembers what is shown."""
        if step.look is None:
            await self._delete(step, transport)
        elif step.message_id is not None:
            await transport.edit(step.message_id, step.look)
            self._slots[step.part].shown = step.look
        else:
            is_unsure = step.part in self._unsure
            self._unsure.add(step.part)
            slot = _Slot(await transport.send(step.part, step.look), step.look)
            if is_unsure:
                # The nonce may have found the message of an earlier try, with its older words.
                slot.shown = None
            self._unsure.discard(step.part)
            self._slots[step.part : step.part + 1] = [slot]

    async def keep(self, keep: Callable[[int, int], Awaitable[bool]]) -> None:
        """Hands new messages over to be remembered."""
        for part, slot in enumerate(self._slots):
            if slot.id is not None and not slot.is_kept:
                slot.is_kept = await keep(part, slot.id)

    def lose(self, step: Step) -> None:
        """That message cannot be changed any more; a new one takes its place."""
        if step.message_id is not None:
            self._orphans.append(step.message_id)
        self._slots[step.part].id = None
        self._slots[step.part].shown = None

    def cut_short(self, step: Step) -> bool:
        """No message may follow those there are; False when there is none to say so in."""
        if step.message_id is not None or step.part == 0:
            return False
        self._most = step.part
        return True

    def lacks(self, looks: Sequence[Look]) -> bool:
        """Will some of it never be shown, since no message may follow?"""
        return self._most is not None and len(looks) > self._most

    def _within(self, looks: Sequence[Look]) -> Sequence[Look]:
        if self._most is None or len(looks) <= self._most:
            return looks
        return (*looks[: self._most - 1], cut_short(looks[self._most - 1]))

    def refuse(self, step: Step, reason: str) -> bool:
        """Puts an honest line in place of a content Discord refuses; False when even that was."""
        if step.look is None or step.look in self._stand_ins.values():
            return False
        content = f"⚠ Discord refused to show this part of the answer.\n-# {reason[:200]}"
        self._stand_ins[step.look] = replace(step.look, content=content)
        return True

    async def _delete(self, step: Step, transport: Transport) -> None:
        try:
            if step.message_id is not None:
                await transport.delete(step.message_id)
        except SENDING_ERRORS as error:
            if fault_of(error) in (Fault.PASSING, Fault.LEAVING):
                raise
        if step.part < len(self._slots):
            self._slots.pop(step.part)
        else:
            self._orphans.pop(0)
