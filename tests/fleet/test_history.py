"""How fast a host loads, from its own history or by size."""

import pytest

from bot.domain.hosts import LoadRecord, Model, Pace, Speed, SpeedRecord
from bot.domain.ids import HostName, ModelKey
from bot.fleet.speeds import History, Yardstick
from bot.policy.speeds import LOAD_BYTES_PER_S, LOAD_S, USUAL_BYTES
from bot.policy.spill import KEPT_RATES

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


def test_what_one_host_measured_tells_of_its_models_on_others() -> None:
    yardstick = Yardstick()
    assert yardstick.pace(H) == Pace()
    unsized = {ONE: Speed(prefill_tokens_per_s=100.0, tokens_per_s=10.0)}
    # Measured before the start: told once the host's disk was read, by the size it has there.
    history = History(unsized, None, H, yardstick)
    history.found({TWO: Model(TWO)})
    assert yardstick.pace(H) == Pace()
    history.found({ONE: Model(ONE)})
    slow = Pace(100.0 * USUAL_BYTES, 10.0 * USUAL_BYTES)
    assert (yardstick.pace(H), yardstick.efforts) == (slow, {})
    before = yardstick.efforts
    yardstick.learn(H, TWO, 4e9, Speed(prefill_tokens_per_s=200.0))
    assert yardstick.efforts == {TWO: Pace(slow.prefill and slow.prefill / 200.0, None)}
    assert before == {}, "a snapshot keeps its own"
    # Of one never measured the fastest there is, each way of its own.
    quick, other = HostName("quick"), HostName("other")
    yardstick.learn(quick, ModelKey("new"), 4e9, Speed(tokens_per_s=500.0))
    assert yardstick.pace(other) == Pace(slow.prefill, 500.0 * 4e9)
    assert yardstick.pace(quick) == Pace(slow.prefill, 500.0 * 4e9)
    assert yardstick.pace(H) == slow


def test_what_is_learnt_without_news_leaves_the_efforts_as_they_are() -> None:
    yardstick = Yardstick()
    yardstick.learn(H, ONE, 4e9, Speed(prefill_tokens_per_s=200.0))
    before = yardstick.efforts
    yardstick.learn(H, ONE, 4e9, Speed())
    assert yardstick.efforts is before


@pytest.mark.parametrize(("size", "reckoned"), [(4e9, 4e9), (None, USUAL_BYTES)])
def test_an_answer_tells_how_fast_its_host_is_by_what_its_model_weighs(
    size: float | None, reckoned: float
) -> None:
    history = History({}, None, H)
    model = Model(ONE, size_bytes=None if size is None else round(size))
    history.learn(SpeedRecord(H, ONE, 1000, 101, 2.0, 10.0), model)
    rates = history.speeds[ONE]
    assert rates.prefill_tokens_per_s is not None
    assert rates.tokens_per_s is not None
    pace = Pace(rates.prefill_tokens_per_s * reckoned, rates.tokens_per_s * reckoned)
    assert history.yardstick.pace(H) == pace


def test_of_a_hosts_answers_the_newest_say_what_is_usual() -> None:
    history = History({}, None, answers={ONE: [float(n) for n in range(KEPT_RATES + 1)]})
    assert (len(history.rates[ONE]), history.rates[ONE][0]) == (KEPT_RATES, 1.0)
