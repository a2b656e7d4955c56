"""After a crash every message that still promises words is closed honestly."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any
from unittest.mock import AsyncMock

import discord
import pytest
from cogs_doubles import (
    ALICE,
    READERS,
    RECEIPT,
    TURN,
    MemoryNotes,
    MemoryQuestions,
    MemoryReplies,
    ScriptedTurns,
    double,
    http_error,
    lantern_of,
    partial_channel,
    stored_turn,
)
from discord.http import HTTPClient
from hostile import MASKS, live_links
from virtual_time import play

from bot.chat.lantern import Lantern
from bot.domain.chat import Turn
from bot.domain.errors import StoreUnavailable
from bot.domain.ids import TurnId
from bot.policy.pacing import Pacers
from bot.store.questions import Question
from bot.store.replies import ReplyMessage
from cogs import closing as closing_module
from cogs._load_view import AGAIN_LINE, CUT_LINE
from cogs._loads import NOTE, Loads
from cogs._missed import LOOK_EVERY_S
from cogs._webhooks import Webhooks
from cogs.closing import (
    COMMAND_LINE,
    FIRST,
    MISSED_S,
    UNTOLD_LINE,
    Closing,
)
from cogs.memory import ENDED


def closing_of(
    client: discord.Client, lantern: Lantern, answer_missed_s: float | None = None
) -> Closing:
    return Closing(
        client,
        lantern,
        Loads(lantern),
        Pacers(),
        Webhooks(),
        READERS,
        answer_missed_s=answer_missed_s,
    )


class Crashed:
    """A start after a crash that left these messages of one turn open."""

    def __init__(
        self, turn: Turn | None, messages: int = 1, *, errors: tuple[Exception, ...] = ()
    ) -> None:
        turns = ScriptedTurns()
        if turn is not None:
            turns.stored[TURN] = turn
        self.lantern = lantern_of(turns)
        assert isinstance(self.lantern.replies, MemoryReplies)
        self.rows = self.lantern.replies.rows
        for part in range(messages):
            self.rows[str(300 + part)] = ReplyMessage(str(300 + part), "7", TURN, part, True)
        self.channel = partial_channel()
        self.message = self.channel.get_partial_message.return_value
        self.message.edit.side_effect = list(errors) + [None] * 40
        self.client = double(discord.Client)

    def close(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """``meanwhile`` happens between the start and the closing."""
        play(self._story(self.lantern, meanwhile))

    async def _story(self, lantern: Lantern, meanwhile: Callable[[], object]) -> None:
        client = self.client
        client.get_partial_messageable.return_value = self.channel
        closing = closing_of(client, lantern)
        await closing.collect()
        meanwhile()
        await closing.run()

    def delete(self) -> None:
        """Its question goes, and with it the turn."""
        assert isinstance(self.lantern.turns, ScriptedTurns)
        self.lantern.turns.stored.clear()

    @property
    def shown(self) -> list[dict[str, Any]]:
        return [call.kwargs for call in self.message.edit.await_args_list]

    @property
    def open(self) -> int:
        return sum(row.is_open for row in self.rows.values())


def test_half_an_answer_is_kept_and_can_be_continued() -> None:
    crashed = Crashed(stored_turn("Half an answer", "partial"))
    crashed.close()
    (shown,) = crashed.shown
    assert shown["content"].startswith("Half an answer\n-# ⚠ Lantern was restarted in the middle")
    assert [child.item.label for child in shown["view"].children] == [
        "Continue",
        "Retry",
        "Other model",
    ]
    assert crashed.open == 0


def test_an_answer_that_was_whole_already_is_shown_whole() -> None:
    crashed = Crashed(stored_turn("Whole.", "done", RECEIPT))
    crashed.close()
    assert crashed.shown[0]["content"].startswith("Whole.\n-# qwen/")


def test_more_text_than_messages_makes_new_messages() -> None:
    crashed = Crashed(stored_turn("A sentence here. " * 300, "partial"))
    crashed.close()
    assert crashed.channel.send.await_count == 2
    assert crashed.open == 0


def test_more_messages_than_text_takes_the_surplus_away() -> None:
    crashed = Crashed(stored_turn("Short.", "partial"), messages=3)
    crashed.close()
    assert crashed.message.delete.await_count == 2
    assert crashed.open == 0


def test_a_message_that_is_gone_is_forgotten() -> None:
    crashed = Crashed(stored_turn("Half"), errors=(http_error(404, 10008),))
    crashed.close()
    assert crashed.open == 0


def test_where_we_may_not_write_now_the_next_start_tries_and_nobody_waits() -> None:
    crashed = Crashed(stored_turn("Half"), errors=(http_error(403, 50001),))
    crashed.close()
    assert crashed.open == 1
    assert len(crashed.shown) == 1


def test_what_cannot_be_closed_now_is_tried_again_at_the_next_start() -> None:
    crashed = Crashed(stored_turn("Half"), errors=tuple(http_error(503) for _ in range(40)))
    crashed.close()
    assert crashed.open == 1


def test_a_turn_that_is_not_stored_any_more_leaves_nothing_open() -> None:
    crashed = Crashed(None)
    crashed.close()
    assert crashed.shown == []
    assert crashed.open == 0


WITHDRAWN = "⏹ Stopped. Its question was deleted."


@pytest.mark.parametrize(
    ("turn", "content"),
    [
        (stored_turn("", "partial"), WITHDRAWN),
        (stored_turn("Half an answer", "partial"), f"Half an answer\n-# {WITHDRAWN}"),
        (stored_turn("Whole.", "done"), "Whole."),
    ],
)
def test_an_answer_whose_question_is_deleted_before_it_is_closed_promises_nothing(
    turn: Turn, content: str
) -> None:
    crashed = Crashed(turn)
    crashed.close(crashed.delete)
    (shown,) = crashed.shown
    assert (shown["content"], shown["view"]) == (content, None)
    assert crashed.open == 0


def test_an_answer_whose_asker_has_it_all_forgotten_before_it_is_closed_says_so() -> None:
    crashed = Crashed(stored_turn("", "partial"))

    def forget() -> None:
        crashed.delete()
        crashed.lantern.turns.taken_back.forget(ALICE, 301)

    crashed.close(forget)
    assert [shown["content"] for shown in crashed.shown] == [f"⏹ Stopped. {ENDED}"]


def test_an_answer_that_is_deleted_with_its_question_is_left_alone() -> None:
    crashed = Crashed(stored_turn("", "partial"), errors=(http_error(404, 10008),))
    crashed.close(crashed.delete)
    assert crashed.channel.send.await_count == 0
    assert crashed.open == 0


@pytest.mark.parametrize("fault", [None, http_error(503)])
def test_a_question_deleted_while_its_answer_is_closed_leaves_no_buttons(
    fault: Exception | None,
) -> None:
    crashed = Crashed(stored_turn("Half an answer", "partial"))

    def edit(**_: object) -> None:
        is_first = len(crashed.shown) == 1
        crashed.delete()
        if not is_first and fault is not None:
            raise fault

    crashed.message.edit.side_effect = edit
    crashed.close()
    first, last = crashed.shown
    assert first["view"] is not None
    assert last == {"view": None}
    assert crashed.open == 0


def test_a_load_that_was_under_way_is_said_to_be_over() -> None:
    crashed = Crashed(None, messages=0)
    assert isinstance(crashed.lantern.notes, MemoryNotes)
    crashed.lantern.notes.notes[NOTE] = json.dumps([[7, 301]])
    crashed.close()
    assert crashed.shown == [{"content": f"{CUT_LINE} {AGAIN_LINE}", "view": None}]
    assert crashed.lantern.notes.notes[NOTE] == "[]"


def test_the_message_of_a_choice_keeps_its_headline_and_can_be_undone() -> None:
    crashed = Crashed(None, messages=0)
    assert isinstance(crashed.lantern.notes, MemoryNotes)
    head, stays = "🔀 `gemma` is chosen for you here.\n> Hello.", "`gemma` stays chosen."
    crashed.lantern.notes.notes[NOTE] = json.dumps([[7, 301, head, stays, "900"]])
    crashed.close()
    (shown,) = crashed.shown
    assert shown["content"] == f"{head}\n{CUT_LINE} {stays}"
    assert [child.item.custom_id for child in shown["view"].children] == ["lantern:undo:900"]


def test_a_chosen_name_that_looks_like_a_link_is_none_after_a_crash_either() -> None:
    crashed = Crashed(None, messages=0)
    assert isinstance(crashed.lantern.notes, MemoryNotes)
    noted = [[7, 301, f"🎭 **{MASKS[0]}** is chosen for this channel.", "It stays chosen.", "900"]]
    crashed.lantern.notes.notes[NOTE] = json.dumps(noted)
    crashed.close()
    (shown,) = crashed.shown
    assert "bank.example" in shown["content"]
    assert live_links(shown["content"]) == []


def test_the_message_of_a_load_by_hand_keeps_its_headline_too() -> None:
    crashed = Crashed(None, messages=0)
    assert isinstance(crashed.lantern.notes, MemoryNotes)
    crashed.lantern.notes.notes[NOTE] = json.dumps([[7, 301, "📥 Loading `gemma`.", "", "900"]])
    crashed.close()
    content = f"📥 Loading `gemma`.\n{CUT_LINE} {AGAIN_LINE}"
    assert crashed.shown == [{"content": content, "view": None}]


@pytest.mark.parametrize(("told", "is_closed"), [(None, True), (http_error(503), False)])
def test_a_choice_that_its_chooser_alone_sees_is_closed_by_the_commands_token(
    told: Any, *, is_closed: bool
) -> None:
    crashed = Crashed(None, messages=0)
    assert isinstance(crashed.lantern.notes, MemoryNotes)
    head, stays = "🔀 `gemma` is chosen for you here.", "`gemma` stays chosen."
    noted = json.dumps([[7, 301, head, stays, "900", "secret", "de"]])
    crashed.lantern.notes.notes[NOTE] = noted
    crashed.client.application_id = 9
    crashed.client.http = double(HTTPClient)
    crashed.client.http.request = AsyncMock(side_effect=[told])
    crashed.close()
    assert crashed.shown == []
    (tell,) = crashed.client.http.request.await_args_list
    route, body = tell.args[0], tell.kwargs["json"]
    assert (route.method, route.url.rpartition("/webhooks/")[2]) == (
        "PATCH",
        "9/secret/messages/@original",
    )
    assert body["content"].startswith(f"{head}\n⚠ Lantern wurde neu gestartet")
    assert body["components"][0]["components"][0]["custom_id"] == "lantern:undo:900"
    assert crashed.lantern.notes.notes[NOTE] == ("[]" if is_closed else noted)


def test_a_load_stays_noted_until_its_message_is_closed() -> None:
    crashed = Crashed(None, messages=0, errors=tuple(http_error(503) for _ in range(40)))
    assert isinstance(crashed.lantern.notes, MemoryNotes)
    crashed.lantern.notes.notes[NOTE] = json.dumps([[7, 301]])
    crashed.close()
    assert json.loads(crashed.lantern.notes.notes[NOTE]) == [[7, 301]]


def test_replies_begun_after_the_start_are_left_alone() -> None:
    crashed = Crashed(None, messages=0)

    async def story() -> None:
        client = double(discord.Client)
        closing = closing_of(client, crashed.lantern)
        await closing.collect()
        await crashed.lantern.replies.put("400", "7", TurnId("ee55"), 0)
        await closing.run()
        client.get_partial_messageable.assert_not_called()

    play(story())
    assert crashed.open == 1


def test_a_new_session_closes_nothing_a_second_time() -> None:
    crashed = Crashed(stored_turn("Half an answer", "partial"))
    assert isinstance(crashed.lantern.notes, MemoryNotes)
    crashed.lantern.notes.notes[NOTE] = json.dumps([[7, 301]])

    async def story() -> int:
        client = double(discord.Client)
        client.get_partial_messageable.return_value = crashed.channel
        closing = closing_of(client, crashed.lantern)
        await closing.collect()
        await closing.run()
        first = len(crashed.shown)
        await closing.run()
        return first

    assert play(story()) == len(crashed.shown) == 2


class Untold:
    """A start after a crash that left a question open, with what Discord has of it."""

    def __init__(
        self,
        question: Question,
        turn: Turn | None = None,
        *,
        history: Any = (),
        response: Any = None,
        told: Any = None,
        edit: Any = None,
        is_deleted: bool = False,
    ) -> None:
        """``is_deleted``: its question goes between the start and the closing."""
        turns = ScriptedTurns()
        if turn is not None:
            turns.stored[TURN] = turn
        self.lantern = lantern_of(turns)
        assert isinstance(self.lantern.questions, MemoryQuestions)
        self.questions = self.lantern.questions
        self.questions.open[question.id] = question
        self.questions.known[question.id] = question.channel_id
        self.channel = partial_channel()
        self.channel.id = 7
        self.client = client = double(discord.Client)
        client.user.id, client.application_id = 9, 9
        client.get_partial_messageable.return_value = self.channel
        client.http = double(HTTPClient)
        client.http.logs_from = AsyncMock(side_effect=[history])
        client.http.request = AsyncMock(side_effect=[response, told])
        self.channel.get_partial_message.return_value.edit.side_effect = edit
        self.closing = closing_of(client, self.lantern)

        async def story() -> None:
            await self.closing.collect()
            if is_deleted:
                turns.taken_back.delete(int(question.id))
                turns.stored.clear()
            await self.closing.run()

        play(story())

    @property
    def sent(self) -> list[str]:
        return [call.args[0] for call in self.channel.send.await_args_list]

    @property
    def edited(self) -> list[tuple[int, str]]:
        ids = [call.args[0] for call in self.channel.get_partial_message.call_args_list]
        edits = self.channel.get_partial_message.return_value.edit.await_args_list
        return [(key, call.kwargs["content"]) for key, call in zip(ids, edits, strict=True)]


ASKED = Question("41", "7", None, None)
TAKEN_UP = Question("41", "7", None, TURN)
COMMAND = Question("41", "7", "secret", None)


def shown(message_id: int, act: str = "", *, author: int = 9, flags: int = 0, **more: Any) -> Any:
    """A message as Discord's history has it."""
    rows = [{"components": [{"custom_id": f"lantern:{act}:{TURN}"}]}] if act else []
    author_ = {"id": str(author)}
    return {"id": str(message_id), "author": author_, "components": rows, "flags": flags, **more}


def test_a_question_that_was_heard_and_not_taken_up_is_told_so() -> None:
    untold = Untold(ASKED)
    assert untold.sent == [UNTOLD_LINE]
    assert untold.channel.send.await_args.kwargs["nonce"] == "41.0"
    assert untold.questions.open == {}


def test_a_turn_without_a_message_gets_one() -> None:
    untold = Untold(TAKEN_UP, stored_turn("Half an answer", "partial"))
    assert untold.sent[0].startswith("Half an answer\n-# ⚠ Lantern was restarted")
    assert untold.questions.open == {}


@pytest.mark.parametrize(
    "message",
    [
        shown(300, message_reference={"message_id": "41"}),
        shown(300, "stop"),
        shown(300, interaction_metadata={"id": "41"}),
    ],
)
def test_a_message_that_appeared_as_we_were_killed_is_found_again(message: Any) -> None:
    others = [shown(290), shown(291, message_reference={"message_id": "40"})]
    somebody = shown(295, author=8, message_reference={"message_id": "41"})
    history = [*others, somebody, message]
    untold = Untold(TAKEN_UP, stored_turn("Half", "partial"), history=history)
    assert untold.sent == []
    assert [key for key, _ in untold.edited] == [300]


@pytest.mark.parametrize("act", ["", "stop"])
def test_what_was_shown_of_an_answer_whose_question_was_deleted_is_closed(act: str) -> None:
    # Whether or not the deletion has taken its buttons off already.
    message = shown(300, act, message_reference={"message_id": "41"})
    turn = stored_turn("", "partial")
    untold = Untold(TAKEN_UP, turn, history=[message], is_deleted=True)
    assert (untold.sent, untold.edited) == ([], [(300, WITHDRAWN)])
    assert untold.questions.open == {}


@pytest.mark.parametrize("question", [ASKED, TAKEN_UP])
def test_nothing_is_said_to_a_question_that_was_deleted(question: Question) -> None:
    turn = None if question.turn is None else stored_turn("", "partial")
    untold = Untold(question, turn, is_deleted=True)
    assert untold.sent == untold.edited == []
    assert untold.questions.open == {}


def test_where_no_history_is_read_what_the_nonce_finds_is_written_over() -> None:
    error = [http_error(403, 50001)]
    untold = Untold(TAKEN_UP, stored_turn("Half", "partial"), history=error[0])
    # Discord gives the message of that nonce, with the words of the first time.
    assert len(untold.sent) == len(untold.edited) == 1


def test_a_refusal_whose_end_was_not_noted_stays_as_it_is() -> None:
    untold = Untold(ASKED, history=[shown(300, message_reference={"message_id": "41"})])
    assert untold.sent == []
    assert untold.edited == []
    assert untold.questions.open == {}


def test_a_command_that_still_thinks_is_told_by_its_token() -> None:
    untold = Untold(COMMAND, response=shown(300, flags=1 << 7))
    look, tell = untold.client.http.request.await_args_list
    assert look.args[0].url.endswith("/webhooks/9/secret/messages/@original")
    assert (tell.args[0].method, tell.kwargs["json"]["content"]) == ("PATCH", COMMAND_LINE)
    assert untold.sent == []
    assert untold.questions.open == {}


@pytest.mark.parametrize("response", [shown(300), http_error(404, 10015)])
def test_a_command_that_was_answered_or_never_was_is_left_alone(response: Any) -> None:
    untold = Untold(COMMAND, response=response)
    assert untold.client.http.request.await_count == 1
    assert untold.sent == untold.edited == []
    assert untold.questions.open == {}


def test_a_command_whose_token_ended_is_found_in_the_history() -> None:
    message = shown(300, flags=1 << 7, interaction_metadata={"id": "41"})
    untold = Untold(COMMAND, history=[message], response=http_error(401, 50027))
    assert untold.edited == [(300, COMMAND_LINE)]
    assert untold.questions.open == {}


def test_a_turn_asked_by_a_command_is_written_over_its_response() -> None:
    asked = Question("41", "7", "secret", TURN)
    turn = stored_turn("Half", "partial")
    untold = Untold(asked, turn, response=shown(300, flags=1 << 7))
    assert [key for key, _ in untold.edited] == [300]
    assert untold.sent == []


@pytest.mark.parametrize("error", [None, http_error(503), http_error(401, 50027)])
def test_where_only_its_giver_has_the_app_an_answer_is_closed_by_its_token(
    error: discord.HTTPException | None,
) -> None:
    asked = Question("41", "7", "secret", TURN)
    refused = http_error(403, 50001)
    untold = Untold(
        asked, stored_turn("Half", "partial"), response=shown(300, "stop"), told=error, edit=refused
    )
    told = untold.client.http.request.await_args_list[1]
    assert told.args[0].method == "PATCH"
    assert told.args[0].url.endswith("/webhooks/9/secret/messages/300")
    assert told.kwargs["json"]["content"].startswith("Half\n-# ⚠ Lantern was restarted")
    labels = [part["label"] for part in told.kwargs["json"]["components"][0]["components"]]
    assert labels[:2] == ["Continue", "Retry"]
    # What Discord could not take now is tried again; what it never will is not.
    is_tried_again = error is not None and error.status == 503
    assert bool(untold.questions.open) is is_tried_again


class History:
    """A channel with these messages, newest first."""

    def __init__(self, *ids: int, error: Exception | None = None, last: int | None = None) -> None:
        self.ids, self.error, self.last_message_id = ids, error, last
        self.looked_at: list[float] = []

    async def history(self) -> AsyncIterator[Any]:
        self.looked_at.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error
        for key in self.ids:
            yield discord.Object(key)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(
    ("late_s", "heard"),
    [
        (None, ["missed_message", "missed_message", "missed_message"]),
        (60.0, ["message", "message", "message"]),
        # Longer than anybody is told for: still answered.
        (2.0 * MISSED_S, ["message", "message", "message", "message"]),
    ],
)
def test_what_was_sent_into_a_cut_line_is_told_or_answered_late(
    is_known: bool, late_s: float | None, heard: list[str]
) -> None:
    async def story() -> list[tuple[str, int]]:
        lantern, client = lantern_of(), double(discord.Client)
        client.guilds = []
        now = discord.utils.time_snowflake(discord.utils.utcnow())
        long_ago = now - (MISSED_S << 22) * 1000
        for question, channel in ((41, 7), (now - 50, 8), (41, 9)):
            await lantern.questions.hear(str(question), str(channel), None)
        found = {
            9: History(error=http_error(403, 50001)),
            # Nothing older than some minutes, nor than what is known there.
            7: History(now - 1, now - 2, long_ago - 1),
            8: History(now - 3, now - 50, now - 51),
        }
        known: dict[int, History] = found if is_known else {}
        client.get_channel.side_effect = known.get
        client.fetch_channel = AsyncMock(side_effect=found.get)
        closing = closing_of(client, lantern, answer_missed_s=late_s)
        await closing.hear_missed()
        calls = client.dispatch.call_args_list
        return [(call.args[0], call.args[1].id - now) for call in calls]

    older = [-(MISSED_S << 22) * 1000 - 1][: len(heard) - 3]
    assert play(story()) == list(zip(heard, [*older, -2, -1, -3], strict=True))


def test_however_many_channels_were_asked_in_since_the_first_is_looked_at_and_all_slowly() -> None:
    async def story() -> list[int]:
        lantern, client = lantern_of(), double(discord.Client)
        client.guilds = []
        now = discord.utils.time_snowflake(discord.utils.utcnow())
        for channel in range(1, 41):
            await lantern.questions.hear(str(now - 1000 + channel), str(channel), None)
        # In one nothing was said since it was asked in: Discord told so by itself.
        found = {channel: History(now, last=now) for channel in range(1, 41)}
        found[2] = History(now, last=now - 998)
        client.get_channel.side_effect = found.get
        closing = closing_of(client, lantern)
        await closing.hear_missed()
        looks = sorted(at for channel in found.values() for at in channel.looked_at)
        assert min(b - a for a, b in pairwise(looks)) >= LOOK_EVERY_S - 1e-9
        return [channel for channel, history in found.items() if not history.looked_at]

    assert play(story()) == [2]


class Server:
    """A server with these channels and threads, as Discord names them with a session."""

    def __init__(self) -> None:
        self.channels, self.threads = list[Any](), list[Any]()
        self.me = object()
        self.known: dict[int, Any] = {}

    def add(
        self, key: int, last: int | None, *ids: int, kind: Any = discord.TextChannel, **more: Any
    ) -> Any:
        channel: Any = double(kind)
        channel.id, channel.last_message_id = key, last
        found = History(*ids)
        channel.history = found.history
        channel.looked_at = found.looked_at
        may_read = more.pop("may_read", True)
        home = channel.parent if kind is discord.Thread else channel
        home.permissions_for.return_value = discord.Permissions(read_message_history=may_read)
        (self.threads if kind is discord.Thread else self.channels).append(channel)
        self.known[key] = channel
        return channel

    async def hear(self, lantern: Lantern, first: int | None = 0) -> list[tuple[str, int]]:
        if first is not None:
            await lantern.notes.put(FIRST, str(first))
        client = double(discord.Client)
        client.guilds, client.get_channel.side_effect = [self], self.known.get
        closing = closing_of(client, lantern)
        await closing.hear_missed()
        return [(call.args[0], call.args[1].id) for call in client.dispatch.call_args_list]


def now_snowflake() -> int:
    return discord.utils.time_snowflake(discord.utils.utcnow())


def test_the_first_question_of_a_channel_or_thread_is_found_too() -> None:
    now, server, lantern = now_snowflake(), Server(), lantern_of()
    server.add(8, now - 2, now - 2, now - 3)
    server.add(9, now - 1, now - 1, kind=discord.Thread)
    quiet = [
        server.add(10, now - (MISSED_S << 22) * 1000 - 1, now),
        server.add(11, None, now),
        server.add(12, now, now, may_read=False),
        # Its newest is a post, which has a channel of its own.
        server.add(13, now, now, kind=discord.ForumChannel),
    ]
    told = play(server.hear(lantern))
    assert told == [("missed_message", now - back) for back in (1, 3, 2)]
    assert [channel.id for channel in quiet if channel.looked_at] == []


def test_what_was_said_before_this_database_s_first_session_was_never_its_to_answer() -> None:
    now, server, lantern = now_snowflake(), Server(), lantern_of()
    server.add(8, now, now - 1)
    # Its very first session: whatever stands there may have been answered by another.
    assert play(server.hear(lantern, None)) == []
    server.add(9, now, now - 1, now - 2)
    assert play(server.hear(lantern_of(), now - 2)) == [
        ("missed_message", now - 1),
        ("missed_message", now - 1),
    ]


def test_channels_that_were_asked_in_go_first_and_no_more_than_so_many_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(closing_module, "MISSED_CHANNELS", 4)
    now, server, lantern = now_snowflake(), Server(), lantern_of()

    async def story() -> list[int]:
        await lantern.questions.hear(str(now - 9), "1", None)
        for key in range(1, 7):
            server.add(key, now - key, now - key)
        await server.hear(lantern)
        return [key for key, channel in server.known.items() if not channel.looked_at]

    # Those where something was said longest ago, and nobody had asked.
    assert play(story()) == [5, 6]


def test_a_store_that_cannot_be_read_does_not_stop_the_start() -> None:
    class NoStore(MemoryReplies):
        async def left_open(self) -> tuple[ReplyMessage, ...]:
            raise StoreUnavailable("The disk is full.")

    lantern = lantern_of()
    object.__setattr__(lantern, "replies", NoStore())

    async def story() -> None:
        closing = closing_of(double(discord.Client), lantern)
        await closing.collect()
        await closing.run()

    play(story())
