"""How a key looks, when it opens, and what it is for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.keys import ALPHABET, LENGTH, ApiKey, digest_of, is_right, make_key, may_ask_for
from bot.policy.keys import public_part as found_by

drawn = st.text(alphabet=ALPHABET, min_size=40, max_size=40)
SHOWN, PUBLIC, DIGEST = make_key("A" * 8 + "b" * 32)
KEY = ApiKey(PUBLIC, "editor", DIGEST)


@given(drawn)
def test_a_key_is_found_by_its_public_part_and_kept_as_a_hash(letters: str) -> None:
    shown, public, digest = make_key(letters)
    assert len(shown) == LENGTH == 48
    assert found_by(shown) == public == letters[:8]
    assert digest == digest_of(shown)
    assert letters[8:] not in digest
    assert is_right(shown, ApiKey(public, "k", digest), 0)


@given(drawn, st.integers(0, 47), st.sampled_from(ALPHABET))
def test_one_letter_less_right_is_wrong(letters: str, at: int, letter: str) -> None:
    shown, public, digest = make_key(letters)
    other = shown[:at] + letter + shown[at + 1 :]
    assert is_right(other, ApiKey(public, "k", digest), 0) is (other == shown)


@given(st.text(max_size=60))
def test_what_is_none_of_ours_is_found_by_nothing_and_opens_nothing(text: str) -> None:
    assert found_by(text) is None
    assert not is_right(text, KEY, 0)
    assert not is_right(text, None, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        SHOWN[:-1],
        SHOWN + "b",
        SHOWN.upper(),
        f" {SHOWN[:-1]}",
        SHOWN.replace("lantern_", "lantern-"),
        SHOWN[:-1] + "-",
        SHOWN[:8] + "-" + SHOWN[9:],
        SHOWN[:-1] + "é",
        SHOWN[:-1] + "٣",
        SHOWN[:-1] + "\udc80",
    ],
)
def test_a_key_is_as_long_as_it_is_and_of_these_letters(text: str) -> None:
    assert found_by(text) is None
    assert not is_right(text, KEY, 0)


def test_nobodys_key_is_never_right() -> None:
    assert not is_right("", None, 0)
    assert not is_right(SHOWN, None, 0)


@pytest.mark.parametrize(
    ("now_ms", "opens"), [(0, True), (999, True), (1000, False), (1001, False)]
)
def test_a_key_is_over_at_the_millisecond(now_ms: int, *, opens: bool) -> None:
    assert is_right(SHOWN, replace(KEY, expires_at_ms=1000), now_ms) is opens
    assert is_right(SHOWN, KEY, now_ms)


@pytest.mark.parametrize("length", [0, 39, 41])
def test_a_key_is_drawn_in_full(length: int) -> None:
    with pytest.raises(AssertionError):
        make_key("a" * length)


QWEN, GEMMA = "qwen/qwen3-8b", "google/gemma-3-4b"


@pytest.mark.parametrize(
    ("patterns", "name", "models", "may"),
    [
        ((), GEMMA, (), True),
        (("*",), "", (), True),
        (("qwen/*",), QWEN, (), True),
        (("qwen/*",), GEMMA, (), False),
        (("qwen/*",), "qwen", (), False),
        (("qwen/*",), "my/qwen/x", (), False),
        (("qwen/*",), "QWEN/qwen3-8b", (), False),
        (("qwen/*",), "", (), False),
        (("a*",), "", (), False),
        ((QWEN, GEMMA), GEMMA, (), True),
        (("qwen/qwen?-8b",), QWEN, (), True),
        (("qwen/qwen[12]-8b",), QWEN, (), False),
        # A persona: by its name, or by every model that may answer for it.
        (("qwen/*",), "sage", (QWEN,), True),
        (("qwen/*",), "sage", (GEMMA,), False),
        (("qwen/*",), "sage", (QWEN, GEMMA), False),
        (("qwen/*", "google/*"), "sage", (QWEN, GEMMA), True),
        (("qwen/*",), "sage", ("",), False),
        (("sage",), "sage", (GEMMA,), True),
        (("sage",), "jester", (GEMMA,), False),
    ],
)
def test_what_a_key_is_for(
    patterns: tuple[str, ...], name: str, models: tuple[str, ...], *, may: bool
) -> None:
    assert may_ask_for(patterns, name, models) is may
