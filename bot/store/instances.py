"""Instances Lantern loaded, so that a restart still tells own from foreign ones."""

import sqlite3

from bot.domain.hosts import OwnInstance
from bot.domain.ids import HostName, InstanceId, InstanceRef, ModelKey
from bot.store.database import Database

_ALL = "SELECT * FROM own_instance ORDER BY host, added_at_ms, reference"
_ADD = """
INSERT INTO own_instance
    (host, reference, identifier, model_key, idle_ttl_s, pinned, added_at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (host, reference) DO UPDATE SET identifier = excluded.identifier,
    model_key = excluded.model_key, idle_ttl_s = excluded.idle_ttl_s, pinned = excluded.pinned
"""
_REMOVE = "DELETE FROM own_instance WHERE host = ? AND reference = ?"


class InstanceStore:
    """Keeps own instances. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[OwnInstance, ...]:
        """Every own instance, by host, oldest load first."""

        def find(connection: sqlite3.Connection) -> tuple[OwnInstance, ...]:
            return tuple(_own(row) for row in connection.execute(_ALL))

        return await self._database.read(find)

    async def add(self, own: OwnInstance) -> None:
        """Remembers an instance, or what changed about it."""
        row = (
            own.host,
            own.reference,
            own.identifier,
            own.model_key,
            own.idle_ttl_s,
            own.pinned,
            self._database.now_ms(),
        )
        await self._database.write(lambda c: c.execute(_ADD, row).rowcount)

    async def remove(self, host: HostName, reference: InstanceRef) -> None:
        """Forgets an instance that left memory."""
        await self._database.write(lambda c: c.execute(_REMOVE, (host, reference)).rowcount)


def _own(row: sqlite3.Row) -> OwnInstance:
    return OwnInstance(
        host=HostName(row["host"]),
        reference=InstanceRef(row["reference"]),
        identifier=InstanceId(row["identifier"]),
        model_key=ModelKey(row["model_key"]),
        idle_ttl_s=row["idle_ttl_s"],
        pinned=bool(row["pinned"]),
    )
