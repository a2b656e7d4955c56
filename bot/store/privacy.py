"""What must stay on the LAN: places, people, and turns that were said in private."""

import json
import sqlite3

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
        """Say whether the words of a channel, thread or server stay here."""
        await self._set("place", place, is_on=local_only)

    async def set_user(self, user: UserId, *, local_only: bool) -> None:
        """Say whether a person's words stay here."""
        await self._set("user", user, is_on=local_only)

    async def mark_turn(self, turn: TurnId) -> None:
        """Keep a turn here for good. To be called before the turn itself is stored."""
        await self._set("turn", turn, is_on=True)

    async def look_up(self, asked: Sources) -> Marks:
        """What of this is marked."""

        def find(connection: sqlite3.Connection) -> Marks:
            marked: dict[str, frozenset[str]] = {}
            sets = {"place": asked.places, "user": asked.people, "turn": asked.turns}
            for kind, names in sets.items():
                # A JSON list, so that one statement serves any number of names.
                rows = connection.execute(_MARKED, (kind, json.dumps(sorted(names))))
                marked[kind] = frozenset(row["name"] for row in rows)
            return Marks(
                asked,
                places=frozenset(map(PlaceId, marked["place"])),
                people=frozenset(map(UserId, marked["user"])),
                turns=frozenset(map(TurnId, marked["turn"])),
            )

        return await self._database.read(find)

    async def _set(self, kind: str, name: str, *, is_on: bool) -> None:
        if is_on:
            await self._database.execute(_MARK, (kind, name, self._database.now_ms()))
        else:
            await self._database.execute(_UNMARK, (kind, name))
