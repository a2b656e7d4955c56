"""The real PM2, with a daemon of its own that ends with the block."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lantern_child import ROOT

PROGRAM = ROOT / "node_modules" / "pm2" / "bin" / "pm2"


def missing() -> str | None:
    """Why PM2 cannot be tried here; None when it can."""
    if os.name != "posix":
        return "PM2 sends no signals here"
    if shutil.which("node") is None:
        return "node is not installed"
    return None if PROGRAM.exists() else "PM2 is not installed; run: npm ci --ignore-scripts"


@dataclass(frozen=True, slots=True)
class App:
    """What PM2 says of Lantern."""

    pid: int
    status: str
    restarts: int
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Pm2:
    """One PM2 home and its daemon."""

    home: Path
    environment: Mapping[str, str]

    async def run(self, *arguments: str) -> str:
        """What a PM2 command wrote."""
        # A pipe would stay open with the daemon, which keeps what its first command was given.
        with tempfile.TemporaryFile() as told:
            process = await asyncio.create_subprocess_exec(
                "node",
                str(PROGRAM),
                *arguments,
                "--no-color",
                cwd=self.home.parent,
                env=dict(self.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=told,
                stderr=asyncio.subprocess.STDOUT,
            )
            await process.wait()
            told.seek(0)
            written = told.read().decode()
        assert process.returncode == 0, written
        return written

    async def app(self) -> App | None:
        """Lantern as PM2 sees it."""
        written = await self.run("jlist", "--silent")
        apps: list[dict[str, Any]] = json.loads(written[written.index("[") :])
        if not apps:
            return None
        (app,) = apps
        state = app["pm2_env"]
        return App(app["pid"], state["status"], state["restart_time"], state.get("exit_code"))

    async def events(self) -> list[dict[str, Any]]:
        """The log lines Lantern wrote under this PM2; each line of that file is one."""
        written = await asyncio.to_thread((self.home / "logs" / "lantern-out.log").read_text)
        return [json.loads(line) for line in written.splitlines()]

    async def errors(self) -> str:
        """What else it wrote."""
        return await asyncio.to_thread((self.home / "logs" / "lantern-error.log").read_text)

    @property
    def daemon_pid(self) -> int:
        """The daemon's process."""
        return int((self.home / "pm2.pid").read_text())


@asynccontextmanager
async def pm2_with(home: Path, environment: Mapping[str, str]) -> AsyncGenerator[Pm2]:
    """A PM2 home whose daemon and programs are gone when the block is left."""
    own = {
        **environment,
        "PM2_HOME": str(home),
        "HOME": str(home),
        # Neither asks the network for a newer version nor shows its banner.
        "PM2_DISABLE_VERSION_CHECK": "true",
        "PM2_DISCRETE_MODE": "true",
    }
    pm2 = Pm2(home, own)
    try:
        yield pm2
    finally:
        await pm2.run("kill")
        with suppress(OSError, ValueError):
            os.kill(pm2.daemon_pid, signal.SIGKILL)
