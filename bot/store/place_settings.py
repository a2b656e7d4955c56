"""What admins have set for places, as it outlives a restart."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from bot.domain.ids import PlaceId, UserId
from bot.policy.place_rules import FORMS, SettingName, SetValue, Stored
from bot.store.database import Database

_ALL = "SELECT place, name, value, changed_by, changed_at_ms FROM place_setting"
_PUT = "INSERT OR REPLACE INTO place_setting VALUES (?, ?, ?, ?, ?)"
_DROP = "DELETE FROM place_setting WHERE place = ? AND name = ?"


@dataclass(eq=False, slots=True)
class PlaceSettingStore:
    """Keeps settings. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    database: Database

    async def all(self) -> Stored:
        """Everything set anywhere; what a newer Lantern knew and this one does not is left out."""
        return {
            (PlaceId(row["place"]), cast(SettingName, row["name"])): SetValue(
                tuple(json.loads(row["value"])), UserId(row["changed_by"]), row["changed_at_ms"]
            )
            for row in await self.database.fetch(_ALL)
            if row["name"] in FORMS
        }

    async def put(
        self, place: PlaceId, values: Mapping[SettingName, Sequence[str]], by: UserId
    ) -> Mapping[SettingName, SetValue | None]:
        """Write settings over those before, all or none; one without a value is taken away.

        Returns:
            How each is kept; None is not any more.
        """
        now_ms = self.database.now_ms()
        kept: dict[SettingName, SetValue | None] = {
            name: SetValue(tuple(value), by, now_ms) if value else None
            for name, value in values.items()
        }

        def change(connection: sqlite3.Connection) -> None:
            for name, new in kept.items():
                if new is None:
                    connection.execute(_DROP, (place, name))
                else:
                    row = (place, name, json.dumps(new.value), new.by, new.at_ms)
                    connection.execute(_PUT, row)

        await self.database.write(change)
        return kept
