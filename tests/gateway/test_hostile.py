"""Bodies, connections and clients that mean no good: refused, bounded, and nobody else waits."""

import asyncio
import gzip
import json
import threading
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from clocks import LoopClock
from rows import each_told

from bot.gateway import inference
from bot.gateway.connections import ConnectionLimits
from bot.gateway.server import GatewayRules
from bot.sim.journal import LoadStarted, PredictionStarted
from tests.gateway.gate import LOOPBACK, chat, gate
from tests.gateway.raw import GUARD_S, Reply, at, converse, read_reply, request
from tests.helpers.house import QWEN, sim

MIB = 1 << 20
CHAT, JSON, CHUNKED = (
    "/v1/chat/completions",
    "Content-Type: application/json",
    "Transfer-Encoding: chunked",
)
GOOD = chat(QWEN.key, max_tokens=2)


def limited(**seconds: float) -> GatewayRules:
    return GatewayRules(doors=LOOPBACK, max_body=MIB, limits=ConnectionLimits(**seconds))


def with_text(text: str) -> bytes:
    return json.dumps(chat(QWEN.key, "WORDS")).replace("WORDS", text).encode()


BAD = {
    "nothing": (b"", None),
    "no JSON": (b"{", None),
    "two values": (b"{}{}", None),
    "a comma too many": (b'{"messages": [],}', None),
    "no UTF-8": (with_text("").replace(b'""', b'"\xff\xfe"'), None),
    "UTF-16": (json.dumps(GOOD).encode("utf-16-le"), None),
    "not a number": (b'{"messages": [{}], "temperature": NaN}', None),
    "no end": (b'{"messages": [{}], "max_tokens": Infinity}', None),
    "below no end": (b'{"messages": [{}], "seed": -Infinity}', None),
    "deep lists": (b"[" * 200_000, None),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, None),
    "deep words": (
        b'{"messages": [{"role": "user", "content": %b1%b}]}' % (b"[" * 5000, b"]" * 5000),
        None,
    ),
    "a number of 5,000 digits": (b'{"messages": [{}], "seed": %b}' % (b"9" * 5000), None),
    "half a character": (with_text("\\ud800"), None),
    "half a character as a key": (b'{"messages": [{"\\udc00": 1}]}', None),
    "a list": (b"[]", "invalid_type"),
    "a text": (b'"hi"', "invalid_type"),
    "null": (b"null", "invalid_type"),
    "no messages": (b"{}", "missing_required_parameter"),
    "empty messages": (b'{"messages": []}', None),
    "a message that is none": (b'{"messages": ["hi"]}', "invalid_type"),
    "a model that is a number": (b'{"model": 7, "messages": [{}]}', "invalid_type"),
    "a stream that is a word": (b'{"stream": "yes", "messages": [{}]}', "invalid_type"),
    "too hot": (b'{"temperature": 3, "messages": [{}]}', None),
    "a temperature beyond floats": (b'{"temperature": 1e999, "messages": [{}]}', None),
    "a long model": (b'{"model": "%b", "messages": [{}]}' % (b"a" * 501), None),
}


async def test_bad_bodies_are_told_what_is_bad_about_them(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        for name, (body, code) in BAD.items():
            answer = await it.ask(CHAT, body)
            assert (answer.status, answer.error["code"]) == (400, code), name
            assert answer.error["type"] == "invalid_request_error"
            assert "x-request-id" in answer.headers
        assert (await it.ask(CHAT, GOOD)).status == 200
        assert len(it.house.hosts["one"].journal.of(PredictionStarted)) == 1


async def test_json_must_be_called_json(tmp_path: Path) -> None:
    # What a page of another site can send without asking is none of the first three.
    kinds = [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/json", 415),
        ("application/json, text/plain", 415),
        ("application/jsonp", 415),
        ("application/octet-stream", 415),
    ]
    async with gate(tmp_path, sim("one", QWEN)) as it:
        with each_told() as row:
            for kind, status in kinds:
                with row(kind=kind, status=status):
                    answer = await it.ask(CHAT, GOOD, Content_Type=kind)
                    assert answer.status == status
                    assert status == 200 or answer.error["type"] == "invalid_request_error"


async def test_a_packed_body_is_refused_and_never_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(40 * MIB), 1)
    async with gate(tmp_path, sim("one", QWEN), rules=limited(lingering_s=5)) as it:
        with traced() as peak:
            answer = await it.ask(CHAT, packed, Content_Encoding="gzip")
            assert peak() < 8 * MIB
        assert answer.status == 415
        for coding in ("deflate", "br", "zstd", "GZIP", "identity, gzip"):
            assert (await it.ask(CHAT, GOOD, Content_Encoding=coding)).status == 415
        assert (await it.ask(CHAT, GOOD, Content_Encoding="Identity")).status == 200


@contextmanager
def traced() -> Generator[Callable[[], int]]:
    """Gives what tells the most memory that was taken within the block."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def flood(base: str, head: bytes, piece: bytes, times: int) -> Reply:
    """Sends a head and a piece many times over; gives what is answered meanwhile or then."""
    async with asyncio.timeout(GUARD_S):
        reader, writer = await asyncio.open_connection(*at(base))

        async def send() -> None:
            try:
                writer.write(head)
                for _ in range(times):
                    writer.write(piece)
                    await writer.drain()
            except ConnectionError:
                pass  # the gateway has had enough

        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(send())
            reply = await read_reply(reader)
            sending.cancel()
        writer.close()
    assert reply is not None
    return reply


PIECE = b"x" * 65_536
FIFTY_MB = 50_000_000


@pytest.mark.parametrize("has_key", [True, False])
@pytest.mark.parametrize("is_chunked", [True, False])
@pytest.mark.usefixtures("loop_clock")
async def test_fifty_megabytes_cost_nobody_anything(
    tmp_path: Path, *, has_key: bool, is_chunked: bool
) -> None:
    size, piece = f"Content-Length: {FIFTY_MB}", PIECE
    if is_chunked:
        size, piece = CHUNKED, b"10000\r\n%b\r\n" % PIECE
    async with gate(tmp_path, sim("one", QWEN), rules=limited()) as it:
        bearer = await it.key("editor")
        key = bearer if has_key else "Bearer wrong"
        head = request(CHAT, JSON, size, f"Authorization: {key}")
        with traced() as peak:
            async with asyncio.TaskGroup() as tasks:
                flooding = tasks.create_task(flood(it.base, head, piece, FIFTY_MB // 65_536))
                meanwhile = await it.ask(CHAT, GOOD, Authorization=bearer)
            assert peak() < 8 * MIB
        assert meanwhile.status == 200
        reply = flooding.result()
        wanted = (413, "request_too_large") if has_key else (401, "invalid_api_key")
        assert (reply.status, reply.error["code"]) == wanted


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), rules=limited(body_s=0.05)) as it:
        head = request(CHAT, JSON, f"Content-Length: {MIB + 1}")
        reader, writer = await asyncio.open_connection(*at(it.base))
        writer.write(head)
        reply = await read_reply(reader)
        writer.close()
        assert reply is not None
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")


@pytest.mark.usefixtures("loop_clock")
async def test_a_body_as_large_as_it_may_be_is_read(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), rules=limited()) as it:
        body = json.dumps(chat("nobody/has-this", "")).encode()
        for more, status in ((0, 404), (1, 413)):
            whole = body.replace(b'""', b'"%b"' % (b"x" * (MIB - len(body) + more)))
            assert len(whole) == MIB + more
            head = request(CHAT, JSON, f"Content-Length: {len(whole)}")
            assert (await flood(it.base, head, whole, 1)).status == status
            head = request(CHAT, JSON, CHUNKED)
            chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(whole), whole)
            assert (await flood(it.base, head, chunk, 1)).status == status


@asynccontextmanager
async def silent(base: str, count: int, said: bytes) -> AsyncGenerator[list[asyncio.StreamReader]]:
    """Many connections that say this much and no more."""
    opened = [await asyncio.open_connection(*at(base)) for _ in range(count)]
    try:
        for _, writer in opened:
            writer.write(said)
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (500, b""),
        (50, b"POST /v1/chat/comple"),
        (50, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A:"),
    ],
)
async def test_connections_that_never_ask_are_cut_and_others_served(
    tmp_path: Path, loop_clock: LoopClock, count: int, said: bytes
) -> None:
    async with (
        gate(tmp_path, sim("one", QWEN), rules=limited(header_s=9.0)) as it,
        silent(it.base, count, said) as readers,
    ):
        answers = [await it.ask(CHAT, GOOD) for _ in range(3)]
        assert [answer.status for answer in answers] == [200] * 3
        loop_clock.passes(9.0)
        for reader in readers:
            assert await reader.read() == b""


async def test_one_that_has_asked_is_not_cut_while_it_waits_for_its_answer(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    rules = limited(header_s=9.0, idle_s=9.0)
    async with gate(tmp_path, sim("one", QWEN), rules=rules) as it, asyncio.TaskGroup() as tasks:
        one = it.house.hosts["one"]
        one.faults.stall_load()
        asking = tasks.create_task(it.ask(CHAT, chat(QWEN.key, max_tokens=30)))
        await one.journal.wait_for(LoadStarted)
        loop_clock.passes(9.0)
        one.faults.clear("stall_load")
        assert (await asking).status == 200


async def test_an_idle_connection_is_closed_after_its_time(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    begun = request("/v1/models", method="GET")
    async with (
        gate(tmp_path, sim("one", QWEN), rules=limited(header_s=60, idle_s=9.0)) as it,
        silent(it.base, 1, begun + begun + b"GET /v1/mod") as [reader],
    ):
        for _ in range(2):
            reply = await read_reply(reader)
            assert reply is not None
            assert reply.status == 200
        loop_clock.passes(9.0)
        assert await read_reply(reader) is None


@pytest.mark.parametrize(
    "headers", [(JSON, "Content-Length: 100"), (JSON, CHUNKED)], ids=["plain", "chunked"]
)
async def test_a_body_that_never_comes_is_not_waited_for(
    tmp_path: Path, headers: tuple[str, ...]
) -> None:
    rules = limited(body_s=0.02, lingering_s=0.02, idle_s=0.02)
    async with gate(tmp_path, sim("one", QWEN), rules=rules) as it:
        [reply] = await converse(it.base, request(CHAT, *headers, body=b"2\r\n{}\r\n"))
        assert (reply.status, reply.error["type"]) == (408, "invalid_request_error")


async def test_a_client_that_leaves_in_its_body_breaks_nothing(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        for _ in range(20):
            _, writer = await asyncio.open_connection(*at(it.base))
            writer.write(request(CHAT, JSON, "Content-Length: 100", body=b'{"messages'))
            await writer.drain()
            writer.transport.abort()
        assert (await it.ask(CHAT, GOOD)).status == 200


async def test_what_comes_behind_a_refusal_is_dropped_and_the_next_request_answered(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it, asyncio.timeout(GUARD_S):
        await it.key("editor")
        reader, writer = await asyncio.open_connection(*at(it.base))
        for _ in range(2):
            writer.write(request(CHAT, JSON, "Content-Length: 20", body=b"x" * 10))
            refused = await read_reply(reader)
            assert refused is not None
            assert refused.status == 401
            writer.write(b"x" * 10)
        writer.close()


async def test_a_body_that_breaks_when_it_was_called_for_is_the_clients_doing(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with gate(tmp_path, sim("one", QWEN), rules=limited(body_s=9.0)) as it:
        reader, writer = await asyncio.open_connection(*at(it.base))
        writer.write(request(CHAT, JSON, CHUNKED, "Expect: 100-continue"))
        called = await read_reply(reader)
        assert called is not None
        assert called.status == 100
        writer.write(b"2\r\n{}\r\nno number\r\n")
        loop_clock.passes(9.0)
        refused = await read_reply(reader)
        assert refused is not None
        # aiohttp's parser in C says nothing, and the time runs out; the one in Python tells it.
        assert refused.status in (400, 408)
        assert refused.error["type"] == "invalid_request_error"
        writer.close()


@pytest.mark.parametrize("more", [0, 1])
async def test_while_a_large_body_is_read_others_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    body = json.dumps(chat(QWEN.key, max_tokens=1)).encode()
    is_begun, may_go_on, apart = threading.Event(), threading.Event(), set[str]()

    def held(name: str) -> None:
        read = getattr(inference, name)

        def slowly(*args: Any) -> object:
            if threading.current_thread() is not threading.main_thread():
                apart.add(name)
                is_begun.set()
                may_go_on.wait(30)
            return read(*args)

        monkeypatch.setattr(inference, name, slowly)

    steps = {"parse", "filled", "measure"}
    for step in steps:
        held(step)
    async with gate(tmp_path, sim("one", QWEN)) as it, asyncio.TaskGroup() as tasks:
        large = body + b" " * (inference.LARGE_BYTES + more - len(body))
        asking = tasks.create_task(it.ask("/v1/chat/completions", large))
        if more:
            await asyncio.to_thread(is_begun.wait, 30)
        assert (await it.ask("/v1/models", method="GET")).status == 200
        may_go_on.set()
        assert (await asking).status == 200
    assert apart == (steps if more else set())
