"""``ecosystem.config.js`` under the real PM2."""

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from discord_double import DiscordDouble
from lantern_child import ROOT, child_environment
from pm2_commands import Pm2, missing, pm2_with

from bot.sim.host import SimHost

pytestmark = [
    pytest.mark.ops,
    pytest.mark.slow,
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]

GUARD_S = 180.0


@pytest.fixture
def environment(discord: DiscordDouble, host: SimHost, folder: Path) -> dict[str, str]:
    shutil.copy(ROOT / "ecosystem.config.js", folder)
    return child_environment(discord.url, [host.address], PM2_PYTHON=sys.executable)


async def test_pm2_waits_until_ready_and_stops_with_a_drain(
    discord: DiscordDouble, folder: Path, environment: dict[str, str]
) -> None:
    discord.gateway.hold()
    async with (
        asyncio.timeout(GUARD_S),
        pm2_with(folder / "pm2", environment) as pm2,
        asyncio.TaskGroup() as tasks,
    ):
        starting = tasks.create_task(pm2.run("start", str(folder / "ecosystem.config.js")))
        await discord.changes.until(lambda: discord.gateway.identified)
        app = await pm2.app()
        assert app is not None
        assert app.status == "launching"
        assert not starting.done()

        discord.gateway.let_in()
        await starting
        app = await pm2.app()
        assert app is not None
        assert (app.status, app.restarts) == ("online", 0)

        question = await discord.say("Tell me. [[tokens 120]]")
        answer = await discord.changes.until(lambda: discord.answer(question))
        await pm2.run("stop", "lantern")
        app = await pm2.app()
        assert app is not None
        assert (app.status, app.exit_code, app.restarts) == ("stopped", 0, 0)
        assert "120 tokens" in answer.content
        assert not answer.has_button("stop")
        events = [line["event"] for line in await pm2.events()]
        assert events[-1] == "stopped"
        assert "draining" in events
        assert await pm2.errors() == ""


async def test_after_a_kill_by_the_system_pm2_starts_it_again_and_a_stop_keeps_it_down(
    discord: DiscordDouble, folder: Path, environment: dict[str, str]
) -> None:
    async with asyncio.timeout(GUARD_S), pm2_with(folder / "pm2", environment) as pm2:
        await pm2.run("start", str(folder / "ecosystem.config.js"))
        first = await pm2.app()
        assert first is not None

        # As the kernel does when memory runs out. PM2 calls that exit code 0, with a signal.
        os.kill(first.pid, signal.SIGKILL)
        await discord.changes.until(lambda: not discord.gateway.is_connected)
        await discord.changes.until(lambda: discord.gateway.is_connected)
        again = await pm2.app()
        while again is not None and again.status == "launching":
            # It is logged in, and about to say that it is ready.
            again = await pm2.app()
        assert again is not None
        assert (again.status, again.restarts) == ("online", 1)
        assert again.pid not in (0, first.pid)

        await pm2.run("stop", "lantern")
        stopped = await pm2.app()
        assert stopped is not None
        assert (stopped.status, stopped.pid, stopped.restarts) == ("stopped", 0, 1)


async def test_beside_an_orphan_of_a_dead_pm2_a_second_lantern_refuses_and_stays_down(
    discord: DiscordDouble, folder: Path, environment: dict[str, str]
) -> None:
    async with asyncio.timeout(GUARD_S), pm2_with(folder / "pm2", environment) as pm2:
        await pm2.run("start", str(folder / "ecosystem.config.js"))
        orphan = await pm2.app()
        assert orphan is not None
        try:
            os.kill(pm2.daemon_pid, signal.SIGKILL)
            await start_beside(pm2, discord, folder)
            os.kill(orphan.pid, signal.SIGINT)
            await discord.changes.until(lambda: not discord.gateway.is_connected)
        finally:
            with suppress(ProcessLookupError):
                os.kill(orphan.pid, signal.SIGKILL)


async def start_beside(pm2: Pm2, discord: DiscordDouble, folder: Path) -> None:
    """Starts a second Lantern, which refuses while the first one answers on."""
    await pm2.run("start", str(folder / "ecosystem.config.js"))
    second = await pm2.app()
    assert second is not None
    assert (second.pid, second.exit_code) == (0, 78)

    question = await discord.say("Still there? [[tokens 12]]")
    answer = await discord.changes.until(lambda: discord.answer(question))
    await discord.changes.until(lambda: answer.has_button("retry"))
    second = await pm2.app()
    assert second is not None
    assert (second.pid, second.exit_code, second.restarts) == (0, 78, 0)
    assert (await pm2.errors()).count("Another Lantern is running on this database") == 1
