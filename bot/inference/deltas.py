"""An answer as an async iterator of deltas, read from one HTTP response."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from bot.domain.chat import Endpoint
from bot.domain.errors import BotError, FailureKind
from bot.domain.events import Delta, Silence, TextDelta
from bot.inference.anthropic import AnthropicReader
from bot.inference.exchange import Exchange, whole_chunks
from bot.inference.openai import OpenAiReader
from bot.inference.sse import MAX_EVENT_BYTES, SseReader
from bot.inference.wire import Verdict, WireFault

_LINGER_S = 2.0
"""How long the usage chunk and the end of the stream may follow the finish reason."""


class DeltaStream(AsyncIterator[Delta]):
    """Text and reasoning deltas, then exactly one ``StreamEnd``; or an error after what came.

    Life is a delta: comments, pings and empty chunks keep no stream alive. The first delta is due
    when the endpoint's ``first_token_s`` is over, each further one ``idle_s`` after the caller
    began to wait for it. Before that, after ``quiet_s``, there is one ``Silence``.
    """

    def __init__(
        self,
        reader: OpenAiReader | AnthropicReader,
        endpoint: Endpoint,
        first_due: float,
        error: Callable[[Verdict], BotError],
        straight: Callable[[Sequence[TextDelta]], bool] | None = None,
        tap: Callable[[str], None] | None = None,
    ) -> None:
        # Whoever hears each payload must be told of all of them.
        offered = self._takes_straight if straight is not None and tap is None else None
        self.exchange = Exchange(MAX_EVENT_BYTES, offered)
        """Its answer is what is read."""
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._endpoint = endpoint
        self._first_due = first_due
        self._error = error
        self._straight = straight
        self._tap = tap
        """Hears each payload that was found to be part of the answer, as it came."""
        self._sse = SseReader()
        self._ready: deque[Delta] = deque()
        self._failure: BotError | None = None
        self._has_spoken = False
        self._waits_since = 0.0
        """Since when the next delta, or after the finish reason the stream's end, is waited for."""
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
        # Each would hold the other, and both the whole answer, until garbage is looked for.
        self.exchange.straight = None
        if not self.exchange.may_stay:
            self.exchange.close()

    async def _fill(self) -> None:
        self._waits_since = self._loop.time()
        while not self._ready and not self._is_over:
            await self._read()
        self._has_spoken = True

    def _due(self) -> float:
        endpoint = self._endpoint
        if self._reader.is_whole:
            return self._waits_since + _LINGER_S
        if not self._has_spoken:
            return self._first_due
        if self._silent_since is not None:
            return self._silent_since + endpoint.idle_s
        return self._waits_since + min(endpoint.quiet_s, endpoint.idle_s)

    def _is_quiet_only(self) -> bool:
        """Is a silence that has lasted too long to be told first, and not the end yet?"""
        is_told = self._silent_since is not None or self._reader.is_whole
        return self._has_spoken and not is_told and self._endpoint.quiet_s < self._endpoint.idle_s

    def _takes_straight(self, data: bytes) -> bool:
        """Whether a read went straight to whoever wants words, as whole chunks of nothing else."""
        if self._straight is None or not self._sse.is_between_events:
            return False
        found: list[TextDelta] = []
        for chunk in whole_chunks(data):
            words = self._reader.pieces.words_in(chunk)
            if not words:
                return False
            found.append(TextDelta(words))
        if not found or not self._straight(found):
            return False
        self._reader.pieces.count(found)
        self._waits_since, self._silent_since = self._loop.time(), None
        return True

    async def _read(self) -> None:
        try:
            data = await self.exchange.read(self._due)
        except WireFault as fault:
            self._break(fault.verdict, fault)
        except OSError as err:
            if not isinstance(err, TimeoutError) or self.exchange.fault is not None:
                self._break(Verdict(FailureKind.CUT, "the connection broke"), err)
            elif self._is_quiet_only():
                quiet_s = self._endpoint.quiet_s
                self._silent_since = self._loop.time() - quiet_s
                self._ready.append(Silence(quiet_s))
            elif self._has_spoken:
                self._break(Verdict(FailureKind.STALL, f"silent for {self._endpoint.idle_s:g} s"))
            else:
                reason = f"silent for {self._endpoint.first_token_s:g} s"
                self._break(Verdict(FailureKind.TIMEOUT, reason))
        else:
            # The words of one event, as most reads are: neither parted nor parsed.
            is_next = self._tap is None and self._sse.is_between_events
            if is_next and (words := self._reader.pieces.words_in(data)):
                self._ready.append(TextDelta(words))
                self._reader.pieces.count((TextDelta(words),))
                self._silent_since = None
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
            self._waits_since = self._loop.time()

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
