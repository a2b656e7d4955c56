"""Hosts that answer the worst: each is down for itself, and the others go on serving."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from typing import NoReturn

import pytest
from aiohttp import WSMsgType, web
from fleet_bench import GUARD_S, ONE, H, fleet_over, sim_config
from structlog.testing import capture_logs
from structlog.typing import EventDict

from bot.domain.errors import HostUnreachable
from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName, InstanceId
from bot.fleet import host, inventory, lmstudio
from bot.fleet.lmstudio import SocketClient
from bot.fleet.residents import Residents
from bot.policy.breaker import BreakerRules
from bot.sim import journal
from bot.sim.host import SimHost

BAD = HostName("bad")
SOCKETS = frozenset({"/llm", "/embedding", "/system"})
DEEP = "[" * 200_000
"""Deeper than Python's JSON reader goes: it raises RecursionError, which is no ValueError."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def deep_everywhere(_: web.Request) -> web.StreamResponse:
    return web.Response(text=DEEP, content_type="application/json")


async def deep_after_the_greeting(request: web.Request) -> web.StreamResponse:
    if request.path == "/lmstudio-greeting":
        return web.json_response({"lmstudio": True})
    return await deep_everywhere(request)


async def _entered(request: web.Request) -> web.WebSocketResponse | None:
    """A socket let in; None for every other path."""
    if request.path not in SOCKETS:
        return None
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    await socket.receive()
    await socket.send_json({"success": True})
    return socket


async def endless_in_every_call(request: web.Request) -> web.StreamResponse:
    """Begins an answer of a gigabyte and never ends it; by REST all is well."""
    socket = await _entered(request)
    if socket is None:
        return web.json_response({"lmstudio": True, "data": []})
    await socket.receive()
    assert request.transport is not None
    request.transport.write(b"\x81\x7f" + (2**30).to_bytes(8, "big") + b" " * 100_000)
    await socket.receive()
    return socket


async def deep_in_every_call(request: web.Request) -> web.StreamResponse:
    """Lets everybody in by the socket, and answers each call with what no reader can read."""
    socket = await _entered(request)
    if socket is None:
        return await deep_after_the_greeting(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            number = json.loads(message.data)["callId"]
            await socket.send_str(f'{{"type": "rpcResult", "callId": {number}, "result": {DEEP}')
    return socket


@pytest.fixture(autouse=True)
def logs() -> Generator[list[EventDict]]:
    with capture_logs() as entries:
        yield entries


@asynccontextmanager
async def a_server(answer: Answer) -> AsyncGenerator[str]:
    """Something on a port that is asked by Lantern; its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "answer",
    [deep_everywhere, deep_after_the_greeting, deep_in_every_call],
    ids=lambda a: a.__name__,
)
async def test_nesting_without_end_is_one_hosts_garbage(answer: Answer) -> None:
    async with SimHost(sim_config()) as sim, a_server(answer) as address:
        configs = [HostConfig(H, sim.address), HostConfig(BAD, address)]
        async with fleet_over(configs=configs) as bench:
            assert bench.host(BAD).state == "down"
            assert "garbage" in bench.host(BAD).reason
            assert (await bench.use())[0].identifier == ONE


async def test_a_message_without_an_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmstudio, "MOST_BYTES", 90_000)
    async with (
        a_server(endless_in_every_call) as address,
        fleet_over(configs=[HostConfig(H, address)]) as bench,
    ):
        assert bench.host().state == "up"
        assert bench.host().interface == "/api/v0"


async def test_a_host_that_sends_its_sockets_elsewhere_is_not_followed() -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        if request.path in SOCKETS:
            raise web.HTTPFound(f"http://{other.address}{request.path}")
        return web.json_response({"lmstudio": True, "data": []})

    async with (
        SimHost(sim_config()) as other,
        a_server(elsewhere) as address,
        fleet_over(configs=[HostConfig(H, address)]) as bench,
    ):
        assert bench.host().interface == "/api/v0"
        assert not other.journal.of(journal.Request)


async def test_a_reader_that_breaks_on_one_hosts_listing_is_a_failed_probe_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    read = inventory.socket_models

    def breaks_on_the_first(listing: object) -> object:
        monkeypatch.setattr(inventory, "socket_models", read)
        raise ZeroDivisionError("a fault of our own")

    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        monkeypatch.setattr(inventory, "socket_models", breaks_on_the_first)
        await bench.fleet.host(H).probe()
        (entry,) = [entry for entry in logs if entry["event"] == "host not understood"]
        assert (entry["host"], entry["exc_info"]) == (H, True)
        await bench.until_up()
        assert (await bench.use())[0].identifier == ONE


async def test_a_scheduler_that_breaks_on_one_hosts_report_is_a_failed_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host, "REBUILD_RULES", BreakerRules(threshold=1, base_s=0.01))
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        with monkeypatch.context() as patch:
            patch.setattr(Residents, "see", _broken)
            await bench.fleet.host(H).probe()
            assert bench.host().state == "down"
        await bench.until_up()


async def test_a_load_that_breaks_in_our_hands_is_refused_and_the_host_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        with monkeypatch.context() as patch:
            patch.setattr(SocketClient, "load", _broken)
            with pytest.raises(HostUnreachable, match="ZeroDivisionError"):
                await bench.use()
        await bench.until_up()
        assert bench.host().load is None
        assert (await bench.use())[0].identifier == ONE


async def test_an_unload_that_breaks_in_our_hands_leaves_the_host_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        await bench.use()
        with monkeypatch.context() as patch:
            patch.setattr(SocketClient, "unload", _broken)
            async with asyncio.timeout(GUARD_S):
                stays = await bench.fleet.host(H).unload(ONE)
        assert "ZeroDivisionError" in stays[InstanceId(ONE)]
        await bench.until_up()
        assert (await bench.use())[0].identifier == ONE


def _broken(*_: object, **__: object) -> NoReturn:
    raise ZeroDivisionError("a fault of our own")
