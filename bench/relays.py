"""The relays of the gateway's bench, each in a process of its own: Lantern, and aiohttp alone."""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from bench.house import HOST, Nowhere
from bench.relay_host import PORT_LINE
from bot.app import Plan, lantern, utcnow
from bot.chat.planning import ChatRules
from bot.cli import run_async
from bot.domain.hosts import HostConfig
from bot.domain.ids import PersonaName
from bot.fleet.fleet import FleetRules
from bot.gateway.doors import DoorRules
from bot.gateway.server import GatewayRules, gateway
from bot.process.logs import configure_logging


async def by_lantern(address: str) -> None:
    """The gateway as ``lantern serve`` has it, its store on disk, its log thrown away."""
    configure_logging(format="json", stream=Nowhere())
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(
            hosts=(HostConfig(HOST, address),),
            rules=ChatRules(default_persona=PersonaName("default")),
            fleet_rules=FleetRules(probe_every_s=3600, sweep_every_s=3600),
            personas=Path(folder),
            database=Path(folder) / "lantern.db",
        )
        rules = GatewayRules(doors=DoorRules(allow=(ip_network("127.0.0.0/8"),)), port=0)
        async with lantern(plan) as built:
            await built.fleet.settled(10.0)
            async with gateway(built, rules, utcnow) as base:
                print(PORT_LINE, base.rpartition(":")[2], flush=True)
                await asyncio.Event().wait()


async def by_aiohttp(address: str) -> None:
    """What one would write in ten lines: every read goes through a task."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def relay(request: web.Request) -> web.StreamResponse:
            body, url = await request.read(), f"http://{address}{request.path}"
            headers = {"Content-Type": "application/json"}
            async with session.post(url, data=body, headers=headers) as got:
                response = web.StreamResponse(headers={"Content-Type": got.content_type})
                await response.prepare(request)
                while data := await got.content.readany():
                    await response.write(data)
                await response.write_eof()
                return response

        app = web.Application()
        app.router.add_post("/{path:.*}", relay)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        print(PORT_LINE, runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


def main(words: Sequence[str]) -> None:
    """Runs one until killed."""
    kind, port = words
    address = f"127.0.0.1:{port}"
    if kind == "lantern":
        run_async(by_lantern(address))
    else:
        uvloop.run(by_aiohttp(address))


if __name__ == "__main__":
    main(sys.argv[1:])
