"""Tells inline reasoning from the answer."""

from enum import Enum, auto

from bot.domain.events import ReasoningDelta, TextDelta

_OPEN = "<think>"
_CLOSE = "</think>"

Piece = TextDelta | ReasoningDelta


class _Part(Enum):
    HEAD = auto()
    THOUGHT = auto()
    GAP = auto()
    ANSWER = auto()


class ThinkSplitter:
    """Takes a leading ``<think>…</think>`` out of an answer, torn anywhere.

    Only at the very start of the answer is the tag believed: later it is text somebody asked for.
    Some versions send the reasoning apart and leave its closing tag in front of the answer; such a
    leading ``</think>`` is dropped.
    """

    __slots__ = ("_held", "_part")

    def __init__(self) -> None:
        self._part = _Part.HEAD
        self._held = ""

    def split(self, text: str) -> list[Piece]:
        """Return the pieces a further part of the answer gives; may hold back a few characters."""
        if self._part is _Part.ANSWER:
            return [TextDelta(text)]
        text, self._held = self._held + text, ""
        match self._part:
            case _Part.HEAD:
                return self._head(text)
            case _Part.THOUGHT:
                return self._thought(text)
            case _:
                return self._gap(text)

    def flush(self) -> list[Piece]:
        """Return what was held back; the stream is over."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [ReasoningDelta(held) if self._part is _Part.THOUGHT else TextDelta(held)]

    def _head(self, text: str) -> list[Piece]:
        head = text.lstrip()
        if head.startswith(_OPEN):
            self._part = _Part.THOUGHT
            return self._thought(head.removeprefix(_OPEN))
        if head.startswith(_CLOSE):
            return self._gap(head.removeprefix(_CLOSE))
        if _OPEN.startswith(head) or _CLOSE.startswith(head):
            self._held = text
            return []
        self._part = _Part.ANSWER
        return [TextDelta(text)]

    def _thought(self, text: str) -> list[Piece]:
        thought, closed, rest = text.partition(_CLOSE)
        if closed:
            return [*_reasoning(thought), *self._gap(rest)]
        self._held = _torn_tag(text)
        return _reasoning(text.removesuffix(self._held))

    def _gap(self, text: str) -> list[Piece]:
        self._part = _Part.GAP
        answer = text.lstrip()
        if not answer:
            return []
        self._part = _Part.ANSWER
        return [TextDelta(answer)]


def _reasoning(text: str) -> list[Piece]:
    return [ReasoningDelta(text)] if text else []


def _torn_tag(text: str) -> str:
    """Return the end of a text that may be the beginning of the closing tag."""
    longest = text.rfind("<", -len(_CLOSE) + 1) if "<" in text else -1
    tail = text[longest:] if longest >= 0 else ""
    return tail if _CLOSE.startswith(tail) else ""
