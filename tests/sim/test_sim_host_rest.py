"""The simulated host through plain HTTP: choice of model, limits, faults, journal."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from bot.sim.errors import ModelNotLoaded
from bot.sim.faults import Faults
from bot.sim.host import SimHost
from bot.sim.journal import (
    LoadFinished,
    LoadStarted,
    PredictionCancelled,
    PredictionCut,
    PredictionEnded,
    PredictionFailed,
    PredictionFinished,
    PredictionStarted,
    Request,
    Unloaded,
)
from bot.sim.models import GB, ReasoningStyle, SimHostConfig, SimModel

JIT = SimHostConfig(
    models=(
        SimModel("small", 4 * GB, tool_use=True),
        SimModel("large", 9 * GB, reasoning=True),
        SimModel("huge", 99 * GB),
        SimModel("eyes", 5 * GB, kind="vlm"),
        SimModel("vectors", 1 * GB, kind="embedding"),
    ),
    memory_bytes=32 * GB,
    time_scale=0,
)
MANUAL = replace(JIT, jit=False)
CHAT = "/v1/chat/completions"


class Client:
    """Plain HTTP to one simulated host."""

    def __init__(self, host: SimHost, session: aiohttp.ClientSession) -> None:
        self.host = host
        self.session = session

    def url(self, path: str) -> str:
        return f"http://{self.host.address}{path}"

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.session.get(self.url(path)) as response:
            return response.status, await response.json()

    async def post(self, path: str, **body: Any) -> tuple[int, Any]:
        async with self.session.post(self.url(path), json=body) as response:
            return response.status, await response.json()

    async def chat(self, text: str, model: str = "small", **more: Any) -> tuple[int, Any]:
        return await self.post(
            CHAT, model=model, messages=[{"role": "user", "content": text}], **more
        )

    def stream(self, text: str, model: str = "small", **more: Any) -> Any:
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "messages": messages, "stream": True, **more}
        return self.session.post(self.url(CHAT), json=body)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def content(chunks: list[Any], member: str = "content") -> str:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get(member, "") for delta in deltas)


async def events(response: aiohttp.ClientResponse) -> list[Any]:
    text = (await response.read()).decode()
    lines = [line for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]


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
    async with SimHost(replace(JIT, auto_evict=False, time_scale=0.001)) as host:
        client = Client(host, session)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.chat("one"))
            tasks.create_task(client.chat("two"))
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


async def test_closing_the_response_stops_the_generation(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.stall_after_tokens(5)
        async with Client(host, session).stream("[[tokens 50]]") as response:
            await response.content.readline()
        ended = await host.journal.wait_for(PredictionEnded)
        assert isinstance(ended, PredictionCancelled)
        assert ended.tokens <= 5
        assert host.resident[0].running == 0


async def test_a_stalled_answer_goes_on_when_the_dial_is_cleared(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(JIT) as host:
        host.faults.stall_after_tokens(2)
        async with Client(host, session).stream("[[say one two three]]") as response:
            first = await response.content.readline()
            host.faults.clear()
            rest = await response.read()
        assert b"one" in first
        assert b"three" in rest
        assert b"[DONE]" in rest


async def test_prefill_is_finished_before_a_left_prediction_gives_its_slot_back(
    session: aiohttp.ClientSession,
) -> None:
    slow = replace(JIT, time_scale=1.0, prefill_tokens_per_s=200)
    async with SimHost(slow) as host:
        await host.preload("small")
        client = Client(host, session)

        async def ask() -> None:
            await client.chat("hello there")

        async with asyncio.TaskGroup() as tasks:
            asker = tasks.create_task(ask())
            await host.journal.wait_for(PredictionStarted)
            asker.cancel()
        assert (await host.journal.wait_for(PredictionEnded)).tokens == 0
        assert host.resident[0].running == 0


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


async def test_the_connection_can_be_cut_after_some_tokens(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.drop_after_tokens(3)
        client = Client(host, session)
        async with client.stream("hello") as response:
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        assert host.journal.of(PredictionCut)[0].tokens == 3
        assert (await client.chat("again"))[0] == 200


@pytest.mark.parametrize("after", [None, 2])
async def test_a_stream_can_end_in_silence(
    session: aiohttp.ClientSession, after: int | None
) -> None:
    async with SimHost(JIT) as host:
        host.faults.silent_end(after)
        async with Client(host, session).stream("[[say one two three]]") as response:
            text = await response.text()
        assert "[DONE]" not in text
        assert '"finish_reason": "stop"' not in text
        assert host.journal.of(PredictionCut)[0].tokens == (3 if after is None else after)


async def test_an_answer_can_ask_for_a_silent_end(session: aiohttp.ClientSession) -> None:
    async with (
        SimHost(JIT) as host,
        Client(host, session).stream("[[stop-without-end]]") as response,
    ):
        assert "[DONE]" not in await response.text()


async def test_a_reply_can_name_another_model(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.wrong_model("somebody-else")
        client = Client(host, session)
        assert (await client.chat("hi"))[1]["model"] == "somebody-else"
        assert (await client.chat("hi"))[1]["model"] == "small"


async def test_the_first_token_can_be_slow(session: aiohttp.ClientSession) -> None:
    async with SimHost(replace(JIT, time_scale=0.0001)) as host:
        host.faults.slow_first_token(100, times=1)
        status, body = await Client(host, session).post(
            "/api/v0/chat/completions",
            model="small",
            messages=[{"role": "user", "content": "[[tokens 3]]"}],
        )
        assert status == 200
        assert body["stats"]["time_to_first_token"] >= 100


@pytest.mark.parametrize(("dial", "status"), [(Faults.status_500, 500), (Faults.status_503, 503)])
async def test_a_status_can_be_answered_so_many_times(
    session: aiohttp.ClientSession, dial: Any, status: int
) -> None:
    async with SimHost(JIT) as host:
        dial(host.faults, times=2, path=CHAT)
        client = Client(host, session)
        assert (await client.get("/v1/models"))[0] == 200
        assert [(await client.chat("hi"))[0] for _ in range(3)] == [status, status, 200]


async def test_garbage_is_neither_json_nor_an_event(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.garbage(times=1)
        async with session.get(f"http://{host.address}/v1/models") as response:
            with pytest.raises(ValueError, match=r"Expecting|codec"):
                json.loads(await response.read())


async def test_a_refused_connection_says_nothing(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.refuse(times=1)
        client = Client(host, session)
        with pytest.raises(aiohttp.ClientError):
            await client.chat("hi")
        assert (await client.chat("hi"))[0] == 200


async def test_a_hanging_host_answers_when_it_is_cleared(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.hang()
        client = Client(host, session)
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(client.get("/v1/models"))
            await host.journal.wait_for(Request)
            assert not asked.done()
            host.faults.clear()
        assert asked.result()[0] == 200


@pytest.mark.parametrize("path", ["/api/v1/models/load", CHAT])
async def test_a_load_over_rest_can_lose_its_connection(
    session: aiohttp.ClientSession, path: str
) -> None:
    async with SimHost(JIT) as host:
        host.faults.drop_mid_load(0.4)
        messages = [{"role": "user", "content": "hi"}]
        body = {"model": "small"} | ({"messages": messages} if path == CHAT else {})
        with pytest.raises(aiohttp.ClientError):
            await Client(host, session).post(path, **body)
        assert (await host.journal.wait_for(LoadFinished)).key == "small"


async def test_native_load_applies_its_settings_and_refuses_unknown_ones(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(JIT) as host:
        client = Client(host, session)
        status, body = await client.post(
            "/api/v1/models/load",
            model="small",
            context_length=2048,
            flash_attention=True,
            echo_load_config=True,
        )
        assert (status, body["status"], body["instance_id"]) == (200, "loaded", "small")
        assert body["load_config"]["context_length"] == 2048
        assert host.journal.of(LoadStarted)[0].config["llm.load.llama.flashAttention"] is True
        status, body = await client.post("/api/v1/models/load", model="small", ttl=60)
        assert status == 400
        assert "'ttl'" in body["error"]["message"]
        assert (await client.post("/api/v1/models/load", model="nothing"))[0] == 404
        assert (await client.post("/api/v1/models/load"))[0] == 400
        status, body = await client.post("/api/v1/models/load", model="huge")
        assert "insufficient" in body["error"]["message"]
        assert status == 500


async def test_native_lists_tell_kind_state_and_abilities(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        await host.preload("small", "mine", context_length=2048)
        client = Client(host, session)
        v0 = {model["id"]: model for model in (await client.get("/api/v0/models"))[1]["data"]}
        assert v0["mine"]["state"] == "loaded"
        assert v0["mine"]["loaded_context_length"] == 2048
        assert v0["mine"]["capabilities"] == ["tool_use"]
        assert v0["eyes"]["type"] == "vlm"
        assert v0["vectors"]["type"] == "embeddings"
        assert (await client.get("/api/v0/models/eyes"))[1]["state"] == "not-loaded"
        assert (await client.get("/api/v0/models/nothing"))[0] == 404
        v1 = {model["key"]: model for model in (await client.get("/api/v1/models"))[1]["models"]}
        assert v1["small"]["loaded_instances"][0]["id"] == "mine"
        assert v1["small"]["loaded_instances"][0]["config"]["parallel"] == 4
        assert v1["eyes"]["capabilities"]["vision"] is True
        assert "reasoning" in v1["large"]["capabilities"]
        assert v1["vectors"]["type"] == "embedding"


@pytest.mark.parametrize("body", ["", "[]", "{", '{"model": "small"}'])
async def test_a_body_that_makes_no_sense_is_refused(
    session: aiohttp.ClientSession, body: str
) -> None:
    async with (
        SimHost(JIT) as host,
        session.post(f"http://{host.address}{CHAT}", data=body) as response,
    ):
        assert response.status == 400
        assert isinstance((await response.json())["error"], str)


async def test_embeddings_need_an_input_and_a_model(session: aiohttp.ClientSession) -> None:
    async with SimHost(MANUAL) as host:
        client = Client(host, session)
        assert (await client.post("/v1/embeddings", model="vectors", input="hi"))[0] == 404
        await host.preload("vectors", context_length=512)
        status, body = await client.post("/v1/embeddings", model="vectors")
        assert (status, "input" in body["error"]) == (400, True)
        _, body = await client.post("/v1/embeddings", model="vectors", input="hi")
        assert body["model"] == "vectors"
        assert body["usage"]["total_tokens"] == 1


async def test_plain_prompts_need_a_prompt_and_give_text(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        client = Client(host, session)
        assert (await client.post("/v1/completions", model="small"))[0] == 400
        prompt = "[[think 3]] [[say Once upon a time]]"
        _, body = await client.post("/api/v0/completions", model="large", prompt=prompt)
        assert body["choices"][0]["text"] == "Once upon a time"
        assert body["model_info"]["arch"] == "llama"
        request = {"model": "large", "prompt": prompt, "stream": True}
        async with session.post(client.url("/v1/completions"), json=request) as response:
            chunks = await events(response)
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Once upon a time"


async def test_parts_of_a_message_are_read_and_pictures_counted(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(JIT) as host:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        parts = [{"type": "text", "text": "look"}, picture]
        messages = [{"role": "user", "content": parts}]
        await Client(host, session).post(CHAT, model="eyes", messages=messages)
        message = host.journal.of(PredictionStarted)[0].messages[0]
        assert (message.text, message.images) == ("look", 1)


async def test_native_unload_needs_a_resident_instance(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        client = Client(host, session)
        assert (await client.post("/api/v1/models/unload"))[0] == 400
        status, body = await client.post("/api/v1/models/unload", instance_id="small")
        assert (status, body["error"]["code"]) == (404, "model_not_found")


async def test_unloading_by_hand_needs_a_resident_instance() -> None:
    async with SimHost(JIT) as host:
        with pytest.raises(ModelNotLoaded):
            host.unload("small")
