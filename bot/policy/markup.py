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
_CLOSER = re.compile(r" {0,3}(`{3,}|~{3,})[ \t\r]*\n?")


@dataclass(frozen=True, slots=True)
class Fence:
    """An open code fence."""

    mark: str
    """The run that opened it."""
    info: str = ""
    """What stood behind the run: the language."""

    @property
    def reopening(self) -> str:
        """The line that opens the same fence in another message."""
        return f"{self.mark}{self.info}\n"

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
    for line in text.split("\n"):
        end = start + len(line)
        whole = text[start : end + 1]
        if whole:
            after = _fence_after(whole, fence)
            yield Line(start, whole, fence, after)
            fence = after
        start = end + 1


def open_fence(text: str, fence: Fence | None = None) -> Fence | None:
    """The fence that is open at the end of a text that begins inside the given one."""
    for line in lines_of(text, fence):
        fence = line.after
    return fence


def _fence_after(line: str, fence: Fence | None) -> Fence | None:
    if fence is not None:
        return None if fence.is_closed_by(line) else fence
    found = _OPENER.match(line)
    if found is None or len(found[1]) > LONGEST_FENCE:
        return None
    mark, info = found[1], found[2].strip()
    if mark[0] == "`" and "`" in info:
        return None
    return Fence(mark, info if len(info) <= LONGEST_INFO else "")


def is_boundary(text: str, place: int) -> bool:
    """Whether what a reader sees as one character does not reach over that place."""
    return not (_continues(text[place]) or _reaches_on(text, place))


def _continues(character: str) -> bool:
    # Combining marks and selectors, joiner, half pair, skin tone, tag, jamo vowels and finals.
    code = ord(character)
    return (
        unicodedata.category(character).startswith("M")
        or code == 0x200D
        or 0x1160 <= code <= 0x11FF
        or 0xDC00 <= code <= 0xDFFF
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xE0020 <= code <= 0xE007F
    )


def _reaches_on(text: str, place: int) -> bool:
    code = ord(text[place - 1])
    if code == 0x200D or 0xD800 <= code <= 0xDBFF or text[place - 1 : place + 1] == "\r\n":
        return True
    flags = place
    while flags and _is_flag_half(text[flags - 1]):
        flags -= 1
    return (place - flags) % 2 == 1 and _is_flag_half(text[place])


def _is_flag_half(character: str) -> bool:
    return 0x1F1E6 <= ord(character) <= 0x1F1FF


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
        return _close_fence(text, block, fence)
    prose = _UNFINISHED.sub("", text[block:].rstrip("*_~|`")).rstrip()
    shown = (text[:block] + prose).rstrip()
    if open_fence(prose) is not None:
        # Without its unfinished end the last line reads as a fence's opening.
        return display_copy(shown)
    return shown + _inline_closers(prose[prose.rfind("\n\n") + 1 :])


def _close_fence(text: str, block: int, fence: Fence) -> str:
    last = text.rfind("\n") + 1
    shown = text[:last] if fence.may_be_closed_by(text[last:]) else text
    if not shown[block:].partition("\n")[2].strip():
        # A block that shows nothing yet would flash up as an empty box.
        return text[:block].rstrip()
    return shown.rstrip("\n") + fence.closing("")


def _inline_closers(text: str) -> str:
    if "`" in text:
        text = _CODE.sub(lambda found: " " * len(found[0]), text)
    opened: list[str] = []
    for found in _INLINE.finditer(text):
        mark = found[0]
        if mark in opened:
            opened.remove(mark)
        elif _opens(text, found.start(), found.end()):
            opened.append(mark)
            if mark[0] == "`":
                break
    return "".join(reversed(opened))


def _opens(text: str, start: int, end: int) -> bool:
    # "a || b" and "2 ** 3" are no markup.
    return text[end : end + 1].strip() != "" and not text[max(start - 1, 0) : start].isalnum()


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
    return "".join(
        line.text if line.before is not None else _harmless_line(line.text)
        for line in lines_of(text)
    )


def _harmless_line(line: str) -> str:
    line = _INVISIBLE.sub("", line)
    return line if "](" not in line or _OPENER.match(line) else _MASKED.sub(_say_host, line)


def _say_host(found: re.Match[str]) -> str:
    if found.string.count("`", 0, found.start()) % 2:
        return found[0]
    try:
        host = urlsplit(found[2]).hostname or "?"
    except ValueError:
        host = "?"
    said = re.split(r"[^\w.-]+", found[1].lower())
    return found[0] if host in said else f"{found[0]} ({host})"
