"""Hosts of several addresses that lead to one machine: seen only by who looks the names up."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from bot.inference.exchange import IS_ADDRESS


async def tell_of_twins(addresses: Sequence[str], tell: Callable[[str], object]) -> None:
    """Warns of each two addresses of the same IP and port, as soon as it is known of both.

    Ends when every name was looked up, which a LAN's resolver may delay for ever; of a name that is
    unknown the host's own finding tells.
    """
    ends = {address: address.rpartition(":") for address in addresses}
    ports = [port for _, _, port in ends.values()]
    found: dict[str, set[str]] = {}

    async def look_up(address: str) -> None:
        name, _, port = ends[address]
        if IS_ADDRESS.fullmatch(bare := name.strip("[]")):
            found[address] = {str(ip_address(bare))}
        else:
            loop = asyncio.get_running_loop()
            try:
                lines = await loop.getaddrinfo(bare, int(port), type=socket.SOCK_STREAM)
            except OSError:
                return
            found[address] = {str(at[0]) for *_, at in lines}
        for other in found:
            shared = found[address] & found[other]
            if other != address and ends[other][2] == port and shared:
                one, two = sorted((address, other), key=addresses.index)
                tell(
                    f"{one} and {two} are the same machine and port ({min(shared)}): name it once, "
                    "or what it has and its memory count twice"
                )

    async with asyncio.TaskGroup() as tasks:
        for address in addresses:
            # Of a port of its own it can be no other's twin.
            if ports.count(ends[address][2]) > 1:
                tasks.create_task(look_up(address))
