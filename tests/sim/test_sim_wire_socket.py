"""The WebSocket of a simulated host, message by message."""

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from bot.sim.host import SimHost
from bot.sim.models import GB, SimHostConfig, SimModel

TOKEN = "sk-lm-abcd1234:abcdefghij0123456789"
OPEN = SimHostConfig(
    models=(SimModel("small", 4 * GB), SimModel("v", GB, kind="embedding")), time_scale=0
)
AUTH = {"authVersion": 1, "clientIdentifier": "abcd1234", "clientPasskey": "abcdefghij0123456789"}


class Wire:
    """One open WebSocket, past its handshake."""

    def __init__(self, host: SimHost, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.host = host
        self.socket = socket

    async def ask(self, message: Any) -> Any:
        await self.socket.send_json(message)
        return await self.socket.receive_json(timeout=2)

    async def call(self, endpoint: str, **parameter: Any) -> Any:
        message = {"type": "rpcCall", "endpoint": endpoint, "callId": 3, "parameter": parameter}
        return await self.ask(message)


@asynccontextmanager
async def connected(namespace: str, config: SimHostConfig = OPEN) -> AsyncGenerator[Wire]:
    async with (
        SimHost(config) as host,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{host.address}/{namespace}") as socket,
    ):
        wire = Wire(host, socket)
        assert (await wire.ask(AUTH))["success"] is True
        yield wire


@pytest.mark.parametrize(
    "auth",
    [
        {},
        AUTH | {"authVersion": 2},
        AUTH | {"clientPasskey": ""},
        AUTH | {"clientIdentifier": "other000"},
    ],
)
async def test_a_wrong_handshake_is_refused_in_words_and_closed(auth: dict[str, Any]) -> None:
    config = SimHostConfig(token=TOKEN, time_scale=0)
    async with (
        SimHost(config) as host,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{host.address}/llm") as socket,
    ):
        await socket.send_json(auth)
        reply = await socket.receive_json()
        assert reply["success"] is False
        assert isinstance(reply["error"], str)
        assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE


async def test_a_handshake_that_is_no_json_is_closed() -> None:
    async with (
        SimHost(OPEN) as host,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{host.address}/llm") as socket,
    ):
        await socket.send_str("hello?")
        assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE


@pytest.mark.parametrize(
    "message",
    [
        "just text",
        {"type": "somethingNew"},
        {"type": "rpcCall", "endpoint": "listDownloadedModels", "callId": 1},
        {"type": "channelCreate", "endpoint": "inventedYesterday", "channelId": 1},
    ],
)
async def test_what_it_does_not_know_is_warned_about(message: Any) -> None:
    async with connected("llm") as wire:
        if isinstance(message, str):
            await wire.socket.send_str(message)
            reply = await wire.socket.receive_json()
        else:
            reply = await wire.ask(message)
        assert reply["type"] == "communicationWarning"


async def test_an_instance_is_found_by_reference_key_or_as_any() -> None:
    async with connected("llm") as wire:
        instance = await wire.host.preload("small", "mine")
        specifiers: list[dict[str, Any]] = [
            {"type": "instanceReference", "instanceReference": instance.reference},
            {"type": "query", "query": {"identifier": "small"}},
            {"type": "query", "query": {}},
        ]
        for specifier in specifiers:
            reply = await wire.call("getModelInfo", specifier=specifier)
            assert reply["result"]["identifier"] == "mine"


async def test_a_missing_instance_is_an_error_only_where_asked() -> None:
    async with connected("llm") as wire:
        specifier: dict[str, Any] = {"type": "query", "query": {}}
        reply = await wire.call("getModelInfo", specifier=specifier, throwIfNotFound=True)
        assert reply["error"]["displayData"]["code"] == "generic.noModelMatchingQuery"
        reply = await wire.call("getModelInfo", specifier=specifier, throwIfNotFound=False)
        assert reply == {"type": "rpcResult", "callId": 3}


async def test_files_are_taken_and_nonsense_is_refused() -> None:
    async with connected("files") as wire:
        content = base64.b64encode(b"picture").decode()
        reply = await wire.call("uploadFileBase64", name="a.PNG", contentBase64=content)
        assert (reply["result"]["fileType"], reply["result"]["sizeBytes"]) == ("image", 7)
        reply = await wire.call("uploadFileBase64", name="a.png", contentBase64="?")
        assert reply["type"] == "rpcError"


async def test_the_small_calls_of_the_system_are_answered() -> None:
    async with connected("system") as wire:
        assert (await wire.call("notify", title="hi"))["type"] == "rpcResult"
        assert (await wire.call("getExperimentFlags"))["result"] == []


async def test_nothing_is_found_to_download() -> None:
    async with connected("repository") as wire:
        assert (await wire.call("searchModels", opts={}))["result"] == {"results": []}


async def test_a_message_for_a_closed_channel_does_no_harm() -> None:
    async with connected("llm") as wire:
        await wire.socket.send_json(
            {"type": "channelSend", "channelId": 99, "message": {"type": "cancel"}}
        )
        assert (await wire.call("listLoaded"))["result"] == []


async def test_a_prediction_without_an_instance_is_a_channel_error() -> None:
    async with connected("llm") as wire:
        reply = await wire.ask(
            {
                "type": "channelCreate",
                "endpoint": "predict",
                "channelId": 1,
                "creationParameter": {"history": {"messages": []}},
            }
        )
        assert reply["type"] == "channelError"
