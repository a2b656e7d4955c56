from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.periods import Period, PeriodName, month_before, period_of


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("today", "2026-03-02"),
        ("week", "2026-02-24"),
        ("month", "2026-03-01"),
        ("year", "2026-01-01"),
    ],
)
def test_a_period_ends_today(name: PeriodName, first: str) -> None:
    assert period_of(name, "2026-03-02") == Period(first, "2026-03-02")


@pytest.mark.parametrize(
    ("today", "first", "last"),
    [
        ("2026-03-02", "2026-02-01", "2026-02-28"),
        ("2026-01-31", "2025-12-01", "2025-12-31"),
        ("2028-03-01", "2028-02-01", "2028-02-29"),
    ],
)
def test_the_month_before_is_whole(today: str, first: str, last: str) -> None:
    assert month_before(today) == Period(first, last)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_the_month_before_ends_the_day_before_this_one_begins(today: date) -> None:
    period = month_before(today.isoformat())
    begins = date.fromisoformat(period_of("month", today.isoformat()).first)
    assert date.fromisoformat(period.last) + timedelta(days=1) == begins
    assert period.first[:7] == period.last[:7]
