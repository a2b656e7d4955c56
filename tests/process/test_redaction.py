"""No secret passes, neither a known one nor one with the shape of a key."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.process.redaction import MASK, Redactor

SHAPES = {
    "LM Studio": "sk-lm-abcdefgh:ABCDEFGHIJKLMNOPQRST",
    "Anthropic": "sk-ant-api03-AbCdEfGhIjKlMnOp_qRsT",
    "OpenAI": "sk-proj-AbCdEfGhIjKlMnOp",
    "Z.AI": "0123456789abcdef0123456789abcdef.AbCdEfGhIjKlMnOp",
    "Discord": "MTA0NzI5ODg4ODg4ODg4ODg4OA.GaBcDe.abcdefghijklmnopqrstuvwxyz0123456789AB",
}


@pytest.mark.parametrize("secret", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("around", ["{}", "key {} wrong", "'{}'", "key={}", "({})", '{{"k":"{}"}}'])
def test_the_shape_of_a_key_is_taken_out(secret: str, around: str) -> None:
    redacted = Redactor().text(around.format(secret))
    assert redacted == around.format(MASK)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abc.def", f"Authorization: {MASK}"),
        ("{'Authorization': 'Bot abc', 'x': 1}", f"{{'Authorization': '{MASK}', 'x': 1}}"),
        ('{"x-api-key":"abc","y":2}', f'{{"x-api-key":"{MASK}","y":2}}'),
        ('"{\\"api_key\\": \\"abc\\"}"', f'"{{\\"api_key\\": \\"{MASK}\\"}}"'),
        ("sent Bearer abcdefgh12 there", f"sent Bearer {MASK} there"),
        ("https://me:pw@host/x", f"https://{MASK}@host/x"),
        ("GET /x?token=abc&y=1", f"GET /x?token={MASK}&y=1"),
        (
            "PATCH https://discord.com/api/webhooks/42/aW50ZXJhY3Rpb246MTIzNDU2/messages/1",
            f"PATCH https://discord.com/api/webhooks/42/{MASK}/messages/1",
        ),
    ],
)
def test_the_place_of_a_secret_is_enough(text: str, redacted: str) -> None:
    assert Redactor().text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "loaded qwen/qwen3-30b-a3b-2507 in 12.4 s",
        "the bearer token is missing",
        "task-force-of-many-words 10.0.0.102:1234",
        "prompt_tokens=512 max_tokens: 1024",
        "v1.2.3 2026-11-20T10:00:00.000000Z",
        "https://api.z.ai/api/paas/v4/chat/completions",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert Redactor().text(text) == text


@given(secret=st.text(min_size=4).map(lambda text: f"§{text}§"), around=st.text())
def test_a_known_secret_is_taken_out_wherever_and_however_it_stands(
    secret: str, around: str
) -> None:
    redactor = Redactor([secret])
    for form in (
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        quote(secret, errors="replace"),
    ):
        assert form not in redactor.text(f"{around} {form} {around}")


def test_nested_values_are_cleaned_with_their_keys() -> None:
    class Held:
        def __repr__(self) -> str:
            return "Held(hunter2hunter2)"

    value = {
        "list": ["hunter2hunter2", ("a", {"b": "hunter2hunter2"})],
        "Authorization": ["anything"],
        "studio_token": "abc",
        "first_token": 0.25,
        "token": None,
        "hunter2hunter2": 1,
        "held": Held(),
        "bytes": b"hunter2hunter2",
        "error": ValueError("hunter2hunter2"),
    }
    assert Redactor(["hunter2hunter2"]).value(value) == {
        "list": [MASK, ["a", {"b": MASK}]],
        "Authorization": MASK,
        "studio_token": MASK,
        "first_token": 0.25,
        "token": None,
        MASK: 1,
        "held": f"Held({MASK})",
        "bytes": f"b'{MASK}'",
        "error": f"ValueError('{MASK}')",
    }


def test_what_holds_itself_is_written_once() -> None:
    endless: list[object] = ["hunter2hunter2"]
    endless.append(endless)
    assert "hunter2hunter2" not in str(Redactor(["hunter2hunter2"]).value(endless))


def test_the_half_of_a_host_token_that_proves_it_is_secret_too() -> None:
    redactor = Redactor([SHAPES["LM Studio"]])
    assert redactor.text("passkey ABCDEFGHIJKLMNOPQRST") == f"passkey {MASK}"


def test_a_value_too_short_to_be_a_secret_blanks_no_words() -> None:
    assert Redactor(["a", "", "the"]).text("the cat sat") == "the cat sat"
