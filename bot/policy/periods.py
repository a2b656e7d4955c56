"""Days of a report, as texts such as ``2026-11-20``."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

PeriodName = Literal["today", "week", "month", "year"]


@dataclass(frozen=True, slots=True)
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
