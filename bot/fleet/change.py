"""Waiting for the next change of something, for as many as like, at no cost while nobody does."""

import asyncio
from dataclasses import dataclass


@dataclass(slots=True)
class NextChange:
    """A change tells all who wait for it; who begins to wait then waits for the one after.

    ``asyncio.Condition`` wants a lock, and what changes here is told from code that awaits nothing.
    """

    _next: asyncio.Event | None = None

    def tell(self) -> None:
        """It changed."""
        if self._next is not None:
            self._next.set()
            self._next = None

    async def wait(self) -> None:
        """Returns after the next change."""
        if self._next is None:
            self._next = asyncio.Event()
        await self._next.wait()
