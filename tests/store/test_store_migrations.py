import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from clocks import WallClock

from bot.domain.errors import ConfigError, StoreUnavailable
from bot.store.backups import backups_of
from bot.store.database import Database
from bot.store.migrate import APPLICATION_ID, checked_version, migrate, migrations, statements
from bot.store.notes import NoteStore

FIRST = f"PRAGMA application_id = {APPLICATION_ID};\nCREATE TABLE a (x TEXT) STRICT;\n"
SECOND = "ALTER TABLE a ADD COLUMN y TEXT;\nINSERT INTO a VALUES ('p', 'q');\n"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened


def version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def apply(connection: sqlite3.Connection, *steps: str) -> None:
    migrate(connection, steps, checked_version(connection, len(steps), "here.db"))


def test_a_new_database_gets_every_step(connection: sqlite3.Connection) -> None:
    apply(connection, FIRST, SECOND)

    assert version(connection) == 2
    assert connection.execute("SELECT * FROM a").fetchall() == [("p", "q")]


def test_an_older_database_gets_its_missing_steps(connection: sqlite3.Connection) -> None:
    apply(connection, FIRST)
    apply(connection, FIRST, SECOND, "CREATE TABLE b (x TEXT) STRICT;")

    assert version(connection) == 3


def test_a_current_database_is_left_as_it_is(connection: sqlite3.Connection) -> None:
    apply(connection, FIRST, SECOND)
    apply(connection, FIRST, SECOND)

    assert version(connection) == 2


def test_a_step_that_fails_leaves_nothing_of_itself(connection: sqlite3.Connection) -> None:
    broken = "CREATE TABLE b (x TEXT) STRICT;\nINSERT INTO nowhere VALUES (1);\n"

    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        apply(connection, FIRST, broken)

    assert version(connection) == 1
    assert not connection.in_transaction
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("a",)]


def test_a_step_another_program_took_meanwhile_is_not_taken_twice(
    connection: sqlite3.Connection,
) -> None:
    apply(connection, FIRST)
    seen = checked_version(connection, 2, "here.db")
    apply(connection, FIRST, SECOND)

    migrate(connection, (FIRST, SECOND), seen)

    assert connection.execute("SELECT count(*) FROM a").fetchone() == (1,)


def test_of_marks_taken_away_before_their_beginning_was_kept_all_before_the_end_counts(
    connection: sqlite3.Connection,
) -> None:
    steps = migrations()
    apply(connection, *steps[:20])
    connection.execute("INSERT INTO opened VALUES ('place', 'c1', 5)")
    apply(connection, *steps)
    spans = connection.execute("SELECT * FROM private_span").fetchall()
    assert spans == [("place", "c1", 0, 5)]


def test_a_database_of_a_newer_lantern_is_refused_with_what_to_do(
    connection: sqlite3.Connection,
) -> None:
    apply(connection, FIRST, SECOND)

    with pytest.raises(ConfigError, match=r"here\.db has schema 2.*only up to 1.*newer Lantern"):
        apply(connection, FIRST)


@pytest.mark.parametrize("set_up", ["CREATE TABLE cars (x)", "PRAGMA user_version = 1"])
def test_a_database_of_another_program_is_refused(
    connection: sqlite3.Connection, set_up: str
) -> None:
    connection.execute(set_up)

    with pytest.raises(ConfigError, match="another program"):
        apply(connection, FIRST)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("", []),
        ("A;\nB;\n", ["A;\n", "B;\n"]),
        ("A\n  (x, -- a; b\n  y);\n", ["A\n  (x, -- a; b\n  y);\n"]),
        ("INSERT INTO a VALUES ('x;\ny');\nB", ["INSERT INTO a VALUES ('x;\ny');\n", "B"]),
        (
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM b;\nEND;\n",
            ["CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM b;\nEND;\n"],
        ),
    ],
)
def test_a_script_falls_into_its_statements(script: str, expected: list[str]) -> None:
    assert list(statements(script)) == expected


def test_the_shipped_migrations_say_whose_database_it_is(connection: sqlite3.Connection) -> None:
    apply(connection, *migrations())

    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert version(connection) == len(migrations())


def test_money_spent_before_months_and_providers_were_counted_counts_there_too(
    connection: sqlite3.Connection,
) -> None:
    steps = migrations()
    apply(connection, *steps[:5])
    row = (
        "INSERT INTO ledger (turn, source, state, basis, answered_by, model, server, user, day,"
        " at_ms, completion_tokens, cost_micro_usd, reserved_micro_usd)"
        " VALUES (?, ?, ?, '', ?, 'm', '', '', ?, 0, ?, ?, 90)"
    )
    connection.executemany(
        row,
        [
            ("a", "cloud", "settled", "zai", "2026-10-31", 0, 10),
            ("a", "cloud", "settled", "zai", "2026-11-01", 7, 20),
            ("b", "cloud", "settled", "openai", "2026-11-02", 7, 40),
            ("c", "cloud", "reserved", "zai", "2026-11-02", 0, 0),
            ("d", "local", "settled", "studio", "2026-11-02", 7, 0),
        ],
    )
    connection.execute("INSERT INTO account VALUES ('2026-11-02', 'all', '', 40, 90)")
    connection.execute("INSERT INTO account VALUES ('2026-11-02', 'user', 'ada', 40, 90)")
    connection.execute("INSERT INTO budget_notice VALUES ('2026-11-02', 'alert')")

    apply(connection, *steps)

    found = connection.execute("SELECT * FROM account ORDER BY payer, name, period").fetchall()
    assert found == [
        ("2026-10", "all", "", 10, 0),
        ("2026-11", "all", "", 60, 90),
        ("2026-11-02", "all", "", 40, 90),
        ("2026-11", "provider", "openai", 40, 0),
        ("2026-11-02", "provider", "openai", 40, 0),
        ("2026-10", "provider", "zai", 10, 0),
        ("2026-10-31", "provider", "zai", 10, 0),
        ("2026-11", "provider", "zai", 20, 90),
        ("2026-11-01", "provider", "zai", 20, 0),
        ("2026-11-02", "provider", "zai", 0, 90),
        ("2026-11-02", "user", "ada", 40, 90),
    ]
    assert connection.execute("SELECT * FROM budget_notice").fetchall() == [
        ("2026-11-02", "alert", "")
    ]
    answers = connection.execute("SELECT is_answer FROM ledger ORDER BY number").fetchall()
    assert answers == [(0,), (1,), (1,), (0,), (1,)]


async def test_an_upgrade_leaves_a_backup_of_the_database_as_it_was(
    path: Path, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(path, utcnow=clock) as database:
        await NoteStore(database).put("salt", "pepper")
    newer = (*migrations(), "DROP TABLE note;\n")
    monkeypatch.setattr("bot.store.database.migrations", lambda: newer)

    async with Database(path, utcnow=clock) as database:
        with pytest.raises(StoreUnavailable, match="no such table"):
            await NoteStore(database).get("salt")

    (copy,) = backups_of(path)  # the new database that came first needed none
    assert copy.name == f"lantern.db.20261120T101500.000Z.schema{len(migrations())}.backup"
    with closing(sqlite3.connect(copy)) as before:
        assert before.execute("SELECT value FROM note").fetchall() == [("pepper",)]
        assert version(before) == len(migrations())


async def test_a_database_of_a_newer_lantern_stops_the_start_unharmed(
    database: Database, clock: WallClock
) -> None:
    await database.write(lambda c: c.execute("PRAGMA user_version = 99").fetchall())

    with pytest.raises(ConfigError, match="schema 99"):
        await Database(database.path, utcnow=clock).__aenter__()

    assert backups_of(database.path) == ()


@pytest.mark.parametrize("version", [0, 1, 99])
async def test_another_programs_file_stays_as_it_was_to_the_last_byte(
    tmp_path: Path, clock: WallClock, version: int
) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE precious (x TEXT)")
        theirs.execute(f"PRAGMA user_version = {version:d}")
    before = path.read_bytes()

    with pytest.raises(ConfigError, match="belongs to another program"):
        async with Database(path, utcnow=clock):
            pass

    assert path.read_bytes() == before
