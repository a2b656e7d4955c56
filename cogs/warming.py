"""Loads what will answer while somebody is still writing, where that is in nobody's way."""

import asyncio
from math import inf

import discord
import structlog
from discord.ext import commands

from bot.chat.lantern import Lantern
from bot.domain.chat import Place
from bot.domain.errors import BotError
from bot.domain.ids import PlaceId, UserId
from bot.policy.warmup import WARM_UP_EVERY_S
from cogs._places import DiscordRules

_MOST_KNOWN = 1000

_log = structlog.get_logger(__name__)


class Warming(commands.Cog):
    """Hears who writes where messages are questions: in private, in threads, in some channels."""

    def __init__(self, client: discord.Client, lantern: Lantern, rules: DiscordRules) -> None:
        self._client = client
        self._turns = lantern.turns
        self._switch = lantern.switch
        self._is_on = rules.has_warm_up
        self._here = rules.here
        self._guessed: dict[UserId, float] = {}

    @commands.Cog.listener()
    async def on_raw_typing(self, event: discord.RawTypingEvent) -> None:
        """Somebody writes where the last answer was for them: the next may be, too."""
        user, now = UserId(f"discord:{event.user_id}"), asyncio.get_running_loop().time()
        place = self._place(event)
        if not self._is_on or place is None:
            return
        if now - self._guessed.get(user, -inf) < WARM_UP_EVERY_S:
            return
        # Noted before anything is awaited: Discord tells of typing every few seconds.
        if len(self._guessed) >= _MOST_KNOWN:
            self._guessed.clear()
        self._guessed[user] = now
        try:
            # Whoever was not answered there makes no machine work by moving their fingers.
            last = await self._turns.store.last_in(place.conversation, since_reset=True)
            if last is not None and last.user == user:
                await self._switch.warm_up(place, user)
        except BotError as error:
            _log.info("nothing warmed up", reason=error.user_message[:200])

    def _place(self, event: discord.RawTypingEvent) -> Place | None:
        """Where they write to us; None in channels where people write to each other."""
        here = PlaceId(f"discord:{event.channel_id}")
        if event.guild_id is None:
            return Place(here, is_private=True)
        server, known = (
            PlaceId(f"discord:{event.guild_id}"),
            self._client.get_channel(event.channel_id),
        )
        if isinstance(known, discord.Thread):
            return Place(PlaceId(f"discord:{known.parent_id}"), thread=here, server=server)
        place = Place(here, server=server)
        # Every message there is a question.
        return place if known is not None and self._here(place).unprompted else None
