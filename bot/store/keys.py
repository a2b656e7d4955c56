"""API keys: added, listed, revoked, found by their public part."""

import json
import sqlite3
from dataclasses import replace

from bot.domain.errors import RequestRefused
from bot.policy.keys import ApiKey
from bot.policy.ratelimit import RateRule
from bot.store.database import Database

_ADD = """
INSERT INTO api_key VALUES (
  :id, :name, :digest, :scopes, :models, :daily, :count, :period, :created, NULL, :expires
)
"""
_ALL = "SELECT * FROM api_key ORDER BY name"
_NAMES = "SELECT name FROM api_key UNION SELECT name FROM revoked_key"
_REVOKE = "DELETE FROM api_key WHERE name = ?"
_NAME_STAYS = "INSERT OR IGNORE INTO revoked_key VALUES (?)"
# The clock may be set back, and two requests may end out of order.
_USED = "UPDATE api_key SET last_used_ms = max(coalesce(last_used_ms, 0), ?) WHERE id = ?"


class KeyStore:
    """Keeps keys. Each method is one transaction and raises ``StoreUnavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey) -> ApiKey:
        """Keeps a new key; gives it with the time of its making.

        Raises:
            RequestRefused: another key has this name.
        """
        created = replace(key, created_at_ms=self._database.now_ms())
        values = {
            "id": key.id,
            "name": key.name,
            "digest": key.digest,
            "scopes": json.dumps(key.scopes),
            "models": json.dumps(key.models),
            "daily": key.daily_micro_usd,
            "count": key.rate.count if key.rate else None,
            "period": key.rate.period_s if key.rate else None,
            "created": created.created_at_ms,
            "expires": key.expires_at_ms,
        }

        def change(connection: sqlite3.Connection) -> bool:
            try:
                connection.execute(_ADD, values)
            except sqlite3.IntegrityError:
                return False
            return True

        if not await self._database.write(change):
            words = f"There is a key `{key.name}` already. Revoke it first, or take another name."
            raise RequestRefused(words)
        return created

    async def all(self) -> tuple[ApiKey, ...]:
        """Every key, by name."""
        return tuple(_key(row) for row in await self._database.fetch(_ALL))

    async def names(self) -> frozenset[str]:
        """The name of every key there is or was, but for those revoked before names were kept."""
        return frozenset(row["name"] for row in await self._database.fetch(_NAMES))

    async def revoke(self, name: str) -> bool:
        """Deletes a key for good, but for its name; False where there is none of this name."""

        def change(connection: sqlite3.Connection) -> bool:
            if not connection.execute(_REVOKE, (name,)).rowcount:
                return False
            # The ledger knows it by a hash alone: what a leaked key had cost was told of nobody.
            connection.execute(_NAME_STAYS, (name,))
            return True

        return await self._database.write(change)

    async def used(self, public_part: str, at_ms: int) -> None:
        """Notes when a key was last used."""
        await self._database.execute(_USED, (at_ms, public_part))


def _key(row: sqlite3.Row) -> ApiKey:
    count = row["rate_count"]
    return ApiKey(
        id=row["id"],
        name=row["name"],
        digest=row["digest"],
        scopes=tuple(json.loads(row["scopes"])),
        models=tuple(json.loads(row["models"])),
        daily_micro_usd=row["daily_micro_usd"],
        rate=None if count is None else RateRule(count, row["rate_period_s"]),
        created_at_ms=row["created_at_ms"],
        last_used_ms=row["last_used_ms"],
        expires_at_ms=row["expires_at_ms"],
    )
