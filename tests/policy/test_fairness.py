"""Who is next in a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.personas import Priority
from bot.policy.fairness import MOST_PASSES, PATIENCE_S, in_turn, swap_due_s


@pytest.mark.parametrize(
    ("users", "holding", "served", "order"),
    [
        ("", {}, {}, ""),
        ("aab", {}, {}, "aba"),
        ("ab", {"a": 1}, {}, "ba"),
        ("ab", {"a": 1, "b": 1}, {"a": 2, "b": 1}, "ba"),
        ("ab", {}, {"a": 1}, "ba"),
        ("aaab", {"b": 1}, {}, "aaba"),
    ],
)
def test_people_take_turns(
    users: str, holding: dict[str, int], served: dict[str, int], order: str
) -> None:
    turns, _ = in_turn(users, holding, served)
    assert "".join(users[number] for number in turns) == order


@given(st.text("abcd", max_size=12), st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)))
def test_nobody_is_lost_and_ones_own_wishes_keep_their_order(
    users: str, holding: dict[str, int]
) -> None:
    turns = in_turn(users, holding, {})[0]
    assert sorted(turns) == list(range(len(users)))
    for user in set(users):
        own = [number for number in turns if users[number] == user]
        assert own == sorted(own)


LETTERS: dict[str, Priority] = {"h": "high", "n": "normal", "l": "low"}


@pytest.mark.parametrize(
    ("users", "urgency", "passes", "order", "then"),
    [
        ("abc", "lnh", 0, "cba", 1),
        ("abc", "hnl", 3, "abc", 0),
        # One's own urgent question goes first; another person's first goes before one's second.
        ("aab", "lhl", 0, "aba", 0),
        ("aaab", "hhhl", 0, "abaa", 0),
        # Passed often enough, whoever came first is next.
        ("abc", "lnh", MOST_PASSES - 1, "cba", MOST_PASSES),
        ("abc", "lnh", MOST_PASSES, "abc", 0),
        ("", "", 2, "", 2),
    ],
)
def test_the_more_urgent_goes_first_and_passes_others_so_often(
    users: str, urgency: str, passes: int, order: str, then: int
) -> None:
    turns, kept = in_turn(users, {}, {}, [LETTERS[letter] for letter in urgency], passes)
    assert "".join(users[number] for number in turns) == order
    assert kept == then


def test_ones_own_urgent_question_goes_before_ones_others() -> None:
    assert in_turn("aab", {}, {}, ["low", "high", "low"])[0] == [1, 2, 0]


def test_waiting_behind_ones_own_answer_is_no_pass() -> None:
    # Else priorities would be forgotten for as long as anybody's second wish waits.
    assert in_turn("ab", {"a": 1}, {}, ["low", "high"], 4) == ([1, 0], 0)


URGENT: list[Priority] = ["high", "normal"]


@given(st.lists(st.sampled_from(URGENT), min_size=60, max_size=60))
def test_a_low_wish_is_never_starved_by_a_stream_of_others(others: list[Priority]) -> None:
    waiting: list[tuple[str, Priority]] = [("low", "low")]
    passes, served = 0, 0
    for number, priority in enumerate(others):
        # Two come for each that is let in.
        for n in range(2):
            waiting.append((f"{number}-{n}", priority))
        users = [user for user, _ in waiting]
        priorities: list[Priority] = [urgency for _, urgency in waiting]
        order, passes = in_turn(users, {}, {"low": 9}, priorities, passes)
        if waiting.pop(order[0])[0] == "low":
            break
        served += 1
    assert served == MOST_PASSES


@pytest.mark.parametrize(
    ("waited_s", "together_s", "max_wait_s", "is_worth_it"),
    [
        (1.0, 19.9, None, False),
        # Together they have waited what the swap costs.
        (1.0, 20.0, None, True),
        (1.0, 20.0, 60.0, True),
        # Alone it has waited as long as anybody may be overtaken ...
        (PATIENCE_S - 0.1, 0.0, None, False),
        (PATIENCE_S, 0.0, None, True),
        # ... or for a quarter of its longest wait, where that is less.
        (1.9, 0.0, 8.0, False),
        (2.0, 0.0, 8.0, True),
        (PATIENCE_S - 0.1, 0.0, 1000.0, False),
        (PATIENCE_S, 0.0, 1000.0, True),
    ],
)
def test_others_make_way_once_those_they_overtake_waited_what_it_costs_or_one_as_long_as_it_may(
    waited_s: float, together_s: float, max_wait_s: float | None, is_worth_it: bool
) -> None:
    due_s = swap_due_s(waited_s, together_s, 2, 20.0, max_wait_s)
    assert (due_s == 0.0) is is_worth_it


@pytest.mark.parametrize(
    ("waited_s", "together_s", "waiting", "max_wait_s", "due_s"),
    [
        (1.0, 4.0, 1, None, 16.0),
        # Each second counts for each of them.
        (1.0, 4.0, 4, None, 4.0),
        (1.0, 4.0, 1, 8.0, 1.0),
        (PATIENCE_S - 1.5, 4.0, 1, None, 1.5),
        (99.0, 99.0, 3, None, 0.0),
    ],
)
def test_when_they_make_way_is_foretold(
    waited_s: float, together_s: float, waiting: int, max_wait_s: float | None, due_s: float
) -> None:
    assert swap_due_s(waited_s, together_s, waiting, 20.0, max_wait_s) == due_s
