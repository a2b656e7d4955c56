"""A turn served by a LAN host: a lease, a transcript that fits what was loaded, its stream."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from bot.chat.draft import Draft
from bot.chat.loading import HOST_AT_FAULT
from bot.chat.planning import Job
from bot.domain.chat import Candidate, Endpoint, InferenceRequest, Message
from bot.domain.errors import (
    BotError,
    EmptyAnswer,
    FailureKind,
    PromptTooLong,
    Refused,
    RequestRefused,
    Unavailable,
)
from bot.domain.events import Notice, Reading, ReasoningDelta, StreamEnd, TextDelta, TurnEvent
from bot.domain.hosts import SpeedRecord
from bot.domain.ids import HostName
from bot.fleet.fleet import Fleet
from bot.fleet.lease import Lease
from bot.inference.streams import Inference
from bot.policy.context import Fitted, blind, fit_transcript, message_tokens

Emit = Callable[[TurnEvent], Awaitable[None]]

_STALE = frozenset({FailureKind.WRONG_MODEL, FailureKind.NOT_THERE})
"""What was in memory is not any more: look again and load it properly, once."""

_TRIM_TO = 0.7
"""A transcript the host calls too long is cut to this share: it counts tokens otherwise than us."""


class HostServing:
    """Serves jobs by hosts; holds no state between them."""

    def __init__(self, fleet: Fleet, inference: Inference) -> None:
        self._fleet = fleet
        self._inference = inference

    async def serve(
        self,
        host: HostName,
        candidate: Candidate,
        job: Job,
        draft: Draft,
        emit: Emit,
        *,
        max_wait_s: float | None,
    ) -> None:
        """Streams the answer into ``draft`` and ``emit``; returns when it is whole.

        Args:
            host: Who serves.
            candidate: The model to serve with.
            job: What is asked.
            draft: Takes the answer in.
            emit: Hears it.
            max_wait_s: Longest wait in the queue; None waits as long as it takes.

        Raises:
            Unavailable: this host could not; the draft tells whether text was shown.
            Refused: the model declined.
            EmptyAnswer: the model spent its answer on reasoning.
        """
        wish = replace(job.wish, model_key=candidate.model, max_wait_s=max_wait_s)
        job = replace(job, wish=wish)
        try:
            await self._once(host, candidate, job, draft, emit)
        except Unavailable as failed:
            if draft.has_text:
                raise
            again = await self._mended(failed, host, candidate, job, emit)
            if again is None:
                raise
            draft.failed(candidate, failed.kind, failed.user_message)
            await self._once(host, candidate, again, draft, emit)

    async def _mended(
        self, failed: Unavailable, host: HostName, candidate: Candidate, job: Job, emit: Emit
    ) -> Job | None:
        """The job as the same host may well serve it; None when it will not."""
        if failed.kind in _STALE:
            await emit(Notice(f"{failed.user_message} Loading `{candidate.model}` properly."))
            await self._fleet.probe(host)
            return job
        if failed.kind is FailureKind.TOO_LONG:
            return _trimmed(job)
        return None

    async def _once(
        self, host: HostName, candidate: Candidate, job: Job, draft: Draft, emit: Emit
    ) -> None:
        async with self._fleet.lease(host, job.wish) as lease:
            async for step in lease:
                await emit(step)
            draft.granted(candidate, lease.granted.queue_s, lease.granted.load_s)
            messages = await self._fit(job, lease, draft, emit)
            try:
                await self._stream(candidate, lease.endpoint, messages, job, draft, emit)
            except Unavailable as failed:
                if failed.kind in HOST_AT_FAULT:
                    self._fleet.report_failure(host, failed.user_message)
                raise
        self._remember_speed(host, candidate, draft)

    async def _fit(self, job: Job, lease: Lease, draft: Draft, emit: Emit) -> tuple[Message, ...]:
        """The messages fitted to what was really loaded, saying what was left out."""
        window, messages, dropped = lease.instance.context_length, job.messages, job.dropped
        if window is not None and window < job.prompt_tokens + job.answer_tokens:
            fitted = _fitted(messages, window, job.answer_tokens)
            messages, dropped = fitted.messages, dropped + fitted.dropped
        if dropped:
            await _tell(f"{dropped} oldest messages were left out: too long.", draft, emit)
        if any(message.images for message in messages) and not self._sees(lease, job):
            await _tell(f"`{job.wish.model_key}` cannot see; images were left out.", draft, emit)
            messages = blind(messages)
        return messages

    def _sees(self, lease: Lease, job: Job) -> bool:
        host = self._fleet.snapshot().hosts.get(HostName(lease.endpoint.source))
        model = host.models.get(job.wish.model_key) if host is not None else None
        return model is None or model.vision or model.kind == "vlm"

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
            raise _wordless(candidate, draft)

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
                # A prefix the host still held was not read again.
                prompt_tokens=max(0, usage.prompt_tokens - usage.cached_tokens),
                completion_tokens=usage.completion_tokens,
                first_token_s=draft.first_token_s,
                generation_s=draft.generation_s,
            )
        )


def _fitted(messages: tuple[Message, ...], window: int, answer_tokens: int) -> Fitted:
    """Fitted to this host's window; another candidate's may be larger, so too long moves on."""
    try:
        return fit_transcript(messages, window, answer_tokens)
    except PromptTooLong as error:
        raise Unavailable(error.user_message, FailureKind.TOO_LONG) from error


def _trimmed(job: Job) -> Job | None:
    """With the oldest turns left out; None when only the last message is left."""
    window = int(_TRIM_TO * sum(map(message_tokens, job.messages)))
    try:
        fitted = fit_transcript(job.messages, window, 0)
    except RequestRefused:
        return None
    if not fitted.dropped:
        return None
    return replace(
        job,
        messages=fitted.messages,
        prompt_tokens=fitted.prompt_tokens,
        dropped=job.dropped + fitted.dropped,
    )


async def _tell(text: str, draft: Draft, emit: Emit) -> None:
    draft.noticed(text)
    await emit(Notice(text))


def _wordless(candidate: Candidate, draft: Draft) -> BotError:
    """Why there is no word, by what to do next: tell, or ask elsewhere."""
    if draft.is_refused:
        return Refused(f"{candidate.where} declined to answer this.")
    if draft.reasoning or draft.is_at_limit:
        return EmptyAnswer(
            f"`{candidate.model}` on {candidate.where} spent the whole answer on reasoning and "
            "said nothing. A larger `max_tokens` in the persona's sampling leaves it more room."
        )
    words = f"{candidate.where} ended its answer without a word."
    return Unavailable(words, FailureKind.EMPTY)
