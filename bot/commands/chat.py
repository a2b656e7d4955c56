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

INTERRUPTED, TERMINATED = 130, 143
"""As shells name the end by SIGINT and by SIGTERM."""


async def play_chat(loaded: Loaded) -> int:
    """The chat over the configured hosts; gives the exit code.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    async with built_from(loaded, beside=CHATS_BESIDE) as built:
        return await _play(built, Screen(Console(highlight=False)), None, {})


async def play_demo(*, tour: bool) -> int:
    """The chat over simulated hosts; where nobody types and no script comes, it plays a tour."""
    screen = Screen(Console(highlight=False))
    screen.line(BANNER, "bold yellow")
    async with demo(lambda words: screen.line(words, "dim")) as (built, extras):
        script = None
        if tour or not _is_typed_at():
            script = Script(sys.stdin)
            if tour or not await script.has_lines():
                script = Script(io.StringIO(TOUR))
        return await _play(built, screen, script, extras)


def _is_typed_at() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


async def _play(
    built: Lantern, screen: Screen, script: Script | None, extras: Mapping[str, Extra]
) -> int:
    """Plays a script, or what is typed, or else what standard input holds."""
    if script is not None or not _is_typed_at():
        lines, is_typed = (script or Script(sys.stdin)).lines(), False
    else:
        from bot.terminal.keyboard import Keyboard  # a script or a server never pays for it

        names = tuple(extras)
        keyboard = Keyboard("you> ", lambda typed: complete(built.catalog, names, typed))
        lines, is_typed = keyboard.lines(), True
        screen.line(HINT, "dim")
    session = Session(built, screen, extras)
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
                failures = await session.run(lines, echoes=not is_typed)
    except TimeoutError:
        if not leaving.expired():
            raise
        return code
    # A script that failed says so to whoever ran it; at a keyboard the failure was read.
    return 1 if failures and not is_typed else 0
