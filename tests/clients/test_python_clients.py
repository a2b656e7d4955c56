"""Unmodified clients of Python against the gateway: openai-python and anthropic-python."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any

import pytest

from bot.domain.ids import HostName
from bot.sim.journal import LoadStarted, PredictionCancelled, PredictionStarted
from bot.sim.models import GB, SimModel
from tests.gateway.gate import Gate, gate
from tests.helpers.house import GEMMA, QWEN, sim

pytestmark = pytest.mark.slow

VECTORS = SimModel("sim/vectors", GB, kind="embedding")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CALL = '[[call weather {"city": "Ulm"}]]'
GREETING = "Grüße, 🏮 and “quotes”"


@asynccontextmanager
async def fleet(folder: Path) -> AsyncGenerator[tuple[Gate, str]]:
    async with gate(folder, sim("one", QWEN, VECTORS), sim("two", GEMMA)) as it:
        yield it, (await it.key("client")).removeprefix("Bearer ")


@pytest.fixture
async def lantern(tmp_path: Path) -> AsyncGenerator[tuple[Gate, Any, Any]]:
    """The gateway and two clients of it that never come again by themselves."""
    import httpx2
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

    # Reading the system's certificates takes 40 ms per client, and no test speaks TLS.
    plain = [httpx2.AsyncClient(verify=SSLContext(PROTOCOL_TLS_CLIENT)) for _ in "ab"]
    async with (
        fleet(tmp_path) as (it, key),
        AsyncOpenAI(
            base_url=f"{it.base}/v1", api_key=key, max_retries=0, http_client=plain[0]
        ) as openai,
        AsyncAnthropic(
            base_url=it.base, api_key=key, max_retries=0, http_client=plain[1]
        ) as anthropic,
    ):
        yield it, openai, anthropic


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def test_openai_chats_whole_and_streamed_also_with_a_cold_model(lantern: Any) -> None:
    it, openai, _ = lantern
    whole = await openai.chat.completions.create(
        model=QWEN.key, messages=said(f"[[say {GREETING}]]")
    )
    assert whole.choices[0].message.content == GREETING
    assert whole._request_id
    async with openai.chat.completions.stream(
        model=GEMMA.key,
        messages=said(f"[[say {GREETING}]]"),
        stream_options={"include_usage": True},
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == GREETING
    assert final.usage.completion_tokens > 0
    assert final.model == GEMMA.key
    assert len(it.house.hosts["two"].journal.of(LoadStarted)) == 1


async def test_openai_calls_tools_and_fits_schemas(lantern: Any) -> None:
    from pydantic import BaseModel

    class Trip(BaseModel):
        city: str
        days: int

    _, openai, _ = lantern
    async with openai.chat.completions.stream(
        model=QWEN.key, messages=said(CALL), tools=[TOOL]
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    (call,) = final.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Ulm"}
    parsed = await openai.chat.completions.parse(
        model=QWEN.key, messages=said("hi"), response_format=Trip
    )
    assert parsed.choices[0].message.parsed == Trip(city="lantern", days=1)


async def test_openai_makes_vectors_and_reads_lists(lantern: Any) -> None:
    _, openai, _ = lantern
    packed = await openai.embeddings.create(model=VECTORS.key, input=["a", "b"])
    plain = await openai.embeddings.create(
        model=VECTORS.key, input=["a", "b"], encoding_format="float"
    )
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)
    ids = {model.id async for model in openai.models.list()}
    assert ids == {QWEN.key, GEMMA.key, VECTORS.key, "default"}
    assert (await openai.models.retrieve(QWEN.key)).id == QWEN.key
    text = await openai.completions.create(model=QWEN.key, prompt=["[[say on]]"], max_tokens=5)
    assert text.choices[0].text == "on"


async def test_openai_goes_on_with_responses(lantern: Any) -> None:
    _, openai, _ = lantern
    first = await openai.responses.create(model=QWEN.key, input="[[say one]]")
    async with openai.responses.stream(model=GEMMA.key, input="[[think 2]] [[say cold]]") as stream:
        assert (await stream.get_final_response()).output_text == "cold"
    second = await openai.responses.create(
        model=QWEN.key, input="[[say two]]", previous_response_id=first.id
    )
    assert (second.output_text, second.previous_response_id) == ("two", first.id)


async def test_openai_raises_what_went_wrong(lantern: Any) -> None:
    import openai as package

    it, openai, _ = lantern
    for is_stream in (False, True):
        with pytest.raises(package.NotFoundError) as unknown:
            await openai.chat.completions.create(
                model="sim/none", messages=said("hi"), stream=is_stream
            )
        assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
        assert unknown.value.request_id
    with pytest.raises(package.BadRequestError, match="temperature"):
        await openai.chat.completions.create(model=QWEN.key, messages=said("hi"), temperature=9)
    with pytest.raises(package.AuthenticationError):
        await openai.with_options(api_key="lantern_none").models.list()
    it.house.hosts["one"].faults.drop_after_tokens(2)
    with pytest.raises(package.APIError):
        async for _ in await openai.chat.completions.create(
            model=QWEN.key, messages=said("[[tokens 9]]"), stream=True
        ):
            pass
    await it.house.lantern.fleet.host(HostName("one")).probe()
    it.house.hosts["one"].faults.drop_after_tokens(2)
    # What broke ended as if it were whole.
    with pytest.raises(package.APIError):
        async for _ in await openai.responses.create(
            model=QWEN.key, input="[[tokens 9]]", stream=True
        ):
            pass


async def test_a_client_that_leaves_stops_its_host(lantern: Any) -> None:
    it, openai, _ = lantern
    host = it.house.hosts["one"]
    host.faults.stall_after_tokens(3, times=None)
    ask: dict[str, Any] = {"model": QWEN.key, "messages": said("[[tokens 9]]")}
    async with await openai.chat.completions.create(stream=True, **ask) as stream:
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    first = await host.journal.wait_for(PredictionCancelled)

    def is_later(record: PredictionStarted | PredictionCancelled) -> bool:
        return record.number > first.number

    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(openai.chat.completions.create(**ask))
        await host.journal.wait_for(PredictionStarted, is_later)
        asking.cancel()
    await host.journal.wait_for(PredictionCancelled, is_later)


async def test_anthropic_writes_messages_whole_and_streamed(lantern: Any) -> None:
    _, _, anthropic = lantern
    ask: dict[str, Any] = {"model": QWEN.key, "max_tokens": 99}
    whole = await anthropic.messages.create(messages=said(f"[[say {GREETING}]]"), **ask)
    assert whole.content[0].text == GREETING
    async with anthropic.messages.stream(
        messages=said(f"[[think 2]] [[say {GREETING}]]"), model=GEMMA.key, max_tokens=99
    ) as stream:
        final = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[1].text == GREETING
    tool = {"name": "weather", "input_schema": SCHEMA}
    called = await anthropic.messages.create(messages=said(CALL), tools=[tool], **ask)
    assert called.content[0].input == {"city": "Ulm"}
    counted = await anthropic.messages.count_tokens(model=QWEN.key, messages=said("hi " * 40))
    assert 30 < counted.input_tokens < 90


async def test_anthropic_raises_what_went_wrong(lantern: Any) -> None:
    import anthropic as package

    _, _, anthropic = lantern
    with pytest.raises(package.NotFoundError, match="sim/none"):
        await anthropic.messages.create(model="sim/none", max_tokens=9, messages=said("hi"))
    with pytest.raises(package.BadRequestError):
        await anthropic.messages.create(
            model=QWEN.key, max_tokens=9, messages=said("word " * 60_000)
        )
    with pytest.raises(package.AuthenticationError):
        await anthropic.with_options(api_key="lantern_none").messages.create(
            model=QWEN.key, max_tokens=9, messages=said("hi")
        )


RECORDED: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "langchain-openai": (
        "/v1/chat/completions",
        {
            "messages": [{"content": "hi", "role": "user"}],
            "model": QWEN.key,
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [TOOL],
            "parallel_tool_calls": False,
        },
        {"x_stainless_lang": "python"},
    ),
    "llm": (
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": "hi"}],
            "model": QWEN.key,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        {},
    ),
    "open-webui": (
        "/v1/chat/completions",
        {"stream": True, "model": QWEN.key, "messages": said("hi"), "max_tokens": None},
        {"Accept": "*/*"},
    ),
    "sillytavern": (
        "/v1/chat/completions",
        {
            "messages": said("hi"),
            "model": QWEN.key,
            "temperature": 1,
            "max_tokens": 300,
            "stream": True,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_p": 1,
            "top_k": 0,
            "min_p": 0,
            "repetition_penalty": 1,
            "stop": [],
            "logit_bias": {},
            "seed": -1,
            "n": 1,
        },
        {},
    ),
    "continue": (
        "/v1/completions",
        {
            "prompt": "<fim_prefix>a<fim_suffix>b<fim_middle>",
            "model": QWEN.key,
            "max_tokens": 9,
            "temperature": 0.01,
            "stream": True,
            "stop": ["<fim_prefix>", "/src/"],
            "suffix": "b",
        },
        {},
    ),
}
"""Requests as these clients were seen to send them, with what else their users may set."""


async def test_recorded_requests_of_other_clients_are_answered(tmp_path: Path) -> None:
    async with fleet(tmp_path) as (it, key):
        for name, (path, body, headers) in RECORDED.items():
            answer = await it.ask(path, body, Authorization=f"Bearer {key}", **headers)
            assert answer.status == 200, name
            assert answer.events, name
