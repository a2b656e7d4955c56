"""Plays the terminal chat: over the configured hosts, or over the demo's simulated ones."""

import asyncio
import io
import sys
from collections.abc import Mapping

from rich.console import Console

from bot.app import Lantern
from bot.commands.demo import BANNER, TOUR, demo
from bot.process.stopping import on_stop
from bot.terminal.input import Input, KeyboardInput, ScriptInput
from bot.terminal.offers import complete
from bot.terminal.screen import Screen
from bot.terminal.session import Doors, Extra, Session

HINT = "Type a message, or /help. Ctrl-C stops a reply, Ctrl-D leaves."

INTERRUPTED, TERMINATED = 130, 143
"""As shells name the end by SIGINT and by SIGTERM."""


async def play_chat(built: Lantern) -> int:
    """The chat over the configured hosts; gives the exit code."""
    screen = Screen(Console(highlight=False))
    source = _input(built, {})
    if source.is_interactive:
        screen.dim(HINT)
    return await _play(built, screen, source, {})


async def play_demo(*, tour: bool) -> int:
    """The chat over simulated hosts; where nobody types and no script comes, it plays a tour."""
    screen = Screen(Console(highlight=False))
    screen.line(BANNER, "bold yellow")
    async with demo(screen.dim) as running:
        source = _input(running.lantern, running.extras)
        if tour or (isinstance(source, ScriptInput) and not await source.has_lines()):
            source = ScriptInput(io.StringIO(TOUR))
        if source.is_interactive:
            screen.dim(HINT)
        return await _play(running.lantern, screen, source, running.extras)


def _input(built: Lantern, extras: Mapping[str, Extra]) -> Input:
    """The keyboard when there is one, else standard input as a script."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        names = tuple(extras)
        return KeyboardInput("you> ", lambda typed: complete(built.catalog, names, typed))
    return ScriptInput(sys.stdin)


async def _play(built: Lantern, screen: Screen, source: Input, extras: Mapping[str, Extra]) -> int:
    doors = Doors(
        built.turns,
        built.switch,
        built.catalog,
        built.acts,
        built.tally,
        built.privacy,
        extras,
    )
    session = Session(doors, screen, source)
    leaving = asyncio.timeout(None)
    code = INTERRUPTED

    def interrupt() -> None:
        if not session.interrupt():
            leaving.reschedule(0.0)

    def terminate() -> None:
        nonlocal code
        code = TERMINATED
        session.interrupt()
        leaving.reschedule(0.0)

    try:
        async with leaving:
            # Each Ctrl-C stops what runs then, however many came before.
            with on_stop(interrupt, interrupt, terminate):
                failures = await session.run()
    except TimeoutError:
        if not leaving.expired():
            raise
        return code
    # A script that failed says so to whoever ran it; at a keyboard the failure was read.
    return 1 if failures and not source.is_interactive else 0
