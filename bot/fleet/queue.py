"""Who waits at a host, and whose turn is next: users take turns, then first come, first served."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import NewType, TypeVar

from bot.domain.events import Progress
from bot.domain.hosts import Wish
from bot.domain.ids import ModelKey
from bot.domain.personas import Priority
from bot.policy.fairness import in_turn

K = TypeVar("K", bound=Hashable)

Ticket = NewType("Ticket", int)
"""One asker's place at a scheduler: first waiting, then holding an instance."""


def counted(each: Iterable[K]) -> dict[K, int]:
    """How often there is each; of the few that there are a ``Counter`` tells five times as late."""
    found: dict[K, int] = {}
    for one in each:
        found[one] = found.get(one, 0) + 1
    return found


@dataclass(slots=True)
class Waiter:
    """One asker without an instance yet; only the scheduler writes it."""

    ticket: Ticket
    wish: Wish
    asked_at: float
    """When it began to wait, here or elsewhere; places in the line go by it."""
    came_at: float
    is_joined: bool = False
    """Will the load under way serve them?"""
    load_began: float | None = None
    """When work on its load began, evictions included; None while none is under way."""
    load_s: float = 0.0
    """Spent on its loads so far."""
    loads: int = 0
    """Loads in a row that left it without an instance."""
    told: Progress | None = None

    def begin_load(self, now: float) -> None:
        """Work on its load begins, or goes on."""
        # An eviction and the load after it are one wait, told to the asker as such.
        if self.load_began is None:
            self.load_began = now

    def end_load(self, now: float) -> None:
        """Its load is over, one way or the other."""
        if self.load_began is not None:
            self.load_s += now - self.load_began
            self.load_began = None

    def is_overdue(self, now: float, *, is_stuck: bool) -> bool:
        """Has it waited all it may?

        One's own load under way is not cut while its end is in sight. One that hung at 50 % was
        waited for 74 s where 30 s was the limit and a provider stood ready.

        Args:
            now: Monotonic seconds.
            is_stuck: The load under way does not get on.
        """
        limit_s, is_cut = self.wish.max_wait_s, self.load_began is None
        is_cut = is_cut or (is_stuck and self.is_joined)
        return limit_s is not None and is_cut and now - self.asked_at >= limit_s


class Queue:
    """Everybody waiting at one host, in turns by ``policy.fairness``; a lease is a wish served."""

    def __init__(self) -> None:
        self.waiters: dict[Ticket, Waiter] = {}
        """As they arrived."""
        self._served: dict[str, int] = {}
        self._grants = 0
        self._passes = self._next_passes = 0

    def served(self, waiter: Waiter) -> None:
        """Somebody got an instance."""
        del self.waiters[waiter.ticket]
        self._grants += 1
        self._served[waiter.wish.user] = self._grants
        self._passes = self._next_passes

    def of(self, key: ModelKey) -> list[Waiter]:
        """Those who wish for one model, as they arrived."""
        return [w for w in self.waiters.values() if w.wish.model_key == key]

    def turns(self, leases: Mapping[str, int]) -> list[Waiter]:
        """Everybody in the order of their turns; ``leases`` by user."""
        # By how long they wait in all: who comes from another host brings its time along.
        waiters = sorted(self.waiters.values(), key=attrgetter("asked_at"))
        users = [waiter.wish.user for waiter in waiters]
        # Of those who neither wait nor hold anything: the record would grow with all who ever ask.
        for stranger in self._served.keys() - {*users, *leases}:
            del self._served[stranger]
        if len(waiters) == 1:
            self._next_passes = 0
            return waiters
        priorities: list[Priority] = [waiter.wish.priority for waiter in waiters]
        order, self._next_passes = in_turn(users, leases, self._served, priorities, self._passes)
        return [waiters[number] for number in order]
