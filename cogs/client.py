"""Lantern in Discord, from logging in to the last edit; the one door the root uses."""

import asyncio
from contextlib import suppress

import aiohttp
import discord
import structlog

from bot.domain.errors import ConfigError, HostUnreachable
from bot.policy.pacing import Pacers
from cogs._bot import LanternBot
from cogs._faults import SENDING_ERRORS
from cogs._loads import Loads
from cogs._reply import Replies
from cogs.face import Face

NO_CONTENT = (
    "Discord does not let this bot read message content: mentions, direct messages and commands "
    "work, replies without a ping do not. To switch it on: "
    "https://discord.com/developers/applications, your application, Bot, "
    "Privileged Gateway Intents, Message Content Intent."
)
REFUSED_LOGIN = (
    "DISCORD_TOKEN: Discord refuses this bot token. Copy a new one from "
    "https://discord.com/developers/applications, your application, Bot, Reset Token."
)
_REFUSED_TOKEN = 4004
_MAX_PAUSE_S = 60.0

_log = structlog.get_logger(__name__)


class DiscordFace:
    """Lantern in Discord, from logging in to the last edit."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._replies = Replies(face)
        self._loads = Loads(face.notes)
        self._pacers = Pacers()
        self._bot: LanternBot | None = None
        self._is_closing = asyncio.Event()

    async def serve(self, token: str) -> None:
        """Stays connected until closed; an unreachable Discord is tried again for ever.

        Raises:
            ConfigError: Discord refuses the token.
        """
        reads_content, pause_s = True, 1.0
        while not self._is_closing.is_set():
            bot = LanternBot(
                self._face, self._replies, self._loads, self._pacers, reads_content=reads_content
            )
            self._bot = bot
            try:
                async with bot:
                    await bot.start(token)
            except discord.PrivilegedIntentsRequired:
                _log.warning("message content not granted", how_to=NO_CONTENT)
                reads_content = False
                continue
            except discord.LoginFailure as error:
                raise ConfigError([REFUSED_LOGIN]) from error
            except (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError) as error:
                if isinstance(error, discord.ConnectionClosed) and error.code == _REFUSED_TOKEN:
                    raise ConfigError([REFUSED_LOGIN]) from error
                if not self._is_closing.is_set():
                    _log.warning("discord unreachable", error=str(error)[:300], again_in_s=pause_s)
            await self._pause(pause_s)
            pause_s = min(_MAX_PAUSE_S, pause_s * 2)

    async def tell_owners(self, text: str) -> bool:
        """Tells the bot's owners something; False while not connected."""
        if self._bot is None or not self._bot.is_ready():
            return False
        await self._bot.tell_owners(text)
        return True

    async def close(self, limit_s: float) -> None:
        """Lets replies and loads show their end within ``limit_s``, then disconnects."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._replies.settled(limit_s))
            group.create_task(self._loads.leave(limit_s))
        self._is_closing.set()
        if self._bot is not None:
            await self._bot.close()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_closing.wait()


async def identify(token: str) -> str:
    """Logs in without connecting; the bot's name, and what its owner has yet to switch on.

    Raises:
        ConfigError: Discord refuses the token.
        HostUnreachable: Discord cannot be reached.
    """
    try:
        async with discord.Client(intents=discord.Intents(guilds=True)) as client:
            await client.login(token)
            flags = client.application_flags
            may_read = flags.gateway_message_content or flags.gateway_message_content_limited
            return f"{client.user}" if may_read else f"{client.user}. {NO_CONTENT}"
    except discord.LoginFailure as error:
        raise ConfigError([REFUSED_LOGIN]) from error
    except SENDING_ERRORS as error:
        raise HostUnreachable(f"Discord cannot be reached: {error}") from error
