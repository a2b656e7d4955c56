"""``/thread``: who opens one where, what it is called, and who is answered in it."""

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import discord
import pytest
from cogs_doubles import (
    ALICE,
    FINISHED,
    STARTED,
    TURN,
    ScriptedTurns,
    double,
    http_error,
    interaction_of,
    lantern_of,
    partial_channel,
    said_to,
    settings_of,
)

from bot.chat.place_settings import Configured
from bot.domain.errors import BotError, StoreUnavailable, TokensSpent
from bot.domain.events import TextDelta
from bot.domain.ids import PersonaName, PlaceId
from bot.domain.personas import Persona
from bot.policy.conversation import unnamed_title
from bot.policy.pacing import Pacers
from cogs._access import Access
from cogs._chains import Chains
from cogs._places import DiscordRules
from cogs._reply import Replies
from cogs._webhooks import Hook, Webhooks
from cogs.threads import Threads

ME = 99
UNNAMED = unnamed_title("sage", "Ada")


class Hall:
    """A text channel, and the thread that is opened in it."""

    def __init__(self, used: int = 0) -> None:
        self.turns = ScriptedTurns()
        settings = settings_of(Configured(tokens_per_day=100), used)
        self.lantern = replace(lantern_of(self.turns), place_settings=settings)
        switch: Any = self.lantern.switch
        switch.explain.return_value.persona = Persona(PersonaName("sage#0123abcd"))
        client: Any = double(discord.Client)
        client.user.id = ME
        self.inside = partial_channel(300)
        client.get_partial_messageable.return_value = self.inside
        replies = Replies(self.lantern)
        access = Access(DiscordRules())
        self.webhooks: Any = double(Webhooks)
        self.webhooks.at.return_value = None
        self.cog = Threads(client, self.lantern, access, replies, Pacers(), self.webhooks)
        self.interaction = interaction_of()
        self.channel: Any = double(discord.TextChannel)
        self.channel.id = 7
        self.thread: Any = double(discord.Thread)
        self.thread.id = 300
        self.channel.create_thread.return_value = self.thread
        self.interaction.channel = self.channel

    async def open(self, persona: str | None = None, message: str | None = None) -> None:
        command: Any = self.cog.thread
        await command.callback(self.cog, self.interaction, persona, message)

    @property
    def name(self) -> str:
        return self.channel.create_thread.await_args.kwargs["name"]


async def test_a_thread_has_whoever_opened_it_and_waits_for_its_first_words() -> None:
    hall = Hall()
    await hall.open()
    assert hall.name == "🧵 sage · Alice …"
    hall.thread.add_user.assert_awaited_once_with(hall.interaction.user)
    assert said_to(hall.interaction) == ["🧵 <#300>: I answer every message there."]
    assert hall.turns.requests == []


async def test_a_thread_is_named_by_its_persona_where_its_first_message_has_no_words() -> None:
    hall = Hall()
    await hall.open("sage", "<@5>")
    assert hall.name == "🧵 sage · Alice …"
    hall = Hall()
    explain: Any = hall.lantern.switch.explain
    explain.side_effect = StoreUnavailable("The disk is full.")
    await hall.open()
    assert hall.name == "🧵 Alice …"


async def test_a_thread_with_a_question_is_named_by_it_and_answers_in_it() -> None:
    hall = Hall()
    await hall.open("sage", "Why is the **sky** blue, <@5>?")
    assert hall.name == "Why is the sky blue, ?"
    (request,) = hall.turns.requests
    assert (request.place.channel, request.place.thread) == ("discord:7", "discord:300")
    set_persona: Any = hall.lantern.switch.set_persona
    place, user, scope, name = set_persona.await_args.args
    assert (place, user, scope, name) == (request.place, ALICE, "thread", "sage")
    first, answer = (call.args[0] for call in hall.inside.send.await_args_list)
    assert first.startswith("> Why is the")
    assert answer.startswith("hi")


async def test_who_has_no_tokens_left_opens_no_thread_for_a_question() -> None:
    hall = Hall(used=100)
    with pytest.raises(TokensSpent, match="your tokens for today"):
        await hall.open(message="Why is the sky blue?")
    hall.channel.create_thread.assert_not_awaited()
    await hall.open()
    hall.channel.create_thread.assert_awaited_once()


async def test_the_first_answer_in_a_thread_is_told_in_its_servers_language() -> None:
    hall = Hall()
    hall.turns.script = (STARTED, TextDelta("hi"), FINISHED)
    hall.interaction.guild_locale = discord.Locale.german
    await hall.open(message="why?")
    assert "bis zum ersten Token" in hall.inside.send.await_args.args[0]


async def test_the_first_answer_in_a_thread_comes_by_its_personas_name() -> None:
    hall, hook = Hall(), double(Hook)
    hook.channel, hook.webhooks, hook.send.return_value = 7, Webhooks(), 501
    hall.webhooks.at.return_value = hook
    shelf: Any = hall.lantern.shelf
    shelf.get = Mock(return_value=replace(shelf.get("sage"), avatar="https://x.org/s.png"))
    await hall.open("sage", "hello")
    ((speaker, said, _),) = (call.args for call in hook.send.await_args_list)
    assert (speaker.name, said[:2]) == ("sage", "hi")
    assert hall.webhooks.at.call_args.args[1] is hall.thread


async def test_a_thread_asked_for_inside_one_is_opened_beside_it() -> None:
    hall = Hall()
    inside: Any = double(discord.Thread)
    inside.parent, inside.parent_id = hall.channel, 7
    hall.interaction.channel = inside
    await hall.open(message="hello")
    assert hall.turns.requests[0].place.thread == PlaceId("discord:300")


async def test_where_no_thread_can_be_opened_it_says_why() -> None:
    hall = Hall()
    hall.interaction.channel = double(discord.DMChannel)
    with pytest.raises(BotError, match="belong to text channels"):
        await hall.open()
    hall = Hall()
    hall.channel.create_thread.side_effect = http_error(403, 50013)
    with pytest.raises(BotError, match="Create Public Threads"):
        await hall.open()


async def test_where_nothing_may_be_written_in_threads_none_is_opened() -> None:
    hall = Hall()
    hall.channel.permissions_for.return_value = discord.Permissions(create_public_threads=True)
    with pytest.raises(BotError, match="Send Messages in Threads"):
        await hall.open(message="hello")
    hall.channel.create_thread.assert_not_awaited()
    hall = Hall()
    hall.inside.send.side_effect = http_error(403, 50013)
    with pytest.raises(BotError, match="Send Messages in Threads"):
        await hall.open(message="hello")
    assert hall.turns.requests == []


async def test_somebody_who_could_not_be_added_finds_the_thread_all_the_same() -> None:
    hall = Hall()
    hall.thread.add_user.side_effect = http_error(403, 50013)
    await hall.open()
    assert "<#300>" in said_to(hall.interaction)[0]


@pytest.mark.parametrize(
    ("name", "owner", "text", "is_named"),
    [
        (UNNAMED, ME, "why is it blue?", True),
        (UNNAMED, 5, "why is it blue?", False),
        ("Named", ME, "why is it blue?", False),
        (UNNAMED, ME, "<@99>", False),
    ],
)
async def test_the_first_words_name_a_thread_of_ours_once(
    name: str, owner: int, text: str, is_named: bool
) -> None:
    hall = Hall()
    message: Any = double(discord.Message)
    message.author.bot, message.webhook_id, message.type = False, None, discord.MessageType.default
    message.content, message.channel = text, hall.thread
    hall.thread.name, hall.thread.owner_id = name, owner
    hall.thread.edit.side_effect = http_error(429)
    await hall.cog.on_message(message)
    assert bool(hall.thread.edit.await_args_list) is is_named


@pytest.mark.parametrize(
    ("owner", "key", "is_ours"), [(ME, 300, True), (5, 300, False), (5, 70, True), (5, 71, True)]
)
async def test_a_thread_is_ours_by_its_owner_or_by_what_it_was_opened_on(
    owner: int, key: int, is_ours: bool
) -> None:
    turns = ScriptedTurns()
    lantern = lantern_of(turns)
    await lantern.replies.put("70", "7", TURN, 0)
    turns.store.asked["71"] = TURN
    chains = Chains(double(discord.Client), lantern, "channel")
    for kind in (discord.Thread, discord.PartialMessageable):
        thread: Any = double(kind)
        thread.id = key
        if kind is discord.Thread:
            thread.owner_id = owner
        is_known = key != 300 or kind is discord.Thread
        assert await chains.is_ours(thread, ME) is (is_ours and is_known)
    channel: Any = double(discord.TextChannel)
    channel.id = 70
    assert not await chains.is_ours(channel, ME)
    # So it stays, also after a restart, once that question or answer is no more.
    turns.store.asked.clear()
    for still in (chains, Chains(double(discord.Client), lantern, "channel")):
        thread = double(discord.Thread)
        thread.id, thread.owner_id = 71, 5
        assert await still.is_ours(thread, ME) is (key == 71)
