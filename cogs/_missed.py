"""Which messages were deleted or edited while nobody could be told: asked of Discord."""

import asyncio
from collections.abc import Collection, Mapping

import discord
import structlog

from cogs._faults import SENDING_ERRORS
from cogs._places import reads_history

LOOK_S = 1.0
"""A press waits no longer for a look: it must be answered within three seconds."""

LOOK_EVERY_S = 0.125
"""Between two looks for what was missed: eight a second, in two calls at most, stay about within
the ten that answers being written leave free of Discord's fifty.
"""

MOST_CHANNELS = 50
MOST_ASKED = 500
"""Of the newest questions so many are looked for at the start, in so many channels."""

PAGE = 100
"""Messages that Discord gives in one answer."""

MOST_MISSING = 20
"""Of a channel's questions that are not on its page so many are asked for by their ids."""

_UNKNOWN_MESSAGE = 10008
_MOST_KNOWN = 10_000

_log = structlog.get_logger(__name__)


class MissedChanges:
    """Looks where a session of the gateway, which tells of each deletion and edit, was not there.

    One per process. What Discord does not tell counts as there.
    """

    def __init__(self) -> None:
        self._told_since = 0
        """Of all messages from this one on each deletion was told."""
        self._known: set[int] = set()
        """Older ones that were seen in this session."""

    def begin_session(self) -> None:
        """Whatever was deleted until now nobody may have heard of."""
        self._told_since = discord.utils.time_snowflake(discord.utils.utcnow())
        self._known.clear()

    async def gone(
        self, client: discord.Client, messages: Collection[tuple[int, int]]
    ) -> list[int]:
        """Which of these are not there any more; each is a channel and a message."""
        old = [m for m in messages if m[1] < self._told_since and m[1] not in self._known]
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self._is_gone(client, *one)) for one in old]
        return [message for (_, message), look in zip(old, looks, strict=True) if look.result()]

    async def _is_gone(self, client: discord.Client, channel: int, message: int) -> bool:
        try:
            async with asyncio.timeout(LOOK_S):
                await client.get_partial_messageable(channel).fetch_message(message)
        except discord.NotFound as error:
            # A channel that is gone, or hidden from us, says nothing of what people took back.
            return error.code == _UNKNOWN_MESSAGE
        except SENDING_ERRORS as error:
            _log.info("message not looked for", error=str(error)[:200])
            return False
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(message)
        return False

    async def tell(self, client: discord.Client, asked: Mapping[str, Collection[str]]) -> None:
        """Tells of questions that were deleted or edited: ``missed_deletion``, ``missed_edit``.

        Also of those whose edit was told before: what they read like is compared with the store.

        Args:
            client: Connected.
            asked: The newest questions, by their channels; those asked in last come first.
        """
        for key, messages in list(asked.items())[:MOST_CHANNELS]:
            channel = client.get_channel(int(key))
            is_server = isinstance(channel, discord.abc.GuildChannel | discord.Thread)
            if is_server and not reads_history(channel, channel.guild.me):
                continue
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                async with asyncio.timeout(LOOK_S):
                    history = client.get_partial_messageable(int(key)).history(limit=PAGE)
                    page = {message.id: message async for message in history}
            except SENDING_ERRORS as error:
                _log.info("messages not looked for", error=str(error)[:200])
                continue
            wanted = {int(message) for message in messages}
            self._known |= wanted & page.keys()
            for message in sorted(wanted & page.keys()):
                if page[message].edited_at is not None:
                    client.dispatch("missed_edit", page[message])
            # What stands behind a full page is looked for when somebody wants it again.
            oldest = min(page) if len(page) >= PAGE else 0
            missing = sorted(message for message in wanted - page.keys() if message >= oldest)
            for message in missing[-MOST_MISSING:]:
                # Each that is gone counts towards the limit that bans an address.
                await asyncio.sleep(LOOK_EVERY_S)
                # A page alone is no proof: in a forum's post it lacks the first message.
                for gone in await self.gone(client, [(int(key), message)]):
                    client.dispatch("missed_deletion", gone)
