"""Which call brings the messages of a reply up to date."""

import pytest
from cogs_doubles import PaperTransport, http_error
from virtual_time import play

from cogs._faults import DiscordFault
from cogs._view import MessageView
from cogs._writer import Messages, Step

A, B, C = MessageView("a"), MessageView("b"), MessageView("c")


def test_messages_are_made_in_order_and_only_what_differs_is_edited() -> None:
    async def story() -> None:
        messages, paper = Messages(), PaperTransport()
        assert messages.next_step((A, B)) == Step(0, A, None)
        await messages.take(Step(0, A, None), paper)
        assert messages.next_step((A, B)) == Step(1, B, None)
        await messages.take(Step(1, B, None), paper)
        assert messages.next_step((A, B)) is None
        assert messages.next_step((A, C)) == Step(1, C, list(paper.shown)[1])

    play(story())


def test_messages_that_are_there_already_are_filled_before_new_ones_are_made() -> None:
    messages = Messages((11, 12))
    assert messages.next_step((A, B, C)) == Step(0, A, 11)


def test_a_message_with_nothing_left_to_show_is_taken_away() -> None:
    async def story() -> None:
        messages, paper = Messages((11, 12)), PaperTransport()
        paper.shown = {11: A, 12: B}
        await messages.take(Step(0, A, 11), paper)
        step = messages.next_step((A,))
        assert step == Step(1, None, 12)
        await messages.take(Step(1, None, 12), paper)
        assert list(paper.shown) == [11]

    play(story())


def test_nothing_to_show_takes_no_message_away() -> None:
    messages = Messages((11,))
    assert messages.next_step(()) is None


def test_a_message_found_again_by_its_nonce_is_brought_up_to_date() -> None:
    async def story() -> None:
        messages = Messages()
        paper = PaperTransport(faults=[ConnectionResetError()])
        with pytest.raises(ConnectionResetError):
            await messages.take(Step(0, A, None), paper)
        await messages.take(Step(0, B, None), paper)
        step = messages.next_step((B,))
        assert step is not None
        assert step.message_id is not None

    play(story())


def test_an_archived_threads_message_is_replaced_and_then_removed() -> None:
    async def story() -> None:
        messages, paper = Messages(), PaperTransport()
        await messages.take(Step(0, A, None), paper)
        (old,) = paper.shown
        assert messages.adapt(Step(0, B, old), DiscordFault.ARCHIVED, "")
        assert messages.next_step((B,)) == Step(0, B, None)
        await messages.take(Step(0, B, None), paper)
        step = messages.next_step((B,))
        assert step == Step(1, None, old)
        await messages.take(Step(1, None, old), paper)
        assert messages.next_step((B,)) is None
        assert paper.texts == ["b"]

    play(story())


def test_removing_what_is_gone_already_is_no_trouble() -> None:
    async def story() -> None:
        messages = Messages((11,))
        await messages.take(Step(0, None, 11), PaperTransport(faults=[http_error(404, 10008)]))
        assert messages.made == []

    play(story())


def test_refused_words_are_replaced_by_an_honest_line_once() -> None:
    messages = Messages()
    assert messages.adapt(Step(0, A, 11), DiscordFault.REFUSED, "blocked" * 90)
    step = messages.next_step((A,))
    assert step is not None
    assert step.view is not None
    assert "Discord refused" in step.view.content
    assert step.view.content.endswith("\n-# " + "blocked" * 28 + "bloc")
    assert not messages.adapt(step, DiscordFault.REFUSED, "blocked")
