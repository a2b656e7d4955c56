"""How long stopping may take: time enough at the first asking, none at the second."""

import asyncio
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

FORCE_S = 1.0
"""Closing in order gets this much longer once patience is over; then the process just ends.

That loses no more than kill -9 does, and the next start mends what kill -9 leaves."""

_FAILED, _INTERRUPTED = 1, 130

_log = structlog.get_logger(__name__)


class Patience:
    """The block that runs until stopped; use as ``async with Patience(18) as patience:``.

    Leaving the block in time is all that is needed. When it is not left ``stop_s`` after ``stop``,
    or at once after ``stop_at_once``, it is cancelled and ``is_over`` says so.
    """

    def __init__(self, stop_s: float, end: Callable[[int], object] = os._exit) -> None:
        self.asked = asyncio.Event()
        """Set when somebody asked to stop."""
        self.exit_code = _FAILED
        """The process's, when patience is over."""
        self._stop_s = stop_s
        self._end = end
        self._scope = asyncio.timeout(None)
        self._force: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Was the block cut off?"""
        return self._scope.expired()

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        # The force stays armed: after this block the event loop waits for its threads.
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            return True
        return False

    def stop(self) -> None:
        """Asks to stop, within the time there is."""
        self.asked.set()
        self._end_within(self._stop_s)

    def stop_at_once(self) -> None:
        """Asks to stop now, whatever it breaks off."""
        self.exit_code = _INTERRUPTED
        self.asked.set()
        self._end_within(0.0)

    def _end_within(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        ends_already = self._scope.when()
        if ends_already is not None and ends_already <= end:
            return  # a scope that has expired takes no other time
        self._scope.reschedule(end)
        if self._force is not None:
            self._force.cancel()
        self._force = loop.call_at(end + FORCE_S, self._give_up)

    def _give_up(self) -> None:
        _log.error("ended without closing everything", code=self.exit_code)
        self._end(self.exit_code)
