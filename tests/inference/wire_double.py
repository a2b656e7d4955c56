"""A server that answers each request with prepared bytes and tells how it was asked and left."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

Ending = Literal["whole", "cut", "reset", "hold"]
BEAT_S = 0.5


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request is answered with; each piece is one chunk and one write."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    ending: Ending = "whole"
    """``cut`` closes in the middle of the body, ``reset`` aborts, ``hold`` says nothing more."""
    raw: bytes | None = None
    """Sent instead of everything else."""
    beat: bytes = b""
    """Sent again and again while holding."""
    is_at_once: bool = False
    """One write, the end of HTTP's chunks with it: its connection is good for another."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as the server got it."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, object]:
        """The JSON body."""
        return json.loads(self.body)


@dataclass(slots=True)
class WireDouble:
    """One listening server."""

    replies: list[Reply]
    port: int = 0
    requests: list[Received] = field(default_factory=list[Received])
    connections: int = 0
    was_met: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has connected."""
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    was_left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client closed its connection while a reply was held."""
    has_closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server closed a connection."""

    @property
    def base_url(self) -> str:
        """Where the API begins."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        self.was_met.set()
        try:
            while (received := await _read_request(reader)) is not None:
                self.requests.append(received)
                self.was_asked.set()
                if not await self._answer(self.replies.pop(0), reader, writer):
                    return
        except ConnectionError:
            self.was_left.set()
        finally:
            writer.close()
            self.has_closed.set()

    async def _answer(
        self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in reply.pieces]
        if reply.is_at_once:
            writer.write(b"".join([_head(reply), *chunks, b"0\r\n\r\n"]))
            return True
        if reply.raw is not None:
            writer.write(reply.raw)
        elif reply.pieces or reply.ending != "hold":
            writer.write(_head(reply))
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0)
        match reply.ending:
            case "whole":
                writer.write(b"" if reply.raw is not None else b"0\r\n\r\n")
                return reply.raw is None
            case "hold":
                await self._hold(reply, reader, writer)
            case "reset":
                writer.transport.abort()
            case "cut":
                pass
        return False

    async def _hold(
        self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(_beat(reply.beat, writer))
            with suppress(ConnectionError):
                await reader.read()
            beating.cancel()
        self.was_left.set()


async def _beat(beat: bytes, writer: asyncio.StreamWriter) -> None:
    while beat:
        writer.write(b"%x\r\n%b\r\n" % (len(beat), beat))
        await asyncio.sleep(BEAT_S)


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (row.split(": ", 1) for row in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(line, headers, body)


def _head(reply: Reply) -> bytes:
    headers = {"Transfer-Encoding": "chunked", **reply.headers}
    if reply.content_type:
        headers["Content-Type"] = reply.content_type
    lines = [f"HTTP/1.1 {reply.status} Told", *(f"{n}: {v}" for n, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@asynccontextmanager
async def wire_double(*replies: Reply) -> AsyncGenerator[WireDouble]:
    """Serve the replies in order on a free port."""
    double = WireDouble(list(replies))
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0)
    double.port = server.sockets[0].getsockname()[1]
    try:
        yield double
    finally:
        server.close()
        await server.wait_closed()


def sse(*payloads: object) -> bytes:
    """Events, one per payload; anything but text becomes JSON."""
    return b"".join(
        b"data: %b\n\n" % (p if isinstance(p, str) else json.dumps(p)).encode() for p in payloads
    )


def chunk(model: str = "m", finish: str | None = None, **delta: object) -> dict[str, object]:
    """One chunk of the chat-completions wire as LM Studio sends it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "system_fingerprint": model,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }


def told(*words: str, usage: dict[str, object] | None = None) -> bytes:
    """A whole answer of the chat-completions wire."""
    payloads: list[object] = [chunk(role="assistant", content=word) for word in words]
    payloads.append(chunk(finish="stop"))
    if usage:
        payloads.append({"model": "m", "choices": [], "usage": usage})
    return sse(*payloads, "[DONE]")
