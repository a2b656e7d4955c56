"""What passes through of a streamed answer, however its bytes are torn."""

import json
import re
import tracemalloc
from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Usage
from bot.domain.errors import FailureKind
from bot.inference.passing import (
    DONE,
    MAX_BLOCK_BYTES,
    MOST_HELD,
    MOST_LENGTHS,
    Form,
    OwnHead,
    Passing,
    whole_answer,
)
from bot.inference.wire import WireFault

KEY = frozenset({"key"})


def event(body: object, gap: str = "\n\n", name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(body, ensure_ascii=False)}{gap}".encode()


def chunk(delta: dict[str, object], finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-theirs", "object": "chat.completion.chunk", "model": "key"}
    return event(head | {"choices": [choice]} | more)


USAGE = event(
    {
        "id": "chatcmpl-theirs",
        "model": "key",
        "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }
)
CHAT = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": 'a "usage": {} \n\n data: [DONE] é🏮'}),
    chunk({"content": '"error": "finish_reason":"stop"'}),
    chunk({}, "stop"),
    USAGE,
    DONE,
)


def passed(passing: Passing, pieces: list[bytes]) -> bytes:
    out = b"".join(passing.feed(piece) for piece in pieces)
    return out if passing.fault else out + passing.close()


def torn(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


@given(cuts=st.lists(st.integers(0, 5000), max_size=30), wants_usage=st.booleans())
def test_every_byte_passes_however_it_is_torn(cuts: list[int], wants_usage: bool) -> None:
    passing = Passing("chat", KEY, wants_usage=wants_usage)
    out = passed(passing, torn(b"".join(CHAT), cuts))
    assert out == b"".join(part for part in CHAT if wants_usage or part is not USAGE)
    assert passing.usage == Usage(prompt_tokens=7, completion_tokens=2)
    assert (passing.model, passing.finish, passing.is_whole) == ("key", "stop", True)
    assert passing.deltas == len(CHAT) - 1
    assert passing.fault is None


@given(cuts=st.lists(st.integers(0, 5000), max_size=30))
def test_line_ends_of_the_other_kind_pass_as_they_came(cuts: list[int]) -> None:
    data = b"".join(CHAT).replace(b"\n", b"\r\n")
    assert passed(Passing("chat", KEY), torn(data, cuts)) == data


@given(cuts=st.lists(st.integers(0, 5000), max_size=30))
def test_nothing_passes_of_another_model(cuts: list[int]) -> None:
    passing = Passing("chat", frozenset({"wanted"}))
    assert passed(passing, torn(b"".join(CHAT), cuts)) == b""
    assert passing.fault is not None
    assert passing.fault.kind is FailureKind.WRONG_MODEL


def two_figures(usage: Usage, told: Mapping[str, object]) -> Mapping[str, object]:
    return {"stats": {"own": 1, "ours": 2}}


@given(cuts=st.lists(st.integers(0, 5000), max_size=30), gap=st.sampled_from([b"\n", b"\r\n"]))
def test_more_stands_behind_the_usage_and_nothing_else_changes(cuts: list[int], gap: bytes) -> None:
    asked: list[Usage] = []

    def more(usage: Usage, told: Mapping[str, object]) -> Mapping[str, object]:
        asked.append(usage)
        return {"stats": {"own": told.get("stats")}}

    data = b"".join(CHAT).replace(b"\n", gap)
    out = passed(Passing("chat", KEY, beside_usage=more), torn(data, cuts))
    assert out.replace(b', "stats":{"own":null}}', b"}") == data
    assert out.count(b'"stats"') == 1
    assert asked == [Usage(prompt_tokens=7, completion_tokens=2)]


@pytest.mark.parametrize(
    ("wants_usage", "usage"),
    [(False, USAGE), (True, b"id: 1\n" + USAGE), (True, USAGE.replace(b"data:", b"data:\ndata:"))],
)
def test_usage_that_is_kept_back_or_no_one_line_stays_as_it_is(
    wants_usage: bool, usage: bytes
) -> None:
    parts = [*CHAT[:-2], usage, CHAT[-1]]
    made = Passing("chat", KEY, wants_usage=wants_usage, beside_usage=two_figures)
    assert passed(made, parts) == b"".join(p for p in parts if wants_usage or p is not usage)


def test_more_is_said_once_where_the_host_says_it_too() -> None:
    told = USAGE.replace(b"}}", b'}, "stats": {"own": 1}}')
    made = Passing("chat", KEY, beside_usage=two_figures)
    out = passed(made, [*CHAT[:2], told, CHAT[-1]])
    assert out.count(b'"stats"') == 1
    assert b'"ours":2' in out


def test_one_stream_has_one_id() -> None:
    passing = Passing("chat", KEY, own_head=lambda: OwnHead({"id": "chatcmpl-ours", "created": 12}))
    out = passed(passing, list(CHAT))
    assert b"chatcmpl-theirs" not in out
    assert out.count(b'"id": "chatcmpl-ours"') == len(CHAT) - 1


def test_a_copy_goes_by_its_models_name() -> None:
    copy = tuple(part.replace(b'"model": "key"', b'"model": "key:2"') for part in CHAT)
    passing = Passing("chat", frozenset({"key:2"}), own_head=lambda: OwnHead({"model": "key"}))
    assert passed(passing, list(copy)) == b"".join(CHAT)
    assert passing.model == "key:2"


@pytest.mark.parametrize("is_said", [True, False])
def test_a_role_is_said_once_to_whoever_joins_what_comes(is_said: bool) -> None:
    parts = [chunk({"role": "assistant", "content": word}) for word in ("a", "b", "c")]
    own = OwnHead(drops_role=is_said)
    out = passed(Passing("chat", KEY, own_head=lambda: own), [*parts, CHAT[3], DONE])
    assert out.count(b'"role": "assistant"') == (not is_said)
    assert re.findall(rb'"content": "(.)"', out) == [b"a", b"b", b"c"]
    if not is_said:
        assert out.index(b'"role"') < out.index(b'"a"')


def test_nothing_passes_before_the_first_words_so_that_another_may_still_answer() -> None:
    passing = Passing("chat", KEY)
    role = chunk({"role": "assistant", "content": "", "tool_calls": []})
    assert passing.feed(role) == b""
    assert not passing.has_begun
    assert passing.feed(CHAT[1]) == role + CHAT[1]
    assert passing.feed(CHAT[2]) == CHAT[2]


def test_an_answer_without_a_word_passes_at_its_end() -> None:
    end = chunk({}, "stop")
    assert Passing("chat", KEY).feed(CHAT[0] + end) == CHAT[0] + end
    silent = Passing("messages", KEY)
    assert silent.feed(MESSAGE[0]) == b""
    assert silent.feed(MESSAGE[3]) == MESSAGE[0] + MESSAGE[3]


def test_an_id_is_ours_where_a_chunk_of_ours_came_while_the_first_words_were_waited_for() -> None:
    ours: list[OwnHead] = []
    passing = Passing("chat", KEY, own_head=lambda: ours[0] if ours else OwnHead())
    assert passing.feed(CHAT[0]) == b""
    ours.append(OwnHead({"id": "chatcmpl-ours", "created": 12}))
    assert passing.feed(CHAT[1]).count(b'"id": "chatcmpl-ours"') == 2


def test_roles_without_words_are_not_held_for_ever() -> None:
    passing = Passing("chat", KEY)
    for _ in range(MOST_HELD):
        passing.feed(CHAT[0])
    assert passing.fault is None
    passing.feed(CHAT[0])
    assert passing.fault is not None
    assert passing.fault.kind is FailureKind.GARBAGE


def test_what_came_before_an_error_passes_and_the_error_does_not() -> None:
    passing = Passing("chat", KEY)
    broken = event({"error": {"message": "engine died"}}, name="error")
    assert passing.feed(b"".join((*CHAT[:2], broken, CHAT[2]))) == b"".join(CHAT[:2])
    assert passing.fault is not None
    assert "engine died" in passing.fault.reason


@pytest.mark.parametrize("begun", [(), CHAT[:2]])
def test_what_its_name_alone_calls_an_error_is_one(begun: tuple[bytes, ...]) -> None:
    passing = Passing("chat", KEY)
    broken = event({"message": "engine died", "model": "key"}, name="error")
    assert passing.feed(b"".join((*begun, broken))) == b"".join(begun)
    assert passing.fault is not None
    assert passing.fault.kind is FailureKind.CUT


@pytest.mark.parametrize(("parts", "seen"), [(CHAT[:1], ()), (CHAT[:3], CHAT[:3])])
def test_an_end_without_its_mark_is_a_cut(
    parts: tuple[bytes, ...], seen: tuple[bytes, ...]
) -> None:
    passing = Passing("chat", KEY)
    assert passed(passing, list(parts)) == b"".join(seen)
    assert passing.fault is not None
    assert passing.fault.kind is FailureKind.CUT


def test_done_comes_last_where_the_host_forgot_it() -> None:
    assert passed(Passing("chat", KEY), list(CHAT[:4])) == b"".join((*CHAT[:4], DONE))


RESPONSE = (
    event({"type": "response.created", "response": {"id": "r", "model": "key"}}, name="x"),
    event({"type": "response.output_text.delta", "delta": "a"}, name="x"),
    event(
        {
            "type": "response.completed",
            "response": {"model": "key", "usage": {"input_tokens": 3, "output_tokens": 1}},
        },
        name="x",
    ),
)
MESSAGE = (
    event(
        {"type": "message_start", "message": {"model": "key", "usage": {"input_tokens": 3}}},
        name="message_start",
    ),
    event({"type": "content_block_delta", "delta": {"text": "a"}}, name="content_block_delta"),
    event({"type": "message_delta", "usage": {"output_tokens": 1}}, name="message_delta"),
    event({"type": "message_stop"}, name="message_stop"),
)


@pytest.mark.parametrize(("form", "parts"), [("responses", RESPONSE), ("messages", MESSAGE)])
def test_the_other_wires_pass_whole_and_are_counted(form: Form, parts: tuple[bytes, ...]) -> None:
    passing = Passing(form, KEY, wants_usage=False)
    assert passed(passing, list(parts)) == b"".join(parts)
    assert passing.usage == Usage(prompt_tokens=3, completion_tokens=1)
    assert passing.fault is None
    cut = Passing(form, KEY)
    passed(cut, list(parts[:-1]))
    assert cut.fault is not None


def test_an_answer_may_begin_with_the_word_that_errors_go_by() -> None:
    passing = Passing("chat", KEY)
    piece = chunk({"content": "error"})
    assert passing.feed(CHAT[0] + piece) == CHAT[0] + piece
    assert passing.feed(piece) == piece
    assert (passing.has_begun, passing.deltas) == (True, 2)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "tool_calls"])
def test_a_thought_or_a_call_is_a_first_word_too(name: str) -> None:
    passing = Passing("chat", KEY)
    piece = chunk({name: [{"index": 0}] if name == "tool_calls" else "hm"})
    assert passing.feed(CHAT[0] + piece) == CHAT[0] + piece
    assert passing.has_begun


def test_words_pass_beside_usage_that_nobody_asked_for() -> None:
    passing = Passing("chat", KEY, wants_usage=False)
    piece = chunk({"content": "a"}, usage={"prompt_tokens": 7, "completion_tokens": 1})
    assert passing.feed(piece) == piece
    assert passing.usage.prompt_tokens == 7


def test_a_stream_that_names_no_model_is_no_answer_of_another() -> None:
    passing = Passing("chat", KEY)
    assert passing.feed(event({"choices": [{"index": 0, "delta": {"content": "a"}}]})) == b""
    assert passing.fault is not None
    assert passing.fault.kind is FailureKind.GARBAGE


def test_a_failed_response_is_a_failure() -> None:
    passing = Passing("responses", KEY)
    passing.feed(RESPONSE[0] + event({"type": "response.failed", "response": {}}))
    assert passing.fault is not None


def test_one_event_without_an_end_is_not_held_for_ever() -> None:
    passing = Passing("chat", KEY)
    passing.feed(CHAT[0])
    assert passing.feed(b"x" * MAX_BLOCK_BYTES) == b""
    assert passing.fault is None
    passing.feed(b"x")
    assert passing.fault is not None


def test_a_whole_answer_tells_its_model_and_usage() -> None:
    body = {"model": "key", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    usage = Usage(prompt_tokens=1, completion_tokens=2)
    assert whole_answer(json.dumps(body).encode()) == (body, usage)
    for wrong in (b"[]", b"<html>", b'{"error": {"message": "no"}}'):
        with pytest.raises(WireFault):
            whole_answer(wrong)


def framed(*events: bytes) -> bytes:
    """Events in HTTP's chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)


def taking(out: list[bytes]) -> Callable[[bytes], bool]:
    """A client that keeps up."""

    def take(chunks: bytes) -> bool:
        out.append(chunks)
        return True

    return take


SAID = st.text(st.sampled_from('usage"\\{}:[DONE]error \n\ré'), max_size=12)
PIECES: tuple[Callable[[str], bytes], ...] = (
    lambda text: chunk({"content": text}),
    lambda text: chunk({"content": text}, "stop"),
    lambda text: chunk({"content": text}, usage={"prompt_tokens": 1}),
    lambda text: chunk({"content": text}, error={"message": text}),
    lambda text: chunk({"content": "a", "tool_calls": [{"id": text}]}),
    lambda text: chunk({"content": text}) + b"data: {}\n\n",
    lambda text: chunk({"content": "a"}).replace(b'"a"', b'"%b"' % text.encode()),
    lambda _: chunk({"content": "plain"}),
)


@given(st.lists(st.tuples(st.sampled_from((*PIECES, *PIECES[-1:] * 8)), SAID), max_size=8))
def test_what_goes_straight_says_nothing_that_would_have_been_looked_for(
    made: list[tuple[Callable[[str], bytes], str]],
) -> None:
    out: list[bytes] = []
    straight, fed = Passing("chat", KEY, out=taking(out)), Passing("chat", KEY)
    for passing in (straight, fed):
        assert passing.feed(CHAT[0] + chunk({"content": "first"}))
    for piece in (make(text) for make, text in made):
        if not straight.straight(framed(piece)):
            straight.feed(piece)
            fed.feed(piece)
        else:
            assert out.pop() == framed(fed.feed(piece)) == framed(piece)
        assert straight.deltas == fed.deltas
        assert straight.fault == fed.fault
        assert (straight.finish, straight.usage, straight.is_whole) == (
            (fed.finish, fed.usage, fed.is_whole)
        )
        if fed.fault or fed.is_whole:
            return


def test_words_that_only_sound_like_a_mark_go_straight_once_their_frame_is_known() -> None:
    passing = Passing("chat", KEY, out=taking([]))
    passing.feed(CHAT[0] + chunk({"content": "first"}))
    assert not passing.straight(framed(chunk({"content": "usage"})))
    assert passing.straight(framed(chunk({"content": "plain"})))
    for words in ("usage", "event: error", "[DONE]", ""):
        assert passing.straight(framed(chunk({"content": words})))
    assert not passing.straight(framed(chunk({"content": "plain"}, "stop")))
    assert not passing.straight(framed(chunk({"content": "plain", "more": 1}, "stop")))


@pytest.mark.parametrize(
    "said",
    [
        b'a"}, "finish_reason": "stop"}], "x": [{"index": 0, "delta": {"content": "b',
        b'a"}}], "usage": {"prompt_tokens": 1}, "x": [{"index": 0, "delta": {"content": "b',
        b"a\n\nevent: error\n\nb",
        b"a\n\ndata: [DONE]\n\nb",
    ],
)
def test_what_stands_in_a_known_frame_and_is_no_words_is_looked_into(said: bytes) -> None:
    passing = Passing("chat", KEY, out=taking([]))
    passing.feed(CHAT[0] + chunk({"content": "first"}))
    # Once of each length: what is alike is looked at otherwise.
    for words in ("plain", said.decode().replace('"', "x").replace("\n", "x")):
        assert passing.straight(framed(chunk({"content": words})))
    assert not passing.straight(framed(chunk({"content": "HERE"}).replace(b"HERE", said)))


def begun(out: list[bytes], own_head: OwnHead | None = None) -> Passing:
    """A stream whose frame is known."""
    passing = Passing("chat", KEY, out=taking(out), own_head=lambda: own_head or OwnHead())
    passing.feed(CHAT[0] + chunk({"content": "first"}))
    assert passing.straight(framed(chunk({"content": "other"})))
    return passing


@pytest.mark.parametrize(
    ("good", "bad", "goes"),
    [
        # Its size, its head, its tail, its chunk's end.
        (b"\r\ndata: {", b"\r\rdata: {", False),
        (b"data: {", b"dato: {", False),
        (b"null", b'"no"', False),
        (b"}\n\n\r\n", b"}\n\n\r\r", False),
        (b"}\n\n\r\n", b"}\n \r\n", False),
        # The name of another stream: words all the same, once it was searched for marks.
        (b"theirs", b"theirz", True),
    ],
)
def test_what_is_only_as_long_as_words_is_looked_into(good: bytes, bad: bytes, goes: bool) -> None:
    out: list[bytes] = []
    passing = begun(out)
    piece = framed(chunk({"content": "words"}))
    assert passing.straight(piece)
    assert out[-1] == piece
    assert passing.straight(piece.replace(good, bad)) == goes
    assert passing.deltas == 3 + goes


@pytest.mark.parametrize(
    "before", [(), CHAT[:1], (event({"model": "key"}, gap="\r\n\r\n"), CHAT[1][:-2] + b"\r\n\r\n")]
)
def test_nothing_goes_straight_past_what_is_held_or_beside_other_line_ends(
    before: tuple[bytes, ...],
) -> None:
    out: list[bytes] = []
    passing = Passing("chat", KEY, out=taking(out))
    passing.feed(b"".join(before))
    assert not passing.straight(framed(chunk({"content": "words"})))
    assert not out


def test_the_rest_of_a_torn_event_is_not_taken_for_words() -> None:
    out: list[bytes] = []
    passing = begun(out)
    piece = chunk({"content": "words"})
    assert passing.feed(piece[:-9]) == b""
    # It would have stood in the middle of the other.
    assert not passing.straight(framed(chunk({"content": "other"})))
    assert passing.feed(piece[-9:]) == piece
    assert passing.straight(framed(piece))


def test_nothing_goes_straight_behind_a_fault() -> None:
    passing = begun([])
    passing.feed(b'data: {"error": {"message": "broken"}}\n\n')
    assert passing.fault is not None
    assert not passing.straight(framed(chunk({"content": "other"})))


def test_several_events_of_one_read_go_straight_under_our_id() -> None:
    out: list[bytes] = []
    passing = begun(out, OwnHead({"id": "ours", "created": 7}))
    pieces = [chunk({"content": word}) for word in ("other", "two", "other")]
    assert passing.straight(framed(*pieces))
    assert out[-1] == framed(*(piece.replace(b"chatcmpl-theirs", b"ours") for piece in pieces))
    assert out[0] == framed(chunk({"content": "other"}).replace(b"chatcmpl-theirs", b"ours"))
    assert passing.deltas == 5


def test_a_client_that_refuses_is_fed_and_counted_once() -> None:
    passing = Passing("chat", KEY)
    piece = chunk({"content": "other"})
    passing.feed(CHAT[0] + chunk({"content": "first"}))
    for _ in range(2):
        assert not passing.straight(framed(piece))
    assert passing.feed(piece) == piece
    assert passing.deltas == 2


def test_reads_of_any_number_of_lengths_are_remembered_in_little() -> None:
    passing = Passing("chat", KEY, out=lambda _: True)
    passing.feed(CHAT[0] + chunk({"content": "first"}))
    tracemalloc.start()
    for length in range(4 * MOST_LENGTHS):
        assert passing.straight(framed(chunk({"content": "x" * length})))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2 * MOST_LENGTHS * 500
    assert passing.deltas == 4 * MOST_LENGTHS + 1


def test_what_begins_as_one_kind_of_words_and_ends_as_another_is_looked_into() -> None:
    passing = begun([])
    piece, end = chunk({"content": "words"}), b'"}}]}\n\n'
    assert passing.straight(framed(piece))
    other = event({"model": "key", "choices": [{"index": 0, "delta": {"content": "words"}}]})
    assert other.endswith(end)
    assert passing.straight(framed(other))
    head, tail = piece.split(b"words")
    mixed = head + b'words"},"finish_reason":"'.ljust(len(tail) + 5 - len(end), b"x") + end
    assert len(mixed) == len(piece)
    assert not passing.straight(framed(mixed))


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    "wrong",
    [
        b'words": 1, "usage": "x',
        b"words\n\ndata: [DONE]",
        b'words"}, "finish_reason": "stop"}], "x": [{"y": {"z": "',
    ],
)
def test_one_of_several_events_that_tells_more_holds_all_of_them_back(
    at: int, wrong: bytes
) -> None:
    out: list[bytes] = []
    passing = begun(out)
    words = [b"one", b"x" * len(wrong), b"three"]
    pieces = [framed(chunk({"content": word.decode()})) for word in words]
    assert all(map(passing.straight, pieces))
    assert passing.straight(b"".join(pieces))
    assert passing.deltas == 8
    plain = chunk({"content": "x" * len(wrong)})
    pieces[at] = framed(plain.replace(b"x" * len(wrong), wrong))
    assert not passing.straight(b"".join(pieces))
    assert len(out) == 5
    assert passing.deltas == 8


def test_whole_events_in_front_of_a_torn_one_wait_for_its_rest() -> None:
    passing = begun([])
    good = framed(chunk({"content": "words"}))
    assert passing.straight(good + good)
    for cut in (1, len(good) // 2, len(good) - 1):
        assert not passing.straight(good + good[:cut])
        assert not passing.straight(good[cut:])
