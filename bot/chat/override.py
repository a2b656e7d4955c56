"""Lets the asker of a waiting turn choose another candidate before anything was said."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bot.domain.chat import Candidate
from bot.domain.errors import Unavailable
from bot.domain.events import Offered, Way
from bot.fleet.lease import Elsewhere


@dataclass(slots=True, eq=False)
class _Choice:
    """A way that was taken."""

    candidate: Candidate
    others: Offered | None
    """The ways that are open again should it fail."""
    failure: Unavailable | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has failed, somebody answers, or nobody will."""


class Override:
    """The asker's choice of one turn: made by a button, followed by the walk over candidates."""

    def __init__(self) -> None:
        self.offer: Offered | None = None
        """The ways that are open; None from the first word on, when nothing is left to choose."""
        self._scope: asyncio.Timeout | None = None
        self._wanted: Candidate | None = None
        self._running: Candidate | None = None
        self._choice: _Choice | None = None

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
        self._choice = _Choice(candidate, self.offer.without(way))
        self.offer = None
        if candidate == self._running:
            return True  # it is being asked already
        self._wanted = candidate
        if self._scope is not None:
            # A deadline already past cancels exactly the attempt under way.
            self._scope.reschedule(0.0)
        return True

    async def failure(self) -> Unavailable | None:
        """Why whoever was chosen last could not answer; None once anybody answers, or nobody will.

        Waits until that is known.
        """
        if (choice := self._choice) is None:
            return None
        await choice.settled.wait()
        return choice.failure

    def settle(self) -> None:
        """Somebody answers, or nobody will: nothing is left to choose."""
        self.offer = None
        if self._choice is not None:
            self._choice.settled.set()

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
        except Elsewhere:
            raise
        except Unavailable as failed:
            choice = self._choice
            if choice is not None and choice.candidate == candidate and not choice.settled.is_set():
                choice.failure, self.offer = failed, choice.others
                choice.settled.set()
            raise
