"""Calls a sleeping machine by Wake-on-LAN: one small UDP packet, which nobody acknowledges."""

import asyncio
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network

from bot.policy.waking import magic_packet


async def call(mac: str, address: str, port: int) -> None:
    """Sends the packet to everybody near, and to the address itself.

    Raises:
        OSError: it could be sent nowhere.
    """
    host = address.rpartition(":")[0].strip("[]")
    targets = ["255.255.255.255", host]
    with suppress(ValueError):
        # With several networks "everybody" is those of one of them alone. Which part of an address
        # names its network is not told; at home it is three of the four numbers.
        network = IPv4Network((int(IPv4Address(host)), 24), strict=False)
        targets.append(str(network.broadcast_address))
    await asyncio.to_thread(_send, magic_packet(mac), targets, port)


def _send(packet: bytes, targets: list[str], port: int) -> None:
    failed: list[OSError] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for target in targets:
            try:
                sender.sendto(packet, (target, port))
            except OSError as error:
                failed.append(error)
    if len(failed) == len(targets):
        raise failed[0]
