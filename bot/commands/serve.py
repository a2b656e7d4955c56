"""The gateway: alone by ``lantern serve``, beside Discord by ``lantern run``."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import structlog

from bot.app import lantern, plan_from, utcnow
from bot.chat.lantern import Lantern
from bot.chat.words import serving_text
from bot.commands.service import look_for_twins, signs_of_life, until_stopped
from bot.domain.errors import ConfigError
from bot.gateway.doors import DoorRules
from bot.gateway.server import GatewayRules, gateway
from bot.process.stopping import DRAIN_S, STOP_S
from bot.process.supervisor import FIRST_LOOK_S, Supervisor
from bot.settings import Loaded

_log = structlog.get_logger(__name__)


def gateway_rules(loaded: Loaded) -> GatewayRules:
    """The settings of the gateway as plain values."""
    settings = loaded.settings.gateway
    host, _, port = settings.listen.rpartition(":")
    return GatewayRules(
        doors=DoorRules(
            allow=tuple(map(ip_network, settings.allow)),
            trusted_proxies=tuple(map(ip_network, settings.trusted_proxies)),
            host_names=settings.host_names,
        ),
        host=host.strip("[]"),
        port=int(port),
        max_body=settings.max_body,
        cors_origins=frozenset(settings.cors_origins),
    )


@asynccontextmanager
async def listening(built: Lantern, rules: GatewayRules) -> AsyncGenerator[str]:
    """The gateway while the block runs; whoever leaves it has drained. Gives its base address.

    Raises:
        ConfigError: it cannot listen there, or nobody made a key for others than this machine.
    """
    async with gateway(built, rules, utcnow) as base:
        _log.info("gateway listens", address=base)
        yield base


@asynccontextmanager
async def listening_for_demo(built: Lantern) -> AsyncGenerator[str]:
    """The gateway for this machine alone, at its usual port, or at a free one where that is taken.

    Gives its base address.
    """
    async with AsyncExitStack() as stack:
        rules = GatewayRules(doors=DoorRules(allow=(ip_network("127.0.0.0/8"),)))
        try:
            base = await stack.enter_async_context(gateway(built, rules, utcnow))
        except ConfigError:
            base = await stack.enter_async_context(gateway(built, replace(rules, port=0), utcnow))
        yield base


async def serve(loaded: Loaded, environ: Mapping[str, str], reread: Callable[[], Loaded]) -> int:
    """Serves HTTP clients until a stop signal, then drains; gives the exit code.

    Args:
        loaded: The settings.
        environ: The process's environment.
        reread: Reads the settings again, for a key that was changed meanwhile.

    Raises:
        ConfigError: the gateway cannot listen.
        StoreUnavailable: the database cannot be opened.
    """

    async def play(supervisor: Supervisor, stop: asyncio.Event) -> None:
        # Not within the tasks: the command line words a ConfigError, and no group of one.
        async with (
            lantern(plan_from(loaded, is_owner=True, reread=reread)) as built,
            listening(built, gateway_rules(loaded)),
            asyncio.TaskGroup() as tasks,
        ):
            watching = tasks.create_task(signs_of_life(supervisor, built), name="watchdog")
            looking = tasks.create_task(look_for_twins(loaded), name="twins")
            await built.fleet.settled(FIRST_LOOK_S)
            _log.info("ready")
            supervisor.ready(serving_text(built.catalog.hosts()))
            await stop.wait()
            _log.info("stopping", drain_s=DRAIN_S)
            supervisor.stopping(STOP_S)
            try:
                await built.relaying.drain(DRAIN_S)
            except TimeoutError:
                _log.warning("requests left unfinished")
            watching.cancel()
            looking.cancel()

    return await until_stopped(loaded, environ, play)
