"""``Inference.open``: one request to one endpoint becomes a stream of deltas."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Protocol, Self

from bot.domain.chat import Endpoint, InferenceRequest, Usage
from bot.domain.errors import BotError, FailureKind
from bot.domain.events import Delta, TextDelta
from bot.inference.anthropic import AnthropicReader, messages_call
from bot.inference.deltas import DeltaStream
from bot.inference.errors import Answered, classify
from bot.inference.exchange import MOST_UNREAD_BYTES, ConnectionPool, Exchange
from bot.inference.openai import OpenAiReader, completions_call
from bot.inference.passing import Passing, whole_answer
from bot.inference.pieces import estimate_prompt_tokens
from bot.inference.wire import Call, Verdict, WireFault, extended, garbage, text_of, to_error

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
_WIRES = {
    "openai": (completions_call, OpenAiReader),
    "anthropic": (messages_call, AnthropicReader),
}


class Streams(Protocol):
    """What a turn asks of ``Inference``: a machine that is only reckoned with gives it as well."""

    def open(
        self,
        endpoint: Endpoint,
        request: InferenceRequest,
        straight: Callable[[Sequence[TextDelta]], bool] | None = ...,
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """See ``Inference.open``."""
        ...


class Inference:
    """Speaks to any endpoint in its wire; entered by whoever relays, as it keeps connections."""

    def __init__(self, *, utcnow: Callable[[], datetime] | None = None) -> None:
        """``utcnow``: wall time for a ``retry-after`` that is a date, where the answer has none."""
        self._utcnow = utcnow
        self._pool = ConnectionPool()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.close()

    @asynccontextmanager
    async def open(
        self,
        endpoint: Endpoint,
        request: InferenceRequest,
        straight: Callable[[Sequence[TextDelta]], bool] | None = None,
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Send a request; iterate the deltas inside the block; leaving it stops the generation.

        It stops because the response is closed: over the SDK's sockets a host goes on generating
        after ``task.cancel()``, ``break`` or a timeout (docs/adr/0004).

        Errors before the answer begins are raised on entering, later ones from the iteration,
        after the deltas that came. A whole answer ends with exactly one `StreamEnd`, also when
        there was no text at all.

        Args:
            endpoint: Whom to ask.
            request: What.
            straight: Is offered the words of most reads, within the callback that brought them and
                while the iterating one waits for more; what it takes is not iterated.

        Raises:
            HostUnreachable: the host did not answer, broke off, fell silent or sent garbage.
            Unavailable: any other failure, such as ``WRONG_MODEL``: the reply names a model the
                endpoint does not accept.
            Refused: the other side declined to answer.
        """
        _, reader = _WIRES[endpoint.wire]
        if request.verbatim is not None or any(message.images for message in request.messages):
            # Megabytes as base64 and JSON: the loop must not stand still for them.
            call = await asyncio.to_thread(_call, endpoint, request)
        else:
            call = _call(endpoint, request)
        due = asyncio.get_running_loop().time() + endpoint.first_token_s
        prompt = [message.text for message in request.messages]
        error = partial(to_error, endpoint=endpoint, prompt=prompt)
        call = replace(call, before_words=request.before_words)
        call = replace(call, headers={**_HEADERS, **call.headers})
        reading = reader(endpoint, estimate_prompt_tokens(request.messages))
        tap = request.verbatim.tap if request.verbatim is not None else None
        stream = DeltaStream(reading, endpoint, due, error, straight, tap)
        try:
            done = await self._begun(stream.exchange, endpoint, call, due, _NO_STREAM, error)
            try:
                yield stream
            finally:
                done()
        finally:
            stream.close()

    def relay(
        self,
        endpoint: Endpoint,
        path: str,
        body: bytes,
        passing: Passing,
    ) -> "Relayed":
        """Send a client's own request; iterate its answer's bytes as they may be passed on.

        Beside them it gives what tells when the newest byte came, on the event loop's clock.
        Leaving the block stops the generation. Errors are raised as by ``open``, those of the
        stream after the bytes that came before them.

        Args:
            endpoint: Whom to ask, without TLS; its model is named in the body already.
            path: Below the endpoint's base, such as ``/chat/completions``.
            body: The request's JSON, asking for a stream.
            passing: Looks at what comes; the caller reads model, usage and end from it. What it
                passes straight on, while the iterating one waits for more, is not iterated.
        """
        due = asyncio.get_running_loop().time() + endpoint.first_token_s
        exchange = Exchange(MOST_UNREAD_BYTES, passing.straight)
        call = _own(endpoint, path, body)
        send = partial(self._begun, exchange, endpoint, call, due, _NO_STREAM)
        return Relayed(exchange, passing, endpoint, due, send)

    async def _begun(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        call: Call,
        due: float,
        wrong: tuple[str, ...],
        error: Callable[[Verdict], BotError] | None = None,
    ) -> Callable[[], None]:
        """Returns once the answer to a request has begun well; raises its error.

        Args:
            exchange: Takes the answer in.
            endpoint: Whom to ask.
            call: What to send.
            due: One deadline for headers and first delta together: a host that loads the model just
                in time sends no byte at all, not even headers, until it is there.
            wrong: Kinds of content that are no answer, though their status is 200.
            error: Makes the error of a verdict.

        Returns:
            What is called once nobody reads the answer any more; until then its connection is used.
        """
        error = error or partial(to_error, endpoint=endpoint)
        try:
            done = await self._pool.sent(exchange, call, endpoint.connect_s, due)
        except WireFault as fault:
            raise error(fault.verdict) from fault
        except OSError as err:
            verdict = Verdict(FailureKind.CUT, "the connection broke before the answer began")
            # What came in the step of the deadline came in time.
            if isinstance(exchange.fault, WireFault):
                verdict = exchange.fault.verdict
            elif isinstance(err, TimeoutError) and exchange.fault is None:
                reason = f"silent for {endpoint.first_token_s:g} s"
                verdict = Verdict(FailureKind.TIMEOUT, reason)
            raise error(verdict) from err
        kind = exchange.headers.get("content-type", "")
        if exchange.status == HTTPStatus.OK and not any(word in kind for word in wrong):
            return done
        try:
            raise error(await self._told(exchange, endpoint, due))
        finally:
            done()

    async def _told(self, exchange: Exchange, endpoint: Endpoint, due: float) -> Verdict:
        """What an answer says that is no stream."""
        told = bytearray()
        due = min(due, asyncio.get_running_loop().time() + _ERROR_BODY_S)
        # Without the body the status alone tells enough.
        with suppress(OSError, WireFault):
            while len(told) < _MAX_ERROR_BYTES and (data := await exchange.read(lambda: due)):
                told += data
        answered = Answered(exchange.status, bytes(told[:_MAX_ERROR_BYTES]), exchange.headers)
        now = self._utcnow() if self._utcnow else None
        return classify(answered, is_local=endpoint.is_local, now=now)

    async def relay_whole(
        self, endpoint: Endpoint, path: str, body: bytes, most_bytes: int
    ) -> tuple[bytes, Mapping[str, object], Usage]:
        """Send a client's own request that asks for no stream; gives body, its fields and usage.

        Raises:
            BotError: as ``open`` does; ``GARBAGE`` where the answer is larger than ``most_bytes``.
        """
        due = asyncio.get_running_loop().time() + endpoint.first_token_s
        exchange, answer = Exchange(most_bytes), bytearray()
        call = _own(endpoint, path, body)
        done = await self._begun(exchange, endpoint, call, due, ("html",))
        try:
            while data := await exchange.read(lambda: due):
                answer += data
                if len(answer) > most_bytes:
                    raise garbage("its answer is too large")
            told, usage = whole_answer(answer)
            model = text_of(told.get("model"))
            if endpoint.accepted_models and model not in endpoint.accepted_models:
                raise WireFault(Verdict(FailureKind.WRONG_MODEL, model))
        except TimeoutError as err:
            raise to_error(Verdict(FailureKind.TIMEOUT), endpoint) from err
        except OSError as err:
            raise to_error(Verdict(FailureKind.CUT, "the connection broke"), endpoint) from err
        except WireFault as fault:
            raise to_error(fault.verdict, endpoint) from fault
        finally:
            done()
        return bytes(answer), told, usage


def _call(endpoint: Endpoint, request: InferenceRequest) -> Call:
    build, _ = _WIRES[endpoint.wire]
    given = request.verbatim.fields if request.verbatim is not None else ()
    return extended(build(endpoint, request), endpoint.extras, given)


def _own(endpoint: Endpoint, path: str, body: bytes) -> Call:
    """A client's own request as it is sent."""
    token = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    return Call(f"{endpoint.base_url.rstrip('/')}{path}", {**_HEADERS, **token}, body)


class Relayed:
    """What ``Inference.relay`` gives; iterated, what of an answer did not go straight on.

    No generator: of the kind that awaits, the loop keeps account of each.
    """

    def __init__(
        self,
        exchange: Exchange,
        passing: Passing,
        endpoint: Endpoint,
        first_due: float,
        send: Callable[[], Awaitable[Callable[[], None]]],
    ) -> None:
        self._exchange = exchange
        self._passing = passing
        self._endpoint = endpoint
        self._first_due = first_due
        self._send = send
        self._data = b"-"
        """Read last; empty at the end."""

    async def __aenter__(self) -> tuple[AsyncIterator[bytes], Callable[[], float]]:
        self._done = await self._send()
        return self, lambda: self._exchange.heard_at

    async def __aexit__(self, *_: object) -> None:
        self._done()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        passing = self._passing
        while self._data and not passing.is_whole and not passing.fault:
            self._data = data = await self._read()
            if passable := passing.feed(data) if data else passing.close():
                return passable
        if passing.fault:
            raise to_error(passing.fault, self._endpoint)
        raise StopAsyncIteration

    async def _read(self) -> bytes:
        try:
            return await self._exchange.read(self._due)
        except TimeoutError as err:
            kind = FailureKind.STALL if self._passing.has_begun else FailureKind.TIMEOUT
            raise to_error(Verdict(kind), self._endpoint) from err
        except OSError as err:
            verdict = Verdict(FailureKind.CUT, "the connection broke")
            raise to_error(verdict, self._endpoint) from err
        except WireFault as fault:
            raise to_error(fault.verdict, self._endpoint) from fault

    def _due(self) -> float:
        exchange, endpoint = self._exchange, self._endpoint
        return exchange.heard_at + endpoint.idle_s if self._passing.has_begun else self._first_due
