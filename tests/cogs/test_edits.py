"""Questions that are edited or deleted: before, while and after they are answered."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import discord
import pytest
from cogs_doubles import (
    ALICE,
    FINISHED,
    READERS,
    STARTED,
    TURN,
    Script,
    http_error,
    said_to,
    stored_turn,
)
from stand_ins import double
from test_again import AGAIN, Scene, scene

from bot.domain.chat import Place, Quote
from bot.domain.errors import RequestRefused
from bot.domain.events import Failed, TextDelta
from bot.domain.ids import PlaceId, TurnId
from bot.policy.pacing import Pacers
from bot.store.beside import Answers
from bot.store.people import PeopleStore
from cogs._view import Act, TurnButton
from cogs._webhooks import Webhooks
from cogs.edits import Edits

ME, ASKED = 99, "4711"
EDITED_AT = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)


class Question:
    """The question's message, and who hears of its changes."""

    def __init__(self, at: Scene) -> None:
        self.at, self.buttons, self.fails = at, list[list[str]](), 0
        self.client: Any = double(discord.Client)
        self.client.user.id = ME
        self.client.get_partial_messageable.side_effect = self._channel
        self.text = "hello"
        people: Any = at.lantern.people
        people.remove.side_effect = PeopleStore(at.lantern.database).remove
        self.client.get_channel.return_value = None
        self.cog = Edits(self.client, at.lantern, at.replies, Pacers(), Webhooks(), READERS)

    def _channel(self, key: int, **_: object) -> Any:
        async def edit(*, view: discord.ui.View | None) -> None:
            if self.fails:
                self.fails -= 1
                raise http_error(503)
            found = [] if view is None else view.children
            buttons = [child for child in found if isinstance(child, TurnButton)]
            self.buttons.append([child.custom_id.split(":")[1] for child in buttons])

        channel, part = double(discord.PartialMessageable), double(discord.PartialMessage)
        part.edit.side_effect, channel.get_partial_message.return_value = edit, part
        channel.id = key
        return channel

    def message(self) -> Any:
        message: Any = double(discord.Message)
        message.content, message.mentions, message.role_mentions = self.text, [], []
        message.id, message.edited_at = int(ASKED), EDITED_AT
        return message

    async def edit(self, text: str, *, is_told: bool = True) -> None:
        self.text, payload = text, double(discord.RawMessageUpdateEvent)
        payload.message_id, payload.message = int(ASKED), self.message()
        payload.message.edited_at = discord.utils.utcnow() if is_told else None
        await self.cog.on_raw_message_edit(payload)

    async def edited_meanwhile(self, text: str) -> None:
        self.text = text
        await self.cog.on_missed_edit(self.message())

    async def press(self, turn: str) -> Any:
        interaction = self.at.interaction()
        interaction.type = discord.InteractionType.component
        interaction.client.user.id = ME
        places = self.at.channel.partial

        def place(key: int, *, guild_id: int | None = None) -> Any:
            found = places(key)

            async def fetch(_: int) -> Any:
                if not self.text:
                    raise http_error(404, 10008)
                return self.message()

            found.fetch_message = fetch
            return found

        interaction.client.get_partial_messageable.side_effect = place
        await self.at.cog.on_reply_button(interaction, Act.EDITED, turn)
        return interaction

    async def delete(self, *, in_bulk: bool = False) -> None:
        if in_bulk:
            payload: Any = double(discord.RawBulkMessageDeleteEvent)
            payload.message_ids = {int(ASKED), 1}
            await self.cog.on_raw_bulk_message_delete(payload)
        else:
            payload = double(discord.RawMessageDeleteEvent)
            payload.message_id = int(ASKED)
            await self.cog.on_raw_message_delete(payload)


async def question(at: Scene) -> Question:
    await at.lantern.database.execute(
        "INSERT INTO asked (message_id, turn) VALUES (?, ?)", (ASKED, TURN)
    )
    return Question(at)


async def test_an_edited_question_offers_to_answer_again_and_asks_its_new_words(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        its = await question(at)
        await its.edit("hello there", is_told=False)
        assert its.buttons == []
        await its.edit("hello there")
        assert its.buttons == [["retry", "continue", "other", "edited"]]
        # Written back as it was, there is nothing to answer.
        await its.edit("hello")
        assert its.buttons[-1] == ["retry", "continue", "other"]
        await its.edit("hello there")
        await its.press(str(TURN))
        (request,) = at.turns.requests
        assert (request.kind, request.text) == ("retry", "hello there")
        # Edited while words stayed here, they stay here, whenever the button is pressed.
        assert request.said_at_ms == int(EDITED_AT.timestamp() * 1000)
        assert await at.line() == ["second"]


OFFER = "Answer the edited question"


async def test_a_question_edited_while_nobody_was_told_is_offered(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        its = await question(at)
        await its.edited_meanwhile("hello")
        assert its.buttons == []
        await its.edited_meanwhile("hello there")
        assert its.buttons == [["retry", "continue", "other", "edited"]]
        await its.edited_meanwhile("hello")
        assert its.buttons[1:] == [["retry", "continue", "other"]]


async def test_an_offer_that_could_not_be_shown_is_shown_when_the_edit_is_next_looked_at(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        its = await question(at)
        its.fails = 1
        await its.edit("hello there")
        assert its.buttons == []
        await its.edit("hello there")
        assert its.buttons == [["retry", "continue", "other", "edited"]]


async def test_older_words_that_come_late_do_not_stand_for_those_told_since(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        its = await question(at)
        await its.edit("hello there")
        await its.edited_meanwhile("hello")
        assert its.buttons == [["retry", "continue", "other", "edited"]]


async def test_the_offer_stays_whatever_is_pressed_until_the_words_that_stand_are_answered(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        its = await question(at)
        await its.edit("hello there")
        # Asked again in the old words, looked away from and back: by anybody.
        for act in (Act.RETRY, Act.OLDER, Act.NEWER):
            await at.press(act)
            assert OFFER in at.channel.buttons[at.ids[0]], act
        await its.press(at.subject())
        assert OFFER not in at.channel.buttons[at.ids[0]]
        await at.press(Act.OLDER)
        assert OFFER in at.channel.buttons[at.ids[0]]


async def test_an_edited_question_that_nobody_could_answer_is_offered_again(
    tmp_path: Path,
) -> None:
    refused = Failed(TURN, RequestRefused("No host is up."))
    async with scene(tmp_path, (STARTED, refused)) as at:
        its = await question(at)
        await its.edit("hello there")
        await its.press(str(TURN))
        assert at.channel.buttons[at.ids[0]][-1] == OFFER


async def test_words_that_discord_does_not_show_any_more_are_not_asked(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        its = await question(at)
        its.text = ""
        assert "does not show me that question" in said_to(await its.press(str(TURN)))[0]
        assert at.turns.requests == []


async def test_a_message_that_asked_nothing_may_be_edited_and_deleted(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        its = Question(at)
        await its.edit("something")
        await its.delete()
        assert its.buttons == []
        assert await at.line() == ["first"]


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_what_comes_to_a_question_while_it_is_answered_shows_at_the_end(
    tmp_path: Path, *, is_deleted: bool
) -> None:
    script: Script = (STARTED, TextDelta("second"), 1.0, FINISHED)
    async with scene(tmp_path, script) as at:
        its = await question(at)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(at.press(Act.RETRY))
            await at.channel.until(at.ids[0], "second")
            await (its.delete() if is_deleted else its.edit("hello there"))
            assert "Answer the edited question" not in at.channel.buttons[at.ids[0]]
            at.turns.may_end.set()
        # Neither shown nor taken away at once: the answer's own last words would undo it.
        assert its.buttons == []
        assert at.channel.shown[at.ids[0]].startswith("second")
        ends = at.channel.buttons[at.ids[0]]
        assert ends == [] if is_deleted else ends[-1] == "Answer the edited question"


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_an_end_that_is_shown_before_we_know_gets_what_comes_to_its_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_deleted: bool
) -> None:
    script: Script = (STARTED, TextDelta("second"), 1.0, FINISHED)
    async with scene(tmp_path, script) as at:
        its = await question(at)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(at.press(Act.RETRY))
            await at.channel.until(at.ids[0], "second")
            at.channel.may_go.clear()
            at.turns.may_end.set()
            await at.channel.until(at.ids[0], "tok/s")
            coming = its.delete() if is_deleted else its.edit("hello there")
            # The library lets go of that edit only while the change waits for it.
            waits, let_go = asyncio.Event(), at.replies.let_go

            async def told(answers: Answers) -> None:
                waits.set()
                await let_go(answers)

            monkeypatch.setattr(at.replies, "let_go", told)
            tasks.create_task(coming)
            async with asyncio.timeout(60):
                await waits.wait()
            assert its.buttons == []
            at.channel.may_go.set()
        (buttons,) = its.buttons
        assert ("edited" in buttons) is not is_deleted


@pytest.mark.parametrize("in_bulk", [False, True])
async def test_a_deleted_question_leaves_with_all_its_answers(
    tmp_path: Path, in_bulk: bool
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        its = await question(at)
        await at.press(Act.RETRY)
        await its.delete(in_bulk=in_bulk)
        assert await at.line() == []
        assert its.buttons == [[]]
        assert at.turns.said == [("end", (TURN, "again1"))]
        assert "not stored any more" in said_to(await at.press(Act.OLDER))[0]


async def test_a_message_that_was_deleted_is_quoted_no_more(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        its = Question(at)
        people: Any = at.lantern.people

        async def unquote(message: str) -> None:
            # Noted first, for whoever is about to quote it.
            assert at.turns.taken_back.is_deleted(message)
            await PeopleStore(at.lantern.database).unquote(message)

        people.unquote.side_effect = unquote
        quotes = tuple(
            Quote(f"of {message}", ALICE, "Alice", Place(PlaceId("discord:7")), 1, message)
            for message in (ASKED, "1", "2")
        )
        await at.store.begin(replace(stored_turn(""), id=TurnId("about"), quotes=quotes))
        await its.delete(in_bulk=True)
        about = await at.store.get(TurnId("about"))
        assert about is not None
        assert about.quotes == quotes[2:]


async def test_an_answer_whose_messages_were_deleted_is_answered_again_where_it_can_be(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN, reply="word " * 500, count=2) as at:
        its = await question(at)

        async def delete(message: int) -> None:
            payload: Any = double(discord.RawMessageDeleteEvent)
            payload.message_id = message
            await its.cog.on_raw_message_delete(payload)
            del at.channel.shown[message]

        await delete(at.ids[0])
        await at.press(Act.RETRY)
        (text,) = at.channel.shown.values()
        assert text.startswith("second")
        assert list(await at.bound()) == [str(at.ids[1])]
        await delete(at.ids[1])
        pressed = await at.press(Act.RETRY)
        assert pressed.edit_original_response.await_args.kwargs["content"].startswith("second")
        # It was an answer for all that, and what was asked stands in what comes next.
        assert await at.line() == ["second"]
