"""What commands and the bot's own words are in other languages; English where a table has none.

Other rooms know English alone: what they say is looked up here as it goes out to Discord.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from discord import Interaction, Locale, app_commands

COLUMNS: Mapping[str, str] = {
    "de": "de", "es-ES": "es", "es-419": "es", "fr": "fr", "ja": "ja", "pt-BR": "pt",
}  # fmt: skip
"""Discord's languages and the columns of ``languages.toml`` they are read from."""

Table = Mapping[str, Mapping[str, str]]


@cache
def tables() -> Mapping[str, Table]:
    """``commands`` and ``words`` by their English text, then by column."""
    path = Path(__file__).with_name("languages.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


class CommandNames(app_commands.Translator):
    """Names, descriptions and choices of commands, as Discord asks for them."""

    async def translate(
        self, string: app_commands.locale_str, locale: Locale, context: object
    ) -> str | None:
        """The text in that language; None where it reads as in English."""
        return tables()["commands"].get(string.message, {}).get(COLUMNS.get(locale.value, ""))


@cache
def _patterns(column: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Lines of the bot's words with gaps in them, and what they are in a language."""
    lines = ((text, said[column]) for text, said in tables()["words"].items() if column in said)
    return tuple(
        (re.compile(re.escape(text).replace(r"\{\}", "(.+)")), said)
        for text, said in lines
        if "{}" in text
    )


def public_locale(interaction: Interaction[Any]) -> Locale | None:
    """The language of what everybody sees: a server's own, or that of whom one writes with.

    A group has none. It is the same whoever presses: buttons under one answer once spoke German to
    all, since the last who pressed one did.
    """
    if interaction.guild_id is not None:
        return interaction.guild_locale
    return None if interaction.context.private_channel is True else interaction.locale


def told(text: str, locale: object) -> str:
    """The bot's own words in a reader's language, line by line; a line without any stays English.

    Args:
        text: As it is in English. Never a model's or a person's words: a line of theirs that
            reads like one of ours would change.
        locale: Discord's, of the person or the server; anything else reads English.
    """
    column = COLUMNS.get(str(locale), "")
    words = tables()["words"]
    if not column or text in words:
        return words.get(text, {}).get(column, text)

    def line_told(line: str) -> str:
        if column in (known := words.get(line, {})):
            return known[column]
        for pattern, said in _patterns(column):
            if found := pattern.fullmatch(line):
                # What stands in a gap may be one of our words, too: "🔒 Your words: …".
                return said.replace("{}", words.get(found[1], {}).get(column, found[1]), 1)
        return line

    return "\n".join(map(line_told, text.split("\n")))
