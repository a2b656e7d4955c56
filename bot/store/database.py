"""The database: one writing connection, one reading connection, each a thread of its own."""

import asyncio
import sqlite3
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiosqlite
import structlog

from bot.domain.errors import BotError, ConfigError, StoreUnavailable
from bot.store.backups import back_up
from bot.store.faults import translated
from bot.store.files import close_to_others, make_file
from bot.store.migrate import checked_version, migrate, migrations
from bot.store.rows import Value

T = TypeVar("T")
Values = Sequence[Value] | Mapping[str, Value]
_Change = Callable[[sqlite3.Connection, Sequence[Any]], object]

_log = structlog.get_logger(__name__)

_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
# Whoever comes after so many waits outside: a disk that hangs must not gather in memory every text
# of every running answer.
_WAITING_WRITES = 256
_PATIENCE_MS = 30_000
_CLOSE_WITHIN_S = 20.0
_NOTED_S = 0.05
"""What nobody waits for is gathered so long before it is written: shorter than a call to Discord,
so that words which a call shows are stored by the time they are read."""
_NOTED_WITHIN_S = 2.0
"""Longer nobody waits for them: the disk may be busy, and the write goes on."""
_MOST_NOTES = 10_000
"""On a disk that hangs; the oldest are let go."""
_BOTH_SIDES = (
    # At the start: a backup or a command beside the bot holds the lock for a moment at most.
    "PRAGMA busy_timeout = 5000",
    # Off by default in SQLite: without it a deleted turn would leave its attachments behind.
    "PRAGMA foreign_keys = ON",
    # What is freed is overwritten. Not every build of SQLite does so by itself, and an answer that
    # moved as it grew left its words in pages that no later deletion came to.
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    # With a write-ahead log a kill loses nothing that was committed, and a power cut damages
    # nothing; FULL would wait for the disk at every checkpoint of every answer.
    "PRAGMA synchronous = NORMAL",
    # The log keeps the size of the largest burst for ever otherwise.
    "PRAGMA journal_size_limit = 67108864",
)


class _Connection(aiosqlite.Connection):
    """A connection that runs a whole function on its thread: one hop instead of one a statement.

    A function that was begun is also finished when its asker is cancelled, so that no
    transaction is ever left open.
    """

    async def opened(self) -> None:
        """Opens it; where that fails, its thread has ended when this raises."""
        try:
            await self
        except BaseException:
            # The library stops it without a wait: the thread then told a loop that was gone.
            await asyncio.to_thread(self._thread.join, _CLOSE_WITHIN_S)
            raise

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """What ``function`` returns or raises on the connection's thread."""
        # The door for subclasses: the public methods take one statement a hop.
        run = self._execute  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # untyped there
        result: T = await run(function, self._conn)
        return result


class Database:
    """The open database; an async context manager.

    Entering migrates it (after a backup), leaving waits for the writes under way.
    """

    def __init__(self, path: Path, *, utcnow: Callable[[], datetime]) -> None:
        self.path = path.absolute()
        self._utcnow = utcnow
        self.erasures = 0
        """How often anything was erased: whoever has read before may hold what is no more."""
        self._writer = _Connection(self._connect_writer, iter_chunk_size=64)
        self._reader = _Connection(self._connect_reader, iter_chunk_size=64)
        self._write_places = asyncio.Semaphore(_WAITING_WRITES)
        self._is_open = False
        self._troubles = dict[_Connection, str]()
        """What the log has of each side's last call; nothing where that went well."""
        self._notes: deque[tuple[_Change, Any]] = deque(maxlen=_MOST_NOTES)
        """Asked for and not begun."""
        self._has_notes = asyncio.Event()
        self._writing = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None
        self._keeping: asyncio.Task[None] | None = None

    def now_ms(self) -> int:
        """UTC milliseconds, as every table keeps them."""
        return round(self._utcnow().timestamp() * 1000)

    async def __aenter__(self) -> Self:
        """Opens and migrates.

        Raises:
            ConfigError: only the owner can cure it: the folder cannot be written, the file is
                another program's or a newer Lantern's, SQLite is too old.
            StoreUnusable: the database is damaged, or may not be opened.
            StoreUnavailable: it is locked, or its disk is full.
        """
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigError([f"SQLite {sqlite3.sqlite_version} is too old; 3.37 is needed."])
        with translated(str(self.path)):
            await self._writer.opened()
            try:
                await self._writer.run(self._prepare)
                await self._reader.opened()
            except BaseException:
                await self._reader.close()
                await self._writer.close()
                raise
        self._is_open = True
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._keeping = self._tasks.create_task(self._keep_noting(), name="notes")
        return self

    def _connect_writer(self) -> sqlite3.Connection:
        make_file(self.path)
        return self._connect()

    def _connect_reader(self) -> sqlite3.Connection:
        return self._connect("PRAGMA query_only = ON")

    def _connect(self, *more: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            for pragma in (*_BOTH_SIDES, *more):
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        steps = migrations()
        # Looked at before anything is written: WAL once changed another program's file for good.
        version = checked_version(connection, len(steps), str(self.path))
        close_to_others(self.path)
        connection.execute("PRAGMA journal_mode = WAL")
        # Beside a lock a start waited for over a minute in silence, and then said something else.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        # A new database (version 0) has nothing that a backup could bring back.
        if 0 < version < len(steps):
            back_up(self.path, label=f"schema{version}", now=self._utcnow())
        migrate(connection, steps, version)
        # From here on people wait: better late than refused for another program's long write.
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._tasks is not None, "it was entered"
        assert self._keeping is not None, "it was entered"
        self._keeping.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self.noted()
        self._is_open = False
        try:
            # Nothing is lost by a reader that is interrupted; writes under way are waited for.
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                with translated(str(self.path)):
                    await self._reader.interrupt()
                    await self._reader.close()
                    await self._writer.run(_tidy)
                    await self._writer.close()
        except TimeoutError:
            words = f"The database {self.path.name} did not close in {_CLOSE_WITHIN_S:.0f} s."
            # What ended the block is why, most likely, and is what people are to read.
            if error is None:
                raise StoreUnavailable(words) from None
            _log.warning("database not closed", reason=words)

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """What ``change`` returns, once its transaction is committed; all of it or nothing.

        ``change`` runs on the writer's thread, after the writes asked for before it. When the
        asker is cancelled it still runs whole.

        Raises:
            StoreUnavailable: nothing of it was stored.
        """
        async with self._write_places:
            return await self._run(self._writer, partial(_transact, "BEGIN IMMEDIATE", change))

    async def erase(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """As ``write``; what was deleted stands in no file of the database any more.

        Raises:
            StoreUnavailable: nothing of it was stored.
        """

        def erased(connection: sqlite3.Connection) -> T:
            gone = _transact("BEGIN IMMEDIATE", change, connection)
            self.erasures += 1
            # Until the log is emptied the words still stand in its file.
            _tidy(connection)
            return gone

        async with self._write_places:
            return await self._run(self._writer, erased)

    def note(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Has something stored soon, as ``gather`` does, that is stored by itself."""
        self.gather(_each, change)

    def gather(self, change: Callable[[sqlite3.Connection, Sequence[T]], object], one: T) -> None:
        """Has something stored soon, with others in one commit; nobody waits for it.

        What is to be stored by the same ``change`` is given to it at once.

        Two commits for each answer, on a thread that has to be woken for each, were a tenth of all
        that a busy gateway did, and on a slow disk each answer waited for its own. Where one of
        those written together fails none is stored, and the log says so. A kill loses the newest.
        """
        self._notes.append((change, one))
        self._has_notes.set()

    async def noted(self) -> None:
        """Returns when what was noted so far is stored; not later than a disk is waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTED_WITHIN_S):
                await self._write_notes()

    async def _keep_noting(self) -> None:
        while await self._has_notes.wait():
            await asyncio.sleep(_NOTED_S)
            await self._write_notes()

    async def _write_notes(self) -> None:
        taken = list[tuple[_Change, Any]]()

        def change(connection: sqlite3.Connection) -> None:
            # Taken only here: whoever asked may have left before the writer came to it.
            taken.extend(self._notes.popleft() for _ in range(len(self._notes)))
            by_change = defaultdict[_Change, list[Any]](list)
            for how, one in taken:
                by_change[how].append(one)
            for how, all_of_it in by_change.items():
                how(connection, all_of_it)

        # One after the other: whoever reads waits for those under way as well.
        async with self._writing:
            self._has_notes.clear()
            if not self._notes:
                return
            try:
                await self.write(change)
            # Of any kind: half a character in a model's name would end all of Lantern from here.
            except Exception as error:
                if not taken:
                    taken.extend(self._notes)
                    self._notes.clear()
                reason = error.user_message if isinstance(error, BotError) else repr(error)
                _log.warning("notes lost", count=len(taken), reason=reason)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What ``query`` returns, seeing one state of the database throughout.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        return await self._run(self._reader, partial(_transact, "BEGIN", query))

    async def execute(self, statement: str, values: Values = ()) -> int:
        """Run one statement as a write of its own; the number of rows it changed.

        Raises:
            StoreUnavailable: nothing of it was stored.
        """
        return await self.write(lambda c: c.execute(statement, values).rowcount)

    async def fetch(self, query: str, values: Values = ()) -> list[sqlite3.Row]:
        """Every row of one query.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        return await self.read(lambda c: c.execute(query, values).fetchall())

    async def _run(self, side: _Connection, function: Callable[[sqlite3.Connection], T]) -> T:
        if not self._is_open:
            raise StoreUnavailable("The database is closed: Lantern is stopping.")
        try:
            with translated(self.path.name):
                result = await side.run(function)
        except StoreUnavailable as failed:
            # People in a channel read it without its folder; of several databases its owner has to
            # know which, once for each trouble.
            if failed.user_message != self._troubles.get(side):
                self._troubles[side] = failed.user_message
                _log.warning("database failed", file=str(self.path), reason=failed.user_message)
            raise
        # By side: on a full disk each read that went well had the next write's failure told anew.
        self._troubles.pop(side, None)
        return result

    async def back_up(self) -> Path:
        """A checked copy beside the database, made while it is in use; the last few are kept.

        Raises:
            StoreUnavailable: the copy could not be made.
        """
        return await asyncio.to_thread(back_up, self.path, label="daily", now=self._utcnow())


def _transact(
    begin: str, function: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection
) -> T:
    with connection:  # commits; rolls back when the function or the commit itself fails
        # IMMEDIATE for writes: a read upgraded to a write fails at once, whatever busy_timeout.
        connection.execute(begin)
        return function(connection)


def _each(
    connection: sqlite3.Connection, changes: Sequence[Callable[[sqlite3.Connection], object]]
) -> None:
    for change in changes:
        change(connection)


def _tidy(connection: sqlite3.Connection) -> None:
    # Nothing is lost when a full or busy disk refuses: the log is read again at the next start.
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA optimize")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
