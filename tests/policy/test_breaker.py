import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.breaker import (
    TRIAL_S,
    Breaker,
    BreakerRules,
    hold,
    may_try,
    on_abandoned,
    on_failure,
    on_try,
    pause_s,
    sought,
    state,
)

ONCE = BreakerRules(threshold=1)


def test_a_new_breaker_is_closed() -> None:
    assert state(Breaker(), 0.0) == "closed"
    assert may_try(Breaker(), 0.0)
    assert on_try(Breaker(), 0.0) == Breaker()


def test_it_opens_at_the_threshold_and_not_before() -> None:
    breaker = Breaker()
    for expected in ("closed", "closed", "open"):
        breaker = on_failure(breaker, 10.0)
        assert state(breaker, 10.0) == expected
    assert not may_try(breaker, 14.9)


def test_after_the_pause_one_trial_may_pass() -> None:
    breaker = on_failure(Breaker(), 0.0, ONCE)
    assert state(breaker, 5.0) == "half-open"
    assert may_try(breaker, 5.0)
    tried = on_try(breaker, 5.0)
    assert not may_try(tried, 6.0)
    assert may_try(tried, 5.0 + TRIAL_S)


def test_a_trial_that_proved_nothing_leaves_the_next_one_free() -> None:
    breaker = on_abandoned(on_try(on_failure(Breaker(), 0.0, ONCE), 5.0))
    assert may_try(breaker, 5.0)


def test_a_success_forgives_everything() -> None:
    assert may_try(Breaker(), 0.0)
    assert on_failure(Breaker(), 9.0, ONCE).open_until == 14.0


def test_pauses_double_up_to_the_longest() -> None:
    breaker, now = Breaker(), 0.0
    pauses: list[float] = []
    for _ in range(9):
        breaker = on_failure(breaker, now, ONCE)
        assert breaker.open_until is not None
        pauses.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = on_try(breaker, now)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_failed_trial_opens_again_at_once() -> None:
    breaker = on_failure(on_failure(on_failure(Breaker(), 0.0), 0.0), 0.0)
    again = on_failure(on_try(breaker, 5.0), 6.0)
    assert not may_try(again, 15.9)
    assert may_try(again, 16.0)


def test_a_late_failure_of_an_earlier_request_does_not_lengthen_the_pause() -> None:
    breaker = on_failure(Breaker(), 0.0, ONCE)
    late = on_failure(breaker, 1.0, ONCE)
    assert late.open_until == breaker.open_until
    assert late.failures == 2


def test_jitter_spreads_the_pauses() -> None:
    assert on_failure(Breaker(), 0.0, ONCE, jitter=0.1).open_until == pytest.approx(5.5)
    assert on_failure(Breaker(), 0.0, ONCE, jitter=-0.1).open_until == pytest.approx(4.5)


def test_a_told_wait_is_kept_as_told() -> None:
    held = hold(Breaker(), 100.0, 3600.0)
    assert not may_try(held, 3699.0)
    assert may_try(held, 3700.0)


def test_where_nobody_else_is_left_a_pause_is_over_and_the_next_as_long_as_ever() -> None:
    breaker = Breaker(openings=2, open_until=10.0)
    assert sought(breaker, 1.0) == Breaker(openings=2, open_until=1.0)
    assert on_failure(sought(breaker, 1.0), 1.0).open_until == 1.0 + pause_s(2)


@pytest.mark.parametrize("breaker", [Breaker(), Breaker(openings=1, open_until=5.0)])
def test_a_pause_that_is_over_ends_no_sooner(breaker: Breaker) -> None:
    assert sought(breaker, 9.0) == breaker


@given(st.integers(0, 10**9))
def test_no_pause_is_longer_than_the_longest(openings: int) -> None:
    assert 5.0 <= pause_s(openings) <= 300.0


@given(st.lists(st.sampled_from(["fail", "succeed", "try", "leave"]), max_size=30))
def test_whatever_happens_it_may_be_tried_again_some_day(events: list[str]) -> None:
    breaker, now = Breaker(), 0.0
    for event in events:
        now += 1.0
        match event:
            case "fail":
                breaker = on_failure(breaker, now, ONCE)
            case "succeed":
                breaker = Breaker()
                assert may_try(breaker, now)
            case "try":
                breaker = on_try(breaker, now)
            case _:
                breaker = on_abandoned(breaker)
    assert may_try(breaker, now + 300.0 + TRIAL_S)
