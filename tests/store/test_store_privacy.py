import pytest

from bot.domain.ids import PlaceId, TurnId, UserId
from bot.policy.privacy import Marks, Sources
from bot.store.database import Database
from bot.store.notes import NoteStore
from bot.store.privacy import PrivacyStore

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
    await privacy.set_place(PlaceId("s1"), local_only=True)
    await privacy.set_place(PlaceId("elsewhere"), local_only=True)
    await privacy.set_user(UserId("u1"), local_only=True)
    await privacy.mark_turn(TurnId("t2"))
    await privacy.mark_turn(TurnId("t2"))

    assert await privacy.look_up(ASKED) == Marks(
        ASKED, frozenset({PlaceId("s1")}), frozenset({UserId("u1")}), frozenset({TurnId("t2")})
    )


async def test_a_mark_can_be_taken_away_but_not_a_turns(privacy: PrivacyStore) -> None:
    await privacy.set_place(PlaceId("c1"), local_only=True)
    await privacy.set_user(UserId("u1"), local_only=True)
    await privacy.set_place(PlaceId("c1"), local_only=False)
    await privacy.set_user(UserId("u1"), local_only=False)
    await privacy.set_user(UserId("nobody"), local_only=False)

    assert await privacy.look_up(ASKED) == Marks(ASKED)


async def test_a_place_and_a_person_of_one_name_are_two(privacy: PrivacyStore) -> None:
    await privacy.set_place(PlaceId("u1"), local_only=True)
    assert await privacy.look_up(ASKED) == Marks(ASKED)


async def test_the_salt_is_made_once(database: Database) -> None:
    notes = NoteStore(database)
    assert await notes.keep("user salt", "first") == "first"
    assert await notes.keep("user salt", "second") == "first"
    assert await notes.get("user salt") == "first"
