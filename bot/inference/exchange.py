"""The HTTP side of a stream: send, wait, read, and let go at once."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from http import HTTPStatus

import aiohttp

from bot.domain.chat import Endpoint, InferenceRequest
from bot.domain.errors import BotError, FailureKind
from bot.inference.base import Call, DeltaReader
from bot.inference.deltas import DeltaStream
from bot.inference.errors import Answered, classify
from bot.inference.faults import Verdict, to_error

Build = Callable[[Endpoint, InferenceRequest], Call]

_MAX_ERROR_BYTES = 64 * 1024
_ERROR_BODY_S = 10.0

_HEADERS = {
    "Accept": "text/event-stream",
    # A compressed stream is held back until a block is full.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}


class Exchange:
    """Carries requests over one shared session."""

    def __init__(
        self, session: aiohttp.ClientSession, utcnow: Callable[[], datetime] | None = None
    ) -> None:
        self._session = session
        self._utcnow = utcnow

    @asynccontextmanager
    async def open(
        self, endpoint: Endpoint, request: InferenceRequest, build: Build, reader: DeltaReader
    ) -> AsyncGenerator[DeltaStream]:
        """Send one request and hand out its deltas; leaving the block closes the response.

        Raises:
            BotError: nothing answered, or an error came instead of a stream.
        """
        loop = asyncio.get_running_loop()
        call = await _build(build, endpoint, request)
        due = loop.time() + endpoint.first_token_s
        prompt = [message.text for message in request.messages]

        def error(verdict: Verdict) -> BotError:
            return to_error(verdict, endpoint, prompt)

        try:
            response = await self._send(endpoint, call, due)
        except (aiohttp.ClientError, OSError) as err:
            raise error(_unsent(err, endpoint)) from err
        try:
            if not _is_stream(response):
                answered = Answered(response.status, await _body(response, due), _headers(response))
                now = self._utcnow() if self._utcnow else None
                raise error(classify(answered, is_local=endpoint.is_local, now=now))
            stream = DeltaStream(response, reader, endpoint, due, error)
            try:
                yield stream
            finally:
                stream.close()
        finally:
            response.close()

    async def _send(self, endpoint: Endpoint, call: Call, due: float) -> aiohttp.ClientResponse:
        async with asyncio.timeout_at(due):
            return await self._session.post(
                call.url,
                data=call.body,
                headers={**_HEADERS, **call.headers},
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=endpoint.connect_s, sock_connect=endpoint.connect_s
                ),
                # A redirected POST becomes a GET and may carry the key to another host.
                allow_redirects=False,
                raise_for_status=False,
            )


async def _build(build: Build, endpoint: Endpoint, request: InferenceRequest) -> Call:
    if any(message.images for message in request.messages):
        return await asyncio.to_thread(build, endpoint, request)
    return build(endpoint, request)


def _unsent(err: Exception, endpoint: Endpoint) -> Verdict:
    match err:
        case aiohttp.ServerTimeoutError():
            return Verdict(FailureKind.CONNECT, f"no connection within {endpoint.connect_s:g} s")
        case TimeoutError():
            return Verdict(FailureKind.TIMEOUT, f"silent for {endpoint.first_token_s:g} s")
        case aiohttp.ClientConnectorCertificateError():
            return Verdict(FailureKind.CONNECT, "its certificate is not valid")
        case aiohttp.ClientConnectorError():
            return Verdict(FailureKind.CONNECT, _words(err.os_error))
        case aiohttp.ClientResponseError():
            return Verdict(FailureKind.GARBAGE, "it does not speak HTTP")
        case aiohttp.InvalidURL():
            return Verdict(FailureKind.CONNECT, "its address is no URL")
        case _:
            return Verdict(FailureKind.CUT, "the connection broke before the answer began")


def _words(err: OSError) -> str:
    match err:
        case ConnectionRefusedError():
            return "connection refused"
        case ssl.SSLError():
            return "no TLS connection"
        case socket.gaierror():
            return "no machine of that name"
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return "no route to it"
        case _:
            return "no connection"


def _is_stream(response: aiohttp.ClientResponse) -> bool:
    if response.status != HTTPStatus.OK:
        return False
    return not any(word in response.content_type for word in ("json", "html"))


async def _body(response: aiohttp.ClientResponse, due: float) -> bytes:
    body = bytearray()
    due = min(due, asyncio.get_running_loop().time() + _ERROR_BODY_S)
    # Without the body the status alone tells enough.
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout_at(due):
            while len(body) < _MAX_ERROR_BYTES and (data := await response.content.readany()):
                body += data
    return bytes(body[:_MAX_ERROR_BYTES])


def _headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
