"""Whose turn it is."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.hosts import Wish
from bot.domain.ids import ModelKey
from bot.fleet.queue import Queue, Ticket, Waiter
from bot.policy.fairness import MOST_PASSES

users = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12)


def add(queue: Queue, number: int, user: str) -> None:
    ticket = Ticket(number)
    queue.waiters[ticket] = Waiter(
        ticket, Wish(ModelKey("one"), user=user), float(number), float(number)
    )


def queue_of(names: list[str]) -> Queue:
    queue = Queue()
    for number, user in enumerate(names):
        add(queue, number, user)
    return queue


@given(users)
def test_everybodys_first_wish_comes_before_anybodys_second(names: list[str]) -> None:
    turns = [waiter.wish.user for waiter in queue_of(names).turns({})]
    firsts = turns[: len(set(names))]
    assert sorted(firsts) == sorted(set(names))


@given(users, st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)))
def test_nobody_is_lost_and_ones_own_wishes_keep_their_order(
    names: list[str], leases: dict[str, int]
) -> None:
    turns = queue_of(names).turns(leases)
    assert sorted(w.ticket for w in turns) == list(range(len(names)))
    for user in set(names):
        own = [w.ticket for w in turns if w.wish.user == user]
        assert own == sorted(own)


def test_whoever_holds_something_waits_behind_those_who_hold_nothing() -> None:
    turns = queue_of(["ada", "bob"]).turns({"ada": 1})
    assert [w.wish.user for w in turns] == ["bob", "ada"]


def test_whoever_was_served_longest_ago_is_next() -> None:
    queue = queue_of(["ada", "bob", "ada", "eve"])
    for who in ("ada", "bob"):
        queue.served(next(w for w in queue.turns({}) if w.wish.user == who))
    add(queue, 9, "bob")
    assert [w.wish.user for w in queue.turns({})] == ["eve", "ada", "bob"]
    assert [w.ticket for w in queue.of(ModelKey("one"))] == [2, 3, 9]


@pytest.mark.parametrize(
    ("leases", "first"), [({}, "ada"), ({"eve": 1}, "ada"), ({"ada": 1}, "bob")]
)
def test_turns_are_forgotten_of_those_who_neither_wait_nor_hold(
    leases: dict[str, int], first: str
) -> None:
    queue = queue_of(["ada", "eve"])
    queue.served(queue.waiters[Ticket(0)])
    queue.turns(leases)
    for number, user in enumerate(("ada", "bob"), start=7):
        add(queue, number, user)
    assert next(w.wish.user for w in queue.turns({}) if w.wish.user != "eve") == first


def test_nobody_waits_longer_than_they_may_but_for_their_own_load() -> None:
    waiter = Waiter(Ticket(1), Wish(ModelKey("one"), max_wait_s=8.0), 0.0, 0.0)
    assert not waiter.is_overdue(7.9, is_stuck=False)
    assert waiter.is_overdue(8.0, is_stuck=False)
    waiter.begin_load(5.0)
    waiter.begin_load(6.0)
    assert not waiter.is_overdue(100.0, is_stuck=False)
    waiter.end_load(9.0)
    assert waiter.load_s == 4.0


def passed(slow: str, queue: Queue, tickets: Iterable[int]) -> int:
    """How many of those more urgent, who come one at a time, are let in before a patient one."""
    wish = Wish(ModelKey("one"), user=slow, priority="low")
    queue.waiters[Ticket(0)] = Waiter(Ticket(0), wish, 0.0, 0.0)
    for before, number in enumerate(tickets):
        wish = Wish(ModelKey("one"), user=f"urgent{number}", priority="high")
        queue.waiters[Ticket(number)] = Waiter(Ticket(number), wish, float(number), float(number))
        first = queue.turns({})[0]
        queue.served(first)
        if first.ticket == 0:
            return before
    return len(queue.waiters)


def test_at_a_host_the_more_urgent_goes_first_and_passes_others_so_often() -> None:
    assert passed("slow", Queue(), range(1, 9)) == MOST_PASSES


def test_whoever_is_let_in_alone_passed_nobody_and_ends_the_row() -> None:
    queue = Queue()
    passed("left", queue, range(1, 4))
    del queue.waiters[Ticket(0)]
    add(queue, 4, "alone")
    queue.served(*queue.turns({}))
    assert passed("slow", queue, range(5, 14)) == MOST_PASSES
