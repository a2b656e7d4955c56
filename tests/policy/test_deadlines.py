"""How long a host may be silent, as tables."""

import math

import pytest

from bot.domain.hosts import Speed
from bot.policy.deadlines import (
    DEAF_S,
    doubt_s,
    first_word_s,
    gap_s,
    is_deaf,
    is_soon,
    load_pause_s,
    unsaid_s,
)

NEVER = math.inf


@pytest.mark.parametrize(
    ("tokens", "prefill", "beside", "other_s", "seconds", "deaf_s"),
    [
        # A short question is not waited for long where another is free, nor for ever where not.
        (30, 500.0, 0, 0.1, 20.6, 10.12),
        (30, 500.0, 0, NEVER, 90.6, 90.6),
        (30, None, 0, 0.1, 21.2, 10.12),
        (0, None, 0, 0.1, 20.0, 10.0),
        # Nor where another would have to load first: as long as that takes, at the most.
        (30, 500.0, 0, 4.5, 20.6, 10.12),
        (30, 500.0, 0, 15.0, 20.6, 15.12),
        (30, 500.0, 0, 60.0, 60.6, 60.12),
        (30, 500.0, 0, 90.0, 90.6, 90.6),
        (30, 500.0, 0, 200.0, 90.6, 90.6),
        # A long one is: five minutes of reading 20,000 tokens are honest, measured or not; but not
        # of one that was never measured and tells nothing of itself, where another does.
        (20_000, 66.0, 0, 0.1, 900.0, 10 + 20_000 / 66),
        (20_000, None, 0, 0.1, 820.0, 90.0),
        (20_000, None, 0, NEVER, 890.0, 890.0),
        # A host that knew most of the last prompts looks faster than it is.
        (20_000, 40_000.0, 0, 0.1, 420.0, 90.0),
        (20_000, 250.0, 0, 0.1, 420.0, 90.0),
        (1_000, 100.0, 0, 0.1, 70.0, 20.0),
        # Others may be read before.
        (1_000, 100.0, 2, 0.1, 170.0, 40.0),
        (1_000, None, 1, 0.1, 100.0, 18.0),
        # A small machine that reads has no time for a probe, and nobody else is there.
        (20_000, 66.0, 0, NEVER, 900.0, 900.0),
        (10**9, 1.0, 9, NEVER, 900.0, 900.0),
    ],
)
def test_the_first_word_is_due_by_the_prompt_the_hosts_own_speed_and_who_could_instead(
    tokens: int, prefill: float | None, beside: int, other_s: float, seconds: float, deaf_s: float
) -> None:
    speed = Speed(prefill_tokens_per_s=prefill)
    due_s = [first_word_s(tokens, speed, beside, other_s, is_deaf=deaf) for deaf in (False, True)]
    assert due_s == pytest.approx([seconds, deaf_s])


@pytest.mark.parametrize(
    ("tokens", "prefill", "beside", "seconds"),
    [
        (0, None, 0, 5.0),
        (1_000, None, 0, 9.0),
        (1_000, 100.0, 0, 15.0),
        (1_000, 100.0, 2, 35.0),
        (20_000, 40_000.0, 0, 85.0),
    ],
)
def test_a_host_is_doubted_once_it_is_silent_for_longer_than_it_reads(
    tokens: int, prefill: float | None, beside: int, seconds: float
) -> None:
    assert doubt_s(tokens, Speed(prefill_tokens_per_s=prefill), beside) == pytest.approx(seconds)


@pytest.mark.parametrize(("other_s", "is_left"), [(0.0, True), (89.9, True), (90.0, False)])
def test_a_host_in_doubt_is_left_sooner_for_one_that_is_there_before_its_own_time_is_over(
    other_s: float, is_left: bool
) -> None:
    assert is_soon(other_s) is is_left


@pytest.mark.parametrize(
    ("asked_s", "probe_timeout_s", "deaf"),
    [
        (DEAF_S - 0.1, 1.0, False),
        (DEAF_S, 1.0, True),
        # Its owner knows it to be slow to tell.
        (DEAF_S, 20.0, False),
        (20.0, 20.0, True),
    ],
)
def test_a_host_is_deaf_once_it_was_given_as_long_as_a_probe(
    asked_s: float, probe_timeout_s: float, deaf: bool
) -> None:
    assert is_deaf(asked_s, probe_timeout_s) is deaf


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
    ("fraction", "expected_s", "silent_s", "seconds"),
    [
        (0.0, None, 0.0, 180.0),
        (0.0, 60.0, 0.0, 180.0),
        (0.0, 120.0, 9.9, 240.0),
        (0.0, 120.0, 10.0, 10.0),
        (0.01, None, 0.0, 30.0),
        (0.58, 10.0, 0.0, 30.0),
        (0.58, 120.0, 9.9, 120.0),
        (0.58, 120.0, 10.0, 10.0),
    ],
)
def test_a_load_stands_still_by_what_it_said_and_usually_takes(
    fraction: float, expected_s: float | None, silent_s: float, seconds: float
) -> None:
    assert load_pause_s(fraction, expected_s, silent_s) == pytest.approx(seconds)


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
