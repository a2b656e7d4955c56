"""What commands and the bot's own words are in other languages; English where a table has none.

Other rooms know English alone: what they say is looked up here as it goes out to Discord.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from discord import Interaction, Locale, app_commands

COLUMNS: Mapping[str, str] = {
    "de": "de", "es-ES": "es", "es-419": "es", "fr": "fr", "ja": "ja", "pt-BR": "pt",
}  # fmt: skip
"""Discord's languages and the columns of both tables they are read from."""

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

_MARKS = (("`", "`"), ("**", "**"), ("“", "”"), ('"', '"'))
"""What names stand between: up to the second of each they may hold what else joins phrases."""

_LEAD = re.compile(r"(?:(?:-#|ℹ|[^\w\s`*\"“(\[{<>$~/.,;:#-]+) )*")
"""Bullets and pictures before a line; of quoted lines, which are not ours, none."""

_JOINTS = tuple(
    (re.compile(joint), between)
    for joint, between in (
        (r"(?<=[.!?…]) |(?<=\)) (?=[A-Z])", " "), ("; ", "; "), (", ", ", "),
    )
)  # fmt: skip
"""What stands between phrases of one line, and how to find it: the widest first."""

_MARKED = re.compile(r"`[^`]*`|\*\*.*?\*\*")
"""Names in marks of their own: one may be called ``Dr. Watson``, or hold commas."""

_WHOM = re.compile(r"[^\s:`]+: ")
"""Begins a phrase about a host or provider."""

_FAINT = 4
"""``{&} is {…}`` has so few signs that it means something in the smallest piece alone."""


_DEEPEST = 6
"""Phrases stand within phrases so deep; a host's own words may hold a thousand colons."""

_PHRASES, _MOST_PHRASES = 200, 4_000
"""So many are looked up for a line, and for a text but for its last line; the rest is English."""

_LONGEST = 1_000
"""Of the characters of a phrase with gaps: no message of ours has one half as long."""

_WORD = re.compile(r"(?<![\w\0])\w+(?![\w\0])")
"""A word, but for one that touches a gap (written as a NUL here): it may be half of a longer."""

_IS_NUMBER = re.compile(_NUMBER)


@cache
def command_names() -> Table:
    """What is said of commands by its English text, then by column; read at every start."""
    return tomllib.loads(Path(__file__).with_name("command_names.toml").read_text("utf-8"))


@cache
def tables() -> Mapping[str, Table]:
    """``words`` and ``numbers`` by their English text, then by column.

    Read for the first who does not read English: a twentieth of the start and a megabyte, which
    most servers need never.
    """
    return tomllib.loads(Path(__file__).with_name("languages.toml").read_text("utf-8"))


class CommandNames(app_commands.Translator):
    """Names, descriptions and choices of commands, as Discord asks for them."""

    async def translate(
        self, string: app_commands.locale_str, locale: Locale, context: object
    ) -> str | None:
        """The text in that language; None where it reads as in English."""
        return command_names().get(string.message, {}).get(COLUMNS.get(locale.value, ""))


def public_locale(interaction: Interaction[Any]) -> Locale | None:
    """The language of what everybody sees: a server's own, or that of whom one writes with.

    A group has none. It is the same whoever presses: buttons under one answer once spoke German to
    all, since the last who pressed one did.
    """
    if interaction.guild_id is not None:
        return interaction.guild_locale
    return None if interaction.context.private_channel is True else interaction.locale


def told(text: str, locale: object, names: frozenset[str] = frozenset()) -> str:
    """The bot's own words in a reader's language, line by line; a line without any stays English.

    Args:
        text: As it is in English. Never a model's or a person's words: a line of theirs that
            reads like one of ours would change.
        locale: Discord's, of the person or the server; anything else reads English.
        names: Stay as they are where they stand alone, as in a footer: a host may be called `busy`.
    """
    column = COLUMNS.get(str(locale), "")
    if not column or not any(column in signs for signs in tables()["numbers"].values()):
        return text
    lines, looked = text.split("\n"), 0
    for at, line in enumerate(lines):
        if looked < _MOST_PHRASES:
            lines[at], phrases = _line(line, column, names)
            looked += phrases
    return "\n".join(lines)


Pattern = tuple[int, int, tuple[str, ...], re.Pattern[str], str]
"""Its place in the order they are tried in; how many signs a line with gaps has; its pieces, which
must stand in what it matches; how it matches; and what it is in a language."""


@cache
def _book(column: str) -> tuple[Mapping[str, str], Mapping[str, Sequence[Pattern]]]:
    """A language's lines without gaps; and those with some by a word each has, of few others'.

    Under the empty word stand those that have none. All without the pictures before them, which
    stay as they are.
    """
    whole: dict[str, str] = {}
    gapped: list[tuple[int, tuple[str, ...], re.Pattern[str], str]] = []
    for text, by_column in tables()["words"].items():
        if column not in by_column:
            continue
        text, said = (_LEAD.sub("", each, count=1) for each in (text, by_column[column]))
        own, kinds = _GAP.split(text)[::3], _GAP.split(text)[2::3]
        if kinds:
            first, *pieces = map(re.escape, own)
            gaps = [
                f"{_gap_after(''.join(own[:nth]), kind)}{piece}"
                for nth, (kind, piece) in enumerate(zip(kinds, pieces, strict=True), 1)
            ]
            # What was taken for a gap is not tried otherwise: of five gaps a line of a thousand
            # signs took twenty seconds.
            parts = (first, *(f"(?>{gap})" for gap in gaps[:-1]), gaps[-1])
            signs = len("".join("".join(own).split()))
            gapped.append((signs, tuple(own), re.compile("".join(parts)), said))
        else:
            whole[text] = said
    gapped.sort(key=lambda each: (-each[0], -len(each[2].pattern)))
    words = [set(_WORD.findall("\0".join(own))) for _, own, _, _ in gapped]
    often = Counter(chain.from_iterable(words))
    book: dict[str, list[Pattern]] = {}
    for place, (each, its) in enumerate(zip(gapped, words, strict=True)):
        word = min(its, key=lambda word: (often[word], -len(word), word), default="")
        book.setdefault(word, []).append((place, *each))
    return whole, book


def _cut(text: str, joint: re.Pattern[str]) -> list[str]:
    """The phrases of a text that stand between such joints; no name is cut."""
    parts, begin = list[str](), 0
    for found in joint.finditer(_MARKED.sub(lambda name: "\0" * len(name[0]), text)):
        parts.append(text[begin : found.start()])
        begin = found.end()
    return [*parts, text[begin:]]


def _gap_after(before: str, kind: str) -> str:
    """How what may stand in a gap of that kind matches, behind such words of a line."""
    for first, last in _MARKS:
        begun, ended = before.count(first), before.count(last)
        if not kind and (begun % 2 if first == last else begun > ended):
            return f"((?:(?!{re.escape(last)}).)*)"
    return _GAPS[kind]


# A status is shown anew each second, and most of its lines stay.
@lru_cache(2000)
def _line(line: str, column: str, names: frozenset[str]) -> tuple[str, int]:
    """A line, with the pictures it begins with, and how many phrases were looked up for it."""
    telling = _Telling(column, names)
    return telling.part(line, 0), telling.looked


class _Telling:
    """One line as it is told in a language: phrase by phrase, until it is over or too many."""

    def __init__(self, column: str, names: frozenset[str]) -> None:
        self._column, self._names = column, names
        self._whole, self._patterns = _book(column)
        self._told: dict[str, str] = {}
        self.looked = 0

    def phrase(self, line: str, depth: int) -> str:
        """A phrase within so many others; as it is where nothing of it is known."""
        # What was not found whole is cut at one joint after the other, into the same pieces.
        if line in self._told:
            return self._told[line]
        self.looked += 1
        if depth > _DEEPEST or self.looked > _PHRASES:
            return line
        said = self._told[line] = self._looked_up(line, depth)
        return said

    def _looked_up(self, line: str, depth: int) -> str:
        text = _LEAD.sub("", line, count=1)
        lead = line.removesuffix(text)
        if text in self._whole:
            return lead + self._whole[text]
        # The last sentence of what stood in a gap may have left its full stop behind it.
        if f"{text}." in self._whole:
            return lead + self._whole[f"{text}."].removesuffix(".")
        if _IS_NUMBER.fullmatch(text):
            return lead + _number(text, self._column)
        if " · " in text:
            return lead + " · ".join(self.part(part, depth + 1) for part in text.split(" · "))
        fitting = self._fitting(text)
        strong = [pattern for pattern in fitting if pattern[1] >= _FAINT]
        if said := self._filled(text, strong, depth):
            return lead + said
        faint = fitting[len(strong) :]
        for joint, between in _JOINTS:
            if (said := self._joined(text, joint, between, faint, depth)) != text:
                return lead + said
        return lead + (self._filled(text, faint, depth) or text)

    def _joined(
        self, text: str, joint: re.Pattern[str], between: str, faint: list[Pattern], depth: int
    ) -> str:
        """A text phrase by phrase, as they stand between such joints."""
        # A phrase that ends a sentence here may end none elsewhere.
        bare = text.removesuffix(".") if between == ", " else text
        if bare != text and (said := self.phrase(bare, depth + 1)) != bare:
            return f"{said}."
        parts = _cut(text, joint)
        found = [self.phrase(part, depth + 1) for part in parts] if len(parts) > 1 else parts
        # Told of somebody is all of it, not what stands before its first comma.
        if between == ", " and found[0] == parts[0] and _WHOM.match(text):
            return self._filled(text, faint, depth) or between.join(found)
        return between.join(found)

    def part(self, part: str, depth: int) -> str:
        """What stands between dots: one of the names, or a phrase."""
        return part if _LEAD.sub("", part, count=1) in self._names else self.phrase(part, depth)

    def _fitting(self, text: str) -> list[Pattern]:
        """The patterns that may match it, of the most signs first."""
        # To look for the pieces of all was a millisecond a phrase, and six seconds for a line
        # that somebody made up of small ones.
        if len(text) > _LONGEST:
            return []
        words = {"", *_WORD.findall(text)}
        found = chain.from_iterable(self._patterns.get(word, ()) for word in words)
        return sorted(each for each in found if all(piece in text for piece in each[2]))

    def _filled(self, text: str, patterns: Iterable[Pattern], depth: int) -> str:
        """A phrase by the first pattern it matches, with its gaps; empty where it matches none."""
        for _, signs, _, pattern, said in patterns:
            if found := pattern.fullmatch(text):
                in_order = iter(found.groups())
                pieces = _GAP.split(said)
                for at in range(1, len(pieces), 3):
                    gap = found[int(pieces[at])] if pieces[at] else next(in_order)
                    filled = self._gap(gap, pieces[at + 1], depth + 1)
                    if filled == gap and pieces[at + 1] == "…" and signs < _FAINT:
                        break
                    pieces[at : at + 2] = filled, ""
                else:
                    return "".join(pieces)
        return ""

    def _gap(self, text: str, kind: str, depth: int) -> str:
        """What stood in a gap of that kind."""
        match kind:
            case "#":
                return _number(text, self._column)
            case "&":
                # Names stay; how many more there are is ours.
                heads, _, last = text.rpartition(" and ")
                names = [*filter(None, heads.split(", ")), *last.split(", ")]
                *first, last = [self.phrase(n, depth) if " " in n else n for n in names]
                if heads:
                    return f"{', '.join(first)} {self._whole.get('and', 'and')} {last}"
                return ", ".join((*first, last))
            case "…":
                return self.phrase(text, depth)
            case _:
                return text


def _number(text: str, column: str) -> str:
    """A number as it is written in a language: ``1,234.5 s``, ``50%``, ``$1.20``."""
    signs = {sign: said[column] for sign, said in tables()["numbers"].items()}
    said = "".join(signs.get(sign, sign) for sign in text.replace("$", ""))
    return said + signs["$"] * ("$" in text)
