"""What a call costs and can cost at most, in integers of micro-dollars, always rounded up."""

import math
from collections.abc import Iterable, Sequence

from bot.domain.chat import Usage
from bot.domain.cloud import Price, PriceStep, UsageLine
from bot.domain.events import ReasoningDelta, TextDelta
from bot.policy.context import BYTES_PER_TOKEN, estimate_tokens

TOKENS_PER_PRICE = 1_000_000

FREE = Price((PriceStep(),), source="config")


def flat_price(
    input_price: int, output_price: int, cached_price: int | None = None, *, source: str = "config"
) -> Price:
    """A price that does not depend on the prompt's size; cached tokens cost as input by default."""
    cached = input_price if cached_price is None else cached_price
    return Price((PriceStep(input_price, output_price, cached),), source)


def step_for(price: Price, prompt_tokens: int) -> PriceStep:
    """The unit prices of a prompt of that size."""
    fitting = [step for step in price.steps if prompt_tokens > step.above_tokens]
    return fitting[-1] if fitting else price.steps[0]


def cost_of(price: Price, usage: Usage) -> tuple[PriceStep, int]:
    """The unit prices that apply to a usage, and its cost."""
    step = step_for(price, usage.prompt_tokens)
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    total = (usage.prompt_tokens - cached) * step.input
    total += cached * step.cached + usage.completion_tokens * step.output
    return step, _micro(total)


def most_prompt_tokens(estimated_tokens: int) -> int:
    """The most tokens an estimated prompt can be: tokenizers make no more of them than bytes."""
    return math.ceil(estimated_tokens * BYTES_PER_TOKEN)


def worst_cost(price: Price, estimated_tokens: int, answer_tokens: int) -> int:
    """The most a call can cost, whatever the prompt's true size and with nothing cached."""
    prompt = most_prompt_tokens(estimated_tokens)
    reached = [step for step in price.steps if prompt > step.above_tokens] or price.steps[:1]
    return max(
        _micro(prompt * max(step.input, step.cached) + answer_tokens * step.output)
        for step in reached
    )


def likely_cost(price: Price, estimated_tokens: int, answer_tokens: int) -> int:
    """What such a call usually costs: the estimate as it is, and half of the answer's room."""
    usage = Usage(prompt_tokens=estimated_tokens, completion_tokens=-(-answer_tokens // 2))
    return cost_of(price, usage)[1]


def dearest(prices: Iterable[Price]) -> PriceStep | None:
    """The dearest unit prices among several, each for itself."""
    steps = [step for price in prices for step in price.steps]
    if not steps:
        return None
    return PriceStep(
        input=max(step.input for step in steps),
        output=max(step.output for step in steps),
        cached=max(step.cached for step in steps),
    )


def counted_usage(
    estimated_prompt_tokens: int, deltas: Sequence[TextDelta | ReasoningDelta]
) -> Usage:
    """The usage of an answer that broke before its count came, rounded up.

    A delta may carry several tokens and a token may be several bytes, so the larger of both
    counts stands.
    """
    said = len(deltas)
    by_text = estimate_tokens("".join(delta.text for delta in deltas))
    thoughts = sum(isinstance(delta, ReasoningDelta) for delta in deltas)
    return Usage(
        prompt_tokens=estimated_prompt_tokens,
        completion_tokens=max(said, by_text),
        reasoning_tokens=thoughts,
        estimated=True,
    )


def avoided_micro_usd(line: UsageLine, price: Price) -> int:
    """What the turns answered at home or from the cache would have cost in the cloud."""
    step = price.steps[0]
    total = line.free_prompt_tokens * step.input + line.free_completion_tokens * step.output
    return total // TOKENS_PER_PRICE


def _micro(total: int) -> int:
    return -(-total // TOKENS_PER_PRICE)
