"""One Lantern per database: a lock the operating system lets go of when its holder dies.

A PM2 daemon killed with -9 leaves its bot running, and the next ``pm2 start`` puts a second one
beside it: one token, one database, two bots.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bot.domain.errors import BotError, ConfigError


class AlreadyRunning(BotError):
    """Another Lantern holds the lock; starting a second one would answer everything twice."""


@contextmanager
def instance_lock(database_path: Path) -> Generator[Path]:
    """Holds the lock beside the database while the block runs; gives the lock file's path.

    The file itself stays behind, unlocked: removing it would let two programs lock two files of
    one name.

    Raises:
        AlreadyRunning: another process, or another block of this one, holds it.
        ConfigError: the lock file cannot be made there.
    """
    database_path = database_path.resolve()
    lock_file = database_path.with_name(f"{database_path.name}.lock")
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
