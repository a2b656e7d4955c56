import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from bot.sim.providers.catalogue import models_of
from bot.sim.providers.config import SimPrice, SimProviderConfig, WireKind

TOKENS = st.integers(0, 2_000_000)
PRICES = st.integers(0, 50_000_000)


@given(TOKENS, TOKENS, st.floats(0, 1), PRICES, PRICES, PRICES)
def test_a_cost_is_the_exact_sum_rounded_up_once(
    prompt: int, completion: int, share: float, input_: int, output: int, cached_price: int
) -> None:
    cached = int(prompt * share)
    price = SimPrice(input_, output, cached_price)
    exact = Fraction(
        (prompt - cached) * input_ + cached * cached_price + completion * output, 1_000_000
    )
    assert price.cost_micro_usd(prompt, completion, cached) == math.ceil(exact)


def test_cached_tokens_cost_as_much_as_others_without_a_price_of_their_own() -> None:
    price = SimPrice(1_000_000, 2_000_000)
    assert price.cost_micro_usd(100, 10, 60) == price.cost_micro_usd(100, 10, 0) == 120


def test_a_part_of_a_micro_dollar_is_charged_whole() -> None:
    assert SimPrice(input=1).cost_micro_usd(1, 0, 0) == 1
    assert SimPrice().cost_micro_usd(1_000_000, 1_000_000, 0) == 0


def test_every_wire_sells_something_unless_told_what() -> None:
    wires: tuple[WireKind, ...] = ("zai", "openai", "anthropic", "generic")
    for wire in wires:
        models = models_of(SimProviderConfig(wire=wire))
        assert len({model.key for model in models}) == len(models) > 0
