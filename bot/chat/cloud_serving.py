"""A turn served by a provider: the same draft and events as a host's, and what it cost."""

from dataclasses import replace

from bot.chat.draft import Draft
from bot.chat.planning import Job
from bot.cloud.call import CloudAsk
from bot.cloud.providers import Providers
from bot.cloud.serve import Listener, Question, serve
from bot.domain.chat import Candidate
from bot.domain.errors import Bug, FailureKind, Unavailable
from bot.domain.events import Notice, Reading
from bot.domain.ids import ProviderName
from bot.policy.context import blind
from bot.policy.privacy import CloudConsent, LocalOnly


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
        *,
        question: Question,
        is_last: bool,
    ) -> None:
        """Streams the answer into ``draft``; returns when it is whole.

        Args:
            name: Who serves.
            candidate: The same as the route has it.
            job: What is asked.
            draft: Takes the answer in and tells it.
            question: What was done for it before, at any provider; it is counted further.
            is_last: Nobody is left to move on to.

        Raises:
            Unavailable: this provider could not; the draft tells whether text was shown.
            Refused: it declined; nobody else is asked.
            Bug: there is no consent.
        """
        asking = job.asking
        if not isinstance(asking.consent, CloudConsent):
            raise Bug(f"words without consent were about to be sent to {name}")
        messages = job.abroad()
        is_blinded = any(m.images for m in messages) and not self._providers.config(name).vision
        if is_blinded:
            messages = blind(messages)
        # Judged on exactly what is sent, at the moment of sending: a place may have been made
        # local only while the turn waited for a host.
        consent = await asking.judge(messages)
        if isinstance(consent, LocalOnly):
            raise Unavailable(f"{name} was not asked: {consent.reason}.", FailureKind.CANCELLED)
        if is_blinded:
            await draft.notice(f"{name} was not configured to see; images were left out.")

        async def sent() -> None:
            draft.granted(candidate)
            await draft.emit(Reading(candidate, job.prompt_tokens, candidate.seconds))
            draft.sent()

        async def again(error: Unavailable, words: str) -> None:
            draft.failed(candidate, error)
            await draft.emit(Notice(f"{error.user_message} {words}"))

        ask = CloudAsk(
            turn=asking.turn,
            messages=messages,
            consent=consent,
            answer_tokens=job.answer_tokens,
            sampling=asking.resolved.persona.sampling,
            user=asking.payer,
            server=asking.request.place.server,
        )
        listener = Listener(sent, draft.hear, again, draft.notice)
        try:
            await serve(self._providers, name, ask, question, listener, is_last=is_last)
        finally:
            # What failed calls cost is paid all the same.
            draft.so_far = replace(draft.so_far, cost_micro_usd=question.cost_micro_usd)
