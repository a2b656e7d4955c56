"""Clocks in a test's hands."""

import asyncio
import heapq
import itertools
import math
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest


@dataclass(slots=True)
class WallClock:
    """A wall clock the test sets."""

    now: datetime = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(order=True, slots=True)
class _Timer:
    """What ``call_at`` gives."""

    at: float
    number: int
    begin: Callable[[], object] = field(compare=False)
    is_cancelled: bool = field(default=False, compare=False)

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled


_HANGS_S = 60.0


class LoopClock:
    """The running loop's time, which stands still until the test lets it pass.

    Sockets and threads go on, so what waits for them is really done; but no deadline of the code
    under test ends by chance on a busy machine, and none is waited for. It begins at a whole
    second, so that halves and quarters add up exactly. As with uvloop, timers ring at whole
    milliseconds, half a millisecond early or late.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = float(math.ceil(self._loop.time()))
        self._timers: list[_Timer] = []
        self._numbers = itertools.count()
        self._armed = asyncio.Event()
        patch.setattr(self._loop, "time", lambda: self._now)
        patch.setattr(self._loop, "call_at", self._call_at)
        patch.setattr(self._loop, "call_later", self._call_later)

    @contextmanager
    def guarded(self) -> Generator[None]:
        """Give a test that hangs its time after all."""
        # A thread's: asyncio's own loop asks the time that stands still for its timers.
        all_time = partial(self._loop.call_soon_threadsafe, self.passes, 1e9)
        guard = threading.Timer(_HANGS_S, all_time)
        guard.daemon = True
        guard.start()
        try:
            yield
        finally:
            guard.cancel()

    def passes(self, seconds: float) -> None:
        """Let time pass: what became due by then begins in the loop's next round."""
        self._now += seconds
        while self._timers and self._timers[0].at <= self._now:
            timer = heapq.heappop(self._timers)
            if not timer.is_cancelled:
                timer.begin()

    async def armed(self, seconds: float) -> None:
        """Wait until something is to happen in just so many seconds."""
        while not any(
            timer.at == self._now + seconds for timer in self._timers if not timer.is_cancelled
        ):
            self._armed.clear()
            await self._armed.wait()

    def _call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> _Timer:
        def begin() -> None:
            if not timer.is_cancelled:
                callback(*args)

        later = partial(self._loop.call_soon, begin, context=context)
        timer = _Timer(self._now + round(when - self._now, 3), next(self._numbers), later)
        heapq.heappush(self._timers, timer)
        self._armed.set()
        # What is due already, by time that passed meanwhile, is begun by no later passing.
        self.passes(0.0)
        return timer

    def _call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> _Timer:
        return self._call_at(self._now + delay, callback, *args, context=context)
