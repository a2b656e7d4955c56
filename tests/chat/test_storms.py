"""Many turns while nobody is there: dead hosts are asked by one probe for all."""

import asyncio
from pathlib import Path

import pytest
from house import GUARD_S, QWEN, House, house, sim

from bot.domain.events import Failed, Finished
from bot.domain.ids import HostName
from bot.fleet import health, probing
from bot.policy.breaker import BreakerRules
from bot.sim import journal

WAVES, TURNS = 10, 8


async def wave(home: House) -> None:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(home.ask("hello")) for _ in range(TURNS)]
    assert all(isinstance(task.result().last, Failed) for task in asked)


def requests(home: House) -> int:
    return sum(len(host.journal.of(journal.Request)) for host in home.hosts.values())


@pytest.mark.slow
async def test_a_storm_of_turns_costs_dead_hosts_hardly_more_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A storm takes no time: how often a host that stays away is probed is played elsewhere.
    monkeypatch.setattr(health, "PROBE_RULES", BreakerRules(threshold=1, base_s=3600.0))
    monkeypatch.setattr(probing, "SOUGHT_WITHIN_S", 3600.0)
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await home.ask("hello")
        for host in home.hosts.values():
            host.faults.refuse()
            host.kill()
        for name in home.hosts:
            home.lantern.fleet.host(HostName(name)).report_failure("gone")
        await wave(home)
        for host in home.hosts.values():
            host.journal.clear()
        for _ in range(WAVES):
            await wave(home)
        assert requests(home) <= 0.2 * WAVES * TURNS


async def test_a_host_that_is_back_answers_a_question_asked_meanwhile(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN)) as home:
        await home.ask("hello")
        await home.hosts["one"].stop()
        assert isinstance((await home.ask("hello")).last, Failed)
        await home.hosts["one"].start()
        async with asyncio.timeout(GUARD_S):
            while not isinstance((await home.ask("hello")).last, Finished):
                pass
