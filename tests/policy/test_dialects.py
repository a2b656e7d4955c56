import pytest

from bot.domain.chat import DialectName
from bot.policy.dialects import (
    ALWAYS_ROOM,
    THINKING_ROOM,
    always_thinks,
    dialect_for,
    first_token_s,
    is_flat,
    sees,
    thinking_room,
)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-6-luna",
        "gpt-6.1-terra",
        "gpt-5.4-mini",
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-4.1-nano",
        "o1",
        "o3",
        "o4-mini",
        "claude-haiku-5-5",
        "claude-haiku-4-5",
        "claude-3-haiku",
        "claude-opus-5-5",
        "anthropic/claude-sonnet-5-5",
        "glm-4.5v",
        "glm-4.6v",
        "GLM-4.6V-FlashX",
        "z-ai/glm-4.6v",
        "google/gemini-3-flash",
        "google/gemma-3-27b-it",
        "meta-llama/llama-4-scout",
        "qwen/qwen3-vl-30b",
        "qwen2.5-vl-7b",
        "llama-3.2-90b-vision-instruct",
    ],
)
def test_models_that_take_pictures_are_known_by_name(model: str) -> None:
    assert sees(model)


@pytest.mark.parametrize(
    "model",
    [
        "glm-4.6",
        "glm-4.7",
        "glm-5.3-flash",
        "z-ai/glm-4.6",
        "gpt-4",
        "gpt-3.5-turbo",
        "gpt-oss-120b",
        "o1-mini",
        "o3-mini",
        "gpt-4o-mini-transcribe",
        "gpt-4o-audio-preview",
        "claude-2",
        "claude-v1",
        "gemma-3-1b-it",
        "qwen/qwen3-30b",
        "llama-3.3-70b",
        "deepseek-chat",
        "kvl-1",
    ],
)
def test_what_its_name_does_not_promise_is_not_sent_pictures(model: str) -> None:
    assert not sees(model)


@pytest.mark.parametrize(
    ("name", "url", "model", "dialect"),
    [
        ("zai", "https://api.z.ai/api/paas/v4", "glm-4.6", "zai"),
        ("mine", "https://api.z.ai/api/paas/v4", "", "zai"),
        ("mine", "https://open.bigmodel.cn/api/paas/v4", "", "zai"),
        ("mine", "https://api.openai.com/v1", "", "openai"),
        ("zai", "http://127.0.0.1:4000/v1", "glm-4.6", "zai"),
        ("mine", "http://127.0.0.1:4000/v1", "glm-4.6", "generic"),
        ("zai", "http://127.0.0.1:4000/v1", "qwen3-8b", "generic"),
        ("openai", "http://127.0.0.1:4000/v1", "qwen3-8b", "generic"),
        *(
            ("mine", "http://127.0.0.1:4000/v1", model, "openai")
            for model in ("gpt-6-luna", "ft:gpt-4o:me", "o3", "o4-mini", "chatgpt-4o-latest")
        ),
        *(
            ("openai", "http://127.0.0.1:4000/v1", model, "generic")
            for model in ("gpt-oss-20b", "gpt-j-6b", "openai/gpt-6-luna", "o1x", "olmo-3", "my-o3")
        ),
        ("openrouter", "https://openrouter.ai/api/v1", "openai/gpt-6-luna", "generic"),
        ("mine", "https://z.ai.example.org/v1", "glm-4.6", "generic"),
        ("mine", "https://notz.ai/v1", "glm-4.6", "generic"),
        ("openai", "https://api.z.ai/api/paas/v4", "gpt-6-luna", "zai"),
        ("mine", "nonsense", "", "generic"),
    ],
)
def test_a_server_is_known_by_its_address_then_by_its_model(
    name: str, url: str, model: str, dialect: DialectName
) -> None:
    assert dialect_for(name, url, model) == dialect


@pytest.mark.parametrize(
    ("model", "always"),
    [
        ("glm-5.3", True),
        ("z-ai/glm-5.3-flash", True),
        ("claude-opus-5-5", True),
        ("o3", True),
        ("glm-4.6", False),
        ("gpt-6-luna", False),
        ("claude-haiku-5-5", False),
        ("qwen/qwen3-8b", False),
    ],
)
def test_some_models_think_whatever_they_are_told(model: str, always: bool) -> None:
    assert always_thinks(model) == always
    assert thinking_room(model, "off") == (ALWAYS_ROOM if always else 0)
    assert thinking_room(model, "auto") == THINKING_ROOM
    assert first_token_s(30.0, model, "off") == (90.0 if always else 30.0)
    assert first_token_s(30.0, model, "auto") == 90.0
    assert first_token_s(120.0, model, "auto") == 120.0


@pytest.mark.parametrize(
    ("url", "is_plan"),
    [
        ("https://api.z.ai/api/coding/paas/v4", True),
        ("https://open.bigmodel.cn/api/coding/paas/v4", True),
        ("https://api.z.ai/api/paas/v4", False),
        ("https://openrouter.ai/api/coding/v1", False),
        ("https://notz.ai/api/coding/paas/v4", False),
    ],
)
def test_a_plan_is_known_by_its_address(url: str, is_plan: bool) -> None:
    assert is_flat(url) is is_plan
