"""A client's own request, relayed: by the same routes, leases and ledger as a turn, its bytes kept.

Nothing of its words is stored or logged; what it used is.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from bot.chat.cloud_relaying import relay_by_provider
from bot.chat.consents import Consents
from bot.chat.flights import Flight, Flights, News
from bot.chat.host_relaying import HostRelaying
from bot.chat.host_serving import HostServing
from bot.chat.planning import Planner
from bot.chat.relayed import Relay, RelayRequest, Sink
from bot.chat.usage import UsageTracker
from bot.chat.walk import FirstLook, walk, without
from bot.cloud.providers import Providers
from bot.domain.chat import (
    Candidate,
    Message,
    Receipt,
    Rejection,
    Route,
)
from bot.domain.errors import (
    BRIEFLY,
    FailureKind,
    NoCandidates,
)
from bot.domain.hosts import Wish
from bot.domain.ids import HostName
from bot.fleet.fleet import Fleet
from bot.fleet.lease import Elsewhere
from bot.inference.streams import Inference
from bot.policy.budget import OVER_BUDGET
from bot.policy.fitness import is_too_old, may_come
from bot.policy.keys import may_ask_for
from bot.policy.privacy import CloudConsent, Consent, LocalOnly

CLOSE_S = 3.0
"""Answers that are broken off get so long to be told."""

# Whom the route left out was not asked, and has no kind of failure; but a client must know that
# asking again is of no use.
_TOLD = {
    BRIEFLY[kind]: kind
    for kind in (
        FailureKind.TOO_LONG,
        FailureKind.DOES_NOT_FIT,
        FailureKind.LOAD_FAILED,
    )
} | dict.fromkeys(OVER_BUDGET.values(), FailureKind.BUDGET)


_ITS_OWN = {FailureKind.NO_PATH, FailureKind.TOO_LONG, FailureKind.DOES_NOT_FIT}
"""Failures that say what a host is like, and nothing of the others."""


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
        usage: UsageTracker,
        tell: Callable[[News], None],
        max_wait_s: float,
    ) -> None:
        self._planner = planner
        self._consents = consents
        self._fleet = fleet
        self._hosts = hosts
        self._providers = providers
        self._usage = usage
        self._max_wait_s = max_wait_s
        self._by_host = HostRelaying(fleet, hosts, inference, max_wait_s)
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
        with self.flights.open(
            request.id, request.user, request.form, model, is_stream=request.is_stream
        ) as flight:
            async with flight.scope:
                return await self._answer(request, sink, flight)

    async def _answer(self, request: RelayRequest, sink: Sink, flight: Flight) -> Receipt:
        judge = partial(self._judge, request)
        consent = await judge(())
        await self._planner.prepare()
        routed = partial(self._routed, request, consent)
        look = FirstLook(self._fleet, self._planner.first_look_s)
        route, wish = await look.planned(
            routed,
            lambda planned: planned[0],
            lambda planned: self._planner.pays_unseen(planned[0]),
        )
        now = asyncio.get_running_loop().time()
        relay = Relay(request, sink, flight, judge, route, now, now + self._max_wait_s)
        flight.routed(route)
        await sink.routed(route)
        served: Candidate | None = None
        try:
            served = await walk(
                route.candidates,
                partial(self._serve, relay, wish, routed),
                relay.failed,
                max_wait_s=self._max_wait_s,
                comes_again=partial(relay.tries.may_repeat, providers=self._providers),
                newcomers=partial(look.newcomers, route, lambda: routed()[0]),
            )
            if served is None:
                soonest = next(iter(routed()[0].candidates), None)
                kept_here = consent.reason if isinstance(consent, LocalOnly) else ""
                comes = partial(
                    may_come, self._fleet.snapshot(), request.resolved.models, request.path
                )
                raise nobody(relay, soonest, kept_here, comes=comes)
        finally:
            whole = self._settled(relay)
        if relay.lease is not None:
            said = request.fields.get("messages")
            is_first = isinstance(said, list) and len(cast("list[object]", said)) <= 2
            self._hosts.remember(served, whole, relay.lease, is_first=is_first)
        return whole

    async def _judge(self, request: RelayRequest, words: Sequence[Message]) -> Consent:
        """May a provider be sent these words of a request, as it stands now?"""
        # With nobody to send to there is no question at the disk either.
        if not self._providers.names:
            return LocalOnly("no provider is set up")
        if request.abroad is None:
            return LocalOnly("providers are passed `/v1/chat/completions` alone")
        return await self._consents.judge(request.resolved, request.as_turn(), (), words)

    def _routed(self, request: RelayRequest, consent: Consent) -> tuple[Route, Wish]:
        """Whom to ask as things stand now, and what is wished of a host."""
        route, wish = self._planner.routed(
            request.resolved,
            str(request.user),
            prompt_tokens=request.prompt_tokens,
            answer_tokens=request.answer_tokens,
            needs_vision=request.needs_vision,
            local_only=not isinstance(consent, CloudConsent),
            is_chat=request.form != "embeddings",
            # A window is chosen by less than an answer may grow to.
            room=None if request.abroad is None else request.abroad.room,
            sent_tokens=None if request.abroad is None else request.abroad.prompt_tokens,
        )
        return self._narrowed(route, request), wish

    async def _serve(
        self,
        relay: Relay,
        wish: Wish,
        routed: Callable[[], tuple[Route, Wish]],
        candidate: Candidate,
        max_wait_s: float | None,
        is_last: bool,
        broken: Collection[HostName],
    ) -> None:
        """One candidate's try, as ``walk`` asks for it."""
        abroad = relay.request.abroad
        if candidate.host is not None:
            # A client's own time-out is shorter than any queue without an end, and than one queue
            # after the other. Whoever left a line for this one began to wait there.
            since = candidate.since
            began_at = asyncio.get_running_loop().time() if since is None else since
            left_s = max(0.0, relay.patient_until - began_at)
            try:
                await self._by_host.serve(
                    candidate.host,
                    candidate,
                    replace(wish, model_key=candidate.model, max_wait_s=left_s, since=since),
                    relay,
                    is_last=is_last,
                    replan=lambda: without(routed()[0], broken),
                )
            except Elsewhere as better:
                relay.left.append(Rejection.of(candidate, better))
                raise
        elif candidate.provider is not None and abroad is not None:
            await relay_by_provider(
                self._providers,
                candidate.provider,
                candidate,
                relay,
                abroad,
                is_last=is_last,
                is_hurried=max_wait_s is not None,
            )

    def _settled(self, relay: Relay) -> Receipt:
        """The receipt of what was answered so far; noted, also where its client left or it broke.

        What was generated was used, whoever read it to its end.
        """
        request, by, usage = relay.request, relay.flight.by, relay.usage
        if usage.completion_tokens == 0 and relay.deltas:
            usage = replace(usage, completion_tokens=relay.deltas, estimated=True)
        receipt = Receipt(
            persona=request.resolved.persona.name,
            model=by.model if by else None,
            host=by.host if by else None,
            provider=by.provider if by else None,
            usage=usage,
            timing=relay.timing(relay.last_at),
            cost_micro_usd=relay.tries.cost_micro_usd,
            is_cost_estimated=relay.tries.is_cost_estimated,
            route=relay.route,
            attempts=tuple(relay.flight.attempts),
            left=tuple(relay.left),
            choice_reason=request.resolved.model_reason,
        )
        relay.flight.receipt = receipt
        if relay.has_written:
            self._usage.note(request.id, request.user, None, receipt, has_text=True)
        return receipt

    def _narrowed(self, route: Route, request: RelayRequest) -> Route:
        """Without those who cannot take this request, whatever they have in memory."""
        hosts = self._fleet.snapshot().hosts
        kept: list[Candidate] = []
        rejected = list(route.rejected)
        for candidate in route.candidates:
            host = hosts.get(candidate.host or HostName(""))
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
        if len(kept) == len(route.candidates):
            return route
        return replace(route, candidates=tuple(kept), rejected=tuple(rejected))


def _sentence(one: Rejection) -> str:
    """Why one could not answer, with its name said once."""
    text = one.reason if one.reason.startswith(f"{one.where} ") else f"{one.where}: {one.reason}"
    return text if text.endswith(".") else f"{text}."


def nobody(
    relay: Relay,
    soonest: Candidate | None,
    kept_here: str = "",
    comes: Callable[[int], bool] = lambda _: False,
) -> NoCandidates:
    """Nobody could answer: what was tried and what was not, in words for people; when to return.

    Args:
        relay: What was tried.
        soonest: Who could answer first by now.
        kept_here: Why no provider may be asked, where none may.
        comes: May a host that is away read a prompt of so many tokens, when it is back?
    """
    attempts, route = relay.flight.attempts, relay.route
    kinds = [a.kind for a in (*attempts, *route.rejected) if a.kind]
    kinds += [_TOLD[r.brief] for r in route.rejected if r.brief in _TOLD]
    if kinds and all(kind is FailureKind.BAD_REQUEST for kind in kinds):
        # Whoever has the model does not take it: that others have it not is no way out.
        return NoCandidates(" ".join(a.reason for a in attempts), kinds)
    judged = set(kinds)
    if judged and judged <= _ITS_OWN:
        # Official clients never come again, or cut their texts for it; it was back in seconds.
        is_long = FailureKind.TOO_LONG in judged
        kinds = [] if comes(relay.request.prompt_tokens if is_long else 0) else kinds
    words = [f"Nobody can answer with `{relay.request.resolved.model}` now."]
    # "zai: local only" told the client of a `/v1/responses` nothing.
    told = [*attempts, *(r for r in route.rejected if not (kept_here and r.is_cloud))]
    # One that was asked twice may have said the same twice.
    words += dict.fromkeys(map(_sentence, told))
    if kept_here and any(r.is_cloud for r in route.rejected):
        words.append(f"No provider was asked: {kept_here}.")
    return NoCandidates(
        " ".join(words),
        kinds,
        retry_after_s=soonest.seconds if soonest is not None else None,
        is_loading=relay.is_loading,
        renews_in_s=_renews_in_s(relay),
    )


def _renews_in_s(relay: Relay) -> float | None:
    """After how long a budget that was in the way begins anew, as ``NoCandidates`` has it."""
    short = [r for r in relay.route.rejected if _TOLD.get(r.brief) is FailureKind.BUDGET]
    if relay.renews_in_s not in (None, math.inf) or not short:
        return relay.renews_in_s
    # Of what routing left out nobody has said when its day is over.
    return math.inf if all(r.is_beyond for r in short) else None
