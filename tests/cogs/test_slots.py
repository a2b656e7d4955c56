"""Which call brings the messages of a reply up to date."""

import asyncio

import pytest
from cogs_doubles import PaperTransport, http_error
from virtual_time import play

from cogs._slots import Slots, Step
from cogs._view import Look

A, B, C = Look("a"), Look("b"), Look("c")


def test_messages_are_made_in_order_and_only_what_differs_is_edited() -> None:
    async def story() -> None:
        slots, paper = Slots(), PaperTransport()
        assert slots.next_step((A, B)) == Step(0, A, None)
        await slots.take(Step(0, A, None), paper)
        assert slots.next_step((A, B)) == Step(1, B, None)
        await slots.take(Step(1, B, None), paper)
        assert slots.next_step((A, B)) is None
        assert slots.next_step((A, C)) == Step(1, C, list(paper.shown)[1])

    play(story())


def test_messages_that_are_there_already_are_filled_before_new_ones_are_made() -> None:
    slots = Slots()
    slots.take_over((11, 12))
    assert not slots.is_empty
    assert not slots.is_visible
    assert slots.next_step((A, B, C)) == Step(0, A, 11)


def test_a_message_with_nothing_left_to_show_is_taken_away() -> None:
    async def story() -> None:
        slots, paper = Slots(), PaperTransport()
        paper.shown = {11: A, 12: B}
        slots.take_over((11, 12))
        await slots.take(Step(0, A, 11), paper)
        step = slots.next_step((A,))
        assert step == Step(1, None, 12)
        await slots.take(Step(1, None, 12), paper)
        assert list(paper.shown) == [11]

    play(story())


def test_nothing_to_show_takes_no_message_away() -> None:
    slots = Slots()
    slots.take_over((11,))
    assert slots.next_step(()) is None


def test_a_message_found_again_by_its_nonce_is_brought_up_to_date() -> None:
    async def story() -> None:
        slots = Slots()
        paper = PaperTransport(faults=[ConnectionResetError()])
        with pytest.raises(ConnectionResetError):
            await slots.take(Step(0, A, None), paper)
        await slots.take(Step(0, B, None), paper)
        step = slots.next_step((B,))
        assert step is not None
        assert step.message_id is not None

    play(story())


def test_an_archived_threads_message_is_replaced_and_then_removed() -> None:
    async def story() -> None:
        slots, paper = Slots(), PaperTransport()
        await slots.take(Step(0, A, None), paper)
        (old,) = paper.shown
        slots.lose(Step(0, B, old))
        assert slots.next_step((B,)) == Step(0, B, None)
        await slots.take(Step(0, B, None), paper)
        step = slots.next_step((B,))
        assert step == Step(1, None, old)
        await slots.take(Step(1, None, old), paper)
        assert slots.next_step((B,)) is None
        assert paper.texts == ["b"]

    play(story())


def test_removing_what_is_gone_already_is_no_trouble() -> None:
    async def story() -> None:
        slots = Slots()
        slots.take_over((11,))
        await slots.take(Step(0, None, 11), PaperTransport(faults=[http_error(404, 10008)]))
        assert slots.is_empty

    play(story())


def test_refused_words_are_replaced_by_an_honest_line_once() -> None:
    slots = Slots()
    assert slots.refuse(Step(0, A, 11), "blocked")
    step = slots.next_step((A,))
    assert step is not None
    assert step.look is not None
    assert "Discord refused" in step.look.content
    assert not slots.refuse(step, "blocked")


def test_each_message_is_kept_once_when_its_turn_is_known() -> None:
    async def story() -> list[tuple[int, int]]:
        kept: list[tuple[int, int]] = []
        answers = iter([False, True, True])

        async def keep(part: int, message_id: int) -> bool:
            await asyncio.sleep(0)
            kept.append((part, message_id))
            return next(answers)

        slots = Slots()
        slots.take_over((11,))
        await slots.keep(keep)
        await slots.keep(keep)
        await slots.keep(keep)
        return kept

    assert play(story()) == [(0, 11), (0, 11)]
