"""The same through the real process: ``lantern run`` with a gateway event, discord.py and HTTP.

A double of Discord and the clock are here; Lantern and the simulated host are processes of their
own. The double answers at once and is on loopback, so that what is measured is Lantern's: a REST
call is counted from the moment it has come in. CPU is of Lantern's process, all threads.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

from bench.first_text import LIMIT_MS, TEXT, WORD, bare_s
from bench.house import Studio, studio
from bench.startup import DOUBLES, MEMORY_MB, cpu_s, memory_mb
from bench.table import Row, at_most, told
from bot.inference.streams import Inference

if TYPE_CHECKING:
    # Found once the doubles' folder is on the path, as for the tests.
    from discord_double import DiscordDouble
    from lantern_child import Child

STARTS = 5
ROUNDS = 9
FIRST_TOKEN_S = 0.25
AT_ONCE, TOKENS_PER_S = 64, 30
FEW, MANY = 8, 188
CROWDS = 2
TURNS = 100
TOKEN_US = 80.0


@dataclass(frozen=True, slots=True)
class _Running:
    """A Lantern that is connected, and those it is connected to."""

    discord: "DiscordDouble"
    child: "Child"
    host: Studio

    async def ask(self, text: str, channel: str) -> float:
        """Somebody mentions the bot; when the end of its answer was shown."""
        asked = await self.discord.say(text, channel)

        def is_answered() -> bool:
            post = self.discord.answer(asked)
            return post is not None and post.has_button("retry")

        await self.discord.changes.until(is_answered, 60.0)
        return asyncio.get_running_loop().time()


def run() -> list[Row]:
    """First text, tokens with their edits, the start until commands answer, memory after use."""
    if sys.platform != "linux":  # nobody else has /proc
        return []
    sys.path.insert(0, str(DOUBLES))
    # Of a simulated host the first token takes as long as any other.
    with studio(tokens_per_s=1 / FIRST_TOKEN_S) as host:
        starts = asyncio.run(_starts(host))
        rows = asyncio.run(_on(host, _first_texts))
    # Streams beside each other share a simulated host: each has its speed over the root of n.
    with studio(parallel=AT_ONCE, tokens_per_s=TOKENS_PER_S * AT_ONCE**0.5) as host:
        rows += asyncio.run(_on(host, _crowd))
    with studio() as host:
        rows += asyncio.run(_on(host, _memory))
    return [told("process start until a command is answered", median(starts), "s"), *rows]


async def _on(host: Studio, measure: Callable[[_Running], Awaitable[list[Row]]]) -> list[Row]:
    async with _running(host) as running:
        await running.child.until_serving()
        # The model is in memory, and what is imported on first use is there.
        await running.ask("[[tokens 1]] Warm up.", _channels()[0])
        return await measure(running)


@asynccontextmanager
async def _running(host: Studio) -> AsyncGenerator[_Running]:
    from discord_double import DiscordDouble
    from lantern_child import child_environment, lantern_child

    with tempfile.TemporaryDirectory(prefix="lantern-bench-") as folder:
        async with DiscordDouble() as discord:
            discord.gateway.channels = AT_ONCE
            # Everybody here is one person, who may ask as often as they like.
            rate = {"LANTERN_DISCORD__RATE_LIMIT": "100000/min"}
            environment = child_environment(discord.url, [host.address], **rate)
            async with lantern_child(Path(folder), environment) as child:
                yield _Running(discord, child, host)


def _channels() -> tuple[str, ...]:
    from discord_shapes import channel_ids

    return channel_ids(AT_ONCE)


async def _starts(host: Studio) -> list[float]:
    """Seconds from the process's start to its answer to a command given as soon as it can be."""
    took: list[float] = []
    for _ in range(STARTS):
        begun = asyncio.get_running_loop().time()
        async with _running(host) as running:
            await running.discord.until_ready()
            await running.discord.command("help", {})
            answer = running.discord.calls_to("callback")
            await running.discord.changes.until(answer)
            took.append(answer()[0].at - begun)
    return took


async def _first_texts(running: _Running) -> list[Row]:
    """Beyond the bare request's first token, to the call that shows the first word."""
    loop, discord = asyncio.get_running_loop(), running.discord

    async def by_message(number: int) -> None:
        await discord.say(TEXT, _channels()[number])

    async def by_command(number: int) -> None:
        await discord.command("chat", {"message": TEXT})

    rows: list[Row] = []
    async with Inference() as inference:
        await bare_s(inference, running.host)
        for name, ask in (("a message", by_message), ("a command", by_command)):
            own: list[float] = []
            for number in range(ROUNDS):
                without = await bare_s(inference, running.host)
                discord.calls.clear()
                begun = loop.time()
                await ask(number)
                shown = await discord.changes.until(
                    lambda: [c for c in discord.calls if WORD in str(c.body.get("content"))]
                )
                own.append(shown[0].at - begun - without)
                await discord.changes.until(
                    lambda: all(post.has_button("retry") for post in tuple(discord.posts)[-1:])
                )
            scene = f"{name}, first token after {FIRST_TOKEN_S:g} s: first text beyond it"
            rows.append(at_most(scene, median(own) * 1e3, "ms", LIMIT_MS))
    return rows


async def _crowd(running: _Running) -> list[Row]:
    """The slope between short and long answers: what turns themselves cost is left out."""

    async def spent_s(tokens: int) -> float:
        before, edits = cpu_s(running.child.process.pid), len(running.discord.calls)
        async with asyncio.TaskGroup() as tasks:
            for channel in _channels():
                tasks.create_task(running.ask(f"[[tokens {tokens}]] Why?", channel))
        calls.append(len(running.discord.calls) - edits)
        return cpu_s(running.child.process.pid) - before

    calls: list[int] = []
    await spent_s(FEW)
    calls.clear()
    slopes = [await spent_s(MANY) - await spent_s(FEW) for _ in range(CROWDS)]
    tokens = AT_ONCE * (MANY - FEW)
    crowd = f"{AT_ONCE} answers of {TOKENS_PER_S} tokens/s"
    edits = mean(calls[::2]) - mean(calls[1::2])
    return [
        at_most(
            f"CPU per token with its edits, {crowd}", mean(slopes) / tokens * 1e6, "us", TOKEN_US
        ),
        told("calls to Discord for a thousand of those tokens", edits / tokens * 1e3, ""),
    ]


async def _memory(running: _Running) -> list[Row]:
    for number in range(TURNS):
        await running.ask("[[tokens 30]] Why?", _channels()[number % AT_ONCE])
    used = memory_mb(running.child.process.pid)
    return [at_most(f"memory after {TURNS} turns", used, "MB", MEMORY_MB)]
