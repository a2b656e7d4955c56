"""Every step of a write may fail; nothing is stored by half and the database works afterwards."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from databases import new_database
from store_values import SAGE, new_turn

from bot.domain.chat import Attachment, Receipt, Turn
from bot.domain.errors import StoreUnavailable
from bot.domain.ids import TurnId
from bot.store.database import Database
from bot.store.faults import translated
from bot.store.files import look_at
from bot.store.turns import TurnStore

try:
    import resource
except ImportError:  # Windows
    resource = None

NOTES = (Attachment("a.txt", "text/plain", text="a" * 9000), Attachment("b.txt", "text/plain"))

REPLY = "blue " * 3000


@dataclass(slots=True)
class FailAt:
    """Interrupts SQLite once, at its n-th instruction from now."""

    countdown: int = 0

    def __call__(self) -> int:
        self.countdown -= 1
        return self.countdown == 0


async def arm(database: Database) -> FailAt:
    fault = FailAt()
    await database.write(lambda c: c.set_progress_handler(fault, 1))
    return fault


async def check_whole(database: Database) -> None:
    verdict: str = await database.read(lambda c: c.execute("PRAGMA integrity_check").fetchone()[0])
    assert verdict == "ok"


@pytest.mark.slow
async def test_a_turn_is_begun_whole_or_not_at_all_whichever_step_fails(
    database: Database,
) -> None:
    turns, fault = TurnStore(database), await arm(database)
    undone = 0
    for step in range(1, 400, 3):
        turn = new_turn(f"turn {step}", attachments=NOTES)
        fault.countdown = step
        try:
            await turns.begin(turn)
        except StoreUnavailable:
            fault.countdown = 0
            # An interrupted COMMIT may have been done already.
            stored = await turns.get(turn.id)
            assert stored in (None, turn)
            if stored is None:
                undone += 1
                await turns.begin(turn)
        assert await turns.get(turn.id) == turn
    assert undone > 20
    await check_whole(database)


@pytest.mark.slow
async def test_a_turn_ends_whole_or_not_at_all_whichever_step_fails(database: Database) -> None:
    turns, fault = TurnStore(database), await arm(database)
    undone = 0
    for step in range(1, 100):
        turn = new_turn(f"turn {step}")
        await turns.begin(turn)
        fault.countdown = step
        try:
            await finish(turns, turn.id)
        except StoreUnavailable:
            fault.countdown = 0
            undone += await turns.get(turn.id) == turn
            await finish(turns, turn.id)
        ended = await turns.get(turn.id)
        assert ended is not None
        assert (ended.status, ended.reply_text) == ("done", REPLY)
        fault.countdown = 0
    assert undone > 10
    await check_whole(database)


@pytest.mark.slow
async def test_a_full_disk_refuses_plainly_and_works_again_once_there_is_room(
    database: Database,
) -> None:
    turns = TurnStore(database)
    stored: list[Turn] = []
    for pages in range(await page_count(database), 200, 7):
        await limit_pages(database, pages)
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await begin_until_refused(turns, stored)
        assert await turns.get(TurnId(f"turn {len(stored)}")) is None
    await limit_pages(database, 100_000)
    await turns.begin(new_turn("after"))

    assert [await turns.get(turn.id) for turn in stored] == stored
    assert len(stored) > 20
    await check_whole(database)


@pytest.mark.slow
@pytest.mark.skipif(resource is None, reason="only POSIX can limit the size of files")
async def test_a_disk_that_refuses_the_nth_byte_costs_that_write_alone(
    database: Database,
) -> None:
    turns = TurnStore(database)
    await turns.begin(new_turn("before", attachments=NOTES))
    refusals: list[str] = []
    for room in range(0, 40_000, 777):
        turn = new_turn(f"turn {room}", attachments=NOTES)
        with files_growing_at_most(log_of(database), room):
            try:
                await turns.begin(turn)
            except StoreUnavailable as error:
                refusals.append(error.user_message)
        if await turns.get(turn.id) is None:
            await turns.begin(turn)
        assert await turns.get(turn.id) == turn
    assert len(refusals) > 20
    assert all("its disk" in words for words in refusals)
    await check_whole(database)


@pytest.mark.skipif(resource is None, reason="only POSIX can limit the size of files")
def test_a_look_finds_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    path = new_database(tmp_path / "lantern.db")
    with (
        files_growing_at_most(empty, 100_000),
        pytest.raises(StoreUnavailable, match=f"{path} cannot be used: .* takes no more .*Make"),
    ):
        look_at(path)
    assert look_at(path) == 0


@contextmanager
def files_growing_at_most(path: Path, room: int) -> Generator[None]:
    assert resource is not None
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def log_of(database: Database) -> Path:
    return database.path.with_name(f"{database.path.name}-wal")


async def begin_until_refused(turns: TurnStore, stored: list[Turn]) -> None:
    for number in range(len(stored), 10_000):
        turn = new_turn(f"turn {number}", attachments=NOTES)
        await turns.begin(turn)
        stored.append(turn)


async def finish(turns: TurnStore, turn: TurnId) -> None:
    await turns.finish(turn, "done", REPLY, "", Receipt(SAGE))


async def page_count(database: Database) -> int:
    return await database.read(lambda c: c.execute("PRAGMA page_count").fetchone()[0])


async def limit_pages(database: Database, pages: int) -> None:
    await database.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("ATTACH '/nowhere/at/all.db' AS y", "cannot be opened"),
        ("SELECT ?", "number of bindings"),
    ],
)
def test_an_error_is_told_in_plain_words(statement: str, words: str) -> None:
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(StoreUnavailable) as raised,
        translated("lantern.db"),
    ):
        connection.execute(statement)

    message = raised.value.user_message

    assert message.startswith("The database lantern.db cannot be used: ")
    assert words in message
    assert message.endswith(".")
