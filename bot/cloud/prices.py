"""What a provider's model costs: by the settings, else by tables that are loaded on first use."""

import asyncio
from datetime import datetime
from typing import Protocol

from bot.domain.cloud import Price, ProviderConfig


class Tables(Protocol):
    """Price tables, once they are there."""

    def price(self, config: ProviderConfig, at: datetime) -> Price:
        """The price of a provider's model at a time."""
        ...

    def context_length(self, config: ProviderConfig) -> int | None:
        """The window of a provider's model, where it is listed."""
        ...


class Prices:
    """Knows prices; before ``load`` only those from the settings."""

    def __init__(self) -> None:
        self._tables: Tables | None = None
        self._known: dict[tuple[str, str, str], Price] = {}
        """By provider, model and day: looking through the tables takes up to 15 ms."""
        self._loading = asyncio.Lock()

    async def load(self) -> None:
        """Load the tables, off the event loop; at once when they are there."""
        if self._tables is not None:
            return
        async with self._loading:
            if self._tables is None:
                self._tables = await asyncio.to_thread(_load)

    def price(self, config: ProviderConfig, at: datetime) -> Price | None:
        """The price at a time (aware); None when it is not in the settings and not loaded."""
        if config.price is not None:
            return config.price
        if self._tables is None:
            return None
        key = (config.name, config.model, at.date().isoformat())
        if key not in self._known:
            self._known[key] = self._tables.price(config, at)
        return self._known[key]

    def context_length(self, config: ProviderConfig) -> int | None:
        """The window of the model; None when nobody knows it."""
        if config.context_length is not None or self._tables is None:
            return config.context_length
        return self._tables.context_length(config)


def _load() -> Tables:
    # Imported here: 190 ms and 10 MB that a Lantern without a cloud never pays.
    from bot.cloud.price_tables import PriceTables

    return PriceTables()
