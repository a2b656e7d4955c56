"""The connection to one host: made when needed, rebuilt after any loss."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
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
    """Owns the clients of a host: the one in use, and those given up that still carry an act."""

    def __init__(self, config: HostConfig, http: httpx.AsyncClient, timeout_s: float) -> None:
        self._config = config
        self._http = http
        self._timeout_s = timeout_s
        self._client: HostClient | None = None
        self._connecting = asyncio.Lock()
        self._acts: Counter[HostClient] = Counter()
        """Loads and unloads under way on each client."""

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

    @asynccontextmanager
    async def act(self) -> AsyncGenerator[HostClient]:
        """A client for a load or an unload, open to the end of the block though it be dropped.

        Raises:
            HostUnreachable: there is no connection, and none could be made.
        """
        client = await self.connected()
        self._acts[client] += 1
        try:
            yield client
        finally:
            self._acts[client] -= 1
            if not self._acts[client]:
                del self._acts[client]
                if client is not self._client:
                    await client.close()

    async def drop(self, client: HostClient | None) -> None:
        """Gives up a client that is of no use any more; it is closed when no act is on it.

        A probe asks by REST too, and one bad answer there closed the sockets on which a load was
        running: the load was lost, its model came into memory with nobody owning it.
        """
        if client is None:
            return
        if self._client is client:
            self._client = None
        if client not in self._acts:
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
