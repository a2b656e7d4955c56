import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.domain.errors import StoreUnavailable
from bot.store.backups import KEPT, back_up, backups_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "odd [name].db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE a (x)")
    return path


def test_a_backup_holds_what_is_still_in_the_log(written: Path) -> None:
    with closing(sqlite3.connect(written, isolation_level=None)) as connection:
        connection.execute("INSERT INTO a VALUES (1)")
        copy = back_up(written, label="schema1", now=NOON)

    assert copy.name == "odd [name].db.20261120T120000.000Z.schema1.backup"
    with closing(sqlite3.connect(copy)) as copied:
        assert copied.execute("SELECT x FROM a").fetchall() == [(1,)]


def test_only_the_newest_backups_are_kept(written: Path) -> None:
    made = [
        back_up(written, label="daily", now=NOON + timedelta(days=day)) for day in range(KEPT + 3)
    ]

    assert backups_of(written) == tuple(made[-KEPT:])


def test_what_an_interrupted_backup_left_is_cleared_away(written: Path) -> None:
    left = written.with_name(f"{written.name}.20200101T000000.000Z.daily.partial")
    left.touch()

    back_up(written, label="daily", now=NOON)

    assert not left.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission bits")
def test_nobody_else_may_read_a_backup(written: Path) -> None:
    assert back_up(written, label="daily", now=NOON).stat().st_mode & 0o077 == 0


def test_a_damaged_database_gives_no_backup_and_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lantern.db"
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(StoreUnavailable, match=r"backup.*not a database"):
        back_up(path, label="daily", now=NOON)

    assert list(tmp_path.iterdir()) == [path]


def test_a_backup_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="could not be written"):
        back_up(tmp_path / "gone" / "lantern.db", label="daily", now=NOON)
