"""How a provider stands with us: its breaker, why it is out and until when, what it asked of us.

A frozen value its owner keeps. Failures change it by the rows of the error table
(``policy.retry``); half-open lets one request through at a time.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Literal

from bot.domain.errors import FailureKind
from bot.policy.breaker import (
    Breaker,
    BreakerState,
    hold,
    may_try,
    on_abandoned,
    on_failure,
    on_success,
    on_try,
    state,
)
from bot.policy.retry import row_of

UNTOLD_RESET_S = 3600.0
"""How long a plan's limit is taken to last when its reset was not told."""
LEAST_RESET_S = 60.0
"""A shorter time told with "no money" is a rate limit's header beside it, not a reset."""
DISABLED_CODE = "1313"
"""Z.AI: fair use was violated; asking again can cost the account."""
_MONTHLY_CODES = frozenset(
    {
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "enforced_spend_limit_reached",
    }
)
"""Limits that are reset with the month."""

News = Literal["out", "back", "trouble"]


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a provider is out whatever its breaker says."""

    kind: FailureKind
    reason: str
    until: float | None = None
    """Monotonic seconds; None until its key or an admin's word changes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One provider's record; as made, in good standing. Times are monotonic seconds."""

    breaker: Breaker = field(default_factory=Breaker)
    outage: Outage | None = None
    wait_until: float = 0.0
    """It asked for no request before this."""
    last_kind: FailureKind = FailureKind.SERVER
    last_reason: str = ""
    """Of the last counted failure."""
    told: AbstractSet[News] = field(default_factory=frozenset[News])
    """What the admins know already."""


@dataclass(frozen=True, slots=True)
class Failed:
    """One failed call."""

    kind: FailureKind
    reason: str = ""
    code: str | None = None
    told_s: float | None = None
    """Seconds the provider asked us to wait, or until its limit is reset."""


@dataclass(frozen=True, slots=True)
class Barred:
    """No request may go out now, and why."""

    kind: FailureKind
    reason: str
    seconds: float | None = None
    """Until one may; None when nobody knows."""


def barred(standing: Standing, now: float) -> Barred | None:
    """Why no request may go out now; None when one may."""
    outage = standing.outage
    if outage is not None and (outage.until is None or now < outage.until):
        seconds = None if outage.until is None else outage.until - now
        return Barred(outage.kind, outage.reason, seconds)
    if may_try(standing.breaker, now):
        return None
    breaker = standing.breaker
    if state(breaker, now) is BreakerState.OPEN:
        seconds = (breaker.open_until or now) - now
        return Barred(standing.last_kind, standing.last_reason, seconds)
    return Barred(standing.last_kind, f"{standing.last_reason} It is being tried again just now.")


def wait_s(standing: Standing, now: float) -> float:
    """Seconds until the provider wants to hear from us again."""
    return max(0.0, standing.wait_until - now)


def tried(standing: Standing, now: float) -> Standing:
    """The record after a request went out."""
    return replace(standing, breaker=on_try(standing.breaker, now))


def abandoned(standing: Standing) -> Standing:
    """The record after a request that proved nothing."""
    return replace(standing, breaker=on_abandoned(standing.breaker))


def answered(standing: Standing) -> Standing:
    """The record after an answer: everything is forgiven, but not the wait it asked others for."""
    return Standing(breaker=on_success(standing.breaker), wait_until=standing.wait_until)


def failed(
    standing: Standing, failure: Failed, now: float, *, month_left_s: float, jitter: float
) -> Standing:
    """The record after a failure.

    Args:
        standing: The record before.
        failure: What happened.
        now: Monotonic seconds.
        month_left_s: Seconds until the next month begins, when monthly limits are reset.
        jitter: Drawn evenly from 0 to 1.
    """
    row = row_of(failure.kind)
    if row.is_out:
        return _out(standing, failure, now, month_left_s)
    if row.weight == 0.0:
        return abandoned(standing)
    breaker = on_failure(standing.breaker, now, jitter=0.2 * jitter - 0.1, weight=row.weight)
    after = replace(
        standing, breaker=breaker, last_kind=failure.kind, last_reason=_words(failure.reason)
    )
    if failure.kind is not FailureKind.RATE_LIMIT or failure.told_s is None:
        return after
    return replace(after, wait_until=max(standing.wait_until, now + failure.told_s))


def news(before: Standing, after: Standing, failure: Failed | None) -> News | None:
    """What the admins are to be told after a change, each thing once until it is over."""
    if failure is None:
        return "back" if "out" in before.told else None
    if after.outage is not None or after.breaker.open_until is not None:
        what: News = "out"
    elif row_of(failure.kind).is_trouble:
        what = "trouble"
    else:
        return None
    return None if what in before.told else what


def said(standing: Standing, what: News) -> Standing:
    """The record once the admins were told."""
    return replace(standing, told=standing.told | {what})


def _out(standing: Standing, failure: Failed, now: float, month_left_s: float) -> Standing:
    until = _until(failure, now, month_left_s)
    outage = Outage(failure.kind, _words(failure.reason), until)
    # Held too: when the time is over, one request finds out for all whether it was true.
    breaker = standing.breaker if until is None else hold(standing.breaker, now, until - now)
    return replace(
        standing,
        breaker=on_abandoned(breaker),
        outage=outage,
        last_kind=failure.kind,
        last_reason=outage.reason,
    )


def _until(failure: Failed, now: float, month_left_s: float) -> float | None:
    if failure.kind is FailureKind.AUTH or failure.code == DISABLED_CODE:
        return None
    told_s = failure.told_s
    if failure.kind is FailureKind.PLAN_LIMIT:
        return now + (UNTOLD_RESET_S if told_s is None else told_s)
    if told_s is not None and told_s >= LEAST_RESET_S:
        return now + told_s
    return now + month_left_s if failure.code in _MONTHLY_CODES else None


def _words(reason: str) -> str:
    return f"{reason.rstrip('.')}." if reason else "It failed."
