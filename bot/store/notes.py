"""Single values kept under a name: the commands' hash, the salt of user hashes."""

import sqlite3

from bot.store.database import Database

_GET = "SELECT value FROM note WHERE name = ?"
_PUT = """
INSERT INTO note (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_KEEP = "INSERT OR IGNORE INTO note (name, value) VALUES (?, ?)"


class NoteStore:
    """Keeps notes. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> str | None:
        """The note under a name."""

        def find(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(_GET, (name,)).fetchone()
            return None if row is None else row["value"]

        return await self._database.read(find)

    async def put(self, name: str, value: str) -> None:
        """Writes a note over the one before."""
        await self._database.write(lambda c: c.execute(_PUT, (name, value)).rowcount)

    async def keep(self, name: str, value: str) -> str:
        """The note under a name; ``value`` when there was none, which then stays for good."""

        def change(connection: sqlite3.Connection) -> str:
            connection.execute(_KEEP, (name, value))
            kept: str = connection.execute(_GET, (name,)).fetchone()["value"]
            return kept

        return await self._database.write(change)
