from collections.abc import AsyncIterator

import pytest
from provider_help import provider

from bot.inference.streams import Inference
from bot.sim.providers.config import WireKind
from bot.sim.providers.provider import SimProvider


@pytest.fixture
async def inference() -> AsyncIterator[Inference]:
    async with Inference() as inference:
        yield inference


@pytest.fixture
async def double(wire: WireKind) -> AsyncIterator[SimProvider]:
    """A provider of the test's parameter `wire`."""
    async with provider(wire) as running:
        yield running
