"""Connections that answer short calls with what a test says, without a socket."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from bot.fleet.rest import RestApi
from bot.inference.exchange import ConnectionPool, Exchange
from bot.inference.wire import Call

Answer = Callable[[Call], tuple[int, object]]
"""Status, and JSON to be written or bytes as they are; or it raises."""


class Answering(ConnectionPool):
    """Feeds each exchange what the test answers."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    @asynccontextmanager
    async def exchanged(
        self, exchange: Exchange, call: Call, connect_s: float, due: float
    ) -> AsyncGenerator[None]:
        status, told = self._answer(call)
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        head = f"HTTP/1.1 {status} Any\r\nContent-Length: {len(body)}\r\n\r\n"
        exchange.data_received(head.encode() + body)
        yield


def api(answer: Answer, token: str | None = None) -> RestApi:
    """Short calls that are answered so."""
    return RestApi(Answering(answer), "studio:1234", token)


def always(status: int, told: object = b"") -> Answer:
    """The same for every call."""
    return lambda _: (status, told)
