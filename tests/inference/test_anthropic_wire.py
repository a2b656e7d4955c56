import json
from dataclasses import replace

import pytest

from bot.domain.chat import Attachment, Endpoint, InferenceRequest, Message, Usage
from bot.domain.errors import FailureKind
from bot.domain.events import Delta, ReasoningDelta, StreamEnd, TextDelta
from bot.domain.personas import Sampling
from bot.inference.anthropic import AnthropicReader, messages_call
from bot.inference.wire import WireFault

ENDPOINT = Endpoint(
    "https://api.anthropic.example/v1",
    "claude-haiku-5-5",
    wire="anthropic",
    token="sk-ant-secret",
    is_local=False,
)


def turns(*messages: Message) -> list[dict[str, object]]:
    body = json.loads(messages_call(ENDPOINT, InferenceRequest(messages)).body)
    return json.loads(json.dumps(body["messages"]))


def said(role: str, *texts: str) -> dict[str, object]:
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


def test_a_request_has_a_limit_a_system_prompt_and_no_sampling() -> None:
    sampling = Sampling(temperature=0.7, top_p=0.9, top_k=40, max_tokens=99, stop=("END", " "))
    messages = Message("system", "Be brief."), Message("user", "Hi")
    assert json.loads(
        messages_call(ENDPOINT, InferenceRequest(messages, sampling, "a1b2")).body
    ) == {
        "model": "claude-haiku-5-5",
        "max_tokens": 99,
        "messages": [said("user", "Hi")],
        "stream": True,
        "system": "Be brief.",
        "stop_sequences": ["END"],
        "metadata": {"user_id": "a1b2"},
    }


def test_what_is_open_is_left_out_but_for_the_required_limit() -> None:
    body = json.loads(messages_call(ENDPOINT, InferenceRequest((Message("user", "Hi"),))).body)
    assert body.keys() == {"model", "max_tokens", "messages", "stream"}
    assert isinstance(body["max_tokens"], int)


def test_the_version_is_pinned_and_the_key_goes_in_the_header_alone() -> None:
    call = messages_call(ENDPOINT, InferenceRequest(()))
    assert call.url == "https://api.anthropic.example/v1/messages"
    assert call.headers == {"anthropic-version": "2026-10-21", "x-api-key": "sk-ant-secret"}
    assert b"sk-ant-secret" not in call.body


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://a.example", "https://a.example/v1/messages"),
        ("https://a.example/", "https://a.example/v1/messages"),
        ("https://a.example/api/anthropic", "https://a.example/api/anthropic/v1/messages"),
        ("https://a.example/v1/", "https://a.example/v1/messages"),
        ("https://a.example/v12", "https://a.example/v12/messages"),
    ],
)
def test_the_address_is_taken_as_the_vendors_own_client_takes_it(base: str, url: str) -> None:
    call = messages_call(replace(ENDPOINT, base_url=base), InferenceRequest(()))
    assert call.url == url


def test_neighbours_of_one_role_are_joined_and_blank_ones_left_out() -> None:
    assert turns(
        Message("user", "a"),
        Message("user", "b"),
        Message("assistant", "  "),
        Message("user", "c"),
        Message("assistant", "d"),
        Message("user", "e"),
    ) == [said("user", "a", "b", "c"), said("assistant", "d"), said("user", "e")]


def test_the_first_turn_is_the_users() -> None:
    roles = [turn["role"] for turn in turns(Message("assistant", "Hi."), Message("user", "Hi"))]
    assert roles == ["user", "assistant", "user"]


def test_the_last_turn_is_the_users_because_prefill_is_refused() -> None:
    roles = [turn["role"] for turn in turns(Message("user", "Hi"), Message("assistant", "Hel"))]
    assert roles == ["user", "assistant", "user"]


def test_a_request_of_nothing_still_has_a_user_turn() -> None:
    assert [turn["role"] for turn in turns(Message("system", "x"))] == ["user"]


def test_images_go_before_the_words() -> None:
    cat = Attachment("cat.png", "image/png", image=b"\x89PNG")
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
    assert turns(Message("user", "What?", (cat,))) == [
        {
            "role": "user",
            "content": [{"type": "image", "source": source}, {"type": "text", "text": "What?"}],
        }
    ]


# --- reading -------------------------------------------------------------------------------

START = {
    "type": "message_start",
    "message": {
        "model": "claude-haiku-5-5",
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 2,
            "output_tokens": 1,
        },
    },
}
STOP = {"type": "message_stop"}


def block(kind: str, **fields: object) -> dict[str, object]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}}


def ended(reason: str, tokens: int = 7) -> dict[str, object]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason},
        "usage": {"output_tokens": tokens},
    }


def reader(*accepted: str) -> AnthropicReader:
    endpoint = Endpoint("https://a/v1", "m", is_local=False, accepted_models=frozenset(accepted))
    return AnthropicReader(endpoint, prompt_estimate=50)


def read(reading: AnthropicReader, *events: object) -> list[Delta]:
    deltas = [delta for event in events for delta in reading.read(json.dumps(event))]
    if reading.is_whole:
        deltas += [*reading.pieces.flush(), reading.end()]
    return deltas


def fault(*events: object, accepted: str = "") -> object:
    with pytest.raises(WireFault) as caught:
        read(reader(*accepted.split()), *events)
    return caught.value.verdict.kind


def test_thinking_words_and_cumulative_usage_are_read() -> None:
    assert read(
        reader(),
        START,
        {"type": "ping"},
        {"type": "content_block_start", "content_block": {"type": "thinking", "thinking": ""}},
        block("thinking_delta", thinking="hm"),
        block("signature_delta", signature="x"),
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "content_block": {"type": "text", "text": "A"}},
        block("text_delta", text="nswer"),
        block("input_json_delta", partial_json="{}"),
        {"type": "something_new", "words": "?"},
        ended("end_turn", 3),
        ended("end_turn", 7),
        STOP,
    ) == [
        ReasoningDelta("hm"),
        TextDelta("A"),
        TextDelta("nswer"),
        StreamEnd("stop", Usage(17, 7, 5, 1), "claude-haiku-5-5"),
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("refusal", "refused"),
        ("model_context_window_exceeded", "length"),
    ],
)
def test_a_stop_reason_becomes_the_finish(reason: str, finish: str) -> None:
    end = read(reader(), START, block("text_delta", text="a"), ended(reason), STOP)[-1]
    assert isinstance(end, StreamEnd)
    assert end.finish == finish


def test_what_a_later_event_leaves_out_still_stands() -> None:
    bare: dict[str, object] = {"type": "message_delta", "delta": {}, "usage": {}}
    end = read(reader(), START, ended("max_tokens", 7), bare, STOP)[-1]
    assert end == StreamEnd("length", Usage(17, 7, 5), "claude-haiku-5-5")


def test_a_message_that_names_no_model_is_accepted() -> None:
    assert read(reader("claude-haiku-5-5"), {"type": "message_start", "message": {}}) == []


def test_a_window_already_full_before_the_first_word_is_too_long() -> None:
    assert fault(START, ended("model_context_window_exceeded"), STOP) is FailureKind.TOO_LONG


def test_only_the_stop_event_makes_an_answer_whole() -> None:
    reading = reader()
    read(reading, START, block("text_delta", text="a"), ended("end_turn"))
    assert not reading.is_whole


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", FailureKind.OVERLOAD),
        ("api_error", FailureKind.SERVER),
        ("rate_limit_error", FailureKind.RATE_LIMIT),
        ("new_error", FailureKind.CUT),
    ],
)
def test_an_error_event_is_an_error(kind: str, expected: FailureKind) -> None:
    event = {"type": "error", "error": {"type": kind, "message": "…"}}
    assert fault(START, event) is expected


def test_another_model_is_noticed_before_any_word() -> None:
    assert fault(START, accepted="claude-opus-5-5") is FailureKind.WRONG_MODEL


@pytest.mark.parametrize(
    "event",
    [
        {"type": "message_start"},
        {"type": "message_delta"},
        {"type": "content_block_delta"},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 7}},
    ],
)
def test_an_event_with_parts_missing_gives_nothing(event: dict[str, object]) -> None:
    assert read(reader(), event) == []
