"""Which message shows which turn, and which messages still promise more words."""

import sqlite3
from dataclasses import dataclass

from bot.domain.ids import TurnId
from bot.store.database import Database


@dataclass(frozen=True, slots=True)
class ReplyMessage:
    """One message that shows a part of a turn's reply."""

    message_id: str
    channel_id: str
    turn: TurnId
    part: int
    """0 is the first message of the reply."""
    is_open: bool
    """It still shows a reply under way."""


# A turn that was deleted meanwhile gets no message: there is nothing left to find by it.
_PUT = """
INSERT INTO reply (message_id, channel_id, turn, part, is_open)
SELECT :message_id, :channel_id, id, :part, 1 FROM turn WHERE id = :turn
ON CONFLICT (message_id) DO UPDATE
SET channel_id = excluded.channel_id, turn = excluded.turn, part = excluded.part, is_open = 1
"""
_TURN_OF = "SELECT turn FROM reply WHERE message_id = ?"
_OF_TURN = "SELECT * FROM reply WHERE turn = ? ORDER BY part"
_LEFT_OPEN = "SELECT * FROM reply WHERE is_open = 1 ORDER BY turn, part"
_CLOSE = "UPDATE reply SET is_open = 0 WHERE turn = ? AND is_open = 1"


class ReplyStore:
    """Keeps messages. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, message_id: str, channel_id: str, turn: TurnId, part: int) -> None:
        """Remembers an open message; one known already now shows this turn."""
        row = {"message_id": message_id, "channel_id": channel_id, "turn": turn, "part": part}
        await self._database.write(lambda c: c.execute(_PUT, row).rowcount)

    async def turn_of(self, message_id: str) -> TurnId | None:
        """The turn a message shows."""

        def find(connection: sqlite3.Connection) -> TurnId | None:
            row = connection.execute(_TURN_OF, (message_id,)).fetchone()
            return None if row is None else TurnId(row["turn"])

        return await self._database.read(find)

    async def of_turn(self, turn: TurnId) -> tuple[ReplyMessage, ...]:
        """The messages that show a turn, first part first."""
        return await self._database.read(lambda c: _messages(c, _OF_TURN, turn))

    async def close(self, turn: TurnId) -> None:
        """The reply is whole, or honestly cut: its messages promise nothing more."""
        await self._database.write(lambda c: c.execute(_CLOSE, (turn,)).rowcount)

    async def left_open(self) -> tuple[ReplyMessage, ...]:
        """Open messages; at the start, those a killed Lantern left behind."""
        return await self._database.read(lambda c: _messages(c, _LEFT_OPEN))


def _messages(connection: sqlite3.Connection, query: str, *values: str) -> tuple[ReplyMessage, ...]:
    return tuple(
        ReplyMessage(
            message_id=row["message_id"],
            channel_id=row["channel_id"],
            turn=TurnId(row["turn"]),
            part=row["part"],
            is_open=bool(row["is_open"]),
        )
        for row in connection.execute(query, values)
    )
