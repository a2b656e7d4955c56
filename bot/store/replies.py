"""Which message shows which turn, and which messages still promise more words."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from bot.domain.ids import TurnId
from bot.domain.values import value
from bot.store.database import Database
from bot.store.rows import value_of


@value
class ReplyMessage:
    """One message that shows a part of a turn's reply."""

    message_id: str
    channel_id: str
    turn: TurnId
    part: int
    """0 is the first message of the reply."""
    is_open: bool
    """It still shows a reply under way."""


# A turn that was deleted meanwhile gets no message: there is nothing left to find by it. In place:
# a row put in place of another took the mark with it that its message is gone, and the answer was
# written into nothing each time it was asked for.
_PUT = """
INSERT INTO reply (message_id, channel_id, turn, part, is_open)
SELECT ?, ?, id, ?, 1 FROM turn WHERE id = ?
ON CONFLICT (message_id) DO UPDATE
SET channel_id = excluded.channel_id, turn = excluded.turn, part = excluded.part, is_open = 1
"""
_TURN_OF = "SELECT turn FROM reply WHERE message_id = ?"
# A retry once went to the message that the webhook before had made, found it deleted and gave up.
_REPLACED = """
INSERT OR IGNORE INTO gone
SELECT message_id FROM reply WHERE turn = ? AND part = ? AND message_id <> ?
"""
_LOST = "INSERT OR IGNORE INTO gone SELECT message_id FROM reply WHERE message_id = ?"
_LEFT_OPEN = """
SELECT reply.* FROM reply LEFT JOIN gone USING (message_id)
WHERE is_open = 1 AND gone.message_id IS NULL ORDER BY turn, part
"""
_SHOWS = """
SELECT reply.* FROM reply LEFT JOIN gone USING (message_id)
WHERE turn = ? AND gone.message_id IS NULL ORDER BY part
"""
_UNBIND = """
DELETE FROM reply WHERE turn IN (SELECT value FROM json_each(?))
    AND message_id NOT IN (SELECT value FROM json_each(?))
    AND message_id NOT IN (SELECT message_id FROM gone)
"""
_CLOSE = "UPDATE reply SET is_open = 0 WHERE turn = ? AND is_open = 1"


@dataclass(eq=False, slots=True)
class ReplyStore:
    """Keeps messages. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    database: Database

    async def put(self, message_id: str, channel_id: str, turn: TurnId, part: int) -> None:
        """Remember an open message, in place of another of this part.

        One known already now shows this turn.
        """

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(_PUT, (message_id, channel_id, part, turn))
            connection.execute(_REPLACED, (turn, part, message_id))

        await self.database.write(change)

    async def turn_of(self, message_id: str) -> TurnId | None:
        """The turn a message shows, or showed while it was there."""
        rows = await self.database.fetch(_TURN_OF, (message_id,))
        return TurnId(rows[0]["turn"]) if rows else None

    async def messages(self, turn: TurnId) -> tuple[ReplyMessage, ...]:
        """The messages there are that show a turn, in order."""
        return tuple(
            value_of(ReplyMessage, row) for row in await self.database.fetch(_SHOWS, (turn,))
        )

    async def bind(
        self, turn: TurnId, channel_id: str, message_ids: Sequence[int], beside: Sequence[TurnId]
    ) -> None:
        """Let whole messages show this turn, and no others show it or those beside it.

        One that is gone leads to where it led, and shows nothing.
        """
        ids = [str(message) for message in message_ids]

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(_UNBIND, (json.dumps([turn, *beside]), json.dumps(ids)))
            for part, message in enumerate(ids):
                connection.execute(_PUT, (message, channel_id, part, turn))
            connection.execute(_CLOSE, (turn,))

        await self.database.write(change)

    async def lost(self, message_id: str) -> None:
        """A message is not there any more; nothing, where it showed no turn."""
        await self.database.execute(_LOST, (message_id,))

    async def close(self, turn: TurnId) -> None:
        """The reply is whole, or honestly cut: its messages promise nothing more."""
        await self.database.execute(_CLOSE, (turn,))

    async def left_open(self) -> tuple[ReplyMessage, ...]:
        """Open messages; at the start, those a killed Lantern left behind."""
        return tuple(value_of(ReplyMessage, row) for row in await self.database.fetch(_LEFT_OPEN))
