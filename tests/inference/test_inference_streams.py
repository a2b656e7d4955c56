import asyncio
import errno
import gzip
import json
import socket
import ssl
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from clocks import LoopClock
from collected import Collected, asking, collect
from wire_double import BEAT_S, Reply, WireDouble, chunk, sse, told, wire_double

from bot.domain.chat import (
    Attachment,
    Endpoint,
    Extras,
    InferenceRequest,
    Message,
    Usage,
    Verbatim,
    Wire,
)
from bot.domain.errors import (
    BotError,
    FailureKind,
    HostUnreachable,
    Refused,
    Unavailable,
)
from bot.domain.events import Silence, StreamEnd, TextDelta
from bot.domain.personas import Sampling
from bot.inference.streams import Inference

WORDS = ("Hel", "lo ", "wörld ", "😀\n", "`x`", " \u2028.")
TEXT = "".join(WORDS)
GUARD_S = 60.0
"""Only against hanging."""
USAGE: dict[str, object] = {"prompt_tokens": 9, "completion_tokens": 6}


def at(double: WireDouble, **changes: object) -> Endpoint:
    endpoint = Endpoint(double.base_url, "m", source="studio-1", accepted_models=frozenset({"m"}))
    return replace(endpoint, **changes)


async def answered(inference: Inference, reply: Reply, **changes: object) -> Collected:
    async with wire_double(reply) as double:
        return await collect(inference, at(double, **changes))


async def unanswered(
    inference: Inference, reply: Reply, clock: LoopClock, *silences: float, **limits: float
) -> Collected:
    """What comes when nothing more does: a silence is over once somebody waits for its end."""
    beats = 4 if reply.beat else 0
    async with wire_double(reply) as double, asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(collect(inference, at(double, **limits)))
        await double.was_asked.wait()
        for seconds in silences:
            await clock.armed(seconds)
            for _ in range(beats):
                await clock.armed(BEAT_S)
                clock.passes(BEAT_S)
            clock.passes(seconds - beats * BEAT_S)
        got = await reading
        await double.was_left.wait()
    return got


# --- whole answers -------------------------------------------------------------------------


async def test_a_whole_answer_is_text_and_one_end(inference: Inference) -> None:
    got = await answered(inference, Reply([told(*WORDS, usage=USAGE)]))
    assert got.text == TEXT
    assert got.end == StreamEnd("stop", Usage(9, 6), "m")


async def test_bytes_torn_at_every_position_give_the_same_text(inference: Inference) -> None:
    stream = sse(
        {"choices": [{"delta": {"content": "Hé"}}]},
        {"choices": [{"delta": {"content": "😀."}, "finish_reason": "stop"}]},
        "[DONE]",
    )
    replies = [Reply([stream[:cut], stream[cut:]]) for cut in range(1, len(stream))]
    async with wire_double(*replies) as double:
        for _ in replies:
            got = await collect(inference, at(double))
            assert (got.text, got.end.finish, got.error) == ("Hé😀.", "stop", None)


@pytest.mark.parametrize("size", range(1, 8))
async def test_an_answer_in_crumbs_is_the_same(inference: Inference, size: int) -> None:
    stream = told(*WORDS).replace(b"\n\n", b"\r\n\r\n")
    pieces = [stream[cut : cut + size] for cut in range(0, len(stream), size)]
    assert (await answered(inference, Reply(pieces))).text == TEXT


async def test_the_request_says_what_is_asked(inference: Inference) -> None:
    async with wire_double(Reply([told("a")])) as double:
        await collect(inference, at(double, token="sk-lm-abcdefgh:ABCDEFGHIJKLMNOPQRST"))
    received = double.requests[0]
    assert received.line == "POST /v1/chat/completions HTTP/1.1"
    assert received.headers["authorization"] == "Bearer sk-lm-abcdefgh:ABCDEFGHIJKLMNOPQRST"
    assert received.headers["accept-encoding"] == "identity"
    assert received.fields["model"] == "m"
    assert received.fields["messages"] == [{"role": "user", "content": "Hello?"}]


@pytest.mark.parametrize(
    ("given", "efforts"), [(None, "high"), ({"effort": "client's"}, "client's")]
)
async def test_what_a_providers_owner_adds_is_sent_and_a_clients_own_field_goes_before_it(
    inference: Inference, given: dict[str, object] | None, efforts: str
) -> None:
    extras = Extras(
        {"X-Title": "lantern"},
        {"api-version": "2026-01-01", "a b": "c&d"},
        {"effort": "high", "temperature": 0.1, "sort": {"by": ["price"]}},
    )
    asked = replace(asking(), sampling=Sampling(temperature=0.9))
    if given is not None:
        fields = {"messages": [{"role": "user", "content": "Hello?"}], **given}
        asked = replace(asked, verbatim=Verbatim(fields, lambda _: None))
    async with wire_double(Reply([told("a")])) as double:
        got = await collect(
            inference, at(double, is_local=False, token="sk-x", extras=extras), asked
        )
    assert got.text == "a"
    received = double.requests[0]
    assert received.line == ("POST /v1/chat/completions?api-version=2026-01-01&a+b=c%26d HTTP/1.1")
    assert received.headers["x-title"] == "lantern"
    assert received.headers["authorization"] == "Bearer sk-x"
    fields = received.fields
    assert (fields["effort"], fields["temperature"]) == (efforts, 0.1)
    assert fields["sort"] == {"by": ["price"]}
    assert (fields["model"], fields["stream"]) == ("m", True)


async def test_images_are_sent_with_the_words(inference: Inference) -> None:
    cat = Attachment("cat.png", "image/png", image=b"\x89PNG")
    request = InferenceRequest((Message("user", "What?", (cat,)),))
    async with wire_double(Reply([told("A cat.")])) as double:
        assert (await collect(inference, at(double), request)).text == "A cat."
    assert b"data:image/png;base64,iVBORw==" in double.requests[0].body


async def test_the_messages_wire_is_spoken_too(inference: Inference) -> None:
    stream = sse(
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9}}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": TEXT}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 6},
        },
        {"type": "message_stop"},
    )
    pieces = [stream[cut : cut + 5] for cut in range(0, len(stream), 5)]
    async with wire_double(Reply(pieces)) as double:
        got = await collect(inference, at(double, wire="anthropic"))
    assert (got.text, got.end) == (TEXT, StreamEnd("stop", Usage(9, 6), "m"))
    assert double.requests[0].line == "POST /v1/messages HTTP/1.1"


async def test_a_stream_of_unknown_type_is_read_as_events(inference: Inference) -> None:
    got = await answered(inference, Reply([told("a")], content_type=""))
    assert got.text == "a"


async def test_an_answer_without_any_word_ends_in_good_order(inference: Inference) -> None:
    got = await answered(
        inference, Reply([sse(chunk(reasoning="hm"), chunk(finish="length"), "[DONE]")])
    )
    assert (got.text, got.reasoning, got.end.finish) == ("", "hm", "length")
    assert got.end.usage.reasoning_tokens == 1


@pytest.mark.parametrize("ending", ["whole", "cut", "reset", "hold"])
async def test_after_the_finish_reason_nothing_breaks_the_answer(
    inference: Inference, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inference.deltas._LINGER_S", 0.05)
    stream = sse(chunk(content="a"), chunk(finish="stop"))
    got = await answered(inference, Reply([stream], ending=ending))  # pyright: ignore[reportArgumentType]  # a table of endings
    assert (got.text, got.end.finish, got.error) == ("a", "stop", None)


async def test_garbage_after_the_finish_reason_breaks_nothing(inference: Inference) -> None:
    got = await answered(inference, Reply([sse(chunk(content="a"), chunk(finish="stop"), "{")]))
    assert (got.text, got.end.finish) == ("a", "stop")


async def test_after_the_done_mark_nothing_is_waited_for(inference: Inference) -> None:
    got = await answered(inference, Reply([told("a")], ending="hold"))
    assert got.end.finish == "stop"


async def test_a_connection_is_used_again_after_a_whole_answer(inference: Inference) -> None:
    async with wire_double(Reply([told("a")]), Reply([told("b")])) as double:
        texts = [(await collect(inference, at(double))).text for _ in range(2)]
    assert texts == ["a", "b"]


# --- leaving -------------------------------------------------------------------------------


async def test_leaving_the_block_closes_the_connection(inference: Inference) -> None:
    async with wire_double(Reply([sse(chunk(content="a"))], ending="hold")) as double:
        async with inference.open(at(double), asking()) as deltas:
            assert await anext(deltas) == TextDelta("a")
            assert not double.was_left.is_set()
        async with asyncio.timeout(GUARD_S):
            await double.was_left.wait()


async def test_an_error_inside_the_block_closes_the_connection(inference: Inference) -> None:
    async with wire_double(Reply([sse(chunk(content="a"))], ending="hold")) as double:
        with pytest.raises(KeyError):
            async with inference.open(at(double), asking()):
                raise KeyError
        async with asyncio.timeout(GUARD_S):
            await double.was_left.wait()


@pytest.mark.parametrize("pieces", [[], [sse(chunk(content="a"))]])
async def test_a_cancelled_reader_closes_the_connection(
    inference: Inference, pieces: list[bytes]
) -> None:
    async with wire_double(Reply(pieces, ending="hold")) as double:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(collect(inference, at(double)))
            await double.was_asked.wait()
            reading.cancel()
        async with asyncio.timeout(GUARD_S):
            await double.was_left.wait()


async def test_a_stream_that_was_left_gives_nothing_more(inference: Inference) -> None:
    async with wire_double(Reply([told("a")])) as double:
        async with inference.open(at(double), asking()) as deltas:
            pass
        assert [delta async for delta in deltas] == []


# --- failures ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["whole", "cut", "reset"])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_stream_without_its_end_mark_is_cut_and_keeps_its_words(
    inference: Inference, ending: str, wire: str
) -> None:
    words = {
        "openai": sse(chunk(content="so far")),
        "anthropic": sse(
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "so far"}}
        ),
    }
    reply = Reply([words[wire]], ending=ending)  # pyright: ignore[reportArgumentType]  # a table of endings
    got = await answered(inference, reply, wire=wire)
    assert (got.text, got.kind) == ("so far", FailureKind.CUT)
    assert isinstance(got.error, HostUnreachable)


async def test_words_held_back_for_mending_are_not_lost_in_a_cut(inference: Inference) -> None:
    got = await answered(inference, Reply([sse(chunk(content="<thi"))]))
    assert (got.text, got.kind) == ("<thi", FailureKind.CUT)


async def test_an_error_event_comes_after_the_words_before_it(inference: Inference) -> None:
    stream = (
        sse(chunk(content="a"), chunk(content="b"))
        + b'event: error\ndata: {"error": {"message": "Compute error."}}\n\n'
    )
    got = await answered(inference, Reply([stream], ending="hold"))
    assert (got.text, got.kind) == ("ab", FailureKind.CUT)
    assert "Compute error" in str(got.error)


async def test_a_failure_is_raised_once_and_then_the_stream_is_over(inference: Inference) -> None:
    async with (
        wire_double(Reply([sse(chunk(content="a"))])) as double,
        inference.open(at(double), asking()) as deltas,
    ):
        await anext(deltas)
        with pytest.raises(HostUnreachable):
            await anext(deltas)
        assert await anext(deltas, None) is None


async def test_a_failure_closes_the_connection_at_once(inference: Inference) -> None:
    async with (
        wire_double(Reply([sse(chunk(content="a"), "{")], ending="hold")) as double,
        inference.open(at(double), asking()) as deltas,
    ):
        assert await anext(deltas) == TextDelta("a")
        with pytest.raises(HostUnreachable):
            await anext(deltas)
        async with asyncio.timeout(GUARD_S):
            await double.was_left.wait()


@pytest.mark.parametrize(
    "stream",
    [
        b"data: \xff\n\n",
        sse("{"),
        b"<html>\n\n",
        b"<html>",
        b"data: " + b"x" * (1 << 20) + b"x\n\n",
    ],
)
async def test_garbage_is_a_clean_failure(inference: Inference, stream: bytes) -> None:
    got = await answered(inference, Reply([stream]))
    assert (got.deltas, got.kind) == ([], FailureKind.GARBAGE)


# Packed though we asked for it as it is: nothing of it is ever unpacked, however much it would be.
PACKED = gzip.compress(b"data: " + bytes(1 << 20))
HUGE = [
    (Reply([PACKED], headers={"Content-Encoding": "gzip"}), FailureKind.GARBAGE, "it is packed"),
    (Reply([PACKED], 500, headers={"Content-Encoding": "gzip"}), FailureKind.SERVER, "HTTP 500"),
    (Reply(headers={f"X-{n}": "a" for n in range(20_000)}), FailureKind.GARBAGE, "head has no end"),
]


@pytest.mark.parametrize(("reply", "kind", "words"), HUGE)
async def test_what_has_no_end_is_left(
    inference: Inference, reply: Reply, kind: FailureKind, words: str
) -> None:
    got = await answered(inference, reply)
    assert got.kind is kind
    assert words in str(got.error)


async def test_announcements_without_end_are_no_answer(
    inference: Inference, loop_clock: LoopClock
) -> None:
    reply = Reply(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, ending="hold")
    got = await unanswered(inference, reply, loop_clock, 9.0, first_token_s=9.0)
    assert got.kind is FailureKind.TIMEOUT
    assert "silent for 9 s" in str(got.error)


async def test_another_models_answer_is_never_shown(inference: Inference) -> None:
    got = await answered(inference, Reply([sse(chunk("other", content="a"))]))
    assert got.deltas == []
    assert isinstance(got.error, Unavailable)
    assert got.kind is FailureKind.WRONG_MODEL
    assert "other" in got.error.user_message


async def test_silence_before_the_first_delta_is_a_timeout(
    inference: Inference, loop_clock: LoopClock
) -> None:
    got = await unanswered(inference, Reply(ending="hold"), loop_clock, 9.0, first_token_s=9.0)
    assert got.kind is FailureKind.TIMEOUT
    assert not got.was_opened


@pytest.mark.parametrize(
    "beat", [b": keep-alive\n\n", sse(chunk(role="assistant", content="")), sse({"choices": []})]
)
async def test_keep_alives_are_no_first_delta(
    inference: Inference, beat: bytes, loop_clock: LoopClock
) -> None:
    reply = Reply([beat], ending="hold", beat=beat)
    got = await unanswered(inference, reply, loop_clock, 9.0, first_token_s=9.0)
    assert got.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize("beat", [b"", b": keep-alive\n\n"])
async def test_silence_between_deltas_is_a_stall_and_closes_the_connection(
    inference: Inference, beat: bytes, loop_clock: LoopClock
) -> None:
    reply = Reply([sse(chunk(content="a"), chunk(content="b"))], ending="hold", beat=beat)
    got = await unanswered(inference, reply, loop_clock, 7.0, idle_s=7.0)
    assert (got.text, got.kind) == ("ab", FailureKind.STALL)


async def test_a_silence_is_told_once_before_it_is_a_stall(
    inference: Inference, loop_clock: LoopClock
) -> None:
    reply = Reply([sse(chunk(content="a"))], ending="hold")
    got = await unanswered(inference, reply, loop_clock, 2.0, 8.0, quiet_s=2.0, idle_s=10.0)
    assert got.deltas == [TextDelta("a"), Silence(2.0)]
    assert got.kind is FailureKind.STALL


async def test_reasoning_is_life(inference: Inference, loop_clock: LoopClock) -> None:
    reply = Reply([sse(chunk(reasoning_content="hm"))], ending="hold")
    got = await unanswered(inference, reply, loop_clock, 7.0, idle_s=7.0)
    assert (got.reasoning, got.kind) == ("hm", FailureKind.STALL)


@pytest.mark.parametrize(("last", "kind"), [((), FailureKind.CUT), (("[DONE]",), None)])
async def test_what_arrived_while_the_caller_was_busy_outlives_the_connection(
    inference: Inference, last: tuple[str, ...], kind: FailureKind | None
) -> None:
    words = [sse(chunk(content="a")), sse(chunk(content="b")), sse(chunk(content="c"), *last)]
    got = Collected()
    async with (
        wire_double(Reply(words, ending="cut")) as double,
        inference.open(at(double), asking()) as deltas,
    ):
        got.deltas.append(await anext(deltas))
        await double.has_closed.wait()
        for _ in range(20):  # the client's loop hears of the end some rounds later
            await asyncio.sleep(0)
        with pytest.raises(HostUnreachable) if kind else nullcontext():
            async for delta in deltas:
                got.deltas.append(delta)
    assert got.text == "abc"


# --- no stream at all ----------------------------------------------------------------------


async def test_a_host_that_refuses_is_unreachable(inference: Inference) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "m", source="studio-1")
    got = await collect(inference, endpoint)
    assert got.kind is FailureKind.CONNECT
    assert str(got.error) == "studio-1 cannot be reached: connection refused."


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EHOSTUNREACH, "?"), "no route to it"),
        (OSError(errno.ENETUNREACH, "?"), "no route to it"),
        (OSError(errno.EMFILE, "?"), "no connection"),
        (socket.gaierror(-2, "?"), "no machine of that name"),
        (ssl.SSLError(1, "?"), "no TLS connection"),
        (ssl.SSLCertVerificationError("expired"), "its certificate is not valid"),
    ],
)
async def test_what_keeps_a_connection_from_being_made_is_said_in_words(
    inference: Inference, error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
    got = await collect(inference, Endpoint("http://10.0.0.2/v1", "m", source="studio-1"))
    assert got.kind is FailureKind.CONNECT
    assert str(got.error) == f"studio-1 cannot be reached: {words}."


async def test_a_host_that_never_finishes_connecting_is_unreachable(
    inference: Inference, loop_clock: LoopClock
) -> None:
    async with wire_double() as double, asyncio.TaskGroup() as tasks:
        # It waits for the rest of a request while we wait for its TLS greeting.
        endpoint = at(double, base_url=double.base_url.replace("http:", "https:"))
        reading = tasks.create_task(collect(inference, endpoint))
        await double.was_met.wait()
        loop_clock.passes(endpoint.connect_s)
    assert reading.result().kind is FailureKind.CONNECT


@pytest.mark.parametrize(
    "url", ["http://", "nonsense", "http://127.0.0.1:99999/v1", f"http://{'a' * 300}.lan/v1"]
)
async def test_an_address_that_is_no_url_is_unreachable(inference: Inference, url: str) -> None:
    got = await collect(inference, Endpoint(url, "m"))
    assert got.kind is FailureKind.CONNECT


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("key", ["half-a-key\nother-half", "half-a-key\r", "\x00half-a-key"])
async def test_a_key_that_no_header_takes_is_a_wrong_key_and_is_not_repeated(
    inference: Inference, wire: Wire, key: str
) -> None:
    got = await answered(inference, Reply(), token=key, wire=wire, is_local=False)
    assert got.kind is FailureKind.AUTH
    told = "does not accept our key: it holds what no header may, such as a line break."
    assert str(got.error) == f"studio-1 {told}"


async def test_a_line_broken_before_the_answer_is_cut(inference: Inference) -> None:
    for ending in ("cut", "reset"):
        got = await answered(inference, Reply(raw=b"", ending=ending))
        assert got.kind is FailureKind.CUT


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
async def test_a_server_that_speaks_no_http_is_garbage(inference: Inference, raw: bytes) -> None:
    got = await answered(inference, Reply(raw=raw))
    assert got.kind is FailureKind.GARBAGE


async def test_a_body_framed_wrongly_keeps_its_words(inference: Inference) -> None:
    words = sse(chunk(content="a"))
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    raw = head + b"%x\r\n%b\r\nnonsense\r\n" % (len(words), words)
    got = await answered(inference, Reply(raw=raw))
    assert got.kind in (FailureKind.CUT, FailureKind.GARBAGE)


JSON = "application/json"


async def test_an_error_body_is_classified_with_its_headers(inference: Inference) -> None:
    body = json.dumps({"error": {"code": "1302", "message": "Rate limit reached"}}).encode()
    got = await answered(
        inference,
        Reply([body], 429, JSON, {"Retry-After": "4"}),
        is_local=False,
        source="zai",
    )
    assert type(got.error) is Unavailable
    assert (got.kind, got.error.code, got.error.retry_after_s) == (
        FailureKind.RATE_LIMIT,
        "1302",
        4,
    )
    assert got.error.user_message == "zai asks us to slow down: Rate limit reached."
    assert not got.was_opened


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply([b'{"error": "Unexpected endpoint or method."}'], 200, JSON), FailureKind.SERVER),
        (Reply([b"<html>hi</html>"], 200, "text/html"), FailureKind.GARBAGE),
        (Reply([b'{"error": {"message": "No models loaded."}}'], 404, JSON), FailureKind.NOT_THERE),
        (Reply([b'{"error": "(n_keep >= n_ctx)"}'], 400, JSON), FailureKind.TOO_LONG),
        (Reply([b"<html>"], 502, "text/html", ending="cut"), FailureKind.SERVER),
        (Reply([b"x" * 100_000], 500, "text/plain"), FailureKind.SERVER),
        (Reply([], 302, "", {"Location": "http://127.0.0.1:1/"}), FailureKind.SERVER),
    ],
)
async def test_what_is_no_stream_is_a_failure_on_entering(
    inference: Inference, reply: Reply, kind: FailureKind
) -> None:
    got = await answered(inference, reply)
    assert isinstance(got.error, Unavailable)
    assert (got.kind, got.was_opened) == (kind, False)


async def test_an_error_body_that_never_ends_is_not_waited_for(
    inference: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inference.streams._ERROR_BODY_S", 0.05)
    got = await answered(inference, Reply([b'{"error": '], 401, JSON, ending="hold"))
    assert got.kind is FailureKind.AUTH


async def test_a_refusal_is_the_askers_and_not_the_hosts(inference: Inference) -> None:
    body = b'{"error": {"code": "1301", "message": "unsafe"}}'
    got = await answered(inference, Reply([body], 400, JSON), is_local=False)
    assert isinstance(got.error, Refused)


async def test_neither_key_nor_prompt_is_repeated_from_an_error(inference: Inference) -> None:
    prompt = "a diary entry that nobody else should ever read"
    key = "sk-proj-verysecret123"
    message = f"key {key} rejected for input: {prompt}"
    async with wire_double(
        Reply([json.dumps({"error": {"message": message}}).encode()], 401, JSON)
    ) as double:
        got = await collect(inference, at(double, token=key), asking(prompt))
    assert str(got.error) == "studio-1 does not accept our key: key … rejected for input: …."


async def test_a_date_to_wait_for_is_measured_by_the_given_clock() -> None:
    def utcnow() -> datetime:
        return datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

    headers = {"Retry-After": "Fri, 20 Nov 2026 12:00:30 GMT"}
    async with Inference(utcnow=utcnow) as inference:
        got = await answered(inference, Reply([b"{}"], 429, JSON, headers))
    assert isinstance(got.error, Unavailable)
    assert got.error.retry_after_s == 30


async def test_every_error_of_the_room_is_one_the_caller_knows(inference: Inference) -> None:
    got = await answered(inference, Reply([b"{}"], 418, JSON))
    assert isinstance(got.error, BotError)
    assert got.kind is FailureKind.BAD_REQUEST
