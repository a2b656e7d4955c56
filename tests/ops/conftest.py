"""What the tests of whole processes stand on: a double of Discord and one quick simulated host."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from discord_double import DiscordDouble

from bot.sim.host import SimHost
from bot.sim.models import GB, SimHostConfig, SimModel

MODEL = SimModel("qwen/qwen3-8b", round(0.2 * GB), max_context_length=8192)


@pytest.fixture
async def discord() -> AsyncIterator[DiscordDouble]:
    async with DiscordDouble() as double:
        yield double


@pytest.fixture
async def host() -> AsyncIterator[SimHost]:
    config = SimHostConfig(name="studio", models=(MODEL,), tokens_per_s=50)
    async with SimHost(config) as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a socket's address holds about a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="lantern-", ignore_cleanup_errors=True) as name:
        yield Path(name)
