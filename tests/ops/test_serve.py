"""``lantern serve``, ``lantern keys`` and the gateway beside Discord, as processes of their own."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from discord_double import DiscordDouble
from discord_posts import Post
from lantern_child import Child, child_environment, lantern_child

from bot.sim.host import SimHost
from bot.sim.models import SimHostConfig
from tests.ops.conftest import MODEL

pytestmark = [pytest.mark.ops, pytest.mark.slow]

GUARD_S = 180.0
LISTEN = {"LANTERN_GATEWAY__LISTEN": "127.0.0.1:0"}
OPEN = {
    "LANTERN_GATEWAY__LISTEN": "0.0.0.0:0",
    "LANTERN_GATEWAY__ALLOW": "127.0.0.0/8,10.0.0.0/8",
}


def environment(host: SimHost, **more: str) -> dict[str, str]:
    return child_environment("http://127.0.0.1:9", [host.address], DISCORD_TOKEN="", **more)


@asynccontextmanager
async def serving(child: Child) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of a child's gateway, once it is ready."""
    await child.until_logged("host found")
    listens = await child.until_logged("gateway listens")
    await child.until_logged("ready")
    base = str(listens["address"]).replace("0.0.0.0", "127.0.0.1")
    async with aiohttp.ClientSession(base) as session:
        yield session


async def lantern(folder: Path, env: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *arguments),
        cwd=folder,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


def chat(words: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": words}], "model": "qwen/qwen3-8b", **more}


async def test_it_serves_without_discord_and_ends_when_its_answers_have(
    host: SimHost, folder: Path
) -> None:
    env = environment(host, **LISTEN)
    async with asyncio.timeout(GUARD_S), lantern_child(folder, env, "serve") as child:
        async with serving(child) as client:
            host.faults.stall_after_tokens(20)
            body = chat("Tell me. [[tokens 60]]", stream=True)
            async with client.post("/v1/chat/completions", json=body) as answer:
                assert answer.status == 200
                first = await answer.content.readline()

                child.signal(signal.SIGTERM)
                await child.until_logged("stopping")
                async with client.get("/v1/models") as listed:
                    assert listed.status == 200
                async with client.post("/v1/chat/completions", json=chat("More?")) as refused:
                    assert refused.status == 503
                    assert "restarting" in (await refused.json())["error"]["message"]
                host.faults.clear()
                lines = [first, *(await answer.read()).splitlines()]
        lines = [line for line in lines if line.strip()]
        assert lines[-1].strip() == b"data: [DONE]"
        assert sum(b'"content"' in line for line in lines) > 30
        assert await child.ended() == 0
        assert child.logged("stopped")
        assert not child.mentions("Traceback")
        assert not child.mentions("Tell me")
        assert "lantern.db-wal" not in os.listdir(folder)


async def test_a_log_that_nobody_reads_any_more_makes_no_failure_of_a_stop(
    host: SimHost, folder: Path
) -> None:
    async with asyncio.timeout(GUARD_S):
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as log:
            serving = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bot", "serve"),
                cwd=folder,
                env=environment(host, **LISTEN),
                stdout=writing,
                stderr=asyncio.subprocess.PIPE,
            )
            os.close(writing)
            while json.loads(await asyncio.to_thread(log.readline))["event"] != "ready":
                pass
        serving.send_signal(signal.SIGTERM)
        _, said = await serving.communicate()
        assert (serving.returncode, said) == (0, b"")


async def test_open_to_the_network_it_wants_a_key_and_says_how_to_make_one(
    host: SimHost, folder: Path
) -> None:
    env = environment(host, **OPEN)
    # Five processes, one behind the other.
    async with asyncio.timeout(3 * GUARD_S):
        async with lantern_child(folder, env, "serve") as child:
            assert await child.ended() == 78
            assert child.mentions("lantern keys add NAME --scope inference")
            assert not child.mentions("Traceback")

        code, said = await lantern(folder, env, "keys", "add", "editor", "--json")
        assert code == 0
        made = cast(dict[str, str], json.loads(said))
        assert made["name"] == "editor"

        async with lantern_child(folder, env, "serve") as child:
            async with serving(child) as client:
                bearer = {"Authorization": f"Bearer {made['key']}"}

                async def status(headers: dict[str, str]) -> int:
                    async with client.get("/v1/models", headers=headers) as answer:
                        return answer.status

                assert await status({}) == 401
                assert await status(bearer) == 200
                # Beside the running one: a key made now opens, and one taken away opens no more.
                code, said = await lantern(folder, env, "keys", "add", "other", "--json")
                other = {"x-api-key": json.loads(said)["key"]}
                code, said = await lantern(folder, env, "keys", "revoke", "editor")
                assert code == 0
                while await status(bearer) != 401:  # noqa: ASYNC110  # nothing tells that keys were read
                    await asyncio.sleep(0.05)
                assert await status(other) == 200
            child.signal(signal.SIGTERM)
            assert await child.ended() == 0
            assert not child.mentions(made["key"])
            assert not child.mentions("Traceback")


async def test_a_port_that_is_taken_is_told_in_words(host: SimHost, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        env = environment(host, LANTERN_GATEWAY__LISTEN=address)
        async with asyncio.timeout(GUARD_S), lantern_child(folder, env, "serve") as child:
            assert await child.ended() == 78
            assert child.mentions(f"{address} cannot be listened on")
            assert not child.mentions("Traceback")


async def test_beside_discord_both_are_answered_and_both_are_drained(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    env = child_environment(discord.url, [host.address], LANTERN_GATEWAY__ENABLED="true", **LISTEN)

    def begun(question: str) -> Post | None:
        post = discord.answer(question)
        return post if post is not None and "simulated answer" in post.content else None

    async with asyncio.timeout(GUARD_S), lantern_child(folder, env) as child:
        async with serving(child) as client:
            question = await discord.say("Tell me. [[tokens 60]]")
            body = chat("And me. [[tokens 60]]", stream=True)
            async with client.post("/v1/chat/completions", json=body) as answer:
                assert answer.status == 200
                await discord.changes.until(lambda: begun(question))
                # A closed terminal, told of as the kernel and the shell do.
                child.signal(signal.SIGHUP)
                child.signal(signal.SIGHUP)
                lines = [line for line in (await answer.read()).splitlines() if line]
        assert lines[-1].strip() == b"data: [DONE]"
        assert await child.ended() == 0
        told = discord.answer(question)
        assert told is not None
        assert "60 tokens" in told.content
        assert not child.mentions("Traceback")


async def test_a_gateway_that_cannot_listen_stops_the_bot_before_it_logs_in(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    env = child_environment(discord.url, [host.address], LANTERN_GATEWAY__ENABLED="true", **OPEN)
    async with asyncio.timeout(GUARD_S), lantern_child(folder, env) as child:
        assert await child.ended() == 78
        assert child.mentions("lantern keys add NAME --scope inference")
        assert not child.mentions("Traceback")
    assert discord.gateway.identified == 0


async def test_neither_drain_makes_the_other_wait(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    shorter = json.dumps(
        {"bot.commands.run": {"DRAIN_S": 1.0}, "bot.commands.service": {"STOP_S": 4.0}}
    )
    more = {"LANTERN_GATEWAY__ENABLED": "true", "CHANGED_CONSTANTS": shorter, **LISTEN}
    env = child_environment(discord.url, [host.address], **more)
    async with asyncio.timeout(GUARD_S), lantern_child(folder, env) as child:
        async with serving(child) as client:
            question = await discord.say("Tell me. [[tokens 5000]]")
            body = chat("And me. [[tokens 5000]]", stream=True)
            async with client.post("/v1/chat/completions", json=body) as answer:
                await discord.changes.until(lambda: discord.answer(question))
                await answer.content.readline()
                child.signal(signal.SIGTERM)
                lines = [line for line in (await answer.read()).splitlines() if line]
        assert b"restarting" in lines[-2]
        assert lines[-1].strip() == b"data: [DONE]"
        assert await child.ended() == 0
        told = discord.answer(question)
        assert told is not None
        assert "Lantern is restarting" in told.content


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_what_the_guide_and_the_readme_say_to_type_runs_against_serve(folder: Path) -> None:
    root = Path(__file__).parents[2]
    blocks = re.findall(
        r"^(?: {4}|)(curl .*)$",
        "\n".join((root / name).read_text("utf-8") for name in ("README.md", "docs/gateway.md")),
        re.M,
    )
    # Those to other machines want a name and a key of theirs.
    lines = [line for line in blocks if "http://127.0.0.1:8400/" in line]
    assert len(lines) == len(blocks) >= 15
    models = (MODEL, replace(MODEL, key="google/gemma-3-4b", max_context_length=8192))
    config = SimHostConfig(name="studio", models=models, tokens_per_s=500)
    async with SimHost(config) as host, asyncio.timeout(GUARD_S):
        env = environment(host, **LISTEN)
        async with lantern_child(folder, env, "serve") as child, serving(child) as client:
            async with client.get("/healthz") as alive:
                base = str(alive.url.origin())
            for line in lines:
                typed = line.replace("http://127.0.0.1:8400", base).replace("curl ", "curl -f ")
                process = await asyncio.create_subprocess_shell(
                    typed, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
                )
                said, _ = await process.communicate()
                assert (line, process.returncode) == (line, 0)
                assert said.endswith(b"data: [DONE]\n\n") or json.loads(said)
