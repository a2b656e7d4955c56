"""After a failed call: whether the same provider is asked again, when, and with what changed.

One row for each row of the error table. Every candidate is asked once, whatever failed before it;
repeats alone are counted, three times over: for a provider and question one or what its owner said,
two for a question in all, and a fifth of all requests of a minute, so that they never multiply an
outage.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from bot.domain.errors import FailureKind
from bot.domain.values import value

MOST_RETRIES = 1
"""Of one provider for one question, where its settings do not say."""
MOST_REPEATS = 2
"""Of all providers for one question."""
FIRST_WORD_S = 120.0
"""From the first request of a question to its first word, however many are asked meanwhile."""
LONGEST_TOLD_S = 5.0
"""A provider that asks for a longer wait is left until everybody else was asked."""
PAUSE_S = 1.0
"""Before a retry nobody gave a time for; half to one and a half of it."""
EXTRA_SHARE = 0.2
EXTRA_AT_LEAST = 3
"""Retries a minute that are always allowed: a fifth of few requests would be none."""
WINDOW_S = 60.0


@value
class Row:
    """What follows one kind of failure; ``ROWS`` has one for each."""

    again: Literal["never", "at once", "told"] = "never"
    """When the same provider may be asked again: ``told`` after the wait it asked for, when that
    ends in time; where it asked for none, after a short pause, its length drawn."""
    fix: Literal["", "trim", "room"] = ""
    """What is changed first: a shorter transcript; no thinking and more room for the answer."""
    weight: float = 0.0
    """What it counts against the breaker: 1 is a failure."""
    is_fresh_first: bool = False
    """Whoever was not asked yet goes before this one is asked again."""
    is_out: bool = False
    """The provider stays out until a reset, a new key or an admin."""
    is_trouble: bool = False
    """The admins are told, but the provider is not out."""

    @property
    def is_elsewhere_fine(self) -> bool:
        """May another key or address of the same model do better with the very same request?"""
        return self.is_out or self.weight > 0


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
    # A second try at an overloaded provider once used up the place of one that was never asked.
    FailureKind.OVERLOAD: Row("told", weight=1.0, is_fresh_first=True),
    FailureKind.SERVER: Row("told", weight=1.0, is_fresh_first=True),
    FailureKind.GARBAGE: Row("told", weight=1.0, is_fresh_first=True),
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


@value
class Tries:
    """What was already done for one question."""

    here: int = 0
    """Requests to this provider, the failed one included."""
    repeats: int = 0
    """Requests to any provider that had been asked before."""
    has_shown: bool = False
    """Text of the answer was shown: from then on nothing may be repeated."""
    retries: int = MOST_RETRIES
    """As configured for this provider."""


def retry_wait_s(
    kind: FailureKind, tries: Tries, *, told_s: float | None, left_s: float, jitter: float
) -> float | None:
    """Seconds to wait before the same provider is asked again; None when it is not.

    Args:
        kind: How the last request failed.
        tries: What was done for this question.
        told_s: Seconds the provider asked us to wait, when it said so.
        left_s: Until the question's first word is due.
        jitter: Drawn evenly from 0 to 1.
    """
    has_room = tries.here <= tries.retries and tries.repeats < MOST_REPEATS
    if tries.has_shown or not has_room:
        return None
    match ROWS[kind].again:
        case "never":
            return None
        case "at once":
            return 0.0
        case "told":
            if told_s is None:
                return PAUSE_S * (0.5 + jitter)
            # A little later than told, never earlier: clocks differ.
            wait_s = told_s * (1.0 + 0.05 * jitter)
            return wait_s if wait_s < left_s else None


@value
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
