"""Which model a simulated host serves over plain HTTP, and within which limits."""

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from sim_http import JIT, MANUAL, Client, content, events

from bot.sim.host import SimHost
from bot.sim.journal import (
    LoadStarted,
    PredictionFailed,
    PredictionFinished,
    PredictionStarted,
    Unloaded,
)
from bot.sim.models import ReasoningStyle


async def test_just_in_time_loads_what_is_asked_and_evicts_what_came_so_before(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(JIT) as host:
        client = Client(host, session)
        await host.preload("large", "kept")
        status, _ = await client.chat("hi", "small", ttl=60)
        assert status == 200
        assert [(i.identifier, i.ttl_s) for i in host.resident] == [("kept", None), ("small", 60.0)]
        await client.post("/v1/embeddings", model="vectors", input="hello")
        assert [instance.identifier for instance in host.resident] == ["kept", "vectors"]
        assert host.resident[1].ttl_s == 3600
        assert host.journal.of(Unloaded)[0].reason == "jit evicted"


async def test_just_in_time_evicts_a_busy_model_too(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        client = Client(host, session)
        host.faults.stall_after_tokens(2)
        async with client.stream("hello", "small") as first:
            await host.journal.wait_for(PredictionStarted)
            await first.content.readline()
            await client.chat("hi", "large")
            assert b"Model unloaded" in await first.read()
        assert host.journal.of(PredictionFailed)[0].key == "small"


async def test_racing_requests_for_a_cold_model_load_it_twice(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(replace(JIT, auto_evict=False)) as host:
        client = Client(host, session)
        host.faults.stall_load(times=2)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.chat("one"))
            tasks.create_task(client.chat("two"))
            await host.journal.wait_for(LoadStarted, lambda record: record.identifier == "small:2")
            host.faults.clear("stall_load")
        assert {instance.identifier for instance in host.resident} == {"small", "small:2"}


async def test_without_jit_the_only_model_serves_any_name(session: aiohttp.ClientSession) -> None:
    async with SimHost(MANUAL) as host:
        await host.preload("small")
        status, body = await Client(host, session).chat("hi", "gpt-99")
        assert (status, body["model"]) == (200, "small")


async def test_without_jit_several_models_serve_only_their_names(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(MANUAL) as host:
        await host.preload("small")
        await host.preload("large")
        client = Client(host, session)
        status, body = await client.chat("hi", "gpt-99")
        assert (status, body["error"]["code"]) == (404, "model_not_found")
        status, body = await client.chat("hi", "")
        assert status == 400
        assert "Multiple models are loaded" in body["error"]["message"]
        assert (await client.chat("hi", "large"))[1]["model"] == "large"


async def test_without_jit_and_models_nothing_is_served(session: aiohttp.ClientSession) -> None:
    async with SimHost(MANUAL) as host:
        status, body = await Client(host, session).chat("hi")
        assert (status, body["error"]["code"]) == (404, None)
        assert "No models loaded" in body["error"]["message"]


@pytest.mark.parametrize(("generation", "expected"), [("0.3", 404), ("0.4", 400)])
async def test_a_load_on_demand_that_does_not_fit_is_refused(
    session: aiohttp.ClientSession, generation: Any, expected: int
) -> None:
    async with SimHost(replace(JIT, generation=generation)) as host:
        status, body = await Client(host, session).chat("hi", "huge")
        assert status == expected
        assert "insufficient system resources" in body["error"]["message"]


async def test_a_prompt_longer_than_the_context_is_refused(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        await host.preload("small", context_length=64)
        status, body = await Client(host, session).chat("word " * 100)
        assert status == 400
        assert "greater than the context length" in body["error"]


async def test_newer_versions_refuse_a_long_prompt_inside_the_stream(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(replace(JIT, overflow="event")) as host:
        await host.preload("small", context_length=64)
        async with Client(host, session).stream("word " * 100) as response:
            assert response.status == 200
            text = await response.text()
        assert text.startswith("event: error\ndata: ")
        assert "greater than the context length" in text
        assert "[DONE]" not in text


async def test_an_answer_ends_where_the_context_does(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        await host.preload("small", context_length=64)
        status, body = await Client(host, session).chat("[[tokens 500]]")
        assert (status, body["choices"][0]["finish_reason"]) == (200, "length")
        assert body["usage"]["total_tokens"] == 64


@pytest.mark.parametrize(
    ("style", "member", "thought"),
    [
        ("reasoning_content", "reasoning_content", True),
        ("reasoning", "reasoning", True),
        ("inline", "content", False),
    ],
)
async def test_reasoning_comes_in_the_style_of_the_host(
    session: aiohttp.ClientSession, style: ReasoningStyle, member: str, thought: bool
) -> None:
    async with SimHost(replace(JIT, reasoning_style=style)) as host:
        client = Client(host, session)
        async with client.stream("[[think 4]] [[say Yes.]]", "large") as response:
            chunks = await events(response)
        assert content(chunks).endswith("Yes.")
        assert "question" in content(chunks, member)
        assert ("<think>" in content(chunks)) is not thought
        _, body = await client.chat("[[think 4]] [[say Yes.]]", "large")
        assert "question" in body["choices"][0]["message"][member]


async def test_stop_strings_and_limits_are_obeyed_and_journalled(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(JIT) as host:
        client = Client(host, session)
        _, body = await client.chat("[[say one two three]]", stop=["three"], temperature=0.2)
        assert body["choices"][0]["message"]["content"] == "one two "
        _, body = await client.chat("[[say one two three]]", max_completion_tokens=1)
        assert body["choices"][0]["finish_reason"] == "length"
        started = host.journal.of(PredictionStarted)
        assert started[0].sampling == {"stop": ["three"], "temperature": 0.2}
        assert started[0].messages[-1].text == "[[say one two three]]"
        assert (started[0].via, started[0].asked_model) == ("rest", "small")
        assert [ended.reason for ended in host.journal.of(PredictionFinished)] == [
            "stopStringFound",
            "maxPredictedTokensReached",
        ]


async def test_one_slot_serves_one_after_the_other(session: aiohttp.ClientSession) -> None:
    async with SimHost(replace(JIT, parallel=1)) as host:
        await host.preload("small")
        client = Client(host, session)
        host.faults.stall_after_tokens(1)
        async with asyncio.TaskGroup() as tasks, client.stream("one") as first:
            await first.content.readline()
            waiting = tasks.create_task(client.chat("two"))
            await host.journal.wait_for(PredictionStarted, lambda record: record.number == 2)
            assert (host.resident[0].running, host.resident[0].waiting) == (1, 1)
        assert waiting.result()[0] == 200


async def test_the_first_token_can_be_slow(session: aiohttp.ClientSession) -> None:
    async with SimHost(replace(JIT, time_scale=0.0001)) as host:
        host.faults.slow_first_token(100, times=1)
        status, body = await Client(host, session).post(
            "/api/v0/chat/completions",
            model="small",
            messages=[{"role": "user", "content": "[[tokens 3]]"}],
        )
        assert status == 200
        assert round(body["stats"]["time_to_first_token"], 3) >= 100
