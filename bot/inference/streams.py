"""``Inference.open``: one request to one endpoint becomes a stream of deltas."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    suppress,
)
from dataclasses import replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Protocol, Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload

from bot.domain.chat import Endpoint, InferenceRequest, Usage
from bot.domain.errors import BotError, FailureKind
from bot.domain.events import Delta
from bot.inference.anthropic import AnthropicReader, messages_call
from bot.inference.deltas import DeltaStream
from bot.inference.errors import Answered, classify
from bot.inference.exchange import (
    KEEP_ALIVE_S,
    MOST_UNREAD_BYTES,
    ConnectionPool,
    Exchange,
    whole_chunks,
)
from bot.inference.openai import OpenAiReader, completions_call
from bot.inference.passing import Passing, whole_model
from bot.inference.pieces import estimate_prompt_tokens
from bot.inference.wire import Call, Verdict, WireFault, garbage, to_error

_MAX_ERROR_BYTES = 64 * 1024
_ERROR_BODY_S = 10.0

_HEADERS = {
    "Accept": "text/event-stream",
    # A compressed stream is held back until a block is full.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
_NO_STREAM = ("json", "html")
"""Under status 200: so LM Studio answers a path that it does not know, and HTML is what stands in
front of a broken server."""
_WHY: tuple[tuple[type[OSError], str], ...] = (
    (ConnectionRefusedError, "connection refused"),
    (ssl.SSLError, "no TLS connection"),
    (socket.gaierror, "no machine of that name"),
)
_WIRES = {
    "openai": (completions_call, OpenAiReader),
    "anthropic": (messages_call, AnthropicReader),
}


class Streams(Protocol):
    """What a turn asks of ``Inference``: a machine that is only reckoned with gives it as well."""

    def open(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """See ``Inference.open``."""
        ...


class Inference:
    """Speaks to any endpoint in its wire; entered by whoever relays, as it keeps connections."""

    def __init__(
        self, session: aiohttp.ClientSession, *, utcnow: Callable[[], datetime] | None = None
    ) -> None:
        """Use a shared session.

        Args:
            session: see `inference_session`; the caller closes it.
            utcnow: wall time for a ``retry-after`` that is a date, where the answer has no date.
        """
        self._session = session
        self._utcnow = utcnow
        self._pool = ConnectionPool()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.close()

    @asynccontextmanager
    async def open(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Send a request; iterate the deltas inside the block; leaving it stops the generation.

        It stops because the response is closed: over the SDK's sockets a host goes on generating
        after ``task.cancel()``, ``break`` or a timeout (docs/adr/0004).

        Errors before the answer begins are raised on entering, later ones from the iteration,
        after the deltas that came. A whole answer ends with exactly one `StreamEnd`, also when
        there was no text at all.

        Raises:
            HostUnreachable: the host did not answer, broke off, fell silent or sent garbage.
            Unavailable: any other failure, such as ``WRONG_MODEL``: the reply names a model the
                endpoint does not accept.
            Refused: the other side declined to answer.
        """
        build, reader = _WIRES[endpoint.wire]
        if request.verbatim is not None or any(message.images for message in request.messages):
            # Megabytes as base64 and JSON: the loop must not stand still for them.
            call = await asyncio.to_thread(build, endpoint, request)
        else:
            call = build(endpoint, request)
        due = asyncio.get_running_loop().time() + endpoint.first_token_s
        prompt = [message.text for message in request.messages]
        error = partial(to_error, endpoint=endpoint, prompt=prompt)
        call = replace(call, before_words=request.before_words)
        async with self._answered(endpoint, call, due, error) as response:
            reading = reader(endpoint, estimate_prompt_tokens(request.messages))
            tap = request.verbatim.tap if request.verbatim is not None else None
            stream = DeltaStream(response, reading, endpoint, due, error, tap)
            try:
                yield stream
            finally:
                stream.close()

    @asynccontextmanager
    async def relay(
        self,
        endpoint: Endpoint,
        path: str,
        body: bytes,
        passing: Passing,
        straight: Callable[[bytes], bool] = lambda _: False,
        heard: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Send a client's own request; iterate its answer's bytes as they may be passed on.

        Leaving the block stops the generation. Errors are raised as by ``open``, those of the
        stream after the bytes that came before them.

        Args:
            endpoint: Whom to ask, without TLS; its model is named in the body already.
            path: Below the endpoint's base, such as ``/chat/completions``.
            body: The request's JSON, asking for a stream.
            passing: Looks at what comes; the caller reads model, usage and end from it.
            straight: Is offered most reads as they came, in HTTP's chunks, while the iterating one
                waits for more; what it takes is not iterated.
            heard: Called for each read it took.
        """
        first_due = asyncio.get_running_loop().time() + endpoint.first_token_s

        def offered(data: bytes) -> bool:
            chunks = whole_chunks(data)
            changed = passing.straight(chunks) if chunks else None
            if changed is None or not straight(changed or data):
                return False
            passing.deltas += len(chunks)
            heard()
            return True

        exchange = Exchange(MOST_UNREAD_BYTES, offered)
        async with (
            self._exchanged(exchange, endpoint, path, body, first_due, _NO_STREAM),
            aclosing(_passed(exchange, passing, endpoint, first_due)) as chunks,
        ):
            yield chunks

    @asynccontextmanager
    async def _exchanged(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        path: str,
        body: bytes,
        due: float,
        wrong: tuple[str, ...],
    ) -> AsyncGenerator[None]:
        """A client's own request, once its answer has begun well, or its error.

        ``wrong`` are kinds of content that are no answer, though their status is 200.
        """
        headers = _HEADERS
        if endpoint.token:
            headers = {**_HEADERS, "Authorization": f"Bearer {endpoint.token}"}
        url = f"{endpoint.base_url.rstrip('/')}{path}"
        async with AsyncExitStack() as stack:
            try:
                sent = self._pool.exchanged(exchange, url, headers, body, endpoint.connect_s, due)
                await stack.enter_async_context(sent)
            except (OSError, ValueError) as err:
                raise to_error(_unsent(err, endpoint), endpoint) from err
            except WireFault as fault:
                raise to_error(fault.verdict, endpoint) from fault
            kind = exchange.headers.get("content-type", "")
            if exchange.status != HTTPStatus.OK or any(word in kind for word in wrong):
                raise to_error(await self._told(exchange, endpoint), endpoint)
            yield

    async def _told(self, exchange: Exchange, endpoint: Endpoint) -> Verdict:
        """What an answer says that is no stream."""
        told, due = bytearray(), asyncio.get_running_loop().time() + _ERROR_BODY_S
        # Without the body the status alone tells enough.
        with suppress(OSError, ValueError, WireFault):
            while len(told) < _MAX_ERROR_BYTES and (data := await exchange.read(lambda: due)):
                told += data
        answered = Answered(exchange.status, bytes(told[:_MAX_ERROR_BYTES]), exchange.headers)
        now = self._utcnow() if self._utcnow else None
        return classify(answered, is_local=endpoint.is_local, now=now)

    async def relay_whole(
        self, endpoint: Endpoint, path: str, body: bytes, most_bytes: int
    ) -> tuple[bytes, str, Usage]:
        """Send a client's own request that asks for no stream; gives body, model and usage.

        Raises:
            BotError: as ``open`` does; ``GARBAGE`` where the answer is larger than ``most_bytes``.
        """
        due = asyncio.get_running_loop().time() + endpoint.first_token_s
        exchange, answer = Exchange(most_bytes), bytearray()
        async with self._exchanged(exchange, endpoint, path, body, due, ("html",)):
            try:
                while data := await exchange.read(lambda: due):
                    answer += data
                    if len(answer) > most_bytes:
                        raise garbage("its answer is too large")
                model, usage = whole_model(bytes(answer))
                if endpoint.accepted_models and model not in endpoint.accepted_models:
                    raise WireFault(Verdict(FailureKind.WRONG_MODEL, model))
            except TimeoutError as err:
                raise to_error(Verdict(FailureKind.TIMEOUT, "it fell silent"), endpoint) from err
            except (OSError, ValueError) as err:
                raise to_error(Verdict(FailureKind.CUT, "the connection broke"), endpoint) from err
            except WireFault as fault:
                raise to_error(fault.verdict, endpoint) from fault
        return bytes(answer), model, usage

    @asynccontextmanager
    async def _answered(
        self,
        endpoint: Endpoint,
        call: Call,
        due: float,
        error: Callable[[Verdict], BotError],
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The answer to a request once it has begun well, or its error; closed at the end.

        ``due`` is one deadline for headers and first delta together: a host that loads the model
        just in time sends no byte at all, not even headers, until it is there.
        """
        try:
            response = await self._send(endpoint, call, due)
        except (aiohttp.ClientError, OSError, ValueError) as err:
            # Ours, raised before the first word: aiohttp tells it as a connection that broke.
            if isinstance(err.__cause__, BotError):
                raise err.__cause__ from err
            raise error(_unsent(err, endpoint)) from err
        try:
            is_told = any(word in response.content_type for word in _NO_STREAM)
            if response.status != HTTPStatus.OK or is_told:
                headers = {name.lower(): value for name, value in response.headers.items()}
                answered = Answered(response.status, await _body(response, due), headers)
                now = self._utcnow() if self._utcnow else None
                raise error(classify(answered, is_local=endpoint.is_local, now=now))
            yield response
        finally:
            response.close()

    async def _send(self, endpoint: Endpoint, call: Call, due: float) -> aiohttp.ClientResponse:
        async with asyncio.timeout_at(due):
            return await self._session.post(
                call.url,
                data=_Body(call),
                headers={**_HEADERS, **call.headers},
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=endpoint.connect_s, sock_connect=endpoint.connect_s
                ),
                # No total: an answer may take as long as it goes on saying something.
                # A redirected POST becomes a GET and may carry the key to another host.
                allow_redirects=False,
                raise_for_status=False,
            )


class _Body(BytesPayload):
    """A request's body that asks once more before its first byte leaves."""

    # Asked only before connecting, a mark set while names were looked up or TLS was made came too
    # late: the words of that one request left all the same.
    def __init__(self, call: Call) -> None:
        super().__init__(call.body, content_type="application/json")
        self._before_words = call.before_words

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if self._before_words is not None:
            await self._before_words()
        await super().write_with_length(writer, content_length)


def inference_session() -> aiohttp.ClientSession:
    """The session all streams share: no limit per host, no environment proxy, no cookies."""
    # aiohttp itself stops at a hundred connections: the next stream would wait without a word.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=KEEP_ALIVE_S),
        headers={"User-Agent": "lantern-bot"},
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


async def _passed(
    exchange: Exchange, passing: Passing, endpoint: Endpoint, first_due: float
) -> AsyncGenerator[bytes]:
    """What of an answer did not go straight on, as far as it may pass."""
    error = partial(to_error, endpoint=endpoint)

    def due() -> float:
        return exchange.heard_at + endpoint.idle_s if passing.has_begun else first_due

    data = b"-"
    while data and not passing.is_whole and not passing.fault:
        try:
            data = await exchange.read(due)
        except TimeoutError as err:
            kind = FailureKind.STALL if passing.has_begun else FailureKind.TIMEOUT
            raise error(Verdict(kind, "it fell silent")) from err
        except (OSError, ValueError) as err:
            raise error(Verdict(FailureKind.CUT, "the connection broke")) from err
        except WireFault as fault:
            raise error(fault.verdict) from fault
        if passable := passing.feed(data) if data else passing.close():
            yield passable
    if passing.fault:
        raise error(passing.fault)


def _unsent(err: Exception, endpoint: Endpoint) -> Verdict:
    """Why no answer began; a cause of ours is named, another library's words are not repeated."""
    kind, reason = FailureKind.CONNECT, "no connection"
    match err:
        case aiohttp.ServerTimeoutError():
            reason = f"no connection within {endpoint.connect_s:g} s"
        case TimeoutError():
            kind, reason = FailureKind.TIMEOUT, f"silent for {endpoint.first_token_s:g} s"
        case aiohttp.ClientConnectorCertificateError():
            reason = "its certificate is not valid"
        case (
            aiohttp.ClientConnectorError(
                os_error=OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH)
            )
            | OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH)
        ):
            reason = "no route to it"
        case aiohttp.ClientConnectorError(os_error=cause):
            reason = next((words for of, words in _WHY if isinstance(cause, of)), reason)
        case ConnectionRefusedError() | socket.gaierror():
            reason = next(words for of, words in _WHY if isinstance(err, of))
        case aiohttp.ClientResponseError():
            kind, reason = FailureKind.GARBAGE, "it does not speak HTTP"
        # A name that cannot be one of the internet's is no URL to the resolver either.
        case aiohttp.InvalidURL() | UnicodeError():
            reason = "its address is no URL"
        # Of all that a request's head says the key alone is not of our making. The certificate of
        # another machine is a ValueError as well.
        case ValueError() if not isinstance(err, OSError):
            kind, reason = FailureKind.AUTH, "it holds what no header may, such as a line break"
        case _:
            kind, reason = FailureKind.CUT, "the connection broke before the answer began"
    return Verdict(kind, reason)


async def _body(response: aiohttp.ClientResponse, due: float) -> bytes:
    body = bytearray()
    due = min(due, asyncio.get_running_loop().time() + _ERROR_BODY_S)
    # Without the body the status alone tells enough.
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout_at(due):
            while len(body) < _MAX_ERROR_BYTES and (data := await response.content.readany()):
                body += data
    return bytes(body[:_MAX_ERROR_BYTES])
