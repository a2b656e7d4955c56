"""Starting and idling: the time to the login, then memory and CPU with ten hosts and nobody asking.

``lantern run`` is a process of its own, pointed at a double of Discord; simulated hosts run here.
It is measured while connected to Discord and to every host, over one whole round of probes.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.table import Row, at_most, told
from bot.sim.host import SimHost
from bot.sim.models import GB, SimHostConfig, SimModel

HOSTS = 10
MODELS_EACH = 12
STARTS = 5
LOGIN_S = 0.9
MB = 10**6
MEMORY_MB = 95.0
CPU_PERCENT = 0.5
SETTLE_S = 5.0
IDLE_S = 30.0
"""One round of probes at the default interval."""

DOUBLES = Path(__file__).parents[1] / "tests" / "doubles"

_PACKAGES = "import apscheduler.schedulers.asyncio, discord.ext.commands, httpx, lmstudio, typer"


def run() -> list[Row]:
    """Measure on this machine; nothing to tell where processes cannot be looked at."""
    sys.path.insert(0, str(DOUBLES))
    packages_s = median(_imported_s() for _ in range(STARTS))
    return asyncio.run(_measure(packages_s))


def _imported_s() -> float:
    """Seconds of an interpreter that imports the fixed packages and does nothing."""
    script = f"import time; t = time.perf_counter(); {_PACKAGES}; print(time.perf_counter() - t)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(ran.stdout)


async def _measure(packages_s: float) -> list[Row]:
    from discord_double import DiscordDouble
    from lantern_child import child_environment, lantern_child

    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lantern-bench-")))
        discord = await stack.enter_async_context(DiscordDouble())
        hosts = [await stack.enter_async_context(SimHost(_host(n))) for n in range(HOSTS)]
        environment = child_environment(discord.url, [host.address for host in hosts])
        starts: list[float] = []
        for _ in range(STARTS):
            begun = asyncio.get_running_loop().time()
            discord.calls.clear()
            async with lantern_child(folder, environment):
                await discord.changes.until(lambda: discord.calls)
                starts.append(asyncio.get_running_loop().time() - begun)
        login_s = median(starts)
        rows = [
            at_most("process start until it logs in", login_s, "s", LOGIN_S),
            told("the same, to importing the fixed packages alone", login_s / packages_s, "x"),
        ]
        if sys.platform != "linux":  # nobody else has /proc
            return rows
        async with lantern_child(folder, environment) as child:
            await child.until_serving()
            await asyncio.sleep(SETTLE_S)
            idle = await _idle(child.process.pid)
    what = f"{HOSTS} hosts of {MODELS_EACH} models"
    return [
        *rows,
        at_most(f"idle memory, {what}", idle.memory_mb, "MB", MEMORY_MB),
        at_most(f"idle CPU, {what}", idle.cpu_percent, "%", CPU_PERCENT),
    ]


def _host(number: int) -> SimHostConfig:
    keys = (f"maker/model-{size}b" for size in range(1, MODELS_EACH + 1))
    return SimHostConfig(name=f"host-{number}", models=tuple(SimModel(key, GB) for key in keys))


@dataclass(frozen=True, slots=True)
class _Idle:
    memory_mb: float
    cpu_percent: float


async def _idle(pid: int) -> _Idle:
    loop = asyncio.get_running_loop()
    begun, spent = loop.time(), cpu_s(pid)
    await asyncio.sleep(IDLE_S)
    cpu = (cpu_s(pid) - spent) / (loop.time() - begun)
    return _Idle(memory_mb=memory_mb(pid), cpu_percent=100 * cpu)


def cpu_s(pid: int) -> float:
    """User and system seconds so far; fields 14 and 15 of proc(5) stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Resident memory; field 2 of proc(5) statm."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB
