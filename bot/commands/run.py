"""``lantern run``: the bot from start to drained end, told to whatever supervises it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress

import structlog

from bot.app import lantern, plan_from
from bot.chat.lantern import Lantern
from bot.chat.words import serving_text
from bot.commands.news import OwnerNews
from bot.commands.service import look_for_twins, signs_of_life, until_stopped
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import AccessRules, Circle
from bot.process.stopping import DRAIN_S, STOP_S
from bot.process.supervisor import FIRST_LOOK_S, Supervisor
from bot.settings import Loaded
from cogs.client import DiscordFace, DiscordRules

CLOSE_S = 4.0
"""The last edits get this long after the drain."""

# Discord gets this long to close the connection; a dead line would take half a minute.
GOODBYE_S = 2.0

_log = structlog.get_logger(__name__)


async def run_bot(loaded: Loaded, environ: Mapping[str, str], reread: Callable[[], Loaded]) -> int:
    """Serves until a stop signal, then drains; gives the exit code.

    Args:
        loaded: The settings.
        environ: The process's environment.
        reread: Reads the settings again, for a key that was changed meanwhile.

    Raises:
        ConfigError: Discord refuses the token.
        StoreUnavailable: the database cannot be opened.
    """

    async def play(supervisor: Supervisor, stop: asyncio.Event) -> None:
        news = OwnerNews()
        plan = plan_from(loaded, is_owner=True, reread=reread)
        async with AsyncExitStack() as stack:
            built = await stack.enter_async_context(lantern(plan, news.hear_host, news.hear))
            if loaded.settings.gateway.enabled:
                # The HTTP server is loaded only where it listens.
                from bot.commands.serve import gateway_rules, listening

                await stack.enter_async_context(listening(built, gateway_rules(loaded)))
            await _serve(loaded, built, supervisor, stop, news)

    return await until_stopped(loaded, environ, play)


async def _serve(
    loaded: Loaded,
    built: Lantern,
    supervisor: Supervisor,
    stop: asyncio.Event,
    news: OwnerNews,
) -> None:
    token = loaded.settings.discord.token
    assert token is not None, "missing_for_run was asked before"

    connected = asyncio.Event()
    settings = loaded.settings.discord
    rules = DiscordRules(
        doors=AccessRules(
            servers=_places(settings.allowed_guilds),
            channels=_places(settings.allowed_channels),
            people=frozenset(UserId(f"discord:{user}") for user in settings.allowed_users),
            roles=frozenset(settings.allowed_roles),
            blocked=Circle(
                frozenset(UserId(f"discord:{user}") for user in settings.blocked_users),
                frozenset(settings.blocked_roles),
            ),
            blocked_channels=_places(settings.blocked_channels),
            dms=settings.dms,
        ),
        rate=settings.rate_limit,
        admin_roles=frozenset(settings.admin_roles),
        conversation=settings.conversation,
        fresh_after_s=settings.fresh_after,
        answer_missed_s=settings.answer_missed,
        has_presence=settings.presence,
        has_warm_up=settings.warm_up,
        owner_channel=int(settings.owner_channel) if settings.owner_channel else None,
        on_ready=connected.set,
        here=built.place_settings.at,
    )
    discord = DiscordFace(built, rules)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(discord.serve(token.get_secret_value()), name="discord")
            watching = tasks.create_task(signs_of_life(supervisor, built), name="watchdog")
            announcing = tasks.create_task(_announce(built, supervisor, connected), name="ready")
            telling = tasks.create_task(news.tell(discord.tell_owners), name="owners' news")
            looking = tasks.create_task(look_for_twins(loaded), name="twins")
            showing = tasks.create_task(discord.keep_shown(), name="presence and boards")
            await stop.wait()
            _log.info("stopping", drain_s=DRAIN_S)
            supervisor.stopping(STOP_S)
            # Watched to the last: systemd would kill a Lantern that is silent while it drains.
            await _drain(built, discord)
            for task in (announcing, watching, telling, looking, showing, serving):
                task.cancel()
    # The command line words an error by its class, which a group of one would hide.
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from None
        raise


def _places(ids: Iterable[str]) -> frozenset[PlaceId]:
    return frozenset(PlaceId(f"discord:{number}") for number in ids)


async def _announce(built: Lantern, supervisor: Supervisor, connected: asyncio.Event) -> None:
    """Says that Lantern is ready: connected, and every host looked at once."""
    await connected.wait()
    # Said at once it was "0 of 2 hosts up" at every start, and its readers looked for a fault.
    await built.fleet.settled(FIRST_LOOK_S)
    hosts = built.catalog.hosts()
    _log.info("ready", hosts=len(hosts), hosts_up=sum(host.is_serving for host in hosts))
    supervisor.ready(serving_text(hosts))


async def _drain(built: Lantern, discord: DiscordFace) -> None:
    """Lets what runs come to its end; what does not in time is closed at the next start."""
    # Side by side: one behind the other they would take longer than whoever stops us waits.
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_drain_gateway(built), name="gateway's drain")
        try:
            await built.turns.drain(DRAIN_S)
        except TimeoutError:
            _log.warning("turns left unfinished")
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S + GOODBYE_S):
                await discord.close(CLOSE_S)


async def _drain_gateway(built: Lantern) -> None:
    try:
        await built.relaying.drain(DRAIN_S)
    except TimeoutError:
        _log.warning("requests left unfinished")
