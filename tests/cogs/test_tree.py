"""The commands as Discord gets them, when they are announced, and what an error reads like."""

from collections.abc import AsyncGenerator
from typing import Any
from unittest.mock import AsyncMock

import discord
import pytest
from cogs_doubles import (
    MemoryNotes,
    MemoryQuestions,
    http_error,
    interaction_of,
    lantern_of,
    said_to,
)
from discord import app_commands
from stand_ins import double

from bot.chat.lantern import Lantern
from bot.domain.errors import NotPermitted, StoreUnavailable
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import AccessRules, Circle, PlaceRules
from cogs._access import Access
from cogs._faults import BROKEN, OUTDATED, error_words, say
from cogs._tree import LanternTree, command_hash, sync_when_changed
from cogs.client import DiscordFace, DiscordRules, LanternBot

OPTIONS = {
    "chat": ["message", "persona", "model", "attachment", "type", "no_cache", "priority"],
    "model": ["name", "scope"],
    "persona": ["name", "scope"],
    "fleet": ["status", "models", "load", "unload", "pin", "unpin", "drain", "resume", "board"],
    "personas": ["list", "show", "create", "edit", "delete", "import", "export"],
    "stop": [],
    "retry": ["model"],
    "thread": ["persona", "message"],
    "history": ["show", "export", "forget"],
    "remember": ["fact"],
    "memories": ["forget"],
    "continue": [],
    "Ask about this": [],
    "Retry": [],
    "Continue": [],
    "greet": ["number"],
    "reset": [],
    "why": [],
    "help": [],
    "usage": ["period"],
    "settings": ["local_only", "scope"],
}


@pytest.fixture
def lantern() -> Lantern:
    return lantern_of()


@pytest.fixture
async def bot(lantern: Lantern) -> AsyncGenerator[LanternBot]:
    rules = DiscordRules(doors=AccessRules(servers={PlaceId("discord:5")}))
    bot = LanternBot(DiscordFace(lantern, rules), reads_content=True)
    bot.tree.sync = AsyncMock(return_value=[])
    bot.http.get_bot_gateway = AsyncMock(return_value=(1, "", None))
    await bot.setup_hook()
    yield bot
    await bot.close()


def dicts(bot: LanternBot) -> list[dict[str, Any]]:
    return [command.to_dict(bot.tree) for command in bot.tree.get_commands()]


def sizes(node: dict[str, Any]) -> int:
    """Characters that count towards Discord's 8,000 of one command."""
    own = len(node["name"]) + len(node.get("description", "")) + len(str(node.get("value", "")))
    inside = [*node.get("options", []), *node.get("choices", [])]
    return own + sum(sizes(child) for child in inside)


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    inside = [found for child in node.get("options", []) for found in nodes(child)]
    return [node, *inside]


async def test_commands_and_options_have_the_names_people_were_promised(bot: LanternBot) -> None:
    found = {d["name"]: [o["name"] for o in d.get("options", [])] for d in dicts(bot)}
    assert found == OPTIONS
    chat = next(d for d in dicts(bot) if d["name"] == "chat")
    assert [o["name"] for o in chat["options"] if o.get("required")] == ["message"]
    scope = next(d for d in dicts(bot) if d["name"] == "model")["options"][1]
    assert [choice["value"] for choice in scope["choices"]] == ["me", "channel", "server"]


async def test_a_command_delivered_twice_is_heard_once_and_closed_by_its_end(
    bot: LanternBot, lantern: Lantern
) -> None:
    interaction = interaction_of()
    tree, questions = bot.tree, lantern.questions
    assert isinstance(tree, LanternTree)
    assert isinstance(questions, MemoryQuestions)
    assert await tree.interaction_check(interaction)
    assert list(questions.open) == [str(interaction.id)]
    assert not await tree.interaction_check(interaction)
    await bot.on_app_command_completion(interaction, None)
    assert questions.open == {}


async def test_a_command_that_failed_is_closed_too(bot: LanternBot, lantern: Lantern) -> None:
    interaction = interaction_of()
    tree, questions = bot.tree, lantern.questions
    assert isinstance(tree, LanternTree)
    assert isinstance(questions, MemoryQuestions)
    await tree.interaction_check(interaction)
    await tree.on_error(interaction, app_commands.AppCommandError("no"))
    assert questions.open == {}


async def test_every_command_is_within_discords_limits(bot: LanternBot) -> None:
    for command in dicts(bot):
        assert sizes(command) <= 8000
        for node in nodes(command):
            assert 1 <= len(node["name"]) <= 32
            assert 1 <= len(node.get("description", "menus have none")) <= 100
            assert len(node.get("options", [])) <= 25


async def test_every_command_works_in_servers_messages_and_where_people_bring_it(
    bot: LanternBot,
) -> None:
    assert all(command["contexts"] == [0, 1, 2] for command in dicts(bot))
    assert all(command["integration_types"] == [0, 1] for command in dicts(bot))


async def test_nothing_the_bot_sends_pings(bot: LanternBot) -> None:
    assert bot.allowed_mentions is not None
    assert bot.allowed_mentions.to_dict() == {"parse": []}


async def test_only_what_is_needed_is_heard_and_kept(bot: LanternBot) -> None:
    heard = {name for name, is_on in bot.intents if is_on}
    assert heard == {"guilds", "guild_messages", "dm_messages", "message_content"}
    assert len(bot.cached_messages) == 0
    without = LanternBot(DiscordFace(lantern_of(), DiscordRules()), reads_content=False)
    assert not without.intents.message_content


async def test_commands_are_announced_only_when_they_changed(bot: LanternBot) -> None:
    notes, sync = MemoryNotes(), AsyncMock(return_value=[])
    bot.tree.sync = sync
    assert await sync_when_changed(bot.tree, notes, 1)
    assert not await sync_when_changed(bot.tree, notes, 1)
    bot.tree.remove_command("help")
    assert await sync_when_changed(bot.tree, notes, 1)
    assert await sync_when_changed(bot.tree, notes, 2)  # another bot knows nothing yet
    assert sync.await_count == 3


async def test_an_announcement_that_failed_is_tried_again_at_the_next_start(
    bot: LanternBot,
) -> None:
    notes = MemoryNotes()
    bot.tree.sync = AsyncMock(side_effect=[http_error(503), []])
    assert not await sync_when_changed(bot.tree, notes, 1)
    assert await sync_when_changed(bot.tree, notes, 1)


async def test_the_hash_does_not_depend_on_the_order_of_commands(bot: LanternBot) -> None:
    before = await command_hash(bot.tree)
    chat = bot.tree.remove_command("chat")
    assert chat is not None
    assert await command_hash(bot.tree) != before
    bot.tree.add_command(chat)
    assert await command_hash(bot.tree) == before


async def test_commands_are_refused_in_servers_that_are_not_allowed(bot: LanternBot) -> None:
    assert isinstance(bot.tree, LanternTree)
    assert await bot.tree.interaction_check(interaction_of(guild=5))
    stranger = interaction_of(guild=None)
    stranger.client.guilds = []
    assert not await bot.tree.interaction_check(stranger)
    assert "you are in none of them" in said_to(stranger)[0]
    elsewhere = interaction_of(guild=6)
    assert not await bot.tree.interaction_check(elsewhere)
    assert "does not answer in this server" in said_to(elsewhere)[0]


async def test_who_is_left_out_still_reads_and_forgets_their_own_words_and_the_help() -> None:
    only_bob = PlaceRules(answered=Circle(people={UserId("discord:2")}))
    rules = DiscordRules(doors=AccessRules(dms="off"), here=lambda _: only_bob)
    bot = LanternBot(DiscordFace(lantern_of(), rules), reads_content=True)
    assert isinstance(bot.tree, LanternTree)
    bot.tree.access = Access(rules)

    async def is_heard(command: str, guild: int | None = 5) -> bool:
        interaction = interaction_of(guild=guild)
        interaction.command = double(app_commands.Command)
        interaction.command.qualified_name = command
        return await bot.tree.interaction_check(interaction)

    own = ("history show", "history export", "history forget", "memories", "help")
    asking = ("chat", "personas show", "remember", "Retry")
    assert [each for each in (*own, *asking) if await is_heard(each)] == [*own]
    assert [each for each in (*own, *asking) if await is_heard(each, None)] == [*own]
    await bot.close()


async def test_nothing_is_offered_in_servers_that_are_not_allowed(bot: LanternBot) -> None:
    assert isinstance(bot.tree, LanternTree)
    elsewhere = interaction_of(guild=6)
    elsewhere.type = discord.InteractionType.autocomplete
    assert not await bot.tree.interaction_check(elsewhere)
    elsewhere.response.autocomplete.assert_awaited_once_with([])
    assert said_to(elsewhere) == []


async def test_every_failure_of_a_command_is_a_visible_message(bot: LanternBot) -> None:
    interaction = interaction_of()
    await bot.tree.on_error(interaction, app_commands.CommandNotFound("old", []))
    assert said_to(interaction) == [OUTDATED]
    assert interaction.response.send_message.await_args.kwargs["ephemeral"] is True


async def test_an_error_after_deferring_takes_the_place_of_the_waiting_message(
    bot: LanternBot,
) -> None:
    interaction = interaction_of()
    await interaction.response.defer(thinking=True)
    await bot.tree.on_error(interaction, invoke_error(NotPermitted("Only admins.")))
    assert interaction.followup.send.await_args.args == ("❌ Only admins.",)


async def test_an_autocomplete_that_fails_stays_silent(bot: LanternBot) -> None:
    interaction = interaction_of()
    interaction.type = discord.InteractionType.autocomplete
    await bot.tree.on_error(interaction, app_commands.CommandNotFound("old", []))
    assert said_to(interaction) == []


async def test_an_error_that_cannot_be_said_breaks_nothing(bot: LanternBot) -> None:
    interaction = interaction_of()
    interaction.response.send_message.side_effect = http_error(404, 10062)
    await bot.tree.on_error(interaction, app_commands.CommandNotFound("old", []))


def invoke_error(original: Exception) -> app_commands.CommandInvokeError:
    async def nothing(interaction: discord.Interaction) -> None: ...

    command: Any = app_commands.Command(name="test", description="test", callback=nothing)  # pyright: ignore[reportUnknownVariableType]  # of no cog
    return app_commands.CommandInvokeError(command, original)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (invoke_error(StoreUnavailable("The disk is full.")), "❌ The disk is full."),
        (NotPermitted("Only admins."), "❌ Only admins."),
        (invoke_error(KeyError("bug")), BROKEN),
        (invoke_error(http_error(503)), "❌ Discord did not take the answer; try again."),
        (app_commands.CheckFailure("Not here."), "❌ Not here."),
    ],
)
def test_errors_are_told_in_words_people_can_use(error: Exception, words: str) -> None:
    assert error_words(error) == words


async def test_a_long_answer_comes_in_several_messages() -> None:
    interaction = interaction_of()
    await say(interaction, "A line of words.\n" * 300)
    assert interaction.response.send_message.await_count == 1
    assert interaction.followup.send.await_count == 2
    assert "".join("".join(said_to(interaction)).split()) == "Alineofwords." * 300
