"""Who waits at a host, and whose turn is next: users take turns, then first come, first served."""

from collections.abc import Collection, Iterable, Mapping
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


class TurnOrder:
    """Whose turn is next. Each user's first wish comes before anybody's second.

    A lease held counts as a wish served, and among equals whoever was served longest ago is next,
    so that one person with many wishes cannot starve the rest.
    """

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._count = 0

    def of(self, waiters: Iterable[Waiter], leases: Mapping[str, int]) -> list[Waiter]:
        """The waiters in the order of their turns; ``waiters`` come as they arrived."""
        wishes = dict(leases)
        ranked: list[tuple[int, int, int, Waiter]] = []
        for number, waiter in enumerate(waiters):
            user = waiter.wish.user
            rank = wishes.get(user, 0)
            wishes[user] = rank + 1
            ranked.append((rank, self._served.get(user, 0), number, waiter))
        ranked.sort(key=lambda entry: entry[:3])
        return [waiter for *_, waiter in ranked]

    def served(self, user: str) -> None:
        """A user got an instance."""
        self._count += 1
        self._served[user] = self._count

    def forget_all_but(self, users: Collection[str]) -> None:
        """Only those who still wait or hold something are remembered."""
        self._served = {user: n for user, n in self._served.items() if user in users}
