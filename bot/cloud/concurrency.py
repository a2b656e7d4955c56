"""A door that lets so many in at once, first come first served, and learns how many."""

import asyncio
from collections import deque

from bot.policy.concurrency import Lanes, narrowed, widened


class Gate:
    """Counts the requests under way at one provider."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Requests at once, as learnt so far."""
        return self._lanes.limit

    @property
    def busy(self) -> int:
        """Requests under way."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Askers outside."""
        return len(self._waiting)

    async def enter(self, deadline: float) -> None:
        """Wait until there is room; every entering needs one ``leave``.

        Raises:
            TimeoutError: the loop's clock reached the deadline first.
        """
        if self._busy < self._lanes.limit and not self._waiting:
            self._busy += 1
            return
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        is_in = False
        try:
            async with asyncio.timeout_at(deadline):
                await ticket
            is_in = True
        finally:
            if not is_in:
                self._give_back(ticket)

    def leave(self) -> None:
        """Make room for the next."""
        self._busy -= 1
        self._let_in()

    def answered(self) -> None:
        """The provider answered: it may come to take more at once."""
        self._lanes = widened(self._lanes)
        self._let_in()

    def crowded(self) -> None:
        """The provider said that these were too many at once."""
        self._lanes = narrowed(self._lanes)

    def _give_back(self, ticket: asyncio.Future[None]) -> None:
        # Let in and cancelled in the same turn of the loop: the place is the next one's.
        if ticket.done() and not ticket.cancelled():
            self.leave()
        elif ticket in self._waiting:
            self._waiting.remove(ticket)

    def _let_in(self) -> None:
        while self._waiting and self._busy < self._lanes.limit:
            ticket = self._waiting.popleft()
            if not ticket.done():
                self._busy += 1
                ticket.set_result(None)
