"""Unmodified clients in processes of their own: Node's, LangChain's and ``llm``."""

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
VECTORS = SimModel("sim/vectors", GB, kind="embedding")
PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
PLAYS = {"node": 16, "langchain": 8, "llm": 9}


def command(which: str) -> list[str]:
    """What plays one of them; empty where it is not installed."""
    folder = ROOT / "tests" / "clients"
    if which != "node":
        return [str(PYTHON), str(folder / "clients.py"), which] if PYTHON.exists() else []
    is_there = all((ROOT / "node_modules" / name).is_dir() for name in ("openai", "ai"))
    return ["node", str(folder / "clients.mjs")] if is_there and shutil.which("node") else []


@pytest.mark.parametrize("which", PLAYS)
async def test_they_find_what_they_expect(tmp_path: Path, which: str) -> None:
    program = command(which)
    if not program:
        pytest.skip("its clients are not installed; `make ops` installs them where it can")
    sage = {"sage": f"model: {QWEN.key}"}
    hosts = (sim("one", QWEN, VECTORS), sim("two", GEMMA, VECTORS))
    async with gate(tmp_path, *hosts, personas=sage) as it:
        key = (await it.key("editor")).removeprefix("Bearer ")
        told = (it.base, key, QWEN.key, GEMMA.key, VECTORS.key, str(tmp_path))
        process = await asyncio.create_subprocess_exec(
            *program,
            *told,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        played: list[dict[str, str | None]] = [json.loads(line) for line in out.splitlines()]
        assert len(played) >= PLAYS[which]
        assert {play["name"]: play["error"] for play in played if play["error"]} == {}
