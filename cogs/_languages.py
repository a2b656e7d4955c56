"""What commands and the bot's own words are in other languages; English where a table has none.

Other rooms know English alone: what they say is looked up here as it goes out to Discord.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from discord import Client, Guild, Interaction, Locale, app_commands

COLUMNS: Mapping[str, str] = {
    "de": "de", "es-ES": "es", "es-419": "es", "fr": "fr", "ja": "ja", "pt-BR": "pt",
}  # fmt: skip
"""Discord's languages and the columns of ``languages.toml`` they are read from."""

Table = Mapping[str, Mapping[str, str]]

_GAP = re.compile(r"\{(\d?)([#&…]?)\}")
_NUMBER = (
    r"[~≈]? ?\$?\d[\d.,]*(?: ?%| (?:s|min|h|days|GB|MB|M|KiB|MiB|¢|tok/s)(?!\w))?"
    r"(?: \d+ (?:s|min)(?!\w))?"
)
_NAME = r"(?:\d+ more|\d+ machines|a machine|`[^`]*`|☁ [^\s,]+|[^\s,`]+)"
_GAPS: Mapping[str, str] = {
    "": r"((?:(?!\. |; |: | · ).)+?)",
    "#": f"({_NUMBER})",
    "&": f"({_NAME}(?:, {_NAME})*(?: and {_NAME})?)",
    "…": "(.+?)",
}
"""What may stand in each kind of gap; the head of ``[words]`` in the table tells of them."""

_LEAD = re.compile(r"(?:(?:-#|ℹ|[^\w\s`*\"“(\[{<>$~/.,;:#-]+) )*")
"""Bullets and pictures before a line; of quoted lines, which are not ours, none."""

_JOINTS = ((r"(?<=[.!?…]) |(?<=\)) (?=[A-Z])", " "), ("; ", "; "), (", ", ", "))
"""What stands between phrases of one line, and how to find it: the widest first."""

_FAINT = 4
"""``{&} is {…}`` has so few signs that it means something in the smallest piece alone."""


_DEEPEST = 6
"""Phrases stand within phrases so deep; a host's own words may hold a thousand colons."""


@cache
def tables() -> Mapping[str, Table]:
    """``commands``, ``words`` and ``numbers`` by their English text, then by column."""
    path = Path(__file__).with_name("languages.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


class CommandNames(app_commands.Translator):
    """Names, descriptions and choices of commands, as Discord asks for them."""

    async def translate(
        self, string: app_commands.locale_str, locale: Locale, context: object
    ) -> str | None:
        """The text in that language; None where it reads as in English."""
        return tables()["commands"].get(string.message, {}).get(COLUMNS.get(locale.value, ""))


def public_locale(interaction: Interaction[Any]) -> Locale | None:
    """The language of what everybody sees: a server's own, or that of whom one writes with.

    A group has none. It is the same whoever presses: buttons under one answer once spoke German to
    all, since the last who pressed one did.
    """
    if interaction.guild_id is not None:
        return interaction.guild_locale
    return None if interaction.context.private_channel is True else interaction.locale


def locale_at(client: Client, channel: int | None) -> Locale | None:
    """The language of what everybody sees in a server's channel; of any other place none."""
    known = None if channel is None else client.get_channel(channel)
    server: Guild | None = getattr(known, "guild", None)
    return None if server is None else server.preferred_locale


def told(text: str, locale: object) -> str:
    """The bot's own words in a reader's language, line by line; a line without any stays English.

    Args:
        text: As it is in English. Never a model's or a person's words: a line of theirs that
            reads like one of ours would change.
        locale: Discord's, of the person or the server; anything else reads English.
    """
    column = COLUMNS.get(str(locale), "")
    if not any(column in signs for signs in tables()["numbers"].values()):
        return text
    return "\n".join(_line(line, column) for line in text.split("\n"))


Pattern = tuple[int, tuple[str, ...], re.Pattern[str], str]
"""How many signs a line with gaps has; its pieces, which must stand in what it matches; how it
matches; and what it is in a language."""


@cache
def _book(column: str) -> tuple[Mapping[str, str], tuple[Pattern, ...]]:
    """A language's lines without gaps, and those with some, of the most signs first.

    All without the pictures before them, which stay as they are.
    """
    whole: dict[str, str] = {}
    patterns: list[Pattern] = []
    for text, by_column in tables()["words"].items():
        if column not in by_column:
            continue
        text, said = (_LEAD.sub("", each, count=1) for each in (text, by_column[column]))
        own, kinds = _GAP.split(text)[::3], _GAP.split(text)[2::3]
        if kinds:
            gaps = (_GAPS[kind] for kind in kinds)
            parts = chain(*zip_longest(map(re.escape, own), gaps, fillvalue=""))
            signs = len("".join("".join(own).split()))
            patterns.append((signs, tuple(own), re.compile("".join(parts)), said))
        else:
            whole[text] = said
    return whole, tuple(sorted(patterns, key=lambda each: (-each[0], -len(each[2].pattern))))


# A status is shown anew each second, and most of its lines stay.
@lru_cache(2000)
def _line(line: str, column: str, depth: int = 0) -> str:
    """A line, with the pictures it begins with; as it is where nothing of it is known."""
    if depth > _DEEPEST:
        return line
    whole, patterns = _book(column)
    text = _LEAD.sub("", line, count=1)
    lead = line.removesuffix(text)
    if text in whole:
        return lead + whole[text]
    if re.fullmatch(_NUMBER, text):
        return lead + _number(text, column)
    if " · " in text:
        return lead + " · ".join(_line(part, column, depth + 1) for part in text.split(" · "))
    strong = [pattern for pattern in patterns if pattern[0] >= _FAINT]
    if said := _filled(text, strong, column, depth):
        return lead + said
    for joint, between in _JOINTS:
        # A phrase that ends a sentence here may end none elsewhere.
        bare = text.removesuffix(".") if between == ", " else text
        if bare != text and (said := _line(bare, column, depth + 1)) != bare:
            return f"{lead}{said}."
        parts = re.split(joint, text)
        found = [_line(part, column, depth + 1) for part in parts] if len(parts) > 1 else parts
        if found != parts:
            return lead + between.join(found)
    return lead + (_filled(text, patterns[len(strong) :], column, depth) or text)


def _filled(text: str, patterns: Iterable[Pattern], column: str, depth: int) -> str:
    """A line by the first pattern it matches, its gaps filled; empty where it matches none."""
    for signs, own, pattern, said in patterns:
        # Looking for a pattern's pieces is quicker than to try it, and most are not there.
        if all(piece in text for piece in own) and (found := pattern.fullmatch(text)):
            in_order = iter(found.groups())
            pieces = _GAP.split(said)
            for at in range(1, len(pieces), 3):
                gap = found[int(pieces[at])] if pieces[at] else next(in_order)
                filled = _gap(gap, pieces[at + 1], column, depth + 1)
                if filled == gap and pieces[at + 1] == "…" and signs < _FAINT:
                    break
                pieces[at : at + 2] = filled, ""
            else:
                return "".join(pieces)
    return ""


def _gap(text: str, kind: str, column: str, depth: int) -> str:
    """What stood in a gap of that kind, in a language."""
    match kind:
        case "#":
            return _number(text, column)
        case "&":
            # Names stay; how many more there are is ours.
            heads, _, last = text.rpartition(" and ")
            names = [*filter(None, heads.split(", ")), *last.split(", ")]
            *first, last = [_line(name, column) if " " in name else name for name in names]
            if heads:
                return f"{', '.join(first)} {_line('and', column)} {last}"
            return ", ".join((*first, last))
        case "…":
            return _line(text, column, depth)
        case _:
            return text


def _number(text: str, column: str) -> str:
    """A number as it is written in a language: ``1,234.5 s``, ``50%``, ``$1.20``."""
    signs = {sign: said[column] for sign, said in tables()["numbers"].items()}
    said = "".join(signs.get(sign, sign) for sign in text.replace("$", ""))
    return said + signs["$"] * ("$" in text)
