"""What may come in at the edge, and which field is named where it may not."""

import json
from typing import Any

import pytest

from bot.chat.relayed import RequestForm
from bot.gateway import edge
from bot.gateway.edge import DEEPEST, parse
from bot.gateway.errors import Problem
from bot.gateway.shapes import MOST_LISTED, check_shape, is_deeper

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f"}}
WRONG = "invalid_type"
GONE = "missing_required_parameter"


def refused(endpoint: RequestForm, body: bytes) -> Problem:
    with pytest.raises(Problem) as raised:
        parse(endpoint, body)
    assert raised.value.status == 400
    return raised.value


REFUSED: list[tuple[RequestForm, dict[str, Any], str, str | None]] = [
    ("chat", {}, "messages", GONE),
    ("chat", {"messages": "hi"}, "messages", WRONG),
    ("chat", {"messages": []}, "messages", None),
    ("chat", {"messages": ["hi"]}, "messages", WRONG),
    ("chat", {"messages": [{"content": "hi"}]}, "messages", GONE),
    ("chat", {"messages": [{"role": "robot", "content": "hi"}]}, "messages", WRONG),
    ("chat", {"messages": [{"role": "user", "content": 5}]}, "messages", WRONG),
    ("chat", {"messages": HI, "model": 5}, "model", WRONG),
    ("chat", {"messages": HI, "model": "x" * 501}, "model", None),
    ("chat", {"messages": HI, "stream": "yes"}, "stream", WRONG),
    ("chat", {"messages": HI, "stream": 1}, "stream", WRONG),
    ("chat", {"messages": HI, "temperature": "hot"}, "temperature", WRONG),
    ("chat", {"messages": HI, "temperature": 2.01}, "temperature", None),
    ("chat", {"messages": HI, "temperature": -0.01}, "temperature", None),
    ("chat", {"messages": HI, "temperature": True}, "temperature", WRONG),
    ("chat", {"messages": HI, "top_p": 1.01}, "top_p", None),
    ("chat", {"messages": HI, "max_tokens": "5"}, "max_tokens", WRONG),
    ("chat", {"messages": HI, "max_tokens": -2}, "max_tokens", None),
    ("chat", {"messages": HI, "max_tokens": 10**9 + 1}, "max_tokens", None),
    ("chat", {"messages": HI, "max_completion_tokens": 10**30}, "max_completion_tokens", None),
    ("chat", {"messages": HI, "max_completion_tokens": 1.5}, "max_completion_tokens", WRONG),
    ("chat", {"messages": HI, "stop": 5}, "stop", WRONG),
    ("chat", {"messages": HI, "stop": ["a", 5]}, "stop", WRONG),
    ("chat", {"messages": HI, "seed": "5"}, "seed", WRONG),
    ("chat", {"messages": HI, "presence_penalty": 3}, "presence_penalty", None),
    ("chat", {"messages": HI, "tools": {}}, "tools", WRONG),
    ("chat", {"messages": HI, "tools": [{"type": "function", "function": {}}]}, "tools", GONE),
    ("chat", {"messages": HI, "tool_choice": 5}, "tool_choice", WRONG),
    ("chat", {"messages": HI, "response_format": "json"}, "response_format", WRONG),
    ("chat", {"messages": HI, "stream_options": True}, "stream_options", WRONG),
    ("chat", {"messages": HI, "n": 2}, "n", "unsupported_value"),
    ("chat", {"messages": HI, "n": 0}, "n", "unsupported_value"),
    ("chat", {"messages": HI, "n": "1"}, "n", WRONG),
    ("chat", {"messages": HI, "top_k": "x"}, "top_k", WRONG),
    ("chat", {"messages": HI, "min_p": "x"}, "min_p", WRONG),
    ("chat", {"messages": HI, "repeat_penalty": "x"}, "repeat_penalty", WRONG),
    ("chat", {"messages": HI, "stream_options": {"include_usage": "x"}}, "stream_options", WRONG),
    ("chat", {"messages": HI, "stop": ["a"] * (MOST_LISTED + 1)}, "stop", None),
    ("responses", {"input": "a", "background": True}, "background", "unsupported_value"),
    ("text", {}, "prompt", GONE),
    ("text", {"prompt": 5}, "prompt", WRONG),
    ("text", {"prompt": [5]}, "prompt", WRONG),
    ("text", {"prompt": "a", "n": 3}, "n", "unsupported_value"),
    ("embeddings", {}, "input", GONE),
    ("embeddings", {"input": ""}, "input", None),
    ("embeddings", {"input": []}, "input", None),
    ("embeddings", {"input": {}}, "input", WRONG),
    ("embeddings", {"input": "a", "encoding_format": "hex"}, "encoding_format", WRONG),
    ("embeddings", {"input": "a", "dimensions": 0}, "dimensions", None),
    ("responses", {}, "input", GONE),
    ("responses", {"input": None, "previous_response_id": None}, "input", GONE),
    ("responses", {"input": 5}, "input", WRONG),
    ("responses", {"input": "a", "previous_response_id": ""}, "previous_response_id", None),
    ("responses", {"input": ["hi"]}, "input", WRONG),
    ("responses", {"input": "a", "max_output_tokens": 0}, "max_output_tokens", None),
    ("responses", {"input": "a", "previous_response_id": 5}, "previous_response_id", WRONG),
    ("responses", {"input": "a", "tools": "all"}, "tools", WRONG),
    ("messages", {"messages": HI}, "max_tokens", GONE),
    ("messages", {"messages": HI, "max_tokens": 0}, "max_tokens", None),
    ("messages", {"messages": HI, "max_tokens": 10**9 + 1}, "max_tokens", None),
    ("messages", {"messages": HI, "max_tokens": 9, "system": 5}, "system", WRONG),
    ("messages", {"messages": [{"role": "user"}], "max_tokens": 9}, "messages", GONE),
    # A host that looked these up fell over them, and was out for everybody.
    ("responses", {"input": [{"content": [{"type": {}}]}]}, "input", WRONG),
    ("responses", {"input": [{"type": []}]}, "input", WRONG),
    ("responses", {"input": "a", "tools": [{"type": {}}]}, "tools", WRONG),
    ("messages", {"messages": HI, "max_tokens": 9, "system": [{"type": []}]}, "system", WRONG),
    ("messages", {"messages": HI, "max_tokens": 9, "tools": [{"name": 5}]}, "tools", WRONG),
]


@pytest.mark.parametrize(("endpoint", "fields", "param", "code"), REFUSED)
def test_a_wrong_field_is_named(
    endpoint: RequestForm, fields: dict[str, Any], param: str, code: str | None
) -> None:
    problem = refused(endpoint, json.dumps(fields).encode())
    assert (problem.param, problem.code) == (param, code)
    assert problem.type == "invalid_request_error"


PLACES: list[tuple[dict[str, Any], str]] = [
    ({"messages": [*HI, {}]}, "`messages[1].role`: Field required."),
    ({"messages": [*HI, 1]}, "`messages[1]`: Input should be an object."),
    ({"messages": [{"role": "user", "content": 5}]}, "`messages[0].content`: "),
    ({"messages": [{"role": "user", "content": [1]}]}, "`messages[0].content[0]`: Input should be"),
    ({"messages": [{"role": "user", "content": [{"type": {}}]}]}, "`messages[0].content[0].type`"),
    ({"messages": [{"role": "user", "content": [{"text": 5}]}]}, "`messages[0].content[0].text`"),
    ({"messages": HI, "tools": [TOOL, {"function": {}}]}, "`tools[1].function.name`: "),
    ({"messages": HI, "stop": ["a"] * 10_001}, "`stop`: a list of more than 10,000 is"),
    ({"messages": HI, "top_k": "x"}, "`top_k`: Input should be a valid number."),
]


@pytest.mark.parametrize(("fields", "words"), PLACES)
def test_what_is_wrong_is_said_with_its_place_and_in_no_words_of_the_code(
    fields: dict[str, Any], words: str
) -> None:
    message = refused("chat", json.dumps(fields).encode()).message
    assert message.startswith(words)
    assert "_" not in message.replace("top_k", "")


TAKEN: list[tuple[RequestForm, dict[str, Any]]] = [
    ("chat", {"messages": HI, "temperature": 2, "top_p": 0, "max_tokens": -1, "n": 1}),
    ("chat", {"messages": HI, "n": None, "stop": None, "tools": [TOOL], "ttl": 60, "x": {}}),
    ("chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}], "logprobs": True}),
    ("chat", {"messages": HI, "tools": [{"type": "web_search"}], "model": "x" * 500}),
    ("chat", {"messages": HI, "top_k": -1, "min_p": 0, "repeat_penalty": 1.1}),
    # A host's own to judge.
    ("chat", {"messages": [{"role": "user"}], "tool_choice": "maybe"}),
    ("chat", {"messages": HI, "response_format": {"type": "xml"}}),
    ("responses", {"input": "a", "background": False}),
    ("text", {"prompt": ["a", "b"]}),
    ("text", {"prompt": ""}),
    ("embeddings", {"input": [[1, 2], [3]], "encoding_format": None, "dimensions": 1}),
    ("embeddings", {"input": [1, 2]}),
    ("responses", {"previous_response_id": "resp_1"}),
    ("responses", {"input": ""}),
    ("responses", {"input": []}),
    ("messages", {"messages": HI, "max_tokens": 1, "system": [{"type": "text"}]}),
]


@pytest.mark.parametrize(("endpoint", "fields"), TAKEN)
def test_what_is_well_formed_comes_in_as_it_is(
    endpoint: RequestForm, fields: dict[str, Any]
) -> None:
    assert parse(endpoint, json.dumps(fields).encode()).fields == fields


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"hi",
        b"[]",
        b"null",
        b'"hi"',
        b"5",
        b"\xff\xfe",
        b'{"messages": [], }',
        b"{'messages': []}",
        b'{"messages": [], "temperature": NaN}',
        b'{"messages": [], "x": Infinity}',
        b'{"messages": [], "x": -Infinity}',
        b'{"messages": [], "x": 1e999}',
        b'{"messages": [], "x": ' + b"9" * 5000 + b"}",
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
        b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"x": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a":' * 200_000,
    ],
)
def test_what_is_no_json_object_is_refused_in_words(body: bytes) -> None:
    problem = refused("chat", body)
    assert problem.param is None
    assert problem.message.startswith("The body ")


@pytest.mark.parametrize(
    ("endpoint", "body", "words"),
    [
        ("embeddings", b'{"input": []}', "`input`: List should have at least 1 item"),
        ("chat", b'{"messages": [], "x": "\\ud800"}', "half a character"),
        ("chat", b'{"messages": [], "x": ' + b"9" * 5000 + b"}", "a number of too many digits"),
        ("chat", b'{"x": "\xff"}', "not valid UTF-8"),
        ("chat", b'{"x": NaN}', "NaN is no JSON"),
        ("chat", b'{"x": ' + b"[" * 100_000, f"nested deeper than {DEEPEST} levels"),
    ],
)
def test_a_refusal_names_what_is_wrong(endpoint: RequestForm, body: bytes, words: str) -> None:
    message = refused(endpoint, body).message
    assert words in message
    # Python's own words name functions and limits that are no business of a client's.
    assert "sys." not in message
    assert "recursion" not in message


def test_nesting_is_measured_to_its_bound() -> None:
    def nested(levels: int) -> object:
        value: object = 1
        for n in range(levels):
            value = [value] if n % 2 else {"a": value}
        return value

    assert not is_deeper(nested(DEEPEST), DEEPEST)
    assert is_deeper(nested(DEEPEST + 1), DEEPEST)
    body = {"messages": HI, "x": nested(DEEPEST - 1)}
    assert parse("chat", json.dumps(body).encode()).fields == body
    body["x"] = nested(DEEPEST)
    refused("chat", json.dumps(body).encode())


def test_values_are_counted_to_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    for more, opening in (("1", ""), ("[]", "["), ("{}", "{")):
        body = json.dumps({"prompt": "a", "x": [1, 2, json.loads(more)]}).encode()
        marks = 5 + (1 if opening else 0)
        monkeypatch.setattr(edge, "MOST_VALUES", marks)
        assert parse("text", body).fields["prompt"] == "a"
        monkeypatch.setattr(edge, "MOST_VALUES", marks - 1)
        with pytest.raises(Problem) as raised:
            parse("text", body)
        assert (raised.value.status, raised.value.code) == (413, "request_too_large")


def test_the_last_of_two_equal_names_counts() -> None:
    body = b'{"prompt": "a", "stream": false, "stream": true}'
    assert parse("text", body).fields["stream"] is True


SAID = {"role": "user", "content": "a"}
LISTS: list[tuple[RequestForm, str, object, dict[str, object]]] = [
    ("chat", "messages", SAID, {}),
    ("chat", "tools", {"type": "function"}, {"messages": [SAID]}),
    ("messages", "messages", SAID, {"max_tokens": 1}),
    ("messages", "tools", {}, {"max_tokens": 1, "messages": [SAID]}),
    ("responses", "input", {}, {}),
    ("responses", "tools", {}, {"input": "a"}),
    ("embeddings", "input", "a", {}),
    ("embeddings", "input", [1], {}),
]


@pytest.mark.parametrize(("form", "name", "one", "rest"), LISTS)
def test_lists_are_as_long_as_they_may_be_and_no_longer(
    form: RequestForm, name: str, one: object, rest: dict[str, object]
) -> None:
    check_shape(form, {**rest, name: [one] * MOST_LISTED})
    with pytest.raises(Problem, match="a list of more than 10,000") as raised:
        check_shape(form, {**rest, name: [one] * (MOST_LISTED + 1)})
    assert (raised.value.status, raised.value.param) == (400, name)


def test_one_text_of_numbers_may_be_longer_than_any_list_of_texts() -> None:
    check_shape("embeddings", {"input": [1] * (MOST_LISTED + 1)})
