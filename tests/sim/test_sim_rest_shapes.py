"""A simulated host over plain HTTP: bodies in and out, native paths."""

import aiohttp
import pytest
from sim_http import CHAT, JIT, MANUAL, Client, events

from bot.sim.errors import ModelNotLoaded
from bot.sim.host import SimHost
from bot.sim.journal import (
    LoadStarted,
    PredictionStarted,
)


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
