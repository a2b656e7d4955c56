"""The prices of genai-prices as ours; importing this file costs 190 ms and 10 MB.

Offline: the tables are part of the package, and nothing here makes it fetch newer ones.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal

import genai_prices
from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from bot.domain.cloud import Price, PriceStep, ProviderConfig
from bot.policy.pricing import dearest

SOURCE = f"genai-prices {genai_prices.__version__}"

_BY_NAME = frozenset({"zai", "openai", "anthropic", "openrouter"})
"""Names that say who is paid, where the address is a mirror, a tunnel or a simulation."""
_STAND_IN = "anthropic"
"""Whose dearest price stands in for a provider nobody lists."""

_MICRO = 1_000_000

_Value = Decimal | TieredPrices | None


class PriceTables:
    """Looks prices up by provider and model, never by model alone: hosts of one model differ."""

    def price(self, config: ProviderConfig, at: datetime) -> Price:
        """The price of a provider's model at a time; the dearest known one when it is not listed.

        Args:
            config: Who is asked for which model.
            at: Aware; prices begin and end on dates.
        """
        provider = _provider(config)
        if provider is not None:
            found = provider.find_model(config.model, all_providers=get_snapshot().providers)
            steps = None if found is None else _steps(found.get_prices(at))
            if steps is not None:
                return Price(steps, SOURCE, _date(at))
        return _stand_in(provider, at)

    def context_length(self, config: ProviderConfig) -> int | None:
        """The window of a provider's model, where it is listed."""
        provider = _provider(config)
        found = None if provider is None else provider.find_model(config.model)
        return None if found is None else found.context_window


def _provider(config: ProviderConfig) -> Provider | None:
    snapshot = get_snapshot()
    try:
        return snapshot.find_provider(None, None, config.base_url)
    except LookupError:
        known = config.name if config.name in _BY_NAME else None
        return None if known is None else find_provider_by_id(snapshot.providers, known)


def _stand_in(provider: Provider | None, at: datetime) -> Price:
    whose = provider or find_provider_by_id(get_snapshot().providers, _STAND_IN)
    listed = list(_listed(whose.models if whose else (), at))
    # The tables always list Claude; without them nothing could be charged at all.
    step = dearest(listed) or PriceStep(_MICRO * 100, _MICRO * 100, _MICRO * 100)
    name = whose.id if whose else "nobody"
    return Price((step,), f"dearest of {name}, {SOURCE}", _date(at), is_known=False)


def _listed(models: Iterable[ModelInfo], at: datetime) -> Iterator[Price]:
    for model in models:
        if (steps := _steps(model.get_prices(at))) is not None:
            yield Price(steps)


def _steps(prices: ModelPrice) -> tuple[PriceStep, ...] | None:
    """Our steps of a price; None when it does not charge by tokens in and out."""
    given: _Value = prices.input_mtok
    made: _Value = prices.output_mtok
    cached: _Value = prices.cache_read_mtok
    if given is None or made is None:
        return None
    starts = sorted({0, *_starts(given), *_starts(made), *_starts(cached)})
    return tuple(
        PriceStep(
            input=_micro(given, start),
            output=_micro(made, start),
            cached=_micro(given if cached is None else cached, start),
            above_tokens=start,
        )
        for start in starts
    )


def _starts(value: _Value) -> list[int]:
    return [tier.start for tier in value.tiers] if isinstance(value, TieredPrices) else []


def _micro(value: Decimal | TieredPrices, start: int) -> int:
    if isinstance(value, TieredPrices):
        reached = [tier.price for tier in value.tiers if tier.start <= start]
        value = reached[-1] if reached else value.base
    return math.ceil(value * _MICRO)


def _date(at: datetime) -> str:
    return at.date().isoformat()
