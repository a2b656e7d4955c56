"""A gateway over a whole Lantern with simulated hosts, and a client of it, for tests."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import aiohttp
from clocks import LoopClock

from bot.app import utcnow
from bot.chat.planning import ChatRules
from bot.gateway.doors import DoorRules
from bot.gateway.server import GatewayRules, gateway
from bot.gateway.sinks import LifePace
from bot.policy.keys import ApiKey, KeyScope, make_key
from bot.sim.models import SimHostConfig
from bot.store.keys import KeyStore
from tests.helpers.house import GUARD_S, QWEN, House, house

LOOPBACK = DoorRules(allow=(ip_network("127.0.0.0/8"),))
CHATS = "/v1/chat/completions"
PATHS = (CHATS, "/v1/completions", "/v1/responses", "/v1/messages")


@dataclass(slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return cast(dict[str, object], json.loads(self.body))

    @property
    def error(self) -> dict[str, object]:
        error = cast(dict[str, object], self.json["error"])
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == kind_of(self.status, error["code"])
        return error

    @property
    def events(self) -> list[dict[str, object]]:
        """The JSON of every data line, without the end mark, which must be the last."""
        lines = [x for x in self.body.decode().splitlines() if x.startswith("data:")]
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line[5:]) for line in lines[:-1]]

    @property
    def said(self) -> str:
        """The words of a whole chat answer."""
        whole: dict[str, list[dict[str, dict[str, str]]]] = json.loads(self.body)
        return whole["choices"][0]["message"]["content"]

    @property
    def text(self) -> str:
        """The words of a streamed one."""
        parts: list[str] = []
        for event in self.events:
            choices = cast(list[dict[str, dict[str, str]]], event["choices"])
            parts += [choice["delta"].get("content") or "" for choice in choices]
        return "".join(parts)


def kind_of(status: int, code: object) -> object:
    """The ``type`` an error of this status has, as OpenAI's clients read it."""
    if status == 429:
        return code
    return "server_error" if status >= 500 else "invalid_request_error"


@dataclass(slots=True)
class Gate:
    """A running gateway."""

    house: House
    base: str
    session: aiohttp.ClientSession

    async def ask(
        self, path: str, body: object = None, *, method: str = "POST", **headers: str
    ) -> Answer:
        """One request, and its whole answer. ``_`` in a header's name stands for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if method == "GET":
            data = b""
        named.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.base + path, data=data, headers=named) as got:
            return Answer(
                got.status, {k.lower(): v for k, v in got.headers.items()}, await got.read()
            )

    async def key(self, name: str, *scopes: KeyScope, **limits: Any) -> str:
        """Makes a key and gives what its owner would send."""
        shown, public, digest = make_key(f"{name:0<40}"[:40])
        key = ApiKey(public, name, digest, scopes or ("inference",), **limits)
        await KeyStore(self.house.lantern.database).add(key)
        return f"Bearer {shown}"


@dataclass(slots=True)
class Viewer:
    """Somebody who looks on at the events, with all that it has read."""

    content: aiohttp.StreamReader
    seen: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    last_id: int = 0

    async def next(self) -> dict[str, Any]:
        """The next event, whatever it is."""
        async with asyncio.timeout(GUARD_S):
            while line := await self.content.readline():
                name, _, value = line.decode().strip().partition(": ")
                if name == "id":
                    self.last_id = int(value)
                elif name == "data":
                    self.seen.append(json.loads(value))
                    return self.seen[-1]
        raise EOFError

    async def until(self, kind: str, **fields: object) -> dict[str, Any]:
        """The next event of this kind with these fields; states shown each second are skipped."""
        while True:
            event = await self.next()
            if event["type"] == kind and fields.items() <= event.items():
                return event

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.seen if event["type"] != "state"]


@asynccontextmanager
async def viewer(it: Gate, last_id: int | None = None, **headers: str) -> AsyncGenerator[Viewer]:
    """Looks on from its first snapshot, or from the event after ``last_id``."""
    if last_id is not None:
        headers["Last-Event-ID"] = str(last_id)
    async with it.session.get(f"{it.base}/admin/events", headers=headers) as got:
        assert got.status == 200
        seen = Viewer(got.content)
        if last_id is None:
            assert (await seen.next())["type"] == "snapshot"
        yield seen


PATIENT = LifePace(headers_s=GUARD_S)
"""As shipped, headers go out before the first word where a machine stood still for a second."""


@asynccontextmanager
async def gate(
    folder: Path,
    *configs: SimHostConfig,
    doors: DoorRules = LOOPBACK,
    rules: GatewayRules | None = None,
    chat_rules: ChatRules | None = None,
    pace: LifePace = PATIENT,
    **more: Any,
) -> AsyncGenerator[Gate]:
    """Runs a house and a gateway over it."""
    async with house(folder, *configs, rules=chat_rules, **more) as built:
        chosen = replace(rules or GatewayRules(doors=doors), port=0, pace=pace)
        async with (
            gateway(built.lantern, chosen, utcnow) as base,
            aiohttp.ClientSession() as session,
        ):
            yield Gate(built, base, session)


async def in_two_reads(it: Gate, model: str, clock: LoopClock, text: str) -> bytes:
    """A streamed answer, all but its first word a moment later: in one read none has a speed."""
    [host] = it.house.hosts.values()
    host.faults.stall_after_tokens(1)
    body = chat(model, f"[[say {text}]]", stream=True)
    async with it.session.post(it.base + CHATS, json=body) as got:
        heard = b""
        while text.split()[0].encode() not in heard and (more := await got.content.readany()):
            heard += more
        clock.passes(0.25)
        host.faults.clear("stall_after_tokens")
        return heard + await got.content.read()


def chat(model: str | None, text: str = "hi", **more: object) -> dict[str, object]:
    """A chat request's body."""
    body: dict[str, object] = {"messages": [{"role": "user", "content": text}], **more}
    return body if model is None else {"model": model, **body}


def any_form(text: str = "hi", **more: object) -> dict[str, object]:
    """A body that each of the four forms takes for its own."""
    return chat(QWEN.key, text, prompt=text, input=text, **more)
