"""An HTTP client for short calls on the LAN, on the connections that answers come by."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from typing import cast

import httpx

from bot.domain.errors import FailureKind
from bot.inference.exchange import ConnectionPool, Exchange
from bot.inference.wire import Call, Method, WireFault

CALL_S = 10.0
MOST_BYTES = 32 * 1024 * 1024
"""More than any listing takes: what a host that never ends may put into memory."""

_SENT = ("authorization", "content-type")
"""Of the headers httpx makes; packing, which it would ask for, is for lines slower than a LAN."""


def lan_http() -> httpx.AsyncClient:
    """An HTTP client for short calls on the LAN.

    ``trust_env`` is off: a proxy from the environment must not stand between Lantern and the LAN.
    """
    return httpx.AsyncClient(trust_env=False, transport=_Transport(), timeout=CALL_S)


class _Transport(httpx.AsyncBaseTransport):
    """Carries requests by ``ConnectionPool``.

    httpx's own took two thirds of each call's CPU, and in ten hosts' first probes the event loop
    stood still for 50 ms more; it also loads fifty modules.
    """

    def __init__(self) -> None:
        self._pool = ConnectionPool()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        times: dict[str, float | None] = request.extensions["timeout"]
        connect_s, read_s = (
            math.inf if seconds is None else seconds
            for seconds in (times["connect"], times["read"])
        )
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        method = cast(Method, request.method)
        is_act = method != "GET"
        call = Call(str(request.url), headers, request.content, method=method, is_act=is_act)
        exchange, now = Exchange(MOST_BYTES), asyncio.get_running_loop().time()
        with _in_words_of_httpx():
            done = await self._pool.sent(exchange, call, connect_s, now + connect_s + read_s)
        stream = _Body(exchange, read_s, done)
        told = list(exchange.headers.items())
        return httpx.Response(exchange.status, headers=told, stream=stream)

    async def aclose(self) -> None:
        self._pool.close()


class _Body(httpx.AsyncByteStream):
    """What is left to read of an answer, each part within so many seconds."""

    def __init__(self, exchange: Exchange, read_s: float, done: Callable[[], None]) -> None:
        self._exchange = exchange
        self._read_s = read_s
        self._done = done

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _in_words_of_httpx():
            while data := await self._exchange.read(self._due):
                yield data

    def _due(self) -> float:
        return self._exchange.heard_at + self._read_s

    async def aclose(self) -> None:
        self._done()


@contextmanager
def _in_words_of_httpx() -> Generator[None]:
    """Around what the pool does.

    Raises:
        httpx.TransportError: it failed; beneath it stands the system's own error.
    """
    try:
        yield
    except TimeoutError as error:
        raise httpx.ReadTimeout("late") from error
    except OSError as error:
        raise httpx.ReadError("cut") from error
    except WireFault as fault:
        if fault.verdict.kind is not FailureKind.CONNECT:
            raise httpx.RemoteProtocolError(fault.verdict.reason) from fault
        cause = fault.__cause__
        kind = httpx.ConnectTimeout if isinstance(cause, TimeoutError) else httpx.ConnectError
        raise kind(fault.verdict.reason) from cause
