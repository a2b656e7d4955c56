"""In which language a place is read where no press tells it."""

from typing import Any

import discord
import pytest
from cogs_doubles import MemoryNotes, interaction_of
from discord import Locale
from stand_ins import double

from bot.domain.errors import StoreUnavailable
from cogs import _readers
from cogs._readers import Readers


def pressed(
    locale: Locale, channel: int = 7, *, guild: int | None = None, is_group: bool = False
) -> Any:
    press = interaction_of(guild=guild, channel=channel)
    press.locale, press.context.private_channel = locale, is_group
    return press


def client_with(server: Locale | None) -> Any:
    client = double(discord.Client)
    client.get_channel.return_value = None
    if server is not None:
        client.get_channel.return_value = double(discord.TextChannel)
        client.get_channel.return_value.guild.preferred_locale = server
    return client


async def test_a_private_channel_is_read_in_the_language_of_the_last_press_there() -> None:
    notes, private, home = MemoryNotes(), client_with(None), client_with(Locale.french)
    readers = Readers(notes)
    assert readers.locale_at(private, 7) is None
    await readers.hear(pressed(Locale.german))
    await readers.hear(pressed(Locale.french, guild=5, channel=8))
    await readers.hear(pressed(Locale.french, is_group=True, channel=9))
    again = Readers(notes)
    await again.read()
    for each in (readers, again):
        assert each.locale_at(private, 7) == "de"
        assert [each.locale_at(private, other) for other in (None, 8, 9)] == [None] * 3
        assert each.locale_at(home, 8) is Locale.french, "a server's own"
    await again.hear(pressed(Locale.american_english))
    assert again.locale_at(private, 7) == "en-US"


async def test_only_news_are_noted_and_of_so_many_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_readers, "MOST_KNOWN", 2)
    notes, client = MemoryNotes(), client_with(None)
    readers = Readers(notes)
    for channel in (1, 2, 1):
        await readers.hear(pressed(Locale.german, channel))
    notes.notes.clear()
    await readers.hear(pressed(Locale.german, 2))
    assert notes.notes == {}
    await readers.hear(pressed(Locale.french, 1))
    await readers.hear(pressed(Locale.german, 3))
    assert [readers.locale_at(client, at) for at in (1, 2, 3)] == ["fr", None, "de"]


async def test_a_language_that_cannot_be_noted_counts_until_the_next_start() -> None:
    notes: Any = double(MemoryNotes)
    notes.put.side_effect = StoreUnavailable("the disk is full")
    readers = Readers(notes)
    await readers.hear(pressed(Locale.german))
    assert readers.locale_at(client_with(None), 7) == "de"
