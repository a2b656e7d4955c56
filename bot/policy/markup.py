"""Discord's markup as far as a streamed reply needs it: fences, unfinished and hostile text.

Fences follow CommonMark: a run of at least three backticks or tildes at a line's start, at most
three spaces in, closed by a run of the same character that is no shorter.
"""

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import urlsplit

from bot.domain.values import value

LONGEST_FENCE = 32
"""A longer run is a drawn line: closing and reopening it would leave no room for text."""

LONGEST_INFO = 40
"""A longer info string is not repeated when a fence is reopened."""

_OPENER = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_CLOSER = re.compile(r" {0,3}(`{3,}|~{3,})[ \t\r]*\n?")


@value
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


@value
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


def has_fences(text: str) -> bool:
    """Whether a fence may open in a text: most have none, and need not be parted into lines."""
    return "```" in text or "~~~" in text


def open_fence(text: str, fence: Fence | None = None) -> Fence | None:
    """The fence that is open at the end of a text that begins inside the given one."""
    if has_fences(text):
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
    for line in lines_of(text) if has_fences(text) else ():
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

_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b"
    "\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
)
_HIDERS = "\u200c\u200d\ufe00-\ufe0f\U000e0000-\U000e0fff"
_INVISIBLE = re.compile(
    # Joiners, selectors and tags make emoji and scripts; behind a letter or sign of ASCII they
    # only hide what stands there. A digit's is a keycap.
    rf"(?<=[\s!\"$-)+-/:-~])[{_UNSEEN}{_HIDERS}]+|[{_UNSEEN}]"
)
"""What is not seen, and what Discord may drop: without it the text could read otherwise."""

_MAY_BE_INVISIBLE = re.compile(f"[{_UNSEEN}{_HIDERS}]")
"""Found in a tenth of the time, which was half of what it took to lay out a long answer."""

_LINK = re.compile(
    r"\]\((?=[\s<\\]*(?:h\\?t\\?t\\?p|[a-z]{2,9}\\?:(?!:)|[a-z\\]{0,12}\Z))", re.IGNORECASE
)
"""Where a masked link's address may begin. What no client opens, such as C++'s ``[](int x)``, or
begins like ``std::``, is none."""

_ADDRESS = re.compile(
    r'<?(https?://(?:[^()<>\[\]\s\\]|\([^()<>\[\]\s\\]*\))+)>?(?: +"[^"\n]*")?\)',
    re.IGNORECASE,
)
_LONGEST_ADDRESS = 1000
_LONGEST_TEXT = 300
_LINK_TEXT = re.compile(rf"\[([^\[\]\n]{{1,{_LONGEST_TEXT}}})\Z")
# Opened by a whole run: `` ``a` `` is none, and Discord looks for its end in the lines below, past
# what opens a block there.
_SPAN = re.compile(r"(?<!`)(`+)(?!`)([^\n]*?[^`\n])\1(?!`)")


def harmless(text: str, *, is_whole: bool = True) -> str:
    """The text with nothing hidden: no invisible signs, and each masked link says its host.

    A link whose address cannot be read plainly becomes the text it is made of. Blocks of code stay
    as they are, where Discord too is sure to see one; inline code may be cut in two, so it is no
    exception. Of a text that grows (``is_whole`` is False)
    what may become a link is left out until it is known: the result is a beginning of every later
    one, so that it may be split before the rest has come.
    """
    # First of all: an unseen sign made an empty block look full, or the beginning of a block none.
    if _MAY_BE_INVISIBLE.search(text):
        text = _INVISIBLE.sub("", text)
    if "](" not in text and (is_whole or not text.endswith("]")):
        return text
    lines: list[str] = []
    is_sure, has_content = True, False
    for line in lines_of(text):
        is_code = line.before is not None or line.after is not None
        if is_sure:
            # Discord knows backticks alone, takes them in the middle of a line too, and pairs them
            # from the top: once it may see other blocks than we do, nothing counts as code.
            is_sure = _is_read_alike(line, has_content=has_content)
        has_content = line.before is not None and (has_content or bool(line.text.strip()))
        is_open = not is_whole and line.end == len(text) and not line.text.endswith("\n")
        shown = line.text
        if "](" in shown or (is_open and shown.endswith("]")):
            shown, is_held = _unmasked(shown, is_block=is_code and is_sure, is_open=is_open)
            lines.append(shown)
            if is_held:
                break
        else:
            lines.append(shown)
    return "".join(lines)


def _is_read_alike(line: Line, *, has_content: bool) -> bool:
    """Whether Discord sees the same code blocks after this line as we do."""
    if line.before is None and line.after is None:
        # A link may begin here and end in a block further down, which is then its text.
        is_plain = not any(sign in line.text for sign in ("```", "\\`", "["))
        return is_plain and "`" not in _SPAN.sub("", line.text)
    if line.before is None:
        rest = line.text.strip().removeprefix("```")
        return line.after is not None and line.after.mark == "```" and "](" not in rest
    if line.after is None:
        # An empty block is none to Discord: the next one's opening would close it.
        return line.text.strip() == "```" and has_content
    return "```" not in line.text


def _unmasked(line: str, *, is_block: bool, is_open: bool) -> tuple[str, bool]:
    """A line with its links unmasked, and whether its end is held back until more is known."""
    done, shown = 0, list[str]()
    for found in _LINK.finditer(line):
        start, address_at = found.span()
        if start < done or (is_block and not is_open):
            continue
        address = _ADDRESS.match(line, address_at, address_at + _LONGEST_ADDRESS)
        # From so far back alone: a line of 2,000 links held everybody's answers up for minutes.
        text = _LINK_TEXT.search(line, max(0, start - _LONGEST_TEXT - 1), start)
        is_short = len(line) - address_at < _LONGEST_ADDRESS
        # A block may turn out to end in this line.
        if is_open and (is_block or (address is None and is_short)):
            return "".join((*shown, line[done:start])), True
        if address is None or text is None:
            shown += (line[done : address_at - 1], "\\(")
            done = address_at
        else:
            # Within the link: what stood behind it could be cut off into the next message.
            shown += (
                line[done:start],
                _said_host(text[1], address[1]),
                line[start : address.end()],
            )
            done = address.end()
    if is_open and line.endswith("]"):
        return "".join((*shown, line[done:-1])), True
    return "".join((*shown, line[done:])), False


def _said_host(text: str, address: str) -> str:
    """What is added to a link's text: nothing where it is the address, else where it leads."""
    try:
        host = urlsplit(address).hostname or "?"
    except ValueError:
        host = "?"
    said, address = text.strip().lower(), address.lower()
    bare = address.partition("://")[2]
    if said in (host, address, bare, bare.rstrip("/")) and "@" not in said:
        return ""
    if said.endswith(f" ({host})"):
        return ""  # said already, as by this very function
    return f" ({host})"
