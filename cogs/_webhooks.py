"""Lets personas speak by their own name and picture, where the bot may manage webhooks."""

import asyncio
from collections.abc import Awaitable
from math import inf
from typing import Any, TypeVar

import discord
import structlog

from bot.policy.speakers import BOT_NAME, Speaker
from cogs._faults import DiscordFault, fault_of

AGAIN_S = 600.0
"""Where the bot may not manage webhooks it is asked again after so long: each refusal counts
towards the limit that bans a whole address."""

CALL_S = 60.0
_MOST = 500
_MOST_SPOKEN = 2000

_NONE = discord.AllowedMentions.none()
T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Webhooks:
    """Our webhook of each channel; one per process."""

    def __init__(self) -> None:
        self._known: dict[int, discord.Webhook] = {}
        self._closed: dict[int, float] = {}
        """Channels where we may have none, and until when that is believed."""
        self._looking = asyncio.Lock()
        self._spoken: dict[int, None] = {}
        """Messages that ours made, the newest last; nobody but their webhook may change them."""

    def at(self, client: discord.Client, channel: object) -> "Hook | None":
        """The way to speak in a channel or thread of a server; None where there is none."""
        match channel:
            case discord.Thread():
                return Hook(self, client, channel.parent_id, channel.id)
            case discord.TextChannel() | discord.VoiceChannel():
                return Hook(self, client, channel.id, None)
            case _:
                return None

    def may_speak(self, channel: int) -> bool:
        """Is it not known to be refused there?"""
        now = asyncio.get_running_loop().time()
        return self._closed.get(channel, -inf) <= now

    def spoke(self, message: int) -> None:
        """A message was made by one of ours."""
        self._spoken[message] = None
        if len(self._spoken) > _MOST_SPOKEN:
            del self._spoken[next(iter(self._spoken))]

    def has_spoken(self, message: int) -> bool:
        """Is a message known to be made by one of ours?"""
        return message in self._spoken

    async def find(self, client: discord.Client, channel: int, *, makes: bool) -> Any:
        """Our webhook of a channel; None where there is none, or we may not look.

        Raises:
            discord.HTTPException: Discord could not tell.
        """
        async with self._looking:
            known = self._known.get(channel)
            # Of a connection before this one; its session ended with it.
            if known is not None and not known.session.closed:
                return known
            try:
                listed = await client.http.channel_webhooks(channel)
                mine = (h for h in listed if h.get("application_id") == str(client.application_id))
                found: Any = next((hook for hook in mine if hook.get("token")), None)
                if found is None and makes:
                    found = await client.http.create_webhook(channel, name=BOT_NAME)
            except discord.HTTPException as error:
                if fault_of(error) not in (DiscordFault.DENIED, DiscordFault.REFUSED):
                    raise
                # Not permitted, or fifteen there already.
                self.close(channel)
                _log.info("no webhook here", channel=channel, reason=str(error)[:200])
                return None
            if found is None:
                return None
            if len(self._known) >= _MOST:
                self._known.clear()
            hook = discord.Webhook.partial(int(found["id"]), found["token"], client=client)
            self._known[channel] = hook
            return hook

    def close(self, channel: int) -> None:
        """Nothing is tried there for a while."""
        self.forget(channel)
        self._closed[channel] = asyncio.get_running_loop().time() + AGAIN_S

    def forget(self, channel: int) -> None:
        """Somebody deleted it."""
        self._known.pop(channel, None)


class Hook:
    """Messages by webhook in one channel or thread."""

    def __init__(
        self, webhooks: Webhooks, client: discord.Client, channel: int, thread: int | None
    ) -> None:
        self.channel = channel
        """Whose webhook it is; all its threads share it."""
        self.webhooks = webhooks
        self._client = client
        self._thread = {} if thread is None else {"thread": discord.Object(thread)}

    async def send(self, speaker: Speaker, content: str, options: dict[str, Any]) -> int | None:
        """Makes a message; its id, or None where it has to be a plain one."""
        hook = await self.webhooks.find(self._client, self.channel, makes=True)
        if hook is None:
            return None
        me = self._client.user
        avatar = speaker.avatar or (me.display_avatar.url if me is not None else None)
        try:
            sent = await _bounded(
                hook.send(
                    content,
                    wait=True,
                    username=speaker.name,
                    avatar_url=avatar,
                    suppress_embeds=True,
                    **{"allowed_mentions": _NONE, **self._thread, **options},
                )
            )
        except discord.HTTPException as error:
            if fault_of(error) not in (DiscordFault.EXPIRED, DiscordFault.DENIED):
                raise
            self.webhooks.close(self.channel)
            return None
        self.webhooks.spoke(sent.id)
        return sent.id

    async def edit(self, message_id: int, options: dict[str, Any]) -> None:
        """Changes a message that was made so, also by a Lantern before this one.

        Raises:
            discord.HTTPException: its webhook is gone, or Discord did not take the change.
        """
        hook = await self._found()
        await self._kept(
            hook.edit_message(message_id, allowed_mentions=_NONE, **self._thread, **options)
        )

    async def delete(self, message_id: int) -> None:
        """Takes a message away that was made so.

        Raises:
            discord.HTTPException: its webhook is gone, or Discord did not take it.
        """
        hook = await self._found()
        await self._kept(hook.delete_message(message_id, **self._thread))

    async def _found(self) -> discord.Webhook:
        hook = await self.webhooks.find(self._client, self.channel, makes=False)
        if hook is None:
            raise discord.ClientException("the webhook of this message is gone")
        return hook

    async def _kept(self, call: Awaitable[object]) -> None:
        try:
            await _bounded(call)
        except discord.HTTPException as error:
            if fault_of(error) is DiscordFault.EXPIRED:
                self.webhooks.forget(self.channel)
            raise


async def _bounded(call: Awaitable[T]) -> T:
    async with asyncio.timeout(CALL_S):
        return await call
