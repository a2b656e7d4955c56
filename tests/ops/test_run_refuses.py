"""``lantern run`` that cannot work says why in plain words and ends with 78, at once."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from discord_double import DiscordDouble
from lantern_child import child_environment, lantern_child

from bot.process.lock import instance_lock
from bot.sim.host import SimHost

pytestmark = [pytest.mark.ops, pytest.mark.slow]

GUARD_S = 180.0
NO_HOST = ("127.0.0.1:9",)


async def test_a_refused_token_is_told_in_words_and_not_tried_again(
    discord: DiscordDouble, folder: Path
) -> None:
    wrong = "a-token-nobody-knows"
    environment = child_environment(discord.url, NO_HOST, DISCORD_TOKEN=wrong)
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        assert await child.ended() == 78
        assert child.mentions("Discord refuses this bot token")
        assert not child.mentions("Traceback")
        assert not child.mentions(wrong)
    assert [call.path for call in discord.calls] == ["/api/v10/users/@me"]


async def test_a_token_revoked_while_connecting_is_told_the_same_way(
    discord: DiscordDouble, folder: Path
) -> None:
    discord.gateway.knows_token = False
    environment = child_environment(discord.url, NO_HOST)
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        assert await child.ended() == 78
        assert child.mentions("Discord refuses this bot token")
        assert not child.mentions("Traceback")
    assert discord.gateway.identified == 1


async def test_a_missing_token_is_told_before_anything_is_tried(
    discord: DiscordDouble, folder: Path
) -> None:
    environment = child_environment(discord.url, NO_HOST, DISCORD_TOKEN="")
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        assert await child.ended() == 78
        assert child.mentions("DISCORD_TOKEN is not set")
        assert not child.mentions("Traceback")
    assert discord.calls == []
    assert os.listdir(folder) == []


async def test_a_second_lantern_on_one_database_leaves_the_first_alone(
    discord: DiscordDouble, folder: Path
) -> None:
    environment = child_environment(discord.url, NO_HOST)
    with instance_lock(folder / "lantern.db"):
        async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
            assert await child.ended() == 78
            assert child.mentions("Another Lantern is running on this database")
            assert not child.mentions("Traceback")
    assert discord.calls == []
    assert not (folder / "lantern.db").exists()


async def test_a_service_waits_for_a_chat_on_its_database_and_starts_by_itself(
    discord: DiscordDouble, folder: Path
) -> None:
    # It ended with 78, after which no supervisor starts it any more.
    environment = child_environment(discord.url, NO_HOST)
    async with asyncio.timeout(GUARD_S), AsyncExitStack() as stack:
        with instance_lock(folder / "lantern.db", is_guest=True):
            child = await stack.enter_async_context(lantern_child(folder, environment))
            line = await child.until_logged("database in use")
            assert f"(process {os.getpid()})" in str(line["reason"])
            assert discord.calls == []
        await discord.until_ready()


async def test_without_the_message_content_intent_it_serves_and_says_what_is_missing(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    discord.gateway.grants_content = False
    # One "_" too few, as people write it: not read, and told of.
    environment = child_environment(discord.url, [host.address], LANTERN_ROUTING_STRATEGY="x")
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        await discord.until_ready()
        assert child.mentions("Message Content Intent")
        assert child.mentions("nearest: LANTERN_ROUTING__STRATEGY")
        assert discord.gateway.identified == 2

        # At once: no host may have been found yet.
        question = await discord.say("Hello? [[tokens 12]]")
        answer = await discord.changes.until(lambda: discord.answer(question))
        await discord.changes.until(lambda: answer.has_button("retry"))
        assert "12 tokens" in answer.content


async def test_a_damaged_database_is_told_in_words_and_not_started_again(
    discord: DiscordDouble, folder: Path
) -> None:
    (folder / "lantern.db").write_bytes(b"no database " * 100)
    environment = child_environment(discord.url, NO_HOST)
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        assert await child.ended() == 78
        assert child.mentions("the file is not a database")
        assert not child.mentions("Traceback")
