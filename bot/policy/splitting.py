"""Splits a growing reply into messages that never change once the next one began.

A cut is decided from the text up to the first character that no longer fitted, never from what
came later. Outside code fences the white space at a cut is dropped, since Discord drops it at a
message's ends anyway; inside one nothing is, and the fence is closed and opened again. All else of
the text is in the parts once and in order.
"""

import re
from collections.abc import Sequence
from itertools import zip_longest

from bot.domain.values import value
from bot.policy.markup import Fence, display_copy, is_boundary, lines_of, open_fence

LIMIT = 2000
"""Characters (code points) of a message: Discord's limit for bots."""

_RESERVE = 12
"""Characters kept free in a part that has seen a fence, for closing it."""

_FENCE_RUN = re.compile(r"^ {0,3}(`{3,32}|~{3,32})", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?…][)\"'”’»\]*_]*(?=\s)|[。！？]")
_SPACE = re.compile(r"(?<=\S)(?=\s)")
_AFTER_SPACE = re.compile(r"(?<=[ \t])(?=[^ \t\n])")
_WHOLE = re.compile(
    r"!?\[[^\[\]\n]*(?:\](?:\([^()\s]*(?:\)|\Z)|\Z)|\Z)"  # masked link
    r"|<(?:[@#:a/t][^<>\s]*|https?://[^<>\s]*)(?:>|\Z)"  # mention, emoji, time, link
    r"|https?://\S*|(?:ht{1,2}|https?:?/?)\Z"
    r"|(?<!`)(`+)(?!`)[^`\n]+(?:\1(?!`)|\Z)"  # inline code
    r"|([`*_~|])\2+"  # a run that opens or closes something
    r"|\\."
)
_LINE_SYNTAX = re.compile(r"\s*(?:(?:#{1,3}|-#|>{1,3}|[-*+]|\d+[.)])\s|`{3}|~{3})")
"""Words that would become a heading, quote, item or fence at the start of a message."""


@value
class Part:
    """One message of a reply: a slice of its text, with the fence lines added to it."""

    start: int
    end: int
    opening: str
    """The line that reopens the fence the part begins in; else empty."""
    body: str
    """The slice itself."""
    closing: str
    """What closes the fence the part ends in; else empty."""
    fence: Fence | None
    """The fence open at its end."""

    @property
    def text(self) -> str:
        """The message."""
        return f"{self.opening}{self.body}{self.closing}"


def split_reply(text: str, limit: int = LIMIT) -> tuple[str, ...]:
    """The messages that hold the whole text; none is empty, each at most ``limit`` characters.

    All but the last stay as they are however the text goes on. ``limit`` is at least 200.
    """
    return tuple(part.text for part in cut_reply(text, limit))


def shown_parts(parts: Sequence[Part], limit: int = LIMIT) -> tuple[str, ...]:
    """The messages to show while the text still grows: the last one is a display copy."""
    if not parts:
        return ()
    *closed, last = parts
    shown = display_copy(last.opening + last.body)
    if len(shown) > limit:
        shown = last.text
    return (*(part.text for part in closed), *([shown] if shown.strip() else []))


def cut_reply(text: str, limit: int = LIMIT, known: Sequence[Part] = ()) -> tuple[Part, ...]:
    """The parts of a text with their places in it.

    Args:
        text: The whole reply so far.
        limit: Characters of a message, at least 200.
        known: What this function gave for a beginning of the text: saves cutting it anew.
    """
    parts = list(known[:-1])
    text = text.rstrip()
    while (part := _next_part(text, parts[-1] if parts else None, limit)) is not None:
        parts.append(part)
    return tuple(parts)


def _next_part(text: str, previous: Part | None, limit: int) -> Part | None:
    start, fence = (previous.end, previous.fence) if previous else (0, None)
    if fence is None:
        # Discord drops white space at a message's ends: a part of nothing else is refused.
        start = len(text) - len(text[start:].lstrip())
    if start >= len(text):
        return None
    opening = f"{fence.mark}{fence.info}\n" if fence else ""
    # One character more than fits is looked at and no other: a sent part never changes.
    window = text[start : start + limit + 1]
    reach = _reach(window, fence, limit - len(opening))
    body = window[:reach]
    if len(text) - start > reach:
        body = window[: _cut(window[: reach + 1], reach, fence)]
    after = open_fence(body, fence)
    if after is None:
        body = body.rstrip()
    closing = after.closing(body) if after else ""
    return Part(start, start + len(body), opening, body, closing, after)


def _reach(window: str, fence: Fence | None, room: int) -> int:
    """How many characters fit, with what closing a fence would need once one was seen."""
    reserve = max(_RESERVE, 1 + len(fence.mark)) if fence else 0
    for run in _FENCE_RUN.finditer(window):
        for length in range(3, len(run[1]) + 1):
            after = max(reserve, _RESERVE, 1 + length)
            if run.start(1) + length + after > room:
                return min(run.start(1) + length - 1, room - reserve)
            reserve = after
    return room - reserve


# ---------------------------------------------------------------- where to cut


def _cut(window: str, reach: int, fence: Fence | None) -> int:
    """The best place to cut, at most ``reach``; decided from the window alone."""
    paragraphs: list[int] = []
    line_ends: list[int] = []
    code_lines: list[int] = []
    lines = list(lines_of(window, fence))
    for line, following in zip_longest(lines, lines[1:]):
        if line.after is None:
            line_ends += [line.end] if line.text.endswith("\n") else []
            paragraphs += [line.end] if following and not following.text.strip() else []
        elif following and line.before and not line.before.may_be_closed_by(following.text):
            # Not behind the opening line nor before the closing one: either leaves an empty block.
            code_lines.append(line.end)
    for places in (paragraphs, line_ends, code_lines):
        # Never in the first half: many short messages read worse than one cut in a sentence.
        cut = max((place for place in places if reach // 2 <= place <= reach), default=0)
        if cut:
            return cut
    return _cut_in_line(window, reach, fence)


def _cut_in_line(window: str, reach: int, fence: Fence | None) -> int:
    half = reach // 2
    inside = open_fence(window[:reach], fence)
    # Every place inside something that must stay whole, unless that is very long itself.
    barred = bytearray(len(window) + 1)
    for found in _WHOLE.finditer(window):
        length = found.end() - found.start()
        if length <= half:
            barred[found.start() + 1 : found.end()] = b"\1" * (length - 1)
    for search in (_AFTER_SPACE,) if inside else (_SENTENCE_END, _SPACE):
        places = [found.end() for found in search.finditer(window, half)]
        for place in reversed(places):
            if half <= place <= reach and _may_cut(window, place, barred, inside):
                return place
    for place in range(reach, half, -1):
        if _may_cut(window, place, barred, inside):
            return place
    return reach


def _may_cut(window: str, place: int, barred: bytearray, inside: Fence | None) -> bool:
    if barred[place] or not is_boundary(window, place):
        return False
    rest = window[place:]
    if inside is not None:
        return not inside.may_be_closed_by(rest)
    return _LINE_SYNTAX.match(rest) is None
