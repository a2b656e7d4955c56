"""When one host is probed: as soon as somebody wants it, and when it is due after a failure."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bot.fleet.change import NextChange

MOST_SOUGHT, SOUGHT_WITHIN_S = 5, 15.0
"""So many probes of a host within so long, at the most, for those who found nobody to answer."""


class Probing:
    """One probe after another; whoever wants one shares it with all who want one meanwhile."""

    def __init__(
        self, probe: Callable[[], Awaitable[None]], due_at: Callable[[float], float | None]
    ) -> None:
        """``due_at`` tells when to probe without being asked, given the time; None for never."""
        self._wanted = asyncio.Event()
        self._probe = probe
        self._due_at = due_at
        self._begun = self._done = 0
        self._sought = deque[float](maxlen=MOST_SOUGHT)
        """When the newest probes began for those who found nobody."""
        self._is_over = False
        self._turned = NextChange()
        """Told whenever a probe ends."""

    async def run(self) -> None:
        """Probes until cancelled; nobody waits for a probe any more then."""
        clock = asyncio.get_running_loop().time
        self._is_over = False
        try:
            while True:
                self._wanted.clear()
                self._begun += 1
                await self._probe()
                self._done = self._begun
                self._turned.tell()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._due_at(clock())):
                        await self._wanted.wait()
        finally:
            self._is_over = True
            self._turned.tell()

    def soon(self) -> None:
        """Has a probe begin soon, without waiting for it."""
        self._wanted.set()

    async def now(self, *, only_when_due: bool = False) -> None:
        """Returns when a probe that began after this call is over.

        At once, though, ``only_when_due``, while the pause after a failure goes on: the timer comes
        round for all hosts alike, and one that is away has pauses of its own.
        """
        clock = asyncio.get_running_loop().time
        if only_when_due and (self._due_at(clock()) or -math.inf) > clock():
            return
        self._wanted.set()
        await self._until_done(self._begun + 1)

    async def again(self, seek: Callable[[], object]) -> None:
        """A probe for whoever found nobody to answer; one serves all who ask meanwhile.

        Each of many such turns once waited for a probe of its own: 1,168 requests to dead hosts in
        36 s. After ``MOST_SOUGHT`` within a time the newest word stands.

        Args:
            seek: Called right before such a probe.
        """
        clock, newest = asyncio.get_running_loop().time, self._begun
        if self._done < newest:
            # It may be of a moment at which the host was away still.
            await self._until_done(newest)
        if self._due_at(clock()) is None:
            return
        if self._begun == newest and not self._wanted.is_set():
            is_storm = len(self._sought) == MOST_SOUGHT
            if is_storm and clock() - self._sought[0] < SOUGHT_WITHIN_S:
                return
            self._sought.append(clock())
            seek()
            self._wanted.set()
        await self._until_done(newest + 1)

    async def _until_done(self, number: int) -> None:
        while not self._is_over and self._done < number:
            await self._turned.wait()
