"""``lantern run`` ends kindly when asked once and at once when asked twice."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from discord_double import DiscordDouble
from discord_posts import Post
from lantern_child import child_environment, lantern_child

from bot.sim.host import SimHost
from bot.sim.journal import PredictionCancelled

pytestmark = [pytest.mark.ops, pytest.mark.slow]

GUARD_S = 180.0


def written(discord: DiscordDouble, question: str, words: str) -> Post | None:
    post = discord.answer(question)
    return post if post is not None and words in post.content else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_running_answer_is_finished_before_lantern_ends(
    number: signal.Signals, discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    environment = child_environment(discord.url, [host.address])
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        await child.until_serving()
        host.faults.stall_after_tokens(60)
        question = await discord.say("Tell me. [[tokens 70]]")
        await discord.changes.until(lambda: written(discord, question, "simulated answer"))

        child.signal(number)
        await child.until_logged("stopping")
        late = await discord.say("One more?")
        refused = await discord.changes.until(lambda: discord.answer(late))
        host.faults.clear()

        assert await child.ended() == 0
        answer = discord.answer(question)
        assert answer is not None
        assert answer.has_button("retry")
        assert not answer.has_button("stop")
        assert "70 tokens" in answer.content
        assert "restarting" in refused.content
        assert discord.gateway.close_codes[-1] is not None
        assert child.logged("stopped")
        assert "lantern.db-wal" not in os.listdir(folder)
        assert not child.mentions("Traceback")


async def test_an_answer_too_long_to_wait_for_is_stopped_and_says_so(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    shorter = json.dumps({"bot.commands.run": {"DRAIN_S": 0.3}})
    environment = child_environment(discord.url, [host.address], CHANGED_CONSTANTS=shorter)
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        await child.until_serving()
        question = await discord.say("Tell me. [[tokens 5000]]")
        await discord.changes.until(lambda: written(discord, question, "simulated answer"))

        child.signal(signal.SIGTERM)

        assert await child.ended() == 0
        answer = discord.answer(question)
        assert answer is not None
        assert "Lantern is restarting" in answer.content
        assert answer.has_button("continue")
        assert not answer.has_button("stop")
        await host.journal.wait_for(PredictionCancelled)


async def test_a_second_signal_ends_it_at_once(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    environment = child_environment(discord.url, [host.address])
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        await child.until_serving()
        question = await discord.say("Tell me. [[tokens 5000]]")
        await discord.changes.until(lambda: discord.answer(question))
        discord.hang()

        child.signal(signal.SIGINT)
        await child.until_logged("draining")
        child.signal(signal.SIGINT)

        assert await child.ended() == 130


async def test_it_stops_while_it_still_tries_to_log_in(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    discord.hang()
    environment = child_environment(discord.url, [host.address])
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        await discord.changes.until(lambda: discord.calls)

        child.signal(signal.SIGTERM)

        assert await child.ended() == 0
        assert not child.logged("ready")


async def test_it_stops_while_discord_cannot_be_reached(host: SimHost, folder: Path) -> None:
    environment = child_environment("http://127.0.0.1:9", [host.address])
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        await child.until_logged("discord unreachable")

        child.signal(signal.SIGTERM)

        assert await child.ended() == 0


async def test_a_discord_that_takes_no_goodbye_does_not_hold_it(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    shorter = json.dumps({"bot.commands.run": {"CLOSE_S": 0.1, "GOODBYE_S": 0.2}})
    environment = child_environment(discord.url, [host.address], CHANGED_CONSTANTS=shorter)
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        await child.until_serving()
        discord.gateway.turn_deaf()

        child.signal(signal.SIGTERM)

        assert await child.ended() == 0
