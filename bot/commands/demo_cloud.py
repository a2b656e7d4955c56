"""The demo's cloud: simulated providers, and the settings that lead to each of them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from bot.app import utcnow
from bot.domain.chat import DialectName, Wire
from bot.domain.cloud import ProviderConfig
from bot.domain.ids import ModelKey, ProviderName
from bot.policy.budget import BudgetRules
from bot.policy.pricing import flat_price
from bot.sim.providers.catalogue import models_of
from bot.sim.providers.config import WireKind
from bot.sim.providers.demo import DEMO_PROVIDERS, demo_providers
from bot.sim.providers.provider import SimProvider

BUDGET = BudgetRules(daily_micro_usd=50_000)
"""Five simulated cents a day."""

_SPOKEN: Mapping[WireKind, tuple[Wire, DialectName]] = {
    "zai": ("openai", "zai"),
    "openai": ("openai", "openai"),
    "anthropic": ("anthropic", "generic"),
    "generic": ("openai", "generic"),
}


@asynccontextmanager
async def demo_cloud(time_scale: float = 1.0) -> AsyncGenerator[tuple[ProviderConfig, ...]]:
    """Runs the simulated providers; gives the settings that lead to them, each by its wire."""
    configs = [replace(config, time_scale=time_scale) for config in DEMO_PROVIDERS]
    async with demo_providers(configs, utcnow=utcnow) as doubles:
        yield provider_configs(doubles)


def provider_configs(doubles: Sequence[SimProvider]) -> tuple[ProviderConfig, ...]:
    """The settings of simulated providers, each named by its wire."""
    return tuple(provider_config(double, double.config.wire) for double in doubles)


def provider_config(double: SimProvider, name: str) -> ProviderConfig:
    """The settings that lead to a simulated provider, at the very prices it charges."""
    model = models_of(double.config)[0]
    wire, dialect = _SPOKEN[double.config.wire]
    return ProviderConfig(
        name=ProviderName(name),
        base_url=double.base_url,
        model=ModelKey(model.key),
        wire=wire,
        dialect=dialect,
        api_key=double.key,
        price=flat_price(model.price.input, model.price.output, model.price.cached),
    )
