"""The official `openai` client against the simulated wires it can speak."""

import json
from collections.abc import AsyncIterator
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import TYPE_CHECKING, Any

import pytest
from provider_help import CHAT_WIRES, MODELS, provider

from bot.sim.providers.config import WireKind
from bot.sim.providers.faults import FaultName
from bot.sim.providers.provider import SimProvider

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionChunk

pytestmark = pytest.mark.slow
"""The client takes 0.4 s to import."""


@pytest.fixture
async def client(double: SimProvider) -> AsyncIterator["AsyncOpenAI"]:
    import httpx2
    from openai import AsyncOpenAI

    # Reading the system's certificates takes 40 ms per client, and no test speaks TLS.
    plain = httpx2.AsyncClient(verify=SSLContext(PROTOCOL_TLS_CLIENT), timeout=5.0)
    async with AsyncOpenAI(
        api_key=double.key, base_url=double.base_url, max_retries=0, http_client=plain
    ) as client:
        yield client


async def stream(
    client: "AsyncOpenAI", model: str, text: str, **extras: Any
) -> "list[ChatCompletionChunk]":
    chunks = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], stream=True, **extras
    )
    return [chunk async for chunk in chunks]


def text_of(chunks: "list[ChatCompletionChunk]") -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("wire", CHAT_WIRES)
async def test_a_whole_answer_and_its_usage(double: SimProvider, client: "AsyncOpenAI") -> None:
    answer = await client.chat.completions.create(
        model=MODELS[double.config.wire],
        messages=[{"role": "user", "content": "[[think 4]] [[say one two]]"}],
    )
    assert answer.choices[0].message.content == "one two"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 4
    assert double.journal.calls[0].bill.completion_tokens == 6


@pytest.mark.parametrize("wire", ["openai"])
async def test_openais_usage_comes_asked_for_on_a_chunk_without_choices(
    client: "AsyncOpenAI",
) -> None:
    asked = await stream(
        client, "gpt-6-luna", "[[say one two]]", stream_options={"include_usage": True}
    )
    unasked = await stream(client, "gpt-6-luna", "[[say one two]]")
    assert text_of(asked) == text_of(unasked) == "one two"
    assert [bool(chunk.choices) for chunk in asked] == [True] * (len(asked) - 1) + [False]
    assert [chunk.usage is not None for chunk in asked] == [False] * (len(asked) - 1) + [True]
    assert not any(chunk.usage for chunk in unasked)
    assert all(chunk.obfuscation for chunk in asked)
    assert asked[0].model == "gpt-6-luna-2026-09-22"


@pytest.mark.parametrize("wire", ["openai"])
async def test_openais_obfuscation_can_be_left_out(client: "AsyncOpenAI") -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    chunks = await stream(client, "gpt-6-luna", "hi", stream_options=options)
    assert not any(chunk.obfuscation for chunk in chunks)


@pytest.mark.parametrize("wire", ["openai"])
async def test_the_clients_own_stream_helper_puts_the_answer_together(
    client: "AsyncOpenAI",
) -> None:
    async with client.chat.completions.stream(
        model="gpt-6-luna", messages=[{"role": "user", "content": "[[say one two]]"}]
    ) as events:
        done = await events.get_final_completion()
    assert done.choices[0].message.content == "one two"


@pytest.mark.parametrize("wire", ["zai"])
async def test_zais_usage_comes_unasked_on_the_last_chunk_after_its_thinking(
    double: SimProvider, client: "AsyncOpenAI"
) -> None:
    chunks = await stream(client, "glm-4.6", "[[think 3]] [[say one two]]")
    thoughts = [getattr(chunk.choices[0].delta, "reasoning_content", None) for chunk in chunks]
    assert [bool(thought) for thought in thoughts] == [True] * 3 + [False] * 3
    assert text_of(chunks) == "one two"
    assert [chunk.usage is not None for chunk in chunks] == [False] * 5 + [True]
    off = await stream(
        client,
        "glm-4.6",
        "[[think 3]] [[say one two]]",
        extra_body={"thinking": {"type": "disabled"}, "user_id": "0f" * 16},
    )
    assert len(off) == 3
    assert double.journal.calls[1].arrival.user == "0f" * 16


@pytest.mark.parametrize("wire", CHAT_WIRES)
async def test_models_are_listed_and_found(double: SimProvider, client: "AsyncOpenAI") -> None:
    model = MODELS[double.config.wire]
    assert model in [known.id async for known in client.models.list()]
    assert (await client.models.retrieve(model)).id == model


@pytest.mark.parametrize("wire", ["openai"])
async def test_a_stop_string_ends_the_answer(client: "AsyncOpenAI") -> None:
    answer = await client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "[[say one two three]]"}],
        stop=["nothing", " three"],
        temperature=0.2,
        max_tokens=50,
    )
    assert answer.choices[0].message.content == "one two"
    assert answer.choices[0].finish_reason == "stop"


ERRORS: list[tuple[WireKind, FaultName, str, str, str | None]] = [
    ("zai", "auth", "", "AuthenticationError", "401"),
    ("zai", "no_money", "", "RateLimitError", "1113"),
    ("zai", "plan_limit", "1310", "RateLimitError", "1310"),
    ("zai", "rate_limit", "1302", "RateLimitError", "1302"),
    ("zai", "overload", "", "RateLimitError", "1305"),
    ("zai", "too_long", "", "BadRequestError", "1261"),
    ("zai", "refused", "", "BadRequestError", "1301"),
    ("zai", "server", "", "InternalServerError", "1234"),
    ("openai", "auth", "", "AuthenticationError", "invalid_api_key"),
    ("openai", "forbidden", "", "PermissionDeniedError", "unsupported_country_region_territory"),
    ("openai", "no_money", "", "RateLimitError", "credit_balance_exhausted"),
    ("openai", "rate_limit", "slow_down", "RateLimitError", "slow_down"),
    ("openai", "overload", "", "InternalServerError", "server_is_overloaded"),
    ("openai", "too_long", "", "BadRequestError", "context_length_exceeded"),
    ("openai", "unknown_model", "", "NotFoundError", "model_not_found"),
    ("openai", "refused", "", "BadRequestError", "invalid_prompt"),
    ("openai", "server", "502", "InternalServerError", None),
    ("openai", "html", "502", "InternalServerError", None),
    ("generic", "no_money", "", "APIStatusError", None),
    ("generic", "refused", "", "PermissionDeniedError", None),
    ("generic", "server", "", "InternalServerError", None),
]


@pytest.mark.parametrize(("wire", "fault", "code", "error", "shown"), ERRORS)
async def test_errors_are_the_clients_own(
    double: SimProvider,
    client: "AsyncOpenAI",
    fault: FaultName,
    code: str,
    error: str,
    shown: str | None,
) -> None:
    import openai

    double.faults.set(fault, code=code)
    with pytest.raises(openai.APIStatusError) as caught:
        await stream(client, MODELS[double.config.wire], "hi")
    assert type(caught.value).__name__ == error
    if double.config.wire != "generic":
        assert caught.value.code == shown


@pytest.mark.parametrize("wire", CHAT_WIRES)
async def test_a_broken_connection_is_the_clients_connection_error(
    double: SimProvider, client: "AsyncOpenAI"
) -> None:
    import openai

    for fault in ("reset", "cut"):
        double.faults.set(fault, after_tokens=2, times=1)
        with pytest.raises(openai.APIConnectionError):
            await stream(client, MODELS[double.config.wire], "[[say a b c]]")


@pytest.mark.parametrize("wire", CHAT_WIRES)
async def test_an_error_event_is_raised(double: SimProvider, client: "AsyncOpenAI") -> None:
    import openai

    double.faults.set("error_event", after_tokens=2)
    with pytest.raises(openai.APIError):
        await stream(client, MODELS[double.config.wire], "[[say a b c]]")


@pytest.mark.parametrize("wire", CHAT_WIRES)
async def test_a_silent_end_passes_the_client_unseen(
    double: SimProvider, client: "AsyncOpenAI"
) -> None:
    """The trap that our own adapters must not fall into."""
    double.faults.set("silent_end", after_tokens=2)
    chunks = await stream(client, MODELS[double.config.wire], "[[say a b c]]")
    assert text_of(chunks) == "a b"
    assert not any(choice.finish_reason for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("wire", CHAT_WIRES)
async def test_broken_json_leaks_past_the_client(
    double: SimProvider, client: "AsyncOpenAI"
) -> None:
    double.faults.set("garbage", after_tokens=1)
    with pytest.raises(json.JSONDecodeError):
        await stream(client, MODELS[double.config.wire], "[[say a b c]]")


@pytest.mark.parametrize("wire", ["zai"])
async def test_zais_own_breakdown_is_a_finish_reason_to_the_client(
    double: SimProvider, client: "AsyncOpenAI"
) -> None:
    endings: dict[FaultName, str] = {"broken": "network_error", "refused_midway": "sensitive"}
    for fault, reason in endings.items():
        double.faults.set(fault, after_tokens=1, times=1)
        chunks = await stream(client, "glm-4.6", "[[say a b c]]")
        assert chunks[-1].choices[0].finish_reason == reason


@pytest.mark.parametrize("wire", CHAT_WIRES)
async def test_noise_on_the_line_does_not_disturb_the_client(
    double: SimProvider, client: "AsyncOpenAI"
) -> None:
    for name in ("fragment", "crlf", "comments", "duplicate_usage"):
        double.faults.set(name)
    said = "Grüße, 漢字 und 🏮 — “so”"
    assert text_of(await stream(client, MODELS[double.config.wire], f"[[say {said}]]")) == said


async def test_left_to_itself_the_client_asks_again_although_the_money_is_gone() -> None:
    """Why the product owns its retries: 3 requests for one question."""
    import openai

    async with provider("openai") as double:
        double.faults.set("no_money", wait_s=0.001, wait_form="ms")
        async with openai.AsyncOpenAI(api_key=double.key, base_url=double.base_url) as client:
            assert client.max_retries == 2
            with pytest.raises(openai.RateLimitError):
                await stream(client, "gpt-6-luna", "hi")
        assert len(double.journal.chats()) == 3
