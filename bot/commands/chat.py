"""Plays the terminal chat: over the configured hosts, or over the demo's simulated ones."""

import asyncio
import io
import sys
from collections.abc import Mapping

from rich.console import Console

from bot.chat.lantern import Lantern
from bot.commands.demo import BANNER, TOUR, demo
from bot.commands.once import CHATS_BESIDE, built_from
from bot.process.stopping import on_stop
from bot.settings import Loaded
from bot.terminal.commands import complete
from bot.terminal.screen import Screen
from bot.terminal.script import Script
from bot.terminal.session import Extra, Session

HINT = "Type a message, or /help. Ctrl-C stops a reply, Ctrl-D leaves."

# As shells name the end by SIGINT and by SIGTERM.
INTERRUPTED, TERMINATED = 130, 143


async def play_chat(loaded: Loaded) -> int:
    """The chat over the configured hosts; gives the exit code.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    async with built_from(loaded, beside=CHATS_BESIDE) as built:
        return await _play(built, Screen(Console(highlight=False)), _piped(), {})


async def play_demo(*, tour: bool) -> int:
    """The chat over simulated hosts; where nobody types and no script comes, it plays a tour."""
    screen = Screen(Console(highlight=False))
    screen.line(BANNER, "bold yellow")
    async with demo(lambda words: screen.line(words, "dim")) as (built, extras):
        script = _piped()
        # A demo that is started by a program, without a word, still shows what it can.
        if tour or (script is not None and not await script.has_lines()):
            script = Script(io.StringIO(TOUR))
        return await _play(built, screen, script, extras)


def _piped() -> Script | None:
    """Standard input as a script; None where somebody types and reads."""
    return None if sys.stdin.isatty() and sys.stdout.isatty() else Script(sys.stdin)


async def _play(
    built: Lantern, screen: Screen, script: Script | None, extras: Mapping[str, Extra]
) -> int:
    """Plays a script, or without one what is typed; gives the exit code."""
    if script is not None:
        lines = script.lines()
    else:
        # Imported on first use: a script or a server never pays for it.
        from bot.terminal.keyboard import Keyboard

        names = tuple(extras)
        keyboard = Keyboard("you> ", lambda typed: complete(built.catalog, names, typed))
        lines = keyboard.lines()
        screen.line(HINT, "dim")
    session = Session(built, screen, extras)
    leaving = asyncio.timeout(None)
    code = INTERRUPTED

    def interrupt() -> None:
        if not session.interrupt():
            leaving.reschedule(0.0)

    def terminate() -> None:
        # Whoever ends the program from outside, a closed terminal for one, means all of it.
        nonlocal code
        code = TERMINATED
        session.interrupt()
        leaving.reschedule(0.0)

    try:
        async with leaving:
            # Each Ctrl-C stops what runs then, however many came before.
            with on_stop(interrupt, interrupt, terminate):
                failures = await session.run(lines, echoes=script is not None)
    except TimeoutError:
        if not leaving.expired():
            raise
        return code
    # A script that failed says so to whoever ran it; at a keyboard the failure was read.
    return 1 if failures and script is not None else 0
