from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import FailureKind, Unavailable
from bot.policy.breaker import on_abandoned, on_try
from bot.policy.provider_health import (
    LEAST_RESET_S,
    UNTOLD_RESET_S,
    Outage,
    ProviderHealth,
    answered,
    barred,
    choose_deployment,
    failed,
)

K = FailureKind
WELL = ProviderHealth()


def failure(
    kind: FailureKind,
    words: str = "It failed",
    code: str | None = None,
    told_s: float | None = None,
) -> Unavailable:
    return Unavailable(words, kind, code=code, retry_after_s=told_s)


def after(
    *errors: Unavailable, health: ProviderHealth = WELL, now: float = 0.0, jitter: float = 0.5
) -> ProviderHealth:
    for error in errors:
        health, _ = failed(health, error, now, jitter=jitter)
    return health


def news(error: Unavailable, health: ProviderHealth = WELL) -> str | None:
    return failed(health, error, 0.0, jitter=0.5)[1]


def test_a_new_provider_may_be_asked() -> None:
    assert barred(WELL, 0.0) is None
    assert WELL.wait_until == 0.0


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (failure(K.AUTH), None),
        (failure(K.AUTH, told_s=5.0), None),
        (failure(K.AUTH, told_s=5000.0), None),
        (failure(K.NO_MONEY, code="1113"), UNTOLD_RESET_S),
        (failure(K.NO_MONEY, code="credit_balance_exhausted"), UNTOLD_RESET_S),
        (failure(K.NO_MONEY, code="organization_spend_limit_exceeded"), UNTOLD_RESET_S),
        (failure(K.NO_MONEY, code="invalid_request_error", told_s=7000.0), 7000.0),
        (failure(K.NO_MONEY, code="invalid_request_error", told_s=LEAST_RESET_S), LEAST_RESET_S),
        (failure(K.NO_MONEY, code="credit_balance_exhausted", told_s=1.0), UNTOLD_RESET_S),
        (failure(K.NO_MONEY, code="enforced_spend_limit_reached", told_s=0.0), UNTOLD_RESET_S),
        (failure(K.PLAN_LIMIT, code="1308", told_s=90.0), 90.0),
        (failure(K.PLAN_LIMIT, code="1308", told_s=5.0), 5.0),
        (failure(K.PLAN_LIMIT, code="1310"), UNTOLD_RESET_S),
        (failure(K.PLAN_LIMIT, code="1313", told_s=90.0), None),
    ],
)
def test_what_takes_a_provider_out_does_so_at_once_and_for_its_time(
    error: Unavailable, seconds: float | None
) -> None:
    until = None if seconds is None else 100.0 + seconds
    outage = Outage(error.kind, "It failed.", until)
    health = after(error, now=100.0)
    assert barred(health, 100.0) == outage
    if until is not None:
        assert barred(health, until - 0.1) == outage
        assert barred(health, until) is None
    assert barred(health, 100.0 + 10**9) == (outage if seconds is None else None)


def test_when_a_reset_has_passed_one_request_finds_out_for_all() -> None:
    health = after(failure(K.PLAN_LIMIT, "It is over", told_s=90.0))
    assert barred(health, 89.9) is not None
    assert barred(health, 90.0) is None
    trying = replace(health, breaker=on_try(health.breaker, 90.0))
    assert barred(trying, 90.0) == Outage(
        K.PLAN_LIMIT, "It is over. It is being tried again just now."
    )
    assert answered(trying) == (WELL, "back")
    assert barred(replace(trying, breaker=on_abandoned(trying.breaker)), 90.0) is None
    # A trial that ends in what counts against nobody lets the next one try.
    assert barred(after(failure(K.BAD_REQUEST), health=trying, now=90.0), 90.0) is None


@pytest.mark.parametrize(
    "kind", [K.OVERLOAD, K.SERVER, K.GARBAGE, K.CONNECT, K.TIMEOUT, K.CUT, K.STALL]
)
def test_three_failures_in_a_row_open_the_breaker(kind: FailureKind) -> None:
    error = failure(kind)
    assert barred(after(error, error), 0.0) is None
    assert barred(after(error, error, error), 0.0) == Outage(kind, "It failed.", 5.0)
    assert barred(after(error, error, error), 5.0) is None


@pytest.mark.parametrize(("jitter", "until"), [(0.0, 4.5), (1.0, 5.5)])
def test_not_every_lantern_comes_back_at_once(jitter: float, until: float) -> None:
    error = failure(K.SERVER)
    outage = barred(after(error, error, error, jitter=jitter), 0.0)
    assert outage is not None
    assert outage.until == pytest.approx(until)


def test_a_rate_limit_counts_half() -> None:
    limit = failure(K.RATE_LIMIT)
    assert barred(after(*[limit] * 5), 0.0) is None
    assert barred(after(*[limit] * 6), 0.0) is not None


def test_a_wait_that_was_told_holds_for_everybody_and_the_longest_counts() -> None:
    health = after(failure(K.RATE_LIMIT, told_s=3.0), failure(K.RATE_LIMIT, told_s=1.0))
    assert health.wait_until == 3.0
    assert answered(health)[0].wait_until == 3.0
    assert after(failure(K.RATE_LIMIT, told_s=2.0), now=10.0).wait_until == 12.0


def test_nobody_is_left_out_for_a_day_by_a_wait_that_nobody_hears_of() -> None:
    for told_s, kept_s in ((3600.0, 3600.0), (3601.0, 3600.0), (31 * 86400.0, 3600.0)):
        assert after(failure(K.OVERLOAD, told_s=told_s), now=10.0).wait_until == 10.0 + kept_s


@pytest.mark.parametrize("kind", [K.RATE_LIMIT, K.OVERLOAD, K.SERVER])
def test_a_wait_told_with_a_limit_or_an_overload_is_kept_to(kind: FailureKind) -> None:
    assert after(failure(kind, told_s=3.0)).wait_until == 3.0


@pytest.mark.parametrize("kind", [K.AUTH, K.EMPTY, K.CUT])
def test_no_other_failures_wait_is_kept_to(kind: FailureKind) -> None:
    assert after(failure(kind, told_s=3.0)).wait_until == 0.0


@pytest.mark.parametrize("kind", [K.TOO_LONG, K.EMPTY, K.BUDGET, K.BUSY, K.CANCELLED])
def test_what_is_not_the_providers_fault_never_counts(kind: FailureKind) -> None:
    assert after(*[failure(kind)] * 20) == WELL
    assert news(failure(kind)) is None


def test_what_only_hosts_report_never_counts() -> None:
    assert after(*[failure(K.DOES_NOT_FIT)] * 20) == WELL


def test_a_request_that_is_not_taken_counts_against_nobody() -> None:
    assert after(*[failure(K.BAD_REQUEST)] * 20) == replace(WELL, told=frozenset({"trouble"}))


def test_the_admins_hear_of_an_outage_once_and_of_its_end_once() -> None:
    error = failure(K.AUTH, "Wrong key")
    assert news(error) == "out"
    out = after(error)
    assert news(error, out) is None
    well, what = answered(out)
    assert what == "back"
    assert answered(well) == (well, None)
    assert news(error, well) == "out"


def test_a_breaker_that_opens_is_an_outage_too() -> None:
    error = failure(K.SERVER)
    assert news(error) is None
    assert news(error, after(error)) is None
    assert news(error, after(error, error)) == "out"


def test_a_key_refused_within_another_outage_is_told_once_too() -> None:
    paused = after(*[failure(K.SERVER)] * 3)
    assert news(failure(K.AUTH), paused) == "out"
    refused, _ = failed(paused, failure(K.AUTH), 0.0, jitter=0.5)
    assert news(failure(K.AUTH), refused) is None
    assert news(failure(K.SERVER), refused) is None


def test_a_request_that_is_not_taken_is_trouble_and_no_outage() -> None:
    error = failure(K.BAD_REQUEST)
    assert news(error) == "trouble"
    told = after(error)
    assert news(error, told) is None
    assert answered(told) == (WELL, None)


@pytest.mark.parametrize(
    ("words", "reason"), [("", "It failed."), ("Wrong key", "Wrong key."), ("No...", "No.")]
)
def test_a_reason_is_a_sentence_whatever_was_said(words: str, reason: str) -> None:
    assert barred(after(failure(K.AUTH, words)), 0.0) == Outage(K.AUTH, reason)


def test_of_deployments_one_in_service_goes_first_then_the_unasked_then_the_soonest() -> None:
    out, asked, busy, free = (True, 0, 0.0), (False, 1, 0.0), (False, 0, 0.1), (False, 0, 0.0)
    order = [out, asked, busy, free]
    while len(order) > 1:
        at = choose_deployment(order, [1.0] * len(order), 0.0)
        assert at == len(order) - 1
        order.pop()


@pytest.mark.parametrize(("draw", "at"), [(0.0, 0), (0.74, 0), (0.76, 2), (1.0, 2)])
def test_deployments_alike_share_the_questions_by_weight(draw: float, at: int) -> None:
    standings = [(False, 0, 0.0), (True, 0, 0.0), (False, 0, 0.0)]
    assert choose_deployment(standings, [3.0, 9.0, 1.0], draw) == at


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.floats(0, 9)), min_size=1, max_size=5),
    st.floats(0, 1),
)
def test_who_is_chosen_is_never_worse_than_another(
    standings: list[tuple[bool, int, float]], draw: float
) -> None:
    at = choose_deployment(standings, [0.5] * len(standings), draw)
    assert standings[at] == min(standings)
