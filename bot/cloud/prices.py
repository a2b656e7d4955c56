"""What a provider's model costs: by the settings, else by tables that are loaded on first use."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from bot.domain.cloud import Price, ProviderConfig

LookUp = Callable[[ProviderConfig, datetime], tuple[Price, int | None]]
"""The price and the window of a provider's model at a time; ``price_tables.look_up``."""


class Prices:
    """Knows prices; before ``load`` only those from the settings."""

    def __init__(self) -> None:
        self._look_up: LookUp | None = None
        self._known: dict[tuple[str, str, str, str], tuple[Price, int | None]] = {}
        """By provider, address, model and day: looking through the tables takes up to 15 ms."""
        self._loading = asyncio.Lock()

    async def load(self) -> None:
        """Load the tables, off the event loop; at once when they are there."""
        # One at a time: questions that come together must not each import the tables.
        async with self._loading:
            if self._look_up is None:
                self._look_up = await asyncio.to_thread(_load)

    def price(self, config: ProviderConfig, at: datetime) -> Price | None:
        """The price at a time (aware); None when it is not in the settings and not loaded."""
        listed = None if config.price is not None else self._listed(config, at)
        return config.price if listed is None else listed[0]

    def context_length(self, config: ProviderConfig, at: datetime) -> int | None:
        """The window of the model; None when nobody knows it."""
        listed = None if config.context_length is not None else self._listed(config, at)
        return config.context_length if listed is None else listed[1]

    def _listed(self, config: ProviderConfig, at: datetime) -> tuple[Price, int | None] | None:
        if self._look_up is None:
            return None
        # By day, since prices begin and end on dates: an offer that ends is not charged on.
        key = (config.name, config.base_url, config.model, at.date().isoformat())
        if key not in self._known:
            self._known[key] = self._look_up(config, at)
        return self._known[key]


def _load() -> LookUp:
    # Imported here: 190 ms and 10 MB that a Lantern without a cloud never pays.
    from bot.cloud.price_tables import look_up

    return look_up
