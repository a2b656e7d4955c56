"""A turn served by a provider: the same draft and events as a host's, and what it cost."""

import asyncio
from dataclasses import replace

from bot.chat.draft import Draft
from bot.chat.planning import Job
from bot.cloud.call import CloudAsk
from bot.cloud.providers import Providers
from bot.cloud.serve import Listener, ProviderTries, serve
from bot.domain.chat import Candidate
from bot.domain.errors import Bug, Unavailable, WordsGone
from bot.domain.events import Queued, Reading
from bot.domain.ids import ProviderName
from bot.policy.context import alternating, blind
from bot.policy.privacy import CloudConsent


class CloudServing:
    """Serves jobs by providers; without a consent that covers the words it serves nothing."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    def may_repeat(self, name: ProviderName, question: ProviderTries) -> bool:
        """Is a provider asked once more for this question? It is then counted."""
        return question.may_repeat(name, self._providers)

    async def serve(
        self,
        name: ProviderName,
        candidate: Candidate,
        job: Job,
        draft: Draft,
        *,
        question: ProviderTries,
        is_last: bool,
        is_hurried: bool,
    ) -> None:
        """Streams the answer into ``draft``; returns when it is whole.

        Args:
            name: Who serves.
            candidate: The same as the route has it.
            job: What is asked.
            draft: Takes the answer in and tells it.
            question: What was done for it before, at any provider; it is counted further.
            is_last: Nobody is left who was not asked yet.
            is_hurried: Somebody else could answer: a place is waited for only briefly.

        Raises:
            Unavailable: this provider could not; the draft tells whether text was shown.
            Refused: it declined; nobody else is asked.
            Bug: there is no consent.
        """
        if not isinstance(job.asking.consent, CloudConsent):
            raise Bug(f"words without consent were about to be sent to {name}")
        loop = asyncio.get_running_loop()
        asked_at = loop.time()

        async def queued(place: int, seconds: float) -> None:
            await draft.emit(Queued(name, candidate.model, place, seconds))

        async def sent() -> None:
            draft.granted(candidate, loop.time() - asked_at)
            await draft.emit(Reading(candidate, admitted.prompt_tokens, candidate.seconds))
            draft.sent()

        async def again(error: Unavailable) -> None:
            nonlocal asked_at
            asked_at = loop.time()
            draft.failed(candidate, error)

        listener = Listener(sent, draft.hear, again, draft.notice, queued)
        try:
            while True:
                admitted = await job.admitted()
                ask = await self._ask(name, admitted, draft)
                try:
                    await serve(
                        self._providers,
                        name,
                        ask,
                        question,
                        listener,
                        is_last=is_last,
                        is_hurried=is_hurried,
                    )
                except WordsGone:
                    # While it waited for its place: without those words it goes as well.
                    continue
                break
        finally:
            # What failed calls cost is paid all the same; what is told is what the ledger has, also
            # of an answer that was stopped or cut before its provider told what it counted.
            draft.so_far = replace(
                draft.so_far,
                usage=question.usage,
                cost_micro_usd=question.cost_micro_usd,
                is_cost_estimated=question.is_cost_estimated,
            )

    async def _ask(self, name: ProviderName, job: Job, draft: Draft) -> CloudAsk:
        """The job as this provider is asked; what must be left out of it is told."""
        asking = job.asking
        fitted = job.abroad()
        messages = alternating(fitted.messages)
        await draft.trimmed(messages, fitted.dropped, has_earlier=asking.has_earlier)
        is_blinded = any(m.images for m in messages) and not self._providers.config(name).vision
        if is_blinded:
            messages = blind(messages)
            await draft.notice(f"{name} was not configured to see; images were left out.")
        return CloudAsk(
            turn=asking.turn,
            messages=messages,
            # Not judged here: a place may be made local only while the turn waits for its place,
            # for a told pause or before a second try. Each sending asks anew.
            judge=asking.judge,
            answer_tokens=job.answer_tokens,
            sampling=asking.resolved.persona.sampling,
            user=asking.payer,
            server=asking.request.place.server,
            priority=asking.request.priority or asking.resolved.persona.priority,
        )
