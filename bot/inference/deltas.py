"""An answer as an async iterator of deltas, read from one HTTP response."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import aiohttp

from bot.domain.chat import Endpoint
from bot.domain.errors import BotError, FailureKind
from bot.domain.events import Delta
from bot.inference.base import DeltaReader
from bot.inference.faults import Verdict, WireFault
from bot.inference.sse import SseReader
from bot.inference.watch import Watch

_LINGER_S = 2.0
"""How long the usage chunk and the end of the stream may follow the finish reason."""


class DeltaStream(AsyncIterator[Delta]):
    """Text and reasoning deltas, then exactly one ``StreamEnd``; or an error after what came.

    Life is a delta: comments, pings and empty chunks keep no stream alive. The first delta is due
    when the endpoint's ``first_token_s`` is over, each further one ``idle_s`` after the caller
    began to wait for it.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        reader: DeltaReader,
        endpoint: Endpoint,
        first_due: float,
        error: Callable[[Verdict], BotError],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._content = response.content
        self._reader = reader
        self._endpoint = endpoint
        self._first_due = first_due
        self._error = error
        self._sse = SseReader()
        self._ready: deque[Delta] = deque()
        self._watch = Watch(self._loop, self._give_up)
        self._failure: BotError | None = None
        self._has_spoken = False
        self._is_over = False

    async def __anext__(self) -> Delta:
        ready = self._ready
        if not ready:
            await self._fill()
        if ready:
            return ready.popleft()
        if self._failure is None:
            raise StopAsyncIteration
        failure, self._failure = self._failure, None
        raise failure

    def close(self) -> None:
        """Stop here: the connection is closed, so that the other side stops generating."""
        self._is_over = True
        self._watch.close()
        self._response.close()

    async def _fill(self) -> None:
        if self._is_over:
            return
        self._watch.expect_by(self._due())
        try:
            while not self._ready and not self._is_over:
                await self._read()
        finally:
            self._watch.rest()
        self._has_spoken = True

    def _due(self) -> float:
        if self._reader.is_whole:
            return self._loop.time() + _LINGER_S
        return self._loop.time() + self._endpoint.idle_s if self._has_spoken else self._first_due

    async def _read(self) -> None:
        try:
            data = await self._content.readany()
        except TimeoutError:
            self._break(self._silence())
        except (aiohttp.ClientError, OSError) as err:
            if data := self._arrived():
                self._take(data)
            if not self._is_over:
                self._break(Verdict(FailureKind.CUT, "the connection broke"), err)
        else:
            self._take(data)

    def _arrived(self) -> bytes:
        """Return what came before the connection broke, while the caller was busy."""
        # aiohttp hands out nothing more once an error is set, not even whole answers it holds.
        self._content.set_exception(None)  # pyright: ignore[reportArgumentType]  # the only way back
        return self._content.read_nowait()

    def _take(self, data: bytes) -> None:
        was_whole = self._reader.is_whole
        try:
            for payload in self._sse.feed(data):
                self._ready.extend(self._reader.read(payload))
            if not data:
                self._sse.finish()
        except WireFault as fault:
            self._break(fault.verdict, fault)
            return
        if self._reader.is_done:
            self._complete()
        elif not data:
            self._break(Verdict(FailureKind.CUT, "it ended without its end mark"))
        elif self._reader.is_whole and not was_whole:
            self._watch.expect_by(self._due())

    def _complete(self) -> None:
        self._ready.extend(self._reader.flush())
        self._ready.append(self._reader.end())
        self._is_over = True

    def _break(self, verdict: Verdict, cause: Exception | None = None) -> None:
        if self._reader.is_whole:
            self._complete()
            return
        self._ready.extend(self._reader.flush())
        self._failure = self._error(verdict)
        self._failure.__cause__ = cause
        self.close()

    def _silence(self) -> Verdict:
        if self._has_spoken:
            return Verdict(FailureKind.STALL, f"silent for {self._endpoint.idle_s:g} s")
        return Verdict(FailureKind.TIMEOUT, f"silent for {self._endpoint.first_token_s:g} s")

    def _give_up(self) -> None:
        # A fresh error wakes the waiting read; close() alone would raise the one exception object
        # that aiohttp shares among all responses, and its traceback would grow for ever.
        self._content.set_exception(TimeoutError())
        self._response.close()
