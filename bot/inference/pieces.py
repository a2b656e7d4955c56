"""What both wires do with the words of an answer: mend, tell reasoning apart, count."""

from collections.abc import Iterable
from dataclasses import dataclass

from bot.domain.chat import Message, Usage
from bot.domain.events import ReasoningDelta, TextDelta
from bot.inference.surrogates import SurrogateMender
from bot.inference.think import Piece, ThinkSplitter

_CHARS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_IMAGE = 600


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens as the other side counted them; 0 where it did not say."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0


def estimate_prompt_tokens(messages: Iterable[Message]) -> int:
    """Return a guess at a prompt's tokens, for servers that count nothing."""
    return sum(
        _tokens(len(message.text)) + _TOKENS_PER_MESSAGE + _TOKENS_PER_IMAGE * len(message.images)
        for message in messages
    )


class Pieces:
    """Turns the words of one answer into deltas and knows how many there were."""

    __slots__ = (
        "_answer_chars",
        "_answer_deltas",
        "_answer_mender",
        "_splitter",
        "_thought_chars",
        "_thought_deltas",
        "_thought_mender",
    )

    def __init__(self, *, inline_think: bool) -> None:
        self._splitter = ThinkSplitter() if inline_think else None
        self._answer_mender = SurrogateMender()
        self._thought_mender = SurrogateMender()
        self._answer_deltas = self._answer_chars = 0
        self._thought_deltas = self._thought_chars = 0

    @property
    def has_answer(self) -> bool:
        """Did any word of the answer itself come?"""
        return self._answer_deltas > 0

    def answer(self, text: str) -> list[Piece]:
        """Return the deltas of a further part of the answer."""
        text = self._answer_mender.mend(text)
        if not text:
            return []
        return self._counted(self._splitter.split(text) if self._splitter else [TextDelta(text)])

    def reasoning(self, text: str) -> list[Piece]:
        """Return the deltas of a further part of the reasoning."""
        text = self._thought_mender.mend(text)
        return self._counted([ReasoningDelta(text)]) if text else []

    def flush(self) -> list[Piece]:
        """Return what was held back; the stream is over."""
        held = [
            *self.reasoning(self._thought_mender.flush()),
            *self.answer(self._answer_mender.flush()),
        ]
        return held + self._counted(self._splitter.flush() if self._splitter else [])

    def usage(self, counted: Counted, prompt_estimate: int) -> Usage:
        """Return what the other side counted, and guesses where it did not count.

        A completion of 0 tokens after words came is no count (LM Studio's tracker, bug 1602).
        """
        deltas = self._answer_deltas + self._thought_deltas
        is_missing = counted.completion == 0 and (deltas > 0 or counted.prompt == 0)
        guess = max(deltas, _tokens(self._answer_chars + self._thought_chars))
        completion = guess if is_missing else counted.completion
        thought = max(self._thought_deltas, _tokens(self._thought_chars))
        return Usage(
            prompt_tokens=counted.prompt or prompt_estimate,
            completion_tokens=completion,
            cached_tokens=counted.cached,
            reasoning_tokens=counted.reasoning or min(thought, completion),
            estimated=is_missing or counted.prompt == 0,
        )

    def _counted(self, pieces: list[Piece]) -> list[Piece]:
        for piece in pieces:
            if isinstance(piece, TextDelta):
                self._answer_deltas += 1
                self._answer_chars += len(piece.text)
            else:
                self._thought_deltas += 1
                self._thought_chars += len(piece.text)
        return pieces


def _tokens(chars: int) -> int:
    return -(-chars // _CHARS_PER_TOKEN)
