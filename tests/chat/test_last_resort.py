"""When every host is out, all are tried: a pause leaves alone only who is not needed."""

from pathlib import Path

import pytest
from house import QWEN, house, sim

from bot.domain.events import Failed, Finished
from bot.domain.ids import HostName
from bot.fleet import health
from bot.policy import breaker
from bot.policy.breaker import BreakerRules


async def test_the_only_host_is_tried_once_most_of_its_pause_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pause lasts as long as the test; how much of it is most is told apart from time here.
    monkeypatch.setattr(health, "REQUEST_RULES", BreakerRules(threshold=3, base_s=3600.0))
    async with house(tmp_path, sim("one", QWEN)) as home:
        await home.ask("hello")
        host = home.lantern.fleet.host(HostName("one"))
        for _ in range(3):
            host.report_failure("HTTP 503")
            await host.probe()
        assert isinstance((await home.ask("hello")).last, Failed), "so soon it is left alone"
        monkeypatch.setattr(breaker, "SOUGHT_S", 0.0)
        assert isinstance((await home.ask("hello")).last, Finished)
        assert host.snapshot().state == "up"


async def test_one_that_is_out_is_left_alone_while_another_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "REQUEST_RULES", BreakerRules(threshold=1, base_s=3600.0))
    monkeypatch.setattr(breaker, "SOUGHT_S", 0.0)
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await home.ask("hello")
        host = home.lantern.fleet.host(HostName("one"))
        host.report_failure("HTTP 503")
        await host.probe()
        said = await home.ask("hello")
        assert said.receipt.host == HostName("two")
        assert host.snapshot().state == "down"
