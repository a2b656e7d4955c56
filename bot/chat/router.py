"""Answers a job by its route: asks the candidates in order until one has answered."""

import structlog

from bot.chat.cloud_serving import CloudServing
from bot.chat.draft import Draft
from bot.chat.host_serving import HostServing
from bot.chat.override import Override
from bot.chat.planning import Job
from bot.chat.walk import walk
from bot.cloud.serve import Question
from bot.domain.chat import Candidate
from bot.domain.errors import Bug, FailureKind, Interrupted, NoCandidates, Unavailable
from bot.domain.events import FellBack

_log = structlog.get_logger(__name__)


class Router:
    """Serves jobs; holds no state between them."""

    def __init__(self, hosts: HostServing, cloud: CloudServing) -> None:
        self._hosts = hosts
        self._cloud = cloud

    async def answer(self, job: Job, draft: Draft, override: Override) -> None:
        """Streams the answer into ``draft``; returns when it is whole.

        Raises:
            Interrupted: it broke after its first word; the draft keeps the text.
            NoCandidates: every candidate failed before its first word, or there was none.
            RequestRefused: the asker's doing, or the model declined.
            BotError: the model spent its answer on reasoning.
        """
        # One for the whole turn: repeats are counted together, at all providers.
        question = Question()

        async def serve(candidate: Candidate, max_wait_s: float | None, is_last: bool) -> None:
            if draft.has_text:
                # The first word came in the very moment of choosing another way: it stands.
                words = "Another way was chosen just as the answer began."
                raise Interrupted(words, FailureKind.CANCELLED)
            if candidate.host is not None:
                await self._hosts.serve(
                    candidate.host, candidate, job, draft, max_wait_s=max_wait_s, is_last=is_last
                )
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

        async def fall_back(candidate: Candidate, failed: Unavailable) -> None:
            _log.info(
                "candidate failed",
                where=candidate.where,
                model=candidate.model,
                kind=str(failed.kind),
                reason=failed.user_message,
            )
            if draft.has_text:
                raise Interrupted(failed.user_message, failed.kind) from failed
            draft.failed(candidate, failed)
            await draft.emit(FellBack(candidate, failed.user_message))

        def comes_again(candidate: Candidate) -> bool:
            name = candidate.provider
            return name is not None and self._cloud.may_repeat(name, question)

        served = await walk(
            job.route.candidates,
            serve,
            fall_back,
            override=override,
            max_wait_s=job.max_wait_s,
            comes_again=comes_again,
        )
        if served is None:
            raise NoCandidates(_no_candidates_text(job, draft))


def _no_candidates_text(job: Job, draft: Draft) -> str:
    """What happened, what was tried, what was rejected, what to do."""
    lines = [f"Nobody could answer with `{job.asking.resolved.model}`."]
    attempts, rejected = draft.so_far.attempts, job.route.rejected
    if attempts:
        lines.append("Tried:")
        lines.extend(f"• {a.where} (`{a.model}`): {a.reason}" for a in attempts)
    if rejected:
        lines.append("Not tried:")
        lines.extend(f"• {r.where} (`{r.model}`): {r.reason}" for r in rejected)
    if not attempts and not rejected:
        lines.append("No host is configured that has it on disk.")
    lines.append("Pick another model with `/model`, or look at the hosts with `/fleet status`.")
    return "\n".join(lines)
