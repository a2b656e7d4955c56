"""The prompt cache of a provider: how much of a prompt it has read before."""

import hashlib

from bot.sim.answers import Message
from bot.sim.prompts import count_tokens


class PromptCache:
    """Remembers the beginnings of conversations by their hashes."""

    def __init__(self, from_tokens: int | None, *, remembered: int = 10_000) -> None:
        self._from_tokens = from_tokens
        self._remembered = remembered
        self._seen: dict[bytes, None] = {}

    def read(self, model: str, messages: tuple[Message, ...]) -> int:
        """Return how many tokens of a prompt were cached, and cache the rest."""
        if self._from_tokens is None:
            return 0
        marks = _marks(model, messages)
        known = sum(1 for mark in marks[:-1] if mark in self._seen)
        for mark in marks:
            self._seen[mark] = None
        while len(self._seen) > self._remembered:
            del self._seen[next(iter(self._seen))]
        cached = count_tokens(messages[:known]) if known else 0
        return cached if cached >= self._from_tokens else 0


def _marks(model: str, messages: tuple[Message, ...]) -> list[bytes]:
    running = hashlib.sha256(model.encode())
    marks: list[bytes] = []
    for message in messages:
        running.update(f"{message.role}\0{message.text}\0{message.images}\0".encode())
        marks.append(running.digest())
    return marks
