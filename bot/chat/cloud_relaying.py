"""A client's request relayed to a provider: its chunks as they came, or in the client's form."""

import asyncio
from dataclasses import replace

import structlog

from bot.chat.abroad import Abroad
from bot.chat.relayed import Meter, RelayRequest, Sink
from bot.cloud.providers import Providers
from bot.cloud.serve import Listener, ProviderTries, serve
from bot.domain.chat import Candidate, TurnRequest
from bot.domain.errors import Unavailable
from bot.domain.events import Delta, Queued
from bot.domain.ids import ProviderName
from bot.policy.privacy import Judge, origins_of_request

_log = structlog.get_logger(__name__)


async def relay_by_provider(
    providers: Providers,
    name: ProviderName,
    candidate: Candidate,
    request: RelayRequest,
    abroad: Abroad,
    judge: Judge,
    question: ProviderTries,
    meter: Meter,
    sink: Sink,
    *,
    is_last: bool,
    is_hurried: bool,
) -> None:
    """Passes the answer into ``sink``; returns when it is whole.

    Args:
        providers: The cloud.
        name: Who is asked.
        candidate: The same as the route has it.
        request: What.
        abroad: The same as it may leave the LAN.
        judge: Asked right before each sending whether it may.
        question: What was done for it before, at any provider; it is counted further.
        meter: Counts what comes.
        sink: Takes it.
        is_last: Nobody is left who was not asked yet.
        is_hurried: Somebody else could answer: a place is waited for only briefly.

    Raises:
        Unavailable: this provider could not; the meter tells whether anything was written.
        Refused: it declined; nobody else is asked.
    """
    loop = asyncio.get_running_loop()
    passed: list[str] = []
    asked = TurnRequest(request.user, str(request.user), request.place, "")
    origins = origins_of_request(request.resolved.persona.name, asked)
    wire = providers.config(name).wire
    ask = replace(
        abroad.ask(request.id, wire, origins, judge, request.user, passed.append),
        daily_micro_usd=request.daily_micro_usd,
        priority=request.resolved.persona.priority,
    )

    async def sent() -> None:
        passed.clear()
        await meter.begins(candidate, loop.time(), sink)
        meter.flight.count = lambda: meter.deltas

    async def hear(delta: Delta) -> None:
        meter.heard(loop.time())
        # A whole answer is still here: another may begin anew.
        meter.has_written = request.is_stream
        meter.deltas += 1
        # Only what was translated must be said in other words.
        if ask.verbatim is None:
            await sink.say(delta, candidate)
        elif passed:
            payloads = passed.copy()
            passed.clear()
            await sink.pass_on(payloads, wants_usage=request.wants_usage)

    async def again(error: Unavailable) -> None:
        _log.info("asked again", request=ask.turn, where=name, reason=error.user_message)

    async def notice(words: str) -> None:
        _log.info("told", request=ask.turn, where=name, words=words)

    async def queued(place: int, seconds: float) -> None:
        step = Queued(name, candidate.model, place, seconds)
        meter.flight.waits(step)
        await sink.waits(step)

    listener = Listener(sent, hear, again, notice, queued)
    end = await serve(
        providers,
        name,
        ask,
        question,
        listener,
        is_last=is_last,
        is_hurried=is_hurried,
    )
    meter.has_written = True
    meter.receipt = replace(meter.receipt, usage=end.usage)
