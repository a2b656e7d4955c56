"""A gate that lets so many in at once, first come first served, and learns how many."""

import asyncio
from collections import deque

from bot.policy.concurrency import Concurrency


class Gate:
    """Counts the requests under way at one provider."""

    def __init__(self, concurrency: Concurrency) -> None:
        self.concurrency = concurrency
        """The limit, as learnt so far."""
        self.busy = 0
        """Requests under way."""
        self.waiting: deque[asyncio.Future[None]] = deque()
        """Askers outside, first come first."""

    async def enter(self, deadline: float) -> None:
        """Wait until there is room; every entering needs one ``leave``.

        Raises:
            TimeoutError: the loop's clock reached the deadline first.
        """
        # Who comes later does not pass those who wait, though there be room for one.
        if self.busy < self.concurrency.limit and not self.waiting:
            self.busy += 1
            return
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(ticket)
        is_in = False
        try:
            async with asyncio.timeout_at(deadline):
                await ticket
            is_in = True
        finally:
            if not is_in and ticket.done() and not ticket.cancelled():
                # Let in and cancelled in the same turn of the loop: the place is the next one's.
                self.leave()
            elif ticket in self.waiting:
                self.waiting.remove(ticket)

    def leave(self) -> None:
        """Make room for the next."""
        self.busy -= 1
        self._let_in()

    def answered(self) -> None:
        """The provider answered: it may come to take more at once."""
        self.concurrency = self.concurrency.after_answer()
        self._let_in()

    def crowded(self) -> None:
        """The provider said that these were too many at once."""
        self.concurrency = self.concurrency.after_refusal()

    def _let_in(self) -> None:
        while self.waiting and self.busy < self.concurrency.limit:
            ticket = self.waiting.popleft()
            # Cancelled, and not yet out of the line: it would take the place with it.
            if not ticket.done():
                self.busy += 1
                ticket.set_result(None)
