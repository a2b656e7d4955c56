"""Single values kept under a name: the commands' hash, the salt of user hashes."""

import sqlite3

from bot.store.database import Database

_GET = "SELECT value FROM note WHERE name = ?"
_PUT = "INSERT OR REPLACE INTO note (name, value) VALUES (?, ?)"
_KEEP = "INSERT OR IGNORE INTO note (name, value) VALUES (?, ?)"


class NoteStore:
    """Keeps notes. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> str | None:
        """The note under a name."""
        rows = await self._database.fetch(_GET, (name,))
        return rows[0]["value"] if rows else None

    async def put(self, name: str, value: str) -> None:
        """Write a note over the one before."""
        await self._database.execute(_PUT, (name, value))

    async def keep(self, name: str, value: str) -> str:
        """The note under a name; ``value`` when there was none, which then stays for good."""

        # One transaction: of two Lanterns that start at once, both must go on with one salt.
        def change(connection: sqlite3.Connection) -> str:
            connection.execute(_KEEP, (name, value))
            kept: str = connection.execute(_GET, (name,)).fetchone()["value"]
            return kept

        return await self._database.write(change)
