"""Copies of the database beside it: whole, checked, and the last few kept."""

import os
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from bot.domain.errors import StoreUnavailable
from bot.store.faults import translated

KEPT = 7
KEPT_FOR = timedelta(days=7)


def back_up(database: Path, *, label: str, now: datetime) -> Path:
    """Copy the database while it is in use; returns the copy's path. Blocking.

    A copy appears under its name only when it was read back whole and is on the disk.

    Raises:
        StoreUnavailable: the copy could not be made; the database itself is unharmed.
    """
    stamp = now.strftime("%Y%m%dT%H%M%S.%f")[:-3]
    copy = database.with_name(f"{database.name}.{stamp}Z.{label}.backup")
    partial = copy.with_suffix(".partial")
    try:
        # Made before SQLite opens it, which would let everybody read what was said.
        partial.touch(mode=0o600)
        with translated(f"{copy} (a backup)"):
            # A plain copy of the file would miss what is still in the write-ahead log.
            with closing(sqlite3.connect(database, isolation_level=None)) as source:
                source.execute("VACUUM INTO ?", (str(partial),))
            with closing(sqlite3.connect(partial)) as copied:
                verdict = copied.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise StoreUnavailable(f"The backup {partial} did not read back whole: {verdict}")
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(copy)
        # Unfinished ones too: a kill in the middle of a copy left them, each as large as all.
        kept, oldest = backups_of(database), f"{now - KEPT_FOR:%Y%m%dT%H%M%S}"
        # By age, too: what somebody had forgotten must not stand in a copy for ever, because
        # Lantern ran on few days.
        stale = [file for file in kept if file.name.split(".")[-4:-3] < [oldest]]
        for old in {*kept[:-KEPT], *stale, *backups_of(database, ".partial")}:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"The backup {copy} could not be written: {error}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return copy


def backups_of(database: Path, ending: str = ".backup") -> tuple[Path, ...]:
    """The backups beside a database, oldest first; by ``.partial``, those never finished."""
    start = f"{database.name}."
    names = (p for p in database.parent.iterdir() if p.name.startswith(start))
    return tuple(sorted(p for p in names if p.name.endswith(ending)))
