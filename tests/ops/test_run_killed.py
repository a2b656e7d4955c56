"""Killed without warning and started again, Lantern leaves nothing half said and nothing lost."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from discord_double import DiscordDouble
from discord_posts import Post
from discord_shapes import CHANNEL, PRIVATE
from lantern_child import child_environment, lantern_child

from bot.sim.host import SimHost
from bot.sim.journal import PredictionCancelled, PredictionStarted, Unloaded

pytestmark = [pytest.mark.ops, pytest.mark.slow]

GUARD_S = 180.0
IDLE_TTL_S = 600


def environment(discord: DiscordDouble, host: SimHost) -> dict[str, str]:
    return child_environment(
        discord.url, [host.address], LANTERN_EVICTION__IDLE_TTL=f"{IDLE_TTL_S}s"
    )


def closed(post: Post | None) -> Post | None:
    """The message, once it promises no more words."""
    if post is None or not post.content:
        return None
    return None if any(map(post.has_button, ("stop", "cancel", "halt"))) else post


async def until_kept(discord: DiscordDouble, question: str) -> Post:
    """The reply, once it was edited: by then Lantern has stored which message it is."""
    reply = await discord.changes.until(lambda: discord.answer(question))
    await discord.changes.until(lambda: len(reply.history) > 1)
    return reply


async def until_stored(folder: Path, words: str) -> None:
    """Waits for a running answer's text to be on the disk, some time after its edit."""
    query = "SELECT 1 FROM turn WHERE status = 'running' AND instr(reply_text, ?)"
    with closing(sqlite3.connect(folder / "lantern.db")) as database:
        while database.execute(query, (words,)).fetchone() is None:  # noqa: ASYNC110  # nothing tells of a commit
            await asyncio.sleep(0.02)


async def test_an_answer_broken_off_is_closed_and_the_conversation_goes_on(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    async with asyncio.timeout(GUARD_S):
        async with lantern_child(folder, environment(discord, host)) as child:
            await child.until_serving()
            first = await discord.say("My cat is called Mungo. [[tokens 20]]")
            before = await discord.changes.until(lambda: closed(discord.answer(first)))
            said_before = before.content
            question = await discord.say("What do cats eat? [[tokens 5000]]")
            broken = await until_kept(discord, question)
            await discord.changes.until(lambda: "simulated answer" in broken.content)
            assert broken.has_button("stop")
            await until_stored(folder, "simulated answer")
            await child.kill()

        await host.journal.wait_for(PredictionCancelled)
        assert [instance.ttl_s for instance in host.resident] == [2 * IDLE_TTL_S]
        seen = len(broken.history)

        async with lantern_child(folder, environment(discord, host)) as child:
            await discord.changes.until(lambda: closed(broken))
            assert "Lantern was restarted in the middle of this answer" in broken.content
            assert "simulated answer" in broken.content
            assert broken.has_button("continue")
            assert broken.has_button("retry")
            # One edit closes it; what was on its way at the kill may have come before.
            later = broken.history[seen:]
            assert ["was restarted" in text for text in later] == [False] * (len(later) - 1) + [
                True
            ]
            assert before.content == said_before

            await child.until_serving()
            host.journal.clear()
            after = await discord.say("What is my cat called? [[tokens 20]]", reply_to=before)
            await discord.changes.until(lambda: closed(discord.answer(after)))
            asked = host.journal.of(PredictionStarted)[0]
            assert any("Mungo" in message.text for message in asked.messages)
            assert not any("cats eat" in message.text for message in asked.messages)


async def test_loads_broken_off_are_closed_too(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    host.faults.stall_load(0.4)
    async with asyncio.timeout(GUARD_S):
        async with lantern_child(folder, environment(discord, host)) as child:
            await child.until_serving()
            switch = await discord.command("model", {"name": host.config.models[0].key})
            question = await discord.say("What do cats eat? [[tokens 20]]")
            bar = await discord.changes.until(lambda: discord.response(switch))
            await discord.changes.until(lambda: bar.has_button("halt") and "%" in bar.content)
            waiting = await until_kept(discord, question)
            assert waiting.has_button("cancel")
            await child.kill()

        host.faults.clear()
        async with lantern_child(folder, environment(discord, host)) as child:
            await discord.changes.until(lambda: closed(bar))
            assert "is chosen for you here" in bar.content
            assert "Lantern was restarted, which cut this load" in bar.content
            assert bar.has_button("undo")
            await discord.changes.until(lambda: closed(waiting))
            assert "Lantern was restarted before this answer began" in waiting.content
            assert waiting.has_button("retry")
            assert not waiting.has_button("continue")

            await child.until_serving()
            await discord.press(waiting, "retry")
            await discord.changes.until(
                lambda: closed(waiting) and "What do cats eat" in waiting.content
            )


async def test_a_dead_lantern_leaves_no_model_in_memory_for_ever(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment(discord, host)) as child:
        await child.until_serving()
        question = await discord.say("What do cats eat? [[tokens 12]]")
        await discord.changes.until(lambda: closed(discord.answer(question)))
        await child.kill()

        host.skip_time(2 * IDLE_TTL_S + 1)

        assert (await host.journal.wait_for(Unloaded)).reason == "ttl"
        assert host.resident == ()


@pytest.mark.parametrize("channel", [CHANNEL, PRIVATE])
@pytest.mark.parametrize("is_answered", [True, False])
async def test_what_was_asked_as_it_died_is_told_or_answered_by_the_next_start(
    discord: DiscordDouble, host: SimHost, folder: Path, channel: str, is_answered: bool
) -> None:
    late = {"LANTERN_DISCORD__ANSWER_MISSED": "5m"} if is_answered else {}
    async with asyncio.timeout(GUARD_S):
        async with lantern_child(folder, environment(discord, host)) as child:
            await child.until_serving()
            first = await discord.say("My cat is called Mungo. [[tokens 5]]", channel)
            await discord.changes.until(lambda: closed(discord.answer(first)))
            await child.kill()

        missed = await discord.say("What do cats eat? [[tokens 5]]", channel)

        async with lantern_child(folder, {**environment(discord, host), **late}) as child:
            answer = await discord.changes.until(lambda: closed(discord.answer(missed)))
            assert answer.has_button("retry") is is_answered
            assert ("Please ask again" in answer.content) is not is_answered
            await discord.repeat()
            after = await discord.say("And dogs? [[tokens 5]]", channel)
            await discord.changes.until(lambda: closed(discord.answer(after)))
            assert len(discord.posts.answers_to([missed])) == 1
            assert len(discord.posts.answers_to([first])) == 1
