"""Walks a route: serve a candidate, or move on and say why, or follow the asker's own choice."""

from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from bot.chat.cloud_serving import CloudServing
from bot.chat.draft import Draft
from bot.chat.host_serving import HOST_AT_FAULT, HostServing
from bot.chat.override import Override
from bot.chat.planning import Job
from bot.cloud.serve import Question
from bot.domain.chat import Candidate
from bot.domain.errors import Bug, FailureKind, Interrupted, NoCandidates, Unavailable
from bot.domain.events import FellBack, TurnEvent
from bot.domain.ids import HostName

Emit = Callable[[TurnEvent], Awaitable[None]]

_log = structlog.get_logger(__name__)


class Router:
    """Serves jobs; holds no state between them."""

    def __init__(self, hosts: HostServing, cloud: CloudServing | None = None) -> None:
        self._hosts = hosts
        self._cloud = cloud

    async def answer(self, job: Job, draft: Draft, emit: Emit, override: Override) -> None:
        """Streams the answer into ``draft`` and ``emit``; returns when it is whole.

        Raises:
            Interrupted: it broke after its first word; the draft keeps the text.
            NoCandidates: every candidate failed before its first word, or there was none.
            RequestRefused: the asker's doing, or the model declined.
        """
        # None waits as long as it takes: for the last one, and for those found busy before.
        limits: dict[Candidate, float | None] = {}
        waiting = deque(job.route.candidates)
        lost: set[HostName] = set()
        question = Question()
        while waiting:
            # Also chosen between two attempts, or before the first.
            wanted = override.take()
            if wanted is not None:
                _put_first(waiting, wanted)
            candidate = waiting.popleft()
            if candidate.host in lost:
                continue
            try:
                async with override.attempt(candidate):
                    limit = limits.get(candidate, job.max_wait_s if waiting else None)
                    await self._serve(
                        candidate, job, draft, emit, question, limit, is_last=not waiting
                    )
                    return
            except Unavailable as failed:
                await self._fall_back(candidate, failed, draft, emit)
                is_busy = failed.kind is FailureKind.BUSY and candidate.host is not None
                if is_busy and candidate not in limits:
                    # Nobody else may be able to: come back, and wait.
                    limits[candidate] = None
                    waiting.append(candidate)
                if candidate.host is not None and failed.kind in HOST_AT_FAULT:
                    lost.add(candidate.host)
            else:
                if draft.has_text:
                    # The first word came in the very moment of choosing: it stands.
                    words = "Another way was chosen just as the answer began."
                    raise Interrupted(words, FailureKind.CANCELLED)
                # The asker chose another way; what was waited for stays as a last resort.
                waiting.append(candidate)
        raise NoCandidates(_no_candidates_text(job, draft))

    async def _serve(
        self,
        candidate: Candidate,
        job: Job,
        draft: Draft,
        emit: Emit,
        question: Question,
        max_wait_s: float | None,
        *,
        is_last: bool,
    ) -> None:
        if candidate.host is not None:
            await self._hosts.serve(
                candidate.host, candidate, job, draft, emit, max_wait_s=max_wait_s
            )
        elif candidate.provider is not None and self._cloud is not None:
            await self._cloud.serve(
                candidate.provider,
                candidate,
                job,
                draft,
                emit,
                question=question,
                is_last=is_last,
            )
        else:
            raise Bug(f"nobody can serve by {candidate.where}")

    async def _fall_back(
        self, candidate: Candidate, failed: Unavailable, draft: Draft, emit: Emit
    ) -> None:
        _log.info(
            "candidate failed",
            where=candidate.where,
            model=candidate.model,
            kind=str(failed.kind),
            reason=failed.user_message,
        )
        if draft.has_text:
            raise Interrupted(failed.user_message, failed.kind) from failed
        draft.failed(candidate, failed.kind, failed.user_message)
        await emit(FellBack(candidate, failed.user_message))


def _put_first(waiting: deque[Candidate], wanted: Candidate) -> None:
    """Moves it to the front, so that it is not tried twice."""
    if wanted in waiting:
        waiting.remove(wanted)
    waiting.appendleft(wanted)


def _no_candidates_text(job: Job, draft: Draft) -> str:
    """What happened, what was tried, what was rejected, what to do."""
    lines = [f"Nobody could answer with `{job.resolved.model}`."]
    if draft.attempts:
        lines.append("Tried:")
        lines.extend(f"• {a.where} (`{a.model}`): {a.reason}" for a in draft.attempts)
    if job.route.rejected:
        lines.append("Not tried:")
        lines.extend(f"• {r.where} (`{r.model}`): {r.reason}" for r in job.route.rejected)
    if not draft.attempts and not job.route.rejected:
        lines.append("No host is configured that has it on disk.")
    lines.append("Pick another model with `/model`, or look at the hosts with `/fleet status`.")
    return "\n".join(lines)
