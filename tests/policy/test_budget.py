from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import BudgetExceeded
from bot.domain.ids import PlaceId, UserId
from bot.policy.budget import (
    EVERYBODY,
    Account,
    AccountKey,
    Budget,
    BudgetRules,
    Payer,
    accounts_for,
    alerted,
    cost_micro_usd,
    day_key,
    is_alert_due,
    reserve,
    roll,
    settle,
    verdict,
)

RULES = BudgetRules(1000, per_server_micro_usd=500, per_user_micro_usd=200)
SERVER, ADA = PlaceId("discord:9"), UserId("discord:1")
ALL = accounts_for(SERVER, ADA)
TODAY = Budget("2026-11-20")


@pytest.mark.parametrize(
    ("server", "user", "payers"),
    [
        (None, None, [Payer.ALL]),
        (SERVER, None, [Payer.ALL, Payer.SERVER]),
        (None, ADA, [Payer.ALL, Payer.USER]),
        (SERVER, ADA, [Payer.ALL, Payer.SERVER, Payer.USER]),
    ],
)
def test_a_request_is_charged_to_everybody_concerned(
    server: PlaceId | None, user: UserId | None, payers: list[Payer]
) -> None:
    assert [key.payer for key in accounts_for(server, user)] == payers


@pytest.mark.parametrize(
    ("accounts", "amount", "left", "words"),
    [
        ((EVERYBODY,), 1000, 1000, ""),
        ((EVERYBODY,), 1001, 1000, "the daily budget of $0.00 has only $0.0010 left"),
        (ALL[:2], 501, 500, "this server's daily budget"),
        (ALL, 201, 200, "your own daily budget"),
        (ALL, 200, 200, ""),
    ],
)
def test_the_tightest_limit_decides(
    accounts: tuple[AccountKey, ...], amount: int, left: int, words: str
) -> None:
    answer = verdict(TODAY, RULES, accounts, amount)
    assert answer.may_spend is not bool(words)
    assert answer.left_micro_usd == left
    assert answer.reason.startswith(words)


def test_without_limits_anything_may_be_spent() -> None:
    answer = verdict(TODAY, BudgetRules(), ALL, 10**12)
    assert answer.may_spend
    assert answer.left_micro_usd is None


def test_a_reservation_counts_until_it_is_settled_for_what_it_really_cost() -> None:
    held = reserve(TODAY, RULES, "t1", ALL, 150)
    assert held.account(EVERYBODY) == Account(spent=0, reserved=150)
    with pytest.raises(BudgetExceeded, match="your own daily budget"):
        reserve(held, RULES, "t2", ALL, 51)
    settled = settle(held, "t1", 30)
    assert all(settled.account(key) == Account(spent=30) for key in ALL)
    assert not settled.open


def test_settling_twice_or_what_was_never_reserved_changes_nothing() -> None:
    settled = settle(reserve(TODAY, RULES, "t1", ALL, 150), "t1", 30)
    assert settle(settled, "t1", 30) == settled
    assert settle(TODAY, "never", 5) == TODAY


def test_a_request_that_was_never_sent_costs_nothing() -> None:
    released = settle(reserve(TODAY, RULES, "t1", ALL, 150), "t1", 0)
    assert released.account(EVERYBODY).committed == 0


def test_a_new_day_starts_at_nothing_but_holds_what_is_under_way() -> None:
    held = reserve(reserve(TODAY, RULES, "t1", ALL, 50), RULES, "t2", ALL, 70)
    spent = settle(held, "t1", 50)
    tomorrow = roll(alerted(spent), "2026-11-21")
    assert tomorrow.account(EVERYBODY) == Account(spent=0, reserved=70)
    assert not tomorrow.was_alerted
    done = settle(tomorrow, "t2", 70)
    assert done.account(EVERYBODY) == Account()


def test_a_day_is_never_reset_twice() -> None:
    spent = settle(reserve(TODAY, RULES, "t1", ALL, 50), "t1", 50)
    assert roll(spent, "2026-11-20") is spent
    assert roll(spent, "2026-11-19") is spent


def test_the_admins_are_warned_once_a_day_at_the_alert_share() -> None:
    below = Budget("d", {EVERYBODY: Account(spent=799)})
    above = Budget("d", {EVERYBODY: Account(spent=800)})
    assert not is_alert_due(below, RULES)
    assert is_alert_due(above, RULES)
    assert not is_alert_due(alerted(above), RULES)
    assert not is_alert_due(above, BudgetRules(daily_micro_usd=None))


def test_a_cost_is_rounded_up_to_a_whole_micro_dollar() -> None:
    assert cost_micro_usd(1_000_000, 0, Decimal("0.60"), Decimal("2.20")) == 600_000
    assert cost_micro_usd(1, 1, Decimal("0.60"), Decimal("2.20")) == 3
    assert cost_micro_usd(0, 0, Decimal("0.60"), Decimal("2.20")) == 0


@pytest.mark.parametrize(
    ("moment", "zone", "day"),
    [
        (datetime(2026, 11, 20, 23, 30, tzinfo=UTC), "UTC", "2026-11-20"),
        (datetime(2026, 11, 20, 23, 30, tzinfo=UTC), "Europe/Berlin", "2026-11-21"),
        (datetime(2026, 11, 20, 4, 30, tzinfo=UTC), "America/New_York", "2026-11-19"),
    ],
)
def test_a_day_is_the_one_of_the_budgets_time_zone(moment: datetime, zone: str, day: str) -> None:
    assert day_key(moment, ZoneInfo(zone)) == day


@pytest.mark.parametrize(("start", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_short_and_long_days_change_once(start: str, hours: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    midnight = datetime.fromisoformat(start).replace(tzinfo=berlin).astimezone(UTC)
    quarters = [midnight + timedelta(minutes=15 * n) for n in range(hours * 4 + 4)]
    days = [day_key(moment, berlin) for moment in quarters]
    assert days.count(start) == hours * 4
    assert days == sorted(days)


_MOVES = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 400), st.integers(0, 400)), max_size=40
)


@given(_MOVES)
def test_parallel_requests_never_overspend(moves: list[tuple[str, int, int]]) -> None:
    budget = TODAY
    for request, worst, actual in moves:
        if request in budget.open:
            held = budget.open[request].micro_usd
            budget = settle(budget, request, min(actual, held))
            continue
        try:
            budget = reserve(budget, RULES, request, ALL, worst)
        except BudgetExceeded:
            assert not verdict(budget, RULES, ALL, worst).may_spend
    for key, limit in zip(ALL, (1000, 500, 200), strict=True):
        account = budget.account(key)
        assert account.committed <= limit
        assert account.reserved == sum(r.micro_usd for r in budget.open.values())
