"""Hosts that sleep: woken for whoever needs them, not called dead for it, nor called for ever."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from fleet_bench import GUARD_S, ONE, H, a_wish, fleet_over, sim_config
from scheduler_playbook import HOST, Playbook, up_with

from bot.domain.errors import FailureKind
from bot.domain.events import FleetEvent, Waking
from bot.domain.hosts import HostConfig, Speed
from bot.domain.ids import HostName, ModelKey
from bot.fleet import host as host_module
from bot.fleet.fleet import FleetRules
from bot.policy.waking import LONGEST, WAKE_RULES, WAKE_S, magic_packet
from bot.sim.host import SimHost

MAC = "00:1a:2b:3c:4d:5e"


def sleeper(*models: str, **more: object) -> Playbook:
    play = up_with(*models, wake_mac=MAC, **more)
    play.down()
    return play


def test_whoever_needs_a_sleeping_host_has_it_woken_once_and_waits() -> None:
    play = sleeper("one", "two")
    assert play.news[-1] == FleetEvent("host asleep", HOST, reason="gone")
    assert play.scheduler.snapshot().state == "asleep"
    assert play.ask("ada", "one", wait=10.0) == ["wake"]
    assert play.ask("bob", "two") == []
    assert play.scheduler.snapshot().state == "waking"
    assert play.told("ada") == Waking(HOST, ModelKey("one"), WAKE_S)
    assert play.after(30).down() == [], "waking is the way to its own load: not cut by the clock"
    assert play.told("bob") == Waking(HOST, ModelKey("two"), WAKE_S - 30)
    assert play.up() == ["awake after 30", "load one"]
    assert play.loaded(seconds=8) == ["grant ada one", "load two"]
    assert play.scheduler.snapshot().wake_s == 30.0


def test_the_time_it_takes_is_learnt() -> None:
    play = sleeper("one")
    for seconds in (20.0, 40.0):
        play.down()
        play.ask(f"ada {seconds}", "one")
        play.after(seconds).up()
        play.loaded() if play.loading else None
    assert play.scheduler.health.wake_s == pytest.approx(26.0)
    play.down()
    play.ask("bob", "one")
    assert play.told("bob") == Waking(HOST, ModelKey("one"), 26.0)
    play.after(50).tick()
    assert play.told("bob") == Waking(HOST, ModelKey("one"), 0.0)


def test_one_that_does_not_wake_is_gone_for_growing_pauses() -> None:
    play = sleeper("one")
    for pause_s in (WAKE_RULES.base_s, 2 * WAKE_RULES.base_s):
        play.down()
        assert play.ask(f"ada {pause_s}", "one") == ["wake"]
        assert play.after(LONGEST * WAKE_S - 1).tick() == []
        assert play.after(1).tick() == [f"refuse ada {pause_s} HostUnreachable"]
        assert "was called for 135 s" in str(play.refused[f"ada {pause_s}"])
        assert play.scheduler.snapshot().state == "down"
        play.after(pause_s - 1).down()
        assert play.ask(f"bob {pause_s}", "one") == [f"refuse bob {pause_s} HostUnreachable"]
        play.after(1)


def test_who_answers_nonsense_or_lost_one_request_does_not_sleep() -> None:
    for kind in (FailureKind.AUTH, FailureKind.GARBAGE, FailureKind.SERVER):
        play = up_with("one", wake_mac=MAC)
        play.down(kind)
        assert play.ask("ada", "one") == ["refuse ada HostUnreachable"]
    play = up_with("one", wake_mac=MAC)
    play.doubt()
    assert play.scheduler.snapshot().state == "down"
    play = up_with("one")
    play.down()
    assert play.scheduler.snapshot().state == "down", "nobody knows how to wake it"


def test_one_that_wakes_and_then_wants_a_token_refuses_who_waits() -> None:
    play = sleeper("one")
    play.ask("ada", "one")
    assert play.after(5).down(FailureKind.AUTH) == ["refuse ada HostUnreachable"]
    assert play.scheduler.health.woken_at is None


def test_nobody_is_woken_for_what_it_does_not_have() -> None:
    play = sleeper("one")
    assert play.ask("ada", "two") == ["refuse ada not there"]
    # Asleep since before Lantern began: what it answered with once, it has.
    old = Playbook("one", wake_mac=MAC, speeds={ModelKey("one"): Speed(load_s=9.0)})
    old.down()
    assert set(old.scheduler.snapshot().models) == {"one"}
    assert old.ask("ada", "one") == ["wake"]


def test_a_drained_host_is_left_asleep() -> None:
    play = sleeper("one")
    play.drain()
    assert play.ask("ada", "one") == ["refuse ada busy"]


# --- over real sockets ------------------------------------------------------------------------


@pytest.fixture
def card() -> Iterator[socket.socket]:
    """A network card that listens, on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        yield listener


async def test_a_sleeping_host_is_called_until_it_answers(
    card: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "CALL_EVERY_S", 0.01)
    async with SimHost(sim_config(time_scale=0)) as sim:
        config = HostConfig(H, sim.address, wake_mac=MAC)
        rules = FleetRules(probe_timeout_s=GUARD_S, wake_port=card.getsockname()[1])
        async with fleet_over(sim, configs=[config], rules=rules) as bench:
            await sim.stop()
            await bench.fleet.host(H).probe()
            assert bench.host().state == "asleep"
            async with bench.fleet.host(H).lease(a_wish()) as lease:
                for _ in range(2):
                    packet = await asyncio.get_running_loop().sock_recv(card, 200)
                    assert packet == magic_packet(MAC)
                assert bench.host().state == "waking"
                await sim.start()
                steps = [step async for step in lease]
                assert isinstance(steps[0], Waking)
                assert lease.granted.instance.model_key == ONE
            await bench.kept.until(lambda _: H in bench.kept.wakes)


async def test_a_call_that_can_be_sent_nowhere_is_said_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[str] = []

    async def unreachable(mac: str, *_: object) -> None:
        tries.append(mac)
        raise OSError("network is unreachable")

    monkeypatch.setattr(host_module, "call", unreachable)
    monkeypatch.setattr(host_module, "CALL_EVERY_S", 0.01)
    async with SimHost(sim_config(time_scale=0)) as sim:
        config = HostConfig(HostName(H), sim.address, wake_mac=MAC)
        async with fleet_over(sim, configs=[config]) as bench:
            await sim.stop()
            await bench.fleet.host(H).probe()
            async with bench.fleet.host(H).lease(a_wish()) as lease:
                while len(tries) < 2:
                    await bench.fleet.host(H).probe()
                await sim.start()
                _ = [step async for step in lease]
