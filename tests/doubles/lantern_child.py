"""``lantern run`` as a process of its own, with a double for Discord and simulated hosts."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from discord_posts import Changes
from discord_shapes import TOKEN

ROOT = Path(__file__).parents[2]
REDIRECT = Path(__file__).with_name("redirect")

KEPT = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT", "SSL_CERT_DIR", "COVERAGE_PROCESS_START")
"""What a child needs of this process's environment; nothing of Lantern's own leaks in."""


def child_environment(url: str, hosts: Sequence[str], **more: str) -> dict[str, str]:
    """The environment of a Lantern that takes ``url`` for Discord."""
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        "PYTHONPATH": os.pathsep.join((str(REDIRECT), str(ROOT))),
        "DISCORD_DOUBLE": url,
        "DISCORD_TOKEN": TOKEN,
        "LANTERN_HOSTS": ",".join(hosts),
        "LANTERN_LOG__FORMAT": "json",
        **more,
    }


@dataclass(slots=True)
class Child:
    """A running Lantern and what it has logged."""

    process: asyncio.subprocess.Process
    changes: Changes = field(default_factory=Changes)
    log: list[str] = field(default_factory=list[str])
    """What it wrote to standard output, a line each."""
    lines: list[str] = field(default_factory=list[str])
    """The same and what it wrote to standard error."""
    is_silent: bool = False
    """Has it closed both?"""

    @property
    def text(self) -> str:
        """Everything it wrote."""
        return "\n".join(self.lines)

    def mentions(self, words: str) -> bool:
        return words in self.text

    def logged(self, event: str) -> Mapping[str, object] | None:
        """The first log line of that event."""
        return next((line for line in self._events() if line.get("event") == event), None)

    async def until_logged(self, event: str) -> Mapping[str, object]:
        """Waits for a log line; fails with all lines when the process ended without it."""

        def look() -> Mapping[str, object] | None:
            found = self.logged(event)
            assert found or not self.is_silent, f"ended without {event!r}:\n{self.text}"
            return found

        return await self.changes.until(look)

    async def until_serving(self) -> None:
        """Waits until Discord has taken it in and a host was found."""
        await self.until_logged("host found")
        await self.until_logged("ready")

    async def ended(self) -> int:
        """Its exit code, once all it said was read."""
        await self.changes.until(lambda: self.is_silent)
        return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        """Ends it as a power cut would."""
        self.process.kill()
        await self.ended()

    async def listen(self) -> None:
        output, errors = self.process.stdout, self.process.stderr
        assert output is not None
        assert errors is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(output, self.log, self.lines))
            tasks.create_task(self._read(errors, self.lines))
        self.is_silent = True
        self.changes.tell()

    async def _read(self, stream: asyncio.StreamReader, *kept: list[str]) -> None:
        async for line in stream:
            for lines in kept:
                lines.append(line.decode(errors="replace").rstrip())
            self.changes.tell()

    def _events(self) -> list[Mapping[str, object]]:
        return [
            cast("Mapping[str, object]", json.loads(line))
            for line in self.log
            if line.startswith("{")
        ]


@asynccontextmanager
async def lantern_child(
    folder: Path, environment: Mapping[str, str], *arguments: str
) -> AsyncGenerator[Child]:
    """Starts ``python -m bot run`` in a folder; whatever happens, it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        "-m",
        "bot",
        *(arguments or ("run",)),
        cwd=folder,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    child = Child(process)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(child.listen())
            try:
                yield child
            finally:
                if process.returncode is None:
                    process.kill()
    except BaseExceptionGroup as group:
        lone = group.exceptions[0]
        lone.add_note(f"Lantern wrote:\n{child.text}")
        raise lone from None
    finally:
        await process.wait()
