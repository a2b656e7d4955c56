"""Who waits at a host, and whose turn is next: users take turns, then first come, first served."""

from collections.abc import Mapping
from dataclasses import dataclass

from bot.domain.events import Progress
from bot.domain.hosts import Wish
from bot.fleet.signals import Ticket

PATIENCE_S = 15.0
"""How long others may overtake a turn that waits for memory, at most."""


@dataclass(slots=True)
class Waiter:
    """One asker without an instance yet; only the desk writes it."""

    ticket: Ticket
    wish: Wish
    asked_at: float
    load_began: float | None = None
    """When work on its load began, evictions included; None while none is under way."""
    load_s: float = 0.0
    """Spent on its loads so far."""
    loads: int = 0
    """Loads begun for it."""
    told: Progress | None = None

    def begin_load(self, now: float) -> None:
        """Work on its load begins, or goes on."""
        if self.load_began is None:
            self.load_began = now

    def end_load(self, now: float) -> None:
        """Its load is over, one way or the other."""
        if self.load_began is not None:
            self.load_s += now - self.load_began
            self.load_began = None

    @property
    def deadline(self) -> float | None:
        """When it has waited as long as it may."""
        if self.wish.max_wait_s is None:
            return None
        return self.asked_at + self.wish.max_wait_s

    def is_overdue(self, now: float) -> bool:
        """Has it waited all it may?"""
        return self.deadline is not None and now >= self.deadline

    def is_impatient(self, now: float) -> bool:
        """Has it been overtaken long enough?"""
        limit = PATIENCE_S
        if self.wish.max_wait_s is not None:
            limit = min(limit, self.wish.max_wait_s / 4)
        return now - self.asked_at >= limit


def in_turn(waiters: Mapping[Ticket, Waiter], leases: Mapping[str, int]) -> list[Waiter]:
    """The waiters in the order of their turns.

    Each user's first wish comes before anybody's second; a lease held already counts as a wish
    served, so that one person with many wishes cannot starve the rest.
    """
    served = dict(leases)
    ranked: list[tuple[int, int, Waiter]] = []
    for number, waiter in enumerate(waiters.values()):
        rank = served.get(waiter.wish.user, 0)
        served[waiter.wish.user] = rank + 1
        ranked.append((rank, number, waiter))
    ranked.sort(key=lambda entry: entry[:2])
    return [waiter for _, _, waiter in ranked]
