"""Personas made in chats: kept as the cards they are, with their pictures."""

import sqlite3
from dataclasses import dataclass
from typing import Literal

from bot.domain.ids import PersonaName, UserId
from bot.domain.personas import PersonaScope
from bot.domain.values import value
from bot.policy.names import shown_name
from bot.policy.personas import MOST, MOST_BYTES, MOST_PICTURE_BYTES
from bot.store.database import Database

_ALL = "SELECT name, scope, owner, maker, version, card FROM persona ORDER BY name"
_ADD = """
INSERT INTO persona (name, scope, owner, shown_name, maker, version, changed_at_ms, card, picture)
VALUES (:name, :scope, :owner, :shown, :maker, 1, :now, :card, :picture)
"""
_OWNED = (
    "SELECT shown_name = :shown AS is_taken FROM persona WHERE scope = :scope AND owner = :owner"
)
_SIZE = "SELECT coalesce(sum(length(card)), 0), coalesce(sum(length(picture)), 0) FROM persona"
_PUT = """
UPDATE persona SET card = :card, version = version + 1, changed_at_ms = :now,
  picture = iif(:keeps, picture, :picture)
WHERE name = :name AND version = :version
"""
_DELETE = "DELETE FROM persona WHERE name = ?"
_CHOSEN = "SELECT count(*) FROM choice WHERE subject = 'persona' AND value = ?"
_CHANGED = "UPDATE persona_change SET number = number + 1"

Kept = Literal["kept", "taken", "many", "full", "changed"]
"""Whether a persona was kept, or why not.

``taken``: its owner has one of this name; ``many``: has as many as may be; ``full``: all together
are too large; ``changed``: somebody changed or deleted it meanwhile.
"""


@value
class KeptPersona:
    """One persona as it is kept."""

    name: PersonaName
    scope: PersonaScope
    owner: str
    maker: UserId
    version: int
    card: str
    """JSON."""


@dataclass(eq=False, slots=True)
class PersonaStore:
    """Keeps personas. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    database: Database

    async def changes(self) -> int:
        """A number that is another one after any change."""
        return int((await self.database.fetch("SELECT number FROM persona_change"))[0][0])

    async def all(self) -> tuple[KeptPersona, ...]:
        """Every persona, without its picture."""
        return tuple(KeptPersona(*row) for row in await self.database.fetch(_ALL))

    async def picture(self, name: PersonaName) -> bytes | None:
        """The PNG a persona came in."""
        rows = await self.database.fetch("SELECT picture FROM persona WHERE name = ?", (name,))
        return rows[0]["picture"] if rows else None

    async def add(self, persona: KeptPersona, picture: bytes | None) -> Kept:
        """Keeps a new one within what its owner, and all together, may have."""
        values = {
            "name": persona.name,
            "scope": persona.scope,
            "owner": persona.owner,
            "shown": shown_name(persona.name).casefold(),
            "maker": persona.maker,
            "now": self.database.now_ms(),
            "card": persona.card,
            "picture": picture,
        }

        def change(connection: sqlite3.Connection) -> Kept:
            owned = connection.execute(_OWNED, values).fetchall()
            if any(row["is_taken"] for row in owned):
                return "taken"
            if len(owned) >= MOST[persona.scope]:
                return "many"
            if _is_full(connection, len(persona.card), len(picture or b"")):
                return "full"
            connection.execute(_ADD, values)
            connection.execute(_CHANGED)
            return "kept"

        return await self.database.write(change)

    async def put(
        self, name: PersonaName, version: int, card: str, picture: bytes | None, *, keeps: bool
    ) -> Kept:
        """Writes a card over that version of it; ``keeps`` leaves its picture as it is."""
        values = {
            "name": name,
            "version": version,
            "card": card,
            "picture": picture,
            "keeps": keeps,
            "now": self.database.now_ms(),
        }

        def change(connection: sqlite3.Connection) -> Kept:
            if _is_full(connection, len(card), len(picture or b"")):
                return "full"
            if not connection.execute(_PUT, values).rowcount:
                return "changed"
            connection.execute(_CHANGED)
            return "kept"

        return await self.database.write(change)

    async def delete(self, name: PersonaName) -> int | None:
        """Deletes a persona; for how many people and places it is chosen, None: it was gone.

        Their choices stay: whoever stands in is told there, and nothing of it leaves the LAN.
        """

        def change(connection: sqlite3.Connection) -> int | None:
            if not connection.execute(_DELETE, (name,)).rowcount:
                return None
            connection.execute(_CHANGED)
            return connection.execute(_CHOSEN, (name,)).fetchone()[0]

        return await self.database.erase(change)


def _is_full(connection: sqlite3.Connection, card: int, picture: int) -> bool:
    cards, pictures = connection.execute(_SIZE).fetchone()
    return cards + card > MOST_BYTES or pictures + picture > MOST_PICTURE_BYTES
