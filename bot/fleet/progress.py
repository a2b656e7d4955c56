"""The load under way at a host, and what a waiting asker is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.domain.events import Loading, Queued
from bot.domain.hosts import LoadInFlight, LoadOrder
from bot.domain.ids import HostName, ModelKey
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

    def picture(self, waiters: int) -> LoadInFlight:
        """The frozen picture, with how many it will serve."""
        key = self.order.model_key
        return LoadInFlight(key, self.fraction, self.started_at, self.expected_s, waiters)


def loading_news(host: HostName, load: Load, waiters: int, now: float) -> Loading:
    """How far the load is, and how long it will take."""
    left_s = None
    if load.expected_s is not None:
        left_s = remaining_s(load.picture(waiters), load.expected_s, now)
    elapsed_s = now - load.started_at
    # Whoever asked may have left; the load is not said to be for nobody.
    waiters = max(1, waiters)
    return Loading(host, load.order.model_key, load.fraction, left_s, elapsed_s, waiters)


def queued_news(
    host: HostName, key: ModelKey, position: int, slots: Sequence[int], turn_s: float | None
) -> Queued:
    """The place in the queue, with seconds where turns were measured.

    Args:
        host: Where.
        key: For which model.
        position: Among those who wait for the same.
        slots: Of each instance that could serve; none when it must be loaded first.
        turn_s: How long one answer holds its slot, when measured.
    """
    if not slots or turn_s is None:
        return Queued(host, key, position)
    # As many as there are slots go at once.
    rounds = -(-position // sum(slots))
    return Queued(host, key, position, rounds * turn_s)
