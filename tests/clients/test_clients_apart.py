"""Unmodified clients in processes of their own, against a gateway here and against the demo's."""

import asyncio
import json
import re
import shutil
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from lantern_child import child_environment

from bot.app import utcnow
from bot.commands.keys import drawn_key
from bot.gateway.sinks import LifePace
from bot.sim.fleet import EMBEDDING, SHARED, SMALL
from bot.sim.journal import LoadStarted, PredictionCancelled
from bot.sim.models import GB, SimModel
from bot.store.database import Database
from bot.store.keys import KeyStore
from tests.gateway.gate import gate
from tests.helpers.house import GEMMA, QWEN, sim

pytestmark = pytest.mark.ops

GUARD_S = 120.0
ROOT = Path(__file__).parents[2]
VECTORS = SimModel("sim/vectors", GB, kind="embedding")
PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
PLAYS = {"node": 16, "langchain": 8, "llm": 9}
DEMO_PLAYS = PLAYS | {"openai": 7, "anthropic": 4}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a socket's address holds about a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="lantern-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def command(which: str) -> list[str]:
    """What plays one of them; empty where it is not installed."""
    folder = ROOT / "tests" / "clients"
    if which in ("openai", "anthropic"):
        return [sys.executable, str(folder / "clients.py"), which]
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
        await play(which, program, told)


async def play(which: str, program: list[str], told: tuple[str, ...]) -> None:
    """Plays one of them; it says of each play how it went."""
    played = await ended(await begun(program, told))
    assert len(played) >= DEMO_PLAYS[which]
    assert {play["name"]: play["error"] for play in played if play["error"]} == {}


async def begun(program: list[str], told: tuple[str, ...]) -> Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *program, *told, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe
    )


async def ended(process: Process) -> list[dict[str, str | None]]:
    """What it says of its plays, once nobody types anything any more."""
    async with asyncio.timeout(GUARD_S):
        out, err = await process.communicate(b"")
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(
    ("which", "client"),
    [
        ("openai", ""),
        ("anthropic", ""),
        ("langchain", ""),
        ("llm", ""),
        ("node", "openai"),
        ("node", "ai"),
    ],
)
async def test_each_sits_out_a_load_raises_on_a_cut_and_stops_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, client: str
) -> None:
    program = command(which)
    if not program:
        pytest.skip("its clients are not installed; `make ops` installs them where it can")
    sent, write = asyncio.Event(), web.StreamResponse.write

    async def told(response: web.StreamResponse, data: bytes) -> None:
        await write(response, data)
        sent.set()

    monkeypatch.setattr(web.StreamResponse, "write", told)
    models = {name: SimModel(f"sim/{name}", GB) for name in ("cold", "cut", "slow")}
    hosts = [sim(name, model) for name, model in models.items()]
    # A sign of life at once, and many of them.
    async with gate(tmp_path, *hosts, pace=LifePace(headers_s=0.0, every_s=0.05)) as it:
        cold, cut, slow = (it.house.hosts[name] for name in models)
        cold.faults.stall_load()
        cut.faults.drop_after_tokens(3, times=None)
        slow.faults.stall_after_tokens(3, times=None)
        key = (await it.key("editor")).removeprefix("Bearer ")
        args = (it.base, key, models["cold"].key, models["cold"].key, "", str(tmp_path))
        extra = (models["cut"].key, models["slow"].key, client)
        process = await begun(program, args + extra[: 3 if client else 2])
        try:
            async with asyncio.timeout(GUARD_S):
                await cold.journal.wait_for(LoadStarted)
                # Of the load alone: nothing else can be written before it.
                await sent.wait()
                cold.faults.clear("stall_load")
                await slow.journal.wait_for(PredictionCancelled)
        finally:
            played = await ended(process)
            assert {play["name"]: play["error"] for play in played if play["error"]} == {}
        assert len(played) == 3


@asynccontextmanager
async def demo(folder: Path) -> AsyncGenerator[str]:
    """``lantern demo`` at which nobody types anything; gives its gateway's address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "demo"),
        cwd=folder,
        # What it stores lies where its folder can be found, for a key.
        env=child_environment("http://127.0.0.1:9", [], TMPDIR=str(folder), COLUMNS="200"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        said = b""
        async with asyncio.timeout(GUARD_S):
            while (found := re.search(rb"(http://[\d.:]+)/v1", said)) is None:
                said += (line := await process.stdout.readline())
                assert line, said.decode()
        async with asyncio.TaskGroup() as tasks:
            # Whatever else it tells, it must not wait for a reader.
            tasks.create_task(process.stdout.read())
            try:
                yield found[1].decode()
            finally:
                process.terminate()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def stored_in(folder: Path) -> Path:
    """The demo's database."""
    (found,) = folder.glob("lantern-demo-*/lantern.db")
    return found


@pytest.mark.slow
async def test_they_work_against_the_gateway_of_the_demo_itself(folder: Path) -> None:
    programs = {which: program for which in DEMO_PLAYS if (program := command(which))}
    shown, drawn = drawn_key(
        "editor", scopes=["inference"], models=[], daily_usd=None, rate=None, expires=None
    )
    models = (SHARED.key, SMALL.key, EMBEDDING.key)
    async with demo(folder) as base:
        async with Database(stored_in(folder), utcnow=utcnow) as database:
            await KeyStore(database).add(drawn)
        for which, program in programs.items():
            await play(which, program, (base, shown, *models, str(folder)))
    assert {"openai", "anthropic"} <= set(programs)
