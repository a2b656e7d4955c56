"""A client's own request, relayed: by the same routes, leases and ledger as a turn, its bytes kept.

Nothing of its words is stored or logged; what it used is.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import structlog

from bot.chat.abroad import Abroad
from bot.chat.choices import Resolved
from bot.chat.consents import Consents
from bot.chat.flights import Flight, Flights, News
from bot.chat.host_serving import STALE, HostServing
from bot.chat.planning import Planner
from bot.chat.usage import Tally
from bot.chat.walk import seen_since, walk
from bot.cloud.call import CloudAsk
from bot.cloud.providers import Providers
from bot.cloud.serve import Listener, Question, serve
from bot.domain.chat import (
    Candidate,
    Endpoint,
    Message,
    Place,
    Receipt,
    Rejection,
    Route,
    Timing,
    TurnRequest,
    Usage,
)
from bot.domain.errors import (
    BRIEFLY,
    FailureKind,
    Interrupted,
    NoCandidates,
    Unavailable,
)
from bot.domain.events import Delta, Progress, Queued
from bot.domain.hosts import Instance, Wish
from bot.domain.ids import HostName, ProviderName, TurnId, UserId
from bot.fleet.fleet import Fleet
from bot.inference.passing import Form, Passing
from bot.inference.streams import Inference
from bot.policy.fitness import is_too_old
from bot.policy.keys import may_ask_for
from bot.policy.privacy import CloudConsent, Consent, LocalOnly, origins_of_request

MOST_BYTES = 64 << 20
"""The largest whole answer that is held in memory."""
CLOSE_S = 3.0
"""Answers that are broken off, and what they used, get so long to be told and noted."""

WINDOW_TOKENS = 32_768
"""Assumed of a model whose window nobody tells."""

# Whom the route left out was not asked, and has no kind of failure; but a client must know that
# asking again is of no use.
_TOLD = {
    BRIEFLY[kind]: kind
    for kind in (
        FailureKind.TOO_LONG,
        FailureKind.DOES_NOT_FIT,
        FailureKind.LOAD_FAILED,
        FailureKind.BUDGET,
    )
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RelayRequest:
    """One request of a client, validated and filled in."""

    id: TurnId
    form: Form | Literal["embeddings"]
    path: str
    """Below a host's ``/v1``."""
    fields: Mapping[str, object]
    """Its JSON, but for the model and whether usage is told."""
    resolved: Resolved
    user: UserId
    """Whose limits count, and who takes turns in a queue: a key."""
    daily_micro_usd: int | None
    """What providers' answers to this user may cost a day; None leaves the limits of everybody."""
    place: Place
    prompt_tokens: int
    """Estimated."""
    answer_tokens: int
    is_stream: bool = False
    wants_usage: bool = True
    needs_vision: bool = False
    abroad: Abroad | None = None
    """The same for a provider; None where only a host can be asked."""
    models: tuple[str, ...] = ()
    """Patterns of the models its key is for, where they bind providers too; empty is every one."""
    only_host: HostName | None = None
    """Keeps the answer it goes on from; nobody else has it."""


class Sink(Protocol):
    """Where an answer goes; leaving the request cancels what runs."""

    async def routed(self, route: Route) -> None:
        """Who will be asked; before anything is waited for."""
        ...

    async def waits(self, step: Progress) -> None:
        """It waits for a host: in its queue, for an eviction or a load."""
        ...

    async def begins(self, candidate: Candidate) -> None:
        """This one is asked now."""
        ...

    def reply_id(self) -> str:
        """The id of chunks sent before the host's first; empty where none were."""
        ...

    async def write(self, data: bytes) -> None:
        """Bytes of the answer, in its own form."""
        ...

    def straight(self, chunks: bytes) -> bool:
        """The same in HTTP's chunks, out at once; False where they must be written."""
        ...

    async def say(self, delta: Delta, candidate: Candidate) -> None:
        """A piece of a provider's answer, which comes in no form of the client's."""
        ...

    async def pass_on(self, payloads: Sequence[str], *, wants_usage: bool) -> None:
        """Chunks of a provider's answer in the client's own form, as they came."""
        ...


@dataclass(slots=True)
class _Meter:
    """What came of a request so far; times on the event loop's clock."""

    receipt: Receipt
    began_at: float
    flight: Flight
    patient_until: float
    """So long it may wait for a place, and a whole answer, which shows no life, for a load."""
    is_loading: bool = False
    """Was the wait given up while a load was under way?"""
    sent_at: float | None = None
    first_at: float | None = None
    last_at: float | None = None
    deltas: int = 0
    has_written: bool = False
    renews_in_s: float | None = None
    """After how long a spent budget begins anew."""

    def heard(self, now: float) -> None:
        if self.first_at is None:
            self.first_at = now
            self.flight.heard(now)
        self.last_at = now

    async def begins(self, candidate: Candidate, now: float, sink: Sink) -> None:
        """The request is sent; what an earlier candidate began does not count."""
        self.sent_at, self.first_at, self.deltas = now, None, 0
        self.flight.begins(candidate, now)
        await sink.begins(candidate)

    async def failed(self, candidate: Candidate, error: Unavailable) -> None:
        """Notes a failure; after the first words it ends the answer: none can be unsent."""
        _log.info(
            "candidate failed",
            where=candidate.where,
            model=candidate.model,
            kind=str(error.kind),
            reason=error.user_message,
        )
        attempt = Rejection(candidate.where, candidate.model, error.user_message, error.kind)
        self.flight.attempts.append(attempt)
        if error.retry_after_s is not None and error.kind is FailureKind.BUDGET:
            self.renews_in_s = error.retry_after_s
        if self.has_written:
            raise Interrupted(error.user_message, error.kind) from error
        attempts = (*self.receipt.attempts, attempt)
        self.receipt = replace(self.receipt, attempts=attempts, usage=Usage())


class Relaying:
    """Answers clients' requests; knows which ones run."""

    def __init__(
        self,
        *,
        planner: Planner,
        consents: Consents,
        fleet: Fleet,
        hosts: HostServing,
        inference: Inference,
        providers: Providers,
        tally: Tally,
        tell: Callable[[News], None],
        max_wait_s: float,
    ) -> None:
        self._planner = planner
        self._consents = consents
        self._fleet = fleet
        self._hosts = hosts
        self._inference = inference
        self._providers = providers
        self._tally = tally
        self._max_wait_s = max_wait_s
        self._is_draining = False
        self.flights = Flights(tell)
        """The requests under way."""

    async def drain(self, limit_s: float) -> None:
        """Refuses new requests, lets the running ones finish within ``limit_s``, then ends them."""
        self._is_draining = True
        try:
            async with asyncio.timeout(limit_s):
                await self.flights.none_left.wait()
        # Each hears why: a connection that merely closes is a whole answer to most clients.
        except TimeoutError:
            words = "Lantern is restarting and broke this answer off; ask again."
            for flight in self.flights:
                flight.cancel(NoCandidates(words, (FailureKind.BUSY,)))
            async with asyncio.timeout(CLOSE_S):
                await self.flights.none_left.wait()

    async def answer(self, request: RelayRequest, sink: Sink) -> Receipt:
        """Streams the answer into ``sink``; returns when it is whole.

        Raises:
            Interrupted: it broke after its first byte.
            NoCandidates: everybody failed before it, or nobody was there to ask.
            RequestRefused: the client's doing, or the model declined, or an admin ended it.
        """
        if self._is_draining:
            words = "Lantern is restarting and takes no new requests just now."
            raise NoCandidates(words, (FailureKind.BUSY,))
        model = request.resolved.model
        async with self.flights.open(
            request.id, request.user, request.form, model, is_stream=request.is_stream
        ) as flight:
            flight.receipt = await self._answer(request, sink, flight)
            return flight.receipt

    async def _answer(self, request: RelayRequest, sink: Sink, flight: Flight) -> Receipt:
        loop = asyncio.get_running_loop()
        asked = TurnRequest(request.user, str(request.user), request.place, "")
        origins = origins_of_request(request.resolved.persona.name, asked)

        no_provider = "" if self._providers.names else "no provider is set up"

        async def judge(words: Sequence[Message]) -> Consent:
            # With nobody to send to there is no question at the disk either.
            if request.abroad is None or no_provider:
                return LocalOnly(no_provider or "only chats are passed to providers")
            return await self._consents.judge(request.resolved, asked, (), words)

        consent = await judge(())
        await self._planner.prepare()

        def routed() -> tuple[Route, Wish]:
            route, wish = self._planner.routed(
                request.resolved,
                str(request.user),
                prompt_tokens=request.prompt_tokens,
                answer_tokens=request.answer_tokens,
                needs_vision=request.needs_vision,
                local_only=not isinstance(consent, CloudConsent),
                is_chat=request.form != "embeddings",
            )
            return self._narrowed(route, request), wish

        has_waited = self._planner.pays_unseen(routed()[0])
        route, wish = await self._seen(routed) if has_waited else routed()
        receipt = Receipt(
            persona=request.resolved.persona.name,
            choice_reason=request.resolved.model_reason,
            route=route,
        )
        meter = _Meter(receipt, loop.time(), flight, loop.time() + self._max_wait_s)
        question = Question()
        flight.routed(route)
        await sink.routed(route)

        async def ask(candidate: Candidate, max_wait_s: float | None, is_last: bool) -> None:
            if candidate.host is not None:
                # A client's own time-out is shorter than any queue without an end, and than one
                # queue after the other.
                left_s = max(0.0, meter.patient_until - loop.time())
                limited = replace(wish, model_key=candidate.model, max_wait_s=left_s)
                await self._by_host(
                    candidate.host, candidate, request, limited, meter, sink, is_last=is_last
                )
            elif candidate.provider is not None and request.abroad is not None:
                passed: list[str] = []
                wire = self._providers.config(candidate.provider).wire
                question_to = request.abroad.ask(
                    request.id, wire, origins, judge, request.user, passed.append
                )
                question_to = replace(
                    question_to,
                    daily_micro_usd=request.daily_micro_usd,
                    priority=request.resolved.persona.priority,
                )
                await self._by_provider(
                    candidate.provider,
                    candidate,
                    question_to,
                    question,
                    meter,
                    sink,
                    passed,
                    is_stream=request.is_stream,
                    wants_usage=request.wants_usage,
                    is_last=is_last,
                    is_hurried=max_wait_s is not None,
                )

        async def late() -> tuple[Candidate, ...]:
            look_s = self._planner.first_look_s
            return await seen_since(self._fleet, route, lambda: routed()[0], look_s)

        served: Candidate | None = None
        try:
            served = await walk(
                route.candidates,
                ask,
                meter.failed,
                max_wait_s=self._max_wait_s,
                comes_again=partial(question.may_repeat, providers=self._providers),
                newcomers=None if has_waited else late,
            )
            if served is None:
                soonest = next(iter(routed()[0].candidates), None)
                raise nobody(request.resolved, route, meter, soonest)
        finally:
            whole = await self._settled(request, meter, question.cost_micro_usd)
        if served.host is not None:
            self._hosts.remember(served.host, served, whole)
        return whole

    async def _seen(self, routed: Callable[[], tuple[Route, Wish]]) -> tuple[Route, Wish]:
        """The route once hosts that were never looked at were waited for."""
        pays_unseen, looks_s = self._planner.pays_unseen, self._planner.first_look_s
        await self._fleet.settled(looks_s, is_enough=lambda: not pays_unseen(routed()[0]))
        return routed()

    async def _settled(self, request: RelayRequest, meter: _Meter, cost_micro_usd: int) -> Receipt:
        """The receipt of what was answered so far; noted, also where its client left or it broke.

        What was generated was used, whoever read it to its end.
        """
        receipt, first, last, by = meter.receipt, meter.first_at, meter.last_at, meter.flight.by
        usage = receipt.usage
        if usage.completion_tokens == 0 and meter.deltas:
            usage = replace(usage, completion_tokens=meter.deltas, estimated=True)
        timing: Timing = replace(
            receipt.timing,
            first_token_s=first - meter.sent_at if first and meter.sent_at else None,
            generation_s=last - first if first and last else 0.0,
            total_s=asyncio.get_running_loop().time() - meter.began_at,
        )
        receipt = replace(
            receipt,
            model=by.model if by else None,
            host=by.host if by else None,
            provider=by.provider if by else None,
            usage=usage,
            timing=timing,
            cost_micro_usd=cost_micro_usd,
        )
        if meter.has_written:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._tally.note(request.id, request.user, None, receipt, has_text=True)
        return receipt

    def _narrowed(self, route: Route, request: RelayRequest) -> Route:
        """Without those who cannot take this request, whatever they have in memory."""
        hosts = self._fleet.snapshot().hosts
        kept: list[Candidate] = []
        rejected = list(route.rejected)
        for candidate in route.candidates:
            host = hosts.get(candidate.host) if candidate.host is not None else None
            # Asked before anything is loaded: an old host would load a model only to refuse.
            if host is not None and is_too_old(host, request.path):
                words = f"its LM Studio {host.version} has no {request.path}"
                no_path = FailureKind.NO_PATH
                brief = BRIEFLY[no_path]
                rejected.append(Rejection(candidate.where, candidate.model, words, no_path, brief))
            elif (
                candidate.provider is not None
                and request.abroad is not None
                and (why := request.abroad.why_not)
                # In this wire a chat goes as it came; into others it would be translated.
                and self._providers.config(candidate.provider).wire != "openai"
            ):
                rejected.append(Rejection(candidate.where, candidate.model, why, is_cloud=True))
            elif candidate.provider is not None and not may_ask_for(
                request.models, str(candidate.model)
            ):
                # A key for one family of models was once answered, and billed, by a provider's.
                words = f"the key is not for {candidate.model}"
                rejected.append(Rejection(candidate.where, candidate.model, words, is_cloud=True))
            elif request.only_host in (None, candidate.host):
                kept.append(candidate)
        return replace(route, candidates=tuple(kept), rejected=tuple(rejected))

    async def _by_host(
        self,
        host: HostName,
        candidate: Candidate,
        request: RelayRequest,
        wish: Wish,
        meter: _Meter,
        sink: Sink,
        *,
        is_last: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        is_whole = request.form == "embeddings" or not request.is_stream

        async def waits(step: Progress) -> None:
            meter.flight.waits(step)
            meter.is_loading = not isinstance(step, Queued)
            await sink.waits(step)

        for is_again in (False, True):
            # A load is never cut, and a stream shows it; a whole answer can only wait so long.
            patience = asyncio.timeout_at(meter.patient_until if is_whole else None)
            try:
                async with (
                    patience,
                    self._hosts.lease(
                        host, candidate, wish, meter.receipt.route, waits, is_last=is_last
                    ) as lease,
                ):
                    patience.reschedule(None)
                    meter.is_loading = False
                    timing = meter.receipt.timing
                    timing = replace(
                        timing,
                        queue_s=timing.queue_s + lease.granted.queue_s,
                        load_s=timing.load_s + lease.granted.load_s,
                    )
                    meter.receipt = replace(meter.receipt, timing=timing)
                    await self._fleet.host(host).confirm(lease)
                    # What comes as a whole comes without a word before its end.
                    unsaid = _limit(request.fields, lease.granted.instance) if is_whole else 0
                    limit_s, idle_s = self._hosts.limits(
                        host, candidate, request.prompt_tokens, unsaid
                    )
                    endpoint = replace(lease.endpoint, idle_s=idle_s)
                    if is_whole:
                        endpoint = replace(endpoint, first_token_s=limit_s)
                    await meter.begins(candidate, loop.time(), sink)
                    async with self._hosts.first_word(host, limit_s, lease) as heard:
                        await self._relayed(endpoint, request, meter, sink, heard)
                return
            except Unavailable as failed:
                # Others unload and swap models behind our back: look again, load it properly, once.
                if failed.kind is FailureKind.WRONG_MODEL:
                    meter.flight.mistaken.append(host)
                if is_again or meter.has_written or failed.kind not in STALE:
                    raise
                await self._fleet.host(host).probe()
            except TimeoutError as error:
                if not patience.expired():
                    raise
                text = f"`{candidate.model}` was not ready on {host} after {self._max_wait_s:.0f} s"
                words = f"{text}; its load goes on." if meter.is_loading else f"{text}: it is busy."
                raise Unavailable(words, FailureKind.BUSY) from error

    async def _relayed(
        self,
        endpoint: Endpoint,
        request: RelayRequest,
        meter: _Meter,
        sink: Sink,
        heard: Callable[[], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        fields = {**request.fields, "model": endpoint.model}
        if request.form == "embeddings" or not request.is_stream:
            body = json.dumps(fields).encode()
            answer, _, usage = await self._inference.relay_whole(
                endpoint, request.path, body, MOST_BYTES
            )
            heard()
            meter.heard(loop.time())
            meter.receipt = replace(meter.receipt, usage=usage)
            meter.has_written = True
            await sink.write(answer)
            return
        if request.form in ("chat", "text"):
            fields["stream_options"] = {"include_usage": True}
        body = json.dumps(fields).encode()
        passing = Passing(
            request.form,
            endpoint.accepted_models,
            wants_usage=request.wants_usage,
            reply_id=sink.reply_id,
        )
        meter.flight.count = lambda: passing.deltas

        def went() -> None:
            heard()
            meter.heard(loop.time())

        try:
            async with self._inference.relay(
                endpoint, request.path, body, passing, sink.straight, went
            ) as chunks:
                async for data in chunks:
                    went()
                    meter.has_written = True
                    await sink.write(data)
        finally:
            meter.deltas = passing.deltas
            meter.receipt = replace(meter.receipt, usage=passing.usage)
            if passing.finish == "length":
                meter.receipt = replace(meter.receipt, finish="length")

    async def _by_provider(
        self,
        name: ProviderName,
        candidate: Candidate,
        ask: CloudAsk,
        question: Question,
        meter: _Meter,
        sink: Sink,
        passed: list[str],
        *,
        is_stream: bool,
        wants_usage: bool,
        is_last: bool,
        is_hurried: bool,
    ) -> None:
        loop = asyncio.get_running_loop()

        async def sent() -> None:
            passed.clear()
            await meter.begins(candidate, loop.time(), sink)
            meter.flight.count = lambda: meter.deltas

        async def hear(delta: Delta) -> None:
            meter.heard(loop.time())
            # A whole answer is still here: another may begin anew.
            meter.has_written = is_stream
            meter.deltas += 1
            # Only what was translated must be said in other words.
            if ask.verbatim is None:
                await sink.say(delta, candidate)
            elif passed:
                payloads = passed.copy()
                passed.clear()
                await sink.pass_on(payloads, wants_usage=wants_usage)

        async def again(error: Unavailable, words: str) -> None:
            _log.info("asked again", request=ask.turn, where=name, reason=error.user_message)

        async def notice(words: str) -> None:
            _log.info("shortened", request=ask.turn, where=name, words=words)

        async def queued(place: int, seconds: float) -> None:
            step = Queued(name, candidate.model, place, seconds)
            meter.flight.waits(step)
            await sink.waits(step)

        listener = Listener(sent, hear, again, notice, queued)
        end = await serve(
            self._providers,
            name,
            ask,
            question,
            listener,
            is_last=is_last,
            is_hurried=is_hurried,
        )
        meter.has_written = True
        meter.receipt = replace(meter.receipt, usage=end.usage)


def nobody(
    resolved: Resolved, route: Route, meter: _Meter, soonest: Candidate | None
) -> NoCandidates:
    """Nobody could answer: what was tried and what was not, in words for people; when to return."""
    attempts = meter.receipt.attempts
    words = [f"Nobody can answer with `{resolved.model}` now."]
    words += [f"{a.where}: {a.reason}" for a in attempts]
    words += [f"{r.where}: {r.reason}" for r in route.rejected]
    kinds = [a.kind for a in (*attempts, *route.rejected) if a.kind]
    kinds += [_TOLD[r.brief] for r in route.rejected if r.brief in _TOLD]
    return NoCandidates(
        " ".join(words),
        kinds,
        retry_after_s=soonest.seconds if soonest is not None else None,
        is_loading=meter.is_loading,
        renews_in_s=meter.renews_in_s,
    )


def _limit(fields: Mapping[str, object], instance: Instance) -> int:
    """The most tokens an answer may have: by its request, or by the window."""
    given = (fields.get(name) for name in ("max_tokens", "max_output_tokens"))
    asked = next((n for n in given if isinstance(n, int) and n > 0), None)
    return asked or instance.context_length or WINDOW_TOKENS
