"""SQLite's errors in words for people; no other error of SQLite leaves this room."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from bot.domain.errors import StoreUnavailable, StoreUnusable

# Not in half a line here: whoever moves the file without its -wal spoils the backup with it.
_BACKUP = "Stop Lantern and put the newest backup in its place, as docs/running.md says."
DAMAGED = f"the file is damaged. {_BACKUP}"
"""What is said of one, whoever found it out."""
MAKE_ROOM = "Make room; until then nothing more is stored."
FULL = f"its disk is full. {MAKE_ROOM}"
_LOCKED = "another program keeps it locked. Close that program and try again."
_WORDS = {
    sqlite3.SQLITE_FULL: FULL,
    # No room for the index of the write-ahead log, which every opening makes anew: a restart on a
    # full disk sent its owner to look at cables.
    sqlite3.SQLITE_IOERR_SHMSIZE: FULL,
    sqlite3.SQLITE_IOERR: "its disk answered with an error. Look at the disk and its cables.",
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: "it may not be written. Let Lantern write the file and its folder.",
    sqlite3.SQLITE_PERM: "it may not be read. Let Lantern read the file and its folder.",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Check that its folder exists and is writable.",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: f"the file is not a database. {_BACKUP}",
    sqlite3.SQLITE_INTERRUPT: "the question was interrupted. Try again.",
}

_FOR_ITS_OWNER = (
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
)
"""Nothing but a person's act ends these."""


@contextmanager
def translated(where: str) -> Generator[None]:
    """Turns every error of SQLite inside the block into ours.

    Raises:
        StoreUnavailable: SQLite raised an error; says what happened to the database called
            ``where`` and what its owner can do.
        StoreUnusable: the same, where nothing else ends it.
    """
    try:
        yield
    except sqlite3.Error as error:
        code: int | None = getattr(error, "sqlite_errorcode", None)
        # The low byte is the kind, the rest says where inside SQLite it happened.
        kind = None if code is None else code & 0xFF
        words = None if kind is None else _WORDS.get(code or kind, _WORDS.get(kind))
        said = f"The database {where} cannot be used: {words or f'{error}.'}"
        failure = StoreUnusable if kind in _FOR_ITS_OWNER else StoreUnavailable
        raise failure(said) from error
