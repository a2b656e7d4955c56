"""Bytes that pass the server's own writer: whole, in order, and only to clients that keep up."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.http_writer import StreamWriter
from clocks import LoopClock

from bot.chat.usage import UsageTracker
from bot.domain.chat import Receipt
from bot.domain.ids import HostName
from bot.gateway.connections import ClientConnection
from bot.gateway.sinks import LifePace, StreamSink
from bot.inference.passing import Passing
from bot.sim.journal import PredictionCancelled
from tests.gateway.gate import CHATS, Answer, chat, gate
from tests.helpers.house import QWEN, sim

WORDS = "one two three four five six seven eight nine ten"


@pytest.mark.parametrize("wants_usage", [True, False])
async def test_most_of_an_answer_goes_straight_and_all_of_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wants_usage: bool
) -> None:
    took: list[bool] = []
    straight = StreamSink.straight

    def counted(sink: StreamSink, chunks: bytes) -> bool:
        took.append(straight(sink, chunks))
        return took[-1]

    monkeypatch.setattr(StreamSink, "straight", counted)
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        await one.preload(QWEN.key)
        one.faults.stall_after_tokens(3)
        options = {"stream_options": {"include_usage": wants_usage}}
        body = chat(QWEN.key, f"[[say {WORDS}]]", stream=True) | options
        async with it.session.post(it.base + CHATS, json=body) as got:
            heard = b""
            while b"three" not in heard and (more := await got.content.readany()):
                heard += more
            one.faults.clear("stall_after_tokens")
            answer = Answer(got.status, {}, heard + await got.content.read())
    assert answer.text == WORDS
    assert bool(answer.events[-1].get("usage")) == wants_usage
    assert any(took)


async def test_the_headers_leave_with_the_first_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That hangs on an attribute of aiohttp's that is not for us, and is lost without a word.
    sent: list[str] = []

    def noted_send(writer: StreamWriter) -> None:
        # The simulated host and the test's own client have such writers, too.
        if isinstance(writer.protocol, ClientConnection):
            sent.append("headers")
        send(writer)

    async def noted_write(writer: StreamWriter, data: bytes, **how: Any) -> None:
        if isinstance(writer.protocol, ClientConnection):
            sent.append("words")
        await write(writer, data, **how)

    send, write = StreamWriter.send_headers, StreamWriter.write
    async with gate(tmp_path, sim("one", QWEN)) as it:
        await it.house.hosts["one"].preload(QWEN.key)
        with monkeypatch.context() as patched:
            patched.setattr(StreamWriter, "send_headers", noted_send)
            patched.setattr(StreamWriter, "write", noted_write)
            answer = await it.ask(CHATS, chat(QWEN.key, f"[[say {WORDS}]]", stream=True))
    assert answer.text == WORDS
    assert sent[0] == "words"


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[Receipt]:
    """What the ledger is told of."""
    receipts: list[Receipt] = []

    def note(*told: object, **_: object) -> None:
        receipts.append(cast(Receipt, told[-1]))

    monkeypatch.setattr(UsageTracker, "note", note)
    return receipts


async def test_an_answer_that_is_looked_into_after_it_came_took_no_less_than_no_time(
    tmp_path: Path,
    loop_clock: LoopClock,
    monkeypatch: pytest.MonkeyPatch,
    noted: list[Receipt],
) -> None:
    feed = Passing.feed

    def late(passing: Passing, data: bytes) -> bytes:
        loop_clock.passes(0.25)
        return feed(passing, data)

    monkeypatch.setattr(Passing, "feed", late)
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        await one.preload(QWEN.key)
        one.faults.stall_after_tokens(1)
        body = chat(QWEN.key, f"[[say {WORDS}]]", stream=True)
        async with it.session.post(it.base + CHATS, json=body) as got:
            heard = b""
            while b"one" not in heard and (more := await got.content.readany()):
                heard += more
        await one.journal.wait_for(PredictionCancelled)
        await it.house.lantern.relaying.drain(5.0)
    # The ledger takes no time below none, and lost the rows that came with it.
    assert [receipt.timing.generation_s for receipt in noted] == [0.0]


async def test_words_that_go_straight_are_heard_of_a_host_that_then_breaks_off(
    tmp_path: Path, loop_clock: LoopClock, noted: list[Receipt]
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one, reader = it.house.hosts["one"], it.house.lantern.fleet.host(HostName("one")).reader
        await one.preload(QWEN.key)
        one.faults.stall_after_tokens(1)
        one.faults.drop_after_tokens(4)
        body = chat(QWEN.key, f"[[say {WORDS}]]", stream=True)
        async with it.session.post(it.base + CHATS, json=body) as got:
            heard = b""
            while b"one" not in heard and (more := await got.content.readany()):
                heard += more
            began_at = asyncio.get_running_loop().time()
            loop_clock.passes(0.25)
            one.faults.clear("stall_after_tokens")
            answer = Answer(got.status, {}, heard + await got.content.read())
    assert b" four" in answer.body
    assert b"upstream_error" in answer.body
    [receipt] = noted
    assert receipt.timing.generation_s == 0.25
    assert receipt.usage.completion_tokens == 4
    assert reader.heard_at == began_at + 0.25


class Slow:
    """A client that has so much to take in still, each time somebody looks; as a request has it."""

    def __init__(self, *unsent: int) -> None:
        self.transport = self.writer = self
        self.output_size = 100
        self.unsent = iter(unsent)
        self.looks = 0
        self.was_cut_after = 0
        self.is_enough = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        if self.looks == 8:
            self.is_enough.set()
        return next(self.unsent, 0)

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        """What waits is told by the test alone."""

    def abort(self) -> None:
        self.was_cut_after = self.looks
        self.is_enough.set()


@pytest.mark.parametrize(
    ("unsent", "cut_after"),
    [((50, 50), 2), ((50, 40, 40), 3), ((50, 40, 30, 20, 10), 0), ((0, 0, 0), 0), ((50, 0, 50), 0)],
)
async def test_a_client_that_takes_nothing_in_is_cut_off(
    unsent: tuple[int, ...], cut_after: int
) -> None:
    client = Slow(*unsent)
    request = cast(web.Request, client)
    sink = StreamSink(request, "chat", "1", QWEN.key, 0, LifePace(unread_s=0.0))
    async with sink:
        await client.is_enough.wait()
    assert client.was_cut_after == cut_after
    looks = client.looks
    await asyncio.sleep(0)
    assert client.looks == looks


async def test_a_client_that_took_all_there_was_is_given_its_time_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Once between two looks, to be sent as much again: by the numbers nothing moved.
    client = Slow(50, 0, 50, 50)
    sink = StreamSink(cast(web.Request, client), "chat", "1", QWEN.key, 0, LifePace(unread_s=0.0))
    monkeypatch.setattr(sink, "_straight", client)
    async with sink:
        assert sink.straight(b"1\r\na\r\n")
        await client.is_enough.wait()
    assert client.was_cut_after == 4


async def test_a_client_of_http_1_0_is_sent_no_chunks(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        one.faults.stall_after_tokens(1)
        port = int(it.base.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = (
            b'{"model": "%b", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
            % QWEN.key.encode()
        )
        head = f"POST {CHATS} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        got = await reader.readuntil(b'"content"')
        one.faults.clear("stall_after_tokens")
        got += await reader.read()
        writer.close()
    assert b"chunked" not in got
    head_, _, events = got.partition(b"\r\n\r\n")
    assert b" 200 " in head_
    assert events.endswith(b"data: [DONE]\n\n")
    assert all(block.startswith(b"data: ") for block in events.split(b"\n\n")[:-1])


@pytest.mark.parametrize(
    ("unsent", "is_closing", "takes"),
    [
        (0, False, True),
        (1, False, False),
        (0, True, False),
    ],
)
async def test_a_slow_client_or_one_that_left_is_written_to_by_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unsent: int, is_closing: bool, takes: bool
) -> None:
    class Line(asyncio.Transport):
        written = b""

        def get_write_buffer_size(self) -> int:
            return unsent

        def is_closing(self) -> bool:
            return is_closing

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.written += bytes(data)

    line = Line()
    sink = StreamSink.__new__(StreamSink)
    monkeypatch.setattr(sink, "_straight", line, raising=False)
    assert sink.straight(b"1\r\na\r\n") is takes
    assert bool(line.written) is takes
