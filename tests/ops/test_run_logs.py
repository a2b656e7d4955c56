"""What the log of a running Lantern says, and what it keeps to itself."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from discord_double import DiscordDouble
from lantern_child import child_environment, lantern_child

from bot.sim.host import SimHost

pytestmark = [pytest.mark.ops, pytest.mark.slow]

GUARD_S = 180.0


async def test_ready_is_said_after_the_first_look_at_the_hosts_and_debug_tells_of_routes(
    discord: DiscordDouble, host: SimHost, folder: Path
) -> None:
    longer = json.dumps({"bot.commands.run": {"FIRST_LOOK_S": GUARD_S}})
    environment = child_environment(
        discord.url, [host.address], LANTERN_LOG__LEVEL="debug", CHANGED_CONSTANTS=longer
    )
    async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
        assert (await child.until_logged("ready"))["hosts_up"] == 1
        await discord.say("Where is the treasure? [[tokens 5]]")
        route = await child.until_logged("route chosen")
        assert host.address in str(route["candidates"])
        await child.until_logged("turn finished")
        assert not child.mentions("treasure")


async def test_a_host_that_hangs_holds_up_ready_for_a_bounded_time(
    discord: DiscordDouble, folder: Path
) -> None:
    shorter = json.dumps({"bot.commands.run": {"FIRST_LOOK_S": 0.2}})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        environment = child_environment(discord.url, [address], CHANGED_CONSTANTS=shorter)
        async with asyncio.timeout(GUARD_S), lantern_child(folder, environment) as child:
            assert (await child.until_logged("ready"))["hosts_up"] == 0
            assert child.logged("host lost") is None


async def test_a_bot_in_no_server_logs_the_link_that_adds_it(
    discord: DiscordDouble, folder: Path
) -> None:
    discord.gateway.is_invited = False
    async with (
        asyncio.timeout(GUARD_S),
        lantern_child(folder, child_environment(discord.url, ["127.0.0.1:9"])) as child,
    ):
        link = (await child.until_logged("in no server"))["to_add_it"]
        assert str(link).startswith("https://discord.com/oauth2/authorize?client_id=")
