"""When a sleeping host could answer, and what it is called with."""

from dataclasses import replace

import pytest
from policy_builders import NOW, QWEN, fleet, host, instance, model

from bot.domain.chat import Rejection
from bot.domain.ids import AUTO
from bot.policy.prediction import Prediction, RouteAsk, predict_seconds
from bot.policy.routing import plan_route
from bot.policy.waking import WAKE_S, magic_packet, wake_left_s

DISK = (model(QWEN),)
ASLEEP = host("attic", DISK, [instance()], state="asleep", rate=1e9)


@pytest.mark.parametrize(
    ("changed", "left_s"),
    [
        ({}, WAKE_S),
        ({"wake_s": 12.0}, 12.0),
        ({"state": "waking", "wake_s": 12.0, "woken_at": NOW - 5}, 7.0),
        ({"state": "waking", "wake_s": 12.0, "woken_at": NOW - 11.5}, 1.0),
        ({"state": "waking", "wake_s": 12.0, "woken_at": NOW - 60}, 1.0),
        ({"state": "down"}, None),
        ({"state": "up"}, None),
    ],
)
def test_how_long_it_takes_to_wake(changed: dict[str, object], left_s: float | None) -> None:
    assert wake_left_s(replace(ASLEEP, **changed), NOW) == left_s


def test_a_sleeping_host_is_a_candidate_with_its_own_seconds() -> None:
    ask = RouteAsk((QWEN,))
    found = predict_seconds(ASLEEP, QWEN, ask, NOW)
    awake = predict_seconds(replace(ASLEEP, state="up", instances=()), QWEN, ask, NOW)
    assert isinstance(found, Prediction)
    assert isinstance(awake, Prediction)
    assert found.seconds == WAKE_S + awake.seconds, "as if it held nothing"
    assert found.reason == f"asleep: ~45 s, {awake.reason}"
    called = replace(ASLEEP, state="waking", woken_at=NOW - 40)
    found = predict_seconds(called, QWEN, ask, NOW)
    assert isinstance(found, Prediction)
    assert found.reason.startswith("waking: ~5 s left, cold: load")
    assert isinstance(predict_seconds(ASLEEP, QWEN, RouteAsk((QWEN,), 10**6), NOW), Rejection)
    assert plan_route(fleet(ASLEEP), RouteAsk((AUTO,))).candidates[0].host == ASLEEP.name


def test_a_card_is_called_by_six_bytes_of_ones_and_its_address_sixteen_times() -> None:
    packet = magic_packet("00:1a:2b:3c:4d:5e")
    assert packet[:6] == b"\xff" * 6
    assert packet[6:] == bytes([0, 0x1A, 0x2B, 0x3C, 0x4D, 0x5E]) * 16
