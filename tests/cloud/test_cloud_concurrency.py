"""The gate: who waits outside, who is next, who leaves."""

import asyncio
from collections import Counter

import pytest
from virtual_time import play

from bot.cloud.concurrency import Gate
from bot.domain.personas import Priority
from bot.policy.concurrency import Concurrency
from bot.policy.fairness import MOST_PASSES

ONE = Concurrency(1, 1)


async def unheard(place: int) -> None:
    """Of a place nobody looks at."""


class Door:
    """A gate and who went through it, when."""

    def __init__(self, concurrency: Concurrency = ONE) -> None:
        self.gate = Gate(concurrency)
        self.entered: list[str] = []
        self.places: dict[str, list[int]] = {}

    async def visit(
        self,
        user: str,
        *,
        for_s: float = 1.0,
        within_s: float = 60.0,
        priority: Priority = "normal",
    ) -> None:
        async def tell(place: int) -> None:
            self.places.setdefault(user, []).append(place)

        deadline = asyncio.get_running_loop().time() + within_s
        await self.gate.enter(user, deadline, tell, priority)
        self.entered.append(user)
        try:
            await asyncio.sleep(for_s)
        finally:
            self.gate.leave(user)

    async def crowd(self, *users: str) -> None:
        async with asyncio.TaskGroup() as group:
            for user in users:
                group.create_task(self.visit(user))
                await asyncio.sleep(0)

    def is_empty(self) -> bool:
        return not self.gate.waiting and not self.gate.holding and self.gate.is_open


def test_people_take_turns_and_are_told_each_place_they_come_to() -> None:
    door = Door()
    play(door.crowd("ada", "ada", "ada", "bob", "eve"))
    assert door.entered == ["ada", "bob", "eve", "ada", "ada"]
    # Whoever has something already goes behind everybody's first.
    assert list(dict.fromkeys(door.places["bob"])) == [1]
    assert list(dict.fromkeys(door.places["eve"])) == [2, 1]
    assert door.is_empty()


def test_one_persons_many_wishes_do_not_hold_up_the_rest() -> None:
    door = Door(Concurrency(2, 2))
    play(door.crowd(*["ada"] * 9, "bob", "eve"))
    assert door.entered[:4] == ["ada", "ada", "bob", "eve"]
    assert Counter(door.entered) == {"ada": 9, "bob": 1, "eve": 1}


def test_of_those_who_were_served_the_one_longest_ago_is_next() -> None:
    door = Door()
    play(door.crowd("ada", "bob", "bob", "ada"))
    assert door.entered == ["ada", "bob", "ada", "bob"]


def test_whoever_was_served_and_went_counts_as_new() -> None:
    door = Door()

    async def story() -> None:
        await door.visit("ada")
        await door.crowd("bob", "ada", "eve")

    play(story())
    assert door.entered == ["ada", "bob", "ada", "eve"]


def test_of_two_places_of_one_person_one_is_left() -> None:
    gate = Gate(Concurrency(2, 2))

    async def story() -> None:
        for _ in range(2):
            await gate.enter("ada", 60.0, unheard)

    play(story())
    gate.leave("ada")
    assert gate.holding == Counter(ada=1)


def test_who_waits_too_long_is_turned_away_and_takes_no_place() -> None:
    door = Door()

    async def late() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(door.visit("ada", for_s=5.0))
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await door.visit("bob", within_s=4.9)

    play(late())
    assert door.is_empty()


def test_who_leaves_the_line_moves_those_behind_up() -> None:
    door = Door()

    async def left() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(door.visit("ada"))
            await asyncio.sleep(0)
            leaver = group.create_task(door.visit("bob"))
            group.create_task(door.visit("eve"))
            await asyncio.sleep(0.5)
            assert door.places == {"bob": [1], "eve": [2]}
            leaver.cancel()
            await asyncio.sleep(0.1)
            assert door.places["eve"] == [2, 1]

    play(left())
    assert door.entered == ["ada", "eve"]
    assert door.is_empty()


def test_a_place_given_to_somebody_who_just_left_goes_to_the_next() -> None:
    gate = Gate(ONE)

    async def leaves() -> None:
        await gate.enter("ada", 60.0, unheard)
        async with asyncio.TaskGroup() as group:
            leaver = group.create_task(gate.enter("bob", 60.0, unheard))
            stayer = group.create_task(gate.enter("eve", 60.0, unheard))
            await asyncio.sleep(0)
            gate.leave("ada")
            leaver.cancel()
        assert stayer.done()
        assert not leaver.cancelling() or leaver.cancelled()

    play(leaves())
    assert gate.holding == {"eve": 1}
    assert not gate.waiting


def test_who_is_let_in_while_told_its_place_waits_for_no_further_news() -> None:
    gate = Gate(ONE)
    told: list[int] = []

    async def tell(place: int) -> None:
        told.append(place)
        if len(told) == 1:
            gate.leave("ada")

    async def enters() -> None:
        await gate.enter("ada", 60.0, unheard)
        await gate.enter("bob", 60.0, tell)

    play(enters())
    assert (told, gate.holding) == ([1], {"bob": 1})


def test_who_comes_later_does_not_pass_those_who_wait_though_there_be_room() -> None:
    door = Door(Concurrency(2, 2))
    play(door.crowd("ada", "bob"))
    door.gate.concurrency = Concurrency(1, 2)

    async def narrow() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(door.visit("ada"))
            await asyncio.sleep(0)
            group.create_task(door.visit("bob"))
            await asyncio.sleep(0)
            door.gate.concurrency = Concurrency(2, 2)
            assert not door.gate.is_open

    play(narrow())


def test_fewer_are_let_in_after_too_many_and_more_again_after_answers() -> None:
    gate = Gate(Concurrency(2, 3))

    async def learns() -> None:
        for user in ("ada", "bob"):
            await gate.enter(user, 60.0, unheard)
        gate.crowded(0.0)
        assert gate.concurrency.limit == 1
        async with asyncio.TaskGroup() as group:
            waiter = group.create_task(gate.enter("eve", 60.0, unheard))
            await asyncio.sleep(0)
            gate.leave("ada")
            await asyncio.sleep(0)
            assert not waiter.done()
            for _ in range(10):
                gate.answered()
        assert (gate.concurrency.limit, gate.holding) == (2, {"bob": 1, "eve": 1})

    play(learns())


def test_the_more_urgent_goes_first_and_who_lets_others_go_is_not_forgotten() -> None:
    door = Door()

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(door.visit("first"))
            group.create_task(door.visit("slow", priority="low"))
            for number in range(3 * MOST_PASSES):
                group.create_task(door.visit(f"urgent{number}", priority="high"))
                await asyncio.sleep(0)

    play(story())
    assert door.entered[:2] == ["first", "urgent0"]
    assert door.entered.index("slow") == 1 + MOST_PASSES
