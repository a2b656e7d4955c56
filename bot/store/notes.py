"""Single values kept under a name: the commands' hash, the salt of user hashes."""

from dataclasses import dataclass

from bot.store.database import Database

_GET = "SELECT value FROM note WHERE name = ?"
_PUT = "INSERT OR REPLACE INTO note (name, value) VALUES (?, ?)"
# One statement: of two Lanterns that start at once, both must go on with one salt.
_KEEP = """
INSERT INTO note (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = note.value RETURNING value
"""


@dataclass(eq=False, slots=True)
class NoteStore:
    """Keeps notes. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    database: Database

    async def get(self, name: str) -> str | None:
        """The note under a name."""
        rows = await self.database.fetch(_GET, (name,))
        return rows[0]["value"] if rows else None

    async def put(self, name: str, value: str) -> None:
        """Write a note over the one before."""
        await self.database.execute(_PUT, (name, value))

    async def keep(self, name: str, value: str) -> str:
        """The note under a name; ``value`` when there was none, which then stays for good."""
        kept: str = await self.database.write(
            lambda c: c.execute(_KEEP, (name, value)).fetchone()[0]
        )
        return kept
