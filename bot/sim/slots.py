"""The places an instance has for concurrent requests; whoever comes later queues."""

import asyncio
from collections import deque

from bot.sim.errors import ModelGone


class Slots:
    """First come, first served; closing fails those who wait."""

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self._free = self.count
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._is_closed = False

    @property
    def running(self) -> int:
        """How many places are taken."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    async def acquire(self) -> None:
        """Take a place, waiting in line.

        Raises:
            ModelGone: the instance was unloaded meanwhile.
        """
        if self._is_closed:
            raise ModelGone
        if self._free == 0:
            await self._wait_in_line()
        else:
            self._free -= 1
        self._running += 1

    def release(self) -> None:
        """Give a place back; the next in line inherits it."""
        self._running -= 1
        self._free += 1
        self._hand_over()

    def close(self) -> None:
        """Fail everybody in line and whoever comes later."""
        self._is_closed = True
        for future in self._waiting:
            if not future.done():
                future.set_exception(ModelGone())
        self._waiting.clear()

    async def _wait_in_line(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._free += 1  # handed over in the same moment: pass it on
                self._hand_over()
            elif future in self._waiting:
                self._waiting.remove(future)
            raise

    def _hand_over(self) -> None:
        while self._waiting and self._free:
            future = self._waiting.popleft()
            if not future.done():
                self._free -= 1
                future.set_result(None)
