"""The composition root: what is done again and again, and by which of two on one database."""

from dataclasses import replace
from datetime import time
from pathlib import Path

import pytest
from databases import new_database
from house import QWEN, sim

from bot.app import Plan, lantern, plan_from
from bot.chat.planning import ChatRules
from bot.chat.walk import Readiness
from bot.domain.errors import ForeignInstance, NotPermitted
from bot.domain.events import Loading
from bot.domain.ids import HostName, ModelKey, PersonaName
from bot.fleet.fleet import FleetRules
from bot.process.timer import TimedWork, Timer
from bot.settings import Loaded, load_settings
from bot.sim.host import SimHost
from bot.sim.journal import LoadStarted
from bot.store.backups import backups_of
from bot.store.fleet_memory import FleetStore

Jobs = dict[str, tuple[float | time, TimedWork]]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """What is to be done again and again, by its name; nothing of it is done by itself."""
    jobs: Jobs = {}

    def every(_: Timer, when: float | time, name: str, job: TimedWork) -> None:
        jobs[name] = when, job

    monkeypatch.setattr(Timer, "every", every)
    return jobs


@pytest.mark.parametrize("is_owner", [True, False])
async def test_every_day_the_owner_of_a_database_backs_it_up(
    tmp_path: Path, jobs: Jobs, is_owner: bool
) -> None:
    path = new_database(tmp_path / "lantern.db")
    rules = ChatRules(default_persona=PersonaName("default"))
    plan = Plan((), rules, FleetRules(), tmp_path, path, is_owner=is_owner)
    async with lantern(plan):
        assert ("backup" in jobs) is is_owner
        if is_owner:
            when, work = jobs["backup"]
            # What somebody had forgotten leaves the copies by this, and within the days it says.
            assert isinstance(when, time)
            await work()
    assert len(backups_of(path)) == is_owner


@pytest.mark.parametrize("serves", [True, False])
async def test_only_what_serves_takes_what_is_known_of_a_host_to_another_name(
    tmp_path: Path, serves: bool
) -> None:
    # A trial of other settings renamed the hosts of those that count.
    path = new_database(tmp_path / "lantern.db")
    attic, loft, key = HostName("attic"), HostName("loft"), ModelKey("qwen3-8b")
    for name in (attic, loft):
        written = f"hosts: [{{name: {name}, address: '127.0.0.1:9'}}]\n"
        (tmp_path / f"{name}.yaml").write_text(written, encoding="utf-8")
    old, new = (load_settings(tmp_path / f"{name}.yaml", {}, tmp_path) for name in (attic, loft))
    async with lantern(_plan(old, path, serves=True)) as built:
        await FleetStore(built.database).pin(attic, key, is_pinned=True)
    async with lantern(_plan(new, path, serves=serves)) as built:
        assert await FleetStore(built.database).pins() == ((loft if serves else attic, key),)
    async with lantern(_plan(old, path, serves=True)) as built:
        assert await FleetStore(built.database).pins() == ((attic, key),)


@pytest.mark.parametrize("by", ["unload", "job"])
async def test_what_a_command_loads_beside_a_running_lantern_is_that_ones(
    tmp_path: Path, by: str
) -> None:
    path = new_database(tmp_path / "lantern.db")
    async with SimHost(sim("studio", QWEN)) as host:
        loaded = load_settings(None, {"LANTERN_HOSTS": host.address}, tmp_path)
        plan = _plan(loaded, path, serves=False)
        async with lantern(plan) as running:
            async with (
                lantern(replace(plan, is_owner=False)) as command,
                command.acts.load(None, QWEN.key) as steps,
            ):
                assert [step async for step in steps]
            # What that one keeps is no other command's to unload, whoever loaded it.
            async with lantern(replace(plan, is_owner=False)) as command:
                await command.fleet.settled(60)
                with pytest.raises(NotPermitted, match="kept by the Lantern that runs"):
                    await command.acts.unload(None, QWEN.key, even_foreign=True)
            name = running.catalog.host(host.address)
            # By hand it is looked for at once, though the newest look was before that load.
            assert not running.catalog.snapshot().hosts[name].loaded
            if by == "job":
                await running.fleet.probe_all()
                assert [i.own for i in running.catalog.snapshot().hosts[name].loaded] == [False]
                await running.acts.take_over()
                assert [i.own for i in running.catalog.snapshot().hosts[name].loaded] == [True]
            done = await running.acts.unload(None, QWEN.key)
            assert [where for where, _ in done.left] == [name]


async def test_of_two_on_one_database_that_want_a_cold_model_one_loads_it(tmp_path: Path) -> None:
    path = new_database(tmp_path / "lantern.db")
    async with SimHost(sim("studio", QWEN)) as host:
        host.faults.stall_load()
        loaded = load_settings(None, {"LANTERN_HOSTS": host.address}, tmp_path)
        plan = _plan(loaded, path, serves=False)
        async with (
            lantern(plan) as running,
            lantern(replace(plan, is_owner=False)) as chat,
            running.acts.load(None, QWEN.key) as first,
        ):
            await anext(first)
            await host.journal.wait_for(LoadStarted)
            async with chat.acts.load(None, QWEN.key) as second:
                assert isinstance(await anext(second), Loading)
                host.faults.clear()
                for steps in (first, second):
                    *_, ready = [step async for step in steps]
                    assert isinstance(ready, Readiness)
                    assert ready.by is not None
        assert len(host.journal.of(LoadStarted)) == len(host.resident) == 1


async def test_beside_a_running_lantern_its_drains_count_and_are_its_own_to_change(
    tmp_path: Path, jobs: Jobs
) -> None:
    path = new_database(tmp_path / "lantern.db")
    async with SimHost(sim("studio", QWEN)) as host:
        loaded = load_settings(None, {"LANTERN_HOSTS": host.address}, tmp_path)
        plan = _plan(loaded, path, serves=False)
        async with lantern(plan) as running, lantern(replace(plan, is_owner=False)) as chat:
            await chat.fleet.settled(60)
            name = chat.catalog.host(host.address)
            for is_draining, state in ((True, "draining"), (False, "up")):
                with pytest.raises(NotPermitted, match="by the Lantern that runs"):
                    await chat.acts.drain(host.address, is_draining=is_draining)
                await running.acts.drain(host.address, is_draining=is_draining)
                _, obey = jobs["drains"]
                await obey()
                assert chat.catalog.snapshot().hosts[name].state == state


async def test_beside_a_running_lantern_nothing_is_pinned(tmp_path: Path) -> None:
    # It was confirmed, and that one let the model go as before.
    path = new_database(tmp_path / "lantern.db")
    async with SimHost(sim("studio", QWEN)) as host:
        await host.preload(QWEN.key)
        loaded = load_settings(None, {"LANTERN_HOSTS": host.address}, tmp_path)
        plan = _plan(loaded, path, serves=False)
        async with lantern(plan) as running, lantern(replace(plan, is_owner=False)) as chat:
            await running.fleet.settled(60)
            await chat.fleet.settled(60)
            for is_pinned in (True, False):
                with pytest.raises(NotPermitted, match="kept by the Lantern that runs"):
                    await chat.acts.pin(None, QWEN.key, is_pinned=is_pinned)
                await running.acts.pin(None, QWEN.key, is_pinned=is_pinned)


async def test_what_is_loaded_on_a_host_that_the_running_lantern_does_not_know_can_be_unloaded(
    tmp_path: Path,
) -> None:
    # It was kept by that one, which had neither the host nor the model.
    path = new_database(tmp_path / "lantern.db")
    async with SimHost(sim("studio", QWEN)) as host:
        old = load_settings(None, {"LANTERN_HOSTS": "127.0.0.1:9"}, tmp_path)
        new = load_settings(None, {"LANTERN_HOSTS": f"127.0.0.1:9,{host.address}"}, tmp_path)
        async with lantern(_plan(old, path, serves=True)) as running:
            beside = replace(_plan(new, path, serves=False), is_owner=False)
            store = FleetStore(running.database)
            assert await store.changed_hosts(beside.hosts) == {host.address: False}
            async with lantern(beside) as command, command.acts.load(None, QWEN.key) as steps:
                assert [step async for step in steps]
            async with lantern(beside) as command:
                await command.fleet.until(lambda: False, 60)
                with pytest.raises(ForeignInstance):
                    await command.acts.unload(None, QWEN.key)
                assert (await command.acts.unload(None, QWEN.key, even_foreign=True)).left


async def test_what_others_loaded_is_taken_over_by_nobody(tmp_path: Path) -> None:
    path = new_database(tmp_path / "lantern.db")
    async with SimHost(sim("studio", QWEN)) as host:
        await host.preload(QWEN.key)
        loaded = load_settings(None, {"LANTERN_HOSTS": host.address}, tmp_path)
        async with lantern(_plan(loaded, path, serves=False)) as running:
            await running.fleet.settled(60)
            await running.acts.take_over()
            with pytest.raises(ForeignInstance):
                await running.acts.unload(None, QWEN.key)
            # Without its database it unloads all the same.
            await running.database.execute("DROP TABLE own_instance")
            assert (await running.acts.unload(None, QWEN.key, even_foreign=True)).left


def _plan(loaded: Loaded, database: Path, *, serves: bool) -> Plan:
    reread = (lambda: loaded) if serves else None
    return replace(plan_from(loaded, is_owner=True, reread=reread), database=database)
