"""What must outlive a restart of the fleet: own instances, and how fast hosts load and answer."""

import sqlite3
from dataclasses import asdict

from bot.domain.hosts import FleetMemory, LoadRecord, OwnInstance, Speed, SpeedRecord
from bot.domain.ids import HostName, InstanceRef, ModelKey
from bot.policy.speeds import blend, blend_speed, load_rate, speed_of_answer
from bot.store.database import Database
from bot.store.rows import insert, value_of

KEPT_RECORDS = 2000
"""Single records kept of each kind; the averages remember the rest."""

_OWN = "SELECT * FROM own_instance ORDER BY host, added_at_ms, reference"
_ADD_OWN = """
INSERT INTO own_instance
    (host, reference, identifier, model_key, idle_ttl_s, pinned, added_at_ms)
VALUES (:host, :reference, :identifier, :model_key, :idle_ttl_s, :pinned, :added_at_ms)
ON CONFLICT (host, reference) DO UPDATE SET identifier = excluded.identifier,
    model_key = excluded.model_key, idle_ttl_s = excluded.idle_ttl_s, pinned = excluded.pinned
"""
_REMOVE_OWN = "DELETE FROM own_instance WHERE host = ? AND reference = ?"
# By number, so that no answer has to count the two thousand before it.
_TRIM_LOADS = "DELETE FROM load_record WHERE number <= (SELECT max(number) FROM load_record) - ?"
_TRIM_ANSWERS = (
    "DELETE FROM speed_record WHERE number <= (SELECT max(number) FROM speed_record) - ?"
)
_SPEED = "SELECT * FROM speed WHERE host = ? AND model_key = ?"
_SPEEDS = "SELECT * FROM speed ORDER BY host, model_key"
_RATE = "SELECT load_bytes_per_s FROM host_rate WHERE host = ?"
_RATES = "SELECT host, load_bytes_per_s FROM host_rate ORDER BY host"


class FleetStore:
    """Keeps the fleet's memory; each method is a transaction, raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remembered(self) -> FleetMemory:
        """Own instances, oldest load first, and what was measured of hosts and models."""

        def find(connection: sqlite3.Connection) -> FleetMemory:
            return FleetMemory(
                own=tuple(value_of(OwnInstance, row) for row in connection.execute(_OWN)),
                speeds={
                    (HostName(row["host"]), ModelKey(row["model_key"])): value_of(Speed, row)
                    for row in connection.execute(_SPEEDS)
                },
                rates={
                    HostName(row["host"]): float(row["load_bytes_per_s"])
                    for row in connection.execute(_RATES)
                },
            )

        return await self._database.read(find)

    async def add_own(self, own: OwnInstance) -> None:
        """Remember an instance Lantern loaded, or what changed about it."""
        # Not replaced whole: the moment it was added stays, and with it the order of loads.
        row = {**asdict(own), "added_at_ms": self._database.now_ms()}
        await self._database.execute(_ADD_OWN, row)

    async def remove_own(self, host: HostName, reference: InstanceRef) -> None:
        """Forget an instance that left memory."""
        await self._database.execute(_REMOVE_OWN, (host, reference))

    async def add_load(self, record: LoadRecord) -> None:
        """Count one finished load into the averages of its model and its host."""
        at_ms = self._database.now_ms()

        def add(connection: sqlite3.Connection) -> None:
            insert(connection, "load_record", {**asdict(record), "at_ms": at_ms})
            connection.execute(_TRIM_LOADS, (KEPT_RECORDS,))
            _average(connection, record.host, record.model_key, Speed(load_s=record.seconds))
            row = connection.execute(_RATE, (record.host,)).fetchone()
            before = None if row is None else row["load_bytes_per_s"]
            # A load of unknown size says nothing of the host's rate.
            if (rate := blend(before, load_rate(record))) is not None:
                columns = {"host": record.host, "load_bytes_per_s": rate}
                insert(connection, "host_rate", columns, verb="INSERT OR REPLACE")

        await self._database.write(add)

    async def add_speed(self, record: SpeedRecord) -> None:
        """Count one finished answer into the averages of its model on its host."""
        at_ms = self._database.now_ms()

        def add(connection: sqlite3.Connection) -> None:
            insert(connection, "speed_record", {**asdict(record), "at_ms": at_ms})
            connection.execute(_TRIM_ANSWERS, (KEPT_RECORDS,))
            _average(connection, record.host, record.model_key, speed_of_answer(record))

        await self._database.write(add)


def _average(
    connection: sqlite3.Connection, host: HostName, model: ModelKey, measured: Speed
) -> None:
    row = connection.execute(_SPEED, (host, model)).fetchone()
    speed = blend_speed(Speed() if row is None else value_of(Speed, row), measured)
    columns = {"host": host, "model_key": model, **asdict(speed)}
    insert(connection, "speed", columns, verb="INSERT OR REPLACE")
