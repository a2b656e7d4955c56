"""What both wires do with the words of an answer: mend, tell reasoning apart, count."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from bot.domain.chat import Message, Usage
from bot.domain.events import ReasoningDelta, TextDelta

Piece = TextDelta | ReasoningDelta

_CHARS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_IMAGE = 600

_WORDS = re.compile(r'"content": ?"([^"\\]+)"')
"""The words of a chunk of the chat-completions wire that hold no escape."""

_JSON = json.JSONDecoder()

_OPEN = "<think>"
_CLOSE = "</think>"


def estimate_prompt_tokens(messages: Iterable[Message]) -> int:
    """A guess at a prompt's tokens, for servers that count nothing."""
    return sum(
        _tokens(len(message.text)) + _TOKENS_PER_MESSAGE + _TOKENS_PER_IMAGE * len(message.images)
        for message in messages
    )


class Pieces:
    """Turns the words of one answer into deltas and knows how many there were."""

    __slots__ = ("_answer_half", "_chars", "_deltas", "_frame", "_splitter", "_thought_half")

    def __init__(self, *, inline_think: bool) -> None:
        """``inline_think``: reasoning may stand in the answer as a leading ``<think>``."""
        self._splitter = ThinkSplitter() if inline_think else None
        self._answer_half = self._thought_half = ""
        self._deltas: dict[type[Piece], int] = {TextDelta: 0, ReasoningDelta: 0}
        self._chars: dict[type[Piece], int] = {TextDelta: 0, ReasoningDelta: 0}
        self._frame = (b"", b"")
        """What stands before and behind the words of an event that tells nothing else."""

    def learn(self, payload: str, pieces: Sequence[Piece]) -> None:
        """Remembers an event where its words were all that came of it: most others are like it."""
        found = _WORDS.search(payload)
        # In a string the quotes of such a name would be escaped, so once is that one place.
        is_one = found is not None and payload.count('"content"') == 1
        if found is not None and is_one and pieces == [TextDelta(found[1])]:
            before, behind = payload[: found.start(1)], payload[found.end(1) :]
            self._frame = f"data: {before}".encode(), f"{behind}\n\n".encode()

    def words_in(self, event: bytes) -> str:
        """The words of an event that tells nothing else; empty where it may tell more.

        Most events of a stream differ from the one before in their words alone: reading the JSON of
        each was half of what a token cost.
        """
        before, behind = self._frame
        # None was learnt yet, or the answer proper may begin later.
        if not before or self._answer_half or (self._splitter and self._splitter.is_held):
            return ""
        words = event[len(before) : -len(behind)]
        # A character told by its number may be the half of one.
        if not event.startswith(before) or not event.endswith(behind) or b"\\u" in words:
            return ""
        try:
            quoted = f'"{words.decode()}"'
            text, end = _JSON.raw_decode(quoted)
        except ValueError:
            return ""
        # A quote that is not escaped ends them early: something else is told behind it.
        return text if end == len(quoted) else ""

    @property
    def has_answer(self) -> bool:
        """Did any word of the answer itself come?"""
        return self._deltas[TextDelta] > 0

    def answer(self, text: str) -> list[Piece]:
        """The deltas of a further part of the answer."""
        text, self._answer_half = mended(self._answer_half, text)
        if not text:
            return []
        return self._counted(self._splitter.split(text) if self._splitter else [TextDelta(text)])

    def reasoning(self, text: str) -> list[Piece]:
        """The deltas of a further part of the reasoning."""
        text, self._thought_half = mended(self._thought_half, text)
        return self._counted([ReasoningDelta(text)]) if text else []

    def flush(self) -> list[Piece]:
        """What was held back, a half character as its replacement; the stream is over."""
        thought, answer = self._thought_half, self._answer_half
        self._thought_half = self._answer_half = ""
        held = self.reasoning("\ufffd") if thought else []
        held += self.answer("\ufffd") if answer else []
        return held + self._counted(self._splitter.flush() if self._splitter else [])

    def usage(self, counted: Usage, prompt_estimate: int) -> Usage:
        """What the other side counted (0 where it did not say), and guesses where it did not count.

        A completion of 0 tokens after words came is no count (LM Studio's tracker, bug 1602).
        """
        deltas, chars = sum(self._deltas.values()), sum(self._chars.values())
        is_missing = counted.completion_tokens == 0 and deltas > 0
        completion = max(deltas, _tokens(chars)) if is_missing else counted.completion_tokens
        thought = max(self._deltas[ReasoningDelta], _tokens(self._chars[ReasoningDelta]))
        return Usage(
            prompt_tokens=counted.prompt_tokens or prompt_estimate,
            completion_tokens=completion,
            cached_tokens=counted.cached_tokens,
            reasoning_tokens=counted.reasoning_tokens or min(thought, completion),
            estimated=is_missing or counted.prompt_tokens == 0,
        )

    def count(self, pieces: Sequence[Piece]) -> None:
        """Counts deltas that went to the reader."""
        for piece in pieces:
            self._deltas[type(piece)] += 1
            self._chars[type(piece)] += len(piece.text)

    def _counted(self, pieces: list[Piece]) -> list[Piece]:
        self.count(pieces)
        return pieces


def _tokens(chars: int) -> int:
    return -(-chars // _CHARS_PER_TOKEN)


def mended(half: str, text: str) -> tuple[str, str]:
    """Joins the halves of characters beyond 16 bits that arrive in two pieces of JSON.

    Servers written in JavaScript may cut a text between the two halves; a lone half cannot be
    encoded by anything further down (Discord, SQLite).

    Returns:
        The half kept from before and the text, as one; and a first half at the end of it, which
        waits for the next piece. A half that is alone becomes a replacement character.
    """
    # Nearly every text: CPython knows of each whether it is ASCII, so a token costs no look at it.
    if text.isascii() and not half:
        return text, ""
    text, half = half + text, ""
    try:
        text.encode()
    except UnicodeEncodeError:
        if "\ud800" <= text[-1] <= "\udbff":
            text, half = text[:-1], text[-1]
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text, half


class ThinkSplitter:
    """Takes a leading ``<think>…</think>`` out of an answer, torn anywhere.

    Only at the very start of the answer is the tag believed: later it is text somebody asked for.
    Some versions of LM Studio send the reasoning apart and leave its closing tag in front of the
    answer, with no opening one (bugs 1495 and 1569); such a leading ``</think>`` is dropped.
    """

    __slots__ = ("_held", "_part")

    def __init__(self) -> None:
        self._part: Literal["head", "thought", "gap", "answer"] = "head"
        self._held = ""

    @property
    def is_held(self) -> bool:
        """May a further part be something else than text of the answer alone?"""
        return self._part != "answer" or bool(self._held)

    def split(self, text: str) -> list[Piece]:
        """The pieces a further part of the answer gives; may hold back a few characters."""
        text, self._held = self._held + text, ""
        match self._part:
            case "answer":
                return [TextDelta(text)]
            case "thought":
                return self._thought(text)
            case "gap":
                return self._gap(text)
            case "head":
                head = text.lstrip()
        if head.startswith(_OPEN):
            return self._thought(head.removeprefix(_OPEN))
        if head.startswith(_CLOSE):
            return self._gap(head.removeprefix(_CLOSE))
        if _OPEN.startswith(head) or _CLOSE.startswith(head):
            self._held = text
            return []
        self._part = "answer"
        return [TextDelta(text)]

    def flush(self) -> list[Piece]:
        """What was held back; the stream is over."""
        held, self._held = self._held, ""
        if not held:
            return []
        return [ReasoningDelta(held) if self._part == "thought" else TextDelta(held)]

    def _thought(self, text: str) -> list[Piece]:
        self._part = "thought"
        thought, closed, rest = text.partition(_CLOSE)
        if not closed:
            # The end of a text may be the beginning of the closing tag: it waits for the next.
            at = text.rfind("<", -len(_CLOSE) + 1)
            if at >= 0 and _CLOSE.startswith(text[at:]):
                thought, self._held = text[:at], text[at:]
        pieces: list[Piece] = [ReasoningDelta(thought)] if thought else []
        return pieces + self._gap(rest) if closed else pieces

    def _gap(self, text: str) -> list[Piece]:
        """Drops the white space between the closing tag and the answer."""
        answer = text.lstrip()
        self._part = "answer" if answer else "gap"
        return [TextDelta(answer)] if answer else []
