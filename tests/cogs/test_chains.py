"""What stands before a question: chains of replies, what a thread is about, what is hidden."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock

import discord
import pytest
from cogs_doubles import TURN, give, http_error, interaction_of
from stand_ins import double
from test_chat_cog import House, greeted_by, reply_to
from test_files_and_choices import PIXEL, attachment
from test_mentions import person
from virtual_time import play

from bot.domain.ids import PersonaName, PlaceId, TurnId
from bot.domain.personas import Persona
from bot.policy.access import AccessRules
from bot.store.beside import Answers
from cogs._chains import MOST_QUOTED
from cogs._places import DiscordRules
from cogs.chat import HIDDEN, MISSED

BOB = 2
CHAIN = DiscordRules(conversation="reply_chain", fresh_after_s=3600.0)
CHANNEL = DiscordRules(fresh_after_s=3600.0)


class Channel:
    """Messages by id, as a channel gives them."""

    def __init__(self, house: House) -> None:
        self.house, self.messages = house, dict[int, Any]()
        self.place = double(discord.TextChannel)
        self.place.id = 7
        self.place.fetch_message = AsyncMock(side_effect=self._fetch)

    async def _fetch(self, key: int) -> Any:
        if key not in self.messages:
            raise http_error(404, 10008)
        return self.messages[key]

    def say(self, key: int, text: str, about: int | None = None, **more: Any) -> Any:
        """A friend's message; Discord sends the next of a chain along, and no more."""
        message = self.house.message(text, **more)
        message.id, message.channel, message.author = key, self.place, person(BOB, "Bob")
        message.created_at = datetime(2026, 11, 20, tzinfo=UTC)
        message.reference = None if about is None else reply_to(about)
        self.messages[key] = message
        return message

    async def ask(self, key: int, text: str, about: int | None = None, **more: Any) -> Any:
        message = self.say(key, text, about, is_mention=True, **more)
        if message.reference is not None:
            message.reference.resolved = self.messages.get(about or 0)
        await self.house.cog.on_message(message)
        return self.house.turns.requests[-1]


def thread_of(channel: Channel, key: int, parent: Any = None) -> Any:
    thread = double(discord.Thread)
    thread.id, thread.parent_id, thread.parent = key, 7, parent or channel.place
    thread.name = "On colours"
    thread.fetch_message = AsyncMock(side_effect=channel.place.fetch_message)
    return thread


@pytest.mark.parametrize(("rules", "after_s"), [(CHANNEL, 3600.0), (CHAIN, 0.0)])
async def test_a_fresh_mention_goes_on_from_the_channel_or_from_nothing(
    rules: DiscordRules, after_s: float
) -> None:
    house = House(rules=rules)
    request = await Channel(house).ask(41, "<@9> hello")
    assert (request.parent, request.fresh_after_s) == (None, after_s)
    await give(house.cog.chat, house.cog, interaction_of(), "hello", None, None, None)
    assert house.turns.requests[-1].fresh_after_s == after_s


@pytest.mark.parametrize("rules", [CHANNEL, CHAIN])
async def test_a_mention_under_a_friends_words_brings_them(rules: DiscordRules) -> None:
    channel = Channel(House(rules=rules))
    files = [attachment(f"{n}.png", PIXEL, "image/png") for n in range(2)]
    channel.say(30, "The sky is green.", attachments=files[:1])
    request = await channel.ask(41, "<@9> really?", about=30, attachments=files[1:])
    assert [(q.text, q.user_name) for q in request.quotes] == [("The sky is green.", "Bob")]
    assert [file.name for file in request.attachments] == ["0.png", "1.png"]
    # With that message leaves what was its own.
    assert [quote.message_id for quote in request.quotes] == ["30"]
    assert [file.message_id for file in request.attachments] == ["30", None]


async def test_a_chain_of_replies_brings_everybody_up_to_the_answer_it_began_at() -> None:
    channel = Channel(House(rules=CHAIN))
    await channel.house.lantern.replies.put("20", "7", TURN, 0)
    channel.say(30, "first", about=20)
    channel.say(31, "second", about=30)
    request = await channel.ask(41, "<@9> who is right?", about=31)
    assert [quote.text for quote in request.quotes] == ["first", "second"]
    assert request.parent == TURN


async def test_a_channel_that_goes_on_by_itself_fetches_nothing() -> None:
    channel = Channel(House(rules=CHANNEL))
    channel.say(30, "first")
    channel.say(31, "second", about=30)
    request = await channel.ask(41, "<@9> who is right?", about=31)
    assert [quote.text for quote in request.quotes] == ["second"]
    channel.place.fetch_message.assert_not_awaited()


async def test_a_reply_to_somebodys_question_goes_on_from_its_answer() -> None:
    channel = Channel(House(rules=CHAIN))
    channel.house.turns.store.asked["30"] = TURN
    channel.say(30, "<@9> why?")
    request = await channel.ask(41, "<@9> and how?", about=30)
    assert (request.parent, request.quotes) == (TURN, ())


async def test_a_reply_to_a_question_that_was_asked_again_goes_on_from_what_is_shown() -> None:
    channel, again = Channel(House(rules=CHAIN)), TurnId("again")
    store = channel.house.turns.store
    store.asked["30"] = TURN
    store.answers = AsyncMock(return_value=Answers(TURN, again, (again,)))
    channel.say(30, "<@9> why?")
    request = await channel.ask(41, "<@9> and how?", about=30)
    assert request.parent == again
    store.answers.assert_awaited_once_with(TURN)


async def test_a_chain_is_not_climbed_for_ever_nor_past_what_was_deleted() -> None:
    channel = Channel(House(rules=CHAIN))
    for key in range(10, 30):
        channel.say(key, f"m{key}", about=key - 1)
    request = await channel.ask(41, "<@9> so?", about=29)
    assert [q.text for q in request.quotes] == [f"m{key}" for key in range(30 - MOST_QUOTED, 30)]
    request = await channel.ask(42, "<@9> so?", about=12)
    assert [q.text for q in request.quotes] == ["m10", "m11", "m12"]


async def never(_: int) -> None:
    await asyncio.Event().wait()


def test_a_discord_that_does_not_answer_costs_a_chain_and_no_question() -> None:
    async def story() -> None:
        channel = Channel(House(rules=CHAIN))
        channel.say(31, "second", about=30)
        channel.place.fetch_message.side_effect = never
        request = await channel.ask(41, "<@9> so?", about=31)
        assert [quote.text for quote in request.quotes] == ["second"]

    play(story())


# --- threads -------------------------------------------------------------------------------


async def test_a_thread_on_an_answer_or_a_question_goes_on_from_its_turn() -> None:
    house = House()
    channel = Channel(house)
    await house.lantern.replies.put("300", "7", TURN, 0)
    channel.place = thread_of(channel, 300)
    request = await channel.ask(41, "<@9> and then?")
    assert (request.opened_on, request.quotes) == (TURN, ())
    assert request.place.thread == PlaceId("discord:300")
    interaction = interaction_of(channel=300)
    interaction.channel = channel.place
    await give(house.cog.chat, house.cog, interaction, "and then?", None, None, None)
    assert house.turns.requests[-1].opened_on == TURN


@pytest.mark.parametrize("is_forum", [False, True])
async def test_a_thread_on_a_persons_message_has_its_words_once(is_forum: bool) -> None:
    house = House()
    channel = Channel(house)
    channel.say(300, "The sky is green.")
    parent = double(discord.ForumChannel) if is_forum else channel.place
    channel.place = thread_of(channel, 300, parent)
    channel.messages[300].channel = channel.place if is_forum else parent
    request = await channel.ask(41, "<@9> really?")
    titles = ["On colours"] if is_forum else []
    assert [quote.text for quote in request.quotes] == [*titles, "The sky is green."]
    house.turns.stored[TURN] = double(object)
    assert (await channel.ask(42, "<@9> surely?")).quotes == ()


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("<@9> hello", ["On colours"]),
        # A title is all that many write.
        ("<@9>", ["On colours"]),
        # Some begin with it once more.
        ("<@9> on Colours: hello", []),
    ],
)
async def test_a_forum_posts_title_stands_before_its_first_message_and_it_before_no_other(
    said: str, quoted: list[str]
) -> None:
    channel = Channel(House())
    channel.place = thread_of(channel, 300, double(discord.ForumChannel))
    request = await channel.ask(300, said)
    assert [quote.text for quote in request.quotes] == quoted
    assert {(quote.user, quote.place) for quote in request.quotes} <= {
        (request.user, request.place)
    }
    assert request.text == said.removeprefix("<@9>").strip()
    assert await channel.house.lantern.notes.get("discord.thread.300") is not None


async def test_a_thread_without_a_message_to_begin_with_is_a_thread_all_the_same() -> None:
    channel = Channel(House())
    channel.place = thread_of(channel, 300)
    assert (await channel.ask(41, "<@9> hello")).quotes == ()


# --- what Discord hides, and what was missed ------------------------------------------------


async def test_words_that_discord_hides_are_said_to_be_missing() -> None:
    house = House()
    house.client.intents.message_content = False
    channel = Channel(house)
    channel.say(30, "")
    await channel.ask(41, "<@9> really?", about=30)
    assert house.sent[-1].endswith(
        f"-# ℹ {HIDDEN}\n-# qwen/qwen3-30b-a3b-2507 · studio-1"
        " · 90 tokens · 30 tok/s · 0.5 s to first token"
    )
    greeted_by(house, Persona(PersonaName("sage")))
    message = channel.say(42, "<@9>", about=30, is_mention=True)
    message.reference.resolved = channel.messages[30]
    await house.cog.on_message(message)
    assert house.sent[-1] == HIDDEN
    assert len(house.turns.requests) == 1


@pytest.mark.parametrize(
    ("reads_content", "is_pinged", "text"),
    [(True, False, ""), (False, True, ""), (False, False, "Shown all the same.")],
)
async def test_with_the_intent_or_a_ping_or_words_nothing_is_hidden(
    reads_content: bool, is_pinged: bool, text: str
) -> None:
    house = House()
    house.client.intents.message_content = reads_content
    channel = Channel(house)
    channel.say(30, text, is_mention=is_pinged)
    await channel.ask(41, "<@9> really?", about=30)
    assert HIDDEN not in house.sent[-1]


async def test_who_asked_while_we_were_away_is_told_once_and_not_answered() -> None:
    house = House()
    message = house.message("<@9> hello", is_mention=True)
    for _ in range(2):
        await house.cog.on_missed_message(message)
    assert house.sent == [MISSED]
    assert house.turns.requests == []
    assert house.questions.open == {}


async def test_talk_that_was_missed_among_people_stays_among_them() -> None:
    house = House(rules=DiscordRules(doors=AccessRules(dms="off")))
    await house.cog.on_missed_message(house.message("hello everybody"))
    assert house.sent == []
    await house.cog.on_missed_message(house.message("hello", guild=None))
    assert "takes no direct messages" in house.sent[0]
