from collections.abc import AsyncIterator

import pytest

from bot.inference.streams import Inference


@pytest.fixture
async def inference() -> AsyncIterator[Inference]:
    async with Inference() as inference:
        yield inference
