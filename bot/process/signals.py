"""SIGTERM and SIGINT mean: stop kindly; a second one means: now. Works on every platform."""

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")
"""SIGBREAK is Ctrl-Break and the closed console window on Windows; nobody else has it."""


@contextmanager
def on_stop(
    first: Callable[[], None],
    second: Callable[[], None],
    terminate: Callable[[], None] | None = None,
) -> Generator[None]:
    """Calls ``first`` on the first stop signal and ``second`` on every later one, in the loop.

    Args:
        first: for the first signal.
        second: for every later one.
        terminate: for every signal but Ctrl-C, where that one means something else.
    """
    loop = asyncio.get_running_loop()
    told = False

    def stop(number: int) -> None:
        nonlocal told
        if terminate is not None and number != signal.SIGINT:
            terminate()
            return
        act = second if told else first
        told = True
        act()

    def from_handler(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop, number)

    # signal.signal with a thread-safe call works on Windows too, where loops take no handlers.
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, from_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
