"""A turn served by a provider: the same draft and events as a host's, and what it cost."""

import asyncio
from collections.abc import Awaitable, Callable

from bot.chat.draft import Draft
from bot.chat.planning import Job
from bot.cloud.call import CloudAsk
from bot.cloud.providers import Providers
from bot.cloud.serve import Listener, Question, serve
from bot.domain.chat import Candidate, Message
from bot.domain.errors import Bug, FailureKind, Unavailable
from bot.domain.events import (
    Delta,
    Notice,
    Reading,
    ReasoningDelta,
    StreamEnd,
    TextDelta,
    TurnEvent,
)
from bot.domain.ids import ProviderName
from bot.policy.context import blind
from bot.policy.privacy import CloudConsent, LocalOnly

Emit = Callable[[TurnEvent], Awaitable[None]]


class CloudServing:
    """Serves jobs by providers; without a consent that covers the words it serves nothing."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    async def serve(
        self,
        name: ProviderName,
        candidate: Candidate,
        job: Job,
        draft: Draft,
        emit: Emit,
        *,
        question: Question,
        is_last: bool,
    ) -> None:
        """Streams the answer into ``draft`` and ``emit``; returns when it is whole.

        Raises:
            Unavailable: this provider could not; the draft tells whether text was shown.
            Refused: it declined; nobody else is asked.
            Bug: there is no consent.
        """
        if not isinstance(job.consent, CloudConsent):
            raise Bug(f"words without consent were about to be sent to {name}")
        consent = await job.renewed_consent()
        if isinstance(consent, LocalOnly):
            raise Unavailable(f"{name} was not asked: {consent.reason}.", FailureKind.CANCELLED)
        loop = asyncio.get_running_loop()

        async def sent() -> None:
            draft.granted(candidate, 0.0, 0.0)
            await emit(Reading(candidate, job.prompt_tokens, candidate.seconds))
            draft.sent(loop.time())

        async def hear(delta: Delta) -> None:
            match delta:
                case TextDelta(text=text):
                    draft.add_text(text, loop.time())
                    await emit(delta)
                case ReasoningDelta(text=text):
                    draft.add_reasoning(text, loop.time())
                    await emit(delta)
                case StreamEnd():
                    draft.ended(delta)

        async def again(error: Unavailable, words: str) -> None:
            draft.failed(candidate, error.kind, error.user_message)
            await emit(Notice(f"{error.user_message} {words}"))

        async def notice(text: str) -> None:
            draft.noticed(text)
            await emit(Notice(text))

        ask = CloudAsk(
            turn=job.turn,
            messages=await self._visible(name, job, draft, emit),
            consent=consent,
            answer_tokens=job.answer_tokens,
            sampling=job.resolved.persona.sampling,
            user=job.user,
            server=job.server,
        )
        listener = Listener(sent, hear, again, notice)
        try:
            await serve(self._providers, name, ask, question, listener, is_last=is_last)
        finally:
            draft.charged(question.cost_micro_usd)

    async def _visible(
        self, name: ProviderName, job: Job, draft: Draft, emit: Emit
    ) -> tuple[Message, ...]:
        """The messages as this provider's model can take them."""
        if self._providers.config(name).vision or not any(m.images for m in job.abroad):
            return job.abroad
        text = f"{name} was not configured to see; images were left out."
        draft.noticed(text)
        await emit(Notice(text))
        return blind(job.abroad)
