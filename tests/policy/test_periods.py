from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.periods import Period, PeriodName, month_before, month_left_s, period_of


@pytest.mark.parametrize(
    ("name", "first"),
    [("today", "2026-03-02"), ("week", "2026-02-24"), ("month", "2026-03-01")],
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


def test_the_month_ends_in_utc_wherever_the_clock_stands() -> None:
    there = timezone(timedelta(hours=-5))
    assert month_left_s(datetime(2026, 12, 31, 18, 0, tzinfo=there)) == 3600
    assert month_left_s(datetime(2026, 11, 1, tzinfo=UTC)) == 30 * 86_400


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_month_is_never_over_and_never_longer_than_itself(now: datetime) -> None:
    left = month_left_s(now)
    assert 0 < left <= 31 * 86_400
    assert (now + timedelta(seconds=left)).day == 1


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_the_month_before_ends_the_day_before_this_one_begins(today: date) -> None:
    period = month_before(today.isoformat())
    begins = date.fromisoformat(period_of("month", today.isoformat()).first)
    assert date.fromisoformat(period.last) + timedelta(days=1) == begins
    assert period.first[:7] == period.last[:7]
