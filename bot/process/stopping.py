"""SIGTERM, SIGINT and SIGHUP mean: stop kindly, within a time.

A second one means: now, but for SIGHUP.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

import structlog

DRAIN_S = 10.0
"""Running answers get this long after SIGTERM."""

STOP_S = 18.0
"""That, the last edits and closing down; below PM2's kill_timeout and systemd's TimeoutStopSec, for
what they kill leaves spinners behind."""

FORCE_S = 1.0
"""Closing in order gets this much longer once patience is over; then the process just ends.

That loses no more than kill -9 does, and the next start mends what kill -9 leaves."""

_FAILED, _INTERRUPTED = 1, 130

_HANGUP = "SIGHUP"
"""A terminal that is gone, such as a closed ssh window; Windows has none."""

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK", _HANGUP)
"""SIGBREAK is Ctrl-Break and the closed console window on Windows; nobody else has it."""

_log = structlog.get_logger(__name__)


@contextmanager
def on_stop(
    first: Callable[[], None],
    second: Callable[[], None],
    terminate: Callable[[], None] | None = None,
) -> Generator[None]:
    """Calls ``first`` on the first stop signal and ``second`` on every later one, in the loop.

    A terminal that goes calls ``first`` however often it tells, and nothing where that is ignored.

    Args:
        first: for the first signal.
        second: for every later one.
        terminate: for every signal but Ctrl-C, where that one means something else.
    """
    loop = asyncio.get_running_loop()
    told, hangup = False, getattr(signal, _HANGUP, None)

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if terminate is not None and number != signal.SIGINT:
            act = terminate
        elif number == hangup:
            # The kernel and the shell both tell of a closed window: nobody is impatient.
            act = first
        else:
            act = second if told else first
            told = True
        # A handler interrupts whatever runs: it only leaves word with the loop.
        loop.call_soon_threadsafe(act)

    # signal.signal with a thread-safe call works on Windows too, where loops take no handlers.
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    # `nohup` ignores it for us, and means that no closed terminal ends the service.
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN:
        numbers.remove(hangup)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Patience:
    """The block that runs until stopped; use as ``async with Patience(18) as patience:``.

    Leaving the block in time is all that is needed. When it is not left ``stop_s`` seconds after
    ``stop``, or at once after ``stop_at_once``, it is cancelled and ``is_over`` says so.

    Args:
        stop_s: seconds from ``stop`` to the cut.
        end: ends the process with a code, where even the cut ends nothing.
    """

    def __init__(self, stop_s: float, end: Callable[[int], object] = os._exit) -> None:
        self.asked = asyncio.Event()
        """Set when somebody asked to stop."""
        self.is_over = False
        """The block was cut off; known once it is left."""
        self.exit_code = _FAILED
        """The process's, when patience is over."""
        self._stop_s = stop_s
        self._end = end
        self._scope = asyncio.timeout(None)

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
            self.is_over = True
        return self.is_over

    def stop(self) -> None:
        """Asks to stop, within the time there is."""
        self._end_within(self._stop_s)

    def stop_at_once(self) -> None:
        """Asks to stop now, whatever it breaks off."""
        self.exit_code = _INTERRUPTED
        self._end_within(0.0)

    def _end_within(self, seconds: float) -> None:
        self.asked.set()
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        ends_already = self._scope.when()
        if ends_already is not None and ends_already <= end:
            return  # a scope that has expired takes no other time
        self._scope.reschedule(end)
        # Never called off: the first that comes ends the process, and with it the others.
        loop.call_at(end + FORCE_S, self._give_up)

    def _give_up(self) -> None:
        _log.error("ended without closing everything", code=self.exit_code)
        self._end(self.exit_code)
