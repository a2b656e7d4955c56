from collections.abc import AsyncIterator

import pytest
from provider_help import provider

from bot.inference.streams import Inference, inference_session
from bot.sim.providers.config import WireKind
from bot.sim.providers.provider import SimProvider


@pytest.fixture
async def inference() -> AsyncIterator[Inference]:
    async with inference_session() as session:
        yield Inference(session)


@pytest.fixture
async def double(wire: WireKind) -> AsyncIterator[SimProvider]:
    """A provider of the test's parameter `wire`."""
    async with provider(wire) as running:
        yield running
