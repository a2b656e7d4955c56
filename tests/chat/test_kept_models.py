"""Models kept in memory: at the start, when they were lost, over restarts, and not for ever."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from house import GEMMA, QWEN, House, house, sim
from patience import GUARD_S

from bot.app import utcnow
from bot.chat.keeping import Keeper
from bot.domain.errors import UnknownName
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, ModelKey
from bot.policy.budget import BudgetRules
from bot.policy.usual_hours import SOON
from bot.store.ledger import LedgerStore

STUDIO = HostName("studio")
TODAY = datetime(2026, 11, 19, 8, 45, tzinfo=UTC)
KEEPS = f"name: sage\nmodel: {QWEN.key}\nkeep_loaded: true\n"


def sage(tmp_path: Path) -> None:
    folder = tmp_path / "personas"
    folder.mkdir()
    (folder / "sage.yaml").write_text(KEEPS)


async def until(home: House, holds: Callable[[HostSnapshot], bool]) -> None:
    # A pin that is not stored is never seen again: without an end these tests waited for ever.
    async with asyncio.timeout(GUARD_S):
        await home.lantern.fleet.host(STUDIO).until(holds)


def has(key: str) -> Callable[[HostSnapshot], bool]:
    return lambda host: any(i.model_key == key and i.own for i in host.instances)


async def test_a_kept_persona_is_loaded_unasked_and_again_when_it_was_lost(tmp_path: Path) -> None:
    sage(tmp_path)
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        keeper, studio = home.lantern.keeper, home.hosts["studio"]
        await keeper.keep()
        await until(home, has(QWEN.key))
        held = home.lantern.fleet.snapshot().hosts[STUDIO].instances[0]
        assert (held.idle_ttl_s, held.net_ttl_s) == (None, None)
        await keeper.keep()
        studio.unload(QWEN.key)
        await home.lantern.fleet.host(STUDIO).probe()
        await keeper.keep()
        await until(home, has(QWEN.key))


async def test_a_load_that_fails_is_not_repeated_at_once(tmp_path: Path) -> None:
    sage(tmp_path)
    async with house(tmp_path, sim("studio", QWEN)) as home:
        home.hosts["studio"].faults.fail_next_load("exit code 1", times=None)
        for _ in range(3):
            await home.lantern.keeper.keep()
            await until(home, lambda host: host.load is None)
        assert [news.what for news in home.news].count("load failed") == 1


async def test_what_an_admin_unloads_stays_out_until_somebody_asks(tmp_path: Path) -> None:
    sage(tmp_path)
    async with house(tmp_path, sim("studio", QWEN)) as home:
        keeper, acts = home.lantern.keeper, home.lantern.acts
        with home.lantern.newsroom.heard_by(keeper.hear):
            await keeper.keep()
            await until(home, has(QWEN.key))
            await keeper.keep()
            await acts.unload(None, QWEN.key)
            await keeper.keep()
            assert home.lantern.fleet.snapshot().hosts[STUDIO].load is None
            await home.ask("hello", model=QWEN.key)
            await acts.unload(None, QWEN.key)
            await home.ask("hello", model=QWEN.key)
            home.hosts["studio"].unload(QWEN.key)
            await home.lantern.fleet.host(STUDIO).probe()
            await keeper.keep()
            await until(home, has(QWEN.key))


async def test_a_pin_outlives_its_instance_and_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.ask("hello", model=QWEN.key)
        await home.lantern.acts.pin(None, QWEN.key, is_pinned=True)
    async with house(tmp_path, sim("studio", QWEN)) as home:
        keeper = home.lantern.keeper
        await keeper.keep()
        await until(home, has(QWEN.key))
        await keeper.keep()
        assert home.lantern.fleet.snapshot().hosts[STUDIO].instances[0].pinned
        home.hosts["studio"].unload(QWEN.key)
        await home.lantern.fleet.host(STUDIO).probe()
        said = await home.lantern.acts.pin("studio", QWEN.key, is_pinned=False)
        assert said == f"`{QWEN.key}` on studio may leave memory again."
        await keeper.keep()
        assert home.lantern.fleet.snapshot().hosts[STUDIO].load is None
        with pytest.raises(UnknownName):
            await home.lantern.acts.pin("studio", QWEN.key, is_pinned=False)


async def test_an_unload_by_hand_ends_a_pin(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        keeper = home.lantern.keeper
        with home.lantern.newsroom.heard_by(keeper.hear):
            await home.ask("hello", model=QWEN.key)
            await home.lantern.acts.pin(None, QWEN.key, is_pinned=True)
            await keeper.keep()
            await home.lantern.acts.unload(None, QWEN.key)
            await keeper.keep()
            assert await keeper.pins() == set()
            await home.ask("hello", model=QWEN.key)
            assert not home.lantern.fleet.snapshot().hosts[STUDIO].instances[0].pinned


async def test_what_is_usual_at_this_hour_is_loaded_once_and_leaves_again(tmp_path: Path) -> None:
    asked = [(ModelKey(QWEN.key), TODAY - timedelta(days=n)) for n in range(1, 8)]
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        fleet = home.lantern.fleet

        async def nothing(*_: object) -> list[tuple[HostName, ModelKey]]:
            return []

        async def of_late(_: int) -> list[tuple[ModelKey, datetime]]:
            return asked

        async def unkept(*_: object) -> None: ...

        keeper = Keeper(fleet, lambda: (), nothing, unkept, of_late, lambda: TODAY)
        with home.lantern.newsroom.heard_by(keeper.hear):
            await keeper.preload()
            await until(home, has(QWEN.key))
            (held,) = fleet.snapshot().hosts[STUDIO].instances
            assert (held.idle_ttl_s, held.leases) == (2 * SOON.total_seconds(), 0)
            # Nobody came, and its rest was over: no second guess in the same hours.
            home.hosts["studio"].unload(QWEN.key)
            await fleet.host(STUDIO).probe()
            await keeper.preload()
            assert fleet.snapshot().hosts[STUDIO].load is None


async def test_hosts_answers_are_what_is_usual(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.ask("hello", model=QWEN.key)
        await home.ask("hello again", model=QWEN.key)
        await home.lantern.keeper.preload()
        database = home.lantern.turns.store.database
        await database.noted()
        ((key, at),) = await LedgerStore(database, BudgetRules(), UTC).asked_of_hosts(1)
        assert key == QWEN.key
        assert timedelta() <= utcnow() - at < timedelta(minutes=16)
