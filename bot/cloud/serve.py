"""Serves one question from one provider, with the few retries it is worth."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from bot.cloud.call import CloudAsk, ProviderCall
from bot.cloud.providers import Providers
from bot.domain.errors import FailureKind, PromptTooLong, Refused, RequestRefused, Unavailable
from bot.domain.events import Delta, StreamEnd
from bot.domain.ids import ProviderName
from bot.policy.context import fit_transcript, message_tokens
from bot.policy.retry import MOST_REQUESTS, ROWS, Tries, counts, retry_wait_s
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


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears an answer as it comes."""

    sent: Callable[[], Awaitable[None]]
    """A request is about to go out."""
    hear: Callable[[Delta], Awaitable[None]]
    again: Callable[[Unavailable, str], Awaitable[None]]
    """This request failed and the same provider is asked again; the text says how."""
    notice: Callable[[str], Awaitable[None]]


async def serve(
    providers: Providers,
    name: ProviderName,
    ask: CloudAsk,
    question: Question,
    listener: Listener,
    *,
    is_last: bool,
) -> StreamEnd:
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
    if question.counted >= MOST_REQUESTS:
        words = f"{name} was not asked: {MOST_REQUESTS} requests are enough for one question."
        raise Unavailable(words, FailureKind.BUSY)
    ask = await _fitted(providers, name, ask, listener)
    requests = 0
    while True:
        call = None
        try:
            async with providers.call(name, ask) as call:
                providers.count_request(is_retry=requests > 0)
                requests += 1
                return await _answer(providers, name, call, listener)
        except Unavailable as err:
            if call is None:
                raise  # Nothing was sent: it is out, busy, resting or too dear.
            question.counted += counts(err.kind)
            tries = Tries(
                here=requests,
                counted=question.counted,
                is_last=is_last,
                has_shown=call.has_shown,
                retries=providers.config(name).retries,
            )
            fixed = await _again(providers, name, ask, err, tries, listener)
            if fixed is None:
                raise
            ask = fixed
        finally:
            if call is not None:
                question.cost_micro_usd += call.cost_micro_usd


async def _answer(
    providers: Providers, name: ProviderName, call: ProviderCall, listener: Listener
) -> StreamEnd:
    """One request, from its sending to its last word.

    Raises:
        Unavailable: it failed, took too long in all, broke off or said nothing.
        Refused: it declined before the first word.
    """
    whole_s = providers.config(name).whole_s
    # A provider that always has one more word would never meet the limits on silence.
    scope = asyncio.timeout(whole_s)
    try:
        async with scope:
            await listener.sent()
            async with call.open() as deltas:
                async for delta in deltas:
                    await listener.hear(delta)
    except TimeoutError as err:
        if not scope.expired():
            raise
        words = f"{name} took longer than {whole_s:.0f} s for its answer."
        raise Unavailable(words, FailureKind.STALL) from err
    # A stream that ends without its end mark raises nothing by itself: it was cut all the same.
    if call.end is None:
        raise Unavailable(f"{name} broke off its answer.", FailureKind.CUT)
    if call.has_text:
        return call.end
    # Nobody else is asked after a refusal: Lantern does not shop for a softer judge.
    if call.end.finish == "refused":
        raise Refused(f"{name} declined to answer this. Another question may fare better.")
    if call.has_reasoning or call.end.usage.reasoning_tokens:
        words = f"{name} spent the whole answer on thinking and said nothing."
        raise Unavailable(words, FailureKind.EMPTY)
    raise Unavailable(f"{name} ended its answer without a word.", FailureKind.EMPTY)


async def _fitted(
    providers: Providers, name: ProviderName, ask: CloudAsk, listener: Listener
) -> CloudAsk:
    """The question fitted to the provider's window, where that is known."""
    try:
        fitted, words = _trimmed(ask, providers.context_length(name), ask.answer_tokens)
    except PromptTooLong as err:
        raise Unavailable(err.user_message, FailureKind.TOO_LONG) from err
    if words:
        await listener.notice(words)
    return fitted


async def _again(
    providers: Providers,
    name: ProviderName,
    ask: CloudAsk,
    error: Unavailable,
    tries: Tries,
    listener: Listener,
) -> CloudAsk | None:
    """What to ask next of the same provider, after the pause it needs; None is nothing."""
    wait_s = retry_wait_s(
        error.kind,
        tries,
        told_s=error.retry_after_s,
        may_retry=providers.may_retry(name),
        jitter=providers.draw(),
    )
    if wait_s is None:
        return None
    words = ""
    match ROWS[error.kind].fix:
        case "room":
            room = max(RETRY_ROOM, 2 * ask.answer_tokens)
            ask = replace(ask, answer_tokens=room, thinking="off")
        case "trim":
            window = int(_TRIM_TO * sum(map(message_tokens, ask.messages)))
            try:
                ask, words = _trimmed(ask, window, 0)
            except RequestRefused:
                return None
            if not words:
                return None  # The same words again would be too long again.
        case "":
            pass
    await listener.again(error, words or f"Asking {name} again.")
    await providers.sleep(wait_s)
    return ask


def _trimmed(ask: CloudAsk, window: int | None, reserve: int) -> tuple[CloudAsk, str]:
    """With the oldest turns left out until the rest fits, and how to say so; often nothing.

    Raises:
        PromptTooLong: not even the last message fits.
    """
    fitted = fit_transcript(ask.messages, window, reserve)
    if not fitted.dropped:
        return ask, ""
    words = f"The conversation is long: its {fitted.dropped} oldest messages were left out."
    return replace(ask, messages=fitted.messages), words
