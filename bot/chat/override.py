"""Lets the asker of a waiting turn choose another candidate before anything was said."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from bot.domain.chat import Candidate
from bot.domain.events import Offered, Way


class Override:
    """The asker's choice of one turn: made by a button, followed by the walk over candidates."""

    def __init__(self) -> None:
        self.offer: Offered | None = None
        """The ways that are open; None from the first word on, when nothing is left to choose."""
        self._scope: asyncio.Timeout | None = None
        self._wanted: Candidate | None = None
        self._running: Candidate | None = None

    def choose(self, way: Way) -> bool:
        """Takes a way; False when it is not open (any more).

        A choice between two attempts, or before the first, waits for ``take``.
        """
        if self.offer is None:
            return False
        if way == "wait":
            self.offer = None
            return True
        candidate = self.offer.warm if way == "warm" else self.offer.cloud
        if candidate is None:
            return False
        self.offer = None
        if candidate == self._running:
            return True  # it is being asked already
        self._wanted = candidate
        if self._scope is not None:
            # A deadline already past cancels exactly the attempt under way.
            self._scope.reschedule(0.0)
        return True

    def close(self, way: Way) -> None:
        """A way is open no more; the others are."""
        if self.offer is not None:
            self.offer = self.offer.without(way)

    def take(self) -> Candidate | None:
        """What the asker chose since this was last asked."""
        wanted, self._wanted = self._wanted, None
        return wanted

    @asynccontextmanager
    async def attempt(self, candidate: Candidate) -> AsyncGenerator[None]:
        """Holds one attempt; the block ends quietly when the asker chose another way.

        Raises:
            TimeoutError: one that came from inside, not from a choice.
        """
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scope, self._running = scope, candidate
                try:
                    yield
                finally:
                    self._scope = self._running = None
        # Not ours: a deadline that came from inside stays an error.
        except TimeoutError:
            if not scope.expired() or self._wanted is None:
                raise
