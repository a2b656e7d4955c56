"""One client's connection: how long it may take to ask, and what it is told when it cannot."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong

from bot.gateway.errors import Problem, problem_of

EXPECTS = web.RequestKey("lantern_expects", str)
"""The ``Expect`` header, taken out of the request so that nothing is answered to it too soon."""

BODY_S = web.AppKey("lantern_body_s", float)

SERVER = "Lantern"
"""Told instead of the versions of Python and aiohttp, which help nobody but an attacker."""

Respond = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long a client may take; seconds."""

    header_s: float = 10.0
    """From its connection to the end of its first request's headers."""
    body_s: float = 30.0
    idle_s: float = 180.0
    """Between two requests. Longer than a reverse proxy keeps its own end, which would otherwise
    send a request into a connection that is just being closed: Caddy two minutes, nginx one."""
    lingering_s: float = 10.0
    """What is still being sent behind a refusal is read and dropped for so long; closed at once,
    the client would find a broken connection instead of the answer."""


USUAL = ConnectionLimits()


class ClientConnection(web.RequestHandler):
    """aiohttp's connection, cut where no request comes, and without its pages of text."""

    def __init__(self, server: web.Server, limits: ConnectionLimits) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # pyright: ignore[reportArgumentType]  # what switches it off
            keepalive_timeout=limits.idle_s,
            lingering_time=limits.lingering_s,
            # A packed body is refused; unpacked while it is dropped, it would cost all the same.
            auto_decompress=False,
        )
        self._header_s = limits.header_s
        self._cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the first request, but not for ever: aiohttp itself has no limit for it."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._cut = loop.call_later(self._header_s, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is left to be cut."""
        self.heard()
        super().connection_lost(exc)

    def heard(self) -> None:
        """A request came, whole or broken; from the next one on the idle limit counts."""
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser refused, or what broke outside every handler, as any other error."""
        self.heard()
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("nothing more can be said here") from exc
        number = secrets.token_hex(8)
        if status >= 500:
            _log.error("request broke", request=number, exc_info=exc)
            problem = problem_of(exc or RuntimeError(message))
        elif isinstance(exc, LineTooLong):
            words = "The address or a header is longer than 8 KB."
            problem = Problem(431, words, "request_too_large")
        else:
            # aiohttp's own words show the bytes it tripped over, and so whoever else's they are.
            words = (
                "The request is not valid HTTP: it needs one Host, 128 headers at most, and the "
                "length of its body told in one way."
            )
            problem = Problem(400, words)
        answer = problem.answer()
        answer.headers.update({"x-request-id": number, "Server": SERVER})
        answer.force_close()
        return answer


def connections(server: web.Server, limits: ConnectionLimits) -> Callable[[], asyncio.Protocol]:
    """Makes the connections of a server, for ``loop.create_server``."""
    answering: Respond = server.request_handler

    async def begin(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, ClientConnection), "made below, and nowhere else"
        connection.heard()
        expects = request.headers.get(hdrs.EXPECT)
        if expects is None:
            return await answering(request)
        # aiohttp would call for the body before anybody looked at the key.
        headers = request.headers.copy()
        headers.popall(hdrs.EXPECT)
        quiet = request.clone(headers=headers)
        quiet[EXPECTS] = expects
        response = await answering(quiet)
        # aiohttp would do so by the request that no route was found for, and leave headers out.
        await response.prepare(quiet)
        return response

    server.request_handler = begin
    return lambda: ClientConnection(server, limits)
