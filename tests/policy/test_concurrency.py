from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bot.policy.concurrency import ANSWERS_TO_WIDEN, Concurrency


def test_answers_in_a_row_allow_one_more_up_to_the_configured_number() -> None:
    now = Concurrency(2, 3)
    for _ in range(ANSWERS_TO_WIDEN - 1):
        now = now.after_answer()
    assert now.limit == 2
    now = now.after_answer()
    assert now == Concurrency(3, 3)
    assert now.after_answer() == now


def test_each_step_up_takes_as_many_answers_as_the_first() -> None:
    now = Concurrency(1, 3)
    for _ in range(2 * ANSWERS_TO_WIDEN - 1):
        now = now.after_answer()
    assert now.limit == 2
    assert now.after_answer().limit == 3


def test_too_many_at_once_allow_one_fewer_and_the_count_begins_anew() -> None:
    now = Concurrency(2, 4).after_answer().after_refusal()
    assert now == Concurrency(1, 4)
    assert now.after_refusal() == now
    assert replace(now, limit=4).after_refusal().limit == 3


@given(st.integers(1, 20), st.lists(st.booleans(), max_size=200))
def test_there_is_always_room_for_one_and_never_for_more_than_configured(
    most: int, answers: list[bool]
) -> None:
    now = Concurrency(most, most)
    for is_answer in answers:
        now = now.after_answer() if is_answer else now.after_refusal()
        assert 1 <= now.limit <= most
