"""Plays the terminal chat: over the configured hosts, or over the demo's simulated ones."""

import asyncio
import io
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from rich.console import Console

from bot.chat.lantern import Lantern
from bot.commands.demo import BANNER, TOUR, demo
from bot.commands.once import CHATS_BESIDE, built_from
from bot.commands.serve import listening_for_demo
from bot.process.stopping import on_stop
from bot.settings import Loaded
from bot.terminal.commands import CommandForm, complete
from bot.terminal.screen import Screen
from bot.terminal.script import Script
from bot.terminal.session import PLACE, USER, Session

PROMPT = "you> "
HINT = "Type a message, or /help. Ctrl-C stops a reply, Ctrl-D leaves."

# As shells name the end by SIGINT and by SIGTERM.
INTERRUPTED, TERMINATED = 130, 143


async def play_chat(loaded: Loaded) -> int:
    """The chat over the configured hosts; gives the exit code.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    screen = Screen(Console(highlight=False))
    async with built_from(loaded, beside=CHATS_BESIDE) as built:
        return await _play(built, screen, _piped(screen), {})


async def play_demo(*, tour: bool) -> int:
    """The chat over simulated hosts; where nobody types and no script comes, it plays a tour."""
    screen = Screen(Console(highlight=False))
    screen.line(BANNER, "bold yellow")
    async with (
        demo(lambda words: screen.news(words, "dim")) as (built, extras),
        listening_for_demo(built) as base,
    ):
        screen.line(
            f"OpenAI-compatible for any client meanwhile: {base}/v1, its page: {base}/", "dim"
        )
        script = _piped(screen)
        # A demo that is started by a program, without a word, still shows what it can.
        is_silent = script is not None and not sys.stdin.isatty() and not await script.has_lines()
        if tour or is_silent:
            script = Script(io.StringIO(TOUR))
        return await _play(built, screen, script, extras)


def _piped(screen: Screen) -> Script | None:
    """Standard input as lines; None where somebody types and reads in one terminal."""
    if not sys.stdin.isatty():
        return Script(sys.stdin)
    if sys.stdout.isatty():
        return None
    # `lantern chat | tee log`: somebody types all the same, and waited for a prompt in vain.
    screen.line(HINT)
    return Script(sys.stdin, lambda: screen.piece(PROMPT, is_answer=False))


async def _play(
    built: Lantern, screen: Screen, script: Script | None, extras: Mapping[str, CommandForm]
) -> int:
    """Plays a script, or without one what is typed; gives the exit code."""
    is_typed = script is None or script.is_typed
    quiet: AbstractContextManager[None] = nullcontext()
    if script is not None:
        lines = script.lines()
    else:
        # Imported on first use: a script or a server never pays for it.
        from bot.terminal.keyboard import Keyboard, unechoed

        names = tuple(extras)
        options = partial(built.switch.options, PLACE, USER)
        keyboard = Keyboard(PROMPT, partial(complete, built.catalog, options, names, USER))
        lines, quiet = keyboard.lines(), unechoed()
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
            with on_stop(interrupt, interrupt, terminate), quiet:
                failures = await session.run(lines, echoes=not is_typed)
    except TimeoutError:
        if not leaving.expired():
            raise
        return code
    # A script that failed says so to whoever ran it; at a keyboard the failure was read.
    return 1 if failures and not is_typed else 0
