"""Brings a database to the newest schema, one numbered file and one transaction at a time."""

import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib import resources

from bot.domain.errors import Bug, DatabaseFault

APPLICATION_ID = 0x4C4E5452
"""``LNTR``, written by the first migration."""


@cache
def migrations() -> tuple[str, ...]:
    """The SQL of every migration, oldest first; the n-th leads to version n.

    Raises:
        Bug: a number is missing or used twice.
    """
    folder = resources.files("bot.store") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    numbers = [int(f.name.split("_", 1)[0]) for f in files]
    if numbers != list(range(1, len(files) + 1)):
        raise Bug(f"Migrations are not numbered one by one: {numbers}.")
    return tuple(f.read_text(encoding="utf-8") for f in files)


def migrate(connection: sqlite3.Connection, steps: tuple[str, ...], version: int) -> None:
    """Applies the steps that a database of a version does not have yet.

    Raises:
        sqlite3.Error: a step failed; the database stays at the version before it.
    """
    for number, step in enumerate(steps[version:], start=version + 1):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            # A second program (a command line beside the bot) may have been quicker.
            if connection.execute("PRAGMA user_version").fetchone()[0] >= number:
                continue
            for statement in statements(step):
                connection.execute(statement)
            # In the same transaction: a kill leaves the database at one version or the other.
            connection.execute(f"PRAGMA user_version = {number:d}")


def checked_version(connection: sqlite3.Connection, known: int, where: str) -> int:
    """The schema version of a database that this Lantern may use; 0 of a new one.

    Raises:
        DatabaseFault: the database is newer than this Lantern, or another program's.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    # Version 0 is a new file, or another program's that has tables of its own already. Asked
    # first: another program counts its versions too, and is no newer Lantern.
    if version:
        is_ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    else:
        is_ours = not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not is_ours:
        raise DatabaseFault(
            [
                f"The database {where} belongs to another program. "
                "Give Lantern a file of its own (storage.url)."
            ]
        )
    if version > known:
        raise DatabaseFault(
            [
                f"The database {where} has schema {version}, but this Lantern knows only up to "
                f"{known}: it was used by a newer Lantern. Install that one again, or go "
                f"back to the backup made before schema {known + 1}, as docs/running.md says."
            ]
        )
    return version


def statements(script: str) -> Iterator[str]:
    """The single statements of a script."""
    # Not executescript(): it commits before it begins, and a step that fails must undo whole.
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending
