"""How long a host may be silent, as tables."""

import pytest

from bot.domain.hosts import Speed
from bot.policy.deadlines import first_word_s, gap_s, load_pause_s, unsaid_s


@pytest.mark.parametrize(
    ("tokens", "prefill", "beside", "is_twin_free", "seconds"),
    [
        # A short question is not waited for long where another is free, nor for ever where not.
        (30, 500.0, 0, True, 20.6),
        (30, 500.0, 0, False, 90.6),
        (30, None, 0, True, 21.2),
        (0, None, 0, True, 20.0),
        # A long one is: five minutes of reading 20,000 tokens are honest, measured or not.
        (20_000, 66.0, 0, True, 900.0),
        (20_000, None, 0, True, 820.0),
        # A host that knew most of the last prompts looks faster than it is.
        (20_000, 40_000.0, 0, True, 420.0),
        (20_000, 250.0, 0, True, 420.0),
        (1_000, 100.0, 0, True, 70.0),
        # Others may be read before.
        (1_000, 100.0, 2, True, 170.0),
        (1_000, None, 1, True, 100.0),
        (10**9, 1.0, 9, False, 900.0),
    ],
)
def test_the_first_word_is_due_by_the_prompt_and_the_hosts_own_speed(
    tokens: int, prefill: float | None, beside: int, is_twin_free: bool, seconds: float
) -> None:
    speed = Speed(prefill_tokens_per_s=prefill)
    due_s = first_word_s(tokens, speed, beside, is_twin_free=is_twin_free)
    assert due_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("tokens_per_s", "beside", "seconds"),
    [
        (None, 0, 60.0),
        (None, 1, 60.0),
        (50.0, 0, 20.0),
        (2.0, 0, 20.0),
        (1.0, 0, 40.0),
        (50.0, 1, 60.0),
        (0.5, 1, 80.0),
        (0.01, 0, 300.0),
    ],
)
def test_a_stall_is_what_the_hosts_own_gaps_make_plausible(
    tokens_per_s: float | None, beside: int, seconds: float
) -> None:
    assert gap_s(Speed(tokens_per_s=tokens_per_s), beside) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("fraction", "expected_s", "seconds"),
    [
        (0.0, None, 180.0),
        (0.0, 60.0, 180.0),
        (0.0, 120.0, 240.0),
        (0.01, None, 30.0),
        (0.58, 10.0, 30.0),
        (0.58, 120.0, 120.0),
    ],
)
def test_a_load_stands_still_by_what_it_said_and_usually_takes(
    fraction: float, expected_s: float | None, seconds: float
) -> None:
    assert load_pause_s(fraction, expected_s) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("tokens", "tokens_per_s", "beside", "seconds"),
    [
        (0, 10.0, 0, 0.0),
        (400, 40.0, 0, 30.0),
        (400, 40.0, 1, 60.0),
        (400, None, 0, 300.0),
        (10**9, 40.0, 0, 3600.0),
    ],
)
def test_an_answer_sent_as_a_whole_may_take_as_long_as_its_tokens(
    tokens: int, tokens_per_s: float | None, beside: int, seconds: float
) -> None:
    speed = Speed(tokens_per_s=tokens_per_s)
    assert unsaid_s(tokens, speed, beside) == pytest.approx(seconds)
