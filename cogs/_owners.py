"""News for the people the bot belongs to: in the channel they chose, else in private."""

import discord
import structlog

from bot.policy.markup import harmless
from bot.policy.splitting import LIMIT
from cogs._faults import SENDING_ERRORS, DiscordFault, fault_of
from cogs._languages import told
from cogs._places import owners_of
from cogs._readers import Readers

_log = structlog.get_logger(__name__)


async def tell_owners(
    client: discord.Client, text: str, channel: int | None, readers: Readers
) -> bool:
    """Writes a text to the channel, else to each owner; False when it reached nobody.

    Args:
        client: Logged in.
        text: What is told.
        channel: The channel's id; None writes to the owners at once.
        readers: Know in which language each place is read.
    """
    hint = ""
    if channel is not None:
        try:
            place = client.get_partial_messageable(channel)
            said = harmless(told(text, readers.locale_at(client, channel)))
            await place.send(said[:LIMIT], suppress_embeds=True)
            return True
        except SENDING_ERRORS as error:
            _log.warning("owner channel not written to", channel=channel, error=str(error)[:300])
            # Private messages are for a channel that is closed to us, not for a line that is cut.
            if fault_of(error) in (DiscordFault.PASSING, DiscordFault.LEAVING):
                return False
            hint = f"\n-# `discord.owner_channel` is <#{channel}>, where I may not write."
    is_told = False
    for owner in owners_of(client.application):
        try:
            private = await (await client.fetch_user(owner)).create_dm()
            said = harmless(told(text, readers.locale_at(client, private.id)))
            await private.send(said[: LIMIT - len(hint)] + hint, suppress_embeds=True)
            is_told = True
        except SENDING_ERRORS as error:
            # One who takes no messages is left out; the others hear it.
            _log.warning("owner not told", owner=owner, error=str(error)[:300])
    return is_told
