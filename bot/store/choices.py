"""What was chosen, for whom and where: models and personas by scope."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.policy.choice import ScopeKey
from bot.store.database import Database

Subject = Literal["model", "persona"]

_GET = "SELECT value FROM choice WHERE scope = ? AND place = ? AND user = ? AND subject = ?"
_DROP = "DELETE FROM choice WHERE scope = ? AND place = ? AND user = ? AND subject = ?"
_PUT = """
INSERT INTO choice (scope, place, user, subject, value, changed_at_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, place, user, subject)
DO UPDATE SET value = excluded.value, changed_at_ms = excluded.changed_at_ms
"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What stands under some keys, by key."""

    personas: Mapping[ScopeKey, str]
    models: Mapping[ScopeKey, str]


class ChoiceStore:
    """Keeps choices. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, keys: Sequence[ScopeKey]) -> Chosen:
        """The choices stored under these keys; keys without one are missing."""

        def find(connection: sqlite3.Connection) -> Chosen:
            return Chosen(_find(connection, keys, "persona"), _find(connection, keys, "model"))

        return await self._database.read(find)

    async def put(self, key: ScopeKey, subject: Subject, value: str | None) -> None:
        """Stores a choice in place of the one before; None takes it back."""
        columns = _columns(key, subject)
        if value is None:
            await self._database.write(lambda c: c.execute(_DROP, columns).rowcount)
            return
        row = (*columns, value, self._database.now_ms())
        await self._database.write(lambda c: c.execute(_PUT, row).rowcount)


def _find(
    connection: sqlite3.Connection, keys: Sequence[ScopeKey], subject: Subject
) -> dict[ScopeKey, str]:
    rows = ((key, connection.execute(_GET, _columns(key, subject))) for key in keys)
    return {key: row["value"] for key, found in rows for row in found}


def _columns(key: ScopeKey, subject: Subject) -> tuple[str, str, str, Subject]:
    return key.scope, key.place, key.user or "", subject
