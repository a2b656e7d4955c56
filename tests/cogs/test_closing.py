"""After a crash every message that still promises words is closed honestly."""

import json
from typing import Any

import discord
from cogs_doubles import (
    RECEIPT,
    TURN,
    MemoryNotes,
    MemoryReplies,
    ScriptedTurns,
    double,
    http_error,
    lantern_of,
    partial_channel,
    stored_turn,
)
from virtual_time import play

from bot.chat.lantern import Lantern
from bot.domain.chat import Turn
from bot.domain.errors import StoreUnavailable
from bot.domain.ids import TurnId
from bot.policy.pacing import Pacers
from bot.store.replies import ReplyMessage
from cogs._loads import NOTE, Loads
from cogs.closing import LOAD_LINE, Closing


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

    def close(self) -> None:
        play(self._story(self.lantern))

    async def _story(self, lantern: Lantern) -> None:
        client = double(discord.Client)
        client.get_partial_messageable.return_value = self.channel
        closing = Closing(client, lantern, Loads(lantern), Pacers(), has_footer=True)
        await closing.collect()
        await closing.run()

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
    assert [child.item.label for child in shown["view"].children] == ["Continue", "Retry"]
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


def test_a_load_that_was_under_way_is_said_to_be_over() -> None:
    crashed = Crashed(None, messages=0)
    assert isinstance(crashed.lantern.notes, MemoryNotes)
    crashed.lantern.notes.notes[NOTE] = json.dumps([[7, 301]])
    crashed.close()
    assert crashed.shown == [{"content": LOAD_LINE, "view": None}]
    assert crashed.lantern.notes.notes[NOTE] == "[]"


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
        closing = Closing(
            client,
            crashed.lantern,
            Loads(crashed.lantern),
            Pacers(),
            has_footer=True,
        )
        await closing.collect()
        await crashed.lantern.replies.put("400", "7", TurnId("ee55"), 0)
        await closing.run()
        client.get_partial_messageable.assert_not_called()

    play(story())
    assert crashed.open == 1


def test_a_store_that_cannot_be_read_does_not_stop_the_start() -> None:
    class NoStore(MemoryReplies):
        async def left_open(self) -> tuple[ReplyMessage, ...]:
            raise StoreUnavailable("The disk is full.")

    lantern = lantern_of()
    object.__setattr__(lantern, "replies", NoStore())

    async def story() -> None:
        closing = Closing(
            double(discord.Client),
            lantern,
            Loads(lantern),
            Pacers(),
            has_footer=True,
        )
        await closing.collect()
        await closing.run()

    play(story())
