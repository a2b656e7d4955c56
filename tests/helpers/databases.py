"""A database of the newest schema without the statements that make one."""

import sqlite3
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.store.migrate import migrate, migrations


def new_database(path: Path) -> Path:
    """Puts an empty database of the newest schema at ``path``, unless something is there.

    Hundreds of tests want one, and making it took more than most of them do with it.
    """
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(_empty())
    return path


@cache
def _empty() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, migrations(), 0)
        connection.close()
        return path.read_bytes()
