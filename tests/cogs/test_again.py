"""Retry and Continue in the answer's own messages, and looking through answers, as people see it.

Over the real store, so that what is shown and what goes on are seen together.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from unittest.mock import Mock

import discord
import pytest
from clocks import WallClock
from cogs_doubles import (
    ALICE,
    FINISHED,
    READERS,
    RECEIPT,
    STARTED,
    TURN,
    Script,
    ScriptedTurns,
    http_error,
    interaction_of,
    lantern_of,
    said_to,
    settings_of,
    stored_turn,
)
from databases import new_database
from stand_ins import double

from bot.chat.beginning import WORDLESS
from bot.chat.lantern import Lantern
from bot.chat.place_settings import Configured
from bot.domain.chat import Candidate, Receipt, TurnRequest
from bot.domain.errors import RequestRefused, TokensSpent
from bot.domain.events import Failed, Finished, Queued, Stopped, TextDelta
from bot.domain.ids import ModelKey, PersonaName, PlaceId, ProviderName, TurnId
from bot.policy.pacing import CHANNEL, Limit, Pacer, Pacers
from bot.store.beside import Answers
from bot.store.database import Database
from bot.store.replies import ReplyStore
from bot.store.turns import TurnStore
from cogs._access import Access
from cogs._again import UNSHOWN, Again
from cogs._loads import Loads
from cogs._places import DiscordRules
from cogs._reply import TAKEN_AWAY, WRITTEN, Replies
from cogs._transport import Transport
from cogs._view import Act, TurnButton
from cogs._webhooks import Hook, Webhooks
from cogs.buttons import Buttons
from cogs.closing import Closing

PLACE = "discord:7"
AS_IT_IS = object()
"""The buttons of an edit that leaves them."""


class PlayedTurns(ScriptedTurns):
    """Plays a script over the real store: a retry is stored beside what it redoes."""

    real: TurnStore
    may_end: asyncio.Event
    is_stored = True
    """Is what is asked again stored, or refused before that?"""

    async def end(self, turns: Iterable[TurnId], reason: str, *, by_asker: bool = True) -> None:
        self.said.append(("end", tuple(turns)))

    @asynccontextmanager
    async def _open(self, request: TurnRequest) -> AsyncGenerator[Any]:
        self.requests.append(request)
        assert request.parent is not None
        about = await self.real.get(request.parent)
        assert about is not None
        turn = TurnId(f"again{len(self.requests)}")
        if request.kind == "retry" and self.is_stored:
            asked = request.text or about.user_text
            new = replace(about, id=turn, user_text=asked, reply_text="", status="running")
            await self.real.begin(new, "retry", about.id)
        text = ""

        async def events() -> AsyncGenerator[Any]:
            nonlocal text
            for step in self.script:
                if isinstance(step, float | int):
                    # Until the test has seen what it came for.
                    await self.may_end.wait()
                    continue
                if isinstance(step, TextDelta):
                    text += step.text
                is_end = isinstance(step, Finished | Stopped | Failed)
                if is_end and request.kind == "retry" and self.is_stored:
                    status = "done" if text else "failed"
                    await self.real.finish(turn, status, text, "", RECEIPT)
                is_of_turn = hasattr(step, "turn") and self.is_stored
                yield replace(step, turn=turn) if is_of_turn else step

        yield events()


class Channel:
    """What the messages of one channel read, by what was called."""

    def __init__(self) -> None:
        self.shown: dict[int, str] = {}
        self.buttons: dict[int, list[str]] = {}
        self.fault: BaseException | None = None
        self.deleted = set[int]()
        self.calls = 0
        self.called = asyncio.Event()
        self.may_go = asyncio.Event()
        """Cleared, calls are made and not let go of."""
        self.may_go.set()

    def take(self, message: int, content: str | None, view: Any) -> None:
        self.calls += 1
        self.called.set()
        if self.fault is not None:
            raise self.fault
        if content is not None:
            self.shown[message] = content
        if view is not AS_IT_IS:
            self.buttons[message] = [
                child.item.label or child.custom_id.split(":")[1]
                for child in (view.children if view is not None else ())
                if isinstance(child, TurnButton)
            ]

    async def until(self, message: int, words: str) -> str:
        """What a message reads once these words stand in it."""
        async with asyncio.timeout(60):
            while words not in self.shown[message]:
                self.called.clear()
                await self.called.wait()
        return self.shown[message]

    def partial(self, channel: int, *, guild_id: int | None = None) -> Any:
        messages = self

        class Message:
            def __init__(self, key: int) -> None:
                self.id = key

            async def edit(self, *, content: str | None = None, view: Any = AS_IT_IS) -> None:
                if self.id in messages.deleted:
                    messages.shown.pop(self.id, None)
                    messages.called.set()
                    raise http_error(404, 10008)
                messages.take(self.id, content, view)
                await messages.may_go.wait()

            async def delete(self) -> None:
                del messages.shown[self.id]

        async def send(content: str, **options: Any) -> Message:
            key = max(self.shown) + 1
            self.take(key, content, options.get("view", AS_IT_IS))
            return Message(key)

        async def typing() -> None:
            pass

        double: Any = type("Double", (), {})()
        double.id, double.send, double.typing = channel, send, typing
        double.guild_id, double.guild = guild_id, guild_id
        double.get_partial_message = Message
        return double


@dataclass(slots=True)
class Scene:
    """One answer that stands in one or more messages."""

    lantern: Lantern
    turns: PlayedTurns
    store: TurnStore
    replies: Replies
    cog: Buttons
    again: Again
    channel: Channel
    ids: tuple[int, ...]
    webhooks: Webhooks

    async def press(
        self, act: Act, subject: str | None = None, user: int = 1, locale: str = "en-US"
    ) -> Any:
        interaction = self.interaction(user)
        interaction.locale = discord.Locale(locale)
        interaction.type = discord.InteractionType.component
        await self.cog.on_reply_button(interaction, act, subject or self.subject())
        return interaction

    def interaction(self, user: int = 1) -> Any:
        interaction = interaction_of(user)
        interaction.client.get_partial_messageable.side_effect = self.channel.partial
        interaction.message.id = self.ids[-1]

        async def edit_message(*, content: str, view: Any) -> None:
            self.channel.take(self.ids[-1], content, view)

        interaction.response.edit_message.side_effect = edit_message
        return interaction

    def subject(self) -> str:
        """Newest pressed or stored answer's id: what the buttons act upon."""
        return f"again{len(self.turns.requests)}" if self.turns.requests else str(TURN)

    def shown(self) -> str:
        """The answer that stands there by now; what is gone on with stays itself."""
        retried = [n for n, asked in enumerate(self.turns.requests, 1) if asked.kind == "retry"]
        return f"again{retried[-1]}" if retried else str(TURN)

    async def line(self) -> list[str]:
        """The answers that a new message would go on from."""
        line = await self.store.newest_branch(PlaceId(PLACE), PersonaName("sage"), ALICE)
        return [turn.reply_text for turn in line]

    async def bound(self) -> dict[str, str]:
        """Which message shows which turn."""
        rows = await self.lantern.database.fetch(
            "SELECT * FROM reply WHERE message_id NOT IN (SELECT * FROM gone) ORDER BY part"
        )
        assert not any(row["is_open"] for row in rows)
        return {row["message_id"]: row["turn"] for row in rows}


class QuickPacers(Pacers):
    """A hundredth of each rhythm: what stands there in the end is the same."""

    def of_channel(self, channel_id: int, now: float, limit: Limit = CHANNEL) -> Pacer:
        return super().of_channel(channel_id, now, replace(limit, window_s=limit.window_s / 100))


@asynccontextmanager
async def scene(
    folder: Path,
    script: Script,
    *,
    reply: str = "first",
    age_h: float = 0.0,
    count: int = 1,
    used: int = 0,
    is_stored: bool = True,
) -> AsyncGenerator[Scene]:
    async with Database(new_database(folder / "l.db"), utcnow=WallClock()) as database:
        store, turns = TurnStore(database), PlayedTurns(script)
        turns.may_end, turns.is_stored = asyncio.Event(), is_stored
        turns.real = turns.store = store  # pyright: ignore[reportAttributeAccessIssue]  # real
        asked = replace(stored_turn(""), status="running")
        await store.begin(asked)
        status = "done" if reply else "failed"
        await store.finish(TURN, status, reply, "", RECEIPT)
        made = discord.utils.utcnow() - timedelta(hours=age_h)
        first = discord.utils.time_snowflake(made)
        ids = tuple(first + n for n in range(count))
        shown = ReplyStore(database)
        await shown.bind(TURN, "7", ids, ())
        lantern = replace(
            lantern_of(turns),
            replies=shown,
            database=database,
            place_settings=settings_of(Configured(tokens_per_day=100), used),
        )
        replies, access, pacers = (
            Replies(lantern),
            Access(DiscordRules()),
            QuickPacers(),
        )
        webhooks = Webhooks()
        again = Again(lantern, access, replies, pacers, webhooks)
        cog = Buttons(lantern, access, replies, Loads(lantern), again)
        channel = Channel()
        channel.shown = dict.fromkeys(ids, "")
        channel.shown[ids[0]] = reply
        yield Scene(lantern, turns, store, replies, cog, again, channel, ids, webhooks)


AGAIN: Script = (STARTED, TextDelta("second"), FINISHED)


async def test_a_retry_is_answered_in_the_same_message_and_both_can_be_looked_at(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        (message,) = at.ids
        interaction = await at.press(Act.RETRY)
        interaction.response.defer.assert_awaited_once_with()
        assert list(at.channel.shown) == [message]
        assert at.channel.shown[message].startswith("second\n")
        assert at.channel.buttons[message] == [
            "Retry",
            "Continue",
            "Other model",
            "older",
            "2/2",
            "newer",
        ]
        assert await at.line() == ["second"]
        assert await at.bound() == {str(message): "again1"}

        await at.press(Act.OLDER)
        assert at.channel.shown[message].startswith("first\n")
        assert at.channel.buttons[message] == [
            "Retry",
            "Continue",
            "Other model",
            "older",
            "1/2",
            "newer",
        ]
        assert await at.line() == ["first"]
        assert await at.bound() == {str(message): TURN}
        # The button of the message as somebody still saw it acts on what is there.
        await at.press(Act.OLDER, subject=TURN)
        assert at.channel.shown[message].startswith("second\n")
        assert await at.line() == ["second"]


async def test_looked_at_where_the_bot_is_not_itself_a_long_answer_comes_below(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, (STARTED, TextDelta("word " * 500), FINISHED)) as at:
        await at.press(Act.RETRY)
        await at.press(Act.OLDER)
        assert await at.line() == ["first"]
        before = dict(at.channel.shown)
        interaction = at.interaction()
        interaction.is_guild_integration.return_value = False
        interaction.context = discord.app_commands.AppCommandContext(private_channel=True)
        await at.again.look(interaction, TURN, 1)
        interaction.response.defer.assert_awaited_once_with(thinking=True)
        assert at.channel.shown == before
        assert await at.line() == ["word " * 500]
        # Where a reply to it is found to belong.
        assert await at.bound() == {"200": "again1", "201": "again1"}


@pytest.mark.parametrize(
    ("webhook", "is_asked_by_it"),
    [(70, True), (None, False), (9, False)],  # 9 is the application: an answer to a command
)
async def test_what_a_webhook_made_is_changed_by_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: int | None, *, is_asked_by_it: bool
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        interaction = at.interaction()
        interaction.type = discord.InteractionType.component
        interaction.message.webhook_id = webhook
        hook: Any = double(Hook)
        hook.channel, hook.webhooks = 7, at.webhooks
        monkeypatch.setattr(at.webhooks, "at", Mock(return_value=hook))
        await at.cog.on_reply_button(interaction, Act.RETRY, str(TURN))
        # Asked as the bot, Discord refuses it, and each refusal counts towards a ban.
        assert at.channel.calls == (0 if is_asked_by_it else 1)
        assert hook.edit.await_count == (1 if is_asked_by_it else 0)


async def test_an_answer_that_cannot_be_shown_is_not_gone_on_from(tmp_path: Path) -> None:
    async with scene(tmp_path, (STARTED, TextDelta("word " * 500), FINISHED)) as at:
        await at.press(Act.RETRY)
        at.channel.fault = http_error(404, 10008)
        interaction = await at.press(Act.OLDER)
        assert said_to(interaction) == [f"❌ {UNSHOWN}"]
        assert await at.line() == ["word " * 500]


async def test_an_answer_keeps_its_servers_language_whoever_presses_under_it(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        for act, locale in ((Act.RETRY, "de"), (Act.OLDER, "fr"), (Act.NEWER, "de")):
            await at.press(act, locale=locale)
            assert at.channel.buttons[at.ids[0]][:3] == ["Retry", "Continue", "Other model"]


async def test_a_retry_that_brings_no_word_leaves_the_answer_as_it_was(tmp_path: Path) -> None:
    refused = Failed(TURN, RequestRefused("No host is up."))
    async with scene(tmp_path, (STARTED, refused)) as at:
        await at.press(Act.RETRY)
        (text,) = at.channel.shown.values()
        assert text.startswith("first\n-# ❌ No host is up.")
        assert at.channel.buttons[at.ids[0]] == ["Retry", "Continue", "Other model"]
        assert await at.line() == ["first"]
        assert await at.bound() == {str(at.ids[0]): TURN}


async def test_a_failed_answer_keeps_its_reason_whoever_would_go_on_with_it(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN, reply="") as at:
        at.channel.shown[at.ids[0]] = "❌ All are off."
        interaction = await at.press(Act.CONTINUE, user=2)
        assert said_to(interaction) == [f"❌ {WORDLESS}"]
        assert at.channel.shown[at.ids[0]] == "❌ All are off."
        assert not at.turns.requests


async def test_a_question_that_failed_gets_its_answer_and_no_other_to_look_at(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN, reply="") as at:
        await at.press(Act.RETRY)
        assert at.channel.buttons[at.ids[0]] == ["Retry", "Continue", "Other model"]
        assert await at.line() == ["second"]


async def test_an_answer_is_continued_in_its_own_message(tmp_path: Path) -> None:
    async with scene(tmp_path, (STARTED, TextDelta("and"), TextDelta(" more"), FINISHED)) as at:
        await at.press(Act.CONTINUE)
        (text,) = at.channel.shown.values()
        assert text.startswith("first and more\n-# ")
        assert at.turns.requests[0].parent == TURN


@pytest.mark.parametrize("act", [Act.RETRY, Act.CONTINUE])
async def test_two_people_who_press_at_once_get_one_answer(tmp_path: Path, act: Act) -> None:
    async with scene(tmp_path, (STARTED, TextDelta("x"), 0.05, FINISHED)) as at:
        async with asyncio.TaskGroup() as tasks:
            pressed = [tasks.create_task(at.press(act, TURN, user)) for user in (1, 1, 2)]
            await asyncio.wait(pressed[1:])
            at.turns.may_end.set()
        assert len(at.turns.requests) == 1
        refused = [said for task in pressed for said in said_to(task.result())]
        assert refused == [f"❌ {WRITTEN}"]


async def test_a_command_for_what_its_giver_has_pressed_already_is_refused_in_words(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, (STARTED, TextDelta("x"), 0.05, FINISHED)) as at:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(at.press(Act.RETRY, TURN))
            await at.channel.until(at.ids[0], "x")
            command = at.interaction()
            with pytest.raises(RequestRefused, match="being written"):
                await at.again.press(command, "retry", TURN)
            at.turns.may_end.set()
        command.response.defer.assert_not_awaited()


@asynccontextmanager
async def shown_end(folder: Path) -> AsyncGenerator[Scene]:
    """A retry whose end people see before we know; ``may_go`` tells us."""
    # The library lets go of an edit that took the window's last place only at the window's end.
    async with (
        scene(folder, (STARTED, TextDelta("x"), 0.05, FINISHED)) as at,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(at.press(Act.RETRY, TURN))
        await at.channel.until(at.ids[0], "x")
        at.channel.may_go.clear()
        at.turns.may_end.set()
        await at.channel.until(at.ids[0], "tok/s")
        yield at
        at.channel.may_go.set()


@pytest.mark.parametrize("act", [Act.RETRY, Act.OLDER])
async def test_an_end_that_is_shown_already_can_be_pressed_before_we_know(
    tmp_path: Path, act: Act
) -> None:
    async with shown_end(tmp_path) as at:
        assert at.channel.buttons[at.ids[0]][-2:] == ["2/2", "newer"]
        interaction = at.interaction()
        interaction.type = discord.InteractionType.component

        async def defer() -> None:
            interaction.response.is_done.return_value = True
            at.channel.may_go.set()

        interaction.response.defer.side_effect = defer
        await at.cog.on_reply_button(interaction, act, at.subject())
        assert said_to(interaction) == []
        interaction.response.defer.assert_awaited_once_with()
        assert len(at.turns.requests) == (2 if act is Act.RETRY else 1)
        assert await at.line() == ["x" if act is Act.RETRY else "first"]


async def test_a_refusal_that_is_shown_already_is_no_answer_being_written(tmp_path: Path) -> None:
    refused = (Failed(None, RequestRefused("Your words are used up.")),)
    async with scene(tmp_path, refused, is_stored=False) as at, asyncio.TaskGroup() as tasks:
        at.channel.may_go.clear()
        tasks.create_task(at.press(Act.RETRY, TURN))
        await at.channel.until(at.ids[0], "used up")
        other = at.interaction(user=2)
        other.type = discord.InteractionType.component

        async def defer() -> None:
            other.response.is_done.return_value = True
            at.channel.may_go.set()

        other.response.defer.side_effect = defer
        await at.cog.on_reply_button(other, Act.RETRY, TURN)
        assert said_to(other) == []
        assert [asked.user for asked in at.turns.requests] == [ALICE, "discord:2"]


@pytest.mark.parametrize("kind", ["retry", "continue"])
@pytest.mark.parametrize("is_press", [True, False])
async def test_who_has_no_tokens_left_is_told_at_once_and_alone(
    tmp_path: Path, kind: Literal["retry", "continue"], is_press: bool
) -> None:
    async with scene(tmp_path, AGAIN, used=100) as at:
        interaction = at.interaction()
        if is_press:
            interaction.type = discord.InteractionType.component
        with pytest.raises(TokensSpent, match="your tokens for today"):
            await at.again.press(interaction, kind, TURN)
        assert (at.turns.requests, at.channel.calls, said_to(interaction)) == ([], 0, [])
        # Nor does it keep others from asking.
        with pytest.raises(TokensSpent):
            await at.again.press(at.interaction(user=2), kind, TURN)


async def test_nobody_looks_away_while_another_answer_is_being_written(tmp_path: Path) -> None:
    async with scene(tmp_path, (STARTED, TextDelta("x"), 0.05, FINISHED)) as at:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(at.press(Act.RETRY, TURN))
            await at.channel.until(at.ids[0], "x")
            looked = await at.press(Act.OLDER, TURN, user=2)
            at.turns.may_end.set()
        assert "being written" in said_to(looked)[0]
        assert await at.line() == ["x"]
        # And it is free again.
        await at.press(Act.OLDER)
        assert await at.line() == ["first"]


@pytest.mark.parametrize("act", [Act.RETRY, Act.OLDER])
async def test_a_press_while_somebody_looks_at_another_answer_waits_for_the_look(
    tmp_path: Path, act: Act
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        await at.press(Act.RETRY, TURN)
        newest, looking, may_look = at.subject(), asyncio.Event(), asyncio.Event()
        look = at.interaction()
        look.type = discord.InteractionType.component

        async def edit_message(*, content: str, view: Any) -> None:
            looking.set()
            await may_look.wait()
            at.channel.take(at.ids[0], content, view)

        look.response.edit_message.side_effect = edit_message
        press = at.interaction(2)
        press.type = discord.InteractionType.component

        async def defer() -> None:
            press.response.is_done.return_value = True
            may_look.set()

        press.response.defer.side_effect = defer
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(at.cog.on_reply_button(look, Act.OLDER, newest))
            await looking.wait()
            await at.cog.on_reply_button(press, act, newest)
            may_look.set()
        assert said_to(press) == said_to(look) == []
        # What was looked at meanwhile is answered again, and two who look back see the same.
        assert len(at.turns.requests) == (1 if act is Act.OLDER else 2)
        assert await at.line() == (["first"] if act is Act.OLDER else ["second"])


async def test_a_press_waits_also_for_whoever_looks_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It was refused in words of an answer that nobody was writing.
    async with scene(tmp_path, AGAIN) as at:
        await at.press(Act.RETRY, TURN)
        (answers,) = [a for a in [await at.lantern.turns.store.answers(TURN)] if a is not None]
        looks, let_go = [ExitStack(), ExitStack()], at.replies.let_go

        async def waits(of: Answers) -> None:
            looks.pop(0).close()
            await let_go(of)
            if looks:
                looks[0].enter_context(at.replies.held(of, is_brief=True))

        monkeypatch.setattr(at.replies, "let_go", waits)
        looks[0].enter_context(at.replies.held(answers, is_brief=True))
        press = at.interaction(2)
        press.type = discord.InteractionType.component
        await at.cog.on_reply_button(press, Act.RETRY, at.subject())
        assert said_to(press) == []
        assert (looks, len(at.turns.requests)) == ([], 2)


async def test_messages_of_a_longer_answer_wait_until_it_is_known_whether_they_are_needed(
    tmp_path: Path,
) -> None:
    long = "\n\n".join(f"{n} " + "word " * 200 for n in range(4))
    script: Script = (STARTED, TextDelta("short"), 0.3, FINISHED)
    async with scene(tmp_path, script, reply=long, count=4) as at:
        one = at.ids[0]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(at.press(Act.RETRY))
            await at.channel.until(one, "short")
            await at.channel.until(at.ids[-1], "⋯")
            at.turns.may_end.set()
        assert list(at.channel.shown) == [one]
        assert set(await at.bound()) == {str(one)}
        await at.press(Act.OLDER)
        assert len(at.channel.shown) == 4
        assert "".join(at.channel.shown.values()).count("word") == 800
        assert set((await at.bound()).values()) == {TURN}


async def test_a_look_that_discord_does_not_take_leaves_what_is_read_in_place(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        await at.press(Act.RETRY)
        at.channel.fault = http_error(400, 50035)
        await at.press(Act.OLDER)
        assert await at.line() == ["second"]


@pytest.mark.parametrize(("age_h", "pacers"), [(2.0, 3), (0.8, 2)])
async def test_edits_of_old_messages_keep_to_discords_rate_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_h: float, pacers: int
) -> None:
    seen: set[int] = set()
    paced = Transport.pacers

    def pacers_of(self: Transport, *, is_new: bool) -> tuple[Pacer, ...]:
        found = paced(self, is_new=is_new)
        seen.add(len(found))
        return found

    monkeypatch.setattr(Transport, "pacers", pacers_of)
    async with scene(tmp_path, AGAIN, age_h=age_h) as at:
        await at.press(Act.RETRY)
    assert seen == {pacers}


async def deleted(at: Scene, message: int, *, is_told: bool) -> None:
    """A moderator deletes a message of the answer; Discord tells that soon or late."""
    at.channel.deleted.add(message)
    if is_told:
        await at.lantern.replies.lost(str(message))


GROWS: Script = (*(step for n in range(20) for step in (TextDelta(f"second{n} "), 0.01)), FINISHED)
"""From its first word on it goes on only once a test lets it."""


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("act", [Act.RETRY, Act.CONTINUE])
async def test_an_answer_deleted_while_it_is_asked_for_again_comes_in_a_new_message(
    tmp_path: Path, act: Act, *, is_told: bool
) -> None:
    async with scene(tmp_path, (STARTED, *GROWS)) as at:
        (message,) = at.ids
        async with asyncio.TaskGroup() as tasks:
            pressed = tasks.create_task(at.press(act))
            await at.channel.until(message, "second0")
            await deleted(at, message, is_told=is_told)
            at.turns.may_end.set()
        assert said_to(pressed.result()) == [f"❌ {TAKEN_AWAY}"]
        assert at.channel.shown == {}
        assert await at.lantern.replies.messages(TurnId(at.shown())) == ()
        # What was opened on it, such as a thread, still finds its turn.
        assert await at.lantern.replies.turn_of(str(message)) is not None
        # The press makes a message, which shows all of what is gone on with.
        asked = at.interaction()
        kind = "retry" if act is Act.RETRY else "continue"
        await at.again.press(asked, kind, TurnId(at.shown()))
        text = asked.edit_original_response.await_args.kwargs["content"]
        assert text.startswith("second0" if act is Act.RETRY else "first second0")
        assert said_to(asked) == []


async def test_an_answer_whose_message_was_deleted_unheard_is_answered_in_a_new_one(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        await deleted(at, at.ids[0], is_told=False)
        at.channel.shown[1] = "somebody else's"
        await at.again.press(at.interaction(), "retry", TURN)
        assert list(at.channel.shown) == [1, 2]
        assert at.channel.shown[2].startswith("second")
        assert [m.message_id for m in await at.lantern.replies.messages(TurnId("again1"))] == ["2"]


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_longer_answer_whose_first_message_is_deleted_goes_on_in_the_others(
    tmp_path: Path, *, is_told: bool
) -> None:
    async with scene(tmp_path, (STARTED, *GROWS), reply="word " * 500, count=2) as at:
        one, two = at.ids
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(at.press(Act.RETRY))
            await at.channel.until(one, "second0")
            await at.channel.until(two, "⋯")
            await deleted(at, one, is_told=is_told)
            at.turns.may_end.set()
        (text,) = at.channel.shown.values()
        assert text.startswith("second0")
        assert "second19" in text
        assert at.channel.buttons[two] == [
            "Retry",
            "Continue",
            "Other model",
            "older",
            "2/2",
            "newer",
        ]
        shown = await at.lantern.replies.messages(TurnId("again1"))
        assert [(row.message_id, row.part) for row in shown] == [(str(two), 0)]
        # Looked back at, it has again as many as it needs.
        await at.press(Act.OLDER)
        assert "".join(at.channel.shown.values()).count("word") == 500
        assert len(await at.lantern.replies.messages(TURN)) == 2


async def test_another_answer_is_looked_at_though_a_message_of_it_was_deleted(
    tmp_path: Path,
) -> None:
    long = (STARTED, TextDelta("second " * 600), FINISHED)
    async with scene(tmp_path, long, reply="word " * 500, count=2) as at:
        await at.press(Act.RETRY)
        gone, *_ = at.channel.shown
        await deleted(at, gone, is_told=False)
        await at.press(Act.OLDER)
        assert "".join(at.channel.shown.values()).count("word") == 500
        shown = [int(row.message_id) for row in await at.lantern.replies.messages(TURN)]
        assert shown == list(at.channel.shown)
        assert gone not in shown


async def test_a_command_answers_again_above_and_says_where(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        interaction = at.interaction()
        turn = await at.again.last(stored_turn("").place, "retry")
        await at.again.press(interaction, "retry", turn)
        (said,) = said_to(interaction)
        assert said == f"🔁 Answering again: https://discord.com/channels/5/7/{at.ids[0]}"
        assert await at.line() == ["second"]


async def test_where_the_bot_is_not_itself_the_answer_comes_in_a_message_of_its_own(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        interaction = at.interaction()
        interaction.is_guild_integration.return_value = False
        interaction.context = discord.app_commands.AppCommandContext(private_channel=True)
        await at.again.press(interaction, "retry", TURN)
        assert at.channel.shown == {at.ids[0]: "first"}
        interaction.response.defer.assert_awaited_once_with(thinking=True)


@pytest.mark.parametrize("type_", ["component", "application_command"])
async def test_where_the_bot_is_not_itself_no_press_fills_the_place_of_an_end_it_waits_for(
    tmp_path: Path, type_: str
) -> None:
    async with shown_end(tmp_path) as at:
        interaction = at.interaction(2)
        interaction.type = discord.InteractionType[type_]
        interaction.is_guild_integration.return_value = False
        interaction.context = discord.app_commands.AppCommandContext(private_channel=True)
        with pytest.raises(RequestRefused, match="being written"):
            await at.again.press(interaction, "retry", TurnId(at.subject()))
        interaction.response.defer.assert_not_awaited()
        assert len(at.turns.requests) == 1


async def test_an_answer_of_another_channel_is_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        elsewhere = interaction_of(channel=8)
        elsewhere.type = discord.InteractionType.component
        await at.cog.on_reply_button(elsewhere, Act.RETRY, TURN)
        assert "another conversation" in said_to(elsewhere)[0]
        assert at.turns.requests == []


async def test_what_a_provider_said_stays_marked_when_a_host_goes_on(tmp_path: Path) -> None:
    by = Receipt(PersonaName("sage"), ModelKey("glm"), provider=ProviderName("zai"))
    done = Finished(TURN, replace(RECEIPT, before=(Candidate(ModelKey("glm"), None, by.provider),)))
    script: Script = (STARTED, Queued(None, ModelKey("glm"), 1), TextDelta("more"), 0.3, done)
    async with scene(tmp_path, script) as at:
        async with asyncio.TaskGroup() as tasks:
            await at.lantern.database.execute(
                "UPDATE turn SET receipt = ?", ('{"persona":"sage","provider":"zai"}',)
            )
            tasks.create_task(at.press(Act.CONTINUE))
            assert (await at.channel.until(at.ids[0], "☁")).endswith("\n-# ☁ zai")
            at.turns.may_end.set()
        assert at.channel.shown[at.ids[0]].startswith("first more\n-# ☁ zai")


async def test_a_retry_cut_off_by_a_crash_leaves_the_answer_before_it(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        cut = replace(stored_turn(""), id=TurnId("cut"), status="running")
        await at.store.begin(cut, "retry", TURN)
        await at.lantern.replies.put(str(at.ids[0]), "7", cut.id, 0)
        at.channel.shown[at.ids[0]] = "💭 Thinking …"
        await at.store.close_running()
        client: Any = interaction_of().client
        client.get_partial_messageable.side_effect = at.channel.partial
        loads = Loads(at.lantern)
        closing = Closing(client, at.lantern, loads, Pacers(), Webhooks(), READERS)
        await closing.collect()
        await closing.run()
        assert at.channel.shown[at.ids[0]].startswith("first\n")
        assert at.channel.buttons[at.ids[0]] == ["Retry", "Continue", "Other model"]
        assert await at.bound() == {str(at.ids[0]): TURN}
        assert await at.line() == ["first"]


async def test_a_stop_left_over_under_an_answer_of_several_messages_leaves_as_it_is_pressed(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN, reply="word " * 900, count=3) as at:
        for message in at.ids:
            at.channel.shown[message], at.channel.buttons[message] = "word", ["Stop"]
        interaction = await at.press(Act.STOP, user=2)
        assert said_to(interaction) == []
        assert [at.channel.buttons[message] for message in at.ids] == [
            [],
            [],
            ["Retry", "Continue", "Other model"],
        ]
        assert "".join(at.channel.shown.values()).count("word") == 900
        assert await at.line() == ["word " * 900]


async def test_a_stop_left_over_under_another_answer_leaves_the_shown_one_shown(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        await at.press(Act.RETRY)
        at.channel.shown[at.ids[0]] = "fir"
        await at.press(Act.STOP, subject=TURN)
        assert at.channel.shown[at.ids[0]].startswith("second\n")
        assert await at.line() == ["second"]
