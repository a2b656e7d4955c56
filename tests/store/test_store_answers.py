import pytest
from clocks import WallClock

from bot.domain.ids import ModelKey
from bot.store.answers import AnswerStore, KeptAnswer
from bot.store.database import Database

BLUE = KeptAnswer("Because of scattering.", ModelKey("qwen"), "studio", is_local=True)
CLOUD = KeptAnswer("Rayleigh.", ModelKey("glm-4.6"), "zai", False, 30, 12)


@pytest.fixture
def answers(database: Database) -> AnswerStore:
    return AnswerStore(database, ttl_s=60.0, max_entries=3)


async def test_an_answer_is_found_again_by_its_key(answers: AnswerStore) -> None:
    await answers.put("a", BLUE)
    await answers.put("b", CLOUD)

    assert await answers.get("a") == BLUE
    assert await answers.get("b") == CLOUD
    assert await answers.get("c") is None


async def test_a_newer_answer_takes_the_place_of_the_older(answers: AnswerStore) -> None:
    await answers.put("a", BLUE)
    await answers.put("a", CLOUD)

    assert await answers.get("a") == CLOUD


async def test_an_answer_is_kept_for_a_while(answers: AnswerStore, clock: WallClock) -> None:
    await answers.put("a", BLUE)
    clock.advance(59)
    assert await answers.get("a") == BLUE
    clock.advance(1)
    assert await answers.get("a") is None


async def test_stale_answers_leave_the_disk(
    answers: AnswerStore, database: Database, clock: WallClock
) -> None:
    await answers.put("a", BLUE)
    clock.advance(60)
    await answers.put("b", BLUE)

    query = "SELECT key FROM answer"
    rows = await database.read(lambda c: c.execute(query).fetchall())
    assert [row["key"] for row in rows] == ["b"]


async def test_the_oldest_leave_when_there_are_too_many(answers: AnswerStore) -> None:
    for key in ("a", "b", "a", "c", "d"):
        await answers.put(key, BLUE)

    assert [key for key in "abcd" if await answers.get(key)] == ["a", "c", "d"]
