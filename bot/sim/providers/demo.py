"""The simulated providers of the demo: the three vendors, each with one cheap model in use."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime

from bot.sim.providers.config import SimProviderConfig
from bot.sim.providers.provider import SimProvider

DEMO_PROVIDERS = (
    SimProviderConfig(wire="zai", name="zai (simulated)", tokens_per_s=70),
    SimProviderConfig(wire="openai", name="openai (simulated)", tokens_per_s=90),
    SimProviderConfig(wire="anthropic", name="anthropic (simulated)", tokens_per_s=80),
)


@asynccontextmanager
async def demo_providers(
    configs: Sequence[SimProviderConfig] = DEMO_PROVIDERS,
    *,
    utcnow: Callable[[], datetime] | None = None,
) -> AsyncGenerator[tuple[SimProvider, ...], None]:
    """Run simulated providers for as long as the block lasts."""
    async with AsyncExitStack() as stack:
        providers = [SimProvider(config, utcnow=utcnow) for config in configs]
        yield tuple([await stack.enter_async_context(provider) for provider in providers])
