"""A token bucket: so many requests in a period, unused ones saved up to a full bucket."""

from bot.domain.values import value

PERIODS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0}
"""Seconds of a rate's period by its unit, as people may write it; the first of equals is shown."""


@value
class RateRule:
    """``count`` requests in ``period_s`` seconds; as many may come at once."""

    count: int
    period_s: float

    def __str__(self) -> str:
        """As people write it: ``60/min``."""
        period = next(name for name, seconds in PERIODS.items() if seconds == self.period_s)
        return f"{self.count}/{period}"


@value
class Bucket:
    """What one asker has left, as of a moment."""

    left: float
    at: float
    """Monotonic seconds."""


def take(bucket: Bucket | None, rule: RateRule, now: float) -> tuple[Bucket, float]:
    """Take one request from the bucket, or learn how long to wait for it.

    Args:
        bucket: What is left; None is an asker not seen before, with a full one.
        rule: How fast it fills.
        now: Monotonic seconds.

    Returns:
        The bucket to keep, and 0 when the request may go; else the seconds after which it could,
        and nothing was taken.
    """
    per_s = rule.count / rule.period_s
    left = float(rule.count)
    if bucket is not None:
        # A clock set back earns nothing, and takes nothing away.
        left = min(left, bucket.left + max(0.0, now - bucket.at) * per_s)
    if left >= 1.0:
        return Bucket(left - 1.0, now), 0.0
    return Bucket(left, now), (1.0 - left) / per_s


def given_back(bucket: Bucket, rule: RateRule) -> Bucket:
    """The bucket with one more: what was taken from it was not sent."""
    return Bucket(min(float(rule.count), bucket.left + 1.0), bucket.at)


def full_after_s(bucket: Bucket, rule: RateRule) -> float:
    """Seconds after which all of it could be asked for at once."""
    return max(0.0, rule.count - bucket.left) * rule.period_s / rule.count
