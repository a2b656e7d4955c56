import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.ratelimit import Bucket, RateRule, full_after_s, given_back, take

PER_MINUTE = RateRule(3, 60.0)


def test_a_full_bucket_allows_a_burst_and_then_tells_the_wait() -> None:
    bucket: Bucket | None = None
    for _ in range(3):
        bucket, wait_s = take(bucket, PER_MINUTE, 100.0)
        assert wait_s == 0.0
    bucket, wait_s = take(bucket, PER_MINUTE, 100.0)
    assert wait_s == pytest.approx(20.0)
    assert take(bucket, PER_MINUTE, 120.1)[1] == 0.0


def test_a_rested_bucket_is_full_and_no_fuller() -> None:
    bucket, _ = take(None, PER_MINUTE, 0.0)
    assert take(bucket, PER_MINUTE, 1.0)[0].left == pytest.approx(1.05)
    assert take(bucket, PER_MINUTE, 60.0)[0].left == 2.0
    assert take(bucket, PER_MINUTE, 1e9)[0].left == 2.0


def test_what_is_left_shortens_the_wait() -> None:
    assert take(Bucket(0.25, 100.0), PER_MINUTE, 100.0)[1] == pytest.approx(15.0)
    assert take(Bucket(0.25, 100.0), PER_MINUTE, 105.0)[1] == pytest.approx(10.0)


def test_a_clock_set_back_earns_nothing_and_breaks_nothing() -> None:
    bucket = Bucket(0.0, 100.0)
    assert take(bucket, PER_MINUTE, 50.0)[1] == pytest.approx(20.0)


@given(st.integers(1, 20), st.floats(1.0, 100.0), st.lists(st.floats(0.0, 30.0), max_size=60))
def test_never_more_pass_than_a_burst_and_the_rate(
    count: int, period_s: float, gaps: list[float]
) -> None:
    rule = RateRule(count, period_s)
    bucket: Bucket | None = None
    now, passed = 0.0, 0
    for gap in gaps:
        now += gap
        bucket, wait_s = take(bucket, rule, now)
        passed += wait_s == 0.0
    assert passed <= count + now * count / period_s + 1e-6


@given(st.floats(0.0, 5.0), st.floats(0.0, 100.0))
def test_waiting_as_told_is_enough(left: float, at: float) -> None:
    bucket, wait_s = take(Bucket(left, at), PER_MINUTE, at)
    assert wait_s == 0.0 or take(bucket, PER_MINUTE, at + wait_s + 1e-6)[1] == 0.0


def test_it_is_told_when_a_bucket_is_full_again() -> None:
    assert full_after_s(Bucket(3.0, 0.0), PER_MINUTE) == 0.0
    assert full_after_s(Bucket(2.0, 0.0), PER_MINUTE) == pytest.approx(20.0)
    assert full_after_s(Bucket(0.0, 0.0), PER_MINUTE) == pytest.approx(60.0)


@given(count=st.integers(1, 9), taken=st.integers(0, 9), back=st.integers(0, 9))
def test_what_is_given_back_may_be_taken_again_and_never_more_than_all(
    count: int, taken: int, back: int
) -> None:
    rule = RateRule(count, 3600.0)
    bucket = Bucket(float(count), 0.0)
    for _ in range(min(taken, count)):
        bucket, _ = take(bucket, rule, 0.0)
    for _ in range(back):
        bucket = given_back(bucket, rule)
    assert bucket.left == min(count, count - min(taken, count) + back)
