from hypothesis import given
from hypothesis import strategies as st

from bot.policy.concurrency import ANSWERS_TO_WIDEN, CAREFUL_START, lanes, narrowed, widened


def test_a_careful_provider_starts_with_few_and_the_others_with_all() -> None:
    assert lanes(5, is_careful=True).limit == CAREFUL_START
    assert lanes(1, is_careful=True).limit == 1
    assert lanes(5, is_careful=False).limit == 5


def test_answers_in_a_row_open_one_more_lane_up_to_the_configured_ones() -> None:
    now = lanes(3, is_careful=True)
    for _ in range(ANSWERS_TO_WIDEN - 1):
        now = widened(now)
    assert now.limit == 2
    now = widened(now)
    assert now.limit == 3
    for _ in range(2 * ANSWERS_TO_WIDEN):
        now = widened(now)
    assert now.limit == 3


def test_too_many_at_once_closes_a_lane_and_the_count_begins_anew() -> None:
    now = narrowed(widened(lanes(4, is_careful=True)))
    assert (now.limit, now.answers) == (1, 0)
    assert narrowed(now).limit == 1


@given(st.integers(1, 20), st.booleans(), st.lists(st.booleans(), max_size=200))
def test_there_is_always_a_lane_and_never_more_than_configured(
    most: int, is_careful: bool, answers: list[bool]
) -> None:
    now = lanes(most, is_careful=is_careful)
    for is_answer in answers:
        now = widened(now) if is_answer else narrowed(now)
        assert 1 <= now.limit <= most
