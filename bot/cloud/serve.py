"""Serves one question from one provider, with the few retries it is worth."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from bot.cloud.call import CloudAsk, ProviderCall
from bot.cloud.deployment import TellPlace
from bot.cloud.providers import Providers, unheard
from bot.domain.chat import Usage
from bot.domain.errors import (
    FailureKind,
    PromptTooLong,
    Refused,
    RequestRefused,
    Unavailable,
    WordsGone,
)
from bot.domain.events import Delta, StreamEnd
from bot.domain.ids import ProviderName
from bot.domain.values import value
from bot.policy.concurrency import BRIEF_WAIT_S
from bot.policy.context import fit_transcript, message_tokens
from bot.policy.dialects import RETRY_ROOM
from bot.policy.provider_health import barred
from bot.policy.retry import (
    FIRST_WORD_S,
    LONGEST_TOLD_S,
    MOST_REPEATS,
    ROWS,
    Tries,
    retry_wait_s,
)

_TRIM_TO = 0.6
"""A transcript that was too long is cut to this share, since nobody counts tokens as they do."""

_SHOWN_S = 2.0
"""A shorter pause is over before anybody has read of it."""


@dataclass(slots=True)
class ProviderTries:
    """What was done for one question so far, at all providers; one per turn."""

    asked: dict[ProviderName, Counter[int]] = field(
        default_factory=dict[ProviderName, Counter[int]]
    )
    """Requests made to each, by its deployment's number."""
    repeats: int = 0
    """Of them, those made when each deployment in service there had been asked before."""
    again_at: dict[ProviderName, float] = field(default_factory=dict[ProviderName, float])
    """Who may be asked once more after everybody else, and not before when (the loop's time)."""
    due: float | None = None
    """The loop's time by which its first word must come; None while nobody was asked."""
    patient_until: float | None = None
    """The loop's time after which it waits in no line; None while it waited in none."""
    cost_micro_usd: int = 0
    """Of all its calls, those that failed included."""
    is_cost_estimated: bool = False
    """Did a provider not tell what it counted, of any of them that cost something?"""
    usage: Usage = field(default_factory=Usage)
    """By what the newest of them is charged, once it is settled."""
    news: str = ""
    """To be said as soon as the provider that failed has been asked again."""

    def patience(self, now: float, max_wait_s: float, *, is_hurried: bool) -> float:
        """The loop's time until which a place is waited for."""
        if is_hurried:
            return now + min(BRIEF_WAIT_S, max_wait_s)
        # One limit for the whole question: nobody waits it out once at each provider.
        self.patient_until = self.patient_until or now + max_wait_s
        return min(self.patient_until, self.due or self.patient_until)

    def paid(self, call: ProviderCall) -> None:
        """A call is settled."""
        self.usage = call.usage
        self.cost_micro_usd += call.cost_micro_usd
        if call.cost_micro_usd and call.usage.estimated:
            self.is_cost_estimated = True

    def may_repeat(self, name: ProviderName, providers: Providers) -> bool:
        """Is a provider asked once more now that nobody fresh is left? It is then counted."""
        if name not in self.again_at or self.repeats >= MOST_REPEATS:
            return False
        if not providers.take_repeat(name):
            return False
        self.repeats += 1
        return True


@value
class Listener:
    """Who hears an answer as it comes."""

    sent: Callable[[], Awaitable[None]]
    """A request is about to go out; its words were judged."""
    hear: Callable[[Delta], Awaitable[None]]
    again: Callable[[Unavailable], Awaitable[None]]
    """This request failed and the same provider may be asked again."""
    notice: Callable[[str], Awaitable[None]]
    queued: TellPlace = unheard
    """It waits: its place in the line, 1 being next, and the seconds until its turn."""


async def serve(
    providers: Providers,
    name: ProviderName,
    ask: CloudAsk,
    question: ProviderTries,
    listener: Listener,
    *,
    is_last: bool,
    is_hurried: bool = False,
) -> StreamEnd:
    """Ask a provider, again where that helps, and pass on every delta.

    Args:
        providers: The cloud.
        name: Whom to ask.
        ask: What to ask.
        question: What was done for this question before; it is counted further.
        listener: Hears the answer.
        is_last: Nobody is left who was not asked yet.
        is_hurried: Somebody else could answer, so that a place here is waited for only briefly.

    Raises:
        Unavailable: it could not; the next candidate may, unless text was heard already. The
            question knows whether this one may be asked once more after them.
        Refused: it declined to answer; nobody else is to be asked.
        WordsGone: it was sent nothing, since some of the words were taken back meanwhile.
        Bug: the consent does not cover these words.
    """
    loop = asyncio.get_running_loop()
    if (again_at := question.again_at.pop(name, None)) is not None:
        await _rest(providers, max(0.0, again_at - loop.time()), listener)
    # The persona's own goes first, as a request's does before a deployment's in LiteLLM.
    ask = replace(ask, answer_tokens=ask.room.at(providers.config(name)))
    ask = await _fitted(providers, name, ask, listener)
    while True:
        now = loop.time()
        if question.due is not None and now >= question.due:
            words = f"{name} was not asked: no word had come within {FIRST_WORD_S:.0f} s."
            raise Unavailable(words, FailureKind.TIMEOUT)
        until = question.patience(now, providers.config(name).max_wait_s, is_hurried=is_hurried)
        call, question.usage, due = None, Usage(), question.due
        asked = question.asked.setdefault(name, Counter())
        deployment = providers.next_deployment(name, asked)
        number = deployment.config.deployment
        try:
            async with providers.call(deployment, ask, until, listener.queued) as call:
                if not asked[number]:
                    providers.count_first()
                asked[number] += 1
                question.due = due or loop.time() + FIRST_WORD_S
                return await _answer(providers, name, call, listener, question, question.due)
        except WordsGone:
            # Nobody was sent anything: of the tries it is worth none is gone.
            asked[number] -= 1
            question.due = due
            raise
        except Unavailable as err:
            fixed = await _after(
                providers, name, ask, err, call, question, listener, is_last=is_last
            )
            if fixed is None:
                raise
            ask = fixed
        finally:
            if call is not None:
                question.paid(call)


async def _answer(
    providers: Providers,
    name: ProviderName,
    call: ProviderCall,
    listener: Listener,
    question: ProviderTries,
    due: float,
) -> StreamEnd:
    """One request, from its sending to its last word.

    Raises:
        Unavailable: it failed, took too long in all, broke off or said nothing.
        Refused: it declined before the first word.
    """
    whole_s = providers.config(name).whole_s
    # A provider that always has one more word would never meet the limits on silence.
    scope = asyncio.timeout(whole_s)
    news, question.news = question.news, ""
    try:
        async with scope, call.open(due, listener.sent) as deltas:
            if news:
                await listener.notice(news)
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


async def _after(
    providers: Providers,
    name: ProviderName,
    ask: CloudAsk,
    error: Unavailable,
    call: ProviderCall | None,
    question: ProviderTries,
    listener: Listener,
    *,
    is_last: bool,
) -> CloudAsk | None:
    """What to ask next at the same provider; None is nothing now."""
    asked, now = question.asked[name], asyncio.get_running_loop().time()
    has_shown = call is not None and call.has_shown
    # What one key or address refuses another may take: it is as fresh as another provider, and
    # nearer, for it is the same model.
    is_fresh_left = ROWS[error.kind].is_elsewhere_fine and any(
        not asked[deployment.config.deployment] and barred(deployment.health, now) is None
        for deployment in providers.deployments(name)
    )
    if is_fresh_left and not has_shown:
        if call is not None:
            await listener.again(error)
        return ask
    if call is None:
        return None  # Nothing was sent: it is out, busy, resting or too dear.
    tries = Tries(
        here=asked.total() - len(+asked) + 1,
        repeats=question.repeats,
        has_shown=has_shown,
        retries=providers.config(name).retries,
    )
    return await _again(providers, name, ask, error, tries, question, listener, is_last=is_last)


async def _again(
    providers: Providers,
    name: ProviderName,
    ask: CloudAsk,
    error: Unavailable,
    tries: Tries,
    question: ProviderTries,
    listener: Listener,
    *,
    is_last: bool,
) -> CloudAsk | None:
    """What to ask next of the same provider, after the pause it needs; None is nothing now."""
    now = asyncio.get_running_loop().time()
    wait_s = retry_wait_s(
        error.kind,
        tries,
        told_s=error.retry_after_s,
        left_s=(question.due or now) - now,
        jitter=providers.draw(),
    )
    if wait_s is None:
        return None
    if not is_last and (ROWS[error.kind].is_fresh_first or wait_s > LONGEST_TOLD_S):
        question.again_at[name] = now + wait_s
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
                return None  # The same words again would be too long again.
        case "":
            pass
    if not providers.take_repeat(name):
        return None
    question.repeats += 1
    # Not before it is: the words may have to stay here by then, and what is said stays under the
    # answer, also of somebody else.
    question.news = words or f"{name} was asked again."
    await listener.again(error)
    await _rest(providers, wait_s, listener)
    return ask


async def _rest(providers: Providers, wait_s: float, listener: Listener) -> None:
    """A pause before a second try, shown where it is long enough to be read."""
    if wait_s >= _SHOWN_S:
        await listener.queued(1, wait_s)
    await providers.sleep(wait_s)


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
