"""A fraction that grows and may be followed by any number of watchers."""

import asyncio
from collections.abc import AsyncGenerator


class Progress:
    """Grows from 0 to 1; watchers see the newest value and never slow the work."""

    def __init__(self) -> None:
        self._fraction = 0.0
        self._is_over = False
        self._changed = asyncio.Event()

    @property
    def fraction(self) -> float:
        """How far it is."""
        return self._fraction

    def advance(self, fraction: float) -> None:
        """Publish a new fraction."""
        self._fraction = fraction
        self._wake()

    def finish(self) -> None:
        """End every `follow`."""
        self._is_over = True
        self._wake()

    async def follow(self) -> AsyncGenerator[float, None]:
        """Yield the fraction now and each time it changes, until the work is over."""
        while not self._is_over:
            changed = self._changed
            yield self._fraction
            if changed is self._changed:
                await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
