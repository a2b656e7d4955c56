"""After a failed call: whether the same provider is asked again, when, and with what changed.

One row for each row of the error table. Whoever retries is counted three times over: one retry
for a provider and question, three requests for a question in all, and a fifth of all requests of
a minute, so that retries never multiply an outage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from bot.domain.errors import FailureKind

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


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the error table."""

    again: Literal["never", "at once", "paused", "told"] = "never"
    """When the same provider may be asked again: ``paused`` after a short pause, its length drawn;
    ``told`` after the wait it asked for, when that is short."""
    fix: Literal["", "trim", "room"] = ""
    """What is changed first: a shorter transcript; no thinking and more room for the answer."""
    weight: float = 0.0
    """What it counts against the breaker: 1 is a failure."""
    is_out: bool = False
    """The provider stays out until a reset, a new key or an admin."""
    is_trouble: bool = False
    """The admins are told, but the provider is not out."""


ROWS: Mapping[FailureKind, Row] = {
    # Not in the rows below: our own limits and what only hosts report. Not tried again, and
    # counted against nobody.
    **dict.fromkeys(FailureKind, Row()),
    # Z.AI, OpenAI and Anthropic all say "no money left" with 429, the status of a rate limit:
    # tried again by its status, a dead key would be asked for ever.
    FailureKind.AUTH: Row(is_out=True),
    FailureKind.NO_MONEY: Row(is_out=True),
    FailureKind.PLAN_LIMIT: Row(is_out=True),
    # Half a failure: the provider is well, it only has too much of us.
    FailureKind.RATE_LIMIT: Row("told", weight=0.5),
    FailureKind.OVERLOAD: Row("paused", weight=1.0),
    FailureKind.SERVER: Row("paused", weight=1.0),
    FailureKind.GARBAGE: Row("paused", weight=1.0),
    FailureKind.CONNECT: Row("at once", weight=1.0),
    # Whoever waited once for a first word in vain is not made to wait as long again.
    FailureKind.TIMEOUT: Row(weight=1.0),
    FailureKind.CUT: Row("at once", weight=1.0),
    FailureKind.STALL: Row(weight=1.0),
    FailureKind.TOO_LONG: Row("at once", "trim"),
    FailureKind.BAD_REQUEST: Row(is_trouble=True),
    # Thinking counts against the same limit, and a small one is spent before the first word.
    FailureKind.EMPTY: Row("at once", "room"),
}


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
    """Is a request that failed so one of the few a question may make?"""
    # A provider that is out answers once and is not asked again, so a row of dead keys must not
    # keep a question from the one that works; and what we refused ourselves was never sent.
    return not ROWS[kind].is_out and kind not in (FailureKind.BUDGET, FailureKind.BUSY)


def retry_wait_s(
    kind: FailureKind, tries: Tries, *, told_s: float | None, may_retry: bool, jitter: float
) -> float | None:
    """Seconds to wait before the same provider is asked again; None when it is not.

    Args:
        kind: How the last request failed.
        tries: What was done for this question.
        told_s: Seconds the provider asked us to wait, when it said so.
        may_retry: Does the minute's budget of retries allow one more?
        jitter: Drawn evenly from 0 to 1.
    """
    # The last request of a question is kept for the next candidate, when there is one: a fresh
    # one is likelier to answer than the one that just failed.
    kept = 0 if tries.is_last else 1
    has_room = tries.here <= min(tries.retries, MOST_RETRIES)
    if not (may_retry and has_room and tries.counted + kept < MOST_REQUESTS) or tries.has_shown:
        return None
    again = ROWS[kind].again
    if again == "told" and told_s is not None:
        # A little later than told, never earlier: clocks differ.
        return told_s * (1.0 + 0.05 * jitter) if told_s <= LONGEST_TOLD_S else None
    if again in ("paused", "told"):
        return PAUSE_S * (0.5 + jitter)
    return 0.0 if again == "at once" else None


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """First requests and retries of the last minute; times are monotonic seconds."""

    firsts: tuple[float, ...] = ()
    retries: tuple[float, ...] = ()

    def sent(self, now: float, *, is_retry: bool) -> "RetryBudget":
        """With one more request."""
        if is_retry:
            return replace(self, retries=(*_recent(self.retries, now), now))
        return replace(self, firsts=(*_recent(self.firsts, now), now))

    def may_retry(self, now: float) -> bool:
        """Would one more retry stay within the share of all requests?"""
        allowed = max(EXTRA_AT_LEAST, int(EXTRA_SHARE * len(_recent(self.firsts, now))))
        return len(_recent(self.retries, now)) < allowed


def _recent(times: tuple[float, ...], now: float) -> tuple[float, ...]:
    return tuple(at for at in times if now - at < WINDOW_S)
