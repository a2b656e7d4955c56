"""Models loaded before anybody asks, over a whole fleet in virtual time."""

from dataclasses import replace

import pytest
from virtual_time import play

from bench.fleet.host import Machine
from bench.fleet.lantern import lantern
from bench.fleet.people import spend
from bench.fleet.trace import GB, ChatTurn, Dialogue, HostSpec, ModelSpec, Trace
from bot.domain.ids import HostName, ModelKey
from bot.fleet import fleet
from bot.policy.ahead import plan_ahead

ONE, TWO = ModelKey("lab/one"), ModelKey("lab/two")
MODELS = {key: ModelSpec(key, 8 * GB, active=8.0, kv_bytes=100_000) for key in (ONE, TWO)}
ATTIC = HostSpec(HostName("attic"), 10 * GB, 200 * GB, 900.0, GB, 0.0, MODELS)
STUDIO = replace(ATTIC, name=HostName("studio"), models={ONE: MODELS[ONE]})
"""Each has room for one of them."""
LOAD_S = STUDIO.load_s(MODELS[ONE])


def _follow_up() -> tuple[HostName | None, float]:
    """Who spoke, and how late, when asked on about what had left for what only one host has."""
    turns = (ChatTurn(20, 220, 20, 0.0), ChatTurn(20, 260, 20, 60.0))
    talk = Dialogue(0, "ada", ONE, 1.0, turns)
    other = Dialogue(1, "bob", TWO, 20.0, turns[:1])
    trace = Trace(
        "t", 1, (ATTIC, STUDIO), MODELS, dict.fromkeys(MODELS, 0.5), (talk, other), (),
        dict.fromkeys(MODELS, 200),
    )  # fmt: skip
    first, _, second = play(spend(trace, lantern, Machine)).questions
    assert first.host == ATTIC.name
    assert second.spoke_at is not None
    return second.host, second.spoke_at - second.asked_at


def test_what_had_to_leave_is_loaded_elsewhere_before_its_conversation_goes_on() -> None:
    host, wait_s = _follow_up()
    assert (host, wait_s < 1.0) == (STUDIO.name, True)


def test_of_two_lanterns_only_one_loads_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = replace(fleet.FleetRules(), loads_ahead=False)
    monkeypatch.setattr("bench.fleet.lantern.FleetRules", lambda: rules)
    _, wait_s = _follow_up()
    assert wait_s > LOAD_S / 2


def test_a_fault_in_it_costs_no_host_and_is_over_with_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults = [ZeroDivisionError("of ours")] * 5

    def breaks(*args: object) -> object:
        if faults:
            raise faults.pop()
        return plan_ahead(*args)  # pyright: ignore[reportArgumentType]  # as it came

    monkeypatch.setattr(fleet, "plan_ahead", breaks)
    host, wait_s = _follow_up()
    assert (host, wait_s < 1.0) == (STUDIO.name, True)
    assert not faults
