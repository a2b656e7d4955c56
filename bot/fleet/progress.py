"""What a waiting asker is told: plain functions from what a scheduler knows to progress."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bot.domain.events import Loading, Queued
from bot.domain.hosts import LoadInFlight, LoadOrder, Wish
from bot.domain.ids import HostName
from bot.fleet.signals import Ticket
from bot.policy.prediction import remaining_s


@dataclass(slots=True)
class Load:
    """The load under way at a host; only the scheduler writes it."""

    order: LoadOrder
    started_at: float
    expected_s: float | None
    """Whole duration as history has it; None when unknown."""
    fraction: float = 0.0
    is_stopping: bool = False
    joined: set[Ticket] = field(default_factory=set[Ticket])
    """Those it will serve."""

    def picture(self) -> LoadInFlight:
        """The frozen picture."""
        return LoadInFlight(
            self.order.model_key,
            self.fraction,
            self.started_at,
            self.expected_s,
            len(self.joined),
        )


def loading_news(host: HostName, load: Load, now: float) -> Loading:
    """How far the load is, and how long it will take."""
    picture = load.picture()
    left_s = None
    if load.expected_s is not None:
        left_s = remaining_s(picture, load.expected_s, now)
    elapsed_s = now - load.started_at
    return Loading(
        host, picture.model_key, load.fraction, left_s, elapsed_s, max(1, picture.waiters)
    )


def queued_news(
    host: HostName, wish: Wish, position: int, slots: Sequence[int], turn_s: float | None
) -> Queued:
    """The place in the queue, with seconds where turns were measured.

    Args:
        host: Where.
        wish: For what.
        position: Among those who wait for the same.
        slots: Of each instance that could serve; none when it must be loaded first.
        turn_s: How long one answer holds its slot, when measured.
    """
    if not slots or turn_s is None:
        return Queued(host, wish.model_key, position)
    rounds = -(-position // sum(slots))
    return Queued(host, wish.model_key, position, rounds * turn_s)
