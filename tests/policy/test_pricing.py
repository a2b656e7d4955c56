import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Usage
from bot.domain.cloud import Price, PriceStep, UsageLine
from bot.domain.events import ReasoningDelta, TextDelta
from bot.policy.context import BYTES_PER_TOKEN, estimate_tokens
from bot.policy.pricing import (
    avoided_micro_usd,
    charged_usage,
    cost_of,
    dearest,
    fitting_answer,
    flat_price,
    likely_cost,
    worst_cost,
)

GLM = flat_price(600_000, 2_200_000, 110_000)
CHEAP = PriceStep(100_000, 500_000, 10_000)
DEAR = PriceStep(500_000, 2_500_000, 50_000, above_tokens=100_000)
HAIKU = Price((CHEAP, DEAR))

sizes = st.integers(0, 300_000)
prices = st.builds(
    flat_price, st.integers(0, 10**7), st.integers(0, 10**8), st.none() | st.integers(0, 10**6)
)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(), 0),
        (Usage(1, 0), 1),
        (Usage(1000, 100), 820),
        (Usage(1000, 100, cached_tokens=1000), 330),
        (Usage(1000, 100, cached_tokens=5000), 330),
        (Usage(3, 3), 9),
    ],
)
def test_a_cost_is_exact_and_rounded_up(usage: Usage, cost: int) -> None:
    assert cost_of(GLM, usage) == (GLM.steps[0], cost)


def test_cached_tokens_cost_as_input_where_no_price_says_otherwise() -> None:
    assert cost_of(flat_price(600_000, 0), Usage(100, cached_tokens=100))[1] == 60


@pytest.mark.parametrize(("prompt", "step"), [(0, CHEAP), (100_000, CHEAP), (100_001, DEAR)])
def test_a_large_prompt_is_charged_whole_by_the_dearer_step(prompt: int, step: PriceStep) -> None:
    assert cost_of(HAIKU, Usage(prompt, 0))[0] == step


def test_nothing_costs_nothing() -> None:
    assert cost_of(Price(), Usage(10**6, 10**6))[1] == 0
    assert worst_cost(Price(), 10**6, 10**6) == 0


@given(st.text(), prices, st.integers(0, 5000), st.data())
def test_no_call_costs_more_than_its_worst_case(
    text: str, price: Price, answer: int, data: st.DataObject
) -> None:
    """Whatever the tokenizer, it makes at most one token of a byte."""
    worst = worst_cost(price, estimate_tokens(text), answer)
    prompt = data.draw(st.integers(0, len(text.encode("utf-8", "replace"))))
    usage = Usage(
        prompt, data.draw(st.integers(0, answer)), cached_tokens=data.draw(st.integers(0, prompt))
    )
    assert cost_of(price, usage)[1] <= worst


@given(sizes, st.integers(0, 5000))
def test_the_worst_case_reckons_with_the_dearer_step(estimated: int, answer: int) -> None:
    for prompt in (0, estimated, math.ceil(estimated * BYTES_PER_TOKEN)):
        assert cost_of(HAIKU, Usage(prompt, answer))[1] <= worst_cost(HAIKU, estimated, answer)


@pytest.mark.parametrize(
    ("estimated", "worst"),
    [(0, 50), (1000, 370), (31_250, 10_050), (31_251, 50_252)],
)
def test_the_worst_case_reckons_with_no_step_the_prompt_cannot_reach(
    estimated: int, worst: int
) -> None:
    """31,250 estimated tokens are at most 100,000, the last that the cheap step covers."""
    assert worst_cost(HAIKU, estimated, 100) == worst


def test_a_cached_token_that_is_dearer_than_a_new_one_is_reckoned_with() -> None:
    assert worst_cost(flat_price(1_000_000, 0, 3_000_000), 10, 0) == 96


def test_the_likely_cost_is_the_estimate_and_half_an_answer() -> None:
    assert likely_cost(GLM, 1000, 200) == cost_of(GLM, Usage(1000, 100))[1]
    assert likely_cost(GLM, 1000, 201) == cost_of(GLM, Usage(1000, 101))[1]


def test_the_dearest_is_the_dearest_of_each_part() -> None:
    mixed = dearest([flat_price(1, 9), flat_price(5, 2, 0)])
    assert mixed == PriceStep(input=5, output=9, cached=1)
    assert dearest([]) is None


@given(st.lists(st.text(max_size=30), max_size=20), st.lists(st.text(max_size=30), max_size=20))
def test_a_broken_answer_is_counted_by_pieces_or_by_text_whichever_is_more(
    thoughts: list[str], words: list[str]
) -> None:
    deltas = [*map(ReasoningDelta, thoughts), *map(TextDelta, words)]
    usage = charged_usage(7, deltas, None)
    assert usage.prompt_tokens == 7
    assert usage.completion_tokens >= len(deltas)
    assert usage.completion_tokens >= estimate_tokens("".join([*thoughts, *words]))
    assert usage.reasoning_tokens == len(thoughts)
    assert usage.estimated


def test_what_a_provider_counted_is_charged_as_told() -> None:
    told = Usage(3, 1, cached_tokens=2)
    assert charged_usage(100, [TextDelta("ten words of an answer")], told) == told


@pytest.mark.parametrize(
    ("told", "charged"),
    [((3, 1), (100, 2)), ((300, 1), (300, 2)), ((3, 50), (100, 50)), ((300, 50), (300, 50))],
)
def test_of_a_count_that_was_guessed_the_larger_guess_is_charged(
    told: tuple[int, int], charged: tuple[int, int]
) -> None:
    guessed = Usage(*told, cached_tokens=2, reasoning_tokens=1, estimated=True)
    assert charged_usage(100, [TextDelta("a"), TextDelta("b")], guessed) == replace(
        guessed, prompt_tokens=charged[0], completion_tokens=charged[1]
    )


def test_what_home_saved_is_priced_like_the_cloud_and_rounded_down() -> None:
    line = UsageLine("", free_prompt_tokens=1_000_001, free_completion_tokens=1_000_000)
    assert avoided_micro_usd(line, GLM) == 2_800_000
    assert avoided_micro_usd(UsageLine(""), GLM) == 0


@given(prices, sizes, st.integers(1, 100_000), st.integers(0, 10**7))
def test_an_answer_that_fits_a_sum_costs_no_more(
    price: Price, prompt: int, answer: int, sum_micro_usd: int
) -> None:
    worst = worst_cost(price, prompt, answer)
    fitting = fitting_answer(price, worst, answer, min(sum_micro_usd, worst))
    assert 0 <= fitting <= answer
    assert fitting == 0 or worst_cost(price, prompt, fitting) <= min(sum_micro_usd, worst)


def test_of_steps_the_one_that_counts_is_below_the_sum() -> None:
    worst = worst_cost(HAIKU, 200_000, 5000)
    fitting = fitting_answer(HAIKU, worst, 5000, worst - 1000)
    assert 0 < fitting < 5000
    assert worst_cost(HAIKU, 200_000, fitting) <= worst - 1000
    assert fitting_answer(flat_price(1_000_000, 0), 500, 100, 400) == 0
