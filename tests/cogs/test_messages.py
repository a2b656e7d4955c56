"""Which call brings the messages of a reply up to date."""

import pytest
from cogs_doubles import PaperTransport, http_error
from virtual_time import play

from cogs._faults import DiscordFault
from cogs._reply_view import SPARE
from cogs._view import MessageView, cut_short
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


def test_of_several_messages_with_nothing_left_to_show_the_last_goes_first() -> None:
    messages = Messages((11, 12, 13))
    play(messages.take(Step(0, A, 11), PaperTransport()))
    assert messages.next_step((A,)) == Step(2, None, 13)


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


def test_what_may_not_be_followed_by_another_message_is_cut_there_and_not_before() -> None:
    for denied, views, shown in (
        (1, (A,), (A,)),
        (1, (A, B), (cut_short(A),)),
        (2, (A, B), (A, B)),
        (2, (A, B, C), (A, cut_short(B))),
    ):
        messages = Messages((11, 12)[:denied])
        assert messages.adapt(Step(denied, A, None), DiscordFault.DENIED, "")
        for part, view in enumerate(shown):
            step = messages.next_step(views)
            assert step == Step(part, view, 11 + part)
            assert step is not None
            play(messages.take(step, PaperTransport()))
        assert messages.next_step(views) is None


def test_the_message_behind_the_last_is_made_before_that_is_changed() -> None:
    messages = Messages((11,))
    play(messages.take(Step(0, C, 11), PaperTransport()))
    assert messages.next_step((A, B)) == Step(1, B, None)
    assert messages.next_step((A,)) == Step(0, A, 11)
    assert Messages((11, 12)).next_step((A, B)) == Step(0, A, 11)
    assert messages.adapt(Step(1, B, None), DiscordFault.REFUSED, "blocked")
    step = messages.next_step((A, B))
    assert step is not None
    assert step.view is not None
    assert (step.part, step.message_id) == (1, None)
    assert "Discord refused" in step.view.content


@pytest.mark.parametrize("stands", [11, None])
def test_what_is_not_known_to_show_anything_is_filled_before_another_is_made(
    stands: int | None,
) -> None:
    messages = Messages((11,))
    if stands is None:
        assert messages.adapt(Step(0, A, 11), DiscordFault.ARCHIVED, "")
    assert messages.next_step((A, B)) == Step(0, A, stands)


class Reply:
    """A reply's messages, and what stands in them."""

    def __init__(self, *ids: int, renews: bool = True) -> None:
        self.messages = Messages(ids, renews=ids if renews else ())
        self.paper = PaperTransport(shown=dict.fromkeys(ids))

    def show(self, *views: MessageView) -> list[Step]:
        """The calls that bring all up to date."""
        steps: list[Step] = []
        while (step := self.messages.next_step(views)) is not None:
            steps.append(step)
            play(self.messages.take(step, self.paper))
        return steps

    def goes_on(self, without: int, *views: MessageView) -> bool:
        """Does it, though that message is found deleted as it is to be changed?"""
        while (step := self.messages.next_step(views)) is not None:
            if step.message_id == without:
                return self.messages.adapt(step, DiscordFault.LOST, "")
            play(self.messages.take(step, self.paper))
        raise AssertionError(f"{without} was not to be changed")


def test_one_that_was_deleted_before_anything_was_shown_in_it_is_made_anew() -> None:
    reply = Reply(11)
    assert reply.goes_on(11, A)
    assert reply.show(A) == [Step(0, A, None)]
    assert not Reply(11, renews=False).goes_on(11, A)


def test_what_was_deleted_while_it_held_a_place_leaves_that_to_the_others() -> None:
    reply = Reply(11, 12, 13)
    assert reply.goes_on(12, A, SPARE, SPARE)
    assert reply.show(A, SPARE, SPARE) == [Step(1, SPARE, 13)]
    assert reply.messages.made == [11, 13]


def test_words_whose_message_is_deleted_go_on_in_one_that_holds_none_yet() -> None:
    reply = Reply(11, 12)
    assert reply.show(A, SPARE) == [Step(0, A, 11), Step(1, SPARE, 12)]
    assert reply.goes_on(11, B, SPARE)
    # What held the place of the one that is gone is made no more.
    assert reply.show(B, SPARE) == [Step(0, B, 12)]
    assert not reply.goes_on(12, C, SPARE)


def test_words_before_others_stay_deleted_and_those_grow_on() -> None:
    reply = Reply(11, 12)
    assert reply.show(A, B) == [Step(0, A, 11), Step(1, B, 12)]
    assert reply.goes_on(11, C, B)
    assert reply.show(C, C) == [Step(1, C, 12)]
    # With nothing to show none is given up.
    assert reply.messages.next_step(()) is None
    assert reply.messages.made == [11, 12]
    # Where fewer are needed those that are there hold them.
    assert reply.show(A) == [Step(0, A, 12)]
    assert reply.messages.made == [12]
    assert not reply.goes_on(12, B)


def test_who_deletes_the_last_of_several_deletes_where_the_words_grow() -> None:
    reply = Reply(11, 12)
    assert len(reply.show(A, B)) == 2
    assert reply.goes_on(11, C, B)
    assert not reply.goes_on(12, C, C)


@pytest.mark.parametrize("error", [http_error(503), RuntimeError("Session is closed")])
def test_a_message_that_could_not_be_removed_yet_is_still_there(error: BaseException) -> None:
    messages, paper = Messages((11,)), PaperTransport(faults=[error])
    with pytest.raises(type(error)):
        play(messages.take(Step(0, None, 11), paper))
    assert messages.made == [11]


def test_a_message_that_may_have_been_there_is_written_over_and_one_made_later_is_not() -> None:
    async def story() -> None:
        messages, paper = Messages((11,), is_unsure=True), PaperTransport()
        paper.shown = {11: None}
        await messages.take(Step(0, A, 11), paper)
        await messages.take(Step(1, B, None), paper)
        made = messages.made[1]
        # Its nonce may have found the one of an earlier try.
        assert messages.next_step((A, B)) == Step(1, B, made)
        await messages.take(Step(1, B, made), paper)
        await messages.take(Step(2, C, None), paper)
        assert messages.next_step((A, B, C)) is None
        # Whose message is lost is made anew, and known from then on.
        assert messages.adapt(Step(1, B, made), DiscordFault.EXPIRED, "")
        await messages.take(Step(1, B, None), paper)
        assert messages.next_step((A, B, C)) == Step(3, None, made)

    play(story())


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (Step(0, A, None), DiscordFault.ARCHIVED),
        (Step(0, A, None), DiscordFault.EXPIRED),
        (Step(0, None, 11), DiscordFault.REFUSED),
        (Step(0, A, None), DiscordFault.DENIED),
        (Step(1, A, 11), DiscordFault.DENIED),
        (Step(1, A, 11), DiscordFault.PASSING),
    ],
)
def test_what_cannot_be_shown_in_another_way_stays_as_it_was(
    step: Step, fault: DiscordFault
) -> None:
    messages = Messages((11,))
    assert not messages.adapt(step, fault, "")
    assert messages.next_step((A, B)) == Step(0, A, 11)
