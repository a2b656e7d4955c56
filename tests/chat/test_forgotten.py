"""Hosts with JIT on that lost the model behind our back: LM Studio would load it by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from house import QWEN, House, house, sim
from relayed import relay

from bot.domain.events import Finished
from bot.domain.ids import HostName, ModelKey
from bot.fleet import host as host_module
from bot.fleet import reading
from bot.fleet.host import Host
from bot.fleet.lease import Lease
from bot.sim import journal
from bot.sim.host import SimHost
from bot.sim.models import GB

STUDIO = HostName("studio")
MANY = 6


async def many_at_once(home: House) -> None:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(home.ask(f"[[say {n}]]")) for n in range(MANY)]
    for number, task in enumerate(asked):
        assert isinstance(task.result().last, Finished)
        assert task.result().text == str(number)


async def unloaded(host: SimHost) -> None:
    host.unload(QWEN.key)


async def restarted(host: SimHost) -> None:
    await host.stop()
    await host.start()


def loads(host: SimHost) -> list[str]:
    return [load.via for load in host.journal.of(journal.LoadStarted)]


@pytest.mark.parametrize("forgets", [unloaded, restarted])
@pytest.mark.parametrize("sockets", [True, False])
async def test_many_turns_for_a_forgotten_model_load_it_once_and_properly(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forgets: Callable[[SimHost], Awaitable[None]],
    sockets: bool,
) -> None:
    # As if it were forgotten later than 20 ms after the last word.
    monkeypatch.setattr(reading, "ENDED_S", 0.0)
    async with house(tmp_path, sim("studio", QWEN, sockets=sockets)) as home:
        host = home.hosts["studio"]
        await home.ask("hello")
        host.journal.clear()
        await forgets(host)
        await many_at_once(home)
        assert loads(host) == ["socket" if sockets else "rest"]
        assert [instance.identifier for instance in host.resident] == [QWEN.key]


@pytest.mark.parametrize("is_client", [False, True])
async def test_what_all_hosts_forgot_is_loaded_at_one_of_them_for_one_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_client: bool
) -> None:
    # At the second as well, since the first of the two was left for it while it loaded.
    monkeypatch.setattr(reading, "ENDED_S", 0.0)
    names = ("studio", "laptop")
    slow = [sim(name, QWEN, time_scale=1.0, load_bytes_per_s=1e10) for name in names]
    async with house(tmp_path, *slow) as home:
        for name in names:
            await home.hosts[name].preload(QWEN.key)
            await home.lantern.fleet.host(HostName(name)).probe()
        for host in home.hosts.values():
            host.journal.clear()
            await unloaded(host)
        if is_client:
            receipt = await relay(home.lantern.relaying, "hello", model=ModelKey(QWEN.key))
            assert receipt.host is not None
        else:
            assert isinstance((await home.ask("hello")).last, Finished)
        assert [load for host in home.hosts.values() for load in loads(host)] == ["socket"]


async def test_a_load_under_way_is_not_left_for_a_host_whose_load_is_a_guess(
    tmp_path: Path,
) -> None:
    # With two slow disks, never measured, the first question had its model loaded at both: what
    # was under way showed how long it takes, and the other promised what most machines do.
    model = replace(QWEN, size_bytes=GB // 2)
    slow = [sim(n, model, time_scale=1.0, load_bytes_per_s=GB / 4) for n in ("studio", "laptop")]
    async with house(tmp_path, *slow) as home:
        said = await home.ask("hello")
        assert isinstance(said.last, Finished)
        assert [load for host in home.hosts.values() for load in loads(host)] == ["socket"]
        assert not said.receipt.left


async def test_what_lm_studio_loads_for_a_turn_already_sent_is_used_once_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "JUST_IN_TIME_S", 0.0)
    confirm = Host.confirm

    async def confirm_and_lose(self: Host, lease: Lease) -> None:
        await confirm(self, lease)
        monkeypatch.setattr(Host, "confirm", confirm)
        studio.unload(QWEN.key)

    async with house(tmp_path, sim("studio", QWEN)) as home:
        studio = home.hosts["studio"]
        await home.ask("hello")
        studio.journal.clear()
        monkeypatch.setattr(Host, "confirm", confirm_and_lose)
        said = await home.ask("[[say All the same.]]")
        assert said.text == "All the same."
        assert loads(studio) == ["jit"]
        by_jit = studio.journal.of(journal.LoadFinished)[0].reference
        await studio.journal.wait_for(journal.Unloaded, lambda r: r.reference == by_jit)
        await many_at_once(home)
        assert loads(studio) == ["jit", "socket"]
        (mine,) = home.lantern.fleet.snapshot().hosts[STUDIO].instances
        assert mine.own
        assert mine.idle_ttl_s
        assert len(studio.resident) == 1
