"""Load settings as each interface says them, checked against the SDK's own configuration types."""

from lmstudio import EmbeddingLoadModelConfig, LlmLoadModelConfig

from bot.domain.hosts import Interface
from bot.domain.ids import ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.load_config import not_applied, rest_body, sdk_config

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
    assert rest_body(ModelKey("one"), LoadSettings()) == {"model": "one"}


def test_rest_says_what_it_can() -> None:
    assert rest_body(ModelKey("one"), EVERYTHING) == {
        "model": "one",
        "context_length": 16384,
        "flash_attention": True,
        "num_experts": 4,
    }


def test_what_cannot_be_said_is_named() -> None:
    assert not_applied(LoadSettings(gpu="max"), Interface.SDK) == ()
    assert not_applied(EVERYTHING, Interface.SDK) == ("cpu_threads",)
    assert not_applied(EVERYTHING, Interface.SDK, is_embedding=True) == (
        "flash_attention",
        "cpu_threads",
        "num_experts",
        "kv_cache_quant",
    )
    assert not_applied(EVERYTHING, Interface.REST_V1) == (
        "gpu",
        "cpu_threads",
        "rope_frequency_base",
        "rope_frequency_scale",
        "kv_cache_quant",
    )
