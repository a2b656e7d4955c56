import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Endpoint
from bot.domain.errors import (
    BotError,
    FailureKind,
    HostUnreachable,
    Refused,
    Unavailable,
)
from bot.inference.wire import Verdict, clean_reason, to_error

KEY = "sk-lm-abcdefgh:ABCDEFGHIJKLMNOPQRST"


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}.",
        "clientPasskey ABCDEFGHIJKLMNOPQRST is wrong",
        "Incorrect API key provided: sk-proj-1234***7890",
        "header was Bearer abc.def.ghi",
    ],
)
def test_keys_are_taken_out(text: str) -> None:
    cleaned = clean_reason(text, KEY)
    assert "…" in cleaned
    assert not any(secret in cleaned for secret in ("ABCDEFGH", "7890", "ghi", "abcdefgh"))


def test_a_short_prompt_is_taken_out_and_a_long_echo_ends_the_reason() -> None:
    assert clean_reason("bad input 'my secret' here", prompt=["my secret"]) == "bad input '…' here"
    long = "nobody must ever\nread these words of mine"
    echo = clean_reason("invalid: nobody must ever read these words of mine!", prompt=["x", long])
    assert echo == "invalid: …"


@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("1234567", "bad: 1234567 here"),
        ("12345678", "bad: … here"),
        ("x" * 23, "bad: … here"),
        ("x" * 24, "bad: …"),
    ],
)
def test_an_echo_is_told_by_its_length(prompt: str, cleaned: str) -> None:
    assert clean_reason(f"bad: {prompt} here", prompt=[prompt]) == cleaned


def test_a_short_part_of_a_key_is_a_word_like_others() -> None:
    assert clean_reason("a crab in ABCDEFGH", "ab.ABCDEFGH") == "a crab in …"


def test_a_reason_of_the_longest_length_is_whole() -> None:
    assert clean_reason("x" * 200) == "x" * 200
    assert clean_reason("x" * 201) == "x" * 199 + "…"


def test_a_reason_is_one_bounded_line() -> None:
    cleaned = clean_reason("a\n\tb\x00 c\ud800 " + "long " * 1000)
    assert cleaned.startswith("a b c long")
    assert len(cleaned) <= 200


@given(st.text(), st.text(min_size=30, max_size=60))
def test_no_long_part_of_a_prompt_gets_through(before: str, prompt: str) -> None:
    said = " ".join(prompt.split())
    cleaned = clean_reason(f"{before} {prompt}", prompt=[prompt])
    assert not any(said[at : at + 24] in cleaned for at in range(len(said) - 23))


def error(kind: FailureKind | str, *, is_local: bool) -> BotError:
    endpoint = Endpoint("http://10.0.0.2:1234/v1", "qwen", source="studio-1", is_local=is_local)
    verdict = Verdict(kind, "why", 4.0, "1302")  # pyright: ignore[reportArgumentType]  # also "refused"
    return to_error(verdict, endpoint)


LINE = [
    FailureKind.CONNECT,
    FailureKind.TIMEOUT,
    FailureKind.CUT,
    FailureKind.STALL,
    FailureKind.GARBAGE,
]


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_becomes_an_error_the_caller_can_act_on(kind: FailureKind) -> None:
    for is_local in (True, False):
        made = error(kind, is_local=is_local)
        assert isinstance(made, Unavailable)
        assert made.kind is kind
        assert "studio-1" in made.user_message
        assert made.user_message.endswith("why.")


@pytest.mark.parametrize("kind", LINE)
def test_a_broken_line_makes_a_host_unreachable(kind: FailureKind) -> None:
    assert isinstance(error(kind, is_local=True), HostUnreachable)
    assert type(error(kind, is_local=False)) is Unavailable


def test_a_wait_and_a_code_are_handed_on() -> None:
    made = error(FailureKind.RATE_LIMIT, is_local=False)
    assert type(made) is Unavailable
    assert (made.retry_after_s, made.code) == (4.0, "1302")


def test_a_refusal_is_no_failure_of_the_other_side() -> None:
    assert isinstance(error("refused", is_local=False), Refused)


def test_an_endpoint_without_a_name_is_called_by_its_address() -> None:
    endpoint = Endpoint("http://10.0.0.2:1234/v1", "qwen", source="")
    assert to_error(Verdict(FailureKind.CONNECT), endpoint).user_message == (
        "10.0.0.2:1234 cannot be reached."
    )
