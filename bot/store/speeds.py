"""How fast each host loads and answers with each model: running averages and recent records."""

import sqlite3
from collections.abc import Mapping

from bot.domain.hosts import LoadRecord, Speed, SpeedRecord
from bot.domain.ids import HostName, ModelKey
from bot.policy.speeds import blend, blend_speed, load_rate, speed_of_answer, speed_of_load
from bot.store.database import Database

KEPT_RECORDS = 2000
"""Single records kept of each kind; the averages remember the rest."""

_ADD_LOAD = """
INSERT INTO load_record (host, model_key, seconds, size_bytes, at_ms) VALUES (?, ?, ?, ?, ?)
"""
_ADD_ANSWER = """
INSERT INTO speed_record (host, model_key, prompt_tokens, completion_tokens, first_token_s,
    generation_s, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_TRIM_LOADS = "DELETE FROM load_record WHERE number <= (SELECT max(number) FROM load_record) - ?"
_TRIM_ANSWERS = (
    "DELETE FROM speed_record WHERE number <= (SELECT max(number) FROM speed_record) - ?"
)
_SPEED = "SELECT * FROM speed WHERE host = ? AND model_key = ?"
_SPEEDS = "SELECT * FROM speed ORDER BY host, model_key"
_PUT_SPEED = """
INSERT OR REPLACE INTO speed
    (host, model_key, load_s, prefill_tokens_per_s, tokens_per_s, turn_s) VALUES (?, ?, ?, ?, ?, ?)
"""
_RATE = "SELECT load_bytes_per_s FROM host_rate WHERE host = ?"
_RATES = "SELECT host, load_bytes_per_s FROM host_rate ORDER BY host"
_PUT_RATE = "INSERT OR REPLACE INTO host_rate (host, load_bytes_per_s) VALUES (?, ?)"

Remembered = tuple[Mapping[tuple[HostName, ModelKey], Speed], Mapping[HostName, float]]


class SpeedStore:
    """Keeps measurements. Each method is one transaction, raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_load(self, record: LoadRecord) -> None:
        """Counts one finished load into the averages of its model and its host."""
        row = (record.host, record.model_key, record.seconds, record.size_bytes)
        at_ms = self._database.now_ms()

        def add(connection: sqlite3.Connection) -> None:
            connection.execute(_ADD_LOAD, (*row, at_ms))
            connection.execute(_TRIM_LOADS, (KEPT_RECORDS,))
            _average(connection, record.host, record.model_key, speed_of_load(record))
            _average_rate(connection, record)

        await self._database.write(add)

    async def add_speed(self, record: SpeedRecord) -> None:
        """Counts one finished answer into the averages of its model on its host."""
        tokens = (record.prompt_tokens, record.completion_tokens)
        row = (record.host, record.model_key, *tokens, record.first_token_s, record.generation_s)
        at_ms = self._database.now_ms()

        def add(connection: sqlite3.Connection) -> None:
            connection.execute(_ADD_ANSWER, (*row, at_ms))
            connection.execute(_TRIM_ANSWERS, (KEPT_RECORDS,))
            _average(connection, record.host, record.model_key, speed_of_answer(record))

        await self._database.write(add)

    async def remembered(self) -> Remembered:
        """The averages by host and model, and each host's bytes loaded per second."""

        def find(connection: sqlite3.Connection) -> Remembered:
            speeds = {
                (HostName(row["host"]), ModelKey(row["model_key"])): _speed(row)
                for row in connection.execute(_SPEEDS)
            }
            rates = {
                HostName(row["host"]): float(row["load_bytes_per_s"])
                for row in connection.execute(_RATES)
            }
            return speeds, rates

        return await self._database.read(find)


def _average(
    connection: sqlite3.Connection, host: HostName, model: ModelKey, measured: Speed
) -> None:
    row = connection.execute(_SPEED, (host, model)).fetchone()
    speed = blend_speed(Speed() if row is None else _speed(row), measured)
    columns = (speed.load_s, speed.prefill_tokens_per_s, speed.tokens_per_s, speed.turn_s)
    connection.execute(_PUT_SPEED, (host, model, *columns))


def _average_rate(connection: sqlite3.Connection, record: LoadRecord) -> None:
    row = connection.execute(_RATE, (record.host,)).fetchone()
    rate = blend(None if row is None else row["load_bytes_per_s"], load_rate(record))
    if rate is not None:
        connection.execute(_PUT_RATE, (record.host, rate))


def _speed(row: sqlite3.Row) -> Speed:
    return Speed(
        load_s=row["load_s"],
        prefill_tokens_per_s=row["prefill_tokens_per_s"],
        tokens_per_s=row["tokens_per_s"],
        turn_s=row["turn_s"],
    )
