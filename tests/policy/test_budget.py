import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.cloud import Account, BudgetNews
from bot.domain.ids import ProviderName
from bot.policy.budget import (
    BudgetRules,
    accounts_of,
    brief_refusal,
    dollars_text,
    is_beyond,
    is_held,
    left_of,
    moves,
    news_of,
    refusal,
    whose,
    with_fitting,
)

ZAI, OPENAI = ProviderName("zai"), ProviderName("openai")
DAY, MONTH = "2026-11-20", "2026-11"
RULES = BudgetRules(
    1000,
    per_server_micro_usd=500,
    per_user_micro_usd=200,
    monthly_micro_usd=9000,
    by_provider={ZAI: (400, 3000)},
)


def everybody(spent: int = 0, held: int = 0, cap: int | None = 1000) -> Account:
    return Account(DAY, spent, held, cap)


def test_a_call_is_charged_to_everybody_concerned_in_its_day_and_month() -> None:
    assert accounts_of(RULES, DAY, server="s1", user="ada", providers=(ZAI, OPENAI)) == (
        Account(DAY, 0, 0, 1000),
        Account(MONTH, 0, 0, 9000),
        Account(DAY, 0, 0, 400, "provider", "zai"),
        Account(MONTH, 0, 0, 3000, "provider", "zai"),
        Account(DAY, 0, 0, None, "provider", "openai"),
        Account(MONTH, 0, 0, None, "provider", "openai"),
        Account(DAY, 0, 0, 500, "server", "s1"),
        Account(DAY, 0, 0, 200, "user", "ada"),
    )


def test_an_empty_name_is_nobodys() -> None:
    assert accounts_of(RULES, DAY) == (everybody(), Account(MONTH, 0, 0, 9000))


@pytest.mark.parametrize(
    ("everybodys", "own", "cap"),
    [(None, None, None), (5, None, 5), (None, 7, 7), (5, 7, 5), (5, 0, 0)],
)
def test_the_smaller_of_two_limits_of_one_user_counts(
    everybodys: int | None, own: int | None, cap: int | None
) -> None:
    rules = BudgetRules(per_user_micro_usd=everybodys)
    account = accounts_of(rules, DAY, user="key", own_daily_micro_usd=own)[-1]
    assert account == Account(DAY, 0, 0, cap, "user", "key")


@pytest.mark.parametrize(
    ("account", "words"),
    [
        (Account(DAY), "the daily budget"),
        (Account(MONTH), "the monthly budget"),
        (Account(DAY, payer="provider", name="zai"), "zai's daily budget"),
        (Account(MONTH, payer="provider", name="zai"), "zai's monthly budget"),
        (Account(DAY, payer="server", name="s1"), "this server's daily budget"),
        (Account(DAY, payer="user", name="ada"), "your own daily budget"),
    ],
)
def test_each_budget_has_its_name(account: Account, words: str) -> None:
    assert whose(account) == words


@pytest.mark.parametrize(
    ("count", "amount", "words"),
    [
        (1, 1000, ""),
        (1, 1001, "the daily budget of $0.0010 has only $0.0010 left"),
        (3, 400, ""),
        (3, 401, "zai's daily budget of $0.000400 has only $0.000400 left"),
        (6, 200, ""),
        (6, 201, "your own daily budget of $0.000200 has only $0.000200 left"),
    ],
)
def test_the_tightest_limit_decides(count: int, amount: int, words: str) -> None:
    accounts = accounts_of(RULES, DAY, server="s1", user="ada", providers=(ZAI,))
    assert refusal(accounts[:count], amount) == words


@pytest.mark.parametrize(("spent", "held", "left"), [(150, 0, 50), (0, 150, 50), (100, 60, 40)])
def test_what_is_held_counts_like_what_is_spent(spent: int, held: int, left: int) -> None:
    accounts = [everybody(spent, held), Account(DAY, spent, held, 200, "user", "ada")]
    assert refusal(accounts, left) == ""
    assert refusal(accounts, left + 1).startswith("your own daily budget")


def test_a_limit_that_was_passed_leaves_nothing_and_still_allows_what_is_free() -> None:
    over = [everybody(1200)]
    assert refusal(over, 0) == ""
    assert refusal(over, 1) == "the daily budget of $0.0010 has only $0.00 left"


@pytest.mark.parametrize(
    ("micro_usd", "words"),
    [(0, "$0.00"), (7, "$0.000007"), (999_999, "$1.0000"), (1_000_000, "$1.00")],
)
def test_a_small_sum_has_as_many_digits_as_it_needs(micro_usd: int, words: str) -> None:
    assert dollars_text(micro_usd) == words


def test_without_limits_anything_may_be_spent() -> None:
    assert refusal(accounts_of(BudgetRules(), DAY, server="s", user="a"), 10**12) == ""


def test_many_dollars_are_told_to_the_cent() -> None:
    words = "the daily budget of $9876.55 has only $8141.98 left"
    assert refusal([everybody(1_734_567_890, 0, 9_876_545_100)], 9_000_000_000) == words


def test_what_is_left_makes_a_limit_tight_and_not_its_size() -> None:
    accounts = [everybody(950), Account(DAY, 0, 0, 50, "user", "ada")]
    for order in (accounts, accounts[::-1]):
        # Of two that leave the same, the one that comes first is named.
        assert refusal(order, 51).startswith(whose(order[0]))
    accounts = [Account(DAY, 0, 0, 200, "user", "ada"), everybody(950)]
    for order in (accounts, accounts[::-1]):
        assert refusal(order, 51).startswith("the daily budget")


def test_readers_are_told_whose_budget_is_in_the_way() -> None:
    accounts = everybody(0, 0, 1_000), Account(DAY, 0, 0, 500, "server", "s")
    mine = Account(DAY, 0, 0, 300, "user", "a")
    assert brief_refusal(accounts, 400) == ""
    assert brief_refusal(accounts, 600) == "over this server's budget"
    assert brief_refusal((*accounts, mine), 400) == "over the asker's budget"
    assert brief_refusal(accounts[:1], 1_001) == "over everybody's budget"
    theirs = Account(DAY, 0, 0, 10, "provider", "zai")
    assert brief_refusal((*accounts, theirs), 11) == "over the provider's budget"


def test_an_account_without_a_limit_hides_no_other() -> None:
    accounts = [everybody(cap=None), Account(DAY, 0, 0, 200, "user", "ada")]
    assert refusal(accounts, 201).startswith("your own daily budget")


@pytest.mark.parametrize(
    ("spent", "held", "is_due"), [(0, 0, False), (799, 900, False), (800, 0, True), (801, 0, True)]
)
def test_the_admins_are_warned_from_the_alert_share_of_what_is_spent(
    spent: int, held: int, is_due: bool
) -> None:
    assert bool(news_of("alert", [everybody(spent, held)], 0.8)) is is_due


@pytest.mark.parametrize(("worst", "is_due"), [(50, False), (51, True)])
def test_the_admins_hear_of_a_call_that_no_longer_fits(worst: int, is_due: bool) -> None:
    assert bool(news_of("spent", [everybody(900, 50)], worst)) is is_due


def test_one_persons_and_one_servers_limit_is_no_news_and_a_providers_is() -> None:
    spent = [Account(DAY, 9, 0, 9, payer, "it") for payer in ("user", "all", "server", "provider")]
    for news in (news_of("alert", spent, 0.8), news_of("spent", spent, 1)):
        assert [one.account.payer for one in news] == ["all", "provider"]
    assert news_of("alert", spent[:2], 0.8) == (BudgetNews("alert", spent[1]),)


def test_without_a_limit_there_is_nothing_to_warn_of() -> None:
    free = [everybody(10**12, cap=None)]
    assert news_of("alert", free, 0.8) == news_of("spent", free, 10**12) == ()


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


def test_a_call_dearer_than_a_whole_limit_is_refused_in_the_next_period_too() -> None:
    accounts = [everybody(spent=900), Account(DAY, cap_micro_usd=500, payer="user"), Account(MONTH)]
    assert [is_beyond(accounts, micro_usd) for micro_usd in (500, 501)] == [False, True]
    assert not is_beyond([Account(DAY)], 10**9)


def test_what_is_left_is_what_the_tightest_limit_leaves() -> None:
    assert left_of([everybody(900), Account(DAY, 450, 0, 500, "user"), Account(MONTH)]) == 50
    assert left_of([Account(DAY)]) is None


def test_a_refusal_says_which_answer_can_be_paid_where_any_can() -> None:
    assert with_fitting("it is spent", 0) == "it is spent"
    assert with_fitting("it is low", 1990) == (
        "it is low; an answer of 1,990 tokens (`max_tokens`) can be paid"
    )


@pytest.mark.parametrize(
    ("spent", "held", "is_so"),
    [(0, 0, True), (0, 1000, True), (900, 100, True), (901, 99, False), (1000, 0, False)],
)
def test_what_is_held_leaves_money_for_a_call_that_what_is_spent_does_not(
    spent: int, held: int, is_so: bool
) -> None:
    accounts = [everybody(spent, held), everybody(0, 0, None)]
    assert is_held(accounts, 100) is is_so
    told = " is held for answers under way" in refusal(accounts, 1001)
    assert told is (held > 0)
