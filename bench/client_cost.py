"""Client cost per streamed token.

A server in a process of its own sends paced chunks as LM Studio does, one write per token; here 64
streams are read at once and only this process's CPU time is counted. The token rate is what one
host's streams share, so that every token costs a wake-up of the event loop.
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import ModuleType

from bench.table import Row, at_most, told
from bot.domain.chat import Endpoint, InferenceRequest, Message
from bot.domain.events import StreamEnd, TextDelta
from bot.inference.streams import Inference

STREAMS = 64
TOKENS_PER_S = 30
SECONDS = 4
TOKENS = TOKENS_PER_S * SECONDS
LIMIT_US = 50.0

MODEL = "qwen/qwen3-30b-a3b-2507"


def run() -> list[Row]:
    """Measure on the event loop `lantern run` uses, and on plain asyncio beside it."""
    uvloop = _uvloop()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        port = int(ours.recv())
        plain_us = _measured(port, asyncio.SelectorEventLoop)
        if uvloop is None:
            return [at_most(_what("asyncio"), plain_us, "us", LIMIT_US)]
        fast_us = _measured(port, uvloop.new_event_loop)
    finally:
        server.terminate()
        server.join()
    return [
        at_most(_what("uvloop"), fast_us, "us", LIMIT_US),
        told(_what("plain asyncio"), plain_us, "us"),
    ]


def _what(loop: str) -> str:
    return f"CPU per token, {STREAMS} streams of {TOKENS_PER_S} tokens/s, {loop}"


def _uvloop() -> ModuleType | None:
    try:
        import uvloop
    except ImportError:  # not made for every platform
        return None
    return uvloop


def _measured(port: int, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> float:
    """Microseconds of CPU per token, the connections' opening left out."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_read_all(port)) * 1e6


async def _read_all(port: int) -> float:
    async with Inference() as inference:
        everyone = asyncio.Barrier(STREAMS + 1)
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(_read(inference, port, everyone)) for _ in range(STREAMS)]
            await everyone.wait()
            started = time.process_time()
        spent_s = time.process_time() - started
    return spent_s / sum(task.result() for task in reading)


async def _read(inference: Inference, port: int, everyone: asyncio.Barrier) -> int:
    endpoint = Endpoint(
        f"http://127.0.0.1:{port}/v1", MODEL, accepted_models=frozenset({MODEL}), source="bench"
    )
    request = InferenceRequest((Message("user", "Hello?"),))
    tokens = 0
    async with inference.open(endpoint, request) as deltas:
        await anext(deltas)
        await everyone.wait()
        async for delta in deltas:
            tokens += isinstance(delta, TextDelta)
            assert tokens < TOKENS or isinstance(delta, StreamEnd)
    return tokens


# --- the server, in its own process --------------------------------------------------------


def _serve(pipe: Connection) -> None:
    asyncio.run(_listen(pipe))


async def _listen(pipe: Connection) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    await reader.readexactly(int(length.split(b":")[1]))
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(TOKENS):
        writer.write(_chunk({"role": "assistant", "content": " token"}, None))
        await asyncio.sleep(begun + (number + 1) / TOKENS_PER_S - loop.time())
    writer.write(_chunk({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    writer.close()


def _chunk(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    payload = {
        "id": "chatcmpl-0123456789abcdef0123",
        "object": "chat.completion.chunk",
        "created": 1763600000,
        "model": MODEL,
        "system_fingerprint": MODEL,
        "choices": [choice],
    }
    event = b"data: %b\n\n" % json.dumps(payload).encode()
    return b"%x\r\n%b\r\n" % (len(event), event)
