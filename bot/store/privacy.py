"""What must stay on the LAN: places, people, and turns that were said in private."""

import json
import sqlite3
from collections.abc import Set as AbstractSet

from bot.domain.ids import PlaceId, TurnId, UserId
from bot.policy.privacy import Marks, Sources
from bot.store.database import Database

_MARK = "INSERT OR IGNORE INTO local_only (kind, name, changed_at_ms) VALUES (?, ?, ?)"
_UNMARK = "DELETE FROM local_only WHERE kind = ? AND name = ?"
_MARKED = """
SELECT name FROM local_only WHERE kind = ? AND name IN (SELECT value FROM json_each(?))
"""


class PrivacyStore:
    """Keeps marks. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_place(self, place: PlaceId, *, local_only: bool) -> None:
        """Says whether the words of a channel, thread or server stay here."""
        await self._set("place", place, is_on=local_only)

    async def set_user(self, user: UserId, *, local_only: bool) -> None:
        """Says whether a person's words stay here."""
        await self._set("user", user, is_on=local_only)

    async def mark_turn(self, turn: TurnId) -> None:
        """Keeps a turn here for good. To be called before the turn itself is stored."""
        await self._set("turn", turn, is_on=True)

    async def look_up(self, asked: Sources) -> Marks:
        """What of this is marked."""

        def find(connection: sqlite3.Connection) -> Marks:
            return Marks(
                asked,
                places=frozenset(map(PlaceId, _marked(connection, "place", asked.places))),
                people=frozenset(map(UserId, _marked(connection, "user", asked.people))),
                turns=frozenset(map(TurnId, _marked(connection, "turn", asked.turns))),
            )

        return await self._database.read(find)

    async def _set(self, kind: str, name: str, *, is_on: bool) -> None:
        now_ms = self._database.now_ms()
        if is_on:
            await self._database.write(lambda c: c.execute(_MARK, (kind, name, now_ms)).rowcount)
        else:
            await self._database.write(lambda c: c.execute(_UNMARK, (kind, name)).rowcount)


def _marked(connection: sqlite3.Connection, kind: str, names: AbstractSet[str]) -> list[str]:
    rows = connection.execute(_MARKED, (kind, json.dumps(sorted(names))))
    return [row["name"] for row in rows]
