"""A client's request relayed to a provider: its chunks as they came, or in the client's form."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

import structlog

from bot.chat.abroad import Abroad
from bot.chat.relayed import Relay
from bot.cloud.providers import Providers
from bot.cloud.serve import Listener, serve
from bot.domain.chat import Candidate
from bot.domain.errors import Unavailable
from bot.domain.events import Delta, Queued, StreamEnd
from bot.domain.ids import ProviderName
from bot.policy.privacy import origins_of_request

_log = structlog.get_logger(__name__)

_ENDS = re.compile(r'"finish_reason": ?"[^"]')
"""In the chunk that ends an answer's words; quotes in those are escaped."""


def _words_of(came: list[str]) -> Sequence[str]:
    """Takes what may be passed on of an answer that may be none: all before its end."""
    words = [*takewhile(lambda chunk: not _ENDS.search(chunk), came)]
    del came[: len(words)]
    return words


async def relay_by_provider(
    providers: Providers,
    name: ProviderName,
    candidate: Candidate,
    relay: Relay,
    abroad: Abroad,
    *,
    is_last: bool,
    is_hurried: bool,
) -> None:
    """Passes the answer into the relay's sink; returns when it is whole.

    Args:
        providers: The cloud.
        name: Who is asked.
        candidate: The same as the route has it.
        relay: For what.
        abroad: The same request as it may leave the LAN.
        is_last: Nobody is left who was not asked yet.
        is_hurried: Somebody else could answer: a place is waited for only briefly.

    Raises:
        Unavailable: this provider could not; the relay tells whether anything was written.
        Refused: it declined; nobody else is asked.
    """
    request, sink = relay.request, relay.sink
    came: list[str] = []
    """Chunks in the client's own form that are still to be passed on."""
    origins = origins_of_request(request.resolved.persona.name, request.as_turn())
    wire = providers.config(name).wire
    ask = replace(
        abroad.ask(request.id, wire, origins, relay.judge, request.user, came.append),
        daily_micro_usd=request.daily_micro_usd,
        priority=request.resolved.persona.priority,
    )

    async def sent() -> None:
        came.clear()
        await relay.begins(candidate)
        relay.flight.count = lambda: relay.deltas

    async def hear(delta: Delta) -> None:
        relay.heard(asyncio.get_running_loop().time())
        if isinstance(delta, StreamEnd):
            # Known to be the answer's once it is whole: one without a word is asked for again, and
            # its client had read an end by then.
            return
        # A whole answer is still here: another may begin anew.
        relay.has_written = request.is_stream
        relay.deltas += 1
        # Only what was translated must be said in other words.
        if ask.verbatim is None:
            await sink.say(delta, candidate)
        elif words := _words_of(came):
            await sink.pass_on(words, wants_usage=request.wants_usage)

    async def again(error: Unavailable) -> None:
        relay.again()
        _log.info("asked again", request=ask.turn, where=name, reason=error.user_message)

    async def notice(words: str) -> None:
        _log.info("told", request=ask.turn, where=name, words=words)

    async def queued(place: int, seconds: float) -> None:
        step = Queued(name, candidate.model, place, seconds)
        relay.flight.waits(step)
        await sink.waits(step)

    listener = Listener(sent, hear, again, notice, queued)
    try:
        end = await serve(
            providers, name, ask, relay.tries, listener, is_last=is_last, is_hurried=is_hurried
        )
        if ask.verbatim is None:
            await sink.say(end, candidate)
        else:
            await sink.pass_on(came, wants_usage=request.wants_usage)
    finally:
        # As the ledger has it, also of what broke off before its provider told what it counted.
        relay.usage = relay.tries.usage
    relay.has_written = True
