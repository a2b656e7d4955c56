"""Relayed streams over real sockets: every byte as it came, whichever way it went."""

import asyncio
import json
import sys
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from clocks import LoopClock
from histories import examples
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Endpoint, Usage
from bot.domain.errors import Bug, FailureKind, Unavailable
from bot.inference import streams
from bot.inference.exchange import (
    MOST_HEAD_BYTES,
    MOST_UNREAD_BYTES,
    ConnectionPool,
    Exchange,
    whole_chunks,
)
from bot.inference.passing import OwnHead, Passing
from bot.inference.streams import Inference
from bot.inference.wire import Call, WireFault

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def event(text: str, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    head = {"id": "theirs", "object": "chat.completion.chunk", "model": "key"}
    body = head | {"choices": [choice]} | more
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


WORDS = ("Lan", "tern", " é", "🏮🏮", ' says "usage" and [DONE]', "\n\ndata: ", " 你好") * 3
USAGE = event("", choices=[], usage={"prompt_tokens": 5, "completion_tokens": 9})
EVENTS = (*map(event, WORDS), event("", "stop"), USAGE, b"data: [DONE]\n\n")


def chunked(events: Sequence[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(e), e) for e in events)


@asynccontextmanager
async def host(pieces: Sequence[bytes]) -> AsyncGenerator[Endpoint]:
    """Answers one request by these pieces, each read by itself."""
    idle = asyncio.Event()
    idle.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        idle.clear()
        # Who asked has left once it heard enough.
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                for _ in range(4):
                    await asyncio.sleep(0)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        idle.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        names = frozenset({"key"})
        try:
            yield Endpoint(
                f"http://127.0.0.1:{port}/v1", "key", accepted_models=names, source="one"
            )
        finally:
            await idle.wait()


Made = Callable[[Callable[[bytes], bool]], Passing]


def _passing_to(
    out: Callable[[bytes], bool],
    wants_usage: bool = True,
    own_head: Callable[[], OwnHead] = OwnHead,
) -> Passing:
    return Passing("chat", frozenset({"key"}), wants_usage=wants_usage, own_head=own_head, out=out)


async def relayed(
    pieces: Sequence[bytes], made: Made = _passing_to, *, takes: bool = True
) -> tuple[bytes, int, Passing]:
    """What the client is sent, out of its chunks; how many reads went straight; what passed it."""
    out: list[bytes] = []
    straights = 0

    def straight(data: bytes) -> bool:
        nonlocal straights
        if takes:
            straights += 1
            out.extend(whole_chunks(data))
        return takes

    passing = made(straight)
    async with (
        host(pieces) as endpoint,
        Inference() as inference,
        inference.relay(endpoint, "/chat", b"{}", passing) as (chunks, _),
    ):
        async for data in chunks:
            out.append(data)
    return b"".join(out), straights, passing


@pytest.mark.parametrize("takes", [True, False])
async def test_words_go_straight_and_all_else_is_looked_at(takes: bool) -> None:
    made = partial(_passing_to, wants_usage=False)
    pieces = [HEAD, *(chunked([e]) for e in EVENTS), LAST]
    out, straights, passing = await relayed(pieces, made, takes=takes)
    assert out == b"".join(e for e in EVENTS if e is not USAGE)
    assert passing.usage == Usage(prompt_tokens=5, completion_tokens=9)
    assert (passing.finish, passing.is_whole) == ("stop", True)
    assert passing.deltas == len(EVENTS)
    assert (straights > 3) == takes


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not made for it")
def test_it_is_the_same_on_the_loop_that_lantern_runs_on() -> None:
    import uvloop

    pieces = [HEAD, *(chunked([e]) for e in EVENTS), LAST]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        out, straights, _ = runner.run(relayed(pieces))
    assert out == b"".join(EVENTS)
    assert straights


async def test_one_id_also_on_what_goes_straight() -> None:
    own = OwnHead({"id": "a-longer-id-of-ours", "created": 12})
    made = partial(_passing_to, own_head=lambda: own)
    pieces = [HEAD, *(chunked([e]) for e in EVENTS), LAST]
    out, straights, _ = await relayed(pieces, made)
    assert b"theirs" not in out
    assert out == b"".join(EVENTS).replace(b'"theirs"', b'"a-longer-id-of-ours"')
    assert straights


@examples(40)
@given(
    cuts=st.lists(st.integers(0, 20_000), max_size=12),
    grouping=st.lists(st.integers(1, 4), min_size=1, max_size=30),
)
def test_every_byte_arrives_however_torn_and_chunked(cuts: list[int], grouping: list[int]) -> None:
    chunks: list[bytes] = []
    left = list(EVENTS)
    for many in [*grouping, *[1] * len(EVENTS)]:
        chunks.append(b"".join(left[:many]))
        left = left[many:]
    data = HEAD + chunked([c for c in chunks if c]) + LAST
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(places)]
    out, *_ = asyncio.run(relayed(pieces))
    assert out == b"".join(EVENTS)


@pytest.mark.parametrize(
    ("data", "payloads"),
    [
        (b"4\r\na\n\n\n\r\n", [b"a\n\n\n"]),
        (b"3\r\na\n\n\r\n3\r\nb\n\n\r\n", [b"a\n\n", b"b\n\n"]),
        # Cut, torn, no whole event, the end mark, an odd size, an extension: all looked at.
        (b"3\r\na\n\n\r", []),
        (b"3\r\na\n\n", []),
        (b"3\r\nabc\r\n", []),
        (b"0\r\n\r\n", []),
        (b"03\r\na\n\n\r\n", []),
        (b"0x3\r\na\n\n\r\n", []),
        (b"+3\r\na\n\n\r\n", []),
        (b"-3\r\na\n\n\r\n", []),
        (b"3;x\r\na\n\n\r\n", []),
        (b"3\r\na\n\nXX", []),
        (b"3\r\na\n\n\r\n0\r\n\r\n", []),
        (b"", []),
        (b"a\n\n", []),
    ],
)
def test_only_whole_chunks_of_whole_events_go_straight(data: bytes, payloads: list[bytes]) -> None:
    assert whole_chunks(data) == payloads


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([], FailureKind.CUT),
        ([b"SMTP ready\r\n\r\n"], FailureKind.GARBAGE),
        ([HEAD[:30]], FailureKind.CUT),
        ([b"x" * 70_000], FailureKind.GARBAGE),
        ([HEAD, b"zz\r\nno size"], FailureKind.GARBAGE),
        ([HEAD, b"-5\r\nno size"], FailureKind.GARBAGE),
        ([HEAD], FailureKind.CUT),
        ([HEAD, LAST], FailureKind.CUT),
        (
            [b"HTTP/1.1 503 Busy\r\nContent-Length: 27\r\n\r\n", b'{"error": {"message": "no"}}'],
            FailureKind.OVERLOAD,
        ),
        (
            [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b'{"error": "no"}'],
            FailureKind.SERVER,
        ),
    ],
)
async def test_what_is_no_stream_is_a_failure_of_its_kind(
    pieces: list[bytes], kind: FailureKind
) -> None:
    with pytest.raises(Unavailable) as failed:
        await relayed(pieces)
    assert failed.value.kind is kind


@pytest.mark.parametrize("length", ["", f"Content-Length: {len(b''.join(EVENTS))}\r\n"])
async def test_an_answer_without_chunks_passes_as_well(length: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{length}\r\n".encode()
    early = b"HTTP/1.1 100 Continue\r\n\r\n"
    pieces = [early + head, *EVENTS]
    out, *_ = await relayed(pieces)
    assert out == b"".join(EVENTS)


async def test_a_port_without_a_server_is_no_connection() -> None:
    async with host([]) as endpoint:
        pass
    with pytest.raises(Unavailable, match="connection refused"):
        async with (
            Inference() as inference,
            inference.relay(endpoint, "/chat", b"{}", Passing("chat", frozenset())),
        ):
            pass


class _Line(asyncio.Transport):
    """A connection that remembers whether it is read."""

    is_reading_now = True

    def pause_reading(self) -> None:
        self.is_reading_now = False

    def resume_reading(self) -> None:
        self.is_reading_now = True


async def test_a_client_slower_than_its_host_holds_little_here() -> None:
    line = _Line()
    exchange = Exchange(MOST_UNREAD_BYTES)
    exchange.connection_made(line)
    exchange.data_received(HEAD)
    piece = chunked([event("x" * 1000)])
    sent = 0
    while line.is_reading_now:
        exchange.data_received(piece)
        sent += 1
    assert MOST_UNREAD_BYTES <= sent * len(piece) <= 2 * MOST_UNREAD_BYTES
    read = await exchange.read(lambda: 0.0)
    assert read.count(b"data: ") == sent
    assert line.is_reading_now


@pytest.mark.parametrize(
    ("data", "is_broken"),
    [
        (b"3\r\nabcXX", True),
        (b"3\r\nabcX", True),
        (b"3\r\nabc\rX", True),
        (b"3\r\nabc\r", False),
        (b"3\r\nabc", False),
        (b"3\r\nabc\r\ndata: a", True),
        (b"data: a", True),
        (b"d", False),
        (b"3", False),
        (b"3;name=value", False),
        (b"3 \r", False),
        (b"3\rX", True),
        (b"3;" + b"x" * 201, True),
        (b"1" * 17, True),
        (b"3\r\nabc\r\n0\r\n", False),
        (b"", False),
    ],
)
async def test_a_broken_chunk_is_told_at_once(data: bytes, is_broken: bool) -> None:
    exchange = Exchange(MOST_UNREAD_BYTES)
    exchange.connection_made(_Line())
    for byte in HEAD + data:
        exchange.data_received(bytes([byte]))
    assert (exchange.fault is not None) == is_broken


async def test_a_chunk_larger_than_any_answer_is_not_waited_for() -> None:
    exchange = Exchange(1000)
    exchange.connection_made(_Line())
    exchange.data_received(HEAD + b"fffffff\r\n" + bytes(1000 + MOST_HEAD_BYTES - 9))
    assert exchange.fault is None
    exchange.data_received(b"x")
    with pytest.raises(WireFault):
        await exchange.read(lambda: 0.0)


async def test_what_breaks_inside_lantern_is_told_to_whoever_reads() -> None:
    def breaks(_: bytes) -> bool:
        raise ConnectionError("of another line")

    exchange, loop = Exchange(MOST_UNREAD_BYTES, breaks), asyncio.get_running_loop()
    exchange.connection_made(_Line())
    exchange.data_received(HEAD)
    loop.call_soon(exchange.data_received, chunked([event("a")]))
    with pytest.raises(Bug):
        await exchange.read(lambda: loop.time() + 60)


async def test_silence_counts_from_what_went_straight() -> None:
    loop = asyncio.get_running_loop()
    passing = Passing("chat", frozenset({"key"}))
    exchange = Exchange(MOST_UNREAD_BYTES, lambda _: True)
    exchange.connection_made(_Line())
    exchange.data_received(HEAD + chunked([event("a")]))
    passing.feed(await exchange.read(loop.time))
    limits = iter([loop.time(), loop.time() + 60, loop.time() + 0.01])

    def due() -> float:
        return next(limits, 0.0)

    with pytest.raises(TimeoutError):
        await exchange.read(due)
    assert next(limits, None) is None


async def test_what_comes_before_its_reader_woke_does_not_overtake_what_it_is_to_read() -> None:
    loop, straight = asyncio.get_running_loop(), list[bytes]()
    first, second = chunked([event("a")]), chunked([event("b")])

    def takes(data: bytes) -> bool:
        is_taken = data == second
        straight.extend([data] if is_taken else [])
        return is_taken

    exchange = Exchange(MOST_UNREAD_BYTES, takes)
    exchange.connection_made(_Line())
    exchange.data_received(HEAD)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(exchange.read(lambda: loop.time() + 60))
        await asyncio.sleep(0)
        # Two reads in one step of the loop, as uvloop may bring them.
        exchange.data_received(first)
        exchange.data_received(second)
    assert (reading.result(), straight) == (event("a") + event("b"), [])


@pytest.mark.parametrize("last", [LAST, b"no chunk"])
async def test_what_comes_behind_an_answers_end_or_fault_is_not_gathered(last: bytes) -> None:
    exchange, more = Exchange(MOST_UNREAD_BYTES), bytes(1 << 20)
    exchange.connection_made(_Line())
    exchange.data_received(HEAD + last)
    tracemalloc.start()
    for _ in range(8):
        exchange.data_received(more)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < len(more)
    assert exchange.is_over


@pytest.mark.parametrize(
    ("told", "read", "fault"),
    [
        (chunked([event("a")]), event("a"), None),
        (LAST, b"", None),
        (b"no chunk", b"", WireFault),
        (b"", b"", TimeoutError),
    ],
)
async def test_what_comes_at_the_last_moment_came_in_time(
    loop_clock: LoopClock, told: bytes, read: bytes, fault: type[Exception] | None
) -> None:
    loop = asyncio.get_running_loop()
    exchange, due = Exchange(MOST_UNREAD_BYTES), loop.time() + 1.0
    exchange.connection_made(_Line())
    exchange.data_received(HEAD)

    async def reading() -> None:
        with pytest.raises(fault) if fault is not None else nullcontext():
            assert await exchange.read(lambda: due) == read

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reading())
        await loop_clock.armed(1.0)
        # Its reader is told of the end of its patience, and has not run yet.
        loop_clock.passes(1.0)
        loop.call_soon(exchange.data_received, told)


@pytest.mark.parametrize(
    ("head", "first", "rest", "read"),
    [
        # The rest of a chunk, and an answer without any.
        (HEAD, b"5\r\nhel", b"lo\r\n", b"hello"),
        (HEAD.replace(b"Transfer-Encoding: chunked\r\n", b""), b"", b"hello", b"hello"),
    ],
)
async def test_nothing_goes_straight_that_begins_no_chunk(
    head: bytes, first: bytes, rest: bytes, read: bytes
) -> None:
    exchange = Exchange(MOST_UNREAD_BYTES, lambda _: True)
    exchange.connection_made(_Line())
    exchange.data_received(head + first)
    loop = asyncio.get_running_loop()
    loop.call_soon(exchange.data_received, rest)
    assert await exchange.read(lambda: loop.time() + 60) == read


async def test_nothing_goes_straight_past_a_reader_who_was_told_to_stop() -> None:
    exchange, told = Exchange(MOST_UNREAD_BYTES, lambda _: True), chunked([event("a")])
    exchange.connection_made(_Line())
    exchange.data_received(HEAD)
    with pytest.raises(TimeoutError):
        await exchange.read(lambda: 0.0)
    exchange.data_received(told)
    assert await exchange.read(lambda: 0.0) == event("a")


async def test_a_deadline_that_comes_nearer_is_kept() -> None:
    loop = asyncio.get_running_loop()
    exchange = Exchange(MOST_UNREAD_BYTES)
    exchange.connection_made(_Line())
    loop.call_soon(exchange.data_received, HEAD + chunked([event("a")]))
    await exchange.read(lambda: loop.time() + 600)
    with pytest.raises(TimeoutError):
        await exchange.read(loop.time)


BODY = b'{"model": "key"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Keeping:
    """A host that answers each request so and waits for the next on the same connection."""

    def __init__(self, answer: bytes = ANSWER) -> None:
        self.answer = answer
        self.asked: list[int] = []
        """Requests by connection."""
        self.writers: list[asyncio.StreamWriter] = []
        self.broken: dict[tuple[int, int], bytes | None] = {}
        """By connection and its request: what is said before it breaks; None is not to break."""
        self.is_silent = asyncio.Event()
        self.endpoint = Endpoint("", "key", accepted_models=frozenset({"key"}))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = len(self.asked)
        self.asked.append(0)
        self.writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n{}"):
                self.asked[mine] += 1
                said = self.broken.get((mine, self.asked[mine]), self.answer)
                if said is None:
                    self.is_silent.set()
                    continue
                writer.write(said)
                if said is not self.answer:
                    break
        writer.close()

    @asynccontextmanager
    async def asked_by(self) -> AsyncGenerator[Inference]:
        server = self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.endpoint = replace(self.endpoint, base_url=f"http://127.0.0.1:{port}/v1")
        async with server:
            async with Inference() as inference:
                yield inference
            for writer in self.writers:
                with suppress(ConnectionError):
                    await writer.wait_closed()


async def whole(inference: Inference, endpoint: Endpoint) -> bytes:
    return (await inference.relay_whole(endpoint, "/chat", b"{}", 1000))[0]


async def test_a_connection_that_was_left_in_good_order_serves_the_next_request() -> None:
    host = Keeping()
    async with host.asked_by() as inference:
        endpoint, asked = host.endpoint, host.asked
        for _ in range(3):
            assert await whole(inference, endpoint) == BODY
        assert asked == [3]
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(whole(inference, endpoint))
        assert asked == [4, 1]
        # Both are kept, and both serve again.
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(whole(inference, endpoint))
        assert asked == [5, 2]


CHUNKED = HEAD.replace(b"event-stream", b"plain") + b"%x\r\n%b\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (CHUNKED + LAST, 1),
        (CHUNKED + b"0\r\nTrailer: 1\r\n\r\n", 2),
        (CHUNKED + LAST + b"HTTP/1.1 200 smuggled", 2),
        (ANSWER.replace(b"HTTP/1.1", b"HTTP/1.0"), 2),
        (ANSWER.replace(b"\r\n", b"\r\nConnection: Close\r\n", 1), 2),
        (ANSWER.replace(b"\r\n", b"\r\nConnection: TE, close\r\n", 1), 2),
        (ANSWER.replace(b"200", b"503"), 1),
        (ANSWER + b"HTTP/1.1 200 smuggled", 2),
    ],
)
async def test_no_connection_is_used_again_that_may_hold_more(
    answer: bytes, connections: int
) -> None:
    host = Keeping(answer)
    async with host.asked_by() as inference:
        for _ in range(2):
            with suppress(Unavailable):
                await whole(inference, host.endpoint)
        assert len(host.asked) == connections


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_connection_that_its_host_used_or_closed_meanwhile_serves_nobody(
    is_closed: bool,
) -> None:
    host = Keeping()
    async with host.asked_by() as inference:
        await whole(inference, host.endpoint)
        if is_closed:
            host.writers[0].close()
        else:
            host.writers[0].write(b"HTTP/1.1 200 OK")
        for _ in range(10):
            await asyncio.sleep(0)
        assert await whole(inference, host.endpoint) == BODY
        assert host.asked == [1, 1]


@pytest.mark.parametrize("is_reset", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_kept_connection_that_breaks_before_a_byte_is_made_anew_once(
    stream: bool, is_reset: bool
) -> None:
    host = Keeping(HEAD + chunked(EVENTS) + LAST if stream else ANSWER)
    host.broken = {(0, 2): None if is_reset else b""}
    async with host.asked_by() as inference:

        async def ask() -> bytes:
            if not stream:
                return await whole(inference, host.endpoint)
            passing = Passing("chat", frozenset({"key"}))
            async with inference.relay(host.endpoint, "/chat", b"{}", passing) as (chunks, _):
                return b"".join([data async for data in chunks])

        first = await ask()
        async with asyncio.TaskGroup() as tasks:
            again = tasks.create_task(ask())
            if is_reset:
                await host.is_silent.wait()
                host.writers[0].transport.abort()
        assert again.result() == first
        assert host.asked == [2, 1]


@pytest.mark.parametrize(
    ("broken", "asked"),
    [
        # One that was made for this request: its host may have begun, and died of it.
        ({(0, 1): b""}, [1, 1]),
        ({(0, 2): b"", (1, 1): b""}, [2, 1]),
        ({(0, 2): b"H"}, [2]),
        ({(0, 2): b"HTTP/1.1 100 Continue\r\n\r\n"}, [2]),
    ],
)
async def test_what_may_have_been_begun_is_sent_to_no_host_twice(
    broken: dict[tuple[int, int], bytes | None], asked: list[int]
) -> None:
    host = Keeping()
    host.broken = broken
    async with host.asked_by() as inference:
        failed: list[FailureKind | str] = []
        for _ in range(2):
            try:
                await whole(inference, host.endpoint)
            except Unavailable as error:
                failed.append(error.kind)
        assert (failed, host.asked) == ([FailureKind.CUT], asked)


@pytest.mark.parametrize(("size", "is_taken"), [(1000, True), (1001, False)])
async def test_a_whole_answer_is_as_large_as_it_may_be(size: int, is_taken: bool) -> None:
    body = b'{"model": "key", "x": "%b"}' % (b"x" * (size - 25))
    assert len(body) == size
    host = Keeping(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, body))
    async with host.asked_by() as inference:
        with nullcontext() if is_taken else pytest.raises(Unavailable, match="too large"):
            assert await whole(inference, host.endpoint) == body


@pytest.mark.parametrize(
    ("said", "waits", "kind"),
    [
        ({"role": "assistant"}, 60.0, FailureKind.TIMEOUT),
        ({"content": "a"}, 5.0, FailureKind.STALL),
    ],
)
async def test_only_after_the_first_word_the_time_between_words_counts(
    loop_clock: LoopClock, said: dict[str, str], waits: float, kind: FailureKind
) -> None:
    body = {"id": "theirs", "model": "key", "choices": [{"index": 0, "delta": said}]}
    loop = asyncio.get_running_loop()
    host = Keeping(HEAD + chunked([f"data: {json.dumps(body)}\n\n".encode()]))
    host.endpoint = replace(host.endpoint, first_token_s=60.0, idle_s=5.0)
    began_at, is_fed = loop.time(), asyncio.Event()

    class Fed(Passing):
        def feed(self, data: bytes) -> bytes:
            loop.call_soon(is_fed.set)
            return super().feed(data)

    async def in_vain(inference: Inference) -> None:
        passing = Fed("chat", frozenset({"key"}))
        failed: list[tuple[FailureKind | str, float]] = []
        try:
            async with inference.relay(host.endpoint, "/chat", b"{}", passing) as (chunks, _):
                async for _ in chunks:
                    pass
        except Unavailable as error:
            failed.append((error.kind, loop.time()))
        assert failed == [(kind, began_at + waits)]

    async with host.asked_by() as inference, asyncio.TaskGroup() as tasks:
        tasks.create_task(in_vain(inference))
        await is_fed.wait()
        loop_clock.passes(5.0)
        for _ in range(8):
            await asyncio.sleep(0)
        loop_clock.passes(waits - 5.0)


async def test_what_is_paid_for_is_sent_once() -> None:
    host, pool, asked = Keeping(), ConnectionPool(), list[int]()
    host.broken = {(0, 2): b""}

    async def before_words() -> None:
        asked.append(len(host.asked))

    async with host.asked_by():
        call = Call(f"{host.endpoint.base_url}/chat", {}, b"{}", before_words)
        due = asyncio.get_running_loop().time() + 60
        first = Exchange(MOST_UNREAD_BYTES)
        done = await pool.sent(first, call, 60, due)
        while await first.read(lambda: due):
            pass
        done()
        with pytest.raises(ConnectionError):
            await pool.sent(Exchange(MOST_UNREAD_BYTES), call, 60, due)
        assert (host.asked, len(asked)) == ([2], 2)


async def test_silence_on_a_kept_connection_is_no_reason_to_ask_again(
    loop_clock: LoopClock,
) -> None:
    host = Keeping()
    host.broken = {(0, 2): None}
    async with host.asked_by() as inference:
        await whole(inference, host.endpoint)

        async def in_vain() -> None:
            with pytest.raises(Unavailable) as silent:
                await whole(inference, host.endpoint)
            assert silent.value.kind is FailureKind.TIMEOUT

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(in_vain())
            await host.is_silent.wait()
            loop_clock.passes(host.endpoint.first_token_s)
        assert host.asked == [2]


async def test_what_is_no_http_is_said_to_be_so_also_in_the_step_of_the_deadline(
    loop_clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[Exchange]()

    class Kept(Exchange):
        def __init__(self, most_bytes: int) -> None:
            super().__init__(most_bytes)
            made.append(self)

    monkeypatch.setattr(streams, "Exchange", Kept)
    host = Keeping()
    host.broken = {(0, 1): None}
    async with host.asked_by() as inference, asyncio.TaskGroup() as tasks:

        async def in_vain() -> None:
            with pytest.raises(Unavailable) as failed:
                await whole(inference, host.endpoint)
            assert failed.value.kind is FailureKind.GARBAGE

        tasks.create_task(in_vain())
        await host.is_silent.wait()
        loop_clock.passes(host.endpoint.first_token_s)
        made[0].data_received(b"SMTP ready\r\n\r\n")


async def test_a_host_that_is_gone_is_said_to_be_gone_and_who_leaves_leaves_nothing_open() -> None:
    host = Keeping()
    host.broken = {(0, 2): b"", (1, 1): None}
    async with host.asked_by() as inference:
        await whole(inference, host.endpoint)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(whole(inference, host.endpoint))
            await host.is_silent.wait()
            asking.cancel()
        # The block waits for each connection's end.
    host.broken = {(2, 2): b""}
    async with host.asked_by() as inference:
        await whole(inference, host.endpoint)
        host.server.close()
        with pytest.raises(Unavailable) as gone:
            await whole(inference, host.endpoint)
        assert gone.value.kind is FailureKind.CONNECT


async def test_a_connection_is_kept_no_longer_than_hosts_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.inference.exchange.KEEP_ALIVE_S", 0.0)
    host = Keeping()
    async with host.asked_by() as inference:
        endpoint, asked = host.endpoint, host.asked
        for _ in range(2):
            assert await whole(inference, endpoint) == BODY
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert asked == [1, 1]
