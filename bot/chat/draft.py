"""The answer being made: the one mutable thing of a turn, turned into a receipt at its end."""

from dataclasses import replace

from bot.domain.chat import Attempt, Candidate, FinishReason, Receipt, Route, Usage
from bot.domain.errors import FailureKind
from bot.domain.events import StreamEnd
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName


class Draft:
    """Text, reasoning, timing and history of attempts of one turn. Times are monotonic seconds."""

    def __init__(self, persona: PersonaName, choice_reason: str, now: float) -> None:
        self._receipt = Receipt(persona=persona, choice_reason=choice_reason)
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._opened_at = now
        self._sent_at: float | None = None
        self._first_at: float | None = None
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

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What was tried and failed."""
        return self._receipt.attempts

    @property
    def generation_s(self) -> float:
        """From the first delta to the last."""
        if self._first_at is None or self._last_at is None:
            return 0.0
        return self._last_at - self._first_at

    @property
    def first_token_s(self) -> float | None:
        """From sending the request to the first delta."""
        if self._sent_at is None or self._first_at is None:
            return None
        return self._first_at - self._sent_at

    def routed(self, route: Route) -> None:
        """The route was decided."""
        self._receipt = replace(self._receipt, route=route)

    def noticed(self, text: str) -> None:
        """Something was said along the way."""
        self._receipt = replace(self._receipt, notices=(*self._receipt.notices, text))

    @property
    def is_at_limit(self) -> bool:
        """Did the answer end at its length limit?"""
        return self._receipt.finish == "length"

    @property
    def is_refused(self) -> bool:
        """Did the model end its answer by declining?"""
        return self._receipt.finish == "refused"

    def failed(self, candidate: Candidate, kind: FailureKind, reason: str) -> None:
        """A candidate could not serve; its reasoning, if any, is dropped with it."""
        attempt = Attempt(candidate.where, candidate.model, kind, reason)
        self._receipt = replace(
            self._receipt,
            attempts=(*self._receipt.attempts, attempt),
            model=None,
            host=None,
            provider=None,
            usage=Usage(),
            finish="stop",
        )
        self._begin_anew()

    def granted(self, candidate: Candidate, queue_s: float, load_s: float) -> None:
        """The right to use an endpoint was given."""
        # The one before may have been left by choice, in the middle of its reasoning.
        self._begin_anew()
        timing = replace(
            self._receipt.timing,
            queue_s=self._receipt.timing.queue_s + queue_s,
            load_s=self._receipt.timing.load_s + load_s,
        )
        self._receipt = replace(
            self._receipt,
            model=candidate.model,
            host=candidate.host,
            provider=candidate.provider,
            timing=timing,
        )

    def sent(self, now: float) -> None:
        """The request went out."""
        self._sent_at = now

    def charged(self, cost_micro_usd: int) -> None:
        """The turn's calls cost so much so far, failed ones included."""
        self._receipt = replace(self._receipt, cost_micro_usd=cost_micro_usd)

    def recalled(self, answered_by: str, model: ModelKey, usage: Usage, *, is_local: bool) -> None:
        """The answer was given before to the very same question."""
        self._receipt = replace(
            self._receipt,
            model=model,
            host=HostName(answered_by) if is_local else None,
            provider=None if is_local else ProviderName(answered_by),
            usage=usage,
            from_cache=True,
        )

    def add_text(self, text: str, now: float) -> None:
        """A piece of the answer came."""
        self._text.append(text)
        self._touch(now)

    def add_reasoning(self, text: str, now: float) -> None:
        """A piece of the reasoning came."""
        self._reasoning.append(text)
        self._touch(now)

    def ended(self, end: StreamEnd) -> None:
        """The end mark came."""
        finish: FinishReason = "stop"
        if end.finish == "length" or end.finish == "refused":
            finish = end.finish
        self._receipt = replace(self._receipt, usage=end.usage, finish=finish)

    def receipt(self, now: float, finish: FinishReason | None = None) -> Receipt:
        """The receipt as things stand; counts deltas where the host sent no usage."""
        usage = self._receipt.usage
        if usage.completion_tokens == 0 and self._deltas:
            usage = Usage(
                prompt_tokens=usage.prompt_tokens, completion_tokens=self._deltas, estimated=True
            )
        timing = replace(
            self._receipt.timing,
            first_token_s=self.first_token_s,
            generation_s=self.generation_s,
            total_s=now - self._opened_at,
        )
        return replace(
            self._receipt, usage=usage, timing=timing, finish=finish or self._receipt.finish
        )

    def _begin_anew(self) -> None:
        self._reasoning.clear()
        self._sent_at = self._first_at = self._last_at = None
        self._deltas = 0

    def _touch(self, now: float) -> None:
        if self._first_at is None:
            self._first_at = now
        self._last_at = now
        self._deltas += 1
