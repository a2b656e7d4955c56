"""In which language a place is read where no press tells it: after a message, or a crash."""

import json
from typing import Any

import discord
import structlog

from bot.domain.errors import BotError
from bot.store.notes import NoteStore

NOTE = "discord.private_languages"
"""Languages by private channel, as pairs; the newest last."""

MOST_KNOWN = 1000

_log = structlog.get_logger(__name__)


class Readers:
    """Owns what is known of the languages of private channels; one per process."""

    # Discord tells a person's language with a press or a command, never with a message: in private
    # a German was answered in English, and read German around it wherever they had pressed.

    def __init__(self, notes: NoteStore) -> None:
        self._notes = notes
        self._private: dict[int, str] = {}

    async def read(self) -> None:
        """Remembers what was known before the start.

        Raises:
            StoreUnavailable: the note cannot be read.
        """
        noted: list[tuple[int, str]] = json.loads(await self._notes.get(NOTE) or "[]")
        self._private = dict(noted) | self._private

    async def hear(self, interaction: discord.Interaction[Any]) -> None:
        """Somebody pressed something or gave a command; in private that says how they read."""
        is_private = interaction.context.private_channel is not True
        channel, locale = interaction.channel_id, interaction.locale.value
        if interaction.guild_id is not None or channel is None or not is_private:
            return
        if self._private.get(channel) == locale:
            return
        self._private.pop(channel, None)
        known = [*self._private.items(), (channel, locale)][-MOST_KNOWN:]
        self._private = dict(known)
        try:
            await self._notes.put(NOTE, json.dumps(known))
        except BotError as error:
            _log.warning("language not noted", error=error.user_message)

    def locale_at(self, client: discord.Client, channel: int | None) -> object:
        """The language of what everybody there sees; None where nobody has told it."""
        if channel is None:
            return None
        if channel in self._private:
            return self._private[channel]
        server: discord.Guild | None = getattr(client.get_channel(channel), "guild", None)
        return None if server is None else server.preferred_locale
