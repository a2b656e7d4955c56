"""A gate that lets so many in at once, people in turns, and learns how many."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bot.domain.personas import Priority
from bot.policy.concurrency import Concurrency
from bot.policy.fairness import in_turn

TELL_S = 1.0
"""So often who waits is told: an answer ahead that goes on for longer than usual moves nobody."""


@dataclass(slots=True, eq=False)
class _Waiter:
    """One asker outside; only the gate writes it."""

    user: str
    priority: Priority
    place: int = 0
    """In the line, 1 being next; 0 once it is in."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Gate:
    """Counts the requests under way at one provider, and who waits for a place among them."""

    def __init__(self, concurrency: Concurrency) -> None:
        self.concurrency = concurrency
        """The limit, as learnt so far."""
        self.holding = Counter[str]()
        """Requests under way, by who asked."""
        self._began: list[tuple[str, float]] = []
        """By whom and when each of them was let in, the oldest first."""
        self.waiting: list[_Waiter] = []
        """Askers outside, as they came."""
        self._served: dict[str, int] = {}
        self._grants = 0
        self._passes = 0

    @property
    def is_open(self) -> bool:
        """Would somebody who comes now be let in at once?"""
        # Who comes later does not pass those who wait, though there be room for one.
        return self.holding.total() < self.concurrency.limit and not self.waiting

    def running_s(self, now: float) -> list[float]:
        """How long each request under way has been."""
        return [now - began for _, began in self._began]

    async def enter(
        self,
        user: str,
        deadline: float,
        tell: Callable[[int], Awaitable[None]],
        priority: Priority = "normal",
    ) -> None:
        """Wait until there is room; every entering needs one ``leave``.

        Args:
            user: Who asks; people take turns.
            deadline: The loop's time after which nobody waits any more.
            tell: Hears the place in the line: at first, when it changes, and each ``TELL_S``.
            priority: How urgent it is.

        Raises:
            TimeoutError: the deadline came first.
        """
        waiter = _Waiter(user, priority)
        self.waiting.append(waiter)
        self._move_up()
        is_in = False
        try:
            async with asyncio.timeout_at(deadline):
                while waiter.place:
                    waiter.moved.clear()
                    await tell(waiter.place)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(TELL_S):
                            await waiter.moved.wait()
            is_in = True
        finally:
            if not is_in and not waiter.place:
                # Let in and cancelled in the same turn of the loop: the place is the next one's.
                self.leave(user)
            elif not is_in:
                self.waiting.remove(waiter)
                self._move_up()

    def leave(self, user: str) -> None:
        """Make room for the next."""
        self.holding[user] -= 1
        self.holding += Counter()
        # Which of two of one person it was makes little difference to those who wait.
        self._began.remove(next(one for one in self._began if one[0] == user))
        self._move_up()

    def answered(self) -> None:
        """The provider answered: it may come to take more at once."""
        is_full = self.holding.total() >= self.concurrency.limit
        self.concurrency = self.concurrency.after_answer(is_full=is_full)
        self._move_up()

    def crowded(self, sent_at: float) -> None:
        """The provider said that these were too many at once."""
        now = asyncio.get_running_loop().time()
        self.concurrency = self.concurrency.after_refusal(sent_at, now)

    def _move_up(self) -> None:
        """Lets in whoever there is room for, and gives the others their places."""
        while self.waiting and self.holding.total() < self.concurrency.limit:
            order, self._passes = self._turns()
            first = self.waiting.pop(order[0])
            self.holding[first.user] += 1
            self._began.append((first.user, asyncio.get_running_loop().time()))
            self._grants += 1
            self._served[first.user] = self._grants
            first.place = 0
            first.moved.set()
        for place, number in enumerate(self._turns()[0], start=1):
            waiter = self.waiting[number]
            if waiter.place != place:
                waiter.place = place
                waiter.moved.set()
        # Else the record would grow with everybody who ever asked.
        here = {waiter.user for waiter in self.waiting}.union(self.holding)
        self._served = {user: number for user, number in self._served.items() if user in here}

    def _turns(self) -> tuple[list[int], int]:
        users = [waiter.user for waiter in self.waiting]
        priorities: list[Priority] = [waiter.priority for waiter in self.waiting]
        return in_turn(users, self.holding, self._served, priorities, self._passes)
