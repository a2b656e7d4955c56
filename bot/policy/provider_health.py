"""A provider's health: its breaker, why it is out and until when, how long it asked us to wait.

A frozen value its owner keeps. Failures change it by the rows of the error table
(``policy.retry``); half-open lets one request through at a time.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import field, replace

from bot.domain.cloud import ProviderChange
from bot.domain.errors import FailureKind, Unavailable
from bot.domain.values import value
from bot.policy.breaker import (
    Breaker,
    hold,
    may_try,
    on_abandoned,
    on_failure,
    state,
)
from bot.policy.retry import ROWS

UNTOLD_RESET_S = 3600.0
"""How long a plan's limit or an empty balance is taken to last when its end was not told."""
LEAST_RESET_S = 60.0
"""A shorter time told with "no money" is a rate limit's header beside it, not a reset."""
LONGEST_PAUSE_S = 3600.0
"""A wait that a provider asks for is kept to for no longer: its owner hears of none, and one
question an hour finds out whether it still holds."""
DISABLED_CODE = "1313"
"""Z.AI: fair use was violated; asking again can cost the account."""


@value
class Outage:
    """No request may go out, and why."""

    kind: FailureKind
    reason: str
    until: float | None = None
    """Monotonic seconds; None when nobody knows: until its key or an admin's word changes."""


@value
class ProviderHealth:
    """What bars one provider; a new one bars nothing. Times are monotonic seconds."""

    breaker: Breaker = field(default_factory=Breaker)
    outage: Outage | None = None
    """Holds whatever the breaker says."""
    wait_until: float = 0.0
    """It asked for no request before this."""
    last_kind: FailureKind = FailureKind.SERVER
    last_reason: str = ""
    """Of the last counted failure."""
    told: AbstractSet[ProviderChange] = field(default_factory=frozenset[ProviderChange])
    """What the admins know already."""


def barred(health: ProviderHealth, now: float) -> Outage | None:
    """Why no request may go out now; None when one may."""
    outage, breaker = health.outage, health.breaker
    if outage is not None and (outage.until is None or now < outage.until):
        return outage
    if may_try(breaker, now):
        return None
    if state(breaker, now) == "open":
        return Outage(health.last_kind, health.last_reason, breaker.open_until)
    reason = f"{health.last_reason} It is being tried again just now."
    return Outage(health.last_kind, reason)


def answered(health: ProviderHealth) -> tuple[ProviderHealth, ProviderChange | None]:
    """The record after an answer, and what the admins are to be told."""
    # Everything is forgiven but the wait: others were asked to keep to it by the same provider,
    # and one answer does not take that back.
    well = ProviderHealth(wait_until=health.wait_until)
    return well, "back" if "out" in health.told else None


def failed(
    health: ProviderHealth, error: Unavailable, now: float, *, jitter: float
) -> tuple[ProviderHealth, ProviderChange | None]:
    """The record after a failure, and what the admins are to be told.

    Args:
        health: The record before.
        error: What happened.
        now: Monotonic seconds.
        jitter: Drawn evenly from 0 to 1.
    """
    row = ROWS[error.kind]
    reason = f"{error.user_message.rstrip('.')}." if error.user_message else "It failed."
    breaker, outage, wait_until = health.breaker, health.outage, health.wait_until
    if row.is_out:
        until = _until(error, now)
        outage = Outage(error.kind, reason, until)
        if until is not None:
            # Held too: when the time is over, one request finds out for all whether it was true.
            breaker = hold(breaker, now, until - now)
    elif row.weight:
        # Seven refused in one moment once opened the breaker on a provider that had only asked for
        # two seconds: who was under way when it did so tells nothing new.
        if now >= health.wait_until:
            breaker = on_failure(breaker, now, jitter=0.2 * jitter - 0.1, weight=row.weight)
        # Overload tells its wait as a rate limit does, and who asks earlier makes it worse.
        if row.again == "told" and error.retry_after_s is not None:
            wait_until = max(wait_until, now + min(error.retry_after_s, LONGEST_PAUSE_S))
    after = replace(health, breaker=on_abandoned(breaker), outage=outage, wait_until=wait_until)
    if row.is_out or row.weight:
        after = replace(after, last_kind=error.kind, last_reason=reason)
    is_out = outage is not None or after.breaker.open_until is not None
    what = "out" if is_out else "trouble" if row.is_trouble else None
    # Each thing once until it is over: an outage of an hour is one message, not one a question. But
    # a key refused within an outage of another kind is the owner's to mend, and was never told.
    is_worse = row.is_out and health.outage is None
    if what is None or (what in health.told and not is_worse):
        return after, None
    return replace(after, told=health.told | {what}), what


def choose_deployment(
    standings: Sequence[tuple[bool, int, float]], weights: Sequence[float], draw: float
) -> int:
    """Which of a provider's deployments is asked, by its place.

    One in service before one that is out, then whoever this question asked least, then the
    soonest; those alike share the questions by weight.

    Args:
        standings: Of each: is it out, how often did this question ask it, seconds until its turn.
        weights: Of each, above 0.
        draw: Drawn evenly from 0 to 1.
    """
    best = min(standings)
    alike = [at for at, standing in enumerate(standings) if standing == best]
    mark = draw * sum(weights[at] for at in alike)
    for at in alike:
        mark -= weights[at]
        if mark < 0:
            return at
    return alike[-1]


def _until(error: Unavailable, now: float) -> float | None:
    """When an outage ends by itself; None when only a new key or an admin ends it."""
    told_s = error.retry_after_s
    if error.kind is FailureKind.AUTH or error.code == DISABLED_CODE:
        return None
    # Money that was paid in tells nobody, and a limit may be raised before its month is over:
    # after an hour one question tries for all. It costs nothing while it fails.
    least_s = LEAST_RESET_S if error.kind is FailureKind.NO_MONEY else 0.0
    return now + (told_s if told_s is not None and told_s >= least_s else UNTOLD_RESET_S)
