"""Hosts of several addresses that lead to one machine: seen only by who looks the names up."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations

LOOKUP_S = 2.0
"""A start waits this long for names, whatever the LAN's resolver does."""


async def twin_hosts(addresses: Sequence[str]) -> tuple[str, ...]:
    """A warning for each two addresses of the same IP and port; a name that is unknown has none."""
    ends = {address: address.rpartition(":") for address in addresses}
    ports = [port for _, _, port in ends.values()]
    found: dict[str, set[str]] = {}

    async def look_up(address: str) -> None:
        name, _, port = ends[address]
        try:
            lines = await asyncio.get_running_loop().getaddrinfo(
                name.strip("[]"), int(port), type=socket.SOCK_STREAM
            )
        except OSError:
            return  # the host's own finding says that nobody has this name
        found[address] = {str(at[0]) for *_, at in lines}

    # What was found in time is told.
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOKUP_S), asyncio.TaskGroup() as tasks:
            for address in addresses:
                # Of a port of its own it can be no other's twin.
                if ports.count(ends[address][2]) > 1:
                    tasks.create_task(look_up(address))
    return tuple(
        f"{one} and {other} are the same machine and port ({min(shared)}): name it once, or what "
        "it has and its memory count twice"
        for one, other in combinations(filter(found.__contains__, addresses), 2)
        if ends[one][2] == ends[other][2] and (shared := found[one] & found[other])
    )
