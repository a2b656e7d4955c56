"""The answer being made: the one mutable thing of a turn, turned into a receipt at its end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from bot.domain.chat import Candidate, FinishReason, Message, Receipt, Rejection, Usage
from bot.domain.errors import Unavailable
from bot.domain.events import (
    Delta,
    Notice,
    ReasoningDelta,
    Silence,
    StreamEnd,
    TextDelta,
    TurnEvent,
)
from bot.domain.ids import PersonaName
from bot.policy.conversation import is_trim_news


class Draft:
    """Text, reasoning, timing and failed attempts of one turn, told to its reader as they come.

    Times are seconds on the event loop's clock.
    """

    def __init__(
        self,
        persona: PersonaName,
        choice_reason: str,
        emit: Callable[[TurnEvent], Awaitable[None]],
    ) -> None:
        self.so_far = Receipt(persona=persona, choice_reason=choice_reason)
        """The receipt but for what ``receipt`` measures; the turn writes its route and cost in."""
        self.emit = emit
        """Tells the reader."""
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._loop.time()
        self._sent_at: float | None = None
        self._first_at: float | None = None
        self._spoke_at: float | None = None
        """When the first word of the answer came, after any reasoning."""
        self._last_at: float | None = None
        self._deltas = 0

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    @property
    def has_text(self) -> bool:
        """Has anything been shown?"""
        return bool(self._text)

    async def notice(self, text: str) -> None:
        """Tells something that stops nothing, once; the receipt keeps it."""
        if text in self.so_far.notices:
            return
        self.so_far = replace(self.so_far, notices=(*self.so_far.notices, text))
        await self.emit(Notice(text))

    async def trimmed(
        self, messages: Sequence[Message], dropped: int, *, has_earlier: bool
    ) -> None:
        """Tells that the oldest messages are not sent, where that is news.

        Args:
            messages: What is sent.
            dropped: How many are not, of those that were read from the store.
            has_earlier: There are more that were not even read.
        """
        told = self.so_far.told
        kept = sum(message.role != "system" for message in messages)
        if is_trim_news(told, kept):
            more = "more than " if has_earlier else ""
            await self.notice(f"Kept the newest {kept} of {more}{kept + dropped} messages.")
            self.so_far = replace(self.so_far, told=replace(told, kept=kept))

    def pressed(self, what: str) -> None:
        """Its asker did something meanwhile; the receipt keeps what and when."""
        told = f"{what} after {self._loop.time() - self._opened_at:.0f} s"
        self.so_far = replace(self.so_far, presses=(*self.so_far.presses, told))

    def granted(self, candidate: Candidate, queue_s: float = 0.0, load_s: float = 0.0) -> None:
        """The right to ask a candidate was given, after so many seconds of waiting and loading."""
        # The one before may have been left by choice, in the middle of its reasoning.
        self._begin_anew()
        timing = self.so_far.timing
        self.so_far = replace(
            self.so_far,
            model=candidate.model,
            host=candidate.host,
            provider=candidate.provider,
            timing=replace(timing, queue_s=timing.queue_s + queue_s, load_s=timing.load_s + load_s),
        )

    def sent(self) -> None:
        """The request goes out now: the wait for the first delta is counted from here."""
        self._sent_at = self._loop.time()

    async def hear(self, delta: Delta) -> None:
        """Takes one delta in and passes it on; the end mark of a stream is for the receipt only."""
        if isinstance(delta, Silence):
            await self.emit(delta)
            return
        if isinstance(delta, StreamEnd):
            # Servers invent other words; people are told of these two alone.
            finish: FinishReason = "stop"
            if delta.finish == "length" or delta.finish == "refused":
                finish = delta.finish
            self.so_far = replace(self.so_far, usage=delta.usage, finish=finish)
            return
        now = self._loop.time()
        if self._first_at is None:
            self._first_at = now
        self._last_at = now
        self._deltas += 1
        match delta:
            case TextDelta(text=text):
                if self._spoke_at is None:
                    self._spoke_at = now
                self._text.append(text)
            case ReasoningDelta(text=text):
                self._reasoning.append(text)
        await self.emit(delta)

    def failed(self, candidate: Candidate, error: Unavailable) -> None:
        """A candidate could not serve; its reasoning, if any, is dropped with it."""
        attempt = Rejection(
            candidate.where,
            candidate.model,
            error.user_message,
            error.kind,
            is_cloud=candidate.provider is not None,
        )
        self.so_far = replace(
            self.so_far,
            attempts=(*self.so_far.attempts, attempt),
            model=None,
            host=None,
            provider=None,
            usage=Usage(),
            finish="stop",
        )
        self._begin_anew()

    def receipt(self, finish: FinishReason | None = None) -> Receipt:
        """The receipt as things stand; counts deltas where the other side sent no usage.

        Args:
            finish: Why generation stopped; None takes what the stream said.
        """
        usage, timing = self.so_far.usage, self.so_far.timing
        # Not every server counts, and none counts what broke off: a delta is about a token.
        if usage.completion_tokens == 0 and self._deltas:
            usage = Usage(
                prompt_tokens=usage.prompt_tokens, completion_tokens=self._deltas, estimated=True
            )
        first_token_s, thinking_s, generation_s = None, 0.0, 0.0
        if self._first_at is not None and self._last_at is not None:
            generation_s = self._last_at - self._first_at
            # An answer that was thought away was thinking to its end.
            thinking_s = (self._spoke_at or self._last_at) - self._first_at
            first_token_s = None if self._sent_at is None else self._first_at - self._sent_at
        timing = replace(
            timing,
            first_token_s=first_token_s,
            thinking_s=thinking_s,
            generation_s=generation_s,
            total_s=self._loop.time() - self._opened_at,
        )
        return replace(self.so_far, usage=usage, timing=timing, finish=finish or self.so_far.finish)

    def _begin_anew(self) -> None:
        self._reasoning.clear()
        self._sent_at = self._first_at = self._spoke_at = self._last_at = None
        self._deltas = 0
