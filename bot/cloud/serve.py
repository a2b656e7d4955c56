"""Serves one question from one provider, with the few retries it is worth."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from bot.cloud.asking import CloudAsk
from bot.cloud.call import Call
from bot.cloud.providers import Providers
from bot.domain.cloud import Price
from bot.domain.errors import FailureKind, PromptTooLong, Refused, RequestRefused, Unavailable
from bot.domain.events import Delta, StreamEnd, TextDelta
from bot.domain.ids import ProviderName
from bot.policy.context import fit_transcript, message_tokens
from bot.policy.retry import MOST_REQUESTS, Fix, Retry, Tries, counts, plan_retry
from bot.policy.wires import RETRY_ROOM

_TRIM_TO = 0.6
"""A transcript that was too long is cut to this share, since nobody counts tokens as they do."""


@dataclass(slots=True)
class Question:
    """What was done for one question so far, at all providers; one per turn."""

    counted: int = 0
    """Requests that count towards the few a question may make."""
    cost_micro_usd: int = 0
    """Of all its calls, those that failed included."""

    @property
    def is_spent(self) -> bool:
        """Were enough requests made?"""
        return self.counted >= MOST_REQUESTS


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears an answer as it comes."""

    sent: Callable[[], Awaitable[None]]
    """A request is about to go out."""
    hear: Callable[[Delta], Awaitable[None]]
    again: Callable[[Unavailable, str], Awaitable[None]]
    """This request failed and the same provider is asked again; the text says how."""
    notice: Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Served:
    """A whole answer."""

    end: StreamEnd
    price: Price
    """By what it was charged."""


async def serve(
    providers: Providers,
    name: ProviderName,
    ask: CloudAsk,
    question: Question,
    listener: Listener,
    *,
    is_last: bool,
) -> Served:
    """Ask a provider, again where that helps, and pass on every delta.

    Args:
        providers: The cloud.
        name: Whom to ask.
        ask: What to ask.
        question: What was done for this question before; it is counted further.
        listener: Hears the answer.
        is_last: Nobody is left to move on to.

    Raises:
        Unavailable: it could not; the next candidate may, unless text was heard already.
        Refused: it declined to answer; nobody else is to be asked.
        Bug: the consent does not cover these words.
    """
    if question.is_spent:
        words = f"{name} was not asked: {MOST_REQUESTS} requests are enough for one question."
        raise Unavailable(words, FailureKind.BUSY)
    ask = await _fitted(providers, name, ask, listener)
    attempt = _Attempt(providers, name, question, listener)
    while True:
        try:
            return await attempt.once(ask)
        except Unavailable as err:
            if not attempt.was_sent:
                raise
            question.counted += counts(err.kind)
            tries = Tries(
                here=attempt.requests,
                counted=question.counted,
                is_last=is_last,
                has_shown=attempt.has_shown,
                retries=providers.config(name).retries,
            )
            fixed = await _again(providers, name, ask, err, tries, listener)
            if fixed is None:
                raise
            ask = fixed


class _Attempt:
    """Asks one provider, as often as it is told to."""

    def __init__(
        self, providers: Providers, name: ProviderName, question: Question, listener: Listener
    ) -> None:
        self._providers = providers
        self._name = name
        self._question = question
        self._listener = listener
        self.requests = 0
        self.was_sent = False
        self.has_shown = False

    async def once(self, ask: CloudAsk) -> Served:
        """One request, from its permit to its last word."""
        self.was_sent = False
        call: Call | None = None
        try:
            async with self._providers.call(self._name, ask) as call:
                self._providers.count_request(is_retry=self.requests > 0)
                self.requests += 1
                self.was_sent = True
                return await self._in_time(call)
        finally:
            if call is not None:
                self._question.cost_micro_usd += call.cost_micro_usd

    async def _in_time(self, call: Call) -> Served:
        whole_s = self._providers.config(self._name).whole_s
        scope = asyncio.timeout(whole_s)
        try:
            async with scope:
                return await self._streamed(call)
        except TimeoutError as err:
            if not scope.expired():
                raise
            words = f"{self._name} took longer than {whole_s:.0f} s for its answer."
            raise Unavailable(words, FailureKind.STALL) from err

    async def _streamed(self, call: Call) -> Served:
        await self._listener.sent()
        async with call.open() as deltas:
            async for delta in deltas:
                self.has_shown = self.has_shown or isinstance(delta, TextDelta)
                await self._listener.hear(delta)
        if call.end is None:
            words = f"{self._name} broke off its answer."
            raise Unavailable(words, FailureKind.CUT)
        if not call.has_text:
            raise _wordless(self._name, call, call.end)
        return Served(call.end, call.price)


async def _fitted(
    providers: Providers, name: ProviderName, ask: CloudAsk, listener: Listener
) -> CloudAsk:
    """The question fitted to the provider's window, where that is known."""
    window = providers.context_length(name)
    try:
        fitted = fit_transcript(ask.messages, window, ask.answer_tokens)
    except PromptTooLong as err:
        raise Unavailable(err.user_message, FailureKind.TOO_LONG) from err
    if not fitted.dropped:
        return ask
    await listener.notice(_trimmed_words(fitted.dropped))
    return replace(ask, messages=fitted.messages)


async def _again(
    providers: Providers,
    name: ProviderName,
    ask: CloudAsk,
    error: Unavailable,
    tries: Tries,
    listener: Listener,
) -> CloudAsk | None:
    """What to ask next of the same provider, after the pause it needs; None is nothing."""
    plan = plan_retry(
        error.kind,
        tries,
        told_s=error.retry_after_s,
        may_retry=providers.may_retry(name),
        jitter=providers.draw(),
    )
    if not isinstance(plan, Retry):
        return None
    fixed, words = _fixed(ask, plan.fix)
    if fixed is None:
        return None
    await listener.again(error, words or f"Asking {name} again.")
    await providers.pause(plan.wait_s)
    return fixed


def _fixed(ask: CloudAsk, fix: Fix) -> tuple[CloudAsk | None, str]:
    match fix:
        case Fix.NOTHING:
            return ask, ""
        case Fix.ROOM:
            room = max(RETRY_ROOM, 2 * ask.answer_tokens)
            return replace(ask, answer_tokens=room, thinking="off"), ""
        case Fix.TRIM:
            return _trimmed(ask)


def _trimmed(ask: CloudAsk) -> tuple[CloudAsk | None, str]:
    """With the oldest turns left out; None when only the last message is left."""
    window = int(_TRIM_TO * sum(map(message_tokens, ask.messages)))
    try:
        fitted = fit_transcript(ask.messages, window, 0)
    except RequestRefused:
        return None, ""
    if not fitted.dropped:
        return None, ""
    return replace(ask, messages=fitted.messages), _trimmed_words(fitted.dropped)


def _trimmed_words(dropped: int) -> str:
    return f"The conversation is long: its {dropped} oldest messages were left out."


def _wordless(name: ProviderName, call: Call, end: StreamEnd) -> Unavailable | Refused:
    if end.finish == "refused":
        return Refused(f"{name} declined to answer this. Another question may fare better.")
    if call.has_reasoning or end.usage.reasoning_tokens:
        words = f"{name} spent the whole answer on thinking and said nothing."
    else:
        words = f"{name} ended its answer without a word."
    return Unavailable(words, FailureKind.EMPTY)
