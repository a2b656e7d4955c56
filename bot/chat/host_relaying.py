"""A client's request relayed to a LAN host: a lease, the client's own bytes, the host's own."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from bot.chat.host_serving import STALE, HostServing
from bot.chat.relayed import Relay
from bot.domain.chat import Candidate, Endpoint, Route, Usage
from bot.domain.errors import FailureKind, Unavailable
from bot.domain.events import Progress
from bot.domain.hosts import Instance, Wish
from bot.domain.ids import HostName
from bot.fleet.fleet import Fleet
from bot.fleet.reading import Heard
from bot.inference.passing import Passing
from bot.inference.streams import Inference
from bot.inference.wire import as_json

MOST_BYTES = 64 << 20
"""The largest whole answer that is held in memory."""

WINDOW_TOKENS = 32_768
"""Assumed of a model whose window nobody tells."""


class HostRelaying:
    """Relays requests to hosts; holds no state between them.

    Asks a host again only where the model had gone: what ``HostServing`` changes before it asks
    again (a transcript cut shorter, a begun answer in words) is not ours to change in a client's.
    """

    def __init__(
        self, fleet: Fleet, hosts: HostServing, inference: Inference, max_wait_s: float
    ) -> None:
        self._fleet = fleet
        self._hosts = hosts
        self._inference = inference
        self._max_wait_s = max_wait_s

    async def serve(
        self,
        host: HostName,
        candidate: Candidate,
        wish: Wish,
        relay: Relay,
        *,
        is_last: bool,
        replan: Callable[[], Route],
    ) -> None:
        """Passes the answer into the relay's sink; returns when it is whole.

        Args:
            host: Who is asked.
            candidate: With which model.
            wish: The request in the host's terms; the wait in its queue is limited already.
            relay: For what.
            is_last: Nobody else is left to ask, so that a load that stands still is waited for.
            replan: Gives the route as it would be now, for whoever waits in a line.

        Raises:
            Elsewhere: another host is clearly sooner by now.
            Unavailable: this host could not; the relay tells whether anything was written.
        """
        for is_again in (False, True):
            try:
                await self._once(host, candidate, wish, relay, is_last, replan)
                return
            except Unavailable as failed:
                # Others unload and swap models behind our back: look again, load it properly, once.
                if failed.kind is FailureKind.WRONG_MODEL:
                    relay.flight.mistaken.append(host)
                if is_again or relay.has_written or failed.kind not in STALE:
                    raise
                relay.again()
                await self._hosts.look_again(host, candidate, replan)

    async def _once(
        self,
        host: HostName,
        candidate: Candidate,
        wish: Wish,
        relay: Relay,
        is_last: bool,
        replan: Callable[[], Route],
    ) -> None:
        request = relay.request

        async def waits(step: Progress) -> None:
            relay.waits(step)
            await relay.sink.waits(step)

        leased = self._hosts.lease(
            host,
            candidate,
            wish,
            relay.route,
            waits,
            is_last=is_last,
            replan=replan,
            # A load is never cut, and a stream shows it; a whole answer can only wait so long.
            patient_until=None if request.is_stream else relay.patient_until,
        )
        is_granted = False
        try:
            async with leased as lease:
                is_granted = True
                relay.is_loading, relay.lease = False, lease
                granted = lease.granted
                relay.queue_s, relay.load_s = granted.queue_s, granted.load_s
                # What comes as a whole comes without a word before its end.
                unsaid = 0 if request.is_stream else _limit(request.fields, granted.instance)
                tokens = request.prompt_tokens
                limits = await self._hosts.confirmed(
                    host, candidate, lease, tokens, unsaid, others=replan
                )
                # Before the words of a stream that limit is held by what is around them.
                endpoint = lease.endpoint
                first_s = endpoint.first_token_s if request.is_stream else limits.first_s
                endpoint = replace(endpoint, idle_s=limits.gap_s, first_token_s=first_s)
                await relay.begins(candidate, limits.seen)
                reader = self._fleet.host(host).reader
                within = reader.first_word_within(limits.first_s, lease, limits.doubts)
                async with within as heard:
                    await self._passed(endpoint, relay, heard)
        except TimeoutError as error:
            if is_granted:
                raise
            text = f"`{candidate.model}` was not ready on {host} after {self._max_wait_s:.0f} s"
            words = f"{text}; its load goes on." if relay.is_loading else f"{text}: it is busy."
            raise Unavailable(words, FailureKind.BUSY) from error

    async def _passed(
        self,
        endpoint: Endpoint,
        relay: Relay,
        heard: Heard,
    ) -> None:
        request, sink = relay.request, relay.sink
        fields = {**request.fields, "model": endpoint.model}
        if request.form == "embeddings" or not request.is_stream:
            body = as_json(fields)
            answer, told, relay.usage = await self._inference.relay_whole(
                endpoint, request.path, body, MOST_BYTES
            )
            relay.last_at = heard(is_whole=True)
            relay.has_written = True
            await sink.write(answer, told)
            return
        if request.form in ("chat", "text"):
            fields["stream_options"] = {"include_usage": True}
        body = as_json(fields)
        passing = Passing(
            request.form,
            endpoint.accepted_models,
            wants_usage=request.wants_usage,
            own_head=sink.own_head,
            beside_usage=partial(_beside_usage, relay),
            out=sink.straight,
        )
        relay.flight.count = lambda: passing.deltas

        sent = self._inference.relay(endpoint, request.path, body, passing)
        async with sent as (chunks, newest_at):
            try:
                async for data in chunks:
                    relay.has_written = True
                    await sink.write(data)
                    # Behind that: nobody waits for it, and the client does for the first word.
                    relay.heard(heard(newest_at))
            finally:
                # A read is heard of after it came, unless it went straight.
                if relay.last_at is not None:
                    relay.last_at = max(relay.last_at, newest_at())
                relay.deltas = passing.deltas
                relay.usage = passing.usage


def _beside_usage(relay: Relay, usage: Usage, told: Mapping[str, object]) -> Mapping[str, object]:
    """More fields for the chunk that tells the usage, which ends the answer's words."""
    now = asyncio.get_running_loop().time()
    # All of it came in one read.
    if relay.first_at is None:
        relay.heard(now)
    return relay.sink.beside_usage(relay.timing(now), usage, told)


def _limit(fields: Mapping[str, object], instance: Instance) -> int:
    """The most tokens an answer may have: by its request, or by the window."""
    given = (fields.get(name) for name in ("max_tokens", "max_output_tokens"))
    asked = next((n for n in given if isinstance(n, int) and n > 0), None)
    return asked or instance.context_length or WINDOW_TOKENS
