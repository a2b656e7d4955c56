"""The connection to one host: made when needed, rebuilt after any loss."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import httpx
import structlog

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.hosts import HostConfig, Interface
from bot.fleet.client import HostClient
from bot.fleet.connect import connect

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Connection:
    """Owns the one client of a host; nothing it hands out outlives ``drop``."""

    def __init__(self, config: HostConfig, http: httpx.AsyncClient, timeout_s: float) -> None:
        self._config = config
        self._http = http
        self._timeout_s = timeout_s
        self._client: HostClient | None = None
        self._connecting = asyncio.Lock()

    @property
    def client(self) -> HostClient | None:
        """The connection there is; None when there is none."""
        return self._client

    @property
    def is_richest(self) -> bool:
        """Is it the best interface there could be?"""
        return self._client is not None and self._client.interface is Interface.SDK

    async def connected(self) -> HostClient:
        """The connection, made when there is none.

        Raises:
            HostUnreachable: it could not be made.
        """
        async with self._connecting:
            if self._client is None:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        self._client = await connect(self._config, self._http, self._timeout_s)
                except TimeoutError as error:
                    raise self.silent(self._timeout_s) from error
            return self._client

    async def ask(self, question: Callable[[HostClient], Awaitable[T]]) -> T:
        """Asks something harmless; a connection gone stale (the host slept) is rebuilt once.

        Raises:
            HostUnreachable: the host is lost, or does not answer.
        """
        client = await self.connected()
        try:
            return await question(client)
        except HostUnreachable as error:
            if error.kind is FailureKind.TIMEOUT:
                raise
        await self.drop(client)
        return await question(await self.connected())

    async def drop(self, client: HostClient | None) -> None:
        """Closes a connection that is of no use any more."""
        if client is None:
            return
        if self._client is client:
            self._client = None
        await client.close()

    @contextmanager
    def understood(self) -> Generator[None]:
        """Around each probe and act: no fault of ours in reading one host may end the others.

        Raises:
            HostUnreachable: anything broke that has no place here.
        """
        try:
            yield
        except (Unavailable, TimeoutError):
            raise
        except Exception as error:
            _log.exception("host not understood", host=self._config.name)
            text = f"{self._config.address} cannot be understood ({type(error).__name__})."
            raise HostUnreachable(text, FailureKind.GARBAGE) from error

    def silent(self, seconds: float) -> HostUnreachable:
        """The failure of a host that says nothing."""
        text = (
            f"{self._config.address} did not answer within {seconds:g} s"
            " (asleep, switched off, or hung)."
        )
        return HostUnreachable(text, FailureKind.TIMEOUT)
