"""The hosts the contract is checked against: simulated ones, and a real one when it is named."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import aiohttp
import lmstudio as lms
import pytest
from contract_subject import Subject, sdk_client

from bot.sim.host import SimHost
from bot.sim.models import GB, Generation, SimHostConfig, SimModel

TOKEN = "sk-lm-abcd1234:abcdefghij0123456789"

MODELS = (
    SimModel("qwen/qwen3-0.6b", round(0.5 * GB)),
    SimModel("google/gemma-3-1b", round(0.8 * GB)),
    SimModel("text-embedding-nomic", round(0.1 * GB), kind="embedding"),
)


SIMULATED: dict[str, tuple[Generation, bool, str | None]] = {
    "0.3-jit": ("0.3", True, None),
    "0.3-manual": ("0.3", False, None),
    "0.4-jit": ("0.4", True, None),
    "0.4-manual-token": ("0.4", False, TOKEN),
}

SUBJECTS = [*SIMULATED, pytest.param("lan", marks=pytest.mark.lan)]


@pytest.fixture(params=SUBJECTS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    name = cast(str, request.param)
    if name == "lan":
        yield await real_subject(request.config)
        return
    generation, jit, token = SIMULATED[name]
    config = SimHostConfig(
        name=name, models=MODELS, generation=generation, jit=jit, token=token, time_scale=0
    )
    async with SimHost(config) as host:
        yield Subject(host.address, token, MODELS[0].key, generation, jit)


async def real_subject(config: pytest.Config) -> Subject:
    address, token, key = (
        cast("str | None", config.getoption(name))
        for name in ("--lan-host", "--lan-token", "--lan-model")
    )
    if address is None:
        pytest.fail("give --lan-host ADDRESS:PORT", pytrace=False)
    async with sdk_client(address, token) as client:
        models = await client.llm.list_downloaded()
        smallest = min(models, key=lambda model: model.info.size_bytes)
    return Subject(address, token, key or smallest.model_key)


@pytest.fixture
async def sdk(subject: Subject) -> AsyncIterator[lms.AsyncClient]:
    async with subject.client() as client:
        yield client


@pytest.fixture
async def http(subject: Subject) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(subject.url(""), headers=subject.headers) as session:
        yield session


@pytest.fixture
async def loaded(subject: Subject, sdk: lms.AsyncClient) -> AsyncIterator[lms.AsyncLLM]:
    """Load an instance of our own and take it out again, as a guest on a real host should."""
    model = await sdk.llm.load_new_instance(
        subject.key, "lantern-contract", ttl=600, config={"contextLength": 2048}
    )
    yield model
    with suppress(lms.LMStudioServerError):  # the test may have unloaded it
        await sdk.llm.unload("lantern-contract")
