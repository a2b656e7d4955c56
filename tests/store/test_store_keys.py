"""Keys as they are kept."""

import pytest

from bot.domain.errors import RequestRefused
from bot.policy.keys import ApiKey
from bot.policy.ratelimit import RateRule
from bot.store.database import Database
from bot.store.keys import KeyStore

EDITOR = ApiKey("AAAAAAAA", "editor", "a" * 64)
FULL = ApiKey(
    "BBBBBBBB",
    "ada's laptop",
    "b" * 64,
    scopes=("inference", "admin", "metrics"),
    models=("qwen/*", 'odd"[é]*'),
    daily_micro_usd=0,
    rate=RateRule(60, 60.0),
    expires_at_ms=1,
)


async def test_a_key_comes_back_as_it_was_added(database: Database) -> None:
    keys = KeyStore(database)
    assert await keys.all() == ()
    added = [await keys.add(key) for key in (FULL, EDITOR)]
    assert {key.created_at_ms for key in added} == {database.now_ms()}
    assert await keys.all() == (added[0], added[1])


async def test_a_name_and_a_public_part_are_taken_once(database: Database) -> None:
    keys = KeyStore(database)
    first = await keys.add(EDITOR)
    for other in (
        ApiKey("CCCCCCCC", EDITOR.name, "c" * 64),
        ApiKey(EDITOR.id, "another", "c" * 64),
    ):
        with pytest.raises(RequestRefused, match="already"):
            await keys.add(other)
    assert await keys.all() == (first,)


async def test_a_revoked_key_is_gone_and_its_name_is_free(database: Database) -> None:
    keys = KeyStore(database)
    await keys.add(EDITOR)
    await keys.add(FULL)
    assert not await keys.revoke("Editor")
    assert not await keys.revoke("edit%")
    assert await keys.revoke(EDITOR.name)
    assert not await keys.revoke(EDITOR.name)
    assert [key.name for key in await keys.all()] == [FULL.name]
    await keys.add(EDITOR)


async def test_the_last_use_is_the_latest_whatever_the_order(database: Database) -> None:
    keys = KeyStore(database)
    await keys.add(EDITOR)
    await keys.add(FULL)
    for at_ms, kept in ((5, 5), (9, 9), (7, 9)):
        await keys.used(EDITOR.id, at_ms)
        await keys.used("nobody00", 10)
        ada, editor = await keys.all()
        assert (ada.last_used_ms, editor.last_used_ms) == (None, kept)


async def test_nothing_that_opens_a_door_is_kept(database: Database) -> None:
    await KeyStore(database).add(EDITOR)
    [row] = await database.fetch("SELECT * FROM api_key")
    assert EDITOR.digest in tuple(row)
    assert not any(str(value).startswith("lantern_") for value in tuple(row))
