from bot.domain.ids import PlaceId, UserId
from bot.policy.place_rules import SetValue
from bot.store.database import Database
from bot.store.place_settings import PlaceSettingStore

ROOM, HOME = PlaceId("discord:3"), PlaceId("discord:1")
ADA, BOB = UserId("discord:8"), UserId("discord:9")


async def test_the_last_write_wins_and_says_whose_it_was(database: Database) -> None:
    store = PlaceSettingStore(database)
    await store.put(HOME, {"switch": ["user:8"], "tokens_per_day": ["5"]}, ADA)
    kept = await store.put(HOME, {"switch": ["role:3", "user:9"]}, BOB)
    both = await PlaceSettingStore(database).all()
    assert both[HOME, "switch"] == kept["switch"]
    assert kept["switch"] == SetValue(("role:3", "user:9"), BOB, database.now_ms())
    assert both[HOME, "tokens_per_day"].by == ADA


async def test_without_a_value_it_is_not_set_any_more_there(database: Database) -> None:
    store = PlaceSettingStore(database)
    for place in (HOME, ROOM):
        await store.put(place, {"answered": ["user:8"]}, ADA)
    assert await store.put(ROOM, {"answered": []}, ADA) == {"answered": None}
    assert list(await store.all()) == [(HOME, "answered")]


async def test_what_another_version_knew_is_left_alone(database: Database) -> None:
    await database.execute("INSERT INTO place_setting VALUES ('', 'mood', '[\"gay\"]', '', 0)")
    assert await PlaceSettingStore(database).all() == {}
