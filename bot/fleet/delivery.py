"""Brings what a host's scheduler decides to those who asked: grants, refusals, news of the way."""

import asyncio
from collections import deque

from bot.domain.errors import HostUnreachable
from bot.fleet.effects import Grant, Refuse, Tell
from bot.fleet.lease import Lease
from bot.fleet.queue import Ticket

SETTING_OUT = 4
"""Granted turns that may prepare their requests at once."""
SET_OUT_S = 0.1
"""After so long without a request sent, a granted turn holds up no other."""


class Delivery:
    """Everybody who asked one host and has not left, and what they have not been told yet."""

    def __init__(self) -> None:
        self.leases: dict[Ticket, Lease] = {}
        self._loop = asyncio.get_running_loop()
        self._tells: deque[Tell] = deque()
        self._telling: asyncio.Handle | None = None
        self._granted: deque[Grant] = deque()
        """In turn."""
        self._setting_out: dict[Ticket, float] = {}
        """Told of their grant, and no request sent so far; since when."""
        self._held_up: asyncio.TimerHandle | None = None
        """Rings when they have held up the others for long enough."""

    def tell(self, word: Grant | Refuse | Tell) -> None:
        """Brings one word to whom it is for: a refusal at once, all else in its turn."""
        match word:
            case Refuse():
                self.leases[word.ticket].heard(word)
            case Grant():
                self._granted.append(word)
                self.set_out(None)
            case Tell():
                self._tells.append(word)
                if self._telling is None:
                    self._telling = self._loop.call_soon(self._pass_on)

    def set_out(self, ticket: Ticket | None) -> None:
        """A granted turn sends its request now, or never will: the next are told of their grant.

        A load's end grants to all who waited. They prepared their requests side by side, so that
        the first of a hundred was sent when the last was ready.
        """
        if ticket is not None:
            self._setting_out.pop(ticket, None)
        while self._granted and len(self._setting_out) < SETTING_OUT:
            grant = self._granted.popleft()
            lease = self.leases.get(grant.ticket)
            # One that left before it was told has given its instance back.
            if lease is not None:
                self._setting_out[grant.ticket] = self._loop.time()
                lease.heard(grant)
        # Whoever never sends a request must not hold up those who would.
        if self._granted and self._held_up is None:
            due = min(self._setting_out.values()) + SET_OUT_S
            self._held_up = self._loop.call_at(due, self._go_past)

    def _go_past(self) -> None:
        self._held_up, now = None, self._loop.time()
        late = [ticket for ticket, at in self._setting_out.items() if at + SET_OUT_S <= now]
        for ticket in late:
            del self._setting_out[ticket]
        self.set_out(None)

    def refuse_all(self, error: HostUnreachable) -> None:
        """Nobody who waits gets anything, nor who was granted something and not told."""
        # Granted by a scheduler that is no more: no other knows that they hold it.
        self._granted.clear()
        for lease in self.leases.values():
            lease.heard(Refuse(lease.ticket, error))

    def _pass_on(self) -> None:
        """Passes news on to one of those who wait, and to the next in the loop's next step.

        All at once they kept the loop busy right when the load was done, so that neither the host's
        list nor the first grant got through.
        """
        tell = self._tells.popleft()
        self._telling = self._loop.call_soon(self._pass_on) if self._tells else None
        lease = self.leases.get(tell.ticket)
        # News of the way are none for whoever has left or arrived.
        if lease is not None and lease.grant is None:
            lease.heard(tell)
