"""The JSON that requests are written in and hosts answer with."""

import json

import pytest

from bot.inference.wire import as_json, from_json

HALF = "\ud83d"
"""Half a character: JSON may hold it as an escape, and UTF-8 not at all."""


@pytest.mark.parametrize(
    "told",
    [
        {"text": "Grüße 😀 \u2028 \x00", "n": 10**30, "deep": [[{"a": None}]]},
        {"one": 0.1, "small": 5e-324, "large": 1.7976931348623157e308, "zero": -0.0},
        {"half": f"{HALF} of one", HALF: [True, False]},
    ],
)
def test_what_is_written_is_read_as_it_was(told: dict[str, object]) -> None:
    assert json.loads(as_json(told)) == told
    assert from_json(as_json(told)) == told


@pytest.mark.parametrize("coding", ["utf-8", "utf-16", "utf-32"])
def test_a_hosts_answer_is_read_in_any_coding_that_json_has(coding: str) -> None:
    told = {"id": "ü", "n": [1, 2.5]}
    assert from_json(json.dumps(told, ensure_ascii=False).encode(coding)) == told


@pytest.mark.parametrize("text", [b"", b"{", b'{"a": 1} x', b"<html>", b'{"a": "\xff"}'])
def test_what_is_no_json_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(text)


def test_what_is_nested_too_deep_is_no_answer() -> None:
    with pytest.raises((ValueError, RecursionError)):
        from_json(b"[" * 100_000 + b"]" * 100_000)
