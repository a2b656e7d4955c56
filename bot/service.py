"""``lantern run``: the bot from start to drained end, told to whatever supervises it."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from bot.app import Lantern, lantern, plan_from
from bot.domain.errors import StoreUnavailable
from bot.settings import Loaded
from bot.signals import on_stop
from bot.supervisor import Supervisor
from cogs.client import DiscordFace
from cogs.face import Face, FaceRules

DRAIN_S = 10.0
"""Running answers get this long after SIGTERM; below PM2's kill_timeout and systemd's stop."""

CLOSE_S = 4.0
"""The last edits get this long after the drain."""

_log = structlog.get_logger(__name__)


async def run_bot(loaded: Loaded, environ: Mapping[str, str]) -> int:
    """Serves until a stop signal, then drains; gives the exit code.

    Raises:
        ConfigError: Discord refuses the token.
        StoreUnavailable: the database cannot be opened.
    """
    supervisor = Supervisor(environ)
    stop = asyncio.Event()
    cancel = asyncio.timeout(None)
    try:
        async with cancel:
            with on_stop(stop.set, lambda: cancel.reschedule(0.0)):
                async with lantern(plan_from(loaded, is_owner=True)) as built:
                    await _serve(loaded, built, supervisor, stop)
    except TimeoutError:
        if not cancel.expired():
            raise
        _log.warning("stopped at once by a second signal")
        return 130
    _log.info("stopped")
    return 0


async def _serve(
    loaded: Loaded, built: Lantern, supervisor: Supervisor, stop: asyncio.Event
) -> None:
    token = loaded.settings.discord.token
    assert token is not None, "missing_for_run was asked before"

    def ready() -> None:
        hosts = built.board.hosts()
        up = sum(host.is_serving for host in hosts)
        _log.info("ready", hosts=len(hosts), hosts_up=up)
        supervisor.ready(f"serving; {up} of {len(hosts)} hosts up")

    discord = DiscordFace(_face(loaded, built, ready))
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(discord.serve(token.get_secret_value()), name="discord")
            watching = tasks.create_task(_watch(built, supervisor), name="watchdog")
            await stop.wait()
            _log.info("stopping", drain_s=DRAIN_S)
            supervisor.stopping(DRAIN_S + CLOSE_S)
            await built.turns.drain(DRAIN_S)
            await discord.close(CLOSE_S)
            watching.cancel()
            await serving
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from None
        raise


def _face(loaded: Loaded, built: Lantern, ready: Callable[[], None]) -> Face:
    settings = loaded.settings.discord
    return Face(
        turns=built.turns,
        switch=built.switch,
        board=built.board,
        acts=built.acts,
        replies=built.replies,
        notes=built.notes,
        rules=FaceRules(
            allowed_guilds=frozenset(settings.allowed_guilds),
            admin_roles=frozenset(settings.admin_roles),
            has_footer=settings.footer,
        ),
        on_ready=ready,
    )


async def _watch(built: Lantern, supervisor: Supervisor) -> None:
    """Says "alive" from the event loop, and only while the database answers."""
    every_s = supervisor.watchdog_every_s
    while every_s is not None:
        try:
            async with asyncio.timeout(every_s):
                await built.notes.get("alive")
            supervisor.alive()
        except (TimeoutError, StoreUnavailable) as error:
            _log.error("database does not answer", error=str(error))
        await asyncio.sleep(every_s)
