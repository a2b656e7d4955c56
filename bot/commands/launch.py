"""Starts everything for a command: the event loop, the lock, and what ``app.py`` builds."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from rich.console import Console

from bot.app import Lantern, lantern, plan_from
from bot.process.lock import AlreadyRunning, instance_lock
from bot.settings import Loaded

SETTLE_S = 8.0
"""A command about hosts waits this long for the slowest of them to answer its first probe."""

LOOKS_BESIDE = (
    "Another Lantern is running on this database. This command owns nothing beside it: what that "
    "one loaded is called foreign here. To unload it, use /fleet in Discord or stop that one."
)
CHATS_BESIDE = (
    "Another Lantern uses this database: terminal chats on it share one conversation, and what "
    "that one loaded is called foreign here."
)

T = TypeVar("T")


def run_async(work: Coroutine[None, None, T]) -> T:
    """Runs a coroutine on the fastest event loop this machine has."""
    gc.enable()  # off since the start, see ``bot.__main__``
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        return runner.run(work)


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not made for Windows nor for every Python
        return None
    return uvloop.new_event_loop


@asynccontextmanager
async def built_from(
    loaded: Loaded,
    settle_s: float = SETTLE_S,
    beside: str = LOOKS_BESIDE,
    *,
    leaves_nothing: bool = False,
) -> AsyncGenerator[Lantern]:
    """Everything, with the hosts looked at once.

    Beside a running Lantern the lock is taken: then this process owns nothing and only asks.

    Args:
        loaded: the settings.
        settle_s: how long to wait for the hosts.
        beside: what is said beside a running Lantern.
        leaves_nothing: no database is made where there is none.
    """
    with ExitStack() as stack:
        if leaves_nothing and not loaded.database_path.exists():
            folder = stack.enter_context(
                TemporaryDirectory(prefix="lantern-", ignore_cleanup_errors=True)
            )
            plan = replace(plan_from(loaded, is_owner=False), database=Path(folder, "lantern.db"))
        else:
            plan = plan_from(loaded, is_owner=_takes_lock(stack, loaded.database_path, beside))
        async with lantern(plan) as built:
            await built.fleet.settled(settle_s)
            yield built


def _takes_lock(stack: ExitStack, database: Path, beside: str) -> bool:
    """Holds the lock as long as the stack; False, and said, where another Lantern has it."""
    try:
        stack.enter_context(instance_lock(database))
    except AlreadyRunning:
        Console(stderr=True, soft_wrap=True, highlight=False).print(beside, style="yellow")
        return False
    return True
