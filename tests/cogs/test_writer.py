"""Writing in virtual time: the newest text, one call at a time, and the end whatever happens."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import aiohttp
import pytest
from cogs_doubles import FINISHED, HOST, MODEL, STARTED, PaperTransport, http_error
from structlog.testing import capture_logs
from virtual_time import play

from bot.domain.events import Loading, ReasoningDelta, TextDelta
from bot.policy.pacing import CHANNEL, CREATION, INTERACTION, STATUS_EVERY_S, Limit, Pacer, Pacers
from bot.policy.splitting import LIMIT
from cogs._reply_view import ReplyView
from cogs._view import Act, MessageView, View
from cogs._writer import MAX_PAUSE_S, MAX_TRIES, SOON_S, SOON_TRIES, WriteEnd, Writer

PASSING: list[Callable[[], BaseException]] = [
    lambda: http_error(503),
    lambda: http_error(500),
    lambda: http_error(429),
    aiohttp.ServerDisconnectedError,
    ConnectionResetError,
    TimeoutError,
]


REST = MessageView("-# ⋯")


class SendsOnce(PaperTransport):
    """One message may be sent, and changed; no other."""

    def __init__(self, paper: PaperTransport) -> None:
        super().__init__(calls=paper.calls, shown=paper.shown)

    async def send(self, part: int, message: MessageView) -> int:
        if self.shown:
            raise http_error(403, 50013)
        return await super().send(part, message)


def writer_of(paper: PaperTransport) -> tuple[ReplyView, Writer]:
    view = ReplyView(has_footer=False)
    view.on_event(STARTED, 0.0)
    return view, Writer(view, paper)


async def stream(view: ReplyView, writer: Writer, words: int, rate: float, tail: str = "") -> None:
    """So many words at so many a second, then the end."""
    for number in range(words):
        view.on_event(TextDelta(f"word{number} "), 0.0)
        writer.poke()
        await asyncio.sleep(1 / rate)
    view.on_event(TextDelta(tail), 0.0)
    view.on_event(FINISHED, 0.0)
    writer.poke()


def written(words: int, rate: float, paper: PaperTransport, tail: str = "") -> WriteEnd:
    """Streams so many words into a paper channel, to the end."""

    async def story() -> WriteEnd:
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream(view, writer, words, rate, tail))
            return await writer.run()

    return play(story())


def test_the_first_word_goes_out_at_once_and_nothing_before_it() -> None:
    paper = PaperTransport()
    assert written(100, 50.0, paper) == "shown"
    assert paper.calls[0].verb == "send"
    assert paper.calls[0].at == 0.0


@pytest.mark.parametrize("rate", [5.0, 30.0, 80.0, 400.0])
@pytest.mark.parametrize("words", [1, 40, 900])
def test_the_whole_text_is_shown_and_the_limits_are_kept(words: int, rate: float) -> None:
    paper = PaperTransport()
    assert written(words, rate, paper) == "shown"
    assert "".join("".join(paper.texts).split()) == "".join(f"word{n}" for n in range(words))
    edits = [call.at for call in paper.calls if call.verb == "edit"]
    assert all(
        later - earlier >= CHANNEL.window_s
        for earlier, later in zip(edits, edits[CHANNEL.calls :], strict=False)
    )


class ByToken(PaperTransport):
    """A command's reply, which an interaction's token pays for."""

    def pacers(self, *, is_new: bool) -> tuple[Pacer, ...]:
        return (self.pacers_.of_channel(self.channel_id, 0.0, INTERACTION),)


@pytest.mark.parametrize("paper", [PaperTransport(), ByToken()])
def test_an_answer_of_half_a_minute_is_edited_about_once_a_second(paper: PaperTransport) -> None:
    assert written(36 * 30, 30.0, paper) == "shown"
    assert 30 <= sum(call.verb == "edit" for call in paper.calls) <= 45


def test_only_the_last_message_keeps_buttons() -> None:
    paper = PaperTransport()
    written(900, 80.0, paper)
    views = [view for view in paper.shown.values() if view is not None]
    assert len(views) > 2
    assert [bool(view.acts) for view in views] == [False] * (len(views) - 1) + [True]


def test_what_stood_there_before_is_changed_once_before_words_grow_on() -> None:
    class Again(ReplyView):
        def messages(self, now: float) -> tuple[MessageView, ...]:
            views = super().messages(now)
            return (*views, REST)[:2] if views else ()

    paper = PaperTransport(shown={1: MessageView("first"), 2: MessageView("half")})

    async def story() -> WriteEnd:
        view = Again(has_footer=False)
        writer = Writer(view, paper)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream(view, writer, 100, 20.0))
            return await writer.run(existing=(1, 2))

    assert play(story()) == "shown"
    assert [(call.message, call.view == REST) for call in paper.calls[:3]] == [
        (1, False),
        (2, True),
        (1, False),
    ]


def test_each_call_carries_the_newest_text_and_none_is_made_for_nothing() -> None:
    paper = PaperTransport(call_s=3.0)
    written(60, 20.0, paper)
    views = [call.view for call in paper.calls]
    assert all(before != after for before, after in pairwise(views))
    assert len(paper.calls) <= 4


@pytest.mark.parametrize("error", PASSING)
def test_a_passing_fault_in_the_middle_is_not_seen_at_the_end(
    error: Callable[[], BaseException],
) -> None:
    paper = PaperTransport(faults=[None, error(), error()])
    assert written(60, 20.0, paper) == "shown"
    assert "word59" in paper.last.content


@pytest.mark.parametrize("error", PASSING)
def test_an_answer_never_stands_still_for_much_longer_than_the_fault(
    error: Callable[[], BaseException],
) -> None:
    faults = 6
    paper = PaperTransport(faults=[*[None] * 6, *(error() for _ in range(faults))])
    assert written(20 * 20, 20.0, paper) == "shown"
    between = [later.at - earlier.at for earlier, later in pairwise(paper.calls)]
    assert max(between) < SOON_S + 0.5
    # No sooner either: each try counts in its channel's window.
    tries = [call.at for call in paper.calls if call.verb == "edit"]
    assert all(b - a >= CHANNEL.window_s for a, b in zip(tries, tries[5:], strict=False))


def test_last_words_that_fail_are_tried_soon_and_then_seldom() -> None:
    faults = [http_error(503) for _ in range(8)]
    paper = PaperTransport(faults=[None, *faults])
    assert written(1, 100.0, paper) == "shown"
    tries = paper.calls[1:]
    pauses = [b.at - a.at for a, b in pairwise(tries)]
    assert pauses == pytest.approx([SOON_S] * SOON_TRIES + [MAX_PAUSE_S] * 3, abs=0.05)


def test_tries_of_earlier_words_are_none_of_the_last_ones() -> None:
    faults = 2 * MAX_TRIES
    paper = PaperTransport(faults=[None, *(http_error(503) for _ in range(faults))])
    streamed_s = faults - SOON_TRIES
    assert written(int(streamed_s * 20), 20.0, paper) == "shown"
    assert paper.last.acts
    between = [later.at - earlier.at for earlier, later in pairwise(paper.calls[: faults + 1])]
    assert max(between) < SOON_S + 0.5


@pytest.mark.parametrize("error", PASSING)
def test_the_last_words_are_tried_until_they_are_shown(error: Callable[[], BaseException]) -> None:
    paper = PaperTransport(faults=[None, *(error() for _ in range(MAX_TRIES - 1))])
    assert written(1, 100.0, paper) == "shown"
    assert paper.last.acts


def test_a_discord_that_stays_broken_is_given_up_after_minutes_not_never() -> None:
    async def story() -> tuple[WriteEnd, float]:
        paper = PaperTransport(faults=[None, *(http_error(503) for _ in range(99))])
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream(view, writer, 1, 100.0))
            outcome = await writer.run()
        return outcome, asyncio.get_running_loop().time()

    outcome, seconds = play(story())
    assert outcome == "given up"
    assert 60 < seconds < 240


@pytest.mark.parametrize(
    "error",
    [
        http_error(404, 10008),
        http_error(404, 10003),
        http_error(403, 50007),
    ],
)
def test_where_nothing_can_be_shown_any_more_the_writing_ends(error: BaseException) -> None:
    paper = PaperTransport(faults=[None, error])

    async def story() -> WriteEnd:
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            streaming = group.create_task(stream(view, writer, 10_000, 20.0))
            outcome = await writer.run()
            streaming.cancel()
        return outcome

    assert play(story()) == "gone"
    assert len(paper.calls) == 2


def test_without_permission_for_the_first_message_the_writing_ends() -> None:
    paper = PaperTransport(faults=[http_error(403, 50013)])
    assert written(40, 20.0, paper) == "gone"
    assert len(paper.calls) == 1


def test_a_permission_that_comes_back_is_not_seen_at_the_end() -> None:
    paper = PaperTransport(faults=[None, *(http_error(403, 50001) for _ in range(8))])
    assert written(60, 20.0, paper) == "shown"
    assert "word59" in paper.last.content
    assert Act.STOP not in paper.last.acts


def test_a_permission_that_stays_away_is_given_up_and_the_message_left_open() -> None:
    paper = PaperTransport(faults=[None, *(http_error(403, 50001) for _ in range(99))])

    async def story() -> WriteEnd:
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            streaming = group.create_task(stream(view, writer, 10_000, 20.0))
            outcome = await writer.run()
            streaming.cancel()
        return outcome

    assert play(story()) == "given up"
    # The first message, and each try of its edit.
    assert len(paper.calls) == MAX_TRIES + 1


def test_an_end_that_spills_over_is_begun_before_the_message_above_it_is_finished() -> None:
    paper = PaperTransport()

    async def story() -> float:
        view, writer = writer_of(paper)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.run())
            await stream(view, writer, 250, 20.0)
            ended_at = loop.time()
            view.on_event(TextDelta("w" * 900), ended_at)
            view.on_event(FINISHED, ended_at)
            writer.poke()
        sent = [call for call in paper.calls if call.verb == "send"]
        assert len(sent) == 2
        return sent[1].at - ended_at

    assert play(story()) < 0.2
    assert "w" * 500 in paper.texts[1]


@pytest.mark.parametrize("words", [400, 10_000])
def test_when_no_second_message_may_be_sent_the_first_says_so(words: int) -> None:
    paper = PaperTransport()
    denied = SendsOnce(paper)

    async def story() -> WriteEnd:
        view = ReplyView(has_footer=False)
        view.on_event(STARTED, 0.0)
        writer = Writer(view, denied)
        async with asyncio.TaskGroup() as group:
            streaming = group.create_task(stream(view, writer, words, 50.0))
            outcome = await writer.run()
            streaming.cancel()
        return outcome

    assert play(story()) == "gone"
    (shown,) = paper.texts
    assert shown.startswith("word0 word1 ")
    assert shown.endswith("so the answer ends here.")
    assert len(shown) <= LIMIT
    assert paper.last.acts == (Act.RETRY,)


def test_when_we_have_disconnected_the_writing_ends_and_the_next_start_closes_it() -> None:
    paper = PaperTransport(faults=[None, RuntimeError("Session is closed")])
    assert written(40, 20.0, paper) == "given up"
    assert len(paper.calls) == 2


def test_words_discord_refuses_are_replaced_and_the_reply_still_ends() -> None:
    paper = PaperTransport(faults=[http_error(400, 240000, "harmful link")])
    assert written(1, 100.0, paper) == "shown"
    assert "word0" in paper.last.content or "Discord refused" in paper.last.content
    assert paper.last.acts


def test_when_even_the_honest_line_is_refused_the_writing_ends() -> None:
    paper = PaperTransport(faults=[http_error(400, 50035) for _ in range(9)])
    assert written(1, 100.0, paper) == "gone"


def test_an_archived_thread_gets_a_new_message_in_place_of_the_old() -> None:
    paper = PaperTransport(faults=[None, http_error(400, 50083)])
    assert written(30, 20.0, paper) == "shown"
    assert [call.verb for call in paper.calls].count("send") == 2
    assert len(paper.texts) == 1


@pytest.mark.parametrize("locked_for", [1, 3, MAX_TRIES - 1])
def test_an_answer_in_a_thread_that_is_closed_and_opened_again_is_shown_whole(
    locked_for: int,
) -> None:
    locked = [http_error(403, 160005) for _ in range(locked_for)]
    paper = PaperTransport(faults=[None, http_error(400, 50083), *locked])
    assert written(30, 20.0, paper) == "shown"
    (text,) = paper.texts
    assert "word29" in text


def test_an_answer_in_a_thread_that_stays_closed_is_left_to_the_next_start() -> None:
    locked = [http_error(403, 160005) for _ in range(MAX_TRIES)]
    paper = PaperTransport(faults=[None, http_error(400, 50083), *locked])
    assert written(30, 20.0, paper) == "given up"


def test_what_a_start_finds_in_a_thread_that_is_still_closed_is_left_to_the_next() -> None:
    faults = [http_error(400, 50083), http_error(403, 160005)]
    paper = PaperTransport(shown={1: MessageView("half")}, faults=[*faults])
    whole = View((MessageView("whole"),))
    assert play(Writer(whole, paper, denied_tries=1).run(existing=(1,))) == "given up"
    assert play(Writer(whole, paper, denied_tries=1).run(existing=(1,))) == "shown"


def test_where_nothing_was_shown_yet_a_closed_thread_is_told_at_once() -> None:
    paper = PaperTransport(faults=[http_error(403, 160005)])
    assert written(1, 20.0, paper) == "gone"
    assert len(paper.calls) == 1


def test_what_takes_an_archived_ones_place_comes_before_the_message_that_follows_it() -> None:
    paper = PaperTransport()

    async def story() -> WriteEnd:
        view, writer = writer_of(paper)
        view.on_event(TextDelta("word0 "), 0.0)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(writer.run())
            await asyncio.sleep(3.0)
            paper.faults.append(http_error(400, 50083))
            view.on_event(TextDelta("word1 "), 0.0)
            writer.poke()
            # Spills over while that edit is on its way.
            await asyncio.sleep(0.04)
            view.on_event(TextDelta("word " * 700), 0.0)
            view.on_event(FINISHED, 0.0)
            writer.poke()
        return running.result()

    assert play(story()) == "shown"
    assert [text.split()[0] for text in paper.texts] == ["word0", "word"]


def test_its_messages_are_those_there_are_while_a_lost_one_waits_for_another() -> None:
    ids: list[tuple[int, ...]] = []

    class Telling(PaperTransport):
        async def send(self, part: int, message: MessageView) -> int:
            ids.append(writer.ids())
            return await super().send(part, message)

    paper = Telling(faults=[None, http_error(400, 50083)])
    view, writer = writer_of(paper)

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(stream(view, writer, 30, 20.0))
            await writer.run()

    play(story())
    assert ids == [(), ()]
    assert writer.ids() == tuple(paper.shown) != ()


def test_status_lines_leave_room_so_that_the_first_words_need_not_wait() -> None:
    paper = PaperTransport()

    async def story() -> float:
        view, writer = writer_of(paper)
        loop = asyncio.get_running_loop()

        async def turn() -> float:
            for step in range(100):
                view.on_event(Loading(HOST, MODEL, step / 100, 10.0), loop.time())
                writer.poke()
                await asyncio.sleep(0.2)
            first = loop.time()
            view.on_event(TextDelta("Hello"), first)
            writer.poke()
            await asyncio.sleep(5)
            view.on_event(FINISHED, loop.time())
            writer.poke()
            return first

        async with asyncio.TaskGroup() as group:
            turning = group.create_task(turn())
            await writer.run()
        return turning.result()

    first_word = play(story())
    status = [call.at for call in paper.calls if call.at < first_word]
    assert all(later - earlier > STATUS_EVERY_S - 0.01 for earlier, later in pairwise(status))
    shown = next(call.at for call in paper.calls if call.view and "Hello" in call.view.content)
    assert shown - first_word <= paper.call_s


def test_thoughts_and_blanks_alone_make_no_message() -> None:
    paper = PaperTransport()

    async def story() -> None:
        view, writer = writer_of(paper)

        async def turn() -> None:
            for event in (ReasoningDelta("hm"), TextDelta("\n"), TextDelta("  ")):
                view.on_event(event, asyncio.get_running_loop().time())
                writer.poke()
                await asyncio.sleep(0.2)
            assert paper.calls == []
            view.on_event(FINISHED, 1.0)
            writer.poke()

        async with asyncio.TaskGroup() as group:
            group.create_task(turn())
            await writer.run()

    play(story())
    assert len(paper.calls) == 1


def test_many_replies_in_one_channel_share_its_edits_and_all_end() -> None:
    pacers = Pacers()
    papers = [PaperTransport(pacers) for _ in range(8)]

    async def one(paper: PaperTransport) -> None:
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream(view, writer, 150, 50.0))
            await writer.run()

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            for paper in papers:
                group.create_task(one(paper))

    play(story())
    edits = sorted(call.at for paper in papers for call in paper.calls if call.verb == "edit")
    assert all(
        later - earlier >= CHANNEL.window_s
        for earlier, later in zip(edits, edits[CHANNEL.calls :], strict=False)
    )
    assert all("word149" in paper.last.content and paper.last.acts for paper in papers)


def test_messages_made_in_the_middle_of_answers_keep_a_limit_of_their_own() -> None:
    pacers = Pacers()
    papers = [PaperTransport(pacers) for _ in range(6)]

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            for paper in papers:
                view, writer = writer_of(paper)
                group.create_task(stream(view, writer, 350, 100.0))
                group.create_task(writer.run())

    play(story())
    made = sorted(call.at for paper in papers for call in paper.calls if call.verb == "send")
    assert len(made) > len(papers)
    assert all(
        later - earlier >= CREATION.window_s
        for earlier, later in zip(made, made[CREATION.calls :], strict=False)
    )


def test_an_answer_that_is_read_goes_on_before_those_that_are_only_greeted() -> None:
    pacers = Pacers()
    paper = PaperTransport(pacers)

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            view, writer = writer_of(paper)
            group.create_task(stream(view, writer, 350, 100.0))
            group.create_task(writer.run())
            await asyncio.sleep(2.0)
            for _ in range(12):
                greeting = View((MessageView("👋"),))
                group.create_task(Writer(greeting, PaperTransport(pacers)).run())

    play(story())
    # Two messages, with twelve of others asked for between them.
    first, second = (call.at for call in paper.calls if call.verb == "send")
    assert second - first < CREATION.window_s + 1.0


def test_channels_together_stay_under_what_discord_takes_of_a_bot() -> None:
    pacers = Pacers()
    papers = [PaperTransport(pacers, channel_id=number) for number in range(60)]

    async def one(paper: PaperTransport) -> None:
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream(view, writer, 60, 300.0))
            await writer.run()

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            for paper in papers:
                group.create_task(one(paper))

    play(story())
    calls = sorted(call.at for paper in papers for call in paper.calls)
    assert all(later - earlier > 1.0 for earlier, later in zip(calls, calls[45:], strict=False))
    assert all("word59" in paper.last.content for paper in papers)


def test_a_deferred_message_is_filled_instead_of_a_new_one_being_made() -> None:
    paper = PaperTransport(deferred=55)
    assert written(3, 100.0, paper) == "shown"
    assert {call.verb for call in paper.calls} == {"edit"}
    assert list(paper.shown) == [55]


def test_a_deferred_message_is_filled_before_a_second_one_is_begun() -> None:
    paper = PaperTransport(deferred=55)

    async def story() -> WriteEnd:
        view, writer = writer_of(paper)
        view.on_event(TextDelta("word " * 700), 0.0)
        view.on_event(FINISHED, 0.0)
        async with asyncio.timeout(60.0):
            return await writer.run()

    assert play(story()) == "shown"
    assert [(call.verb, call.message) for call in paper.calls] == [("edit", 55), ("send", 101)]
    assert "".join(paper.texts).count("word") == 700


def test_each_message_is_kept_once_from_when_its_turn_is_known() -> None:
    paper = PaperTransport(deferred=55)
    kept: list[tuple[int, int]] = []
    answers = iter([False, False, True])

    async def keep(part: int, message_id: int) -> bool:
        kept.append((part, message_id))
        return next(answers)

    async def story() -> None:
        view = ReplyView(has_footer=False)
        view.on_event(STARTED, 0.0)
        writer = Writer(view, paper, keep)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream(view, writer, 40, 20.0))
            await writer.run()

    play(story())
    assert kept == [(0, 55)] * 3


def test_a_message_that_is_there_already_is_kept_before_anything_is_shown_in_it() -> None:
    paper, kept = PaperTransport(deferred=55), list[int]()

    async def keep(part: int, message_id: int) -> bool:
        assert paper.calls == []
        kept.append(message_id)
        return True

    async def story() -> None:
        writer = Writer(ReplyView(has_footer=False), paper, keep)
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.run())
            await asyncio.sleep(60)
            writing.cancel()

    play(story())
    assert kept == [55]


def test_a_reply_that_ended_slows_the_others_in_its_channel_no_more() -> None:
    pacers = Pacers()
    shown, gone = PaperTransport(pacers), PaperTransport(pacers, faults=[http_error(404, 10003)])
    assert written(1, 20.0, shown) == "shown"
    assert written(1, 20.0, gone) == "gone"

    async def young() -> list[float]:
        # As if the windows of those calls had passed: only who is still live could slow it.
        await asyncio.sleep(60)
        paper = PaperTransport(pacers)
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream(view, writer, 40, 20.0))
            await writer.run()
        return [round(call.at - 60, 3) for call in paper.calls]

    alone = PaperTransport()
    written(40, 20.0, alone)
    assert play(young()) == [round(call.at, 3) for call in alone.calls]


def test_pauses_between_tries_of_what_is_not_permitted_double_up_to_five_seconds() -> None:
    paper = PaperTransport(faults=[None, *(http_error(403, 50001) for _ in range(5))])
    assert written(1, 100.0, paper) == "shown"
    tries = [call.at for call in paper.calls[1:]]
    pauses = [later - earlier - paper.call_s for earlier, later in pairwise(tries)]
    assert pauses == pytest.approx([1.0, 2.0, 4.0, MAX_PAUSE_S, MAX_PAUSE_S])


def test_each_fault_after_a_call_that_went_well_pauses_as_the_first_did() -> None:
    denied = [http_error(403, 50001) for _ in range(3)]
    paper = PaperTransport(faults=[None, denied[0], None, *denied[1:]])
    written(100, 10.0, paper)
    tries = [call.at for call in paper.calls]
    pauses = [later - earlier - paper.call_s for earlier, later in pairwise(tries)]
    assert [pauses[n] for n in (1, 3, 4)] == pytest.approx([1.0, 1.0, 2.0])


def test_a_fault_of_the_very_first_call_pauses_as_any_first_one() -> None:
    paper = PaperTransport(faults=[http_error(503)])
    assert written(1, 100.0, paper) == "shown"
    assert paper.calls[1].at == pytest.approx(1.0)


def spent(limit: Limit) -> Pacers:
    """A channel in which that limit is used up, a call a second."""
    pacers = Pacers()
    for ago_s in reversed(range(limit.calls)):
        pacers.of_channel(7, 0.0, limit).began(-float(ago_s), "others")
    return pacers


def test_what_stands_there_is_edited_however_many_messages_were_just_made() -> None:
    paper = PaperTransport(spent(CREATION), shown={1: MessageView("")})

    async def story() -> None:
        view, writer = writer_of(paper)
        view.on_event(TextDelta("Hello"), 0.0)
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.run(existing=(1,)))
            await asyncio.sleep(1)
            writing.cancel()

    play(story())
    assert [call.at for call in paper.calls] == [0.0]


def test_a_first_message_is_made_however_many_edits_there_just_were() -> None:
    paper = PaperTransport(spent(CHANNEL))
    assert written(1, 100.0, paper) == "shown"
    assert (paper.calls[0].verb, paper.calls[0].at) == ("send", 0.0)


def test_who_has_nothing_to_show_yet_stands_in_no_line() -> None:
    async def first_word_at(pacers: Pacers, *, beside: bool) -> float:
        idle, paper = PaperTransport(pacers), PaperTransport(pacers)
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            waiting = [ReplyView(has_footer=False)] * beside
            others = [group.create_task(Writer(view, idle).run()) for view in waiting]
            await asyncio.sleep(0)
            group.create_task(stream(view, writer, 1, 100.0))
            await writer.run()
            for other in others:
                other.cancel()
        return paper.calls[0].at

    at = [play(first_word_at(spent(CREATION), beside=beside)) for beside in (False, True)]
    assert at[0] == at[1] > 1


def test_a_status_that_reads_as_before_holds_nobody_up() -> None:
    class Waiting(View):
        def __init__(self) -> None:
            super().__init__((REST,))
            self.is_over, self.length = False, 0

    async def edits_beside(*, is_touched: bool) -> list[float]:
        pacers, waiting = Pacers(), Waiting()
        paper, quiet = PaperTransport(pacers), PaperTransport(pacers)
        idle = Writer(waiting, quiet)

        async def touch() -> None:
            while True:
                await asyncio.sleep(0.3)
                waiting.changes += is_touched
                idle.poke()

        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(idle.run()), group.create_task(touch())]
            group.create_task(stream(view, writer, 200, 20.0))
            await writer.run()
            for task in beside:
                task.cancel()
        assert [call.verb for call in quiet.calls] == ["send"]
        return [call.at for call in paper.calls]

    assert play(edits_beside(is_touched=True)) == play(edits_beside(is_touched=False))


def test_an_end_waits_for_no_rhythm() -> None:
    paper = PaperTransport()

    async def story() -> None:
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.run())
            view.on_event(TextDelta("Hello"), 0.0)
            writer.poke()
            await asyncio.sleep(0.2)
            view.on_event(FINISHED, 0.2)
            writer.poke()

    play(story())
    assert [call.at for call in paper.calls] == [0.0, 0.2]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(http_error(404, 10003), "gone"), (RuntimeError("Session is closed"), "given up")],
)
def test_where_it_cannot_even_begin_the_writing_ends_and_is_logged(
    error: BaseException, outcome: WriteEnd
) -> None:
    class Closed(PaperTransport):
        async def begin(self) -> int | None:
            raise error

    with capture_logs() as logs:
        assert written(1, 100.0, Closed()) == outcome
    assert [log["outcome"] for log in logs] == [outcome]


def test_a_message_made_by_the_very_last_call_is_kept_as_well() -> None:
    kept: list[tuple[int, int]] = []

    async def keep(part: int, message_id: int) -> bool:
        kept.append((part, message_id))
        return True

    assert play(Writer(View((REST, REST)), PaperTransport(), keep).run()) == "shown"
    assert kept == [(0, 100), (1, 101)]


def test_words_whose_edit_failed_are_shown_though_none_come_after_them() -> None:
    paper = PaperTransport(faults=[None, http_error(503)])

    async def story() -> None:
        view, writer = writer_of(paper)
        assert (writer.ids(), writer.is_visible) == ((), False)
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.run())
            for pause, text in ((0.0, "Hello"), (1.0, " there.")):
                await asyncio.sleep(pause)
                view.on_event(TextDelta(text), 0.0)
                writer.poke()
            # A model that thinks on: nothing else is new.
            await asyncio.sleep(30)
            writing.cancel()
        assert writer.is_visible

    play(story())
    assert [call.at for call in paper.calls] == pytest.approx([0.0, 1.0, 1.0 + SOON_S])
    assert paper.texts == ["Hello there."]


def test_what_shrinks_to_the_messages_it_may_have_is_shown() -> None:
    class Tidied(ReplyView):
        """Its end is shorter than what grew."""

        def messages(self, now: float) -> tuple[MessageView, ...]:
            views = super().messages(now)
            return views if self.is_over or not views else (*views, REST)

    paper = PaperTransport()

    async def story() -> WriteEnd:
        view = Tidied(has_footer=False)
        view.on_event(STARTED, 0.0)
        writer = Writer(view, SendsOnce(paper))
        view.on_event(TextDelta("Hello"), 0.0)
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.run())
            # By then the second message was denied, and the cut first one waits for its edit.
            await asyncio.sleep(0.5)
            view.on_event(FINISHED, 0.0)
            writer.poke()
        return writing.result()

    assert play(story()) == "shown"


def test_while_text_still_comes_no_number_of_faults_is_too_many() -> None:
    paper = PaperTransport(faults=[None, *(http_error(503) for _ in range(2 * MAX_TRIES))])
    assert written(1400, 20.0, paper) == "shown"
    assert "word1399" in paper.last.content


@pytest.mark.parametrize("after_s", [0.1, 0.5])
def test_a_single_letter_after_a_load_bar_is_shown_at_once(after_s: float) -> None:
    paper = PaperTransport()

    async def story() -> None:
        view, writer = writer_of(paper)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.run())
            for fraction in (0.1, 0.2):
                view.on_event(Loading(HOST, MODEL, fraction, 10.0), loop.time())
                writer.poke()
                await asyncio.sleep(after_s)
            view.on_event(TextDelta("H"), loop.time())
            writer.poke()
            await asyncio.sleep(0.2)
            writing.cancel()

    play(story())
    assert [(call.at, call.view and call.view.content) for call in paper.calls][1:] == [
        (2 * after_s, "H")
    ]


def test_a_word_after_blanks_is_not_held_up_by_the_call_they_did_not_make() -> None:
    paper = PaperTransport()

    async def story() -> None:
        view, writer = writer_of(paper)
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.run())
            for pause, text in ((0.0, "Hello"), (0.5, " " * 40), (0.1, "world" * 9)):
                await asyncio.sleep(pause)
                view.on_event(TextDelta(text), 0.0)
                writer.poke()
            await asyncio.sleep(3)
            writing.cancel()

    play(story())
    assert [call.at for call in paper.calls] == pytest.approx([0.0, 0.8])


@pytest.mark.parametrize(
    ("status", "text", "at"),
    [
        # Exactly as much as makes a young reply due early, and one character less.
        (False, "x" * 139, 0.3),
        (False, "x" * 138, 0.4),
        # After a load bar as well: the first words count as young again.
        (True, "x" * 139, 2.3),
        (True, "x" * 138, 2.4),
    ],
)
def test_a_first_edit_goes_out_early_where_there_is_enough_to_show(
    status: bool, text: str, at: float
) -> None:
    paper = PaperTransport()

    async def story() -> None:
        view, writer = writer_of(paper)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.run())
            if status:
                view.on_event(Loading(HOST, MODEL, 0.1, 10.0), loop.time())
                writer.poke()
                await asyncio.sleep(2.0)
            for pause, part in ((0.0, "H"), (0.1, "i"), (0.2, text)):
                await asyncio.sleep(pause)
                view.on_event(TextDelta(part), loop.time())
                writer.poke()
            await asyncio.sleep(3)
            writing.cancel()

    play(story())
    assert paper.calls[-1].at == pytest.approx(at)


def test_a_waiting_writer_is_not_woken_by_every_token() -> None:
    class Counting(PaperTransport):
        asked = 0

        def pacers(self, *, is_new: bool) -> tuple[Pacer, ...]:
            self.asked += 1
            return super().pacers(is_new=is_new)

    paper = Counting()
    written(3000, 1000.0, paper)
    # Some 26,000 characters: a look at every 256, and a few at each call.
    assert paper.asked < 160


def test_an_edit_knows_what_stands_there_but_not_after_one_that_failed() -> None:
    paper = PaperTransport(faults=[None, None, http_error(503)])
    written(30, 10.0, paper)
    edits = [number for number, call in enumerate(paper.calls) if call.verb == "edit"]
    # The second failed: nobody knows whether its words and buttons came to stand there.
    assert paper.befores[0] == paper.calls[0].view
    assert paper.befores[1] == paper.calls[edits[0]].view
    assert paper.befores[2] is None
    assert paper.befores[3] == paper.calls[edits[2]].view


def test_a_writer_with_nothing_to_show_sets_no_timer() -> None:
    with pytest.raises(AssertionError, match="everything waits for ever"):
        play(Writer(ReplyView(has_footer=False), PaperTransport()).run())


def test_what_could_not_be_shown_as_it_was_is_logged() -> None:
    with capture_logs() as logs:
        written(1, 100.0, PaperTransport(faults=[http_error(400, 240000, "harmful link")]))
        written(1, 100.0, PaperTransport(faults=[http_error(404, 10003)]))
    told = [(log["event"], log.get("fault") or log.get("outcome")) for log in logs]
    assert told == [("message not taken as it was", "refused"), ("reply cannot be shown", "gone")]
    assert "harmful link" in logs[0]["error"]
