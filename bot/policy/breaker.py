"""A breaker: after repeated failures a candidate is left alone for growing pauses.

Which failures count is the caller's decision; the record is a frozen value the caller keeps.
"""

from dataclasses import replace
from typing import Literal

from bot.domain.values import value

BreakerState = Literal["closed", "open", "half-open"]
"""Whether requests may pass.

``half-open``: the pause is over: one trial may pass, and decides.
"""


@value
class BreakerRules:
    """When a breaker opens and for how long."""

    threshold: int = 3
    """Failures in a row that open it."""
    base_s: float = 5.0
    factor: float = 2.0
    longest_s: float = 300.0


@value
class Breaker:
    """One candidate's failures; as made, and after every answer, closed with all forgiven."""

    failures: float = 0
    """Counted failures in a row; some count half."""
    openings: int = 0
    """Openings in a row without a success between; each makes the next pause longer."""
    open_until: float | None = None
    """Monotonic seconds; None while closed."""
    trial_until: float | None = None
    """While a trial is out, when it is given up for lost."""


DEFAULT_RULES = BreakerRules()
TRIAL_S = 120.0
"""A trial that never reported back no longer bars the next one after this long."""


def state(breaker: Breaker, now: float) -> BreakerState:
    """Closed, open or half-open at this moment."""
    if breaker.open_until is None:
        return "closed"
    return "open" if now < breaker.open_until else "half-open"


def may_try(breaker: Breaker, now: float) -> bool:
    """May a request go out now? Half-open admits one at a time (see ``on_try``)."""
    if state(breaker, now) == "open":
        return False
    # The trial may be lost with its asker; nobody would ever come back in if it barred for good.
    return breaker.trial_until is None or now >= breaker.trial_until


def on_try(breaker: Breaker, now: float) -> Breaker:
    """The record after a request was let out: in half-open it is the one trial."""
    if state(breaker, now) == "half-open":
        return replace(breaker, trial_until=now + TRIAL_S)
    return breaker


def on_abandoned(breaker: Breaker) -> Breaker:
    """The record after a request that proved nothing, such as one its asker stopped."""
    return replace(breaker, trial_until=None)


def on_failure(
    breaker: Breaker,
    now: float,
    rules: BreakerRules = DEFAULT_RULES,
    *,
    jitter: float = 0.0,
    weight: float = 1.0,
) -> Breaker:
    """The record after a failure that counts.

    Args:
        breaker: The record before.
        now: Monotonic seconds.
        rules: When to open and for how long.
        jitter: Fraction added to the pause, such as -0.1 to 0.1: not all return at once.
        weight: How much of a failure it is.
    """
    failed = replace(breaker, failures=breaker.failures + weight)
    if state(breaker, now) == "open":
        # Of a request sent before it opened: late news, and no reason for a longer pause.
        return failed
    if breaker.open_until is None and failed.failures < rules.threshold:
        return failed
    return hold(failed, now, pause_s(failed.openings, rules) * (1.0 + jitter))


def sought(breaker: Breaker, now: float) -> Breaker:
    """The record where nobody else is left to ask: the pause is over.

    How often that may be so is its keeper's to see to: a storm of askers would try the one that
    fails as often as they ask.
    """
    return replace(breaker, open_until=now) if state(breaker, now) == "open" else breaker


def hold(breaker: Breaker, now: float, seconds: float) -> Breaker:
    """Open for a time known from elsewhere: a plan's reset, a told wait."""
    return replace(
        breaker, openings=breaker.openings + 1, open_until=now + seconds, trial_until=None
    )


def pause_s(openings: int, rules: BreakerRules = DEFAULT_RULES) -> float:
    """The pause after this many earlier openings in a row, without jitter."""
    # 64 doublings pass any limit; the bound keeps the power from overflowing.
    return min(rules.longest_s, rules.base_s * rules.factor ** min(openings, 64))
