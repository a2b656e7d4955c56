"""After a crash: closes honestly every message that still promises more words."""

import asyncio
from itertools import groupby

import discord
import structlog

from bot.chat.lantern import Lantern
from bot.domain.errors import BotError
from bot.domain.ids import TurnId
from bot.policy.pacing import Pacers
from bot.store.replies import ReplyMessage
from cogs._loads import Loads, Message
from cogs._transport import Transport
from cogs._view import MessageView, View, restored
from cogs._writer import Writer

EACH_S = 180.0
"""Longest time given to one reply; what is not closed now is tried again at the next start."""

LOAD_LINE = "⚠ Lantern was restarted during this load. Give the command again to see how it stands."

_log = structlog.get_logger(__name__)


class Closing:
    """Collects what was left open before the first new turn, and closes it once connected."""

    def __init__(
        self,
        client: discord.Client,
        lantern: Lantern,
        loads: Loads,
        pacers: Pacers,
        *,
        has_footer: bool,
    ) -> None:
        self._client = client
        self._lantern = lantern
        self._loads = loads
        self._pacers = pacers
        self._has_footer = has_footer
        self._replies: tuple[ReplyMessage, ...] = ()
        self._left_loads: tuple[Message, ...] = ()

    async def collect(self) -> None:
        """Reads what a Lantern that ended without warning left open."""
        try:
            self._replies = await self._lantern.replies.left_open()
            self._left_loads = await self._loads.left_open()
        except BotError as error:
            _log.warning("open replies not read", error=error.user_message)

    async def run(self) -> None:
        """Closes everything collected, one message after the other, within the channels' limits."""
        # Taken once: a new session must not close what this process is writing.
        replies, self._replies = self._replies, ()
        loads, self._left_loads = self._left_loads, ()
        for channel, message in loads:
            if await self._show((MessageView(LOAD_LINE),), channel, (message,)):
                await self._loads.forget((channel, message))
        for turn, messages in groupby(replies, key=lambda reply: reply.turn):
            await self._close(turn, tuple(messages))
        if replies:
            _log.info("open replies closed", messages=len(replies))

    async def _close(self, turn: TurnId, messages: tuple[ReplyMessage, ...]) -> None:
        try:
            stored = await self._lantern.turns.find(turn)
            if stored is not None:
                views = restored(stored, has_footer=self._has_footer)
                # These are filled first; more text than they hold makes new messages.
                ids = tuple(int(message.message_id) for message in messages)
                if not await self._show(views, int(messages[0].channel_id), ids):
                    return
            await self._lantern.replies.close(turn)
        except BotError as error:
            _log.warning("reply not closed", turn_id=turn, error=error.user_message)

    async def _show(
        self, views: tuple[MessageView, ...], channel: int, ids: tuple[int, ...]
    ) -> bool:
        """Whether the messages need no further try."""
        transport = Transport(self._client.get_partial_messageable(channel), self._pacers)
        # Where we may not write the others are not kept waiting; the next start tries again.
        writer = Writer(View(views), transport, denied_tries=1)
        try:
            async with asyncio.timeout(EACH_S):
                return await writer.run(existing=ids) != "given up"
        except TimeoutError:
            return False
