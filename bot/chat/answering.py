"""Answers a job by its route: asks the candidates in order until one has answered.

An answer whose host is lost in the middle of it is gone on with by another that has its model.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

import structlog

from bot.chat.cloud_serving import CloudServing
from bot.chat.draft import Draft
from bot.chat.host_serving import HostServing
from bot.chat.override import Override
from bot.chat.planning import Job
from bot.chat.standing import away_words, nobody_words, private_words, unasked_words
from bot.chat.walk import Newcomers, walk, without
from bot.cloud.serve import ProviderTries
from bot.domain.chat import Candidate
from bot.domain.errors import Bug, FailureKind, Interrupted, NoCandidates, Unavailable
from bot.domain.events import FellBack, Resuming
from bot.domain.hosts import FleetSnapshot
from bot.domain.ids import HostName, ModelKey
from bot.fleet.lease import Elsewhere
from bot.policy.choice import way_back
from bot.policy.privacy import LocalOnly

_BROKE = {
    FailureKind.STALL: "fell silent",
    FailureKind.TIMEOUT: "fell silent",
    FailureKind.CONNECT: "went away",
}
_log = structlog.get_logger(__name__)

RestOf = Callable[[Job, ModelKey, str, int, Collection[HostName]], Job]
"""``Planner.rest_of``."""


class Answering:
    """Serves jobs; holds no state between them."""

    def __init__(
        self,
        hosts: HostServing,
        cloud: CloudServing,
        rest_of: RestOf,
        snapshot: Callable[[], FleetSnapshot],
    ) -> None:
        self._hosts = hosts
        self._cloud = cloud
        self._rest_of = rest_of
        self._snapshot = snapshot

    async def answer(
        self, job: Job, draft: Draft, override: Override, newcomers: Newcomers | None = None
    ) -> None:
        """Streams the answer into ``draft``; returns when it is whole.

        ``newcomers`` are hosts that the job knows nothing of (`walk`).

        Raises:
            Interrupted: it broke after its first word, and no other host could go on; the draft
                keeps the text.
            NoCandidates: every candidate failed before its first word, or there was none.
            RequestRefused: the asker's doing, or the model declined.
            BotError: the model spent its answer on reasoning.
        """
        try:
            await self._walked(job, draft, override, newcomers)
            return
        except Interrupted as broke:
            cut = broke
        # Only a host that is lost makes a seam: what a provider began, or what its asker chose to
        # leave, nobody goes on with. Each time one host fewer is left.
        while (lost := draft.so_far.seams) and (model := draft.receipt().model) is not None:
            out = frozenset(seam.host for seam in lost)
            said = draft.receipt().usage.completion_tokens
            rest = self._rest_of(job, model, draft.text, said, out)
            _log.info(
                "host lost in an answer", host=lost[-1].host, others=len(rest.route.candidates)
            )
            if not rest.route.candidates:
                break
            try:
                await self._walked(rest, draft, Override(), None)
            except Interrupted as broke:
                cut = broke
            except NoCandidates:
                words = f"{cut.user_message} No other machine could go on with it."
                cut = Interrupted(words, cut.kind)
                break
            else:
                draft.so_far = replace(draft.so_far, cause="")
                return
        raise cut

    async def _walked(
        self, job: Job, draft: Draft, override: Override, newcomers: Newcomers | None
    ) -> None:
        """Asks the candidates of one route, for an answer or for the rest of one.

        Raises:
            BotError: as ``answer`` says.
        """
        # One for the whole walk: repeats are counted together, at all providers.
        question = ProviderTries()
        served = await walk(
            job.route.candidates,
            partial(self._serve, job, draft, question),
            partial(_fall_back, draft),
            override=override,
            max_wait_s=job.max_wait_s,
            comes_again=partial(self._cloud.may_repeat, question=question),
            newcomers=newcomers,
            patient_with=job.route.chosen,
        )
        if served is None:
            raise _nobody(job, draft, away_words(self._snapshot()))

    async def _serve(
        self,
        job: Job,
        draft: Draft,
        question: ProviderTries,
        candidate: Candidate,
        max_wait_s: float | None,
        is_last: bool,
        broken: Collection[HostName],
    ) -> None:
        """One candidate's try, as ``walk`` asks for it.

        Raises:
            Unavailable: it could not.
            Interrupted: the one before has begun to answer.
        """
        if draft.has_spoken:
            # The first word came in the very moment of choosing another way: it stands.
            words = "Another way was chosen just as the answer began."
            raise Interrupted(words, FailureKind.CANCELLED)
        draft.asks()
        if candidate.host is not None:
            if seams := draft.so_far.seams:
                await draft.emit(Resuming(seams[-1].host, candidate))
            kept = _without(job, broken) if broken else job
            try:
                await self._hosts.serve(
                    candidate.host, candidate, kept, draft, max_wait_s=max_wait_s, is_last=is_last
                )
            except Elsewhere as better:
                draft.left(candidate, better)
                raise
            except Unavailable as failed:
                # Mostly the asker's own Stop, which ends this turn in the loop's next step: it was
                # told, stored and logged as the host's failure.
                if failed.kind is FailureKind.CANCELLED:
                    await asyncio.sleep(0)
                raise
        elif candidate.provider is not None:
            await self._cloud.serve(
                candidate.provider,
                candidate,
                job,
                draft,
                question=question,
                is_last=is_last,
                is_hurried=max_wait_s is not None,
            )
        else:
            raise Bug(f"nobody can serve by {candidate.where}")


async def _fall_back(draft: Draft, candidate: Candidate, failed: Unavailable) -> None:
    """Leaves a candidate for the next, or ends the walk.

    Raises:
        Interrupted: it failed after its first word, which none can take back.
    """
    if draft.has_spoken:
        # Readers are told who, whoever asks for more gets the other side's own words.
        if candidate.host is not None:
            draft.lost(candidate.host, failed)
        draft.so_far = replace(draft.so_far, cause=failed.user_message)
        words = f"{candidate.where} {_BROKE.get(failed.kind, 'broke off')}."
        raise Interrupted(words, failed.kind) from failed
    draft.failed(candidate, failed)
    await draft.emit(FellBack(candidate, failed.user_message))


def _without(job: Job, broken: Collection[HostName]) -> Job:
    """The job for whom no wait is left for these hosts, however soon they were back."""
    replan = job.replan
    again = None if replan is None else lambda: without(replan(), broken)
    return replace(job, route=without(job.route, broken), replan=again)


def _nobody(job: Job, draft: Draft, away: str) -> NoCandidates:
    """Briefly for readers, in full for the log; ``/why`` has it all from the receipt."""
    attempts, asking, route = draft.so_far.attempts, job.asking, job.route
    kept_home = ""
    # Where no provider is configured, nobody need hear that none may be asked.
    if isinstance(asking.consent, LocalOnly) and any(r.is_cloud for r in route.rejected):
        kept_home = asking.consent.words
        unasked = unasked_words(asking.resolved.provider or "", kept_home)
        notes = (private_words(kept_home), unasked)
        # Small print under these words says so; what is asked again has none of its own.
        if asking.request.kind == "new" and any(note in draft.so_far.notices for note in notes):
            kept_home = ""
    resolved, persona, chosen = asking.resolved, asking.resolved.persona, ""
    is_alone = resolved.is_named and not asking.request.must_see
    if is_alone and (persona.model, *persona.alternatives) != resolved.models:
        back = way_back(resolved.scope)
        how = f"{back} goes back to" if back else "without it"
        own = f"the persona's own model{'' if back else ' answers'}"
        # By its name: behind a host's long words "it" could be anything.
        chosen = f"`{resolved.model}` is {resolved.model_reason}; {how} {own}."
    model = resolved.model
    words = nobody_words(
        route, attempts, model=model, chosen=chosen, kept_home=kept_home, away=away
    )
    details = [f"{r.where} ({r.model}): {r.reason}" for r in (*attempts, *route.rejected)]
    kinds = [a.kind for a in attempts if a.kind is not None]
    return NoCandidates(words, kinds, "; ".join(details))
