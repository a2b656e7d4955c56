import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import FailureKind
from bot.policy.retry import (
    EXTRA_AT_LEAST,
    MOST_REPEATS,
    PAUSE_S,
    ROWS,
    RetryBudget,
    Tries,
    retry_wait_s,
)

K = FailureKind
FIRST = Tries(here=1)
LEFT_S = 60.0
"""Until the first word is due."""

TABLE: list[tuple[FailureKind, float | None, float | None]] = [
    (K.AUTH, None, None),
    (K.NO_MONEY, None, None),
    (K.NO_MONEY, 1.0, None),
    (K.PLAN_LIMIT, 1.0, None),
    (K.RATE_LIMIT, None, PAUSE_S),
    (K.RATE_LIMIT, 0.0, 0.0),
    (K.RATE_LIMIT, 4.0, 4.1),
    (K.RATE_LIMIT, 5.0, 5.125),
    (K.RATE_LIMIT, 40.0, 41.0),
    (K.RATE_LIMIT, 3600.0, None),
    (K.OVERLOAD, None, PAUSE_S),
    (K.OVERLOAD, 4.0, 4.1),
    (K.OVERLOAD, 40.0, 41.0),
    (K.OVERLOAD, 60.0, None),
    (K.SERVER, None, PAUSE_S),
    (K.SERVER, 2.0, 2.05),
    (K.SERVER, 60.0, None),
    (K.GARBAGE, None, PAUSE_S),
    (K.CONNECT, None, 0.0),
    (K.TIMEOUT, None, None),
    (K.CUT, None, 0.0),
    (K.STALL, None, None),
    (K.TOO_LONG, None, 0.0),
    (K.BAD_REQUEST, None, None),
    (K.EMPTY, None, 0.0),
    (K.BUDGET, None, None),
    (K.BUSY, None, None),
    (K.CANCELLED, None, None),
]


def planned(
    kind: FailureKind,
    tries: Tries = FIRST,
    *,
    told_s: float | None = None,
    jitter: float = 0.5,
) -> float | None:
    return retry_wait_s(kind, tries, told_s=told_s, left_s=LEFT_S, jitter=jitter)


@pytest.mark.parametrize(("kind", "told_s", "wait_s"), TABLE)
def test_each_row_of_the_error_table(
    kind: FailureKind, told_s: float | None, wait_s: float | None
) -> None:
    assert planned(kind, told_s=told_s) == wait_s


@pytest.mark.parametrize(("told_s", "wait_s"), [(LEFT_S - 0.5, LEFT_S - 0.5), (LEFT_S, None)])
def test_a_told_wait_is_kept_to_when_it_ends_before_the_first_word_is_due(
    told_s: float, wait_s: float | None
) -> None:
    assert planned(K.OVERLOAD, told_s=told_s, jitter=0.0) == wait_s


def test_only_what_was_too_long_or_empty_is_changed_before_it_is_asked_again() -> None:
    assert {kind: row.fix for kind, row in ROWS.items() if row.fix} == {
        K.TOO_LONG: "trim",
        K.EMPTY: "room",
    }


@pytest.mark.parametrize(("jitter", "wait_s"), [(0.0, 0.5), (1.0, 1.5)])
def test_a_pause_is_half_to_one_and_a_half_of_itself(jitter: float, wait_s: float) -> None:
    assert planned(K.OVERLOAD, jitter=jitter) == wait_s


@pytest.mark.parametrize("kind", FailureKind)
def test_nothing_is_repeated_once_text_was_shown(kind: FailureKind) -> None:
    assert planned(kind, Tries(1, has_shown=True)) is None


@pytest.mark.parametrize(("retries", "repeats"), [(0, 0), (1, 1), (2, 2), (3, 2), (10, 2)])
def test_a_provider_is_asked_again_as_often_as_its_settings_say_within_the_questions_two(
    retries: int, repeats: int
) -> None:
    made = 0
    while planned(K.OVERLOAD, Tries(here=1 + made, repeats=made, retries=retries)) is not None:
        made += 1
    assert made == repeats


def test_nobody_said_how_often_is_once() -> None:
    assert planned(K.OVERLOAD, Tries(here=2, repeats=1)) is None


def test_a_provider_set_to_no_retries_gets_none() -> None:
    assert planned(K.OVERLOAD, Tries(1, retries=0)) is None


@pytest.mark.parametrize(("repeats", "is_asked_again"), [(0, True), (1, True), (2, False)])
def test_a_question_is_repeated_twice_in_all(repeats: int, is_asked_again: bool) -> None:
    assert (planned(K.CUT, Tries(here=1, repeats=repeats)) is not None) == is_asked_again


def test_after_overload_and_server_errors_somebody_fresh_goes_first() -> None:
    assert {kind for kind, row in ROWS.items() if row.is_fresh_first} == {
        K.OVERLOAD,
        K.SERVER,
        K.GARBAGE,
    }


@given(st.floats(0, 5), st.floats(0, 1))
def test_a_told_wait_is_never_cut_short_nor_stretched_by_a_tenth(
    told_s: float, jitter: float
) -> None:
    wait_s = planned(K.RATE_LIMIT, told_s=told_s, jitter=jitter)
    assert wait_s is not None
    assert told_s <= wait_s <= told_s * 1.1


@given(
    st.lists(st.lists(st.sampled_from(list(FailureKind)), min_size=9, max_size=9), max_size=9),
    st.integers(0, 10),
)
def test_every_candidate_is_asked_once_and_no_question_repeats_more_than_twice(
    plays: list[list[FailureKind]], retries: int
) -> None:
    repeats, asked = 0, list[int]()
    for failures in plays:
        here = 1
        for kind in failures:
            if planned(kind, Tries(here, repeats, retries=retries)) is None:
                break
            here, repeats = here + 1, repeats + 1
        asked.append(here)
    assert all(1 <= here <= 1 + min(retries, MOST_REPEATS) for here in asked)
    assert repeats <= MOST_REPEATS


# --- the budget of a minute -------------------------------------------------------------------


def filled(firsts: int, retries: int, at: float = 0.0) -> RetryBudget:
    budget = RetryBudget()
    for _ in range(firsts):
        budget = budget.sent(at, is_retry=False)
    for _ in range(retries):
        budget = budget.sent(at, is_retry=True)
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
    used_up = filled(20, 4)
    assert not used_up.may_retry(59.9)
    assert used_up.may_retry(60.0)
    assert not filled(20, EXTRA_AT_LEAST, at=1.0).sent(60.5, is_retry=True).may_retry(60.9)
    assert len(used_up.sent(60.0, is_retry=True).retries) == 1
    assert len(used_up.sent(60.0, is_retry=False).firsts) == 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=200))
def test_no_minute_holds_more_retries_than_its_share(steps: list[tuple[bool, float]]) -> None:
    budget, now = RetryBudget(), 0.0
    firsts: list[float] = []
    retries: list[float] = []
    for is_retry, pause in steps:
        now += pause
        if not is_retry:
            budget = budget.sent(now, is_retry=False)
            firsts.append(now)
        elif budget.may_retry(now):
            budget = budget.sent(now, is_retry=True)
            retries.append(now)
        recent = sum(now - at < 60 for at in retries)
        share = sum(now - at < 60 for at in firsts) * 0.2
        # A retry once allowed stays counted while the requests it was a share of grow old.
        assert recent <= max(EXTRA_AT_LEAST, share, len(firsts) * 0.2)
