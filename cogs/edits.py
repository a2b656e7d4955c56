"""Messages that are edited or deleted in Discord: answered again when wished, leaving no trace."""

from contextlib import suppress
from datetime import datetime

import discord
import structlog
from discord.ext import commands

from bot.chat.beginning import DELETED
from bot.chat.lantern import Lantern
from bot.domain.errors import BotError
from bot.policy.pacing import Pacers
from bot.store.replies import ReplyMessage
from cogs._faults import SENDING_ERRORS
from cogs._mentions import said
from cogs._readers import Readers
from cogs._reply import Replies
from cogs._transport import transport_to
from cogs._view import MessageView, restored
from cogs._webhooks import Webhooks

_MOST_HEARD = 1000

_log = structlog.get_logger(__name__)


class Edits(commands.Cog):
    """Hears of edited and deleted messages that asked something or are quoted."""

    def __init__(
        self,
        client: discord.Client,
        lantern: Lantern,
        replies: Replies,
        pacers: Pacers,
        webhooks: Webhooks,
        readers: Readers,
    ) -> None:
        self._readers = readers
        self._client = client
        self._pacers = pacers
        self._webhooks = webhooks
        self._turns = lantern.turns
        self._people = lantern.people
        self._shown_in = lantern.replies
        self._replies = replies
        self._settings = lantern.place_settings
        self._edited_at = dict[int, datetime]()
        """When the newest edit heard of was made, by its question."""

    @commands.Cog.listener()
    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Offers to answer the new words, under the answer to the old ones; or takes that back."""
        await self._reword(payload.message)

    @commands.Cog.listener()
    async def on_missed_edit(self, message: discord.Message) -> None:
        """As for one that was told: it was edited while nobody was connected to be told."""
        await self._reword(message)

    async def _reword(self, message: discord.Message) -> None:
        me = self._client.user
        # Discord tells of an edit also when it has unfolded an address in it.
        if me is None or message.edited_at is None:
            return
        try:
            turn = await self._turns.store.asked_by(str(message.id))
            if turn is None or not self._is_newest(message.id, message.edited_at):
                return
            if not await self._turns.store.reword(turn, said(message, me.id)):
                return
            answers = await self._turns.store.answers(turn)
            if answers is None:
                return
            await self._replies.let_go(answers)
            # An answer under way shows the offer once it has ended.
            if self._replies.offer(answers):
                return
            stored = await self._turns.store.get(answers.shown)
            shown = await self._shown_in.messages(answers.shown)
            if stored is None or not shown:
                return
            has_footer = self._settings.at(stored.place).footer
            # Its buttons alone are shown anew.
            *_, last = restored(stored, answers, has_footer=has_footer)
            await self._dress(shown[-1], last)
        except (*SENDING_ERRORS, BotError) as error:
            _log.info("edited question not offered", error=str(error)[:200])

    def _is_newest(self, message: int, edited_at: datetime) -> bool:
        # What was missed is read by another way than edits are told: it may come late, and its
        # older words would stand as those of the question.
        if edited_at < self._edited_at.get(message, edited_at):
            return False
        if len(self._edited_at) >= _MOST_HEARD:
            self._edited_at.clear()
        self._edited_at[message] = edited_at
        return True

    @commands.Cog.listener()
    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """Takes a question and its answers, or quoted words, out of all that models read later.

        An answer whose message was deleted stays in it, and is shown anew when it is asked for.
        """
        await self._forget(payload.message_id)

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """As for one."""
        for message in sorted(payload.message_ids):
            await self._forget(message)

    @commands.Cog.listener()
    async def on_missed_deletion(self, message: int) -> None:
        """As for one: it was deleted while nobody was connected to be told."""
        await self._forget(message)

    async def _forget(self, message: int) -> None:
        # First: what it asked or where it is quoted may be stored only in a moment.
        self._turns.taken_back.delete(message)
        try:
            await self._shown_in.lost(str(message))
            await self._people.unquote(str(message))
            turn = await self._turns.store.asked_by(str(message))
            answers = None if turn is None else await self._turns.store.answers(turn)
            if turn is None or answers is None:
                return
            shown = await self._shown_in.messages(answers.shown)
            # The answer stays for those who read it; nothing can be gone on from.
            has_ended = bool(self._replies.ending(answers))
            is_writing = self._replies.strip(answers.ids)
            # What is being answered to it is of no use to anybody, and would be stored at its end.
            await self._turns.end(answers.ids, DELETED)
            await self._people.remove(turn)
            if shown and (has_ended or not is_writing):
                await self._replies.let_go(answers)
                with suppress(*SENDING_ERRORS):
                    await self._dress(shown[-1], None)
        except BotError as error:
            _log.warning("deleted question not taken out", error=error.user_message)

    async def _dress(self, shown: ReplyMessage, message: MessageView | None) -> None:
        # A persona's answer stands there by our webhook, and nobody but that may change it: its
        # buttons stayed under a question that was long gone.
        channel = int(shown.channel_id)
        ours = self._pacers, self._webhooks, self._readers
        transport = transport_to(self._client, channel, *ours)
        await transport.dress(int(shown.message_id), message)
