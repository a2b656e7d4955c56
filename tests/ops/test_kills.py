"""Killed at any moment and started again, Lantern leaves no spinner and nobody untold.

A handful of kills by default, as many as ``LANTERN_KILLS`` says; ``LANTERN_SEED`` says which.
"""

import asyncio
import os
import random  # noqa: TID251  # it chooses moments, the same for one seed
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from discord_double import DiscordDouble
from discord_posts import Post
from discord_shapes import CHANNEL, PRIVATE
from lantern_child import Child, child_environment, lantern_child

from bot.sim.host import SimHost

pytestmark = [pytest.mark.ops, pytest.mark.slow]

EACH_S = 180.0
KILLS = int(os.environ.get("LANTERN_KILLS", "4"))
SEED = int(os.environ.get("LANTERN_SEED", "1"))

OPEN = """
SELECT (SELECT count(*) FROM turn WHERE status = 'running')
    + (SELECT count(*) FROM reply WHERE is_open) + (SELECT count(*) FROM question WHERE is_open)
"""


@dataclass(slots=True)
class Tally:
    """What became of the questions that were under way at kills."""

    kills: int = 0
    asked: int = 0
    spinners: list[str] = field(default_factory=list[str])
    untold: list[str] = field(default_factory=list[str])
    twice: list[str] = field(default_factory=list[str])
    unheard: int = 0
    """Messages that the dying process never read, where no history tells of them either."""
    lost_rows: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.asked} questions: {len(self.spinners)} spinners, "
            f"{len(self.untold)} untold, {len(self.twice)} told twice, {self.unheard} never heard, "
            f"{self.lost_rows} lost rows"
        )


def promises(post: Post) -> bool:
    return post.is_loading or any(map(post.has_button, ("stop", "cancel", "halt")))


def rows(folder: Path, query: str) -> set[str]:
    with closing(sqlite3.connect(folder / "lantern.db")) as connection:
        return {str(row[0]) for row in connection.execute(query)}


class Kills:
    """Asks, kills at a random moment, starts again and looks who was told what."""

    def __init__(self, discord: DiscordDouble, host: SimHost, folder: Path, seed: int) -> None:
        self.discord, self.folder = discord, folder
        self.environment = child_environment(discord.url, [host.address])
        self.random = random.Random(seed)
        self.tally = Tally()

    async def play(self, kills: int) -> Tally:
        asked: list[str] = []
        kept: set[str] = set()
        for turn in range(kills + 1):
            async with (
                asyncio.timeout(EACH_S),
                lantern_child(self.folder, self.environment) as child,
            ):
                await child.until_serving()
                await self.until_closed(child, asked)
                self.look(asked, kept)
                if turn == kills:
                    break
                asked = await self.ask()
                await asyncio.sleep(self.random.random() ** 2 * 1.5)
                await child.kill()
                self.tally.kills += 1
            kept = rows(self.folder, "SELECT id FROM turn")
            asked = self.hearable(asked)
        return self.tally

    def hearable(self, asked: list[str]) -> list[str]:
        """Those the next start can know of: all by the history, else what was noted."""
        if self.discord.may_read_history:
            return asked
        noted = rows(self.folder, "SELECT id FROM question")
        heard = [
            question for question in asked if question.startswith("token-") or question in noted
        ]
        self.tally.unheard += len(asked) - len(heard)
        return heard

    async def ask(self) -> list[str]:
        """Three questions by three ways; short, long and over several messages."""
        asked: list[str] = []
        for _ in range(3):
            text = f"What do cats eat? [[tokens {self.random.choice((3, 60, 600))}]]"
            match self.random.randrange(3):
                case 0:
                    asked.append(await self.discord.say(text, CHANNEL))
                case 1:
                    asked.append(await self.discord.say(text, PRIVATE))
                case _:
                    asked.append(await self.discord.command("chat", {"message": text}))
            await asyncio.sleep(self.random.choice((0.0, 0.0, 0.05, 0.2)))
        self.tally.asked += len(asked)
        return asked

    def told(self, question: str) -> Post | None:
        return self.discord.response(question) or next(iter(self.answers(question)), None)

    def answers(self, question: str) -> list[Post]:
        """First messages of answers; by the nonce where none may refer to its question."""
        posts = self.discord.posts
        return [p for p in posts if p.answers == question or p.nonce == f"{question}.0"]

    async def until_closed(self, child: Child, asked: list[str]) -> None:
        """Until nothing is left to close or, in vain, for a while."""

        def look() -> bool:
            # An interaction that got no response Discord itself has told of.
            mine = [post for question in asked if (post := self.told(question))]
            messages = [question for question in asked if not question.startswith("token-")]
            is_told = all(self.told(question) for question in messages)
            return is_told and not any(map(promises, mine)) and child.logged("ready") is not None

        try:
            await self.discord.changes.until(look, timeout_s=60.0)
            async with asyncio.timeout(60.0):
                # A database tells nobody that it changed.
                while rows(self.folder, OPEN) != {"0"}:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            posts = [(q, self.told(q)) for q in asked]
            left = rows(
                self.folder, "SELECT id || ' ' || ifnull(turn, '') FROM question WHERE is_open"
            )
            sys.stderr.write(f"{child.text}\n{posts}\n{left}\n")

    def look(self, asked: list[str], kept: set[str]) -> None:
        tally = self.tally
        tally.spinners += [post.content for post in self.discord.posts if promises(post)]
        for question in asked:
            if question.startswith("token-"):
                continue
            answers = self.answers(question)
            tally.untold += [question] if not any(post.content for post in answers) else []
            tally.twice += [question] if len(answers) > 1 else []
        tally.lost_rows += len(kept - rows(self.folder, "SELECT id FROM turn"))
        tally.lost_rows += rows(self.folder, OPEN) != {"0"}


@pytest.mark.longest(EACH_S * (KILLS + 1))
@pytest.mark.parametrize("may_read_history", [True, False])
async def test_killed_at_any_moment_nobody_is_left_untold(
    discord: DiscordDouble, host: SimHost, folder: Path, may_read_history: bool
) -> None:
    discord.may_read_history = may_read_history
    tally = await Kills(discord, host, folder, SEED).play(KILLS)
    sys.stdout.write(f"{tally}\n")
    assert tally.spinners == tally.untold == tally.twice == []
    assert tally.lost_rows == 0
