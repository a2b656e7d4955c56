"""The SDK's WebSocket: handshake, calls and channels multiplexed on one connection."""

import asyncio
import contextlib
import json

from aiohttp import WSMsgType, web

from bot.sim.engine import Engine
from bot.sim.errors import SimError
from bot.sim.journal import Called
from bot.sim.tasks import HostTasks
from bot.sim.wire_calls import CALLS, VOID, CallContext
from bot.sim.wire_channels import CHANNELS, Channel
from bot.sim.wire_json import JsonObject, as_object, int_of, parse_object, text_of
from bot.sim.wire_rest import ENGINE
from bot.sim.wire_shapes import socket_error

NAMESPACES = ("llm", "embedding", "system", "files", "repository")
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


async def serve_socket(request: web.Request) -> web.StreamResponse:
    """Serve one namespace until the client leaves."""
    engine = request.app[ENGINE]
    if not engine.config.sockets:
        return web.Response(status=403, text="WebSockets are not served here")
    socket = web.WebSocketResponse(max_msg_size=_MAX_MESSAGE_BYTES, compress=False)
    await socket.prepare(request)
    session = SocketSession(socket, request, engine, request.path.strip("/"))
    with contextlib.suppress(ConnectionError):
        await session.run()
    return socket


class SocketSession:
    """One client's connection to one namespace."""

    def __init__(
        self, socket: web.WebSocketResponse, request: web.Request, engine: Engine, namespace: str
    ) -> None:
        self._socket = socket
        self._request = request
        self._engine = engine
        self._namespace = namespace
        self._channels: dict[int, Channel] = {}

    async def run(self) -> None:
        """Shake hands, then serve messages; leaving ends every channel."""
        if not await self._authenticated():
            await self._socket.close()
            return
        try:
            async with HostTasks() as tasks:
                await self._serve(tasks)
        except* ConnectionError as gone:
            raise ConnectionResetError from gone

    async def _authenticated(self) -> bool:
        message = await self._socket.receive()
        auth = parse_object(message.data) if message.type == WSMsgType.TEXT else None
        if auth is None:
            return False
        refusal = _auth_refusal(auth, self._engine.config.token)
        reply: JsonObject = {"success": refusal is None}
        if refusal is not None:
            reply["error"] = refusal
        await self._send(reply)
        return refusal is None

    async def _serve(self, tasks: HostTasks) -> None:
        async for message in self._socket:
            if message.type != WSMsgType.TEXT:
                continue
            parsed = parse_object(message.data)
            if parsed is None:
                await self._warn("Received a message that is not a JSON object.")
            elif not await self._is_swallowed():
                await self._dispatch(parsed, tasks)

    async def _is_swallowed(self) -> bool:
        faults, path = self._engine.faults, self._request.path
        if faults.take("hang", path):
            return True
        if faults.take("refuse", path):
            self._cut()
            return True
        if faults.take("garbage", path):
            await self._socket.send_str("\x00<<not json>>")
            return True
        return False

    async def _dispatch(self, message: JsonObject, tasks: HostTasks) -> None:
        match message.get("type"):
            case "rpcCall":
                tasks.spawn(self._call(message), "sim call")
            case "channelCreate":
                await self._open_channel(message, tasks)
            case "channelSend":
                channel = self._channels.get(int_of(message, "channelId") or 0)
                if channel is not None:
                    channel.receive(as_object(message.get("message")))
            case other:
                await self._warn(f"Unknown message type {other!r}.")

    async def _call(self, message: JsonObject) -> None:
        endpoint = text_of(message, "endpoint") or ""
        self._note(endpoint)
        call = CALLS.get((self._namespace, endpoint))
        if call is None:
            await self._warn(f'Received call to unknown RPC endpoint "{endpoint}".')
            return
        reply: JsonObject = {"callId": message.get("callId")}
        context = CallContext(self._engine, self._namespace, as_object(message.get("parameter")))
        try:
            result = await call(context)
        except SimError as error:
            await self._send(reply | {"type": "rpcError", "error": socket_error(error)})
            return
        body: JsonObject = {} if result is VOID else {"result": result}
        await self._send(reply | {"type": "rpcResult"} | body)

    async def _open_channel(self, message: JsonObject, tasks: HostTasks) -> None:
        endpoint = text_of(message, "endpoint") or ""
        number = int_of(message, "channelId") or 0
        self._note(endpoint)
        kind = CHANNELS.get((self._namespace, endpoint))
        if kind is None:
            await self._warn(f'Received creation of unknown channel "{endpoint}".')
            return
        channel = kind(
            self._engine,
            self._namespace,
            as_object(message.get("creationParameter")),
            self._sender(number),
        )
        self._channels[number] = channel
        tasks.spawn(self._run_channel(number, channel), f"sim channel {endpoint}")

    async def _run_channel(self, number: int, channel: Channel) -> None:
        try:
            if await channel.run() == "cut":
                self._cut()
                return
            await self._send({"type": "channelClose", "channelId": number})
        except SimError as error:
            await self._send(
                {"type": "channelError", "channelId": number, "error": socket_error(error)}
            )
        finally:
            self._channels.pop(number, None)

    def _sender(self, number: int) -> "ChannelSender":
        return ChannelSender(self._socket, number)

    def _note(self, endpoint: str) -> None:
        now = asyncio.get_running_loop().time()
        self._engine.journal.write(Called(now, self._namespace, endpoint))

    def _cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _warn(self, text: str) -> None:
        await self._send({"type": "communicationWarning", "warning": text})

    async def _send(self, message: JsonObject) -> None:
        await self._socket.send_str(json.dumps(message))


class ChannelSender:
    """Sends messages on one channel."""

    def __init__(self, socket: web.WebSocketResponse, number: int) -> None:
        self._socket = socket
        self._number = number

    async def __call__(self, message: JsonObject) -> None:
        """Send one message.

        Raises:
            ConnectionError: the client is gone.
        """
        wrapped = {"type": "channelSend", "channelId": self._number, "message": message}
        await self._socket.send_str(json.dumps(wrapped))


def _auth_refusal(auth: JsonObject, token: str | None) -> str | None:
    if auth.get("authVersion") != 1:
        return "Unsupported authentication version."
    identifier, passkey = text_of(auth, "clientIdentifier"), text_of(auth, "clientPasskey")
    if not identifier or not passkey:
        return "Invalid client identifier or passkey."
    if token is not None and f"sk-lm-{identifier}:{passkey}" != token:
        return "Invalid API token: authentication failed."
    return None
