"""A loop whose clock jumps when nobody is ready: an evening of pauses takes seconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


ENDLESS = 200_000
"""Looks at the clock in one moment; whoever waited by one that stands still hung the tests."""


class _JumpingSelector(selectors.DefaultSelector):
    now = 0.0
    looks = 0
    """At the clock since it last went on."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            # Somebody is ready: whoever waits outside is looked for once nobody is.
            return []
        found = super().select(0)
        if not found:
            assert timeout is not None, "everything waits for ever"
            self.now += max(0.0, timeout)
            self.looks = self.looks if timeout <= 0 else 0
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time is the sum of the pauses it was asked for."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        self._jumping.looks += 1
        assert self._jumping.looks < ENDLESS, "round and round in one moment"
        return self._jumping.now


def play(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
