"""Lets the asker of a waiting turn choose another candidate before anything was said."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from bot.domain.chat import Candidate
from bot.domain.events import Offered, Way


class Override:
    """The wheel of one turn; held by the router, turned by a button."""

    def __init__(self) -> None:
        self._scope: asyncio.Timeout | None = None
        self._offer: Offered | None = None
        self._wanted: Candidate | None = None
        self._running: Candidate | None = None

    def offered(self, offer: Offered) -> None:
        """These ways are open until the first word."""
        self._offer = offer

    def close(self) -> None:
        """The first word was said, or the turn is over: nothing to choose any more."""
        self._offer = None

    def choose(self, way: Way) -> bool:
        """Takes a way; False when it is not open (any more)."""
        if self._offer is None:
            return False
        if way == "wait":
            self._offer = None
            return True
        candidate = self._offer.warm if way == "warm" else self._offer.cloud
        if candidate is None:
            return False
        self._offer = None
        if candidate == self._running:
            return True  # it is being asked already
        self._wanted = candidate
        if self._scope is not None:
            # A deadline already past cancels exactly the attempt under way.
            self._scope.reschedule(0.0)
        return True

    def take(self) -> Candidate | None:
        """What the asker chose since this was last asked."""
        wanted, self._wanted = self._wanted, None
        return wanted

    @asynccontextmanager
    async def attempt(self, candidate: Candidate) -> AsyncGenerator[None]:
        """Holds one attempt; it ends quietly when the asker chose another way."""
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scope, self._running = scope, candidate
                try:
                    yield
                finally:
                    self._scope = self._running = None
        except TimeoutError:
            if not scope.expired() or self._wanted is None:
                raise
