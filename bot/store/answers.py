"""Answers that may be given again to the very same question; for a while, and not too many."""

import sqlite3
from dataclasses import asdict

from bot.domain.ids import ModelKey
from bot.domain.values import value
from bot.store.database import Database
from bot.store.rows import insert, value_of

_GET = "SELECT * FROM answer WHERE key = ? AND kept_at_ms > ?"
_DROP_OLD = "DELETE FROM answer WHERE kept_at_ms <= ?"
_DROP_MANY = """
DELETE FROM answer WHERE number <= (
    SELECT number FROM answer ORDER BY number DESC LIMIT 1 OFFSET ?)
"""


@value
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
        # Asked of the clock, not of what is there: a stale answer stays until the next is kept.
        rows = await self._database.fetch(_GET, (key, self._database.now_ms() - self._ttl_ms))
        return value_of(KeptAnswer, rows[0]) if rows else None

    async def put(self, key: str, answer: KeptAnswer) -> None:
        """Keep an answer in place of the one before; drop stale ones and those too many."""
        now_ms = self._database.now_ms()

        def change(connection: sqlite3.Connection) -> None:
            row = {"key": key, "kept_at_ms": now_ms, **asdict(answer)}
            # Replacing gives the row a new number, so that it counts as the newest.
            insert(connection, "answer", row, verb="INSERT OR REPLACE")
            connection.execute(_DROP_OLD, (now_ms - self._ttl_ms,))
            connection.execute(_DROP_MANY, (self._max_entries,))

        await self._database.write(change)
