"""Unmodified clients of Node against the gateway: openai-node and Vercel's AI SDK."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from bot.sim.models import GB, SimModel
from tests.gateway.gate import gate
from tests.helpers.house import GEMMA, QWEN, sim

pytestmark = pytest.mark.ops

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "clients" / "clients.mjs"
VECTORS = SimModel("sim/vectors", GB, kind="embedding")


def why_not() -> str:
    if shutil.which("node") is None:
        return "node is not installed"
    is_there = all((ROOT / "node_modules" / name).is_dir() for name in ("openai", "ai"))
    return "" if is_there else "its clients are not installed; run: npm ci --ignore-scripts"


@pytest.mark.skipif(bool(why_not()), reason=why_not())
async def test_nodes_clients_find_what_they_expect(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, VECTORS), sim("two", GEMMA, VECTORS)) as it:
        key = (await it.key("node")).removeprefix("Bearer ")
        process = await asyncio.create_subprocess_exec(
            "node",
            str(SCRIPT),
            it.base,
            key,
            QWEN.key,
            GEMMA.key,
            VECTORS.key,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        told: list[dict[str, str | None]] = [json.loads(line) for line in out.splitlines()]
        assert len(told) >= 16
        assert {play["name"]: play["error"] for play in told if play["error"]} == {}
