"""What to do after a failed call: the same provider again, the next candidate, or neither.

One row for each row of the error table. Whoever retries is counted three times over: one retry
for a provider and question, three requests for a question in all, and a fifth of all requests of
a minute, so that retries never multiply an outage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import Literal

from bot.domain.errors import FailureKind

Failure = FailureKind | Literal["refused"]
"""A refusal is no failure of the provider, and nobody is asked to judge more softly."""

MOST_REQUESTS = 3
"""Requests for one question in all; those answered "you are out" are not counted."""
MOST_RETRIES = 1
"""Of one provider for one question."""
LONGEST_TOLD_S = 5.0
"""A provider that asks for a longer wait is left for the next candidate."""
PAUSE_S = 1.0
"""Before a retry nobody gave a time for; half to one and a half of it."""
EXTRA_SHARE = 0.2
EXTRA_AT_LEAST = 3
"""Retries a minute that are always allowed: a fifth of few requests would be none."""
WINDOW_S = 60.0


class Again(Enum):
    """Whether the same provider may be asked again, and how."""

    NEVER = auto()
    AT_ONCE = auto()
    PAUSED = auto()
    """After a short pause, its length drawn."""
    TOLD = auto()
    """After the wait it asked for, when that is short."""
    TRIMMED = auto()
    """With a shorter transcript."""
    ROOMIER = auto()
    """Without thinking, and with more room for the answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the error table."""

    again: Again = Again.NEVER
    weight: float = 0.0
    """What it counts against the breaker: 1 is a failure."""
    is_out: bool = False
    """The provider stays out until a reset, a new key or an admin."""
    is_trouble: bool = False
    """The admins are told, but the provider is not out."""


ROWS: Mapping[FailureKind, Row] = {
    FailureKind.AUTH: Row(is_out=True),
    FailureKind.NO_MONEY: Row(is_out=True),
    FailureKind.PLAN_LIMIT: Row(is_out=True),
    FailureKind.RATE_LIMIT: Row(Again.TOLD, weight=0.5),
    FailureKind.OVERLOAD: Row(Again.PAUSED, weight=1.0),
    FailureKind.SERVER: Row(Again.PAUSED, weight=1.0),
    FailureKind.GARBAGE: Row(Again.PAUSED, weight=1.0),
    FailureKind.CONNECT: Row(Again.AT_ONCE, weight=1.0),
    FailureKind.TIMEOUT: Row(weight=1.0),
    FailureKind.CUT: Row(Again.AT_ONCE, weight=1.0),
    FailureKind.STALL: Row(weight=1.0),
    FailureKind.TOO_LONG: Row(Again.TRIMMED),
    FailureKind.BAD_REQUEST: Row(is_trouble=True),
    FailureKind.EMPTY: Row(Again.ROOMIER),
}
"""What is missing here is not tried again and counts against nobody: our own limits, and what
only hosts report."""

_OTHER = Row()


def row_of(kind: FailureKind) -> Row:
    """The row of a kind of failure."""
    return ROWS.get(kind, _OTHER)


class Fix(StrEnum):
    """What is changed before the next try."""

    NOTHING = "nothing"
    TRIM = "a shorter transcript"
    ROOM = "more room and no thinking"


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask the same provider again."""

    wait_s: float
    fix: Fix = Fix.NOTHING


@dataclass(frozen=True, slots=True)
class MoveOn:
    """Ask the next candidate."""

    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Ask nobody else."""

    reason: str


RetryPlan = Retry | MoveOn | GiveUp


@dataclass(frozen=True, slots=True)
class Tries:
    """What was already done for one question."""

    here: int = 0
    """Requests to this provider, the failed one included."""
    counted: int = 0
    """Requests to all of them that count, the failed one included."""
    is_last: bool = True
    """Nobody is left to move on to."""
    has_shown: bool = False
    """Text of the answer was shown: from then on nothing may be repeated."""
    retries: int = MOST_RETRIES
    """As configured for this provider."""


def counts(kind: FailureKind) -> bool:
    """Is a request that failed so one of the few a question may make?

    A provider that is out answers once and is not asked again, so a row of dead keys must not
    keep a question from the one that works; and what we refused ourselves was never sent.
    """
    row = row_of(kind)
    return not row.is_out and kind not in (FailureKind.BUDGET, FailureKind.BUSY)


def plan_retry(
    failure: Failure, tries: Tries, *, told_s: float | None, may_retry: bool, jitter: float
) -> RetryPlan:
    """What to do after a failure.

    Args:
        failure: Its kind.
        tries: What was done for this question.
        told_s: Seconds the provider asked us to wait, when it said so.
        may_retry: Does the minute's budget of retries allow one more?
        jitter: Drawn evenly from 0 to 1.
    """
    if failure == "refused":
        return GiveUp("the provider declined to answer")
    if failure is FailureKind.CANCELLED:
        return GiveUp("the asker stopped it")
    if tries.has_shown:
        return GiveUp("part of the answer was already shown")
    again = _again(row_of(failure).again, told_s, jitter)
    if again is not None and may_retry and _has_room(tries):
        return again
    return MoveOn("" if again is None else "it was asked often enough")


def _has_room(tries: Tries) -> bool:
    if tries.here > min(tries.retries, MOST_RETRIES):
        return False
    # The last request of a question is kept for the next candidate, when there is one.
    kept = 0 if tries.is_last else 1
    return tries.counted + kept < MOST_REQUESTS


def _again(again: Again, told_s: float | None, jitter: float) -> Retry | None:
    match again:
        case Again.NEVER:
            return None
        case Again.AT_ONCE:
            return Retry(0.0)
        case Again.PAUSED:
            return Retry(_pause(jitter))
        case Again.TOLD:
            return _told(told_s, jitter)
        case Again.TRIMMED:
            return Retry(0.0, Fix.TRIM)
        case Again.ROOMIER:
            return Retry(0.0, Fix.ROOM)


def _told(told_s: float | None, jitter: float) -> Retry | None:
    if told_s is None:
        return Retry(_pause(jitter))
    # A little later than told, never earlier: clocks differ.
    return Retry(told_s * (1.0 + 0.05 * jitter)) if told_s <= LONGEST_TOLD_S else None


def _pause(jitter: float) -> float:
    return PAUSE_S * (0.5 + jitter)


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """First requests and retries of the last minute; times are monotonic seconds."""

    firsts: tuple[float, ...] = ()
    retries: tuple[float, ...] = ()

    def after_first(self, now: float) -> "RetryBudget":
        """With one more question sent."""
        return replace(self, firsts=(*_recent(self.firsts, now), now))

    def after_retry(self, now: float) -> "RetryBudget":
        """With one more retry sent."""
        return replace(self, retries=(*_recent(self.retries, now), now))

    def may_retry(self, now: float) -> bool:
        """Would one more retry stay within the share of all requests?"""
        allowed = max(EXTRA_AT_LEAST, int(EXTRA_SHARE * len(_recent(self.firsts, now))))
        return len(_recent(self.retries, now)) < allowed


def _recent(times: tuple[float, ...], now: float) -> tuple[float, ...]:
    return tuple(at for at in times if now - at < WINDOW_S)
