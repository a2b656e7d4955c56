import pytest

from bot.domain.errors import FailureKind
from bot.policy.provider_health import (
    UNTOLD_RESET_S,
    Barred,
    Failed,
    Standing,
    abandoned,
    answered,
    barred,
    failed,
    news,
    said,
    tried,
    wait_s,
)

K = FailureKind
MONTH_S = 800_000.0
NEW = Standing()


def after(*failures: Failed, standing: Standing = NEW, now: float = 0.0) -> Standing:
    for failure in failures:
        standing = failed(standing, failure, now, month_left_s=MONTH_S, jitter=0.5)
    return standing


def out_for(failure: Failed) -> float | None:
    bar = barred(after(failure), 0.0)
    assert bar is not None
    return bar.seconds


def test_a_new_provider_may_be_asked() -> None:
    assert barred(NEW, 0.0) is None
    assert wait_s(NEW, 0.0) == 0.0


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (Failed(K.AUTH), None),
        (Failed(K.AUTH, told_s=5.0), None),
        (Failed(K.NO_MONEY, code="1113"), None),
        (Failed(K.NO_MONEY, code="credit_balance_exhausted"), None),
        (Failed(K.NO_MONEY, code="organization_spend_limit_exceeded"), MONTH_S),
        (Failed(K.NO_MONEY, code="enforced_spend_limit_reached"), MONTH_S),
        (Failed(K.NO_MONEY, code="invalid_request_error", told_s=7000.0), 7000.0),
        (Failed(K.NO_MONEY, code="credit_balance_exhausted", told_s=1.0), None),
        (Failed(K.NO_MONEY, code="enforced_spend_limit_reached", told_s=0.0), MONTH_S),
        (Failed(K.PLAN_LIMIT, code="1308", told_s=90.0), 90.0),
        (Failed(K.PLAN_LIMIT, code="1308", told_s=5.0), 5.0),
        (Failed(K.PLAN_LIMIT, code="1310"), UNTOLD_RESET_S),
        (Failed(K.PLAN_LIMIT, code="1313", told_s=90.0), None),
    ],
)
def test_what_takes_a_provider_out_does_so_at_once_and_for_its_time(
    failure: Failed, seconds: float | None
) -> None:
    assert out_for(failure) == seconds


def test_when_a_reset_has_passed_one_request_finds_out_for_all() -> None:
    standing = after(Failed(K.PLAN_LIMIT, "It is over", told_s=90.0))
    assert barred(standing, 89.9) is not None
    assert barred(standing, 90.0) is None
    trying = tried(standing, 90.0)
    assert barred(trying, 90.0) == Barred(
        K.PLAN_LIMIT, "It is over. It is being tried again just now."
    )
    assert answered(trying) == NEW
    assert barred(abandoned(trying), 90.0) is None


@pytest.mark.parametrize(
    "kind", [K.OVERLOAD, K.SERVER, K.GARBAGE, K.CONNECT, K.TIMEOUT, K.CUT, K.STALL]
)
def test_three_failures_in_a_row_open_the_breaker(kind: FailureKind) -> None:
    failure = Failed(kind, "It failed")
    assert barred(after(failure, failure), 0.0) is None
    assert barred(after(failure, failure, failure), 0.0) == Barred(kind, "It failed.", 5.0)
    assert barred(after(failure, failure, failure), 5.0) is None


def test_a_rate_limit_counts_half() -> None:
    limit = Failed(K.RATE_LIMIT)
    assert barred(after(*[limit] * 5), 0.0) is None
    assert barred(after(*[limit] * 6), 0.0) is not None


def test_a_wait_that_was_told_holds_for_everybody_and_the_longest_counts() -> None:
    standing = after(Failed(K.RATE_LIMIT, told_s=3.0), Failed(K.RATE_LIMIT, told_s=1.0))
    assert wait_s(standing, 0.0) == 3.0
    assert wait_s(answered(standing), 1.0) == 2.0
    assert wait_s(standing, 4.0) == 0.0


@pytest.mark.parametrize(
    "kind", [K.TOO_LONG, K.BAD_REQUEST, K.EMPTY, K.BUDGET, K.BUSY, K.CANCELLED, K.DOES_NOT_FIT]
)
def test_what_is_not_the_providers_fault_never_counts(kind: FailureKind) -> None:
    assert after(*[Failed(kind)] * 20) == NEW


def test_the_admins_hear_of_an_outage_once_and_of_its_end_once() -> None:
    failure = Failed(K.AUTH, "Wrong key")
    out = after(failure)
    assert news(NEW, out, failure) == "out"
    told = said(out, "out")
    assert news(told, after(failure, standing=told), failure) is None
    assert news(told, answered(told), None) == "back"
    assert news(answered(told), answered(told), None) is None


def test_a_breaker_that_opens_is_an_outage_too() -> None:
    failure = Failed(K.SERVER)
    twice = after(failure, failure)
    assert news(after(failure), twice, failure) is None
    assert news(twice, after(failure, standing=twice), failure) == "out"


def test_a_request_that_is_not_taken_is_trouble_and_no_outage() -> None:
    failure = Failed(K.BAD_REQUEST)
    assert news(NEW, after(failure), failure) == "trouble"
    told = said(after(failure), "trouble")
    assert news(told, after(failure, standing=told), failure) is None
    assert news(told, answered(told), None) is None


def test_a_prompt_that_is_too_long_is_nobodys_news() -> None:
    failure = Failed(K.TOO_LONG)
    assert news(NEW, after(failure), failure) is None


def test_a_failure_without_words_has_some_all_the_same() -> None:
    bar = barred(after(Failed(K.AUTH)), 0.0)
    assert bar is not None
    assert bar.reason == "It failed."
