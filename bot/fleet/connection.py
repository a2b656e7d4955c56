"""The connection to one host: made when needed, rebuilt after any loss."""

import asyncio
import importlib
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import httpx
import structlog

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.hosts import HostConfig
from bot.fleet.client import HostClient
from bot.fleet.rest import RestApi, richest_rest

SOCKET_SHARE = 0.6
"""Part of the deadline the sockets may use, so that REST has its turn too."""
CONNECT_SHARE = 0.25
"""Part of the deadline REST may wait to be let in: a machine asleep is told from one that hangs."""

Connect = Callable[[HostConfig, httpx.AsyncClient, float], Awaitable[HostClient]]
"""Makes a client of a host within so many seconds; raises ``HostUnreachable``, or may take longer.
"""

T = TypeVar("T")

_SDK = "bot.fleet.lmstudio"
_log = structlog.get_logger(__name__)


async def connect(config: HostConfig, http: httpx.AsyncClient, timeout_s: float) -> HostClient:
    """A client for the richest interface a host has: the SDK's sockets, then REST.

    Raises:
        HostUnreachable: neither its sockets nor its REST serve us.
    """
    # In a thread: the SDK takes long to import and the bot must not stand still. One whose import
    # is under way for another host has no such name yet.
    if not hasattr(sys.modules.get(_SDK), "connect_socket"):
        await asyncio.to_thread(importlib.import_module, _SDK)
    from bot.fleet.lmstudio import connect_socket

    rest = RestApi(http, config.address, config.token, timeout_s * CONNECT_SHARE)
    try:
        async with asyncio.timeout(timeout_s * SOCKET_SHARE):
            return await connect_socket(config, rest)
    except (TimeoutError, HostUnreachable):
        # Whatever closed the sockets, REST may be open, and says in plainer words what is wrong.
        return await richest_rest(rest)


class Connection:
    """Owns the clients of a host: the one in use, and those given up that still carry an act."""

    def __init__(
        self,
        config: HostConfig,
        http: httpx.AsyncClient,
        timeout_s: float,
        connect: Connect = connect,
    ) -> None:
        self._config = config
        self._connect = connect
        self._http = http
        self._timeout_s = timeout_s
        self.client: HostClient | None = None
        """The one in use."""
        self._connecting = asyncio.Lock()
        self._acts: Counter[HostClient] = Counter()
        """Loads and unloads under way on each client."""

    async def connected(self) -> HostClient:
        """The client there is, else a new one.

        Raises:
            HostUnreachable: none could be made in time.
        """
        # Two who come at once would open two sets of sockets, one of them owned by nobody.
        async with self._connecting:
            if self.client is None:
                async with self.within(self._timeout_s):
                    self.client = await self._connect(self._config, self._http, self._timeout_s)
            return self.client

    async def ask(self, question: Callable[[HostClient], Awaitable[T]]) -> T:
        """Asks something harmless; a connection gone stale (the host slept) is rebuilt once.

        Raises:
            HostUnreachable: the host is lost, or does not answer.
        """
        client = await self.connected()
        try:
            return await question(client)
        except HostUnreachable as error:
            # Whoever hung once would hang again, for another whole deadline.
            if error.kind is FailureKind.TIMEOUT:
                raise
        # The SDK never reconnects: after a computer slept, every call on the old client fails for
        # good (LM Studio's tracker, bug 907), so a new one is made.
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
                if client is not self.client:
                    await client.close()

    async def drop(self, client: HostClient | None = None) -> None:
        """Gives up a client, or the one in use; it is closed when no act is on it.

        A probe asks by REST too, and one bad answer there closed the sockets on which a load was
        running: the load was lost, its model came into memory with nobody owning it.
        """
        client = client or self.client
        if client is None:
            return
        if self.client is client:
            self.client = None
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

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncGenerator[asyncio.Timeout]:
        """Around whatever the host must answer within some seconds.

        Raises:
            HostUnreachable: it did not.
        """
        # The SDK's async calls have no deadline: its keep-alive gives up on a dead peer after 60 s,
        # and never on one that answers pings and nothing else.
        try:
            async with asyncio.timeout(seconds) as limit:
                yield limit
        except TimeoutError as error:
            text = (
                f"{self._config.address} did not answer within {seconds:g} s"
                " (asleep, switched off, or hung)."
            )
            raise HostUnreachable(text, FailureKind.TIMEOUT) from error
