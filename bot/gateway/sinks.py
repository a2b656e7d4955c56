"""Where a relayed answer goes: an event stream that shows life while it waits, or a whole body."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

from bot.chat.relayed import RequestForm
from bot.domain.chat import Candidate, Receipt, Route, Timing, Usage
from bot.domain.events import (
    Delta,
    Evicting,
    Loading,
    Progress,
    Queued,
    ReasoningDelta,
    StreamEnd,
    TextDelta,
    Waking,
)
from bot.domain.hosts import HostSnapshot
from bot.gateway.errors import Problem
from bot.gateway.figures import statistics, usage_object
from bot.gateway.whole import WholeChat
from bot.inference.passing import OwnHead
from bot.inference.wire import extended_json, first_of, object_of


@dataclass(frozen=True, slots=True)
class LifePace:
    """When a stream that waits shows life, in seconds."""

    headers_s: float = 1.0
    """Its headers are sent after so long at the latest."""
    every_s: float = 10.0
    """A sign comes so often; nginx gives up after a minute."""
    unread_s: float = 60.0
    """A client that took in nothing of what waits for it is cut off after so long, as by nginx's
    ``send_timeout``, twice that at the latest: its answer holds a place at a host."""


LIFE = LifePace()

FAREWELL_S = 2.0
"""The client of an answer that broke gets so long to take in why."""

SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    # nginx would collect the events, otherwise.
    "X-Accel-Buffering": "no",
}


def id_headers(number: str, *, is_anthropic: bool) -> dict[str, str]:
    """A request's id, by the names its clients read: so a line of our log is found."""
    # Both SDKs show it beside each error, each by the name of its own wire alone.
    own = {"request-id": number} if is_anthropic else {}
    return {"x-request-id": number, **own}


_UNSENDABLE = re.compile(r"[^ -~]")
"""In a header."""

_REPLY_ID = re.compile(rb'"id": ?"([^"]+)"')
"""In a response's first event: before any word of an answer, and quotes in texts are escaped."""


_HELPER = "X-Stainless-Helper-Method"
"""Which of an official client's helpers asks."""
_NUMBER = re.compile(rb'"sequence_number": ?(\d+)')
"""Of a response's events."""


class _Response(web.StreamResponse):
    """A stream whose headers leave with its first bytes."""

    # By themselves they were one more packet, one more call of the system and one more waking of
    # the client before its first word. Where aiohttp has no such attribute they go alone.
    _send_headers_immediately = False


class StreamSink:
    """An event stream to one client.

    While its answer waits, headers go out within a second and a sign of life every ten: a chunk
    with an empty delta, which every client takes and which resets every idle timer, or a comment
    where the form has no such chunk.
    """

    def __init__(
        self,
        request: web.Request,
        form: RequestForm,
        number: str,
        model: str,
        created: int,
        pace: LifePace = LIFE,
    ) -> None:
        self._request = request
        self._pace = pace
        self._form = form
        self._id = f"{'cmpl' if form == 'text' else 'chatcmpl'}-{number}"
        self._model = model
        """Of chunks made here: as asked for, until it is known who writes the answer."""
        self._created = created
        self._response = _Response(headers=SSE_HEADERS)
        self._has_shown_life = self._has_role = False
        self._is_answering = False
        self._tasks = asyncio.TaskGroup()
        self._life: asyncio.Task[None] | None = None
        self._straight: asyncio.Transport | None = None
        self._passed = b""
        """Of the answer's bytes the newest."""
        self._has_taken = False
        """Has it taken in all there was, at any time since the last look?"""
        self._looking: asyncio.TimerHandle | None = None
        self._state: dict[str, object] = {"state": "waiting"}
        self.route = Route()
        self.candidate: Candidate | None = None
        self._seen: HostSnapshot | None = None
        """The host that is asked, as it stood then."""
        self.reply = ""
        """Of a response, the id that its client may go on from."""
        self._is_own = False
        """Is this a provider's answer, whose end is written here?"""
        self._is_passed = self._has_usage = self._is_asked_again = False
        """Are its chunks the provider's own, did one tell the usage, and has it begun anew?"""

    # No generator: of the kind that awaits, the loop keeps account of each.
    async def __aenter__(self) -> Self:
        """Signs of life while the block runs, until the first byte of the answer."""
        self._look_for_reader(-1)
        await self._tasks.__aenter__()
        # Most answers begin before: they need no task of their own.
        later = asyncio.get_running_loop().call_later
        self._first = later(self._pace.headers_s, self._come_to_life)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._first.cancel()
        if self._life is not None:
            self._life.cancel()
        try:
            await self._tasks.__aexit__(kind, error, trace)
        # A group of one would hide what went wrong.
        except BaseExceptionGroup as failed:
            if len(failed.exceptions) == 1:
                raise failed.exceptions[0] from None
            raise
        finally:
            if self._looking is not None:
                self._looking.cancel()

    def _come_to_life(self) -> None:
        if not self._is_answering:
            self._life = self._tasks.create_task(self._show_life(), name="life signs")

    def _look_for_reader(self, taken_before: int) -> None:
        to = self._request.transport
        if to is None:
            return
        unsent = to.get_write_buffer_size()
        taken = self._request.writer.output_size - unsent
        if unsent and taken == taken_before and not self._has_taken:
            # Its handler is cancelled by that, and with it the host's work.
            to.abort()
            return
        self._has_taken = False
        later = asyncio.get_running_loop().call_later
        self._looking = later(self._pace.unread_s, self._look_for_reader, taken)

    @property
    def has_begun(self) -> bool:
        """Were headers sent? Errors are events from then on."""
        return self._response.prepared

    async def routed(self, route: Route) -> None:
        """The route goes into the headers."""
        self.route = route

    async def waits(self, step: Progress) -> None:
        """Kept for the next sign of life."""
        self._state = state_of(step)

    async def begins(self, candidate: Candidate, seen: HostSnapshot | None) -> None:
        """Named in the headers, where they are still to be sent."""
        self.candidate, self._is_asked_again = candidate, self._is_passed
        self._seen = seen
        self._state = {"state": "reading", "host": candidate.where}

    def own_head(self) -> OwnHead:
        """One stream has one id and one time: ours, where a chunk of ours came first.

        A second copy goes by a name of its own, which nobody asked for and none can ask again.
        """
        fields: dict[str, object] = {}
        if self.candidate is not None:
            fields["model"] = self.candidate.model
        if self._has_shown_life and self._form in ("chat", "text"):
            fields |= {"id": self._id, "created": self._created}
        # Its helper makes "assistantassistant…" of it, and sends that in the next round.
        joins = self._request.headers.get(_HELPER, "").startswith("chat.completions.")
        return OwnHead(fields, self._has_role if joins else None)

    def beside_usage(
        self, timing: Timing, usage: Usage, told: Mapping[str, object]
    ) -> Mapping[str, object]:
        """LM Studio's own statistics."""
        key = self.candidate.model if self.candidate is not None else None
        return statistics(key, timing, usage, self._seen, told)

    async def write(self, data: bytes, told: Mapping[str, object] | None = None) -> None:
        """Bytes of the answer; headers go out before the first."""
        if not self._is_answering:
            # Waited for: a sign of life that is just being written must not run into the answer.
            if self._life is not None:
                self._life.cancel()
                await asyncio.wait([self._life])
            self._is_answering = True
            await self._prepare()
            if self._form == "responses" and (found := _REPLY_ID.search(data)):
                self.reply = found.group(1).decode()
        self._passed = data
        await self._response.write(data)
        # Known once the headers are out; a client of HTTP/1.0 is sent no chunks.
        if self._response.headers.get("Transfer-Encoding") == "chunked":
            self._straight = self._request.transport

    def straight(self, chunks: bytes) -> bool:
        """Out past the server's own writer, which would pack them again."""
        to = self._straight
        # A client that has still to take something in is written to by the server, which waits.
        if to is None or to.get_write_buffer_size() or to.is_closing():
            return False
        to.write(chunks)
        self._has_taken, self._passed = True, chunks
        return True

    async def say(self, delta: Delta, candidate: Candidate) -> None:
        """A piece of a provider's answer, as a chunk."""
        self._is_own = True
        self._model = str(candidate.model)
        match delta:
            case TextDelta(text=text):
                await self.write(self._chunk(self._with_role({"content": text}), text))
            case ReasoningDelta(text=text):
                # The name LM Studio, vLLM and llama.cpp have for it, and that clients show.
                await self.write(self._chunk(self._with_role({"reasoning_content": text}), ""))
            case StreamEnd(finish=finish):
                reason = {"length": "length", "refused": "content_filter"}.get(finish, "stop")
                await self.write(self._chunk({}, "", reason))
            case _:
                return

    async def pass_on(self, payloads: Sequence[str], *, wants_usage: bool) -> None:
        """A provider's own chunks; of one stream they all have one id."""
        self._is_own = True
        lines: list[bytes] = []
        for payload in payloads:
            if payload == "[DONE]":
                continue
            told: dict[str, object] = json.loads(payload)
            if told.get("usage") and not wants_usage:
                del told["usage"]
                if not told.get("choices"):
                    continue
            lines.append(b"data: %s\n\n" % self._in_line(payload, told).encode())
        if lines:
            await self.write(b"".join(lines))

    def _in_line(self, payload: str, told: dict[str, object]) -> str:
        """A provider's chunk as one of this stream's: as it came, where nothing speaks against it.

        One stream has one id, one role and one usage: a provider that said nothing but thoughts
        was asked again, and its second answer has others.
        """
        if not (self._has_shown_life or self._is_passed):
            created = told.get("created")
            self._id = str(told.get("id"))
            self._created = created if isinstance(created, int) else self._created
        self._model = str(told.get("model") or self._model)
        self._is_passed, self._has_usage = True, self._has_usage or bool(told.get("usage"))
        meant = told | {"id": self._id}
        if self._is_asked_again:
            delta = object_of(object_of(first_of(told.get("choices"))).get("delta"))
            delta.pop("role", None)
            meant |= {"created": self._created}
        # A payload of several lines would end early, written as one.
        is_as_it_came = meant == json.loads(payload) and "\n" not in payload
        return payload if is_as_it_came else json.dumps(meant)

    async def end(self, receipt: Receipt, *, wants_usage: bool) -> web.StreamResponse:
        """The end of a whole answer."""
        if self._is_own:
            if wants_usage and not self._has_usage:
                chunk = self._frame([]) | {"usage": usage_object(receipt.usage)}
                await self._response.write(b"data: %s\n\n" % json.dumps(chunk).encode())
            await self._response.write(b"data: [DONE]\n\n")
        await self._response.write_eof()
        return self._response

    async def fail(self, problem: Problem) -> web.StreamResponse:
        """An error after the headers: an event, and never a silent end."""
        match self._form:
            case "messages":
                text = f"event: error\ndata: {json.dumps(problem.anthropic())}\n\n"
            case "responses":
                text = f"event: error\ndata: {json.dumps(self._last_event(problem))}\n\n"
            case _:
                # To openai-python, openai-node and LangChain a stream that just ends was a success.
                text = f"data: {json.dumps(problem.body())}\n\ndata: [DONE]\n\n"
        # One that reads nothing must not hold up a Lantern that stops; one that left hears nothing.
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self._response.write(text.encode())
                await self._response.write_eof()
        return self._response

    def _last_event(self, problem: Problem) -> dict[str, object]:
        """The one by which a response that broke ends.

        With OpenAI's fields beside an ``error``: by the fields alone openai-python took the answer
        for whole, and without a number of its own @ai-sdk/openai dropped it.
        """
        passed = _NUMBER.findall(self._passed)
        told = {"code": problem.code, "message": problem.message, "param": problem.param}
        number = int(passed[-1]) + 1 if passed else 0
        return {"type": "error", "sequence_number": number, **told, **problem.body()}

    async def _prepare(self) -> None:
        if not self._response.prepared:
            told = route_headers(self.route, self.candidate, is_forecast=not self._is_answering)
            self._response.headers.update(told)
            await self._response.prepare(self._request)

    async def _show_life(self) -> None:
        await self._prepare()
        while True:
            if self._form in ("chat", "text"):
                # An event without data breaks openai-python and openai-node, a comment some
                # editors; a chunk that says nothing is read by all, and resets idle timers.
                delta = self._with_role({"content": ""})
                sign = self._chunk(delta, "", more={"lantern": self._state})
            else:
                # Events of these forms have names, and none of them means "wait".
                sign = f": {json.dumps(self._state)}\n\n".encode()
            self._has_shown_life = True
            await self._response.write(sign)
            await asyncio.sleep(self._pace.every_s)

    def _with_role(self, delta: Mapping[str, object]) -> Mapping[str, object]:
        # Once: openai-python joins what comes of one name, the role as well.
        has_role, self._has_role = self._has_role, True
        return delta if has_role else {"role": "assistant", **delta}

    def _chunk(
        self,
        delta: Mapping[str, object],
        text: str,
        finish: str | None = None,
        more: Mapping[str, object] | None = None,
    ) -> bytes:
        piece: dict[str, object] = {"index": 0, "finish_reason": finish}
        piece |= {"text": text} if self._form == "text" else {"delta": delta}
        return b"data: %s\n\n" % json.dumps(self._frame([piece]) | dict(more or {})).encode()

    def _frame(self, choices: list[dict[str, object]]) -> dict[str, object]:
        kind = "text_completion" if self._form == "text" else "chat.completion.chunk"
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }


class WholeSink:
    """One body, kept until it is whole: before that the status is not known."""

    def __init__(self, form: RequestForm, reply_id: str, created: int) -> None:
        self._form = form
        self._id = reply_id
        self._created = created
        self._text: list[str] = []
        self._passed: WholeChat | None = None
        """Of a provider."""
        self._finish = "stop"
        self._body = b""
        self._told: Mapping[str, object] = {}
        """The fields of the host's body."""
        self.reply = ""
        """Of a response, the id that its client may go on from."""
        self.route = Route()
        self.candidate: Candidate | None = None
        self._seen: HostSnapshot | None = None
        """The host that is asked, as it stood then."""

    async def routed(self, route: Route) -> None:
        """Kept for the headers."""
        self.route = route

    async def waits(self, step: Progress) -> None:
        """A whole answer waits in silence."""

    async def begins(self, candidate: Candidate, seen: HostSnapshot | None) -> None:
        """Kept for the headers; what another said before it broke is dropped."""
        self.candidate, self._seen = candidate, seen
        self._text.clear()
        self._passed = None

    def own_head(self) -> OwnHead:
        """Nothing is sent before the answer."""
        return OwnHead()

    def beside_usage(
        self, timing: Timing, usage: Usage, told: Mapping[str, object]
    ) -> Mapping[str, object]:
        """A whole answer gets its statistics when it is made."""
        return {}

    async def write(self, data: bytes, told: Mapping[str, object] | None = None) -> None:
        """The host's own body."""
        self._body, self._told = data, told or {}
        named = self._told.get("model")
        if self.candidate is not None and isinstance(named, str) and named != self.candidate.model:
            # By the name of a second copy nobody asked for it, and none can ask again.
            pattern = rb'("model": ?)' + re.escape(json.dumps(named).encode())
            ours = json.dumps(self.candidate.model).encode()
            self._body = re.sub(pattern, lambda found: found[1] + ours, data, count=1)
            self._told = {**self._told, "model": self.candidate.model}
        if self._form == "responses":
            self.reply = str(self._told.get("id") or "")

    def straight(self, chunks: bytes) -> bool:
        """A whole answer comes in no chunks."""
        return False

    async def say(self, delta: Delta, candidate: Candidate) -> None:
        """A provider's answer is put together here."""
        match delta:
            case TextDelta(text=text):
                self._text.append(text)
            case StreamEnd(finish=finish):
                self._finish = {"length": "length", "refused": "content_filter"}.get(finish, "stop")
            case _:
                return

    async def pass_on(self, payloads: Sequence[str], *, wants_usage: bool) -> None:
        """A provider's own chunks are put together."""
        self._passed = self._passed or WholeChat()
        for payload in payloads:
            if payload != "[DONE]":
                self._passed.take(payload)

    def answer(self, receipt: Receipt) -> web.Response:
        """The HTTP answer, with LM Studio's own statistics beside OpenAI's fields."""
        body = self._body
        if receipt.host is not None and self._form in ("chat", "text"):
            figures = receipt.model, receipt.timing, receipt.usage
            body = extended_json(body, self._told, statistics(*figures, self._seen, self._told))
        if self._passed is not None and self._passed.has_begun:
            body = self._passed.body()
        elif receipt.provider is not None:
            text, kind = "".join(self._text), "chat.completion"
            choice: dict[str, object] = {"index": 0, "finish_reason": self._finish}
            choice["message"] = {"role": "assistant", "content": text}
            whole: dict[str, object] = {
                "id": self._id,
                "object": kind,
                "created": self._created,
                "model": str(receipt.model),
                "choices": [choice],
                "usage": usage_object(receipt.usage),
            }
            body = json.dumps(whole).encode()
        return web.Response(
            body=body,
            content_type="application/json",
            headers=route_headers(self.route, self.candidate),
        )


def state_of(step: Progress) -> dict[str, object]:
    """What a waiting client may be told: progress, host and seconds left."""
    match step:
        case Queued(where=host, position=position, seconds=seconds):
            return {"state": "queued", "host": host, "place": position, "seconds_left": seconds}
        case Evicting(host=host):
            return {"state": "evicting", "host": host}
        case Waking(host=host, seconds_left=left):
            return {"state": "waking", "host": host, "seconds_left": left}
        case Loading(host=host, fraction=fraction, seconds_left=left):
            progress = round(fraction, 3)
            return {"state": "loading", "host": host, "progress": progress, "seconds_left": left}


def route_headers(
    route: Route, candidate: Candidate | None, *, is_forecast: bool = False
) -> dict[str, str]:
    """``X-Lantern-Route`` of whoever answers, or of whoever will as far as is known by now."""
    by = candidate or next(iter(route.candidates), None)
    if by is None:
        return {}
    kind = "host" if by.host is not None else "provider"
    wait = f"{by.seconds:.2f}" if by.seconds is not None else "?"
    words = f"{kind}={by.where}; model={by.model}; reason={by.reason}; wait={wait}"
    # Whoever is asked may still fail before its first word, and another one write the answer.
    told = {"X-Lantern-Route": f"{words}; forecast=yes"}
    if not is_forecast:
        told = {"X-Lantern-Route": words, "X-Lantern-Model": str(by.model)}
    # Whatever a host calls its models: a header with a control character is never sent, and its
    # answer with it.
    return {name: _UNSENDABLE.sub("?", value) for name, value in told.items()}
