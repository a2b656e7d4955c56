"""WebSockets as the LAN needs them: plain, direct, and of bounded size."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpcore
import httpx
import wsproto.events
from httpx_ws import AsyncWebSocketSession, aconnect_ws

from bot.fleet.rest import MOST_BYTES


def plain_http() -> httpx.AsyncClient:
    """An HTTP client that neither reads certificates nor obeys a proxy of the environment."""
    return httpx.AsyncClient(trust_env=False, verify=False)  # noqa: S501  # no TLS is spoken here


class _BoundedSession(AsyncWebSocketSession):
    """A socket that breaks off when more than any listing takes came without a message read."""

    _unread = 0

    async def receive(self, timeout: float | None = None) -> wsproto.events.Event:
        event = await super().receive(timeout)
        self._unread = 0
        return event

    # Private: nothing public bounds a message that comes in pieces.
    async def _read_stream(self, max_bytes: int) -> bytes:
        data = await super()._read_stream(max_bytes)
        self._unread += len(data)
        if self._unread > MOST_BYTES:
            raise httpcore.ReadError("a message without an end")
        return data


@asynccontextmanager
async def connect_plainly(url: str) -> AsyncGenerator[AsyncWebSocketSession]:
    """Opens one WebSocket, as the SDK does, but for the LAN.

    Left alone, the SDK makes an HTTP client with httpx's defaults for each of its sockets: each
    reads the system's certificates (40 ms of a standing loop, six times per host), though it speaks
    no TLS, and obeys a proxy of the environment, which the LAN is not behind.
    """
    async with (
        plain_http() as http,
        aconnect_ws(url, http, session_class=_BoundedSession) as socket,
    ):
        yield socket
