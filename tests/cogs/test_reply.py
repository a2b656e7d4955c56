"""A turn played into messages, from the request to the last edit, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from cogs_doubles import (
    ALICE,
    FINISHED,
    HOST,
    MODEL,
    READING,
    REQUEST,
    STARTED,
    TURN,
    MemoryReplies,
    PaperTransport,
    Script,
    ScriptedTurns,
    http_error,
    lantern_of,
    stored_turn,
)
from leftovers import leftovers
from virtual_time import play

from bot.domain.chat import Asker, TurnRequest
from bot.domain.errors import RequestRefused, StoreUnavailable
from bot.domain.events import Failed, Loading, Queued, TextDelta, TurnEvent
from bot.domain.ids import PersonaName, PlaceId, TurnId
from bot.domain.personas import Persona
from bot.policy.pacing import Pacers
from bot.policy.place_rules import SettingName
from bot.policy.speakers import Speaker
from cogs._reply import BEHIND_S, LAST_EDITS_S, TIME_IS_UP, Replies
from cogs._reply_view import PATIENCE_S
from cogs._view import Act, MessageView

SPEAKER = Speaker("sage", "https://example.org/sage.png")


class Speaking(PaperTransport):
    """Notes by whose name it is asked to speak."""

    def speak_as(self, speaker: Speaker | None) -> None:
        self.spoke_as = [speaker]


def played(turns: ScriptedTurns, paper: PaperTransport) -> MemoryReplies:
    lantern = lantern_of(turns)
    play(Replies(lantern).play(REQUEST, paper))
    assert isinstance(lantern.replies, MemoryReplies)
    return lantern.replies


def test_a_turn_becomes_a_message_that_is_remembered_and_closed() -> None:
    turns, paper = ScriptedTurns((STARTED, TextDelta("Hello"), 0.5, FINISHED)), PaperTransport()
    store = played(turns, paper)
    (row,) = store.rows.values()
    assert (row.turn, row.channel_id, row.part, row.is_open) == (TURN, "7", 0, False)
    assert row.message_id == str(next(iter(paper.shown)))
    assert paper.last.acts == (Act.RETRY, Act.CONTINUE, Act.OTHER)


def test_a_reply_that_was_shown_waits_for_no_garbage_collector() -> None:
    with leftovers() as left:
        played(ScriptedTurns((STARTED, TextDelta("Hello"), 0.5, FINISHED)), PaperTransport())
        assert left() & {"_Reply", "Writer", "ReplyView"} == set()


@pytest.mark.parametrize("name", ["footer", "webhooks"])
def test_what_admins_switched_off_here_an_answer_does_not_show(
    monkeypatch: pytest.MonkeyPatch, name: SettingName
) -> None:
    sage = Persona(PersonaName("sage"), avatar=SPEAKER.avatar)

    async def story() -> tuple[bool, bool]:
        lantern, paper = lantern_of(ScriptedTurns((STARTED, TextDelta("Hi"), FINISHED))), Speaking()
        monkeypatch.setattr(lantern.shelf, "get", {"sage": sage}.get)
        place = replace(REQUEST.place, server=PlaceId("discord:5"))
        admin = Asker(ALICE, is_admin=True)
        await lantern.place_settings.change(place, "server", {name: ["off"]}, admin)
        await Replies(lantern).play(replace(REQUEST, place=place), paper)
        return "tok/s" in paper.last.content, paper.spoke_as == [SPEAKER]

    assert play(story()) == (name != "footer", name != "webhooks")


def test_a_message_is_open_in_the_store_while_the_answer_grows() -> None:
    async def story() -> list[bool]:
        lantern = lantern_of(ScriptedTurns((STARTED, TextDelta("Hello"), 9.0, FINISHED)))
        async with asyncio.TaskGroup() as group:
            group.create_task(Replies(lantern).play(REQUEST, PaperTransport()))
            await asyncio.sleep(5)
            return [row.is_open for row in await lantern.replies.left_open()]

    assert play(story()) == [True]


def test_a_refused_request_is_shown_and_nothing_is_remembered() -> None:
    paper = PaperTransport()
    store = played(ScriptedTurns((Failed(None, RequestRefused("Too long.")),)), paper)
    assert paper.texts == ["❌ Too long."]
    assert store.rows == {}


class ClosableTurns(ScriptedTurns):
    """Notes when somebody ended which turns, and why."""

    async def end(self, turns: Iterable[TurnId], reason: str, *, by_asker: bool = True) -> None:
        assert not by_asker, "it would read as if somebody had pressed Stop"
        now = asyncio.get_running_loop().time()
        self.said.append((f"{now:.0f}: {reason}", tuple(turns)))


@pytest.mark.parametrize(("script_s", "is_ended"), [(80.0, False), (100.0, True)])
def test_where_a_token_alone_may_edit_an_answer_ends_before_it_does(
    script_s: float, *, is_ended: bool
) -> None:
    turns = ClosableTurns((STARTED, TextDelta("Hello"), script_s, FINISHED))
    played(turns, PaperTransport(closes_at=100.0))
    at_90 = f"{100.0 - LAST_EDITS_S:.0f}: {TIME_IS_UP}"
    assert turns.said == ([(at_90, (TURN,))] if is_ended else [])


def test_a_deleted_message_stops_the_work_everywhere() -> None:
    turns = ScriptedTurns((STARTED, *([TextDelta("word "), 0.5] * 500), FINISHED))
    paper = PaperTransport(faults=[None, http_error(404, 10008)])
    store = played(turns, paper)
    assert turns.left_early == 1
    assert store.rows == {}


class Deleting(PaperTransport):
    """Somebody deletes the first or last of an answer's messages; its next edit finds that out."""

    def __init__(self, which: Callable[[Iterable[int]], int]) -> None:
        super().__init__()
        self._which = which

    async def edit(
        self, message_id: int, message: MessageView, before: MessageView | None = None
    ) -> None:
        if len(self.shown) > 1 and message_id == self._which(self.shown):
            del self.shown[message_id]
            self.faults, before = [http_error(404, 10008)], None
        await super().edit(message_id, message, before)

    @property
    def acts(self) -> list[tuple[Act, ...] | None]:
        return [view.acts if view is not None else None for view in self.shown.values()]


def test_an_answer_whose_beginning_was_deleted_goes_on_below_it() -> None:
    turns = ScriptedTurns((STARTED, *([TextDelta("word " * 60), 0.5] * 20), FINISHED))
    paper = Deleting(min)
    played(turns, paper)
    assert turns.left_early == 0
    assert 0 < sum(text.count("word") for text in paper.texts) < 20 * 60
    assert paper.acts == [()] * (len(paper.acts) - 1) + [(Act.RETRY, Act.CONTINUE, Act.OTHER)]


@pytest.mark.parametrize("is_stored", [True, False])
def test_an_answer_whose_last_message_was_deleted_ends_in_the_one_before(
    *, is_stored: bool
) -> None:
    turns = ScriptedTurns((STARTED, *([TextDelta("word " * 60), 0.5] * 20), FINISHED))
    if is_stored:
        turns.stored[TURN] = stored_turn("word " * 500, "partial")
    paper = Deleting(max)
    played(turns, paper)
    assert turns.left_early == 1
    assert paper.acts == [(), (Act.CONTINUE, Act.RETRY, Act.OTHER) if is_stored else ()]


def test_a_reply_that_could_not_be_shown_stays_open_for_the_next_start() -> None:
    paper = PaperTransport(faults=[None, *(http_error(503) for _ in range(99))])
    store = played(ScriptedTurns((STARTED, TextDelta("Hello"), 0.5, FINISHED)), paper)
    assert [row.is_open for row in store.rows.values()] == [True]


def test_a_reply_that_may_not_be_changed_any_more_stays_open_and_its_work_is_stopped() -> None:
    turns = ScriptedTurns((STARTED, *([TextDelta("word "), 0.5] * 900), FINISHED))
    paper = PaperTransport(faults=[None, *(http_error(403, 50001) for _ in range(99))])
    store = played(turns, paper)
    assert turns.left_early == 1
    assert [row.is_open for row in store.rows.values()] == [True]


def test_the_turn_is_left_at_its_end_and_not_at_the_last_edit() -> None:
    turns = ScriptedTurns((STARTED, TextDelta("Hello"), 0.5, FINISHED))
    paper = PaperTransport(call_s=30.0)

    async def story() -> bool:
        async with asyncio.TaskGroup() as group:
            group.create_task(Replies(lantern_of(turns)).play(REQUEST, paper))
            await asyncio.sleep(2)
            return turns.is_left

    assert play(story())


def test_typing_shows_only_in_a_silence_and_holds_nothing_up() -> None:
    quick, slow = PaperTransport(), PaperTransport()
    played(ScriptedTurns((STARTED, 0.2, TextDelta("Hello"), FINISHED)), quick)
    played(ScriptedTurns((STARTED, 0.9, TextDelta("Hello"), FINISHED)), slow)
    assert (quick.typed, slow.typed) == (0, 1)
    assert slow.calls[0].at == 0.9


def test_a_long_reading_counts_up_by_itself() -> None:
    paper = PaperTransport()
    played(ScriptedTurns((STARTED, READING, 6.0, TextDelta("Hello"), FINISHED)), paper)
    percents = [call.view.content for call in paper.calls if call.view and "%" in call.view.content]
    assert len(percents) >= 2
    assert len(set(percents)) == len(percents)


def test_an_answer_that_breaks_without_a_word_is_still_ended_visibly() -> None:
    paper = PaperTransport()
    played(ScriptedTurns((STARTED, TextDelta("Half"))), paper)
    assert "ended without a word of why" in paper.last.content
    assert paper.last.acts == (Act.RETRY, Act.OTHER)


def test_words_that_come_straight_are_shown_like_those_that_are_iterated() -> None:
    class Straight(ScriptedTurns):
        @asynccontextmanager
        async def open(
            self, request: TurnRequest, straight: object = None
        ) -> AsyncGenerator[AsyncIterator[TurnEvent]]:
            async def events() -> AsyncIterator[TurnEvent]:
                yield STARTED
                yield TextDelta("One")
                await asyncio.sleep(5)
                assert callable(straight)
                straight([TextDelta(" two"), TextDelta(" three")])
                await asyncio.sleep(5)
                yield TextDelta(" four")

            yield events()

    paper = PaperTransport()
    played(Straight(), paper)
    shown = [call.view.content for call in paper.calls if call.view]
    assert [text.partition("\n")[0] for text in shown] == [
        "One",
        "One two three",
        "One two three four",
    ]


def test_a_bug_of_ours_is_a_visible_message_too() -> None:
    class Broken(ScriptedTurns):
        def open(self, *_: object) -> AsyncIterator[TurnEvent]:  # pyright: ignore[reportIncompatibleMethodOverride]  # broken on purpose
            raise KeyError("bug")

    paper = PaperTransport()
    played(Broken(), paper)
    assert "Something went wrong inside Lantern" in paper.last.content


def test_a_store_that_cannot_remember_does_not_silence_the_answer() -> None:
    class NoStore(MemoryReplies):
        async def put(self, message_id: str, channel_id: str, turn: TurnId, part: int) -> None:
            raise StoreUnavailable("The disk is full.")

        async def close(self, turn: TurnId) -> None:
            raise StoreUnavailable("The disk is full.")

    paper = PaperTransport()
    lantern = lantern_of()
    object.__setattr__(lantern, "replies", NoStore())
    play(Replies(lantern).play(REQUEST, paper))
    assert paper.last.content.startswith("hi")


def test_a_load_shows_its_bar_until_the_first_word() -> None:
    bar = [Loading(HOST, MODEL, step / 4, 4.0 - step) for step in range(4)]
    script = (STARTED, *(each for step in bar for each in (step, 1.0)), TextDelta("Hi"), FINISHED)
    paper = PaperTransport()
    played(ScriptedTurns(script), paper)
    assert "0%" in (paper.calls[0].view or paper.last).content
    assert paper.texts[0].startswith("Hi")
    assert len(paper.shown) == 1


def test_leaving_waits_until_every_reply_has_shown_its_end() -> None:
    async def story() -> tuple[bool, bool, bool]:
        turns = ScriptedTurns((STARTED, TextDelta("Hello"), 5.0, FINISHED))
        replies = Replies(lantern_of(turns))
        async with asyncio.TaskGroup() as group:
            group.create_task(replies.play(REQUEST, PaperTransport()))
            await asyncio.sleep(1)
            writing = replies.is_writing(TURN)
            early = await replies.settled(1.0)
            late = await replies.settled(60.0)
        return writing, early, late

    assert play(story()) == (True, False, True)


class SeveralAsk(ScriptedTurns):
    """Plays one script for each who asks, in order."""

    def __init__(self, *scripts: Script) -> None:
        super().__init__()
        self._scripts = [*scripts]

    def open(
        self, request: TurnRequest, straight: object = None
    ) -> AbstractAsyncContextManager[AsyncIterator[TurnEvent]]:
        self.script = self._scripts.pop(0)
        return super().open(request, straight)


WAITING = Queued(HOST, MODEL, 1, finishing=MODEL)
FIRST: Script = (STARTED, 0.5, TextDelta("One."), 5.0, FINISHED)
WAITS: Script = (STARTED, WAITING, 3.0, TextDelta("Two."), FINISHED)


@pytest.mark.parametrize(
    ("first", "second", "papers", "waits_s"),
    [
        # As soon as the message above it is there: its words, or its own line.
        (FIRST, WAITS, {}, 0.5 + 0.08),
        ((STARTED, WAITING, 9.0, FINISHED), WAITS, {}, 0.08),
        ((0.5, Failed(None, RequestRefused("No."))), WAITS, {}, 0.5 + 0.08),
        # Whose words come sooner waits for nobody.
        (FIRST, (STARTED, WAITING, 0.2, TextDelta("Two."), FINISHED), {}, 0.2),
        # Where there is a message already, or another channel, nothing has an order.
        (FIRST, WAITS, {"deferred": 50}, 0.0),
        (FIRST, WAITS, {"channel_id": 8}, 0.0),
        # Of which Discord takes none.
        ((STARTED, 99.0, FINISHED), (*WAITS[:-2], 30.0, FINISHED), {}, BEHIND_S),
    ],
)
def test_who_waits_for_anothers_answer_is_told_so_below_it(
    first: Script, second: Script, papers: dict[str, Any], waits_s: float
) -> None:
    async def story() -> float:
        above, below = PaperTransport(), PaperTransport(**papers)
        replies = Replies(lantern_of(SeveralAsk(first, second)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(replies.play(REQUEST, paper)) for paper in (above, below)]
            await asyncio.sleep(20)
            for task in tasks:
                task.cancel()
        return next(call.at for call in below.calls)

    assert play(story()) == pytest.approx(waits_s, abs=0.01)


def test_of_three_who_ask_at_once_the_third_waits_for_the_second() -> None:
    async def story() -> list[float]:
        papers = [PaperTransport(pacers_=Pacers()) for _ in range(3)]
        replies = Replies(lantern_of(SeveralAsk(FIRST, WAITS, WAITS)))
        async with asyncio.TaskGroup() as group:
            for paper in papers:
                group.create_task(replies.play(REQUEST, paper))
        return [paper.calls[0].at for paper in papers]

    assert play(story()) == pytest.approx([0.5, 0.58, 0.66], abs=0.01)


def test_behind_one_that_is_never_shown_nobody_waits_to_be_told() -> None:
    async def story() -> float:
        above, below = PaperTransport(faults=[http_error(404, 10003)]), PaperTransport()
        replies = Replies(lantern_of(SeveralAsk(FIRST, WAITS)))
        async with asyncio.TaskGroup() as group:
            for paper in (above, below):
                group.create_task(replies.play(REQUEST, paper))
        return below.calls[0].at

    assert play(story()) == pytest.approx(0.58, abs=0.01)


def test_what_is_about_to_be_read_is_noted_with_each_call_that_shows_it() -> None:
    words = (TextDelta("One. "), 3.0, TextDelta("Two. "), 3.0)
    turns, paper = ScriptedTurns((STARTED, *words, FINISHED)), PaperTransport()
    played(turns, paper)
    # How it ends is stored by itself.
    *shown, _ = paper.calls
    assert turns.showed == [(TURN, call.at) for call in shown]
    assert len(shown) == 2


def test_a_wait_that_is_over_is_not_told_for_longer_than_a_short_reading() -> None:
    earlier = Queued(None, MODEL, 1)
    turns, paper = ScriptedTurns((STARTED, earlier, 2.0, READING, 7.0, FINISHED)), PaperTransport()
    played(turns, paper)
    first, second, *_ = paper.calls
    assert first.view is not None
    assert second.view is not None
    assert ("Waiting" in first.view.content, "reading" in second.view.content) == (True, True)
    assert second.at == pytest.approx(2.0 + PATIENCE_S)
