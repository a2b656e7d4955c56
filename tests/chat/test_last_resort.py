"""When every host is out, all are tried: a pause leaves alone only who is not needed."""

from pathlib import Path

import pytest
from house import QWEN, house, sim

from bot.chat import turns
from bot.domain.events import Failed, Finished, Notice
from bot.domain.ids import HostName
from bot.fleet import health
from bot.policy.breaker import BreakerRules


async def test_the_only_host_is_tried_in_its_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REQUEST_RULES", BreakerRules(threshold=3, base_s=3600.0))
    async with house(tmp_path, sim("one", QWEN)) as home:
        await home.ask("hello")
        host = home.lantern.fleet.host(HostName("one"))
        for _ in range(3):
            host.report_failure("HTTP 503")
            await host.probe()
        assert host.snapshot().state == "down"
        assert isinstance((await home.ask("hello")).last, Finished)
        assert host.snapshot().state == "up"


async def test_one_that_is_out_is_left_alone_while_another_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REQUEST_RULES", BreakerRules(threshold=1, base_s=3600.0))
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await home.ask("hello")
        host = home.lantern.fleet.host(HostName("one"))
        host.report_failure("HTTP 503")
        await host.probe()
        said = await home.ask("hello")
        assert said.receipt.host == HostName("two")
        assert host.snapshot().state == "down"


async def test_who_asks_while_all_are_out_sees_the_look_and_reads_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SLOW_LOOK_S", 0.0)
    async with house(tmp_path, sim("one", QWEN)) as home:
        await home.ask("hello")
        await home.hosts["one"].stop()
        await home.lantern.fleet.host(HostName("one")).probe()
        said = await home.ask("hello")
        assert Notice("🔎 Looking whether one is back …", is_passing=True) in said.events
        assert isinstance(said.last, Failed)
        assert "Lantern looks again within a few seconds" in said.last.error.user_message
        await home.hosts["one"].start()
        assert isinstance((await home.ask("hello")).last, Finished), "at the first question"
