"""The stand-in for Discord: its process, its people, and each message as they see it over time."""

import asyncio
import json
import os
import shlex
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from discord_posts import Changes

Json = Any
"""What the stand-in's control port takes and tells."""

LOOK_S = 0.05
STILL_S = 0.1
"""A look that comes back later than this says that one of us stood still."""


class Refused(Exception):
    """Discord's own client would not let a person do this."""


class NoStandIn(Exception):
    """It could not be started; says why in a line."""


def parts_of(components: Json) -> Iterator[Json]:
    """Every component of a message, depth first."""
    for component in components or ():
        yield component
        yield from parts_of(component.get("components"))
        yield from parts_of(
            [component[key] for key in ("accessory", "component") if key in component]
        )


@dataclass(slots=True)
class Message:
    """One message: what it reads now and every state it ever had."""

    seen: Json
    """As the stand-in tells it, renewed with each of its changes."""

    @property
    def id(self) -> str:
        return self.seen["id"]

    @property
    def channel(self) -> str:
        return self.seen["channel"]

    @property
    def text(self) -> str:
        return self.seen["text"]

    @property
    def answers(self) -> str | None:
        """The message it replies to."""
        return self.seen["reply_to"]

    @property
    def history(self) -> list[Json]:
        """Its states, oldest first: ``t``, ``content``, ``components``, ``thinking`` and more."""
        return self.seen["history"]

    @property
    def parts(self) -> list[Json]:
        return list(parts_of(self.seen["components"]))

    @property
    def ids(self) -> list[str]:
        """The custom ids of what can be pressed or chosen in."""
        return [part["custom_id"] for part in self.parts if part.get("custom_id")]

    @property
    def acts(self) -> list[str]:
        """What Lantern's buttons under it do."""
        return [name.split(":")[1] for name in self.ids if name.startswith("lantern")]

    @property
    def labels(self) -> list[str]:
        return [part["label"] for part in self.parts if part.get("label")]

    @property
    def is_working(self) -> bool:
        """Does it promise more: a sign that it thinks, a Stop or a Cancel?"""
        return self.seen["thinking"] or bool({"stop", "cancel", "halt"} & set(self.acts))

    @property
    def has_ended(self) -> bool:
        return bool(self.text.strip()) and not self.is_working


class StandIn:
    """A running stand-in: every operation of its control port is a method, arguments by name."""

    def __init__(self, session: aiohttp.ClientSession, addresses: Json, journal: Path) -> None:
        self.api: str = addresses["api"]
        self.token: str = next(iter(addresses["tokens"].values()))
        self.messages: dict[str, Message] = {}
        self.changes = Changes()
        self.stills: list[tuple[float, float]] = []
        """When it, or this process with the simulated hosts, stood still, and for how long."""
        self._control: str = addresses["control"]
        self._session = session
        self._journal = journal.open(encoding="utf-8")
        self._line = ""
        self._gone: set[str] = set()
        self._looking = asyncio.Lock()

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[Json]]:
        async def call(**arguments: object) -> Json:
            url = f"{self._control}/ctl/{operation}"
            async with self._session.post(url, json=arguments) as response:
                said = await response.json()
            if response.status == 409:
                raise Refused(said["error"]["message"])
            if response.status == 408:
                raise TimeoutError(said["error"]["message"])
            if response.status >= 400:
                raise RuntimeError(f"{operation} {arguments}: {said['error']}")
            return said

        return call

    async def fetch(self, url: str) -> bytes:
        """What a person gets who opens a file."""
        async with self._session.get(url) as response:
            return await response.read()

    def mine(self, channel: str | None = None, *, hidden: bool = False) -> list[Message]:
        """What of the bot's stands in a channel, or anywhere, oldest first."""
        return [
            message
            for message in self.messages.values()
            if message.seen["bot"]
            and not message.seen["deleted"]
            and message.channel not in self._gone
            and (hidden or not message.seen["ephemeral"])
            and channel in (None, message.channel)
        ]

    def stood_still_s(self, begun: float, ended: float) -> float:
        """For how long between two moments of its clock it, or we, stood still."""
        return sum(late for at, late in self.stills if begun < at <= ended + late)

    async def look(self) -> None:
        """Takes in what has changed."""
        async with self._looking:
            changed: dict[str, None] = {}
            while line := self._journal.readline():
                self._line += line
                if not line.endswith("\n"):
                    break
                entry, self._line = json.loads(self._line), ""
                if entry["kind"] == "message":
                    changed[entry["message"]] = None
                elif entry["kind"] == "channel_deleted":
                    self._gone.add(entry["channel"])
            for number in changed:
                seen = await self.message(id=number)
                self.messages.setdefault(number, Message(seen)).seen = seen
        self.changes.tell()

    async def watch(self) -> None:
        """Looks for ever, and notes when one of us stood still."""
        loop = asyncio.get_running_loop()
        while True:
            await self.look()
            begun = loop.time()
            await asyncio.sleep(LOOK_S)
            now = await self.now()
            late = loop.time() - begun - LOOK_S
            if late > STILL_S:
                self.stills.append((now["t"], late))


@asynccontextmanager
async def stand_in(
    package: Path, config: Mapping[str, object], folder: Path
) -> AsyncGenerator[StandIn]:
    """Starts the stand-in whose package lies there, as its README says, and ends it.

    Raises:
        NoStandIn: it did not come up.
    """
    journal, errors = folder / "discord.jsonl", folder / "discord.log"
    journal.touch()
    setting = folder / "discord.json"
    setting.write_text(json.dumps({**config, "journal": str(journal)}), encoding="utf-8")
    # It has needs of its own, which another interpreter may have.
    python = os.environ.get("STANDIN_PYTHON", sys.executable)
    with errors.open("w") as log:
        process = await asyncio.create_subprocess_exec(
            python,
            *("-m", package.name, str(setting)),
            cwd=package.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        said = await process.stdout.readline()
        if not said.startswith(b"{"):
            raise NoStandIn(errors.read_text(encoding="utf-8").strip().rpartition("\n")[2])
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(300)) as session:
            yield StandIn(session, json.loads(said), journal)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def redirection(package: Path, api: str, path: str) -> dict[str, str]:
    """The environment that makes a program take the stand-in for Discord, as its README says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(package / "redirect.py"), "--api", api, "--env"),
        env={**os.environ, "PYTHONPATH": path},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    pairs = (shlex.split(line)[1].partition("=") for line in said.decode().splitlines())
    return {name: value for name, _, value in pairs}
