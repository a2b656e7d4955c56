"""One Lantern per database: a lock the operating system lets go of when its holder dies.

A PM2 daemon killed with -9 leaves its bot running, and the next ``pm2 start`` puts a second one
beside it: one token, one database, two bots.
"""

import os
import re
import shlex
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from bot.domain.errors import BotError, DatabaseFault
from bot.domain.hosts import LoadHolder

_log = structlog.get_logger(__name__)


GUEST, LOADER = "guest", "loader"
SIGN_EVERY_S = 1.0
"""Between two signs of life of a process that loads."""


class AlreadyRunning(BotError):
    """Another Lantern holds the lock; starting a second one would answer everything twice.

    Args:
        user_message: What is told.
        guest: The process that holds it for a while, a chat or a command; None for a service.
    """

    def __init__(self, user_message: str, guest: int | None = None) -> None:
        super().__init__(user_message)
        self.guest = guest


def lock_beside(database_path: Path) -> Path:
    """The file whose lock says that a Lantern runs on that database."""
    return database_path.with_name(f"{database_path.name}.lock")


def files_of(database_path: Path) -> list[Path]:
    """The database's own files; which of them are there is another question."""
    return [database_path.with_name(f"{database_path.name}{end}") for end in ("", "-wal", "-shm")]


def check_place(database_path: Path) -> None:
    """Passes where a database stands that is ours, or one can be made. Blocking.

    Asked before SQLite and the lock are, which cannot tell: of a folder in the file's place one
    said that the disk had failed, of a folder that may not be written each said something else.

    Raises:
        DatabaseFault: it cannot be used there; says why, and what its owner can do.
    """
    if os.path.isdir(database_path):
        words = "is a folder, which Docker makes of a file that is not there"
        raise DatabaseFault(
            [f"The database {database_path} {words}. Move it away or check storage.url."]
        )
    for file in (*files_of(database_path), lock_beside(database_path)):
        if _is_denied(file):
            raise _not_ours(file, database_path)
    check_entry(database_path)
    folder = _nearest_folder(database_path)
    said = f"The database {database_path} cannot be "
    if not os.path.isdir(folder):
        raise DatabaseFault([f"{said}made: {folder} is no folder. Check storage.url."])
    home = database_path.absolute().parent
    # A mistyped address was made, folder by folder, and an empty Lantern began there.
    if folder not in (home, home.parent):
        words = f"there is no folder {home.parent}. Make it, or check storage.url."
        raise DatabaseFault([f"{said}made: {words}"])
    if not os.access(folder, os.W_OK | os.X_OK):
        said += "used" if os.path.exists(database_path) else "made"
        words = f"{said}: its folder {folder} may not be written."
        raise DatabaseFault([f"{words} Let Lantern write it, or check storage.url."])


def check_entry(database_path: Path) -> None:
    """Passes where it can be seen whether there is a database. Blocking.

    Raises:
        DatabaseFault: a folder above it may not be entered: what is in it looks as if it were not.
    """
    folder = _nearest_folder(database_path)
    if os.path.exists(database_path) or not os.path.isdir(folder) or os.access(folder, os.X_OK):
        return
    owner = _owner_of(folder)
    raise DatabaseFault(
        [
            f"The database {database_path} cannot be looked at: permission denied. {folder} may "
            f"not be entered and belongs to {owner}. Run this as {owner} (sudo -u {owner} …), or "
            "check storage.url."
        ]
    )


def _nearest_folder(database_path: Path) -> Path:
    """The nearest that is there: a start makes one below it."""
    # Path.exists would raise where a folder may not be looked into.
    return next(place for place in database_path.absolute().parents if os.path.exists(place))


def _owner_of(file: Path) -> str:
    try:
        return file.owner()
    # A user without a name, or Windows.
    except (KeyError, NotImplementedError):
        return f"user {file.stat().st_uid}"


def _not_ours(file: Path, database_path: Path) -> DatabaseFault:
    """One of a database's files is: says whose, and the command that mends it and the others."""
    owner, lock = _owner_of(file), lock_beside(database_path)
    what = {database_path: "database", lock: "lock"}.get(file, "database's")
    told = f"The {what} {file} may not be read and written: it belongs to {owner}"
    if os.name != "posix":
        return DatabaseFault([f"{told}. Let Lantern read and write it, or check storage.url."])
    # One run with sudo leaves several, and whoever mended one met the next. Named one by one: a
    # shell finds none by `*` in a folder that it may not enter. The numbers are ours, not the
    # reader's: an administrator reads what a service says, whose user has a name only as it runs.
    found = [each for each in (*files_of(database_path), lock) if _is_denied(each)]
    files = shlex.join(map(str, found))
    # Not in the command: a folder may hold more than Lantern's, and be meant to be somebody's.
    folder = database_path.absolute().parent
    is_shut = not os.access(folder, os.W_OK)
    return DatabaseFault(
        [
            f"{told}, as after one run with sudo. Run Lantern as {owner}, or give it to the user "
            f"it runs as: sudo chown {os.geteuid()}:{os.getegid()} {files} && "
            f"sudo chmod 600 {files}",
            *([f"Let it write their folder {folder} as well."] if is_shut else []),
        ]
    )


def _is_denied(file: Path) -> bool:
    return os.path.exists(file) and not os.access(file, os.R_OK | os.W_OK)


def _make_lock(lock_file: Path, database_path: Path) -> None:
    """Makes root's new lock the database owner's, as SQLite does with its own files."""
    # A look at the database of a service that stood still left it root's lock: no start after it.
    if os.name != "posix" or os.geteuid() != 0 or not database_path.exists():
        return
    with suppress(FileExistsError):
        made = os.open(lock_file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            owner = database_path.stat()
            os.fchown(made, owner.st_uid, owner.st_gid)
        finally:
            os.close(made)


def is_locked(database_path: Path) -> bool:
    """Does a Lantern run on that database? Leaves no file behind where none ever did."""
    if not lock_beside(database_path.resolve()).exists():
        return False
    try:
        with instance_lock(database_path, is_guest=True):
            return False
    except (AlreadyRunning, DatabaseFault) as error:
        return isinstance(error, AlreadyRunning)


@contextmanager
def instance_lock(database_path: Path, *, is_guest: bool = False) -> Generator[Path]:
    """Holds the lock beside the database while the block runs; gives the lock file's path.

    The file itself stays behind, unlocked: removing it would let two programs lock two files of
    one name.

    Args:
        database_path: Of which database.
        is_guest: A chat or a command holds it, whose end a service waits for.

    Raises:
        AlreadyRunning: another process, or another block of this one, holds it.
        DatabaseFault: no lock can be made there, or no database used.
    """
    database_path = database_path.resolve()
    check_place(database_path)
    lock_file = lock_beside(database_path)
    # No soft lock where the file system knows none: a killed Lantern would leave that one behind.
    lock = FileLock(lock_file, mode=0o600, blocking=False, fallback_to_soft=False)
    try:
        _make_lock(lock_file, database_path)
        lock.acquire()
    except Timeout as held:
        # Some file systems (/proc) refuse a new file as if somebody held it.
        if not lock_file.exists():
            raise DatabaseFault(
                [f"The lock {lock_file} cannot be made. Check storage.url."]
            ) from held
        raise AlreadyRunning(
            f"Another Lantern is running on this database: it holds {lock_file}. "
            "Stop that one first, or give this one a database of its own (storage.url).",
            _guest_in(lock_file),
        ) from held
    except OSError as error:
        raise DatabaseFault(
            [f"The lock {lock_file} cannot be made: {error.strerror}. Check storage.url."]
        ) from error
    try:
        # Windows lets nobody write what is locked: there a service takes every holder for one.
        with suppress(OSError):
            lock_file.write_text(f"{GUEST} {os.getpid()}" if is_guest else "", encoding="utf-8")
        yield lock_file
    finally:
        lock.release()


def _guest_in(lock_file: Path) -> int | None:
    """Which guest holds the lock; None for a service, or an older Lantern, which left no word."""
    return _word_in(lock_file, GUEST)


def _word_in(lock_file: Path, wanted: str) -> int | None:
    """The number behind a word that was left in a lock; None where another was left, or none."""
    try:
        what, _, number = lock_file.read_text(encoding="utf-8").partition(" ")
    except (OSError, UnicodeDecodeError):
        return None
    return int(number) if what == wanted and number.isdecimal() else None


@contextmanager
def sole_load(database_path: Path, address: str) -> Generator[LoadHolder | None]:
    """Holds the one load at a host while the block runs; gives who holds it where another does.

    Among all processes on a database: each knows of the others' loads no more than what is in
    memory when they are done. It stands by the address, since each may name the host otherwise.
    Where no lock can be made it gives None: a load is not refused for that.
    """
    database_path = database_path.resolve()
    where = re.sub(r"[^\w.-]", "_", address)
    lock_file = database_path.with_name(f"{database_path.name}.load-{where}.lock")
    lock = FileLock(lock_file, mode=0o600, blocking=False, fallback_to_soft=False)
    holder, is_over = None, threading.Event()
    try:
        _make_lock(lock_file, database_path)
        lock.acquire()
        # Where nothing can be left there no sign is promised either.
        with suppress(OSError):
            lock_file.write_text(f"{LOADER} {os.getpid()}", encoding="utf-8")
            threading.Thread(target=_give_signs, args=(lock_file, is_over), daemon=True).start()
    except Timeout:
        holder = _holder_of(lock_file)
    except (OSError, NotImplementedError) as error:
        _log.warning("loads beside others", host=address, reason=str(error))
    try:
        yield holder
    finally:
        is_over.set()
        lock.release()


def _give_signs(lock_file: Path, is_over: threading.Event) -> None:
    """Sets the file's time anew every second.

    The system keeps the lock of a process that was stopped (Ctrl-Z), and nothing else tells of it.
    """
    with suppress(OSError):
        while not is_over.wait(SIGN_EVERY_S):
            os.utime(lock_file)


def _holder_of(lock_file: Path) -> LoadHolder:
    pid, sign = _word_in(lock_file, LOADER), None
    if pid is not None:
        with suppress(OSError):
            sign = lock_file.stat().st_mtime_ns
    return LoadHolder(pid, sign)
