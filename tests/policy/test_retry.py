import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import FailureKind
from bot.policy.retry import (
    EXTRA_AT_LEAST,
    MOST_REQUESTS,
    PAUSE_S,
    Failure,
    Fix,
    GiveUp,
    MoveOn,
    Retry,
    RetryBudget,
    RetryPlan,
    Tries,
    counts,
    plan_retry,
)

K = FailureKind
FIRST = Tries(here=1, counted=1)
PAUSED = Retry(PAUSE_S)
AT_ONCE = Retry(0.0)
MOVES_ON = MoveOn("")

TABLE: list[tuple[Failure, float | None, RetryPlan]] = [
    (K.AUTH, None, MOVES_ON),
    (K.NO_MONEY, None, MOVES_ON),
    (K.NO_MONEY, 1.0, MOVES_ON),
    (K.PLAN_LIMIT, 1.0, MOVES_ON),
    (K.RATE_LIMIT, None, PAUSED),
    (K.RATE_LIMIT, 0.0, AT_ONCE),
    (K.RATE_LIMIT, 4.0, Retry(4.1)),
    (K.RATE_LIMIT, 5.0, Retry(5.125)),
    (K.RATE_LIMIT, 5.1, MOVES_ON),
    (K.RATE_LIMIT, 3600.0, MOVES_ON),
    (K.OVERLOAD, None, PAUSED),
    (K.SERVER, None, PAUSED),
    (K.GARBAGE, None, PAUSED),
    (K.CONNECT, None, AT_ONCE),
    (K.TIMEOUT, None, MOVES_ON),
    (K.CUT, None, AT_ONCE),
    (K.STALL, None, MOVES_ON),
    (K.TOO_LONG, None, Retry(0.0, Fix.TRIM)),
    (K.BAD_REQUEST, None, MOVES_ON),
    (K.EMPTY, None, Retry(0.0, Fix.ROOM)),
    (K.BUDGET, None, MOVES_ON),
    (K.BUSY, None, MOVES_ON),
    ("refused", None, GiveUp("the provider declined to answer")),
    (K.CANCELLED, None, GiveUp("the asker stopped it")),
]


def planned(
    failure: Failure, tries: Tries = FIRST, *, told_s: float | None = None, may_retry: bool = True
) -> RetryPlan:
    return plan_retry(failure, tries, told_s=told_s, may_retry=may_retry, jitter=0.5)


@pytest.mark.parametrize(("failure", "told_s", "plan"), TABLE)
def test_each_row_of_the_error_table(
    failure: Failure, told_s: float | None, plan: RetryPlan
) -> None:
    assert planned(failure, told_s=told_s) == plan


@pytest.mark.parametrize("kind", FailureKind)
def test_nothing_is_repeated_once_text_was_shown(kind: FailureKind) -> None:
    assert isinstance(planned(kind, Tries(1, 1, has_shown=True)), GiveUp)


@pytest.mark.parametrize("kind", FailureKind)
def test_a_provider_is_never_asked_a_third_time(kind: FailureKind) -> None:
    assert not isinstance(planned(kind, Tries(here=2, counted=2)), Retry)


def test_a_provider_set_to_no_retries_gets_none() -> None:
    assert planned(K.OVERLOAD, Tries(1, 1, retries=0)) == MoveOn("it was asked often enough")


def test_the_minutes_budget_of_retries_may_be_used_up() -> None:
    assert planned(K.OVERLOAD, may_retry=False) == MoveOn("it was asked often enough")


@pytest.mark.parametrize(
    ("counted", "is_last", "retries"),
    [(1, True, True), (1, False, True), (2, True, True), (2, False, False), (3, True, False)],
)
def test_the_last_request_of_a_question_is_kept_for_the_next_candidate(
    counted: int, is_last: bool, retries: bool
) -> None:
    plan = planned(K.OVERLOAD, Tries(here=1, counted=counted, is_last=is_last))
    assert isinstance(plan, Retry) == retries


def test_only_requests_that_may_have_burdened_somebody_count() -> None:
    uncounted = {kind for kind in FailureKind if not counts(kind)}
    assert uncounted == {K.AUTH, K.NO_MONEY, K.PLAN_LIMIT, K.BUDGET, K.BUSY}


@given(st.floats(0, 5), st.floats(0, 1))
def test_a_told_wait_is_never_cut_short_nor_stretched_by_a_tenth(
    told_s: float, jitter: float
) -> None:
    plan = plan_retry(K.RATE_LIMIT, FIRST, told_s=told_s, may_retry=True, jitter=jitter)
    assert isinstance(plan, Retry)
    assert told_s <= plan.wait_s <= told_s * 1.1


@given(
    st.lists(st.tuples(st.sampled_from(list(FailureKind)), st.booleans()), max_size=12),
    st.integers(0, 10),
)
def test_no_question_makes_more_than_three_counted_requests(
    failures: list[tuple[FailureKind, bool]], retries: int
) -> None:
    counted = here = 0
    for kind, is_last in failures:
        if counted >= MOST_REQUESTS:
            break
        here += 1
        counted += counts(kind)
        plan = planned(kind, Tries(here, counted, is_last=is_last, retries=retries))
        if not isinstance(plan, Retry):
            here = 0
    assert counted <= MOST_REQUESTS


# --- the budget of a minute -------------------------------------------------------------------


def filled(firsts: int, retries: int, at: float = 0.0) -> RetryBudget:
    budget = RetryBudget()
    for _ in range(firsts):
        budget = budget.after_first(at)
    for _ in range(retries):
        budget = budget.after_retry(at)
    return budget


@pytest.mark.parametrize(
    ("firsts", "retries", "may"),
    [(0, 0, True), (1, 2, True), (1, 3, False), (15, 3, False), (20, 3, True), (20, 4, False)],
)
def test_retries_are_a_fifth_of_the_minutes_requests_but_a_few_always(
    firsts: int, retries: int, may: bool
) -> None:
    assert filled(firsts, retries).may_retry(0.0) == may


def test_after_a_minute_the_budget_is_new() -> None:
    used_up = filled(0, EXTRA_AT_LEAST)
    assert not used_up.may_retry(59.9)
    assert used_up.may_retry(60.0)
    assert len(used_up.after_retry(60.0).retries) == 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=200))
def test_no_minute_holds_more_retries_than_its_share(steps: list[tuple[bool, float]]) -> None:
    budget, now = RetryBudget(), 0.0
    firsts: list[float] = []
    retries: list[float] = []
    for is_retry, pause in steps:
        now += pause
        if not is_retry:
            budget = budget.after_first(now)
            firsts.append(now)
        elif budget.may_retry(now):
            budget = budget.after_retry(now)
            retries.append(now)
        recent = sum(now - at < 60 for at in retries)
        share = sum(now - at < 60 for at in firsts) * 0.2
        # A retry once allowed stays counted while the requests it was a share of grow old.
        assert recent <= max(EXTRA_AT_LEAST, share, len(firsts) * 0.2)
