"""Late binding: a turn that waits at one host goes to another that is clearly sooner by now."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

from bot.domain.chat import Candidate
from bot.fleet.lease import Lease

LOOK_AFTER_S = 0.05
"""After a change: what comes of it is seen by then, and many changes cost one look."""


class Binding:
    """Everybody who waits at any host and may be served by another; looks whenever one changed."""

    def __init__(self) -> None:
        self._waiting: dict[Lease, Callable[[Lease], Candidate | None]] = {}
        """In the order in which they began to wait where they do."""
        self._look: asyncio.Handle | None = None

    @contextmanager
    def watching(
        self, lease: Lease, better: Callable[[Lease], Candidate | None]
    ) -> Generator[None]:
        """Around the wait for a lease, which raises ``Elsewhere`` once ``better`` names a host."""
        self._waiting[lease] = better
        try:
            yield
        finally:
            del self._waiting[lease]

    def changed(self) -> None:
        """A host changed: somebody may be sooner now."""
        if self._waiting and self._look is None:
            loop = asyncio.get_running_loop()
            self._look = loop.call_later(LOOK_AFTER_S, self._look_around)

    def _look_around(self) -> None:
        self._look = None
        for lease, better in sorted(self._waiting.items(), key=lambda one: one[0].began_at):
            if lease.grant is None and (candidate := better(lease)) is not None:
                # One at a time: where it goes is a change as well, and all look anew after it. A
                # free slot once drew everybody who waited elsewhere.
                lease.leave_for(candidate)
                return
