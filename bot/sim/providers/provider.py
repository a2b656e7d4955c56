"""A simulated cloud provider on a real port of this machine."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self, TextIO

from aiohttp import web

from bot.sim.providers.anthropic import AnthropicWire
from bot.sim.providers.config import SimProviderConfig
from bot.sim.providers.faults import ProviderFaults
from bot.sim.providers.generic import GenericWire
from bot.sim.providers.journal import ProviderJournal
from bot.sim.providers.openai import OpenAiWire
from bot.sim.providers.serving import Serving
from bot.sim.providers.wire import ProviderWire
from bot.sim.providers.zai import CODING_PREFIX, ZaiWire

_LOOPBACK = "127.0.0.1"
_MAX_BODY_BYTES = 64 * 1024 * 1024


class SimProvider:
    """Use as `async with SimProvider(config) as provider:`; inside, it may stop and start."""

    def __init__(
        self, config: SimProviderConfig, *, utcnow: Callable[[], datetime] | None = None
    ) -> None:
        """Make a provider that does not listen yet.

        Args:
            config: what it is.
            utcnow: aware wall time for its dates; None is a calendar of its own from 2026-01-01,
                which its `Date` header tells.
        """
        self.config = config
        self.faults = ProviderFaults()
        self.journal = ProviderJournal()
        self._wire = _wire(config)
        self._serving = Serving(config, self._wire, self.faults, self.journal, utcnow)
        self._port = config.port
        self._runner: web.AppRunner | None = None
        self._file: TextIO | None = None

    @property
    def root_url(self) -> str:
        """Scheme and address; the port is known once it was started."""
        return f"http://{_LOOPBACK}:{self._port}"

    @property
    def base_url(self) -> str:
        """What a client is given: up to and including the version."""
        return f"{self.root_url}{self._wire.prefix}"

    @property
    def coding_base_url(self) -> str:
        """Z.AI's endpoint for coding plans."""
        return f"{self.root_url}{CODING_PREFIX}"

    @property
    def key(self) -> str:
        """The one key it accepts; empty accepts anybody."""
        return self._serving.key

    @key.setter
    def key(self, key: str) -> None:
        self._serving.key = key

    @property
    def is_up(self) -> bool:
        """Whether it listens."""
        return self._runner is not None

    async def __aenter__(self) -> Self:
        path = self.config.journal_path
        if path is not None:
            self._file = await asyncio.to_thread(path.open, "a", encoding="utf-8")
            self.journal.write_to(self._file)
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        self.journal.write_to(None)
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    async def start(self) -> None:
        """Listen; after a `stop` on the same port."""
        if self._runner is not None:
            return
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_route("*", "/{anything:.*}", self._serving.serve)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.TCPSite(runner, _LOOPBACK, self._port).start()
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Go away: streams break and connections are refused."""
        runner, self._runner = self._runner, None
        if runner is not None:
            _cut_all(runner)
            await runner.cleanup()

    def kill(self) -> None:
        """Break every connection off at once; the provider itself goes on."""
        if self._runner is not None:
            _cut_all(self._runner)


def _wire(config: SimProviderConfig) -> ProviderWire:
    match config.wire:
        case "zai":
            return ZaiWire()
        case "openai":
            return OpenAiWire()
        case "anthropic":
            return AnthropicWire()
        case "generic":
            return GenericWire(config)


def _cut_all(runner: web.AppRunner) -> None:
    server = runner.server
    for connection in list(server.connections) if server is not None else ():
        if connection.transport is not None:
            connection.transport.abort()
