"""Keeps the line under the bot's name true: how the fleet stands, at a gentle pace."""

import asyncio
from contextlib import suppress
from math import inf

import discord
import structlog

from bot.chat.catalog import Catalog
from bot.policy.presence import PRESENCE_EVERY_S, Presence, presence_of
from cogs._faults import SENDING_ERRORS

_log = structlog.get_logger(__name__)


class PresenceLine:
    """Owns what is shown beside the bot's name; one per process."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._client: discord.Client | None = None
        self._shown: Presence | None = None
        self._renewed = asyncio.Event()

    def renew(self, client: discord.Client) -> None:
        """A connection is ready: whatever was said before may have been lost with another."""
        self._client, self._shown = client, None
        self._renewed.set()

    async def keep(self) -> None:
        """Shows the newest whenever it differs, and after each reconnect; until cancelled."""
        loop, sent_at = asyncio.get_running_loop(), -inf
        while True:
            # A line that comes and goes renews often; the limit counts all its sessions together.
            await asyncio.sleep(max(0.0, sent_at + PRESENCE_EVERY_S - loop.time()))
            self._renewed.clear()
            client = self._client
            try:
                cloud = self._catalog.providers(only_serving=True)
                wanted = presence_of(self._catalog.hosts(), cloud)
                if client is not None and not client.is_closed() and wanted != self._shown:
                    sent_at, self._shown = loop.time(), wanted
                    activity = discord.CustomActivity(wanted.text)
                    # The next session begins with it, so that it is not bare until the first look.
                    client.activity = activity
                    client.status = discord.Status(wanted.light)
                    await client.change_presence(activity=activity, status=client.status)
            except SENDING_ERRORS as error:
                self._shown = None
                _log.debug("presence not shown", error=str(error)[:300])
            except Exception:
                # A line under a name is worth no answer: it must not end what runs beside it.
                self._shown = None
                _log.exception("presence not shown")
            with suppress(TimeoutError):
                async with asyncio.timeout(PRESENCE_EVERY_S):
                    await self._renewed.wait()
