"""One timer for a whole stream, moved by writing down a time."""

import asyncio
from collections.abc import Callable


class Watch:
    """Calls back once a wait has lasted past its due time.

    A timeout object per token costs several microseconds; here a token costs one assignment, and
    the timer, when it fires too early, sets itself again. It never fires while nobody waits.
    """

    __slots__ = ("_due", "_fires_at", "_handle", "_loop", "_on_late")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]) -> None:
        self._loop = loop
        self._on_late = on_late
        self._due: float | None = None
        self._fires_at = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def expect_by(self, due: float) -> None:
        """A wait begins, or goes on, that must end by a loop time."""
        self._due = due
        if self._handle is None or due < self._fires_at:
            self._set(due)

    def rest(self) -> None:
        """The wait is over."""
        self._due = None

    def close(self) -> None:
        """Drop the timer."""
        self._due = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._fires_at = at
        self._handle = self._loop.call_at(at, self._check)

    def _check(self) -> None:
        self._handle = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._set(self._due)
        else:
            self._due = None
            self._on_late()
