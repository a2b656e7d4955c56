"""What was chosen, for whom and where: models and personas by scope."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.policy.choice import ScopeKey
from bot.store.database import Database

Subject = Literal["model", "persona"]

_GET = "SELECT subject, value FROM choice WHERE scope = ? AND place = ? AND user = ?"
_DROP = "DELETE FROM choice WHERE scope = ? AND place = ? AND user = ? AND subject = ?"
_PUT = """
INSERT OR REPLACE INTO choice (scope, place, user, subject, value, changed_at_ms)
VALUES (?, ?, ?, ?, ?, ?)
"""


@dataclass(eq=False, slots=True)
class ChoiceStore:
    """Keeps choices. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    database: Database

    async def get(self, keys: Sequence[ScopeKey]) -> Mapping[Subject, Mapping[ScopeKey, str]]:
        """The choices stored under these keys, by subject; keys without one are missing."""

        def find(connection: sqlite3.Connection) -> Mapping[Subject, Mapping[ScopeKey, str]]:
            found: dict[Subject, dict[ScopeKey, str]] = {"persona": {}, "model": {}}
            for key in keys:
                for row in connection.execute(_GET, (key.scope, key.place, key.user or "")):
                    found[row["subject"]][key] = row["value"]
            return found

        # In one read, so that nobody's persona comes from before a switch and the model from after.
        return await self.database.read(find)

    async def put(self, key: ScopeKey, subject: Subject, value: str | None) -> None:
        """Store a choice in place of the one before; None takes it back."""
        columns = (key.scope, key.place, key.user or "", subject)
        if value is None:
            await self.database.execute(_DROP, columns)
        else:
            await self.database.execute(_PUT, (*columns, value, self.database.now_ms()))
