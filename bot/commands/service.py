"""The frame of ``run`` and ``serve``: warnings, signals, signs of life, the exit code."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog

from bot.chat.lantern import Lantern
from bot.chat.words import serving_text
from bot.commands.twins import tell_of_twins
from bot.process.lock import AlreadyRunning, instance_lock
from bot.process.stopping import STOP_S, Patience, on_stop
from bot.process.supervisor import Supervisor, keep_alive, life_sign_of
from bot.settings import Loaded

GUEST_EVERY_S = 0.2
"""So often a service looks whether the chat or command is over that holds its database."""
MORE_S = 30.0
"""For so long the supervisor is asked to wait on, at each of these looks."""

_log = structlog.get_logger(__name__)


@contextmanager
def owned(database: Path, environ: Mapping[str, str]) -> Generator[None]:
    """Holds the database for a service while the block runs; waits for a guest to leave it.

    An open chat had a service end as if another one ran, after which nothing started it any more.

    Raises:
        AlreadyRunning: another service holds it.
        ConfigError: no lock can be made there, or no database used.
    """
    supervisor, told = Supervisor(environ), None
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(instance_lock(database))
                break
            except AlreadyRunning as error:
                if error.guest is None:
                    raise
                guest = error.guest
            words = f"waiting for a chat or command on this database (process {guest}) to end"
            if told != guest:
                advice = "leave the chat (Ctrl-D), or end that process: this starts by itself then"
                _log.warning("database in use", reason=words, advice=advice)
                told = guest
            supervisor.waiting(words, MORE_S)
            time.sleep(GUEST_EVERY_S)
        yield


async def until_stopped(
    loaded: Loaded,
    environ: Mapping[str, str],
    play: Callable[[Supervisor, asyncio.Event], Awaitable[None]],
) -> int:
    """Plays a service until it has drained, or was not patient any more; gives the exit code.

    Args:
        loaded: The settings.
        environ: The process's environment.
        play: Serves, until the event tells that somebody asked to stop, and drains.
    """
    # Only `check` told of these, and whoever runs a service reads its log.
    for warning in loaded.warnings:
        _log.warning("set-up doubtful", warning=warning)
    supervisor = Supervisor(environ, life_sign=life_sign_of(loaded.database_path))
    async with Patience(STOP_S) as patience:
        with on_stop(patience.stop, patience.stop_at_once):
            await play(supervisor, patience.asked)
    if patience.is_over:
        _log.warning("stopped before everything was closed", code=patience.exit_code)
        return patience.exit_code
    _log.info("stopped")
    return 0


async def look_for_twins(loaded: Loaded) -> None:
    """Logs which hosts are one machine, beside a start that names would hold up for seconds."""
    addresses = [host.address for host in loaded.settings.hosts]
    await tell_of_twins(addresses, lambda words: _log.warning("set-up doubtful", warning=words))


def signs_of_life(supervisor: Supervisor, built: Lantern) -> Coroutine[None, None, None]:
    """Tells the supervisor, until cancelled, that Lantern lives."""
    # The write changes nothing: its answer says that the writer's thread lives.
    return keep_alive(
        supervisor,
        lambda: built.database.write(lambda _: None),
        lambda: serving_text(built.catalog.hosts()),
    )
