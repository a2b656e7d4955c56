"""Personas made in chats, kept and counted."""

import asyncio
from dataclasses import replace

import pytest

from bot.domain.ids import PersonaName, UserId
from bot.domain.personas import PersonaScope
from bot.policy import personas as limits
from bot.policy.choice import ScopeKey
from bot.store import personas as module
from bot.store.choices import ChoiceStore
from bot.store.database import Database
from bot.store.personas import KeptPersona, PersonaStore

MUSE = KeptPersona(PersonaName("Muse#0123abcd"), "me", "discord:1", UserId("discord:1"), 1, "{}")


def other(number: int, **changes: object) -> KeptPersona:
    made = replace(MUSE, name=PersonaName(f"m{number}#{number:08x}"))
    return replace(made, **changes)


async def test_what_is_kept_is_read_again(database: Database) -> None:
    store = PersonaStore(database)
    seen = await store.changes()
    assert await store.add(MUSE, b"picture") == "kept"
    assert await store.all() == (MUSE,)
    assert await store.picture(MUSE.name) == b"picture"
    assert await store.picture(PersonaName("nobody")) is None
    assert await store.changes() != seen


async def test_names_are_one_in_their_scope_whatever_their_capitals(database: Database) -> None:
    store = PersonaStore(database)
    await store.add(MUSE, None)
    twin = replace(MUSE, name=PersonaName("MUSE#ffffffff"))
    assert await store.add(twin, None) == "taken"
    assert await store.add(replace(twin, owner="discord:2"), None) == "kept"
    server = replace(MUSE, name=PersonaName("muse#aaaaaaaa"), scope="server")
    assert await store.add(server, None) == "kept"
    assert len(await store.all()) == 3


async def test_there_are_limits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    store = PersonaStore(database)
    monkeypatch.setattr(module, "MOST", {**limits.MOST, "me": 2})
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    monkeypatch.setattr(module, "MOST_PICTURE_BYTES", 10)
    assert await store.add(other(1), None) == "kept"
    assert await store.add(other(2), None) == "kept"
    assert await store.add(other(3), None) == "many"
    big = other(3, owner="discord:2", card='{"a": "' + "x" * 87 + '"}')
    assert len(big.card) == 96
    assert await store.add(big, b"x" * 11) == "full"
    assert await store.add(big, b"x" * 10) == "kept"
    assert await store.add(other(4, owner="discord:3"), None) == "full"
    card = '{"b": 1}'
    assert await store.put(MUSE.name, 1, card, None, keeps=True) == "full"


@pytest.mark.parametrize(("scope", "most"), [("me", 25), ("server", 100), ("all", 200)])
async def test_so_many_personas_there_may_be_of_one_owner(
    database: Database, scope: PersonaScope, most: int
) -> None:
    store = PersonaStore(database)
    for number in range(most):
        assert await store.add(other(number, scope=scope), None) == "kept"
    assert await store.add(other(most, scope=scope), None) == "many"
    # Another's are counted by themselves.
    assert await store.add(other(most, scope=scope, owner="discord:2"), None) == "kept"


async def test_of_two_edits_at_once_the_second_is_told(database: Database) -> None:
    store = PersonaStore(database)
    await store.add(MUSE, b"old")
    edits = (store.put(MUSE.name, 1, f'{{"n": {n}}}', None, keeps=True) for n in (1, 2))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(edit) for edit in edits]
    assert sorted(task.result() for task in tasks) == ["changed", "kept"]
    (kept,) = await store.all()
    assert kept.version == 2
    assert await store.picture(MUSE.name) == b"old"
    assert await store.put(MUSE.name, 2, "{}", None, keeps=False) == "kept"
    assert await store.picture(MUSE.name) is None
    assert await store.put(PersonaName("gone"), 1, "{}", None, keeps=True) == "changed"


async def test_a_deleted_one_is_gone_and_its_choices_are_counted_and_stay(
    database: Database,
) -> None:
    store, choices = PersonaStore(database), ChoiceStore(database)
    await store.add(MUSE, None)
    keys = [ScopeKey("channel", place) for place in ("a", "b")]  # pyright: ignore[reportArgumentType]
    for key in keys:
        await choices.put(key, "persona", MUSE.name)
    await choices.put(keys[0], "model", MUSE.name)
    seen = await store.changes()
    assert await store.delete(MUSE.name) == 2
    assert await store.changes() != seen
    assert await store.all() == ()
    assert await store.delete(MUSE.name) is None
    stored = await choices.get(keys)
    assert set(stored.personas.values()) == {MUSE.name}
