"""Discord's markup as far as a streamed reply needs it: fences, unfinished and hostile text.

Fences follow CommonMark: a run of at least three backticks or tildes at a line's start, at most
three spaces in, closed by a run of the same character that is no shorter.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

LONGEST_FENCE = 32
"""A longer run is a drawn line: closing and reopening it would leave no room for text."""

LONGEST_INFO = 40
"""A longer info string is not repeated when a fence is reopened."""

_OPENER = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_CLOSER = re.compile(r" {0,3}(`{3,}|~{3,})[ \t\r]*\n?")


@dataclass(frozen=True, slots=True)
class Fence:
    """An open code fence."""

    mark: str
    """The run that opened it."""
    info: str = ""
    """What stood behind the run: the language."""

    def closing(self, before: str) -> str:
        """What closes the fence behind that text, on a line of its own."""
        return self.mark if before.endswith("\n") else f"\n{self.mark}"

    def is_closed_by(self, line: str) -> bool:
        """Whether a line ends this fence."""
        found = _CLOSER.fullmatch(line)
        return found is not None and found[1][0] == self.mark[0] and len(found[1]) >= len(self.mark)

    def may_be_closed_by(self, start: str) -> bool:
        """Whether a line of which only this much is known could end this fence."""
        rest = start.removesuffix("\n").strip(" \t\r")
        return not rest.strip(self.mark[0]) and ("\n" not in start or self.is_closed_by(start))


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its line end, and the fences open before and after it."""

    start: int
    text: str
    before: Fence | None
    after: Fence | None

    @property
    def end(self) -> int:
        """Where the next line starts."""
        return self.start + len(self.text)


def lines_of(text: str, fence: Fence | None = None) -> Iterator[Line]:
    """The lines of a text that begins inside that fence."""
    start = 0
    for whole in _LINE.findall(text):
        after = fence
        if fence is not None:
            after = None if fence.is_closed_by(whole) else fence
        elif (found := _OPENER.match(whole)) and len(found[1]) <= LONGEST_FENCE:
            mark, info = found[1], found[2].strip()
            if mark[0] != "`" or "`" not in info:
                after = Fence(mark, info if len(info) <= LONGEST_INFO else "")
        yield Line(start, whole, fence, after)
        fence, start = after, start + len(whole)


def open_fence(text: str, fence: Fence | None = None) -> Fence | None:
    """The fence that is open at the end of a text that begins inside the given one."""
    for line in lines_of(text, fence):
        fence = line.after
    return fence


def is_boundary(text: str, place: int) -> bool:
    """Whether what a reader sees as one character does not reach over that place."""
    before, after = ord(text[place - 1]), ord(text[place])
    # Combining marks and selectors, joiner, half pair, skin tone, tag, jamo vowels and finals.
    continues = (
        unicodedata.category(text[place]).startswith("M")
        or after == 0x200D
        or 0x1160 <= after <= 0x11FF
        or 0xDC00 <= after <= 0xDFFF
        or 0x1F3FB <= after <= 0x1F3FF
        or 0xE0020 <= after <= 0xE007F
    )
    reaches_on = before == 0x200D or 0xD800 <= before <= 0xDBFF
    if continues or reaches_on or text[place - 1 : place + 1] == "\r\n":
        return False
    # A flag is two letters: between the first and the second of a row of them there is no end.
    flags = place
    while flags and "\U0001f1e6" <= text[flags - 1] <= "\U0001f1ff":
        flags -= 1
    return (place - flags) % 2 == 0 or not "\U0001f1e6" <= text[place] <= "\U0001f1ff"


# ---------------------------------------------------------------- the copy shown while streaming

_CODE = re.compile(r"(?<!`)(`+)(?!`)[^`\n]+\1(?!`)")
_INLINE = re.compile(r"\*\*|__|\|\||~~|(?<!`)`{1,2}(?!`)")
_UNFINISHED = re.compile(
    r"(?:<(?:[@#:a/t][^<>\s]{0,64})?|\[[^\[\]\n]{0,200}\]\([^()\s]{0,500}|\\)\Z"
)


def display_copy(text: str) -> str:
    """The part as shown while more is coming: nothing open, no unfinished marker at its end.

    Fences, inline code, bold, underline, strike-through and spoilers are closed in the copy only,
    so that the layout does not jump when their real ends arrive.
    """
    fence, block = None, 0
    for line in lines_of(text):
        if line.after != line.before:
            block = line.start if line.after else line.end
        fence = line.after
    if fence is not None:
        last = text.rfind("\n") + 1
        inside = text[:last] if fence.may_be_closed_by(text[last:]) else text
        if not inside[block:].partition("\n")[2].strip():
            # A block that shows nothing yet would flash up as an empty box.
            return text[:block].rstrip()
        return inside.rstrip("\n") + fence.closing("")
    prose = _UNFINISHED.sub("", text[block:].rstrip("*_~|`")).rstrip()
    shown = (text[:block] + prose).rstrip()
    if open_fence(prose) is not None:
        # Without its unfinished end the last line reads as a fence's opening.
        return display_copy(shown)
    return shown + _inline_closers(prose[prose.rfind("\n\n") + 1 :])


def _inline_closers(text: str) -> str:
    """What closes the markers that stand open at the end of a paragraph."""
    if "`" in text:
        text = _CODE.sub(lambda found: " " * len(found[0]), text)
    opened: list[str] = []
    for found in _INLINE.finditer(text):
        mark, start, end = found[0], found.start(), found.end()
        if mark in opened:
            opened.remove(mark)
        # "a || b" and "2 ** 3" are no markup.
        elif text[end : end + 1].strip() and not text[max(start - 1, 0) : start].isalnum():
            opened.append(mark)
            if mark[0] == "`":
                break
    return "".join(reversed(opened))


# ---------------------------------------------------------------- hostile text

_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
"""Zero-width and direction marks; not the joiners that emoji and some scripts need."""

_MASKED = re.compile(
    r"\[([^\[\]\n]+)\]\(<?(https?://(?:[^()<>\s]|\([^()<>\s]*\))+)>?(?: +\"[^\"\n]*\")?\)",
    re.IGNORECASE,
)


def harmless(text: str) -> str:
    """The text with nothing hidden: no direction tricks, and each masked link says its host.

    Code blocks stay as they are. The result for a beginning of a text is a beginning of the result
    for the whole, so a growing reply can be made harmless before it is split.
    """
    lines: list[str] = []
    for line in lines_of(text):
        shown = line.text
        if line.before is None:
            shown = _INVISIBLE.sub("", shown)
            if "](" in shown and not _OPENER.match(shown):
                shown = _MASKED.sub(_say_host, shown)
        lines.append(shown)
    return "".join(lines)


def _say_host(found: re.Match[str]) -> str:
    if found.string.count("`", 0, found.start()) % 2:
        return found[0]
    try:
        host = urlsplit(found[2]).hostname or "?"
    except ValueError:
        host = "?"
    said = re.split(r"[^\w.-]+", found[1].lower())
    return found[0] if host in said else f"{found[0]} ({host})"
