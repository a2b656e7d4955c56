"""The lists of models, in OpenAI's shape and in LM Studio's two."""

from pathlib import Path
from typing import Any

from bot.sim.models import GB, SimModel
from tests.gateway.gate import Gate, gate
from tests.helpers.house import GEMMA, QWEN, sim

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
