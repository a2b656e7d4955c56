"""The load under way at a host, and what a waiting asker is told."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bot.domain.events import Loading
from bot.domain.hosts import LoadHolder, LoadInFlight, LoadOrder, Speed
from bot.domain.ids import HostName, ModelKey
from bot.fleet.residents import Resident
from bot.policy.prediction import PROGRESS_TO_TRUST, remaining_s, seconds_in_line
from bot.policy.speeds import UNTOLD

STANDS_S, STANDS = 5.0, 2.0
"""A load stands still once it has told nothing for so long, and for so many times the longest pause
it made so far."""
LATE, LEAST_LATE_S = 1.5, 1.0
"""A load of so many times its usual length, and so many seconds beyond it, is told to be late."""


def latest_s(usual_s: float) -> float:
    """How long a load may take until it is late."""
    # Of a tiny model, which takes a tenth of a second, each bar was called longer than usual.
    return max(LATE * usual_s, usual_s + LEAST_LATE_S)


@dataclass(slots=True)
class HeldLoad:
    """The load of another process at a host, as one that waits for it sees it.

    By its own clock: of two processes that woke with their machine, neither was stopped.
    """

    holder: LoadHolder
    """As it was when its sign changed."""
    since: float
    signed_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.signed_at = self.since

    def seen(self, holder: LoadHolder, now: float) -> None:
        """Takes in who holds the host now."""
        if holder != self.holder or holder.sign is None:
            self.holder, self.signed_at = holder, now

    def silent_s(self, now: float) -> float:
        """How long it has given no sign of life; 0 of one that never gives any."""
        return now - self.signed_at


@dataclass(slots=True)
class Load:
    """The load under way at a host; only the scheduler writes it."""

    order: LoadOrder
    started_at: float
    expected_s: float | None
    """Whole duration as history has it; None when unknown."""
    fraction: float = 0.0
    told_at: float | None = None
    """As in ``LoadInFlight``."""
    is_stopping: bool = False
    gap_s: float = 0.0
    """As in ``LoadInFlight``."""
    is_guess: bool = True
    """Has nobody asked for it or ordered it?"""
    is_awaited: bool = False
    """Did somebody who ordered it, or is about to ask, ever wait for it?"""
    is_held: bool = False
    """As in ``LoadInFlight``."""


def stuck_text(step: Loading) -> str:
    """Why nobody waits for a load any longer."""
    # "Studio is busy" was said of a machine that hung.
    if step.is_held:
        return f"An earlier load on {step.host} is not over."
    return f"{step.host} stands still at {step.fraction:.0%} of its load."


def loading_news(host: HostName, load: LoadInFlight, now: float) -> Loading:
    """How far the load is, and how long it will take."""
    left_s, usual_s, elapsed_s = None, load.expected_s, now - load.started_at
    # Whoever asked may have left; the load is not said to be for nobody.
    waiters = max(1, load.waiters)
    if load.is_held:
        # In whole seconds, as often as whoever waits is told.
        so_far_s, silent_s = float(math.floor(elapsed_s)), now - (load.told_at or now)
        stands_s = float(math.floor(silent_s)) if silent_s > STANDS_S else None
        held = Loading(host, load.model_key, 0.0, None, so_far_s, waiters, stands_s=stands_s)
        return replace(held, is_held=True)
    # Once it is under way its own progress tells the end also of a load that nobody ever measured;
    # one that shows none and is overdue was "1.0 s left" for as long as it stood.
    if load.fraction >= PROGRESS_TO_TRUST or (usual_s is not None and elapsed_s < usual_s):
        # The less it did the longer it seemed to take: 1.7 s left, 2.3, 3.0, and nobody was told
        # why. Overdue for its next report, it is told as it was when that should have come.
        left_s = remaining_s(load, 0.0, min(now, (load.told_at or now) + load.gap_s))
    silent_s, stands_s = 0.0 if load.told_at is None else now - load.told_at, None
    if silent_s > max(STANDS_S, STANDS * load.gap_s):
        # In whole seconds, as often as whoever waits is told.
        left_s, stands_s = None, float(math.floor(silent_s))
    whole_s = elapsed_s + (left_s or 0.0)
    is_late = usual_s is not None and whole_s > latest_s(usual_s)
    key, stands = load.model_key, stands_s
    told = Loading(host, key, load.fraction, left_s, elapsed_s, waiters, stands_s=stands)
    return replace(told, usual_s=usual_s) if is_late else told


def at_rest_in_s(
    residents: Iterable[Resident], speeds: Mapping[ModelKey, Speed], now: float
) -> float | None:
    """Seconds until every answer under way at a host is over; None when one is unknown."""
    ends = [
        seconds_in_line(1, [ran_s], 1, speeds.get(r.instance.model_key, UNTOLD).turn_s)
        for r in residents
        for ran_s in r.run_s(now)
    ]
    return None if None in ends else max(filter(None, ends), default=0.0)
