"""What Discord delivered: which questions still wait for their end, and which are known already."""

import sqlite3
from dataclasses import dataclass

from bot.domain.ids import TurnId
from bot.domain.values import value
from bot.store.database import Database
from bot.store.rows import value_of

KEPT_MS = 24 * 3600 * 1000
"""A gateway repeats what it delivered for minutes; a day also tells where people ask."""


@value
class Question:
    """A message or interaction that nobody has been answered to the end."""

    id: str
    channel_id: str
    token: str | None
    """An interaction's; good for fifteen minutes."""
    turn: TurnId | None
    """Which answers it (``TurnStore.begin``); None: it was heard and no turn was stored yet."""


_HEAR = """
INSERT OR IGNORE INTO question (id, channel_id, token, is_open, at_ms) VALUES (?, ?, ?, 1, ?)
"""
_PRUNE = "DELETE FROM question WHERE at_ms < ? AND is_open = 0"
# Of no use any more, and it would let its reader write into the conversation.
_CLOSE = "UPDATE question SET is_open = 0, token = NULL WHERE id = ?"
_LEFT_OPEN = "SELECT id, channel_id, token, turn FROM question WHERE is_open = 1 ORDER BY at_ms"
# Not by id: a message's and an interaction's are numbers of different length in a text column.
_CHANNELS = """
SELECT channel_id, min(CAST(id AS INTEGER)) AS oldest, max(at_ms) AS newest_ms FROM question
GROUP BY channel_id ORDER BY newest_ms DESC LIMIT ?
"""


@dataclass(eq=False, slots=True)
class QuestionStore:
    """Keeps questions. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    database: Database

    async def hear(self, question: str, channel_id: str, token: str | None) -> bool:
        """Remember a question as open; False when it is known already."""
        now_ms = self.database.now_ms()

        def change(connection: sqlite3.Connection) -> bool:
            connection.execute(_PRUNE, (now_ms - KEPT_MS,))
            return connection.execute(_HEAR, (question, channel_id, token, now_ms)).rowcount > 0

        return await self.database.write(change)

    async def close(self, question: str) -> None:
        """Its asker was told the end."""
        await self.database.execute(_CLOSE, (question,))

    async def left_open(self) -> tuple[Question, ...]:
        """Open questions, oldest first; at the start, those a killed Lantern left behind."""
        return tuple(value_of(Question, row) for row in await self.database.fetch(_LEFT_OPEN))

    async def channels(self, limit: int) -> dict[str, int]:
        """The channels people asked in last, newest first, with the oldest question's id."""
        rows = await self.database.fetch(_CHANNELS, (limit,))
        return {row["channel_id"]: row["oldest"] for row in rows}
