"""Words told within the callback that read them: which go so, and that nothing else is missed."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from collected import asking
from virtual_time import play
from wire_double import Reply, chunk, sse, wire_double

from bot.domain.chat import Endpoint
from bot.domain.errors import BotError, FailureKind, Unavailable
from bot.domain.events import Silence, StreamEnd, TextDelta
from bot.inference.deltas import DeltaStream
from bot.inference.openai import OpenAiReader
from bot.inference.pieces import Pieces
from bot.inference.streams import Inference
from bot.inference.wire import to_error

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(content: str, **changes: object) -> bytes:
    told = json.dumps(chunk(content=content) | changes, ensure_ascii=False)
    return f"data: {told}\n\n".encode()


class Heard:
    """One stream whose bytes come by hand, and where each delta of it went."""

    def __init__(self, *, takes: bool = True, quiet_s: float = 10.0, idle_s: float = 60.0) -> None:
        self.takes = takes
        self.straight: list[str] = []
        self.told: list[object] = []
        self.words: list[str] = []
        """Of both ways, in order."""
        self.error: BotError | None = None
        names = frozenset({"m"})
        at = Endpoint("http://host/v1", "m", accepted_models=names, quiet_s=quiet_s, idle_s=idle_s)
        due = asyncio.get_running_loop().time() + at.first_token_s
        self.stream = DeltaStream(
            OpenAiReader(at, 3), at, due, lambda verdict: to_error(verdict, at), self._take
        )
        self.stream.exchange.data_received(HEAD)

    def _take(self, words: Sequence[TextDelta]) -> bool:
        self.straight += [delta.text for delta in words] if self.takes else []
        self.words += [delta.text for delta in words] if self.takes else []
        return self.takes

    async def read(self) -> None:
        try:
            async for delta in self.stream:
                self.told.append(delta.text if isinstance(delta, TextDelta) else delta)
                self.words += [delta.text] if isinstance(delta, TextDelta) else []
        except BotError as error:
            self.error = error

    async def comes(self, *events: bytes) -> None:
        """One read, and time for whoever waits for it."""
        data = b"".join(b"%x\r\n%b\r\n" % (len(e), e) for e in events)
        self.stream.exchange.data_received(data)
        for _ in range(3):
            await asyncio.sleep(0)


async def read_of(heard: Heard, *reads: Sequence[bytes]) -> None:
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(heard.read())
        await asyncio.sleep(0)
        for events in reads:
            await heard.comes(*events)
        reading.cancel()


@pytest.mark.parametrize(
    "words",
    [
        " two",
        "2\n\n3",
        '"quoted"',
        "\\",
        "é 你好 🏮",
        "\u2028",
        " finish_reason",
        "data: [DONE]",
        "]}",
    ],
)
async def test_all_words_but_the_first_go_straight_as_they_were_meant(words: str) -> None:
    heard = Heard()
    await read_of(heard, [event("one")], [event(words)], [event("a"), event("b")])
    assert (heard.told, heard.straight) == (["one"], [words, "a", "b"])


@pytest.mark.parametrize(
    "other",
    [
        sse(chunk(content="\ud83d\ude00")),  # escaped: its halves may come apart
        event("two", usage={"completion_tokens": 2}),
        event("two") + event("three"),
        event("two").replace(b"\n\n", b"\r\n\r\n"),
        event("two").replace(b'"content"', b'"reasoning"'),
        event("two")[:-1],
        event(""),
        event("two", model="m2"),
        sse(chunk(content="two", finish="stop")),
        event("t").replace(b'"t"', b'"t", "x": "u"'),
        event("two") + sse(chunk(finish="length"), {"choices": [], "usage": {}}, "[DONE]"),
        event("t").replace(b'"t"', b'"t\t"'),
        event("t").replace(b'"t"', b'"t\xff"'),
        b": alive\n\n",
        sse("[DONE]"),
        b"",
    ],
)
async def test_whatever_may_tell_more_than_words_is_looked_into(other: bytes) -> None:
    straight, iterated = Heard(), Heard(takes=False)
    for heard in (straight, iterated):
        await read_of(heard, [event("one")], [other], [event("end")])
    texts = [[d for d in heard.told if isinstance(d, str)] for heard in (straight, iterated)]
    assert "".join(texts[0] + straight.straight) == "".join(texts[1])
    assert set(straight.straight) <= {"end"}
    assert (type(straight.error), str(straight.error)) == (
        type(iterated.error),
        str(iterated.error),
    )


async def test_nothing_goes_past_what_its_reader_has_not_taken_yet() -> None:
    heard = Heard()
    await read_of(heard, [event("one")])
    heard.stream.exchange.data_received(b"%x\r\n%b\r\n" % (len(event("two")), event("two")))
    assert heard.straight == []


async def test_what_is_not_taken_is_iterated_in_its_place() -> None:
    heard = Heard()
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(heard.read())
        await asyncio.sleep(0)
        for takes in (True, False, True, False):
            heard.takes = takes
            await heard.comes(event(str(takes)))
        reading.cancel()
    assert (heard.told, heard.straight) == (["True", "False", "False"], ["True"])


async def test_a_torn_event_is_put_together_before_anything_goes_straight() -> None:
    heard = Heard()
    two = event("two")
    await read_of(heard, [event("one")], [two[:20]], [two[20:]], [event("three")])
    assert (heard.told, heard.straight) == (["one", "two"], ["three"])


async def test_torn_at_any_byte_every_word_comes_once_and_in_order() -> None:
    words = ["one", " é 你", " 🏮", " end"]
    told = [event(each) for each in words] + [sse(chunk(finish="stop"), "[DONE]")]
    data = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in told)
    first = len(told[0]) + 7
    marks = (b"\r\n", "é 你".encode(), "🏮".encode())
    for cut in {data.index(mark, first) + step for mark in marks for step in range(9)}:
        heard = Heard()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(heard.read())
            await asyncio.sleep(0)
            for piece in (data[:first], data[first:cut], data[cut:]):
                heard.stream.exchange.data_received(piece)
                for _ in range(3):
                    await asyncio.sleep(0)
        assert heard.words == words


async def test_words_that_go_straight_are_counted_and_the_end_comes_after_them() -> None:
    heard = Heard()
    end = sse(chunk(finish="length"), "[DONE]")
    await read_of(heard, [event("one")], [event(" two")], [event(" three")], [end])
    assert heard.straight == [" two", " three"]
    (one, last) = heard.told
    assert isinstance(last, StreamEnd)
    assert (one, last.finish, last.usage.completion_tokens, last.model) == ("one", "length", 4, "m")


async def test_a_closed_thought_opens_the_way_for_words_alone() -> None:
    heard = Heard()
    await read_of(heard, [event("<think>")], [event("hm")], [event("</think>")], [event("a")])
    assert heard.straight == []


def test_words_that_go_straight_are_life_and_a_silence_after_them_is_told() -> None:
    async def scene() -> Heard:
        heard = Heard(quiet_s=4, idle_s=8)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(heard.read())
            await asyncio.sleep(0)
            for number in range(4):
                await heard.comes(event(str(number)))
                await asyncio.sleep(3)
        return heard

    heard = play(scene())
    assert heard.straight == ["1", "2", "3"]
    assert heard.told == ["0", Silence(4)]
    assert isinstance(heard.error, Unavailable)
    assert heard.error.kind is FailureKind.STALL


async def test_over_a_real_connection_every_word_comes_once(inference: Inference) -> None:
    texts = [f" {number}" for number in range(40)]
    reply = Reply([*map(event, texts), sse(chunk(finish="stop"), "[DONE]")])
    straight: list[str] = []

    def take(words: Sequence[TextDelta]) -> bool:
        straight.extend(delta.text for delta in words)
        heard.extend(delta.text for delta in words)
        return True

    heard: list[str] = []
    async with wire_double(reply) as double:
        at = Endpoint(double.base_url, "m", accepted_models=frozenset({"m"}))
        async with inference.open(at, asking(), take) as deltas:
            async for delta in deltas:
                heard += [delta.text] if isinstance(delta, TextDelta) else []
    assert heard == texts
    assert straight


def test_only_an_event_whose_words_were_all_that_came_of_it_is_learnt() -> None:
    for payload, pieces in (
        ('{"content": "a"}', [TextDelta("b")]),
        ('{"content": "a", "x": {"content": "a"}}', [TextDelta("a")]),
        ('{"content": "a\\n"}', [TextDelta("a\n")]),
        ('{"content": "a"}', []),
    ):
        reading = Pieces(inline_think=False)
        reading.learn(payload, pieces)
        assert reading.words_in(f"data: {payload}\n\n".encode()) == ""
