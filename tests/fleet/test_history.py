"""How fast a host loads, from its own history or by size."""

import pytest

from bot.domain.hosts import LoadRecord, Model, Speed, SpeedRecord
from bot.domain.ids import HostName, ModelKey
from bot.fleet.speeds import History
from bot.policy.speeds import LOAD_BYTES_PER_S, LOAD_S

ONE, TWO = ModelKey("one"), ModelKey("two")
H = HostName("studio")


def test_a_load_is_remembered_of_its_model_and_of_the_host() -> None:
    history = History({}, None)
    history.learn(LoadRecord(H, ONE, 4.0, 400))
    assert (history.speeds, history.load_bytes_per_s) == ({ONE: Speed(load_s=4.0)}, 100.0)
    history.learn(LoadRecord(H, ONE, 14.0, 2800))
    assert history.speeds[ONE].load_s == pytest.approx(7.0)
    assert history.load_bytes_per_s == pytest.approx(130.0)


def test_an_answer_is_remembered_beside_the_loads_and_changes_no_snapshot() -> None:
    before = {TWO: Speed(load_s=1.0)}
    history = History(before, 5.0)
    history.learn(SpeedRecord(H, TWO, 0, 0, 0.5, 1.5))
    assert history.speeds == {TWO: Speed(load_s=1.0, turn_s=2.0)}
    assert before == {TWO: Speed(load_s=1.0)}
    assert history.load_bytes_per_s == 5.0


@pytest.mark.parametrize(
    ("load_s", "size", "rate", "expected"),
    [
        (3.0, 1000, 10.0, (3.0, "measured")),
        (0.0, 1000, 10.0, (0.0, "measured")),
        (None, 1000, 10.0, (100.0, "by size")),
        (None, None, 10.0, (LOAD_S, "a guess")),
        (None, 6_000_000_000, None, (6e9 / LOAD_BYTES_PER_S, "a guess by size")),
        (None, 6_000_000_000, 0.0, (6e9 / LOAD_BYTES_PER_S, "a guess by size")),
    ],
)
def test_a_load_takes_as_long_as_before_else_by_its_size(
    load_s: float | None, size: int | None, rate: float | None, expected: tuple[float, str]
) -> None:
    history = History({ONE: Speed(load_s=load_s)}, rate)
    assert history.load_s(ONE, Model(ONE, size_bytes=size)) == expected


def test_of_a_model_nobody_knows_a_load_is_a_guess() -> None:
    assert History({}, 10.0).load_s(ONE, None) == (LOAD_S, "a guess")
