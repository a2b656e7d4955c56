import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from clocks import WallClock
from databases import new_database
from store_values import new_turn

from bot.domain.errors import StoreUnavailable
from bot.domain.ids import PlaceId, TurnId, UserId
from bot.policy.privacy import CLOCKS_MS, Marks, Sources
from bot.store.database import Database
from bot.store.notes import NoteStore
from bot.store.privacy import PrivacyStore
from bot.store.turns import TurnStore

ASKED = Sources(
    places=frozenset({PlaceId("c1"), PlaceId("s1")}),
    people=frozenset({UserId("u1")}),
    turns=frozenset({TurnId("t1"), TurnId("t2")}),
)


@pytest.fixture
def privacy(database: Database) -> PrivacyStore:
    return PrivacyStore(database)


async def test_nothing_is_marked_at_first(privacy: PrivacyStore) -> None:
    assert await privacy.look_up(ASKED) == Marks(ASKED)


async def test_marks_are_found_among_what_is_asked(privacy: PrivacyStore) -> None:
    await privacy.mark("place", PlaceId("s1"), local_only=True)
    await privacy.mark("place", PlaceId("elsewhere"), local_only=True)
    await privacy.mark("user", UserId("u1"), local_only=True)
    await privacy.mark("turn", TurnId("t2"))
    await privacy.mark("turn", TurnId("t2"))

    assert await privacy.look_up(ASKED) == Marks(
        ASKED, frozenset({PlaceId("s1")}), frozenset({UserId("u1")}), frozenset({TurnId("t2")})
    )


async def test_a_mark_can_be_taken_away_but_not_a_turns(privacy: PrivacyStore) -> None:
    await privacy.mark("place", PlaceId("c1"), local_only=True)
    await privacy.mark("user", UserId("u1"), local_only=True)
    await privacy.mark("place", PlaceId("c1"), local_only=False)
    await privacy.mark("user", UserId("u1"), local_only=False)
    await privacy.mark("user", UserId("nobody"), local_only=False)

    assert await privacy.look_up(ASKED) == Marks(ASKED)


async def test_who_marked_a_place_first_is_kept(privacy: PrivacyStore) -> None:
    ada, c1, s1 = UserId("ada"), PlaceId("c1"), PlaceId("s1")
    await privacy.mark("place", c1, by=ada)
    await privacy.mark("place", c1, by=UserId("bob"))
    marked = await privacy.marked([c1, s1])
    assert [(at, mark.by) for at, mark in marked.items()] == [(c1, ada)]
    await privacy.mark("place", c1, local_only=False, by=ada)
    assert await privacy.marked([c1, s1]) == {}


async def test_marks_of_places_and_people_count_as_changes_and_of_turns_do_not(
    tmp_path: Path,
) -> None:
    async with Database(new_database(tmp_path / "l.db"), utcnow=WallClock()) as database:
        privacy = PrivacyStore(database)
        await privacy.mark("turn", "t1")
        assert privacy.changes == 0
        await privacy.mark("place", "c1")
        await privacy.mark("user", "u1", local_only=False)
        assert privacy.changes == 2


async def test_when_a_mark_stood_that_was_taken_away_is_told_of_words_that_are_quoted(
    tmp_path: Path,
) -> None:
    clock = WallClock()
    async with Database(new_database(tmp_path / "l.db"), utcnow=clock) as database:
        privacy, now_ms = PrivacyStore(database), database.now_ms()

        async def marked(kind: Literal["place", "user"], name: str, *, local_only: bool) -> None:
            clock.now += timedelta(seconds=1)
            await privacy.mark(kind, name, local_only=local_only)

        async def spans() -> Mapping[str, object]:
            asked = replace(ASKED, moments=frozenset({(UserId("u1"), 5)}))
            found = (await privacy.look_up(asked)).spans
            return {name: [(a - now_ms, b - now_ms) for a, b in found[name]] for name in found}

        await marked("place", "c1", local_only=True)
        assert await spans() == {}
        await marked("place", "c1", local_only=True)
        await marked("place", "c1", local_only=False)
        await marked("place", "c1", local_only=False)
        await marked("place", "c1", local_only=True)
        await marked("user", "u1", local_only=True)
        clock.now -= timedelta(seconds=4)
        await marked("user", "u1", local_only=False)
        # What was never closed was not opened either.
        await marked("place", "s1", local_only=False)
        assert await spans() == {"c1": [(1000, 3000)], "u1": [(3000, 3000)]}
        await marked("place", "c1", local_only=False)
        assert (await spans())["c1"] == [(1000, 3000), (5000, 5000)]
        # Only what is quoted has a time of its own.
        assert (await privacy.look_up(ASKED)).spans == {}


@pytest.mark.parametrize(
    ("apart_ms", "is_found"),
    [(0, True), (CLOCKS_MS, True), (-CLOCKS_MS, True), (CLOCKS_MS + 1, False)],
)
async def test_words_of_a_marked_turn_are_known_by_who_said_them_when(
    privacy: PrivacyStore, database: Database, apart_ms: int, *, is_found: bool
) -> None:
    await privacy.mark("turn", TurnId("t1"))
    turn = replace(new_turn("t1"), user=UserId("u1"), created_at_ms=10_000_000)
    await TurnStore(database).begin(turn)
    await TurnStore(database).begin(replace(turn, id=TurnId("t9"), user=UserId("u2")))
    moment = (UserId("u1"), 10_000_000 + apart_ms)
    asked = replace(ASKED, moments=frozenset({moment, (UserId("u2"), 10_000_000)}))
    assert (await privacy.look_up(asked)).moments == ({moment} if is_found else set())


async def test_a_place_and_a_person_of_one_name_are_two(privacy: PrivacyStore) -> None:
    await privacy.mark("place", PlaceId("u1"), local_only=True)
    assert await privacy.look_up(ASKED) == Marks(ASKED)


async def test_the_salt_is_made_once(database: Database) -> None:
    notes = NoteStore(database)
    assert await notes.keep("user salt", "first") == "first"
    assert await notes.keep("user salt", "second") == "first"
    assert await notes.get("user salt") == "first"


async def test_a_look_that_a_change_overtakes_is_taken_again(privacy: PrivacyStore) -> None:
    for _ in range(20):
        async with asyncio.TaskGroup() as tasks:
            looked = tasks.create_task(privacy.look_up(ASKED))
            await asyncio.sleep(0)
            changed = tasks.create_task(privacy.mark("place", PlaceId("c1"), local_only=True))
        assert changed.done()
        assert looked.result().places == {"c1"}
        await privacy.mark("place", PlaceId("c1"), local_only=False)


async def test_a_change_that_fails_holds_no_look_back(
    privacy: PrivacyStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(change: object) -> None:
        raise StoreUnavailable("The disk is full.")

    with monkeypatch.context() as broken:
        broken.setattr(database, "write", fail)
        with pytest.raises(StoreUnavailable):
            await privacy.mark("place", PlaceId("c1"), local_only=True)
    assert await privacy.look_up(ASKED) == Marks(ASKED)
