"""A client's request relayed to a LAN host: a lease, the client's own bytes, the host's own."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from bot.chat.host_serving import STALE, HostServing
from bot.chat.relayed import Meter, RelayRequest, Sink
from bot.domain.chat import Candidate, Endpoint, Route
from bot.domain.errors import FailureKind, Unavailable
from bot.domain.events import Progress, Queued
from bot.domain.hosts import Instance, Wish
from bot.domain.ids import HostName
from bot.fleet.fleet import Fleet
from bot.inference.passing import Passing
from bot.inference.streams import Inference

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
        request: RelayRequest,
        wish: Wish,
        meter: Meter,
        sink: Sink,
        *,
        is_last: bool,
        replan: Callable[[], Route],
    ) -> None:
        """Passes the answer into ``sink``; returns when it is whole.

        Args:
            host: Who is asked.
            candidate: With which model.
            request: What.
            wish: The same in the host's terms; the wait in its queue is limited already.
            meter: Counts what comes.
            sink: Takes it.
            is_last: Nobody else is left to ask, so that a load that stands still is waited for.
            replan: Gives the route as it would be now, for whoever waits in a line.

        Raises:
            Elsewhere: another host is clearly sooner by now.
            Unavailable: this host could not; the meter tells whether anything was written.
        """
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
                        host,
                        candidate,
                        wish,
                        meter.receipt.route,
                        waits,
                        is_last=is_last,
                        replan=replan,
                    ) as lease,
                ):
                    patience.reschedule(None)
                    meter.is_loading, meter.lease = False, lease
                    timing = meter.receipt.timing
                    timing = replace(
                        timing,
                        queue_s=timing.queue_s + lease.granted.queue_s,
                        load_s=timing.load_s + lease.granted.load_s,
                    )
                    meter.receipt = replace(meter.receipt, timing=timing)
                    # What comes as a whole comes without a word before its end.
                    unsaid = _limit(request.fields, lease.granted.instance) if is_whole else 0
                    limit_s, idle_s = await self._hosts.confirmed(
                        host, candidate, lease, request.prompt_tokens, unsaid
                    )
                    endpoint = replace(lease.endpoint, idle_s=idle_s)
                    if is_whole:
                        endpoint = replace(endpoint, first_token_s=limit_s)
                    await meter.begins(candidate, loop.time(), sink)
                    async with self._hosts.first_word(host, limit_s, lease) as heard:
                        await self._passed(endpoint, request, meter, sink, heard)
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

    async def _passed(
        self,
        endpoint: Endpoint,
        request: RelayRequest,
        meter: Meter,
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
            own_head=sink.own_head,
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


def _limit(fields: Mapping[str, object], instance: Instance) -> int:
    """The most tokens an answer may have: by its request, or by the window."""
    given = (fields.get(name) for name in ("max_tokens", "max_output_tokens"))
    asked = next((n for n in given if isinstance(n, int) and n > 0), None)
    return asked or instance.context_length or WINDOW_TOKENS
