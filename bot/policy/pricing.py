"""What a call costs and can cost at most, in integers of micro-dollars, always rounded up."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from bot.domain.chat import Usage
from bot.domain.cloud import Price, PriceStep, UsageLine
from bot.domain.events import ReasoningDelta, TextDelta
from bot.policy.context import BYTES_PER_TOKEN, estimate_tokens

TOKENS_PER_PRICE = 1_000_000

PLAN = "plan"
"""Source of the price of what a plan has paid for."""


def flat_price(
    input_price: int, output_price: int, cached_price: int | None = None, *, source: str = "config"
) -> Price:
    """A price that does not depend on the prompt's size; cached tokens cost as input by default."""
    cached = input_price if cached_price is None else cached_price
    return Price((PriceStep(input_price, output_price, cached),), source)


def cost_of(price: Price, usage: Usage) -> tuple[PriceStep, int]:
    """The unit prices that apply to a usage, and its cost."""
    fitting = [step for step in price.steps if usage.prompt_tokens > step.above_tokens]
    step = fitting[-1] if fitting else price.steps[0]
    # More cached tokens than the prompt has would make the rest of it negative.
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    total = (usage.prompt_tokens - cached) * step.input
    total += cached * step.cached + usage.completion_tokens * step.output
    return step, -(-total // TOKENS_PER_PRICE)


def worst_cost(price: Price, estimated_tokens: int, answer_tokens: int) -> int:
    """The most a call can cost, whatever the prompt's true size and with nothing cached."""
    # Tokenizers make no more tokens of a text than it has bytes, and an estimate is a share of
    # them; a price may rise for large prompts, or ask more for a cached token than for a new one.
    prompt = math.ceil(estimated_tokens * BYTES_PER_TOKEN)
    reached = [step for step in price.steps if prompt > step.above_tokens] or price.steps[:1]
    totals = [
        prompt * max(step.input, step.cached) + answer_tokens * step.output for step in reached
    ]
    return -(-max(totals) // TOKENS_PER_PRICE)


def fitting_answer(price: Price, worst_micro_usd: int, answer_tokens: int, micro_usd: int) -> int:
    """Tokens of an answer that costs no more than a sum; 0 where none does.

    Args:
        price: Of the call.
        worst_micro_usd: The most it costs with all its room, as ``worst_cost`` has it.
        answer_tokens: The room that its asker may make smaller.
        micro_usd: The sum.
    """
    # With the cheapest output of its steps: whichever of them counts is below the sum then.
    least = min(step.output for step in price.steps)
    if least <= 0:
        return 0
    less = -(-(worst_micro_usd - micro_usd) * TOKENS_PER_PRICE // least)
    return max(0, answer_tokens - less)


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


def charged_usage(
    estimated_prompt_tokens: int,
    deltas: Sequence[TextDelta | ReasoningDelta],
    told: Usage | None,
) -> Usage:
    """The usage a call is charged by: the provider's count, else ours of what came, rounded up.

    Args:
        estimated_prompt_tokens: Of what was sent.
        deltas: What came.
        told: The usage at the end of the stream; None when it broke off before.
    """
    if told is not None and not told.estimated:
        return told
    # A delta may carry several tokens and a token may be several bytes: the larger count stands.
    by_text = estimate_tokens("".join(delta.text for delta in deltas))
    counted = Usage(
        prompt_tokens=estimated_prompt_tokens,
        completion_tokens=max(len(deltas), by_text),
        reasoning_tokens=sum(isinstance(delta, ReasoningDelta) for delta in deltas),
        estimated=True,
    )
    if told is None:
        return counted
    return replace(
        told,
        prompt_tokens=max(told.prompt_tokens, counted.prompt_tokens),
        completion_tokens=max(told.completion_tokens, counted.completion_tokens),
    )


def avoided_micro_usd(line: UsageLine, price: Price) -> int:
    """What the turns answered at home or from the cache would have cost in the cloud."""
    step = price.steps[0]
    total = line.free_prompt_tokens * step.input + line.free_completion_tokens * step.output
    return total // TOKENS_PER_PRICE
