"""Answers that may be given again to the very same question; for a while, and not too many."""

import sqlite3
from dataclasses import dataclass

from bot.domain.ids import ModelKey
from bot.store.database import Database
from bot.store.fields import storable

_GET = "SELECT * FROM answer WHERE key = ? AND kept_at_ms > ?"
_PUT = """
INSERT OR REPLACE INTO answer (key, model, answered_by, is_local, prompt_tokens,
    completion_tokens, kept_at_ms, text)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_DROP_OLD = "DELETE FROM answer WHERE kept_at_ms <= ?"
_DROP_MANY = """
DELETE FROM answer WHERE number <= (
    SELECT number FROM answer ORDER BY number DESC LIMIT 1 OFFSET ?)
"""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A whole answer, and who gave it."""

    text: str
    model: ModelKey
    answered_by: str
    """Host or provider."""
    is_local: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0


class AnswerStore:
    """Keeps answers. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database, *, ttl_s: float, max_entries: int) -> None:
        """Keep at most so many answers, each for so long; the oldest leave first."""
        self._database = database
        self._ttl_ms = round(ttl_s * 1000)
        self._max_entries = max_entries

    async def get(self, key: str) -> KeptAnswer | None:
        """The answer kept under a key, while it is fresh."""
        oldest_ms = self._database.now_ms() - self._ttl_ms

        def find(connection: sqlite3.Connection) -> KeptAnswer | None:
            row = connection.execute(_GET, (key, oldest_ms)).fetchone()
            return None if row is None else _answer(row)

        return await self._database.read(find)

    async def put(self, key: str, answer: KeptAnswer) -> None:
        """Keeps an answer in place of the one before; drops stale ones and those too many."""
        now_ms = self._database.now_ms()
        row = (
            key,
            answer.model,
            answer.answered_by,
            answer.is_local,
            answer.prompt_tokens,
            answer.completion_tokens,
            now_ms,
            storable(answer.text),
        )

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(_PUT, row)
            connection.execute(_DROP_OLD, (now_ms - self._ttl_ms,))
            connection.execute(_DROP_MANY, (self._max_entries,))

        await self._database.write(change)

    async def clear(self) -> int:
        """Drops every answer, as when somebody wants their words forgotten; says how many."""
        return await self._database.write(lambda c: c.execute("DELETE FROM answer").rowcount)


def _answer(row: sqlite3.Row) -> KeptAnswer:
    return KeptAnswer(
        text=row["text"],
        model=ModelKey(row["model"]),
        answered_by=row["answered_by"],
        is_local=bool(row["is_local"]),
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
    )
