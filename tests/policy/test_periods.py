from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.periods import Period, PeriodName, left_of_day_s, month_before, period_of, since


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


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("2026-11-20", "2026-11-20"),
        ("1d", "2026-11-21"),
        ("0d", "2026-11-21"),
        ("7d", "2026-11-15"),
        ("9999d", "1999-07-08"),
    ],
)
def test_a_report_goes_back_to_a_day_or_by_days(text: str, first: str) -> None:
    assert since(text, "2026-11-21") == Period(first, "2026-11-21")


@pytest.mark.parametrize("text", ["", "d", "99999d", "-1d", "²d", "7", "2026-13-01", "20261120"])
def test_what_names_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|month"):
        since(text, "2026-11-21")


@pytest.mark.parametrize(
    ("now", "zone", "hours"),
    [
        ("2026-11-21T00:00:00", "UTC", 24),
        ("2026-11-21T23:00:00", "UTC", 1),
        # The clocks of Berlin go forward, and back.
        ("2026-03-29T00:00:00", "Europe/Berlin", 23),
        ("2026-10-25T00:00:00", "Europe/Berlin", 25),
        ("2026-10-25T03:00:00", "Europe/Berlin", 21),
    ],
)
def test_what_is_left_of_a_day_knows_short_and_long_ones(now: str, zone: str, hours: int) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=ZoneInfo(zone))
    assert left_of_day_s(moment) == hours * 3600
