"""``lantern run`` tells systemd how it stands, over the socket systemd would give it."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from discord_double import DiscordDouble
from discord_posts import Changes
from discord_shapes import TOKEN
from lantern_child import child_environment, lantern_child

from bot.sim.host import SimHost

pytestmark = [
    pytest.mark.ops,
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets here"),
]

GUARD_S = 180.0
WATCHDOG_USEC = "600000"


@dataclass(slots=True)
class Systemd:
    """The end systemd listens on."""

    address: str
    changes: Changes = field(default_factory=Changes)
    told: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def first(self, key: str) -> dict[str, str] | None:
        return next((message for message in self.told if key in message), None)

    def count(self, key: str) -> int:
        return sum(key in message for message in self.told)

    async def until_told(self, key: str, *, after: int = 0) -> dict[str, str]:
        def look() -> dict[str, str] | None:
            return next((message for message in self.told[after:] if key in message), None)

        return await self.changes.until(look)

    async def listen(self, ear: socket.socket) -> None:
        while True:
            datagram = await asyncio.get_running_loop().sock_recv(ear, 4096)
            lines = datagram.decode().splitlines()
            self.told.append(dict(line.split("=", 1) for line in lines))
            self.changes.tell()


@pytest.fixture
async def systemd(folder: Path) -> AsyncIterator[Systemd]:
    address = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.setblocking(False)
        ear.bind(address)
        listening = Systemd(address)
        async with asyncio.TaskGroup() as tasks:
            ears = tasks.create_task(listening.listen(ear))
            yield listening
            ears.cancel()


async def test_it_says_when_it_is_ready_that_it_lives_and_when_it_stops(
    discord: DiscordDouble, host: SimHost, folder: Path, systemd: Systemd
) -> None:
    discord.gateway.hold()
    (folder / "DISCORD_TOKEN").write_text(f"{TOKEN}\n")
    environment = child_environment(
        discord.url,
        [host.address],
        NOTIFY_SOCKET=systemd.address,
        WATCHDOG_USEC=WATCHDOG_USEC,
        DISCORD_TOKEN="",
        CREDENTIALS_DIRECTORY=str(folder),
    )
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        waiting = await systemd.until_told("EXTEND_TIMEOUT_USEC")
        assert waiting["STATUS"] == "connecting to Discord"
        assert waiting["WATCHDOG"] == "1"
        await discord.changes.until(lambda: discord.gateway.identified)
        assert systemd.first("READY") is None

        await child.until_logged("host found")
        discord.gateway.let_in()
        ready = await systemd.until_told("READY")
        assert ready["STATUS"] == "serving; 1 of 1 hosts up"
        alive = await systemd.until_told("WATCHDOG", after=systemd.told.index(ready))
        assert alive == {"WATCHDOG": "1", "STATUS": "serving; 1 of 1 hosts up"}

        child.signal(signal.SIGTERM)
        stopping = await systemd.until_told("STOPPING")
        assert stopping["STATUS"] == "draining"
        assert await child.ended() == 0
        assert systemd.count("READY") == 1
