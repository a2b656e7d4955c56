import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.cloud import DayTotals
from bot.policy.budget import (
    EVERYBODY,
    Account,
    BudgetRules,
    Payer,
    accounts_of,
    is_alert_due,
    moves,
    refusal,
)

RULES = BudgetRules(1000, per_server_micro_usd=500, per_user_micro_usd=200)
ALL = accounts_of("discord:9", "ada")


def day(
    *accounts: Account, rules: BudgetRules = RULES, spent: int = 0, held: int = 0
) -> dict[Account, DayTotals]:
    """The accounts with so much spent and so much held of each."""
    return {
        account: DayTotals("2026-11-20", spent, held, rules.cap(account[0])) for account in accounts
    }


@pytest.mark.parametrize(
    ("server", "user", "payers"),
    [
        ("", "", ["all"]),
        ("discord:9", "", ["all", "server"]),
        ("", "ada", ["all", "user"]),
        ("discord:9", "ada", ["all", "server", "user"]),
    ],
)
def test_a_call_is_charged_to_everybody_concerned(
    server: str, user: str, payers: list[Payer]
) -> None:
    accounts = accounts_of(server, user)
    assert [payer for payer, _ in accounts] == payers
    assert [name for _, name in accounts if name] == [name for name in (server, user) if name]


@pytest.mark.parametrize(
    ("accounts", "amount", "words"),
    [
        ((EVERYBODY,), 1000, ""),
        ((EVERYBODY,), 1001, "the daily budget of $0.00 has only $0.0010 left"),
        (ALL[:2], 500, ""),
        (ALL[:2], 501, "this server's daily budget of $0.00 has only $0.0005 left"),
        (ALL, 200, ""),
        (ALL, 201, "your own daily budget of $0.00 has only $0.0002 left"),
    ],
)
def test_the_tightest_limit_decides(accounts: tuple[Account, ...], amount: int, words: str) -> None:
    assert refusal(day(*accounts), amount) == words


@pytest.mark.parametrize(("spent", "held", "left"), [(150, 0, 50), (0, 150, 50), (100, 60, 40)])
def test_what_is_held_counts_like_what_is_spent(spent: int, held: int, left: int) -> None:
    accounts = day(*ALL, spent=spent, held=held)
    assert refusal(accounts, left) == ""
    assert refusal(accounts, left + 1).startswith("your own daily budget")


def test_a_limit_that_was_passed_leaves_nothing_and_still_allows_what_is_free() -> None:
    over = day(EVERYBODY, spent=1200)
    assert refusal(over, 0) == ""
    assert refusal(over, 1) == "the daily budget of $0.00 has only $0.0000 left"


def test_without_limits_anything_may_be_spent() -> None:
    assert refusal(day(*ALL, rules=BudgetRules(), spent=10**12), 10**12) == ""


def test_dollars_are_told_to_the_cent_and_what_is_left_to_a_hundredth_of_it() -> None:
    totals = {EVERYBODY: DayTotals("d", 1_734_567_890, 0, 9_876_544_990)}
    words = "the daily budget of $9876.54 has only $8141.9771 left"
    assert refusal(totals, 9_000_000_000) == words


def test_an_account_without_a_limit_hides_no_other() -> None:
    rules = BudgetRules(per_user_micro_usd=200)
    assert refusal(day(*ALL, rules=rules), 201).startswith("your own daily budget")


@pytest.mark.parametrize(
    ("spent", "held", "is_due"), [(0, 0, False), (799, 900, False), (800, 0, True), (801, 0, True)]
)
def test_the_admins_are_warned_from_the_alert_share_of_what_is_spent(
    spent: int, held: int, is_due: bool
) -> None:
    assert is_alert_due(DayTotals("d", spent, held, 1000), 0.8) is is_due


def test_without_a_limit_there_is_nothing_to_warn_of() -> None:
    assert not is_alert_due(DayTotals("d", 10**12, 0, None), 0.8)


@pytest.mark.parametrize(
    ("state", "basis", "moved"),
    [
        ("reserved", "", (30, -150)),
        ("settled", "worst", (-120, 0)),
        ("settled", "usage", None),
        ("settled", "counted", None),
        ("released", "nothing", None),
    ],
)
def test_a_call_is_settled_once_and_only_an_assumption_gives_way(
    state: str, basis: str, moved: tuple[int, int] | None
) -> None:
    charged = 0 if state == "reserved" else 150
    assert moves(state, basis, held=150, charged=charged, cost=30) == moved


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_assumed_charge_and_the_truth_after_it_come_to_the_truth_alone(
    held: int, other: int, cost: int
) -> None:
    spent, reserved = other, held + other
    for state, basis, charged, actual in (
        ("reserved", "", 0, held),
        ("settled", "worst", held, cost),
    ):
        moved = moves(state, basis, held=held, charged=charged, cost=actual)
        assert moved is not None
        spent, reserved = spent + moved[0], reserved + moved[1]
    assert (spent, reserved) == (other + cost, other)
