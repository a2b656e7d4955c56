"""Finds the richest interface a host has: SDK socket, ``/api/v1``, ``/api/v0``, ``/v1``."""

import asyncio
import importlib

import httpx

from bot.domain.errors import HostUnreachable
from bot.domain.hosts import HostConfig
from bot.fleet.client import HostClient
from bot.fleet.rest import RestApi, richest_rest

SOCKET_SHARE = 0.6
"""Part of the deadline the sockets may use, so that REST has its turn too."""
CONNECT_SHARE = 0.25
"""Part of the deadline REST may wait to be let in: a machine asleep is told from one that hangs."""


async def connect(config: HostConfig, http: httpx.AsyncClient, timeout_s: float) -> HostClient:
    """A client for the host.

    Raises:
        HostUnreachable: neither its sockets nor its REST serve us.
    """
    rest = RestApi(http, config.address, config.token, timeout_s * CONNECT_SHARE)
    # In a thread: the SDK takes long to import and the bot must not stand still meanwhile.
    await asyncio.to_thread(importlib.import_module, "bot.fleet.lmstudio")
    from bot.fleet.lmstudio import connect_socket

    try:
        async with asyncio.timeout(timeout_s * SOCKET_SHARE):
            return await connect_socket(config.address, config.token, rest)
    except (TimeoutError, HostUnreachable):
        # Whatever closed the sockets, REST may be open, and says in plainer words what is wrong.
        return await richest_rest(rest)
