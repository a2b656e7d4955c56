"""The lists of models, in OpenAI's shape and in LM Studio's two."""

import asyncio
from pathlib import Path
from typing import Any

from bot.domain.ids import HostName
from bot.sim.models import GB, SimModel
from tests.gateway.gate import CHATS, Gate, chat, gate
from tests.helpers.house import GEMMA, GUARD_S, QWEN, sim

EYES = SimModel("sim/eyes-4b", 2 * GB, kind="vlm", tool_use=True, reasoning=True)
VECTORS = SimModel("sim/vectors", GB, kind="embedding")


async def rows(it: Gate, path: str, field: str = "data", **headers: str) -> dict[str, Any]:
    answer = await it.ask(path, method="GET", **headers)
    listed: Any = answer.json[field]
    found = {str(row.get("id") or row.get("key")): row for row in listed}
    assert len(found) == len(listed)
    return found


async def test_lm_studios_lists_hold_the_whole_fleet_once(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, EYES), sim("two", QWEN, VECTORS)) as it:
        await it.house.hosts["one"].preload(QWEN.key, context_length=2048)
        await it.house.hosts["two"].preload(QWEN.key, context_length=4096)
        for name in ("one", "two"):
            await it.house.lantern.fleet.host(name).probe()  # pyright: ignore[reportArgumentType]  # a name
        v0 = await rows(it, "/api/v0/models")
        assert {key: row["type"] for key, row in v0.items()} == {
            QWEN.key: "llm",
            EYES.key: "vlm",
            VECTORS.key: "embeddings",
        }
        assert (v0[QWEN.key]["state"], v0[QWEN.key]["loaded_context_length"]) == ("loaded", 4096)
        assert v0[EYES.key]["state"] == "not-loaded"
        assert v0[EYES.key]["capabilities"] == ["tool_use"]
        assert "loaded_context_length" not in v0[EYES.key]
        one = await it.ask(f"/api/v0/models/{QWEN.key.replace('/', '%2F')}", method="GET")
        assert one.json == v0[QWEN.key]
        none = await it.ask("/api/v0/models/sim/none", method="GET")
        assert (none.status, none.error["code"]) == (404, "model_not_found")

        v1 = await rows(it, "/api/v1/models", "models")
        assert v1.keys() == v0.keys()
        windows = [i["config"]["context_length"] for i in v1[QWEN.key]["loaded_instances"]]
        assert sorted(windows) == [2048, 4096]
        assert v1[EYES.key]["capabilities"]["vision"] is True
        assert v1[EYES.key]["loaded_instances"] == []
        assert v1[VECTORS.key]["type"] == "embedding"
        assert "capabilities" not in v1[VECTORS.key]


async def test_a_key_sees_only_the_models_it_is_for(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        narrow = await it.key("narrow", models=("qwen/*",))
        for path, field in (
            ("/v1/models", "data"),
            ("/api/v0/models", "data"),
            ("/api/v1/models", "models"),
        ):
            assert list(await rows(it, path, field, Authorization=narrow)) == [QWEN.key]


async def test_who_comes_before_every_host_was_seen_is_told_of_all_of_them(tmp_path: Path) -> None:
    hosts = sim("one", QWEN), sim("two", GEMMA, VECTORS)
    async with gate(tmp_path, *hosts, is_settled=False, hanging=["two"]) as it:
        fleet = it.house.lantern.fleet
        assert await fleet.settled(GUARD_S, HostName("one"))
        vectors = {"input": "hi"}
        async with asyncio.TaskGroup() as clients:
            asked = [
                clients.create_task(it.ask(CHATS, chat(GEMMA.key))),
                clients.create_task(it.ask("/v1/embeddings", vectors)),
                clients.create_task(it.ask("/v1/models", method="GET")),
                clients.create_task(it.ask(f"/api/v0/models/{GEMMA.key}", method="GET")),
            ]
            # Who asks for what is known already waits for nobody.
            known = await it.ask(CHATS, chat(QWEN.key))
            assert known.status == 200
            assert not any(task.done() for task in asked)
            it.house.hosts["two"].faults.clear()
        assert [task.result().status for task in asked] == [200] * 4
        assert GEMMA.key in str(asked[2].result().json)


async def test_lm_studios_paths_that_are_not_here_lead_to_those_that_are(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        for path in ("/api/v0/chat/completions", "/api/v1/chat"):
            answer = await it.ask(path, chat(QWEN.key))
            assert (answer.status, answer.error["code"]) == (404, "unknown_url")
            told = str(answer.error["message"])
            assert "GET /api/v0/models" in told
            assert CHATS in told
        elsewhere = await it.ask("/elsewhere", method="GET")
        assert elsewhere.error["message"] == "There is nothing at this path."
