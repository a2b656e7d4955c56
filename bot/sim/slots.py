"""The places an instance has for concurrent requests; whoever comes later queues."""

import asyncio
from typing import Final

from bot.sim.errors import ModelGone


class Withdrawn(Exception):
    """Whoever waited gave its place in line up."""


class Slots:
    """First come, first served; closing fails those who wait."""

    def __init__(self, count: int) -> None:
        self.count: Final = max(1, count)
        self._free = self.count
        self._line: dict[object, asyncio.Future[None]] = {}
        self._is_closed = False

    @property
    def running(self) -> int:
        """How many places are taken."""
        return self.count - self._free

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._line)

    async def acquire(self, who: object) -> None:
        """Take a place, waiting in line.

        Raises:
            ModelGone: the instance was unloaded meanwhile.
            Withdrawn: `withdraw` was called meanwhile.
        """
        if self._is_closed:
            raise ModelGone
        if self._free == 0:
            await self._wait_in_line(who)
        else:
            self._free -= 1

    def release(self) -> None:
        """Give a place back; the next in line inherits it."""
        self._free += 1
        while self._line and self._free:
            who = next(iter(self._line))
            future = self._line.pop(who)
            if not future.done():
                self._free -= 1
                future.set_result(None)

    def withdraw(self, who: object) -> None:
        """Leave the line; nothing happens to those who have a place."""
        future = self._line.pop(who, None)
        if future is not None and not future.done():
            future.set_exception(Withdrawn())

    def close(self) -> None:
        """Fail everybody in line and whoever comes later."""
        self._is_closed = True
        for future in self._line.values():
            if not future.done():
                future.set_exception(ModelGone())
        self._line.clear()

    async def _wait_in_line(self, who: object) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line[who] = future
        try:
            await future
        except asyncio.CancelledError:
            self._line.pop(who, None)
            if future.done() and not future.cancelled() and future.exception() is None:
                self.release()  # handed over in the same moment: pass it on
            raise
