"""One question to a provider, and one call while it runs: what came of it and what it costs."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from bot.domain.chat import Endpoint, InferenceRequest, Message, Usage, Verbatim
from bot.domain.cloud import AnswerRoom, Price, Settlement
from bot.domain.errors import BotError, Bug, FailureKind, Unavailable
from bot.domain.events import Delta, ReasoningDelta, Silence, StreamEnd, TextDelta
from bot.domain.ids import PlaceId, ProviderName, TurnId, UserId
from bot.domain.personas import Priority, Sampling
from bot.domain.values import value
from bot.policy.pricing import charged_usage, cost_of
from bot.policy.privacy import CloudConsent, Judge, LocalOnly

OpenStream = Callable[
    [Endpoint, InferenceRequest], AbstractAsyncContextManager[AsyncIterator[Delta]]
]
"""Sends a request to an endpoint; ``Inference.open``."""

_MAY_BE_BILLED = frozenset({FailureKind.TIMEOUT, FailureKind.CUT})
"""Failures before the stream began that leave open whether the prompt was read."""


@value
class CloudAsk:
    """One question to any provider; without a consent that covers it, none is sent it."""

    turn: TurnId
    messages: tuple[Message, ...]
    judge: Judge
    """Asked right before each sending: what it said before a wait may hold no more after it."""
    answer_tokens: int
    """Room for the answer itself; thinking gets its own."""
    sampling: Sampling = field(default_factory=Sampling)
    user: UserId | None = None
    daily_micro_usd: int | None = None
    """The user's own limit of a day, beside that of every user."""
    server: PlaceId | None = None
    thinking: Literal["auto", "off"] | None = None
    """None is as configured for the provider."""
    verbatim: Verbatim | None = None
    """A client's own request, for OpenAI's wire; the messages tell all that is said in it."""
    priority: Priority = "normal"

    @property
    def room(self) -> AnswerRoom:
        """The answer's, before a provider's own."""
        return AnswerRoom.of(self.answer_tokens, self.sampling)


@dataclass(slots=True)
class ProviderCall:
    """The right to send one request, once its money is held; counts what comes back."""

    provider: ProviderName
    endpoint: Endpoint
    request: InferenceRequest
    judge: Judge
    price: Price
    """By what it is charged."""
    prompt_tokens: int
    """Estimated."""
    open_stream: OpenStream
    number: int = 0
    """The ledger's row."""
    end: StreamEnd | None = None
    """The end mark, once it came."""
    sent_at: float | None = None
    """The loop's time; None while it was not sent."""
    first_token_s: float | None = None
    """From sending to the first delta."""
    has_shown: bool = False
    """Did the answer begin, if only with a blank?"""
    has_text: bool = False
    """Did any word of the answer itself come?"""
    has_reasoning: bool = False
    """Did any reasoning come?"""
    cost_micro_usd: int = 0
    """What it cost, once it is settled."""
    usage: Usage = field(default_factory=Usage)
    """By what it is charged, once it is settled: the one count of it, here and in the ledger."""
    _deltas: list[TextDelta | ReasoningDelta] = field(
        default_factory=list[TextDelta | ReasoningDelta]
    )
    _generation_s: float = 0.0
    _is_open: bool = False

    @asynccontextmanager
    async def open(
        self,
        due: float | None = None,
        sent: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Judge the words, then send them; iterate the deltas inside the block.

        Args:
            due: The loop's time by which the answer must have begun; None leaves it to the
                endpoint's own limit.
            sent: Is told between the two.

        Raises:
            Unavailable: the words stay here, ``CANCELLED``; else as ``Inference.open`` does.
            BotError: as ``Inference.open`` does.
            Bug: the consent does not cover these words, or is none.
        """
        await self._judged()
        if sent is not None:
            await sent()
        now = self.sent_at = asyncio.get_running_loop().time()
        endpoint = self.endpoint
        if due is not None:
            left_s = max(0.0, due - now)
            endpoint = replace(endpoint, first_token_s=min(endpoint.first_token_s, left_s))
        # Once more when the connection stands: making it takes a while, and a mark set meanwhile
        # holds for these words too.
        request = replace(self.request, before_words=self._judged)
        async with self.open_stream(endpoint, request) as deltas:
            self._is_open = True
            async with aclosing(self._counted(deltas, self.sent_at)) as counted:
                yield counted

    async def _judged(self) -> None:
        """Asks whether the words may go, as things stand now.

        Raises:
            Unavailable: they stay here, or go elsewhere, ``CANCELLED``.
            Bug: the consent does not cover them, or is none.
        """
        consent = await self.judge(self.request.messages)
        if isinstance(consent, LocalOnly):
            words = f"{self.provider} was not asked ({consent.words})."
            raise Unavailable(words, FailureKind.CANCELLED)
        # The type itself: whatever merely looks like a consent was not made by policy.privacy.
        is_one = type(consent) is CloudConsent
        if is_one and consent.providers is not None and self.provider not in consent.providers:
            # Whom its persona may ask was changed while it waited.
            words = f"{self.provider} was not asked: the persona does not use it any more."
            raise Unavailable(words, FailureKind.CANCELLED)
        if not is_one or not consent.covers(self.request.messages, self.provider):
            raise Bug(f"words without consent were about to be sent to {self.provider}")

    async def _counted(self, deltas: AsyncIterator[Delta], sent_at: float) -> AsyncGenerator[Delta]:
        """The deltas, each counted before anybody sees it: a cancelled reader pays for it too."""
        async for delta in deltas:
            if isinstance(delta, StreamEnd):
                self.end = delta
            elif not isinstance(delta, Silence):
                self._deltas.append(delta)
                since_s = asyncio.get_running_loop().time() - sent_at
                if self.first_token_s is None:
                    self.first_token_s = since_s
                self._generation_s = since_s - self.first_token_s
            self.has_reasoning = self.has_reasoning or isinstance(delta, ReasoningDelta)
            if isinstance(delta, TextDelta):
                self.has_shown = True
                self.has_text = self.has_text or bool(delta.text.strip())
            yield delta

    def settlement(self, error: BaseException | None) -> Settlement:
        """What the call cost, with the error that ended it."""
        # An end mark is an answer, whatever went wrong after it: it is charged.
        if self.end is None and self._was_free(error):
            return Settlement(self.number, "nothing")
        told = None if self.end is None else self.end.usage
        usage = self.usage = charged_usage(self.prompt_tokens, self._deltas, told)
        step, self.cost_micro_usd = cost_of(self.price, usage)
        return Settlement(
            number=self.number,
            basis="counted" if usage.estimated else "usage",
            cost_micro_usd=self.cost_micro_usd,
            usage=usage,
            step=step,
            first_token_s=self.first_token_s,
            generation_s=self._generation_s,
            is_answer=self.has_text,
        )

    def _was_free(self, error: BaseException | None) -> bool:
        """Did the provider never get it, or answer with an error instead of a stream?"""
        if self._is_open or self.sent_at is None:
            return not self._is_open
        # Left before the first word, a provider may have read the prompt all the same: what is not
        # known to be free is counted, so that the ledger never says less than the provider.
        if isinstance(error, Unavailable):
            return error.kind not in _MAY_BE_BILLED
        return isinstance(error, BotError)
