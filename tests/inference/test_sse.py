import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import FailureKind
from bot.inference.sse import MAX_EVENT_BYTES, SseReader
from bot.inference.wire import WireFault


def feed(*pieces: bytes) -> list[str]:
    reader = SseReader()
    payloads = [payload for piece in pieces for payload in reader.feed(piece)]
    reader.finish()
    return payloads


def fault_kind(*pieces: bytes) -> object:
    with pytest.raises(WireFault) as caught:
        feed(*pieces)
    return caught.value.verdict.kind


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b"", []),
        (b"data: one\n\n", ["one"]),
        (b"data: one\n\ndata: two\n\n", ["one", "two"]),
        (b"data:one\n\n", ["one"]),
        (b"data:  one\n\n", [" one"]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", ["one", "two"]),
        (b"data: one\r\rdata: two\r\r", ["one", "two"]),
        (b"data: one\r\n\ndata: two\n\r\n", ["one", "two"]),
        (b"data: one\r\ndata: two\r\n\r\n", ["one\ntwo"]),
        (b"\xef\xbb\xbfdata: one\n\n", ["one"]),
        (b"\xef\xbb\xbf\n\ndata: one\n\n", ["one"]),
        (b"\n\n\ndata: one\n\n\n\ndata: two\n\n\n", ["one", "two"]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b"data: one\ndata\ndata: two\n\n", ["one\n\ntwo"]),
        (b": OPENROUTER PROCESSING\n\ndata: one\n\n", ["one"]),
        (b": a\n: b\ndata: one\n: c\n\n", ["one"]),
        (b"event: error\nid: 7\nretry: 10\ndata: one\n\n", ["one"]),
        (b"event: ping\n\ndata: one\n\n", ["one"]),
        (b"data:\n\ndata: one\n\n", ["one"]),
        (b"data: one\nunknown: two\n\n", ["one"]),
        ("data: a\u2028b\x0bc\x85d…\n\n".encode(), ["a\u2028b\x0bc\x85d…"]),
        (b"data: one\n\ndata: unfinished", ["one"]),
        (b"data: one\n\ndata: unfinished\n", ["one"]),
    ],
)
def test_a_stream_gives_its_payloads_torn_at_every_position(
    stream: bytes, payloads: list[str]
) -> None:
    for at in range(len(stream) + 1):
        assert feed(stream[:at], stream[at:]) == payloads
    assert feed(*(stream[at : at + 1] for at in range(len(stream)))) == payloads


@pytest.mark.parametrize(
    "stream",
    [
        b"data: \xff\xfe\n\n",
        b"data: cut \xe2\x82\n\n",
        b": comment \xff\n\n",
        b"<!DOCTYPE html>\n<html>\n\n</html>",
        b"<html>one line, no end",
        b'{"error": "plain JSON"}\n\n',
        b"\xef\xbb\xbf\nlog line\n",
        b"\x00\xff<<garbage\x01>> }{ data",
    ],
)
def test_bytes_that_are_no_event_stream_are_garbage(stream: bytes) -> None:
    assert fault_kind(stream) is FailureKind.GARBAGE


def test_payloads_before_the_garbage_are_given_first() -> None:
    reader = SseReader()
    stream = reader.feed(b"data: one\n\ndata: \xff\n\n")
    assert next(stream) == "one"
    with pytest.raises(WireFault):
        next(stream)


def test_an_event_of_the_largest_size_is_read_and_a_larger_one_is_garbage() -> None:
    largest = b"data: " + b"x" * (MAX_EVENT_BYTES - 6)
    assert len(feed(largest + b"\n\n")[0]) == MAX_EVENT_BYTES - 6
    assert fault_kind(largest + b"x\n\n") is FailureKind.GARBAGE


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    pieces = [b"data: " + b"x" * 1000] * (MAX_EVENT_BYTES // 1000 + 2)
    assert fault_kind(*pieces) is FailureKind.GARBAGE


_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
_lines = st.one_of(
    st.text(max_size=12).map(lambda text: "data: " + text),
    st.text(max_size=6).map(lambda text: ": " + text),
    st.sampled_from(["", "", "data", "data:", "event: x", "id:1", "unknown: y"]),
).map(lambda line: re.sub("[\r\n]", " ", line).encode())


def plainly_read(stream: bytes) -> list[str]:
    """The standard's own words, line by line and slow."""
    text = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    payloads: list[str] = []
    data: list[str] = []
    for line in text.split("\n")[:-1]:
        if not line:
            payloads.append("\n".join(data))
            data = []
        elif line.startswith("data"):
            data.append(line[4:].removeprefix(":").removeprefix(" "))
    return [payload for payload in payloads if payload]


@given(
    blocks=st.lists(st.lists(_lines, min_size=1, max_size=4), max_size=5),
    end=_ends,
    has_bom=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_any_stream_torn_anywhere_reads_as_the_standard_says(
    blocks: list[list[bytes]], end: bytes, has_bom: bool, cuts: list[int]
) -> None:
    lines = [line for block in blocks for line in (b": known", *block, b"")]
    stream = b"".join(line + end for line in lines)
    # A block begun by an empty line would hold unknown fields alone, which is garbage here.
    stream = stream.replace(end + end + b"unknown", end + end + b"data")
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(places)]
    if has_bom:
        pieces.insert(0, b"\xef\xbb\xbf")
    assert feed(*pieces) == plainly_read(stream)
