"""The simulated fleet of the demo: hosts of different strength that share a model."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from bot.sim.host import SimHost
from bot.sim.models import GB, SimHostConfig, SimModel

SMALL = SimModel(
    "google/gemma-3-4b",
    round(3.4 * GB),
    kind="vlm",
    max_context_length=131_072,
    display_name="Gemma 3 4B",
    architecture="gemma3",
    tokens_per_s=95,
)
SHARED = SimModel(
    "qwen/qwen3-8b",
    round(5.6 * GB),
    max_context_length=40_960,
    display_name="Qwen3 8B",
    tool_use=True,
    reasoning=True,
    architecture="qwen3",
    tokens_per_s=62,
)
BIG = SimModel(
    "qwen/qwen3-30b-a3b-2507",
    round(18.6 * GB),
    max_context_length=262_144,
    display_name="Qwen3 30B A3B 2507",
    tool_use=True,
    architecture="qwen3moe",
    tokens_per_s=48,
)
EMBEDDING = SimModel(
    "text-embedding-nomic-embed-text-v1.5",
    round(0.1 * GB),
    kind="embedding",
    max_context_length=2048,
    display_name="Nomic Embed Text v1.5",
    architecture="nomic-bert",
    quantization="Q8_0",
)

DEMO_HOSTS = (
    SimHostConfig(
        name="studio",
        models=(BIG, SHARED, EMBEDDING),
        memory_bytes=24 * GB,
        load_bytes_per_s=5.2 * GB,
        prefill_tokens_per_s=1800,
    ),
    SimHostConfig(
        name="laptop",
        models=(SMALL, SHARED),
        memory_bytes=8 * GB,
        load_bytes_per_s=1.6 * GB,
        prefill_tokens_per_s=900,
        generation="0.3",
    ),
)
"""A strong host and a weak one; loads take seconds, and neither holds all its models at once."""


@asynccontextmanager
async def demo_fleet(
    configs: Sequence[SimHostConfig] = DEMO_HOSTS,
) -> AsyncGenerator[tuple[SimHost, ...], None]:
    """Run simulated hosts for as long as the block lasts."""
    async with AsyncExitStack() as stack:
        yield tuple([await stack.enter_async_context(SimHost(config)) for config in configs])
