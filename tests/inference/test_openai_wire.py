import json
from collections.abc import Sequence

import pytest
from wire_double import chunk

from bot.domain.chat import Attachment, Endpoint, InferenceRequest, Message, Usage
from bot.domain.errors import FailureKind
from bot.domain.events import Delta, ReasoningDelta, StreamEnd, TextDelta
from bot.domain.personas import Sampling
from bot.inference.openai import OpenAiReader, completions_call
from bot.inference.wire import WireFault, parse_object

FULL = Sampling(
    temperature=1.4,
    max_tokens=64,
    top_p=0.001,
    top_k=40,
    min_p=0.05,
    repeat_penalty=1.1,
    stop=("A", "B"),
)
LOCAL = Endpoint("http://10.0.0.2:1234/v1", "m")


def cloud(dialect: str, model: str, thinking: str = "auto") -> Endpoint:
    return Endpoint(
        "https://api.example/v1/",
        model,
        token="sk-secret",
        is_local=False,
        dialect=dialect,  # pyright: ignore[reportArgumentType]  # read from a table of texts
        thinking=thinking,  # pyright: ignore[reportArgumentType]  # read from a table of texts
    )


def body(
    endpoint: Endpoint, sampling: Sampling = FULL, user_hash: str | None = "a1b2c3"
) -> dict[str, object]:
    request = InferenceRequest((Message("user", "Hi"),), sampling, user_hash)
    return json.loads(completions_call(endpoint, request).body)


COMMON = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
COUNTED = {"stream_options": {"include_usage": True}}


def test_lm_studio_gets_its_own_sampling_fields_and_no_user() -> None:
    assert body(LOCAL) == {
        **COMMON,
        **COUNTED,
        "model": "m",
        "temperature": 1.4,
        "max_tokens": 64,
        "top_p": 0.001,
        "top_k": 40,
        "min_p": 0.05,
        "repeat_penalty": 1.1,
        "stop": ["A", "B"],
    }


def test_what_a_persona_leaves_open_is_not_sent() -> None:
    assert body(LOCAL, Sampling()) == {**COMMON, **COUNTED, "model": "m"}


def test_zai_gets_values_in_its_ranges_and_no_stream_options() -> None:
    assert body(cloud("zai", "glm-4.6")) == {
        **COMMON,
        "model": "glm-4.6",
        "temperature": 1.0,
        "max_tokens": 64,
        "top_p": 0.01,
        "stop": ["A"],
        "user_id": "a1b2c3",
    }


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-5-mini", "o3", "something-new"])
def test_openais_reasoning_models_get_no_sampling(model: str) -> None:
    assert body(cloud("openai", model)) == {
        **COMMON,
        **COUNTED,
        "model": model,
        "max_completion_tokens": 64,
        "safety_identifier": "a1b2c3",
    }


@pytest.mark.parametrize("model", ["gpt-4o-mini", "ft:gpt-4.1:us:x"])
def test_openais_older_models_keep_their_sampling(model: str) -> None:
    sent = body(cloud("openai", model))
    assert (sent["temperature"], sent["top_p"], sent["stop"]) == (1.4, 0.001, ["A", "B"])
    assert "top_k" not in sent


def test_an_unknown_server_gets_the_common_fields_alone() -> None:
    assert body(cloud("generic", "vendor/model")) == {
        **COMMON,
        **COUNTED,
        "model": "vendor/model",
        "temperature": 1.4,
        "max_tokens": 64,
        "top_p": 0.001,
        "stop": ["A", "B"],
    }


@pytest.mark.parametrize(
    ("dialect", "model", "fields"),
    [
        ("zai", "glm-4.6", {"thinking": {"type": "disabled"}}),
        ("zai", "glm-4.7-flash", {"thinking": {"type": "disabled"}}),
        ("zai", "glm-5.2", {"thinking": {"type": "disabled"}}),
        ("zai", "glm-5.3-flash", {"reasoning_effort": "low"}),
        ("zai", "glm-4-32b", {}),
        ("openai", "gpt-6-luna", {"reasoning_effort": "none"}),
        ("openai", "gpt-5.6-luna", {"reasoning_effort": "none"}),
        ("openai", "gpt-5-mini", {"reasoning_effort": "minimal"}),
        ("openai", "o3", {"reasoning_effort": "low"}),
        ("openai", "gpt-4o-mini", {}),
        ("lmstudio", "qwen", {}),
    ],
)
def test_reasoning_is_switched_off_as_each_model_takes_it(
    dialect: str, model: str, fields: dict[str, object]
) -> None:
    off = body(cloud(dialect, model, "off"), Sampling(), None)
    auto = body(cloud(dialect, model), Sampling(), None)
    assert off == auto | fields
    assert not auto.keys() & {"thinking", "reasoning_effort"}


def test_images_go_as_data_urls_beside_the_text() -> None:
    cat = Attachment("cat.png", "image/png", image=b"\x89PNG")
    note = Attachment("note.txt", "text/plain", text="read into the turn already")
    request = InferenceRequest((Message("user", "What is it?", (cat, note)),))
    assert json.loads(completions_call(LOCAL, request).body)["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
            ],
        }
    ]


def test_an_image_without_words_has_no_empty_text_part() -> None:
    cat = Attachment("cat.png", "image/png", image=b"\x89PNG")
    request = InferenceRequest((Message("user", "", (cat,)),))
    messages = json.dumps(json.loads(completions_call(LOCAL, request).body)["messages"])
    assert '"text"' not in messages


def test_the_key_goes_in_the_header_alone() -> None:
    call = completions_call(cloud("openai", "gpt-6-luna"), InferenceRequest(()))
    assert call.url == "https://api.example/v1/chat/completions"
    assert call.headers == {"Authorization": "Bearer sk-secret"}
    assert b"sk-secret" not in call.body
    assert completions_call(LOCAL, InferenceRequest(())).headers == {}


# --- reading -------------------------------------------------------------------------------


def reader(*accepted: str) -> OpenAiReader:
    endpoint = Endpoint("http://h/v1", "m", accepted_models=frozenset(accepted))
    return OpenAiReader(endpoint, prompt_estimate=50)


def read(reading: OpenAiReader, *payloads: object) -> list[Delta]:
    deltas: list[Delta] = []
    for payload in payloads:
        raw = payload if isinstance(payload, str) else json.dumps(payload)
        deltas.extend(reading.read(raw))
    if reading.is_whole:
        deltas += [*reading.pieces.flush(), reading.end()]
    return deltas


def fault(*payloads: object, accepted: Sequence[str] = ()) -> object:
    with pytest.raises(WireFault) as caught:
        read(reader(*accepted), *payloads)
    return caught.value.verdict.kind


def usage_chunk(**usage: object) -> dict[str, object]:
    return {"model": "m", "choices": [], "usage": usage}


def test_reasoning_comes_under_either_name_and_once() -> None:
    deltas = read(
        reader(),
        chunk(reasoning_content="a"),
        chunk(reasoning="b"),
        chunk(reasoning_content="c", reasoning="c"),
        chunk(reasoning=None, content="d"),
        chunk(finish="stop"),
    )
    assert deltas[:-1] == [
        ReasoningDelta("a"),
        ReasoningDelta("b"),
        ReasoningDelta("c"),
        TextDelta("d"),
    ]


def test_chunks_without_words_give_no_deltas() -> None:
    silent: list[dict[str, object]] = [
        chunk(role="assistant", content=""),
        chunk(content=None),
        {"choices": []},
        {"choices": [{"index": 0}]},
        {"choices": ["?"]},
        {"choices": [{"delta": {"content": [{"type": "text"}]}}]},
        {"object": "unknown"},
    ]
    assert read(reader(), *silent) == []


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("tool_calls", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "refused"),
        ("sensitive", "refused"),
    ],
)
def test_a_finish_reason_is_the_end_mark(reason: str, finish: str) -> None:
    end = read(reader(), chunk(content="a"), chunk(finish=reason))[-1]
    assert isinstance(end, StreamEnd)
    assert end.finish == finish


@pytest.mark.parametrize("reason", ["error", "network_error"])
def test_a_broken_inference_is_no_end(reason: str) -> None:
    assert fault(chunk(content="a"), chunk(finish=reason)) is FailureKind.CUT


def test_an_error_beside_a_finish_reason_tells_its_kind() -> None:
    last = chunk(content="", finish="error") | {"error": {"code": 429, "message": "slow"}}
    assert fault(last) is FailureKind.RATE_LIMIT


def test_the_done_mark_alone_is_an_end_mark() -> None:
    reading = reader()
    assert read(reading, chunk(content="a"), "[DONE]")[-1:] == [
        StreamEnd("stop", Usage(50, 1, estimated=True), "m")
    ]
    assert reading.is_done


def test_without_an_end_mark_nothing_is_whole() -> None:
    reading = reader()
    read(reading, chunk(content="a"), usage_chunk(prompt_tokens=1, completion_tokens=1))
    assert not reading.is_whole


def test_a_refusal_in_words_is_shown_and_marked() -> None:
    deltas = read(reader(), chunk(refusal="I cannot"), chunk(finish="stop"))
    assert deltas[0] == TextDelta("I cannot")
    assert isinstance(deltas[-1], StreamEnd)
    assert deltas[-1].finish == "refused"


COUNTS = {
    "prompt_tokens": 9,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


@pytest.mark.parametrize(
    "payloads",
    [
        (chunk(content="a"), chunk(finish="stop"), usage_chunk(**COUNTS), "[DONE]"),
        (chunk(content="a"), chunk(finish="stop") | {"usage": COUNTS}, "[DONE]"),
        (
            chunk(content="a") | {"usage": {"prompt_tokens": 9, "completion_tokens": 1}},
            chunk(finish="stop") | {"usage": COUNTS},
        ),
        (
            chunk(content="a") | {"usage": None},
            usage_chunk(**COUNTS),
            usage_chunk(**COUNTS),
            chunk(finish="stop"),
        ),
    ],
)
def test_usage_is_taken_wherever_a_server_puts_it(payloads: tuple[object, ...]) -> None:
    end = read(reader(), *payloads)[-1]
    assert isinstance(end, StreamEnd)
    assert end.usage == Usage(9, 7, 4, 3)


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": "9"},
        {"completion_tokens": -1},
        {"completion_tokens": 0},
        # More than any ledger holds.
        {"prompt_tokens": 10**9 + 1, "completion_tokens": 10**30},
    ],
)
def test_usage_that_is_missing_or_nonsense_is_estimated_from_the_deltas(
    usage: dict[str, object],
) -> None:
    end = read(reader(), chunk(reasoning="a"), chunk(content="b"), usage_chunk(**usage), "[DONE]")[
        -1
    ]
    assert isinstance(end, StreamEnd)
    assert end.usage == Usage(50, 2, 0, 1, estimated=True)


def test_an_empty_answer_ends_in_good_order_and_tells_its_reasoning() -> None:
    deltas = read(reader(), chunk(reasoning_content="a"), chunk(finish="length"), "[DONE]")
    assert deltas[1:] == [StreamEnd("length", Usage(50, 1, 0, 1, estimated=True), "m")]


def test_another_model_is_noticed_before_any_word() -> None:
    assert fault(chunk("other", content="a"), accepted=["m"]) is FailureKind.WRONG_MODEL


def test_another_model_is_noticed_in_a_later_chunk_too() -> None:
    reading = reader("m", "m:2")
    assert read(reading, chunk("m:2", content="a")) == [TextDelta("a")]
    with pytest.raises(WireFault):
        read(reading, chunk("other", content="b"))


def test_any_model_is_accepted_where_no_names_are_given() -> None:
    end = read(reader(), chunk("alias-2026", content="a"), "[DONE]")[-1]
    assert isinstance(end, StreamEnd)
    assert end.model == "alias-2026"


def test_a_chunk_that_names_no_model_is_accepted() -> None:
    unnamed = {"choices": [{"delta": {"content": "a"}}], "model": ""}
    assert read(reader("m"), unnamed) == [TextDelta("a")]


@pytest.mark.parametrize(
    "payload", ["{", "[1]", '"x"', "nan", "[" * 5000, '{"a": ' + "9" * 5000 + "}"]
)
def test_a_payload_that_is_no_json_object_is_garbage(payload: str) -> None:
    assert fault(payload) is FailureKind.GARBAGE


def test_halves_of_a_character_in_two_chunks_are_joined() -> None:
    first = json.dumps(chunk(content="a?")).replace("a?", "a\\ud83d")
    second = json.dumps(chunk(content="?b")).replace("?b", "\\ude00b")
    assert read(reader(), first, second) == [TextDelta("a"), TextDelta("😀b")]


@pytest.mark.parametrize("payload", ['  {"model": "m"}', '\t{"model": "m"} \r', '{"model": "m"}'])
def test_blanks_around_a_chunk_are_nothing(payload: str) -> None:
    assert parse_object(payload) == {"model": "m"}


@pytest.mark.parametrize("payload", ["", " ", "{", '{"a": 1} {}', '{"a": 1}x', "\xa0{}", "[]"])
def test_what_is_not_one_object_is_garbage(payload: str) -> None:
    with pytest.raises(WireFault) as caught:
        parse_object(payload)
    assert caught.value.verdict.kind is FailureKind.GARBAGE
