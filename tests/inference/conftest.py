from collections.abc import AsyncIterator

import pytest

from bot.inference.streams import Inference, inference_session


@pytest.fixture
async def inference() -> AsyncIterator[Inference]:
    async with inference_session() as session:
        yield Inference(session)
