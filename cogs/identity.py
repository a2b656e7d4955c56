"""Who a bot token belongs to, asked over REST alone: nobody in Discord sees the bot come."""

import discord

from bot.domain.errors import ConfigError, HostUnreachable
from bot.domain.values import value
from cogs._faults import SENDING_ERRORS

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
PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    read_message_history=True,
    attach_files=True,
    embed_links=True,
)
"""What Lantern needs in a server, and nothing more."""


@value
class Identity:
    """A bot as Discord knows it."""

    name: str
    servers: tuple[str, ...]
    """Names of the servers it is in."""
    reads_content: bool
    """The Message Content intent is on."""
    invite: str
    """The address at which its owner adds it to a server, with ``PERMISSIONS``."""


def invite_link(application: int) -> str:
    """The address at which a bot is added to a server, with ``PERMISSIONS``."""
    scopes = ("bot", "applications.commands")
    return discord.utils.oauth_url(application, permissions=PERMISSIONS, scopes=scopes)


async def identify(token: str) -> Identity:
    """Logs in without connecting.

    Raises:
        ConfigError: Discord refuses the token.
        HostUnreachable: Discord cannot be reached.
    """
    try:
        async with discord.Client(intents=discord.Intents(guilds=True)) as client:
            await client.login(token)
            flags, number = client.application_flags, client.application_id
            assert number is not None, "a login tells it"
            servers = [guild.name async for guild in client.fetch_guilds(with_counts=False)]
            return Identity(
                name=str(client.user),
                servers=tuple(servers),
                reads_content=flags.gateway_message_content
                or flags.gateway_message_content_limited,
                invite=invite_link(number),
            )
    except discord.LoginFailure as error:
        raise ConfigError([REFUSED_LOGIN]) from error
    except SENDING_ERRORS as error:
        raise HostUnreachable(f"Discord cannot be reached: {error}") from error
