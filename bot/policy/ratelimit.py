"""A token bucket: so many requests in a period, unused ones saved up to a full bucket."""

import re
from dataclasses import dataclass

_PERIODS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_RATE = re.compile(r"(?P<count>[0-9]{1,9})\s*/\s*(?P<period>s|min|h|d)")


@dataclass(frozen=True, slots=True)
class RateRule:
    """``count`` requests in ``period_s`` seconds; as many may come at once."""

    count: int
    period_s: float

    @property
    def per_s(self) -> float:
        """Requests earned in a second."""
        return self.count / self.period_s


@dataclass(frozen=True, slots=True)
class Bucket:
    """What one asker has left, as of a moment."""

    left: float
    at: float
    """Monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The verdict on one request, with the record to keep."""

    bucket: Bucket
    wait_s: float
    """0 when it may go; else the seconds after which it could, and nothing was taken."""

    @property
    def is_allowed(self) -> bool:
        """May the request go now?"""
        return self.wait_s == 0.0


def parse_rate(text: str) -> RateRule:
    """Read ``60/min``; periods are ``s``, ``min``, ``h`` and ``d``.

    Raises:
        ValueError: it has another form or allows nothing.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or int(match["count"]) == 0:
        raise ValueError(f"{text!r} is no rate; write a count and a period such as 60/min")
    return RateRule(int(match["count"]), _PERIODS_S[match["period"]])


def take(bucket: Bucket | None, rule: RateRule, now: float) -> Taken:
    """Take one request from the bucket; None is an asker not seen before, with a full one."""
    left = float(rule.count) if bucket is None else _refilled(bucket, rule, now)
    if left >= 1.0:
        return Taken(Bucket(left - 1.0, now), 0.0)
    return Taken(Bucket(left, now), (1.0 - left) / rule.per_s)


def is_full(bucket: Bucket, rule: RateRule, now: float) -> bool:
    """Is it as good as new, so that the record need not be kept?"""
    return _refilled(bucket, rule, now) >= rule.count


def _refilled(bucket: Bucket, rule: RateRule, now: float) -> float:
    earned = max(0.0, now - bucket.at) * rule.per_s
    return min(float(rule.count), bucket.left + earned)
