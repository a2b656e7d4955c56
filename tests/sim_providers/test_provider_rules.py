"""What each simulated wire refuses, asked by hand: the rules our adapters must keep."""

from typing import Any

import aiohttp
import pytest
from provider_help import (
    CHAT_WIRES,
    MODELS,
    WIRES,
    chat_url,
    get,
    headers_of,
    payload_of,
    post,
    provider,
)

from bot.sim.providers.config import WireKind
from bot.sim.providers.provider import SimProvider

USER = {"role": "user", "content": "Hello?"}
ASSISTANT = {"role": "assistant", "content": "Yes?"}

ZAI: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "1213"),
    ({"model": "gpt-6-luna"}, "1211"),
    ({"messages": []}, "1213"),
    ({"messages": [{"role": "developer", "content": "x"}]}, "1214"),
    ({"max_completion_tokens": 5}, "1210"),
    ({"stream_options": {"include_usage": True}}, "1210"),
    ({"frequency_penalty": 0}, "1210"),
    ({"temperature": 1.5}, "1210"),
    ({"temperature": True}, "1210"),
    ({"top_p": 0}, "1210"),
    ({"max_tokens": 0}, "1210"),
    ({"max_tokens": 131_073}, "1210"),
    ({"stop": ["a", "b"]}, "1210"),
    ({"stop": "a"}, "1210"),
    ({"user_id": "short"}, "1214"),
    ({"thinking": {"type": "adaptive"}}, "1210"),
    ({"model": "glm-5.3", "thinking": {"type": "disabled"}}, "1210"),
    ({"model": "glm-5.3", "reasoning_effort": "medium"}, "1210"),
]


@pytest.mark.parametrize(("changes", "code"), ZAI)
async def test_zai_refuses_by_string_codes(changes: dict[str, Any], code: str) -> None:
    async with provider("zai") as double:
        got = await post(double, payload_of("zai", **changes))
    assert got.status == 400
    assert got.error["code"] == code
    assert got.body["request_id"]


async def test_zai_takes_all_it_has_fields_for() -> None:
    async with provider("zai") as double:
        got = await post(
            double,
            payload_of(
                "zai",
                temperature=1.0,
                top_p=0.01,
                max_tokens=5,
                stop=["END"],
                thinking={"type": "disabled"},
                user_id="0123456789",
                do_sample=True,
            ),
        )
    assert got.status == 200
    assert got.body["choices"][0]["finish_reason"] == "length"


OPENAI: list[tuple[dict[str, Any], int, str | None, str]] = [
    ({"thinking": {"type": "disabled"}}, 400, None, "argument supplied: thinking"),
    ({"user_id": "somebody"}, 400, None, "argument supplied: user_id"),
    ({"top_k": 4}, 400, None, "argument supplied: top_k"),
    ({"model": None}, 400, None, "model"),
    ({"model": "glm-4.6"}, 404, "model_not_found", "glm-4.6"),
    ({"max_tokens": 5}, 400, "unsupported_parameter", "max_completion_tokens"),
    ({"temperature": 0.7}, 400, "unsupported_value", "temperature"),
    ({"top_p": 1.0}, 400, "unsupported_parameter", "top_p"),
    ({"presence_penalty": 0}, 400, "unsupported_parameter", "presence_penalty"),
    ({"logprobs": False}, 400, "unsupported_parameter", "logprobs"),
    ({"stop": ["END"]}, 400, "unsupported_parameter", "stop"),
    ({"max_completion_tokens": 0}, 400, "invalid_value", "max_completion_tokens"),
    ({"reasoning_effort": "minimal"}, 400, "unsupported_value", "'none'"),
    ({"model": "gpt-4o-mini", "reasoning_effort": "low"}, 400, None, "reasoning_effort"),
    ({"model": "gpt-4o-mini", "temperature": 2.5}, 400, "invalid_value", "temperature"),
    ({"model": "gpt-4o-mini", "stop": ["a", "b", "c", "d", "e"]}, 400, None, "stop"),
    ({"safety_identifier": "x" * 65}, 400, "string_above_max_length", "too long"),
    ({"stream_options": {}}, 400, None, "stream"),
    ({"messages": []}, 400, "empty_array", "messages"),
    ({"messages": [{"role": "model", "content": "x"}]}, 400, "invalid_value", "messages[0].role"),
]


@pytest.mark.parametrize(("changes", "status", "code", "words"), OPENAI)
async def test_openai_refuses_what_a_model_does_not_take(
    changes: dict[str, Any], status: int, code: str | None, words: str
) -> None:
    async with provider("openai") as double:
        got = await post(double, payload_of("openai", **changes))
    assert (got.status, got.error["code"]) == (status, code)
    assert got.error["type"] == "invalid_request_error"
    assert words in got.error["message"]


async def test_openai_takes_sampling_for_models_of_the_old_line() -> None:
    async with provider("openai") as double:
        got = await post(
            double,
            payload_of(
                "openai",
                model="gpt-4o-mini",
                temperature=0.2,
                top_p=0.9,
                max_tokens=50,
                stop=["END"],
                user="somebody",
            ),
        )
        assert got.status == 200
        assert double.journal.calls[0].arrival.user == "somebody"


async def test_openai_tells_its_limits_in_headers() -> None:
    async with provider("openai") as double:
        got = await post(double, payload_of("openai"))
    assert got.headers["x-request-id"]
    for name in ("limit", "remaining", "reset"):
        assert got.headers[f"x-ratelimit-{name}-requests"]
        assert got.headers[f"x-ratelimit-{name}-tokens"]


ANTHROPIC: list[tuple[dict[str, Any], int, str]] = [
    ({"model": None}, 400, "model: Field required"),
    ({"model": "gpt-6-luna"}, 404, "model: gpt-6-luna"),
    ({"max_tokens": None}, 400, "max_tokens: Field required"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"max_tokens": 128_001}, 400, "128000"),
    ({"temperature": 1.0}, 400, "temperature: Extra inputs are not permitted"),
    ({"top_p": 0.9}, 400, "top_p: Extra inputs are not permitted"),
    ({"top_k": 5}, 400, "top_k: Extra inputs are not permitted"),
    ({"stop": ["x"]}, 400, "stop: Extra inputs are not permitted"),
    ({"user": "somebody"}, 400, "user: Extra inputs are not permitted"),
    ({"metadata": {"user_id": "x", "name": "Ada"}}, 400, "metadata.name"),
    ({"metadata": {"user_id": "x" * 257}}, 400, "metadata.user_id"),
    ({"stop_sequences": [" "]}, 400, "stop_sequences"),
    ({"messages": []}, 400, "at least one message"),
    ({"messages": [{"role": "system", "content": "x"}, USER]}, 400, "top-level `system`"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.role"),
    ({"messages": [ASSISTANT, USER]}, 400, 'must use the "user" role'),
    ({"messages": [USER, ASSISTANT]}, 400, "prefill"),
    ({"messages": [{"role": "user", "content": "  "}]}, 400, "non-whitespace"),
    ({"messages": [{"role": "user", "content": []}]}, 400, "Field required"),
    ({"messages": [{"role": "user", "content": "x", "name": "Ada"}]}, 400, "messages.0.name"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        400,
        "non-empty",
    ),
    (
        {"messages": [USER, {"role": "assistant", "content": [{"type": "document"}]}, USER]},
        400,
        "document",
    ),
    ({"system": [{"type": "text", "text": " "}]}, 400, "system.0.text"),
    ({"model": "claude-opus-5-5", "thinking": {"type": "disabled"}}, 400, "always thinks"),
    ({"model": "claude-haiku-4-5", "output_config": {"effort": "low"}}, 400, "effort"),
]


@pytest.mark.parametrize(("changes", "status", "words"), ANTHROPIC)
async def test_anthropic_refuses_what_its_new_version_does_not_take(
    changes: dict[str, Any], status: int, words: str
) -> None:
    async with provider("anthropic") as double:
        got = await post(double, payload_of("anthropic", **changes))
    assert got.status == status
    assert words in got.error["message"]
    assert got.body["type"] == "error"


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [USER, USER, ASSISTANT, ASSISTANT, USER]},
        {"system": "Be kind.", "stop_sequences": ["END"], "metadata": {"user_id": "0f0f"}},
        {"system": [{"type": "text", "text": "Be kind."}]},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"model": "claude-haiku-4-5", "messages": [USER, ASSISTANT]},
    ],
)
async def test_anthropic_takes_what_it_documents(changes: dict[str, Any]) -> None:
    async with provider("anthropic") as double:
        got = await post(double, payload_of("anthropic", **changes))
    assert got.status == 200, got.body


@pytest.mark.parametrize("version", [None, "2027-01-01"])
async def test_anthropic_wants_a_version_it_knows(version: str | None) -> None:
    async with provider("anthropic") as double:
        headers = {"x-api-key": double.key} | ({"anthropic-version": version} if version else {})
        got = await post(double, payload_of("anthropic"), headers)
    assert got.status == 400
    assert "anthropic-version" in got.error["message"]


async def test_anthropics_old_version_takes_sampling_within_bounds() -> None:
    async with provider("anthropic") as double:
        headers = headers_of(double) | {"anthropic-version": "2023-06-01"}
        taken = await post(double, payload_of("anthropic", temperature=0.5, top_k=5), headers)
        refused = await post(double, payload_of("anthropic", temperature=1.5), headers)
    assert (taken.status, refused.status) == (200, 400)


async def test_anthropic_takes_either_header_and_believes_its_own_first() -> None:
    async with provider("anthropic") as double:
        version = {"anthropic-version": "2026-10-21"}
        bearer = {"authorization": f"Bearer {double.key}"} | version
        wrong = bearer | {"x-api-key": "sk-wrong"}
        assert (await post(double, payload_of("anthropic"), bearer)).status == 200
        got = await post(double, payload_of("anthropic"), wrong)
    assert (got.status, got.error["type"]) == (401, "authentication_error")


async def test_anthropic_counts_a_prompts_tokens_as_it_will_charge_them() -> None:
    async with provider("anthropic") as double:
        url = f"{double.base_url}/messages/count_tokens"
        asked = payload_of("anthropic", max_tokens=None, system="Be kind.")
        counted = await post(double, asked, url=url)
        await post(double, asked | {"max_tokens": 10})
        free, charged = double.journal.calls
    assert counted.body["input_tokens"] == charged.bill.prompt_tokens
    assert free.cost_micro_usd == 0
    assert double.journal.chats() == (charged,)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"model": "glm-4.6"}, 400),
        ({"messages": []}, 400),
        ({"temperature": 5, "top_k": 4, "anything": 1}, 200),
        ({"max_completion_tokens": 5, "reasoning": {"enabled": False}}, 200),
    ],
)
async def test_a_gateway_insists_on_little(changes: dict[str, Any], status: int) -> None:
    async with provider("generic") as double:
        got = await post(double, payload_of("generic", **changes))
    assert got.status == status
    if status != 200:
        assert got.error["code"] == status


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sk-not-this-key"}])
@pytest.mark.parametrize("wire", WIRES)
async def test_a_wrong_key_is_told_in_each_wires_form_and_never_repeated_whole(
    double: SimProvider, headers: dict[str, str]
) -> None:
    got = await post(double, payload_of(double.config.wire), headers)
    assert got.status == 401
    form = {
        "zai": got.error.get("code") == "401",
        "openai": got.error.get("code") == "invalid_api_key",
        "anthropic": got.error.get("type") == "authentication_error",
        "generic": got.error.get("code") == 401,
    }
    assert form[double.config.wire]
    assert "sk-not-this-key" not in str(got.body)


async def test_a_provider_without_a_key_lets_everybody_in() -> None:
    async with provider("generic", key="") as double:
        assert (await post(double, payload_of("generic"), {})).status == 200


@pytest.mark.parametrize("wire", WIRES)
async def test_the_models_are_listed_and_described(double: SimProvider) -> None:
    wire: WireKind = double.config.wire
    listed = await get(double, "/models")
    assert MODELS[wire] in [model["id"] for model in listed.body["data"]]
    assert (await get(double, f"/models/{MODELS[wire]}")).body["id"] == MODELS[wire]
    assert (await get(double, "/models/nothing")).status in (400, 404)
    assert double.journal.cost_micro_usd == 0


@pytest.mark.parametrize("wire", CHAT_WIRES)
async def test_a_body_that_is_no_object_is_a_bad_request(double: SimProvider) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(chat_url(double), data=b"[1]", headers=headers_of(double)) as response,
    ):
        assert response.status == 400
