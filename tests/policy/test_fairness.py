"""Who is next in a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.fairness import in_turn


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
    assert "".join(users[number] for number in in_turn(users, holding, served)) == order


@given(st.text("abcd", max_size=12), st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)))
def test_nobody_is_lost_and_ones_own_wishes_keep_their_order(
    users: str, holding: dict[str, int]
) -> None:
    turns = in_turn(users, holding, {})
    assert sorted(turns) == list(range(len(users)))
    for user in set(users):
        own = [number for number in turns if users[number] == user]
        assert own == sorted(own)
