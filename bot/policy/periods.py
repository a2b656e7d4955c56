"""Days of a report, as texts such as ``2026-11-20``."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from bot.domain.values import value

PeriodName = Literal["today", "week", "month", "year"]


@value
class Period:
    """From one day to another, both included."""

    first: str
    last: str


def period_of(name: PeriodName, today: str) -> Period:
    """Today, the last seven days, this month or this year so far."""
    if name == "today":
        return Period(today, today)
    if name == "year":
        return Period(f"{today[:4]}-01-01", today)
    if name == "month":
        return Period(f"{today[:7]}-01", today)
    return Period((date.fromisoformat(today) - timedelta(days=6)).isoformat(), today)


def month_before(today: str) -> Period:
    """The whole month before this one: what a monthly summary tells."""
    last = date.fromisoformat(today).replace(day=1) - timedelta(days=1)
    return Period(last.replace(day=1).isoformat(), last.isoformat())


def since(text: str, today: str) -> Period:
    """From a day, or for so many days (``7d``), until today.

    Raises:
        ValueError: it is neither.
    """
    if text.endswith("d") and text[:-1].isascii() and text[:-1].isdigit() and len(text) <= 5:
        days = max(1, int(text[:-1]))
        return Period((date.fromisoformat(today) - timedelta(days=days - 1)).isoformat(), today)
    if len(text) != len(today):
        raise ValueError("expected a day such as 2026-11-20, or a number of days such as 7d")
    return Period(date.fromisoformat(text).isoformat(), today)


def left_of_day_s(now: datetime) -> float:
    """Seconds until the next day begins where ``now`` is; a day may have 23 or 25 hours."""
    morrow = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
    return (morrow.astimezone(UTC) - now.astimezone(UTC)).total_seconds()
