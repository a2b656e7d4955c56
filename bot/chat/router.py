"""Walks a route: get the right to use a candidate, stream from it, or move on and say why."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from bot.chat.draft import Draft
from bot.chat.planning import Job
from bot.domain.chat import Candidate, Endpoint, InferenceRequest, Message
from bot.domain.errors import (
    Bug,
    FailureKind,
    Interrupted,
    NoCandidates,
    Refused,
    Unavailable,
)
from bot.domain.events import (
    FellBack,
    Notice,
    Reading,
    ReasoningDelta,
    StreamEnd,
    TextDelta,
    TurnEvent,
)
from bot.domain.hosts import SpeedRecord
from bot.domain.ids import HostName
from bot.fleet.fleet import Fleet
from bot.fleet.host import Lease
from bot.inference.streams import Inference
from bot.policy.context import fit_transcript

Emit = Callable[[TurnEvent], Awaitable[None]]

_HOST_AT_FAULT = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.TIMEOUT,
        FailureKind.CUT,
        FailureKind.STALL,
        FailureKind.SERVER,
        FailureKind.OVERLOAD,
        FailureKind.GARBAGE,
        FailureKind.AUTH,
    }
)
"""Failures of a running request that take the host out until it is probed back in."""

_STALE = frozenset({FailureKind.WRONG_MODEL, FailureKind.NOT_THERE})
"""What was in memory is not any more: look again and load it properly, once."""

_log = structlog.get_logger(__name__)


class Router:
    """Serves jobs; holds no state between them."""

    def __init__(self, fleet: Fleet, inference: Inference) -> None:
        self._fleet = fleet
        self._inference = inference

    async def answer(self, job: Job, draft: Draft, emit: Emit) -> None:
        """Streams the answer into ``draft`` and ``emit``; returns when it is whole.

        Raises:
            Interrupted: it broke after its first word; the draft keeps the text.
            NoCandidates: every candidate failed before its first word, or there was none.
            RequestRefused: the asker's doing, such as a prompt no window holds.
        """
        lost: set[HostName] = set()
        for candidate in job.route.candidates:
            if candidate.host in lost:
                continue
            try:
                await self._serve(candidate, job, draft, emit)
            except Unavailable as failed:
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
                if candidate.host is not None and failed.kind in _HOST_AT_FAULT:
                    lost.add(candidate.host)
                await emit(FellBack(candidate, failed.user_message))
            else:
                return
        raise NoCandidates(_no_candidates_text(job, draft))

    async def _serve(self, candidate: Candidate, job: Job, draft: Draft, emit: Emit) -> None:
        if candidate.host is None:
            raise Bug(f"{candidate.where} is no host")
        try:
            await self._serve_on_host(candidate, candidate.host, job, draft, emit)
        except Unavailable as failed:
            if failed.kind not in _STALE or draft.has_text:
                raise
            draft.failed(candidate, failed.kind, failed.user_message)
            await emit(Notice(f"{failed.user_message} Loading `{candidate.model}` properly."))
            await self._fleet.probe(candidate.host)
            await self._serve_on_host(candidate, candidate.host, job, draft, emit)

    async def _serve_on_host(
        self, candidate: Candidate, host: HostName, job: Job, draft: Draft, emit: Emit
    ) -> None:
        wish = replace(job.wish, model_key=candidate.model)
        async with self._fleet.lease(host, wish) as lease:
            async for step in lease:
                await emit(step)
            draft.granted(candidate, lease.queue_s, lease.load_s)
            messages = await self._fit(job, lease, draft, emit)
            try:
                await self._stream(candidate, lease.endpoint, messages, job, draft, emit)
            except Unavailable as failed:
                if failed.kind in _HOST_AT_FAULT:
                    self._fleet.report_failure(host, failed.user_message)
                raise
        self._remember_speed(host, candidate, draft)

    async def _fit(self, job: Job, lease: Lease, draft: Draft, emit: Emit) -> tuple[Message, ...]:
        """The messages fitted to what was really loaded, saying what was left out."""
        window, messages, dropped = lease.instance.context_length, job.messages, job.dropped
        if window is not None and window < job.prompt_tokens + job.answer_tokens:
            fitted = fit_transcript(messages, window, job.answer_tokens)
            messages, dropped = fitted.messages, dropped + fitted.dropped
        if dropped:
            text = f"The conversation is long: its {dropped} oldest messages were left out."
            draft.noticed(text)
            await emit(Notice(text))
        return messages

    async def _stream(
        self,
        candidate: Candidate,
        endpoint: Endpoint,
        messages: tuple[Message, ...],
        job: Job,
        draft: Draft,
        emit: Emit,
    ) -> None:
        loop = asyncio.get_running_loop()
        await emit(Reading(candidate, job.prompt_tokens, self._expected_prefill(candidate, job)))
        request = InferenceRequest(messages, job.resolved.persona.sampling)
        draft.sent(loop.time())
        async with self._inference.open(endpoint, request) as deltas:
            async for delta in deltas:
                match delta:
                    case TextDelta(text=text):
                        draft.add_text(text, loop.time())
                        await emit(delta)
                    case ReasoningDelta(text=text):
                        draft.add_reasoning(text, loop.time())
                        await emit(delta)
                    case StreamEnd():
                        draft.ended(delta)
        if not draft.text.strip():
            if draft.is_refused:
                raise Refused(f"{candidate.where} declined to answer this.")
            raise Unavailable(_empty_text(candidate, draft), FailureKind.EMPTY)

    def _expected_prefill(self, candidate: Candidate, job: Job) -> float | None:
        host = self._fleet.snapshot().hosts.get(candidate.host or HostName(""))
        speed = host.speeds.get(candidate.model) if host is not None else None
        if speed is None or not speed.prefill_tokens_per_s:
            return None
        return job.prompt_tokens / speed.prefill_tokens_per_s

    def _remember_speed(self, host: HostName, candidate: Candidate, draft: Draft) -> None:
        usage = draft.receipt(0.0).usage
        if draft.first_token_s is None:
            return
        self._fleet.record_speed(
            SpeedRecord(
                host=host,
                model_key=candidate.model,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                first_token_s=draft.first_token_s,
                generation_s=draft.generation_s,
            )
        )


def _empty_text(candidate: Candidate, draft: Draft) -> str:
    if draft.reasoning:
        return (
            f"{candidate.where} spent the whole answer on reasoning and said nothing; "
            "a larger `max_tokens` helps."
        )
    return f"{candidate.where} ended its answer without a word."


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
