"""The prices of genai-prices as ours; importing this file costs 190 ms and 10 MB.

Offline: the tables are part of the package, and nothing here makes it fetch newer ones.
"""

import math
from datetime import datetime
from decimal import Decimal

import genai_prices
from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
from genai_prices.types import ModelPrice, Provider, TieredPrices

from bot.domain.cloud import Price, PriceStep, ProviderConfig
from bot.policy.dialects import is_flat
from bot.policy.pricing import PLAN, dearest

SOURCE = f"genai-prices {genai_prices.__version__}"

_BY_NAME = frozenset({"zai", "openai", "anthropic", "openrouter"})
"""Names that say who is paid, where the address is a mirror, a tunnel or a simulation."""
_STAND_IN = "anthropic"
"""Whose dearest price stands in for a provider nobody lists."""

_MICRO = 1_000_000


def look_up(config: ProviderConfig, at: datetime) -> tuple[Price, int | None]:
    """The price of a provider's model, and its window where that is listed.

    By provider and model, never by model alone: hosts of one model differ in price and window.

    Args:
        config: Who is asked for which model.
        at: Aware; prices begin and end on dates.
    """
    # By the address first: third parties sell the same model under other prices and windows.
    snapshot, day = get_snapshot(), at.date().isoformat()
    try:
        provider = snapshot.find_provider(None, None, config.base_url)
    except LookupError:
        known = config.name in _BY_NAME
        provider = find_provider_by_id(snapshot.providers, config.name) if known else None
    if provider is None:
        return _stand_in(find_provider_by_id(snapshot.providers, _STAND_IN), at), None
    model = provider.find_model(config.model, all_providers=snapshot.providers)
    if is_flat(config.base_url):
        return Price(source=PLAN, as_of=day), None if model is None else model.context_window
    if model is None:
        return _stand_in(provider, at), None
    steps = _steps(model.get_prices(at))
    price = _stand_in(provider, at) if steps is None else Price(steps, SOURCE, day)
    return price, model.context_window


def _stand_in(provider: Provider | None, at: datetime) -> Price:
    """The dearest price a provider lists: an unknown model must count as dear, never as free."""
    models = () if provider is None else provider.models
    listed = [steps for model in models if (steps := _steps(model.get_prices(at))) is not None]
    # The tables always list Claude; without them nothing could be charged at all.
    step = dearest(map(Price, listed)) or PriceStep(_MICRO * 100, _MICRO * 100, _MICRO * 100)
    name = "nobody" if provider is None else provider.id
    return Price((step,), f"dearest of {name}, {SOURCE}", at.date().isoformat(), is_known=False)


def _steps(prices: ModelPrice) -> tuple[PriceStep, ...] | None:
    """Our steps of a price; None when it does not charge by tokens in and out."""
    given, made = prices.input_mtok, prices.output_mtok
    cached = given if prices.cache_read_mtok is None else prices.cache_read_mtok
    if given is None or made is None or cached is None:
        return None
    starts = {0}
    for value in (given, made, cached):
        if isinstance(value, TieredPrices):
            starts.update(tier.start for tier in value.tiers)
    return tuple(
        PriceStep(
            input=_micro(given, start),
            output=_micro(made, start),
            cached=_micro(cached, start),
            above_tokens=start,
        )
        for start in sorted(starts)
    )


def _micro(value: Decimal | TieredPrices, start: int) -> int:
    """Micro-dollars per million tokens of prompts above so many tokens."""
    if isinstance(value, TieredPrices):
        reached = [tier.price for tier in value.tiers if tier.start <= start]
        value = reached[-1] if reached else value.base
    return math.ceil(value * _MICRO)
