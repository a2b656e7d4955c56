"""An answer as an async iterator of deltas, read from one HTTP response."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import aiohttp

from bot.domain.chat import Endpoint
from bot.domain.errors import BotError, FailureKind
from bot.domain.events import Delta, Silence
from bot.inference.anthropic import AnthropicReader
from bot.inference.openai import OpenAiReader
from bot.inference.sse import SseReader
from bot.inference.wire import Verdict, WireFault

_LINGER_S = 2.0
"""How long the usage chunk and the end of the stream may follow the finish reason."""


class Watch:
    """Calls back once a wait has lasted past its due time.

    A timeout object per token costs several microseconds; here a token costs one assignment, and
    the timer, when it fires too early, sets itself again. It never fires while nobody waits.
    """

    __slots__ = ("_due", "_fires_at", "_handle", "_loop", "_on_late")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]) -> None:
        self._loop = loop
        self._on_late = on_late
        self._due: float | None = None
        self._fires_at = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def expect_by(self, due: float) -> None:
        """A wait begins, or goes on, that must end by a loop time."""
        self._due = due
        if self._handle is None or due < self._fires_at:
            self._set(due)

    def rest(self) -> None:
        """The wait is over."""
        self._due = None

    def close(self) -> None:
        """Drop the timer."""
        self._due = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._fires_at = at
        self._handle = self._loop.call_at(at, self._check)

    def _check(self) -> None:
        self._handle = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._set(self._due)
        else:
            self._due = None
            self._on_late()


class DeltaStream(AsyncIterator[Delta]):
    """Text and reasoning deltas, then exactly one ``StreamEnd``; or an error after what came.

    Life is a delta: comments, pings and empty chunks keep no stream alive. The first delta is due
    when the endpoint's ``first_token_s`` is over, each further one ``idle_s`` after the caller
    began to wait for it. Before that, after ``quiet_s``, there is one ``Silence``.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        reader: OpenAiReader | AnthropicReader,
        endpoint: Endpoint,
        first_due: float,
        error: Callable[[Verdict], BotError],
        tap: Callable[[str], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._content = response.content
        self._reader = reader
        self._endpoint = endpoint
        self._first_due = first_due
        self._error = error
        self._tap = tap
        """Hears each payload that was found to be part of the answer, as it came."""
        self._sse = SseReader()
        self._ready: deque[Delta] = deque()
        self._watch = Watch(self._loop, self._give_up)
        self._failure: BotError | None = None
        self._has_spoken = False
        self._silent_since: float | None = None
        """Since when a silence lasts that was told already."""
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
        now, endpoint = self._loop.time(), self._endpoint
        if self._reader.is_whole:
            return now + _LINGER_S
        if not self._has_spoken:
            return self._first_due
        if self._silent_since is not None:
            return self._silent_since + endpoint.idle_s
        return now + min(endpoint.quiet_s, endpoint.idle_s)

    def _is_quiet_only(self) -> bool:
        """Is a silence that has lasted too long to be told first, and not the end yet?"""
        is_told = self._silent_since is not None or self._reader.is_whole
        return self._has_spoken and not is_told and self._endpoint.quiet_s < self._endpoint.idle_s

    async def _read(self) -> None:
        try:
            data = await self._content.readany()
        except TimeoutError:
            if self._is_quiet_only():
                self._content.set_exception(None)  # pyright: ignore[reportArgumentType]  # the only way back
                quiet_s = self._endpoint.quiet_s
                self._silent_since = self._loop.time() - quiet_s
                self._ready.append(Silence(quiet_s))
                return
            verdict = Verdict(FailureKind.STALL, f"silent for {self._endpoint.idle_s:g} s")
            if not self._has_spoken:
                reason = f"silent for {self._endpoint.first_token_s:g} s"
                verdict = Verdict(FailureKind.TIMEOUT, reason)
            self._break(verdict)
        except (aiohttp.ClientError, OSError) as err:
            # What came before the break, while the caller was busy. aiohttp hands out nothing more
            # once an error is set, not even whole answers it holds.
            self._content.set_exception(None)  # pyright: ignore[reportArgumentType]  # the only way back
            if data := self._content.read_nowait():
                self._take(data)
            if not self._is_over:
                self._break(Verdict(FailureKind.CUT, "the connection broke"), err)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        was_whole = self._reader.is_whole
        try:
            for payload in self._sse.feed(data):
                self._ready.extend(self._reader.read(payload))
                if self._tap is not None:
                    self._tap(payload)
            if self._ready:
                self._silent_since = None
            if not data:
                self._sse.finish()
        except WireFault as fault:
            self._break(fault.verdict, fault)
            return
        if self._reader.is_done:
            self._complete()
        elif not data:
            # An end in good order without the mark is a cut; neither official SDK notices it.
            self._break(Verdict(FailureKind.CUT, "it ended without its end mark"))
        elif self._reader.is_whole and not was_whole:
            self._watch.expect_by(self._due())

    def _complete(self) -> None:
        self._ready.extend(self._reader.pieces.flush())
        self._ready.append(self._reader.end())
        self._is_over = True

    def _break(self, verdict: Verdict, cause: Exception | None = None) -> None:
        if self._reader.is_whole:
            # After the mark a break costs the usage chunk at most: the answer is not asked again.
            self._complete()
            return
        self._ready.extend(self._reader.pieces.flush())
        self._failure = self._error(verdict)
        self._failure.__cause__ = cause
        self.close()

    def _give_up(self) -> None:
        # A fresh error wakes the waiting read; close() alone would raise the one exception object
        # that aiohttp shares among all responses, and its traceback would grow for ever.
        self._content.set_exception(TimeoutError())
        if not self._is_quiet_only():
            self._response.close()
