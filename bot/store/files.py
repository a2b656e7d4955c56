"""The database's files on the disk: whose they are, who else may read them, whether all is well."""

import errno
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import structlog

from bot.domain.errors import DatabaseFault, StoreUnavailable, StoreUnusable
from bot.process.lock import check_place, files_of
from bot.store.faults import DAMAGED, FULL, MAKE_ROOM, translated
from bot.store.migrate import checked_version, migrations

_ROOM = 1 << 20
"""A disk that does not take so many bytes more is full."""
_LOCKED_S = 5.0
"""Whoever keeps a database locked for longer is told of: a backup does for a moment at most."""

_log = structlog.get_logger(__name__)


def look_at(path: Path) -> int:
    """Reads a database through; where there is none, looks whether one can be.

    Blocking; a gigabyte takes seconds. What is stored in it stays as it is. Whether it may be
    written is tried by a transaction of nothing. Where nobody else has it open, SQLite then moves
    what a crash left in the write-ahead log into the file and empties the log, as a start would.

    Returns:
        How many migrations the next start will make; 0 where there is no database yet.

    Raises:
        DatabaseFault: it is not ours to use there, or newer or another program's.
        StoreUnusable: it is damaged, or may not be opened.
        StoreUnavailable: it cannot be read now.
    """
    path = path.absolute()
    check_place(path)
    folder = next(place for place in path.parents if os.path.exists(place))
    try:
        # A full disk was found to be in order, while nothing more could be stored.
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM))
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        words = FULL if is_full else f"{folder} takes no more ({error.strerror}). {MAKE_ROOM}"
        raise StoreUnavailable(f"The database {path} cannot be used: {words}") from error
    if not os.path.exists(path):
        return 0
    with _read_only(path) as connection:
        # Before anything is tried: what is another program's is never opened to be written.
        missing = _missing(connection, path)
        verdict: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise StoreUnusable(f"The database {path} cannot be used: {DAMAGED}")
    # One that another program keeps locked was found to be in order, until something was stored.
    with (
        translated(str(path)),
        closing(sqlite3.connect(path, isolation_level=None, timeout=_LOCKED_S)) as connection,
    ):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    return missing


def missing_migrations(path: Path) -> int:
    """How many migrations the next start will make; 0 where there is no database yet. Blocking.

    Raises:
        DatabaseFault: it is not ours to use there, or newer or another program's.
        StoreUnavailable: it cannot be read now.
    """
    check_place(path)
    if not path.exists():
        return 0
    with _read_only(path) as connection:
        return _missing(connection, path)


@contextmanager
def copied(path: Path) -> Generator[Path]:
    """A copy of a database in a folder of its own, gone with the block. Blocking.

    Raises:
        StoreUnavailable: it cannot be read, or copied, now.
    """
    with TemporaryDirectory(prefix="lantern-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder, path.name)
        with _read_only(path) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
        yield copy


def make_file(path: Path) -> None:
    """Makes an empty database's file, and its folder, where there is none. Blocking.

    Raises:
        DatabaseFault: it cannot be made, or is not ours to use.
    """
    check_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # What people said is nobody else's business on a shared machine.
            path.touch(mode=0o600)
    except OSError as error:
        raise DatabaseFault(
            [f"The database {path} cannot be made: {error.strerror}. Check storage.url."]
        ) from error


def open_to_others(path: Path) -> list[Path]:
    """Which of a database's files other users of this machine may read or write. Blocking."""
    found = list[Path]()
    for file in files_of(path) if os.name == "posix" else ():
        # Not there, gone meanwhile, or in a folder that may not be looked into.
        with suppress(OSError):
            if file.stat().st_mode & 0o077:
                found.append(file)
    return found


def close_to_others(path: Path) -> None:
    """Takes a database's files from other users of this machine, and logs it. Blocking."""
    # A backup made and put back by hand has the permissions of whoever did it, and SQLite gives
    # its log the same.
    for file in open_to_others(path):
        # Gone meanwhile, or of a file system without permissions: no reason not to start.
        with suppress(OSError):
            if file.stat().st_uid == os.geteuid():
                file.chmod(0o600)
                _log.warning("database closed to other users", file=str(file), mode="0600")


def _missing(connection: sqlite3.Connection, path: Path) -> int:
    newest = len(migrations())
    version = checked_version(connection, newest, str(path))
    return newest - version if version else 0


@contextmanager
def _read_only(path: Path) -> Generator[sqlite3.Connection]:
    place = f"{path.absolute().as_uri()}?mode=ro"
    with translated(str(path)), closing(sqlite3.connect(place, uri=True)) as connection:
        yield connection
