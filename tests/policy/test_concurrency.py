from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.concurrency import (
    ANSWER_S,
    ANSWERS_TO_WIDEN,
    CAREFUL_START,
    MOST_AT_ONCE,
    START,
    Concurrency,
    first_concurrency,
    wait_s,
)


def answered(now: Concurrency, times: int) -> Concurrency:
    for _ in range(times):
        now = now.after_answer(is_full=True)
    return now


@pytest.mark.parametrize(
    ("most", "is_careful", "limit", "bound"),
    [
        (None, False, START, MOST_AT_ONCE),
        (None, True, CAREFUL_START, MOST_AT_ONCE),
        (50, False, 50, 50),
        (5, True, CAREFUL_START, 5),
        (1, True, 1, 1),
        (1, False, 1, 1),
    ],
)
def test_a_configured_number_is_a_bound_and_none_leaves_it_to_the_provider(
    most: int | None, is_careful: bool, limit: int, bound: int
) -> None:
    assert first_concurrency(most, is_careful=is_careful) == Concurrency(limit, bound)


def test_as_many_answers_as_there_are_places_allow_one_more_up_to_the_bound() -> None:
    assert answered(Concurrency(2, 4), 1).limit == 2
    assert answered(Concurrency(2, 4), 2) == Concurrency(3, 4)
    assert answered(Concurrency(2, 4), 4).limit == 3
    assert answered(Concurrency(2, 4), 5) == Concurrency(4, 4)
    assert answered(Concurrency(2, 4), 50) == Concurrency(4, 4)


def test_answers_while_there_was_room_prove_nothing() -> None:
    now = Concurrency(2, 4, answers=1)
    assert now.after_answer(is_full=False) == now


def test_who_refused_is_given_more_only_after_many_answers() -> None:
    now = Concurrency(8, 8).after_refusal(1.0, 2.0)
    assert answered(now, ANSWERS_TO_WIDEN - 1).limit == 4
    assert answered(now, ANSWERS_TO_WIDEN).limit == 5
    assert answered(now, 2 * ANSWERS_TO_WIDEN).limit == 6


def test_a_refusal_halves_and_the_count_begins_anew() -> None:
    now = replace(Concurrency(7, 8), answers=5).after_refusal(1.0, 2.0)
    assert now == Concurrency(3, 8, 0, 2.0)
    assert now.after_refusal(2.1, 3.0).limit == 1
    assert now.after_refusal(2.1, 3.0).after_refusal(3.1, 4.0).limit == 1


def test_what_was_under_way_at_a_refusal_halves_nothing_further() -> None:
    now = replace(Concurrency(8, 8).after_refusal(1.0, 2.0), answers=3)
    assert now.after_refusal(2.0, 2.5) == replace(now, answers=0)


def test_the_wait_ends_with_the_answers_ahead() -> None:
    assert wait_s(0, 2, 10.0, [0.0, 0.0]) == 0.0
    assert wait_s(1, 2, 10.0, [0.0, 4.0]) == 8.0
    assert wait_s(4, 2, 10.0, [0.0, 4.0]) == 20.0
    # What outlasts the usual goes on: "about 0.5 s" was told where each took eight.
    assert wait_s(1, 1, 0.5, [6.0]) == 3.0
    assert wait_s(1, 1, None, [0.0]) == ANSWER_S
    assert wait_s(1, 1, 0.0, [0.0]) == 0.0


@given(st.integers(1, 20), st.lists(st.sampled_from(("full", "free", "no")), max_size=200))
def test_there_is_always_room_for_one_and_never_for_more_than_the_bound(
    most: int, answers: list[str]
) -> None:
    now = Concurrency(most, most)
    for at, answer in enumerate(answers):
        if answer == "no":
            now = now.after_refusal(float(at), at + 0.5)
        else:
            now = now.after_answer(is_full=answer == "full")
        assert 1 <= now.limit <= most
