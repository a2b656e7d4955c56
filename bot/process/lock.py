"""One Lantern per database: a lock the operating system lets go of when its holder dies.

A PM2 daemon killed with -9 leaves its bot running, and the next ``pm2 start`` puts a second one
beside it: one token, one database, two bots.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bot.domain.errors import BotError, ConfigError


class AlreadyRunning(BotError):
    """Another Lantern holds the lock; starting a second one would answer everything twice."""


def lock_beside(database_path: Path) -> Path:
    """The file whose lock says that a Lantern runs on that database."""
    return database_path.with_name(f"{database_path.name}.lock")


def check_is_ours(file: Path, database_path: Path) -> None:
    """Passes where one of a database's files is not there, or may be read and written.

    Raises:
        ConfigError: it may not; it says whose it is, and the command that mends it and the others.
    """
    if not os.path.exists(file) or os.access(file, os.R_OK | os.W_OK):
        return
    try:
        owner = file.owner()
    # A user without a name, or Windows.
    except (KeyError, NotImplementedError):
        owner = f"user {file.stat().st_uid}"
    what = "lock" if file == lock_beside(database_path) else "database's"
    # One run with sudo leaves several, and whoever mended one met the next.
    raise ConfigError(
        [
            f"The {what} {file} may not be read and written: it belongs to {owner}, as after one "
            f"run with sudo. Run Lantern as {owner}, or make all of the database's files yours: "
            f"sudo chown $(id -un) {database_path}*; chmod 600 {database_path}*"
        ]
    )


def is_locked(database_path: Path) -> bool:
    """Does a Lantern run on that database? Leaves no file behind where none ever did."""
    if not lock_beside(database_path.resolve()).exists():
        return False
    try:
        with instance_lock(database_path):
            return False
    except (AlreadyRunning, ConfigError) as error:
        return isinstance(error, AlreadyRunning)


@contextmanager
def instance_lock(database_path: Path) -> Generator[Path]:
    """Holds the lock beside the database while the block runs; gives the lock file's path.

    The file itself stays behind, unlocked: removing it would let two programs lock two files of
    one name.

    Raises:
        AlreadyRunning: another process, or another block of this one, holds it.
        ConfigError: the lock file cannot be made there, or is somebody else's.
    """
    database_path = database_path.resolve()
    lock_file = lock_beside(database_path)
    check_is_ours(lock_file, database_path)
    # No soft lock where the file system knows none: a killed Lantern would leave that one behind.
    lock = FileLock(lock_file, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as held:
        # Some file systems (/proc) refuse a new file as if somebody held it.
        if not lock_file.exists():
            raise ConfigError(
                [f"The lock {lock_file} cannot be made. Check storage.url."]
            ) from held
        raise AlreadyRunning(
            f"Another Lantern is running on this database: it holds {lock_file}. "
            "Stop that one first, or give this one a database of its own (storage.url)."
        ) from held
    except OSError as error:
        raise ConfigError(
            [f"The lock {lock_file} cannot be made: {error.strerror}. Check storage.url."]
        ) from error
    try:
        yield lock_file
    finally:
        lock.release()
