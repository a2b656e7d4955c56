"""One call to a provider while it runs: where it goes, what came, what it costs."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bot.cloud.asking import OpenStream
from bot.domain.chat import Endpoint, InferenceRequest, Usage
from bot.domain.cloud import Price, PriceStep, Settlement
from bot.domain.errors import BotError, FailureKind, Unavailable
from bot.domain.events import Delta, ReasoningDelta, StreamEnd, TextDelta
from bot.policy.pricing import cost_of, counted_usage

_MAY_BE_BILLED = frozenset({FailureKind.TIMEOUT, FailureKind.CUT})
"""Failures before the stream began that leave open whether the prompt was read."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What was granted for one call."""

    number: int
    """The ledger's row."""
    endpoint: Endpoint
    request: InferenceRequest
    price: Price
    prompt_tokens: int
    """Estimated."""


class Call:
    """The right to send one request; counts what comes back."""

    def __init__(self, granted: Granted, open_stream: OpenStream) -> None:
        self._granted = granted
        self._open_stream = open_stream
        self._deltas: list[TextDelta | ReasoningDelta] = []
        self._sent_at: float | None = None
        self._first_at: float | None = None
        self._last_at: float | None = None
        self._is_open = False
        self.end: StreamEnd | None = None
        """The end mark, once it came."""
        self.cost_micro_usd = 0
        """What it cost, once it is closed."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it goes."""
        return self._granted.endpoint

    @property
    def price(self) -> Price:
        """By what it is charged."""
        return self._granted.price

    @property
    def has_text(self) -> bool:
        """Did any word of the answer itself come?"""
        return any(isinstance(d, TextDelta) and d.text.strip() for d in self._deltas)

    @property
    def has_reasoning(self) -> bool:
        """Did it think aloud?"""
        return any(isinstance(delta, ReasoningDelta) for delta in self._deltas)

    @property
    def first_token_s(self) -> float | None:
        """From sending to the first delta."""
        if self._sent_at is None or self._first_at is None:
            return None
        return self._first_at - self._sent_at

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Send the request; iterate the deltas inside the block.

        Raises:
            BotError: as ``Inference.open`` does.
        """
        self._sent_at = asyncio.get_running_loop().time()
        async with self._open_stream(self._granted.endpoint, self._granted.request) as deltas:
            self._is_open = True
            yield _Counted(self, deltas)

    def hear(self, delta: Delta) -> None:
        """Count a delta."""
        now = asyncio.get_running_loop().time()
        if isinstance(delta, StreamEnd):
            self.end = delta
            return
        self._deltas.append(delta)
        self._first_at = now if self._first_at is None else self._first_at
        self._last_at = now

    def close(self, error: BaseException | None) -> Settlement:
        """What the call cost, with the error that ended it."""
        settlement = self._settlement(error)
        self.cost_micro_usd = settlement.cost_micro_usd
        return settlement

    def _settlement(self, error: BaseException | None) -> Settlement:
        if self.end is None and self._was_free(error):
            return Settlement(self._granted.number, "nothing", step=PriceStep())
        usage = self._usage()
        step, cost = cost_of(self._granted.price, usage)
        generation_s = 0.0
        if self._first_at is not None and self._last_at is not None:
            generation_s = self._last_at - self._first_at
        return Settlement(
            number=self._granted.number,
            basis="counted" if usage.estimated else "usage",
            cost_micro_usd=cost,
            usage=usage,
            step=step,
            first_token_s=self.first_token_s,
            generation_s=generation_s,
        )

    def _usage(self) -> Usage:
        if self.end is not None and not self.end.usage.estimated:
            return self.end.usage
        counted = counted_usage(self._granted.prompt_tokens, self._deltas)
        if self.end is None:
            return counted
        told = self.end.usage
        return Usage(
            prompt_tokens=max(told.prompt_tokens, counted.prompt_tokens),
            completion_tokens=max(told.completion_tokens, counted.completion_tokens),
            cached_tokens=told.cached_tokens,
            reasoning_tokens=told.reasoning_tokens,
            estimated=True,
        )

    def _was_free(self, error: BaseException | None) -> bool:
        """Did the provider never get it, or answer with an error instead of a stream?"""
        if self._is_open:
            return False
        if self._sent_at is None:
            return True
        if isinstance(error, Unavailable):
            return error.kind not in _MAY_BE_BILLED
        return isinstance(error, BotError)


class _Counted(AsyncIterator[Delta]):
    """Deltas that are counted as they pass."""

    def __init__(self, call: Call, deltas: AsyncIterator[Delta]) -> None:
        self._call = call
        self._deltas = deltas

    async def __anext__(self) -> Delta:
        delta = await anext(self._deltas)
        self._call.hear(delta)
        return delta
