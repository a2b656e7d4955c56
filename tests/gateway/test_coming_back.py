"""Hosts that came back a moment ago and do not serve all their interfaces yet."""

from pathlib import Path

import pytest

from bot.domain.ids import HostName
from bot.sim.host import SimHost
from bot.sim.models import SimHostConfig
from tests.gateway.gate import CHATS, Gate, chat, gate
from tests.helpers.house import GEMMA, QWEN, sim


def old(name: str) -> SimHostConfig:
    """LM Studio 0.3, which loads by its WebSocket alone."""
    return sim(name, QWEN, GEMMA, generation="0.3")


async def comes_back_by_half(it: Gate, name: str) -> SimHost:
    """The host starts again, and is looked at twice while its WebSocket is not open yet."""
    one, host = it.house.hosts[name], it.house.lantern.fleet.host(HostName(name))
    await one.stop()
    await host.probe()
    for path in ("/llm", "/embedding", "/system"):
        one.faults.refuse(path=path)
    await one.start()
    await host.probing.again(lambda: None)
    await host.until(lambda now: now.interface == "/api/v0" and not now.is_undecided)
    one.faults.clear()
    return one


# Time stands still: no look of its own comes round.
@pytest.mark.usefixtures("loop_clock")
async def test_nobody_is_refused_by_what_a_host_was_a_moment_ago(tmp_path: Path) -> None:
    async with gate(tmp_path, old("one")) as it:
        await comes_back_by_half(it, "one")
        # 503 `model_load_failed`, of a WebSocket that was open, and never to be asked again.
        answer = await it.ask(CHATS, chat(QWEN.key, max_tokens=3))
        assert answer.status == 200, answer.body
        assert it.house.lantern.fleet.snapshot().hosts[HostName("one")].interface == "SDK socket"


@pytest.mark.usefixtures("loop_clock")
async def test_it_is_looked_at_again_where_the_one_that_was_asked_broke(tmp_path: Path) -> None:
    async with gate(tmp_path, old("one"), old("two")) as it:
        await comes_back_by_half(it, "two")
        it.house.hosts["one"].faults.status_500(path="/v1/chat")
        answer = await it.ask(CHATS, chat(QWEN.key, max_tokens=3))
        assert answer.status == 200, answer.body
        assert "host=two" in answer.headers["x-lantern-route"]
