"""Load settings as each interface says them, checked against the SDK's own configuration types."""

import json

import httpx
import pytest
from lmstudio import EmbeddingLoadModelConfig, LlmLoadModelConfig

from bot.domain.hosts import LoadOrder, ModelKind
from bot.domain.ids import ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.client import Stop, not_applied
from bot.fleet.lmstudio import sdk_config
from bot.fleet.rest import RestApi, RestClient

EVERYTHING = LoadSettings(
    context_length=16384,
    gpu="max",
    flash_attention=True,
    cpu_threads=8,
    rope_frequency_base=1e6,
    rope_frequency_scale=0.5,
    num_experts=4,
    kv_cache_quant="q8_0",
)


def an_order(settings: LoadSettings, kind: ModelKind = "llm") -> LoadOrder:
    return LoadOrder(ModelKey("one"), kind, settings, ttl_s=60, idle_ttl_s=30)


async def said_by_rest(settings: LoadSettings) -> object:
    """The body of the load command."""
    bodies: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"instance_id": "one"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        client = RestClient(RestApi(http, "studio:1234", None), "/api/v1")
        await client.load(an_order(settings), lambda _: None, Stop())
    (body,) = bodies
    return body


def test_the_sdk_understands_every_member_it_is_given() -> None:
    config = sdk_config(EVERYTHING, is_embedding=False)
    understood = LlmLoadModelConfig.from_dict(config).to_dict()  # pyright: ignore[reportArgumentType]  # read back
    assert understood == config
    assert config["llamaKCacheQuantizationType"] == config["llamaVCacheQuantizationType"] == "q8_0"


def test_the_sdk_understands_every_member_of_an_embedding_load() -> None:
    config = sdk_config(EVERYTHING, is_embedding=True)
    understood = EmbeddingLoadModelConfig.from_dict(config).to_dict()  # pyright: ignore[reportArgumentType]  # read back
    assert understood == config


def test_what_is_not_wished_for_is_not_said() -> None:
    assert sdk_config(LoadSettings(), is_embedding=False) == {}


@pytest.mark.parametrize("settings", [LoadSettings(), LoadSettings(gpu="max")])
async def test_rest_says_nothing_of_what_is_not_wished_for_or_not_known(
    settings: LoadSettings,
) -> None:
    assert await said_by_rest(settings) == {"model": "one"}


async def test_rest_says_what_it_can() -> None:
    assert await said_by_rest(EVERYTHING) == {
        "model": "one",
        "context_length": 16384,
        "flash_attention": True,
        "num_experts": 4,
    }


def test_what_cannot_be_said_is_named() -> None:
    assert not_applied(LoadSettings(gpu="max"), "llm", "SDK socket") == ()
    assert not_applied(EVERYTHING, "llm", "SDK socket") == ("cpu_threads",)
    assert not_applied(EVERYTHING, "embedding", "SDK socket") == (
        "flash_attention",
        "cpu_threads",
        "num_experts",
        "kv_cache_quant",
    )
    assert not_applied(EVERYTHING, "llm", "/api/v1") == (
        "gpu",
        "cpu_threads",
        "rope_frequency_base",
        "rope_frequency_scale",
        "kv_cache_quant",
    )
