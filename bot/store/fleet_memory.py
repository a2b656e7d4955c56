"""What must outlive a restart of the fleet: own instances, and how fast hosts load and answer."""

import json
import sqlite3
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from bot.domain.hosts import (
    Drain,
    FleetMemory,
    HostConfig,
    LoadBegun,
    LoadRecord,
    OwnInstance,
    Speed,
    SpeedRecord,
    WakeRecord,
)
from bot.domain.ids import HostName, InstanceRef, ModelKey
from bot.policy.speeds import MEASURABLE_REPLY, blend, blend_speed, load_rate, speed_of_answer
from bot.policy.spill import KEPT_RATES
from bot.store.database import Database
from bot.store.notes import NoteStore
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
_DRAINS = "SELECT * FROM drain WHERE until_ms IS NULL OR until_ms > ? ORDER BY host"
_RESUME = "DELETE FROM drain WHERE host = ?"
_FORETOLD = "SELECT host, predicted_s, waited_s FROM speed_record WHERE predicted_s NOT NULL"
_ANSWERS = """
SELECT host, model_key, (completion_tokens - 1) / generation_s AS rate FROM speed_record
WHERE completion_tokens >= ? AND generation_s > 0 ORDER BY number
"""
BEGUN_MS = 900_000
"""What was being loaded longer ago has ended, one way or the other, and was seen by somebody."""
_BEGUN = "SELECT * FROM load_begun WHERE at_ms > ? ORDER BY host, model_key"
_OVER = "DELETE FROM load_begun WHERE host = ? AND model_key = ?"
_PINS = "SELECT * FROM pin ORDER BY host, model_key"
_PIN = "INSERT OR IGNORE INTO pin (host, model_key) VALUES (?, ?)"
_UNPIN = "DELETE FROM pin WHERE host = ? AND model_key = ?"
_REMOVE_OWN = "DELETE FROM own_instance WHERE host = ? AND reference = ?"
# By number, so that no answer has to count the two thousand before it.
_TRIM = "DELETE FROM {0} WHERE number <= (SELECT max(number) FROM {0}) - ?"
_SPEED = "SELECT * FROM speed WHERE host = ? AND model_key = ?"
_SPEEDS = "SELECT * FROM speed ORDER BY host, model_key"
_RATE = "SELECT load_bytes_per_s FROM host_rate WHERE host = ?"
_REPLACE = "INSERT OR REPLACE"
_ADDRESSES = "SELECT host, address FROM host_address"
_OF_HOSTS = (
    "own_instance", "speed", "host_rate", "speed_record", "load_record", "drain", "pin", "wake",
    "load_begun",
)  # fmt: skip
"""Tables with a line for each host, or for each model on each."""
_RENAME = "UPDATE OR REPLACE {} SET host = ? WHERE host = ?"
_RATES = "SELECT host, load_bytes_per_s FROM host_rate ORDER BY host"


_HOSTS_NOTE = "running_hosts"


def _noted(host: HostConfig) -> list[object]:
    """What makes a host another one to a Lantern that runs; a token is no fact to be stored."""
    limits = host.slots, host.weight, host.max_waiting, host.wake_mac
    return [host.address, host.memory_bytes, host.max_loaded, *limits]


def _rates(connection: sqlite3.Connection) -> dict[tuple[HostName, ModelKey], Sequence[float]]:
    rates: defaultdict[tuple[HostName, ModelKey], deque[float]]
    rates = defaultdict(lambda: deque(maxlen=KEPT_RATES))
    for row in connection.execute(_ANSWERS, (MEASURABLE_REPLY,)):
        rates[HostName(row["host"]), ModelKey(row["model_key"])].append(row["rate"])
    return {which: tuple(newest) for which, newest in rates.items()}


def _drains(rows: Iterable[sqlite3.Row], now_ms: int) -> tuple[Drain, ...]:
    return tuple(
        Drain(HostName(row["host"]), left_s=row["until_ms"] and (row["until_ms"] - now_ms) / 1000)
        for row in rows
    )


@dataclass(eq=False, slots=True)
class FleetStore:
    """Keeps the fleet's memory; each method is a transaction, raises ``StoreUnavailable`` alone."""

    database: Database

    async def renamed(self, addresses: Mapping[HostName, str]) -> Mapping[str, HostName]:
        """Takes what is known of hosts along to their new names, by where they stand.

        Called otherwise in the settings, a host lost its own instances: they were foreign then,
        and stood in its memory for ever. A name that was known before keeps what is its own: hosts
        that got each other's addresses look as if their names had been exchanged, and were each
        given the other's pins and drain.

        Args:
            addresses: Of every host, by what it is called from now on.

        Returns:
            The new names by the old ones, of those of which something was known.
        """

        def change(connection: sqlite3.Connection) -> dict[str, HostName]:
            rows = connection.execute(_ADDRESSES).fetchall()
            noted = {row["address"]: row["host"] for row in rows}
            known: dict[str, HostName] = {}
            for name, address in addresses.items():
                # One without a name was called by its address.
                old = noted.get(address, address)
                if old in addresses or any(row["host"] == name for row in rows):
                    continue
                for table in _OF_HOSTS:
                    if connection.execute(_RENAME.format(table), (name, old)).rowcount:
                        known[old] = name
            # Others stay: one that is left out of a single start may come back by another name.
            for place in addresses.items():
                connection.execute("DELETE FROM host_address WHERE host = ? OR address = ?", place)
            for name, address in addresses.items():
                insert(connection, "host_address", {"host": name, "address": address})
            return known

        return await self.database.write(change)

    async def note_hosts(self, hosts: Iterable[HostConfig]) -> None:
        """Notes with which hosts the Lantern that owns the database was started."""
        told, notes = (
            json.dumps({host.name: _noted(host) for host in hosts}),
            NoteStore(self.database),
        )
        if await notes.get(_HOSTS_NOTE) != told:
            await notes.put(_HOSTS_NOTE, told)

    async def changed_hosts(self, hosts: Iterable[HostConfig]) -> Mapping[HostName, bool]:
        """Of these hosts those that its owner was not started with; does it know them at all?"""
        told = await NoteStore(self.database).get(_HOSTS_NOTE)
        # An older Lantern noted none.
        if told is None:
            return {}
        known = json.loads(told)
        return {h.name: h.name in known for h in hosts if known.get(h.name) != _noted(h)}

    async def remembered(self) -> FleetMemory:
        """Own instances, oldest load first, what was measured of hosts and models, and drains."""
        await self.database.noted()
        now_ms = self.database.now_ms()

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
                answers=_rates(connection),
                wakes={
                    HostName(row["host"]): float(row["seconds"])
                    for row in connection.execute("SELECT * FROM wake")
                },
                begun=tuple(
                    LoadBegun(
                        HostName(row["host"]),
                        ModelKey(row["model_key"]),
                        row["ttl_s"],
                        row["idle_ttl_s"],
                        age_s=max(0, now_ms - row["at_ms"]) / 1000,
                    )
                    for row in connection.execute(_BEGUN, (now_ms - BEGUN_MS,))
                ),
                drains=_drains(connection.execute(_DRAINS, (now_ms,)), now_ms),
            )

        return await self.database.read(find)

    async def own(self) -> tuple[OwnInstance, ...]:
        """Own instances, oldest load first."""
        return tuple(value_of(OwnInstance, row) for row in await self.database.fetch(_OWN))

    async def add_own(self, own: OwnInstance) -> None:
        """Remember an instance Lantern loaded, or what changed about it."""
        # Not replaced whole: the moment it was added stays, and with it the order of loads.
        row = {**asdict(own), "added_at_ms": self.database.now_ms()}
        await self.database.execute(_ADD_OWN, row)

    async def remove_own(self, host: HostName, reference: InstanceRef) -> None:
        """Forget an instance that left memory."""
        await self.database.execute(_REMOVE_OWN, (host, reference))

    async def drain(self, drain: Drain) -> None:
        """Remember that a host drains, or that it does so no more."""
        if not drain.is_on:
            await self.database.execute(_RESUME, (drain.host,))
            return
        # By the wall clock: the time goes on while no Lantern runs.
        left_ms = None if drain.left_s is None else round(1000 * drain.left_s)
        until_ms = left_ms and self.database.now_ms() + left_ms
        columns = {"host": drain.host, "until_ms": until_ms}
        await self.database.write(lambda c: insert(c, "drain", columns, verb=_REPLACE))

    async def drains(self) -> tuple[Drain, ...]:
        """Which hosts drain, and for how much longer."""
        now_ms = self.database.now_ms()
        return _drains(await self.database.fetch(_DRAINS, (now_ms,)), now_ms)

    async def foretold(self) -> Mapping[HostName, Sequence[tuple[float, float]]]:
        """By host, what was predicted of its newest answers' first words, and what came of it."""
        await self.database.noted()
        told: dict[HostName, list[tuple[float, float]]] = {}
        for row in await self.database.fetch(_FORETOLD):
            pair = float(row["predicted_s"]), float(row["waited_s"])
            told.setdefault(HostName(row["host"]), []).append(pair)
        return told

    async def load_begun(self, load: LoadBegun) -> None:
        """Remember that a load is under way, or that it is no more."""
        columns = asdict(load)
        del columns["age_s"]
        if columns.pop("is_over"):
            await self.database.execute(_OVER, (load.host, load.model_key))
            return
        columns |= {"at_ms": self.database.now_ms()}
        await self.database.write(lambda c: insert(c, "load_begun", columns, verb=_REPLACE))

    async def woken(self, record: WakeRecord) -> None:
        """Remember how long a host takes to wake."""
        await self.database.write(lambda c: insert(c, "wake", asdict(record), verb=_REPLACE))

    async def pins(self) -> tuple[tuple[HostName, ModelKey], ...]:
        """Which models are pinned, and on which hosts."""
        rows = await self.database.fetch(_PINS)
        return tuple((HostName(row["host"]), ModelKey(row["model_key"])) for row in rows)

    async def pin(self, host: HostName, key: ModelKey, is_pinned: bool) -> None:
        """Remember that a model is pinned on a host, or that it is so no more."""
        await self.database.execute(_PIN if is_pinned else _UNPIN, (host, key))

    def add(self, record: LoadRecord | SpeedRecord) -> None:
        """Note a finished load or answer into the averages of its model and its host."""
        self.database.gather(_add, (record, self.database.now_ms()))


def _add(
    connection: sqlite3.Connection, records: Iterable[tuple[LoadRecord | SpeedRecord, int]]
) -> None:
    """Keeps records, and each average once, however many of them it is made of."""
    speeds: dict[tuple[HostName, ModelKey], Speed] = {}
    rates: dict[HostName, float | None] = {}
    tables = set[str]()
    for record, at_ms in records:
        is_load = isinstance(record, LoadRecord)
        table, which = "load_record" if is_load else "speed_record", (record.host, record.model_key)
        values = {each.name: getattr(record, each.name) for each in fields(record)}
        insert(connection, table, {**values, "at_ms": at_ms})
        tables.add(table)
        if which not in speeds:
            row = connection.execute(_SPEED, which).fetchone()
            speeds[which] = Speed() if row is None else value_of(Speed, row)
        measured = Speed(load_s=record.seconds) if is_load else speed_of_answer(record)
        speeds[which] = blend_speed(speeds[which], measured)
        if isinstance(record, LoadRecord):
            if record.host not in rates:
                row = connection.execute(_RATE, (record.host,)).fetchone()
                rates[record.host] = None if row is None else row["load_bytes_per_s"]
            rates[record.host] = blend(rates[record.host], load_rate(record))
    for table in tables:
        connection.execute(_TRIM.format(table), (KEPT_RECORDS,))
    for (host, key), speed in speeds.items():
        columns = {"host": host, "model_key": key, **asdict(speed)}
        insert(connection, "speed", columns, verb=_REPLACE)
    for host, rate in rates.items():
        # A load of unknown size says nothing of the host's rate.
        if rate is not None:
            insert(connection, "host_rate", {"host": host, "load_bytes_per_s": rate}, verb=_REPLACE)
