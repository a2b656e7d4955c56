"""The double's gateway: lets one bot in, delivers events to it, answers its heartbeats."""

import asyncio
import json
from typing import cast

from aiohttp import WSMsgType, web
from discord_posts import Changes
from discord_shapes import TOKEN, Json, ready, server

_HEARTBEAT_MS = 41_250
_MESSAGE_CONTENT = 1 << 15
_REFUSED_TOKEN, _REFUSED_INTENTS = 4004, 4014


class Gateway:
    """Use ``handle`` as the route of ``/gateway``."""

    def __init__(self, changes: Changes) -> None:
        self.url = ""
        self.grants_content = True
        self.knows_token = True
        self.is_invited = True
        """The bot is in its one server."""
        self.channels = 1
        """So many that server has."""
        self.identified = 0
        """How many sessions were begun, let in or not yet."""
        self.close_codes: list[int | None] = []
        """How each session ended; 1000 is a bot that said goodbye, None one that broke off."""
        self._changes = changes
        self._opened = asyncio.Event()
        self._opened.set()
        self._hearing = asyncio.Event()
        self._hearing.set()
        self._sequence = 0
        self._sessions: set[web.WebSocketResponse] = set()

    @property
    def is_connected(self) -> bool:
        """Is a bot there and ready?"""
        return bool(self._sessions)

    def turn_deaf(self) -> None:
        """From now on nothing bots say is read, not even that they leave."""
        self._hearing.clear()

    def hold(self) -> None:
        """From now on bots wait after they identified, until ``let_in``."""
        self._opened.clear()

    def let_in(self) -> None:
        self._opened.set()

    def hear_again(self) -> None:
        self._hearing.set()

    async def dispatch(self, event: str, data: Json) -> None:
        """Delivers an event to every bot that is ready."""
        for session in tuple(self._sessions):
            await self._send(session, 0, data, event)

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        session = web.WebSocketResponse()
        await session.prepare(request)
        try:
            await self._send(session, 10, {"heartbeat_interval": _HEARTBEAT_MS})
            await self._listen(session)
        finally:
            self._sessions.discard(session)
            self.close_codes.append(session.close_code)
            self._changes.tell()
        return session

    async def _listen(self, session: web.WebSocketResponse) -> None:
        async for frame in session:
            await self._hearing.wait()
            if frame.type is not WSMsgType.TEXT:
                continue
            said = cast("dict[str, Json]", json.loads(frame.data))
            match cast(int, said["op"]):
                case 1:
                    await self._send(session, 11, None)
                case 2:
                    self.identified += 1
                    self._changes.tell()
                    await self._admit(session, said["d"])
                case 6:
                    self._sessions.add(session)
                    await self._send(session, 0, {}, "RESUMED")
                case _:
                    pass

    async def _admit(self, session: web.WebSocketResponse, identity: Json) -> None:
        await self._opened.wait()
        if not self.knows_token or identity["token"] != TOKEN:
            await session.close(code=_REFUSED_TOKEN, message=b"Authentication failed.")
        elif not self.grants_content and cast(int, identity["intents"]) & _MESSAGE_CONTENT:
            await session.close(code=_REFUSED_INTENTS, message=b"Disallowed intent(s).")
        else:
            first = ready(self.url)
            await self._send(
                session, 0, first if self.is_invited else {**first, "guilds": []}, "READY"
            )
            if self.is_invited:
                await self._send(session, 0, server(self.channels), "GUILD_CREATE")
            self._sessions.add(session)
            self._changes.tell()

    async def _send(
        self, session: web.WebSocketResponse, op: int, data: Json | None, event: str | None = None
    ) -> None:
        if op == 0:
            self._sequence += 1
        frame = {"op": op, "d": data, "s": self._sequence if op == 0 else None, "t": event}
        if not session.closed:
            await session.send_str(json.dumps(frame))
