import asyncio
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import pytest
from clocks import WallClock
from databases import new_database
from structlog.testing import capture_logs

from bot.domain.errors import ConfigError, StoreUnavailable, StoreUnusable
from bot.process.lock import instance_lock
from bot.store.backups import backups_of
from bot.store.database import Database
from bot.store.files import look_at

PUT = "INSERT INTO note (name, value) VALUES (?, ?)"


async def names(database: Database) -> list[str]:
    rows = await database.read(lambda c: c.execute("SELECT name FROM note").fetchall())
    return sorted(row["name"] for row in rows)


async def setting(database: Database, name: str) -> object:
    return await database.write(lambda c: c.execute(f"PRAGMA {name}").fetchone()[0])


async def test_a_write_is_read_as_soon_as_it_returns(database: Database) -> None:
    assert await database.write(lambda c: c.execute(PUT, ("a", "1")).rowcount) == 1

    assert await names(database) == ["a"]


async def test_a_write_that_fails_halfway_stores_nothing(database: Database) -> None:
    def change(connection: sqlite3.Connection) -> None:
        connection.execute(PUT, ("a", "1"))
        connection.execute(PUT, ("a", "2"))

    with pytest.raises(StoreUnavailable, match=r"lantern\.db cannot be used"):
        await database.write(change)

    assert await names(database) == []
    assert await database.write(lambda c: c.execute(PUT, ("b", "1")).rowcount) == 1


async def test_an_error_that_is_not_sqlites_undoes_the_write_and_passes(database: Database) -> None:
    def change(connection: sqlite3.Connection) -> None:
        connection.execute(PUT, ("a", "1"))
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        await database.write(change)

    assert await names(database) == []


async def test_a_cancelled_asker_neither_tears_nor_blocks_a_write(database: Database) -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        connection.execute(PUT, ("a", "1"))
        begun.set()
        may_go_on.wait(10)
        connection.execute(PUT, ("b", "1"))

    async with asyncio.TaskGroup() as group:
        asker = group.create_task(database.write(slow))
        await asyncio.to_thread(begun.wait, 10)
        asker.cancel()
    may_go_on.set()
    await database.write(lambda c: c.execute(PUT, ("c", "1")).rowcount)

    assert asker.cancelled()
    assert await names(database) == ["a", "b", "c"]


async def test_more_writes_than_may_wait_are_all_stored(database: Database) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(600):
            row = (f"{number:03}", "x")
            group.create_task(database.write(lambda c, row=row: c.execute(PUT, row).rowcount))

    assert len(await names(database)) == 600


async def test_a_reader_may_not_write(database: Database) -> None:
    with pytest.raises(StoreUnavailable, match="may not be written"):
        await database.read(lambda c: c.execute(PUT, ("a", "1")).rowcount)


async def test_one_read_sees_one_state_throughout(database: Database, path: Path) -> None:
    def count_around_a_write(connection: sqlite3.Connection) -> tuple[int, int]:
        query = "SELECT count(*) FROM note"
        before: int = connection.execute(query).fetchone()[0]
        with closing(sqlite3.connect(path)) as other, other:
            other.execute(PUT, ("a", "1"))
        return before, connection.execute(query).fetchone()[0]

    assert await database.read(count_around_a_write) == (0, 0)
    assert await names(database) == ["a"]


async def test_the_settings_that_keep_it_safe_are_on(database: Database) -> None:
    assert await setting(database, "journal_mode") == "wal"
    assert await setting(database, "foreign_keys") == 1
    assert await setting(database, "synchronous") == 1
    # Another program's lock of ten seconds once made a question an error.
    assert await setting(database, "busy_timeout") == 30_000


async def test_every_table_is_strict(database: Database) -> None:
    query = "SELECT name FROM pragma_table_list WHERE NOT strict AND name NOT LIKE 'sqlite_%'"
    assert await database.read(lambda c: c.execute(query).fetchall()) == []


async def test_a_closed_database_says_so(path: Path, clock: WallClock) -> None:
    async with Database(path, utcnow=clock) as database:
        pass

    with pytest.raises(StoreUnavailable, match="closed"):
        await database.read(lambda c: c.execute("SELECT 1").fetchone())


async def test_a_database_that_does_not_open_leaves_no_thread(path: Path, clock: WallClock) -> None:
    await asyncio.to_thread(path.write_bytes, b"no database " * 100)
    before = set(threading.enumerate())

    with pytest.raises(StoreUnusable):
        async with Database(path, utcnow=clock):
            pass

    # One that ended later told a loop that was closed by then.
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if "_connection_worker" in thread.name]


async def test_closing_leaves_one_whole_file(path: Path, clock: WallClock) -> None:
    async with Database(path, utcnow=clock) as database:
        await database.write(lambda c: c.execute(PUT, ("a", "1")).rowcount)

    assert [p.name for p in path.parent.iterdir()] == ["lantern.db"]
    async with Database(path, utcnow=clock) as database:
        assert await names(database) == ["a"]


async def test_closing_waits_for_the_writes_under_way(path: Path, clock: WallClock) -> None:
    async with asyncio.TaskGroup() as group, Database(path, utcnow=clock) as database:
        for number in range(20):
            row = (f"{number:03}", "x")
            group.create_task(database.write(lambda c, row=row: c.execute(PUT, row).rowcount))
        await asyncio.sleep(0)

    async with Database(path, utcnow=clock) as database:
        assert len(await names(database)) == 20


async def test_closing_interrupts_a_reader_that_takes_for_ever(
    path: Path, clock: WallClock
) -> None:
    begun = threading.Event()
    endless = """
        WITH RECURSIVE t (n) AS (SELECT tell() UNION ALL SELECT n + 1 FROM t) SELECT sum(n) FROM t
    """

    def read(connection: sqlite3.Connection) -> None:
        connection.create_function("tell", 0, lambda: begun.set() or 1)
        connection.execute(endless).fetchone()

    async with asyncio.TaskGroup() as group, Database(path, utcnow=clock) as database:
        group.create_task(expect_interruption(database, read))
        await asyncio.to_thread(begun.wait, 10)


async def test_a_missing_folder_is_made(tmp_path: Path, clock: WallClock) -> None:
    async with Database(tmp_path / "a" / "lantern.db", utcnow=clock) as database:
        assert database.path.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission bits")
async def test_nobody_else_may_read_what_was_said(database: Database) -> None:
    assert database.path.stat().st_mode & 0o077 == 0


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission bits")
@pytest.mark.parametrize(("mode", "is_told"), [(0o644, True), (0o620, True), (0o600, False)])
async def test_a_database_put_back_by_hand_is_closed_to_others(
    path: Path, clock: WallClock, mode: int, is_told: bool
) -> None:
    async with Database(new_database(path), utcnow=clock):
        files = [path, *(path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))]
        for file in files:
            file.chmod(mode)
        with capture_logs() as logs:
            async with Database(path, utcnow=clock):
                assert [mode_of(file) for file in files] == [0o600] * 3
            async with Database(path, utcnow=clock):
                pass
    told = [line["file"] for line in logs if line["event"] == "database closed to other users"]
    assert told == ([str(file) for file in files] if is_told else [])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission bits")
async def test_whose_database_it_is_not_changes_no_permissions(
    path: Path, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_database(path).chmod(0o640)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    async with Database(path, utcnow=clock):
        assert mode_of(path) == 0o640


async def test_an_impossible_folder_is_a_fault_of_the_configuration(
    tmp_path: Path, clock: WallClock
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"cannot be made.*storage\.url"):
        await Database(tmp_path / "file" / "lantern.db", utcnow=clock).__aenter__()


async def test_a_folder_in_its_place_is_told_in_plain_words(
    tmp_path: Path, clock: WallClock
) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        look_at(tmp_path)
    with pytest.raises(ConfigError, match="is a folder"):
        await Database(tmp_path, utcnow=clock).__aenter__()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such owners")
@pytest.mark.parametrize("folder", ["open", "shut"])
@pytest.mark.parametrize("ending", ["", "-wal", ".lock"])
async def test_somebody_elses_database_is_told_with_its_owner_and_what_to_do(
    path: Path, clock: WallClock, monkeypatch: pytest.MonkeyPatch, ending: str, folder: str
) -> None:
    file = new_database(path).with_name(f"{path.name}{ending}")
    file.touch()

    # Root may read and write everything, and so may the tests in a container.
    def may(place: Path, mode: int) -> bool:
        return place != file and (folder == "open" or place != path.parent)

    monkeypatch.setattr(os, "access", may)
    # Whoever reads the log of a service is another one than it runs as, which may have no name.
    mend = f"sudo chown {os.geteuid()}:{os.getegid()} {file} && sudo chmod 600 {file}"
    beside = f"\n.*Let it write their folder {path.parent}" if folder == "shut" else "$"
    words = f"{file} may not be .* belongs to {file.owner()}.* {mend}{beside}"
    with pytest.raises(ConfigError, match=words):
        look_at(path)
    with pytest.raises(ConfigError, match=words), instance_lock(path):
        await Database(path, utcnow=clock).__aenter__()


async def test_the_log_says_once_which_database_is_in_trouble(
    database: Database, path: Path
) -> None:
    def fails() -> Awaitable[object]:
        return database.fetch("SELECT * FROM nowhere")

    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"The database lantern\.db cannot"):
                await fails()
        await database.fetch("SELECT 1")
        with pytest.raises(StoreUnavailable):
            await fails()
    assert [(line["event"], line["file"]) for line in logs] == [("database failed", str(path))] * 2


async def test_a_disk_that_takes_nothing_is_told_once_though_reads_go_well(
    database: Database,
) -> None:
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await database.execute("DELETE FROM nowhere")
            await database.fetch("SELECT 1")
        assert len(logs) == 1
        await database.execute("DELETE FROM pin")
        with pytest.raises(StoreUnavailable):
            await database.execute("DELETE FROM nowhere")
    assert len(logs) == 2


TAX_RECORDS = b"these are my tax records" * 100


@pytest.fixture
def tax_records(path: Path) -> Path:
    path.write_bytes(TAX_RECORDS)
    path.chmod(0o644)
    return path


async def test_a_file_that_is_no_database_is_left_alone(
    tax_records: Path, clock: WallClock
) -> None:
    with pytest.raises(StoreUnavailable, match="not a database"):
        await Database(tax_records, utcnow=clock).__aenter__()

    assert os.name == "nt" or mode_of(tax_records) == 0o644
    assert await asyncio.to_thread(tax_records.read_bytes) == TAX_RECORDS


async def test_a_damaged_page_is_told_in_plain_words(path: Path, clock: WallClock) -> None:
    async with Database(path, utcnow=clock) as database:
        for number in range(100):
            row = (f"{number:03}", "x" * 500)
            await database.write(lambda c, row=row: c.execute(PUT, row).rowcount)
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'note'"
        page: int = await database.read(lambda c: c.execute(query).fetchone()[0])
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)

    async with Database(path, utcnow=clock) as database:
        with pytest.raises(StoreUnavailable, match="damaged"):
            await names(database)


async def test_a_database_another_program_keeps_locked_is_told_in_plain_words(
    database: Database, path: Path
) -> None:
    await setting(database, "busy_timeout = 5")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await database.write(lambda c: c.execute(PUT, ("a", "1")).rowcount)

    assert await database.write(lambda c: c.execute(PUT, ("a", "1")).rowcount) == 1


@pytest.mark.parametrize("kind", ["IMMEDIATE", "EXCLUSIVE"])
async def test_a_start_beside_a_lock_says_so_soon_and_so_does_the_check_up(
    path: Path, clock: WallClock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("bot.store.database._BOTH_SIDES", ("PRAGMA busy_timeout = 5",))
    monkeypatch.setattr("bot.store.files._LOCKED_S", 0.005)
    with closing(sqlite3.connect(new_database(path), isolation_level=None)) as other:
        other.execute(f"BEGIN {kind}")
        with pytest.raises(StoreUnavailable, match="another program keeps it locked"):
            await Database(path, utcnow=clock).__aenter__()
        with pytest.raises(StoreUnavailable, match="another program keeps it locked"):
            look_at(path)
        other.execute("ROLLBACK")
    assert look_at(path) == 0


async def test_whose_a_database_is_is_asked_before_it_is_tried_to_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.files._LOCKED_S", 0.005)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE tax (year INTEGER)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="belongs to another program"):
            look_at(path)


@pytest.mark.parametrize("has_failed", [False, True])
async def test_a_database_that_does_not_close_hides_nothing_that_went_wrong_before(
    path: Path, clock: WallClock, monkeypatch: pytest.MonkeyPatch, *, has_failed: bool
) -> None:
    monkeypatch.setattr("bot.store.database._CLOSE_WITHIN_S", 0.0)
    words = "The database lantern.db did not close in 0 s."
    database = await Database(new_database(path), utcnow=clock).__aenter__()
    failure = (KeyError, KeyError("ours"), None) if has_failed else (None, None, None)
    expected = nullcontext() if has_failed else pytest.raises(StoreUnavailable, match=words)
    with capture_logs() as logs, expected:
        assert not await database.__aexit__(*failure)
    told = [line["reason"] for line in logs if line["event"] == "database not closed"]
    assert told == [words] * has_failed
    for side in (database._reader, database._writer):  # pyright: ignore[reportPrivateUsage]  # left open
        await side.close()


async def test_a_backup_is_made_while_it_is_in_use(database: Database) -> None:
    await database.write(lambda c: c.execute(PUT, ("a", "1")).rowcount)

    copy = await database.back_up()

    assert backups_of(database.path) == (copy,)
    with closing(sqlite3.connect(copy)) as copied:
        assert copied.execute("SELECT name FROM note").fetchall() == [("a",)]


async def expect_interruption(
    database: Database, query: Callable[[sqlite3.Connection], None]
) -> None:
    with pytest.raises(StoreUnavailable, match="interrupted"):
        await database.read(query)


async def test_statistics_are_written_together_and_read_by_whoever_waits_for_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    write = database.write

    async def counted(change: Callable[[sqlite3.Connection], object]) -> object:
        batches.append(1)
        return await write(change)

    monkeypatch.setattr(database, "write", counted)

    def put(*named: str) -> None:
        for name in named:
            # Of no table, nothing can be stored.
            sql = PUT if name else "INSERT INTO nowhere VALUES (?, ?)"
            database.note(partial(_execute, sql=sql, name=name))

    put(*"abc")
    await database.noted()
    assert (await names(database), len(batches)) == (list("abc"), 1)
    with capture_logs() as logs:
        put("d", "", "e")
        await database.noted()
    assert (await names(database), len(batches)) == (list("abc"), 2)
    assert [line["count"] for line in logs if line["event"] == "notes lost"] == [3]
    put("f")
    await asyncio.sleep(0)
    # Nothing more was noted, and nothing is written for that.
    await database.noted()
    await database.noted()
    assert (await names(database), len(batches)) == ([*"abc", "f"], 3)


async def test_what_is_gathered_for_one_change_is_given_to_it_at_once(database: Database) -> None:
    given: list[list[str]] = []

    def put(connection: sqlite3.Connection, named: Sequence[str]) -> None:
        given.append(list(named))
        connection.executemany(PUT, [(name, "1") for name in named])

    for name in "ab":
        database.gather(put, name)
        database.note(partial(_execute, sql=PUT, name=name * 2))
    await database.noted()
    assert (given, await names(database)) == ([["a", "b"]], ["a", "aa", "b", "bb"])


async def test_statistics_that_cannot_be_written_down_end_nothing_else(database: Database) -> None:
    with capture_logs() as logs:
        # Half a character, as a host may call its model.
        database.note(partial(_execute, sql=PUT, name="\ud800"))
        await database.noted()
    assert [(line["event"], line["count"]) for line in logs] == [("notes lost", 1)]
    database.note(partial(_execute, sql=PUT, name="a"))
    await database.noted()
    assert await names(database) == ["a"]


async def test_statistics_that_no_writer_takes_are_told_once_as_lost(path: Path) -> None:
    database = Database(path, utcnow=WallClock())
    database.note(partial(_execute, sql=PUT, name="a"))
    with capture_logs() as logs:
        await database.noted()
        await database.noted()
    assert [(line["event"], line["count"]) for line in logs] == [("notes lost", 1)]


async def test_statistics_outlive_who_left_before_the_writer_had_a_place_for_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.database._NOTED_S", 3600.0)
    begun, write = asyncio.Event(), database.write

    async def waits(_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(database, "write", waits)
    database.note(partial(_execute, sql=PUT, name="a"))
    async with asyncio.TaskGroup() as tasks:
        leaver = tasks.create_task(database.noted())
        await begun.wait()
        leaver.cancel()
    monkeypatch.setattr(database, "write", write)
    await database.noted()
    assert await names(database) == ["a"]


async def test_statistics_are_written_soon_though_nobody_waits_and_at_the_latest_at_the_end(
    path: Path, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.database._NOTED_S", 0.0)
    async with Database(new_database(path), utcnow=clock) as opened:
        opened.note(partial(_execute, sql=PUT, name="a"))
        async with asyncio.timeout(60):
            while await names(opened) != ["a"]:  # noqa: ASYNC110  # nothing tells of a commit
                await asyncio.sleep(0)
        monkeypatch.setattr("bot.store.database._NOTED_S", 3600.0)
        opened.note(partial(_execute, sql=PUT, name="b"))
    async with Database(path, utcnow=clock) as opened:
        assert await names(opened) == ["a", "b"]


def _execute(connection: sqlite3.Connection, sql: str, name: str) -> None:
    connection.execute(sql, (name, "1"))
