from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import host, model

from bot.domain.hosts import LoadRecord, Pace, Speed, SpeedRecord
from bot.domain.ids import HostName, ModelKey
from bot.policy.speeds import (
    LEARNT_SHARE,
    MEASURABLE_PROMPT,
    MEASURABLE_REPLY,
    SENT_S,
    SLOWEST_PER_S,
    UNMEASURED,
    blend,
    blend_speed,
    expected_rates,
    fastest,
    learnt,
    load_rate,
    speed_of_answer,
)

LOAD = LoadRecord(HostName("studio-1"), ModelKey("qwen"), seconds=10.0, size_bytes=5_000)
ANSWER = SpeedRecord(HostName("studio-1"), ModelKey("qwen"), 1000, 101, 2.0, 10.0)
speeds = st.floats(0.0, 1e6)


@pytest.mark.parametrize(
    ("average", "measured", "expected"),
    [(None, None, None), (None, 5.0, 5.0), (5.0, None, 5.0), (10.0, 20.0, 13.0), (0.0, 0.0, 0.0)],
)
def test_an_average_moves_three_tenths_towards_the_newest(
    average: float | None, measured: float | None, expected: float | None
) -> None:
    assert blend(average, measured) == expected


@given(speeds, speeds)
def test_an_average_stays_between_the_old_and_the_new(average: float, measured: float) -> None:
    blended = blend(average, measured)

    assert blended is not None
    low, high = sorted((average, measured))
    assert low <= blended + 1e-6
    assert blended <= high + 1e-6


def test_what_was_not_measured_keeps_its_average() -> None:
    known = Speed(load_s=10.0, prefill_tokens_per_s=500.0, tokens_per_s=10.0, turn_s=12.0)

    assert blend_speed(known, Speed()) == known
    assert blend_speed(Speed(), known) == known


def test_an_answer_measures_reading_writing_and_how_long_it_held_its_slot() -> None:
    assert speed_of_answer(ANSWER) == Speed(
        prefill_tokens_per_s=1000 / (2.0 - SENT_S), tokens_per_s=10.0, turn_s=12.0
    )


@pytest.mark.parametrize(
    ("first_token_s", "read_s"), [(0.5, 0.5 - SENT_S), (2 * SENT_S, SENT_S), (0.04, 0.02)]
)
def test_the_way_to_a_host_is_no_reading_but_half_of_a_wait_is_at_the_least(
    first_token_s: float, read_s: float
) -> None:
    measured = speed_of_answer(replace(ANSWER, first_token_s=first_token_s))
    assert measured.prefill_tokens_per_s == pytest.approx(1000 / read_s)


@pytest.mark.parametrize(
    ("record", "reads", "writes"),
    [
        (replace(ANSWER, prompt_tokens=MEASURABLE_PROMPT - 1), False, True),
        (replace(ANSWER, prompt_tokens=MEASURABLE_PROMPT), True, True),
        (replace(ANSWER, completion_tokens=MEASURABLE_REPLY), True, True),
        (replace(ANSWER, first_token_s=0.5, generation_s=0.5), True, True),
        (replace(ANSWER, completion_tokens=MEASURABLE_REPLY - 1), True, False),
        (replace(ANSWER, first_token_s=0.0), False, True),
        (replace(ANSWER, generation_s=0.0), True, False),
    ],
)
def test_too_little_to_time_measures_no_rate(
    record: SpeedRecord, reads: bool, writes: bool
) -> None:
    speed = speed_of_answer(record)

    assert (speed.prefill_tokens_per_s is not None) is reads
    assert (speed.tokens_per_s is not None) is writes


@pytest.mark.parametrize(
    ("load", "rate"),
    [
        (LOAD, 500.0),
        (replace(LOAD, size_bytes=None), None),
        (replace(LOAD, size_bytes=0), None),
        (replace(LOAD, seconds=0.0), None),
    ],
)
def test_a_load_of_known_size_measures_its_host(load: LoadRecord, rate: float | None) -> None:
    assert load_rate(load) == rate


@pytest.mark.parametrize(
    ("size_bytes", "seconds", "rate"), [(1, 0.5, 2.0), (0, 0.5, None), (1, 0.0, None)]
)
def test_the_smallest_load_that_took_any_time_has_a_rate(
    size_bytes: int, seconds: float, rate: float | None
) -> None:
    assert load_rate(replace(LOAD, size_bytes=size_bytes, seconds=seconds)) == rate


# --- guesses --------------------

BIG, SMALL = model("big", 40.0), model("small", 4.0)


def test_a_token_of_a_model_twice_as_large_takes_twice_as_long() -> None:
    unknown = host(models=[BIG, SMALL])
    big, small = (expected_rates(unknown, of) for of in (BIG, SMALL))
    assert small == pytest.approx((10 * big[0], 10 * big[1]))
    assert expected_rates(unknown, model("unsized", None)) == (500.0, 40.0)


def test_what_was_measured_itself_goes_first_each_for_itself() -> None:
    read = host(speeds={SMALL.key: Speed(prefill_tokens_per_s=7.0)})
    assert expected_rates(read, SMALL)[0] == 7.0
    assert expected_rates(read, SMALL)[1] == expected_rates(host(), SMALL)[1]
    both = host(speeds={SMALL.key: Speed(prefill_tokens_per_s=7.0, tokens_per_s=3.0)})
    assert expected_rates(both, SMALL) == (7.0, 3.0)
    none = host(speeds={SMALL.key: Speed(prefill_tokens_per_s=1e-9, tokens_per_s=1e-9)})
    assert expected_rates(none, SMALL) == (SLOWEST_PER_S, SLOWEST_PER_S)


def test_a_host_measured_with_one_model_is_known_with_all() -> None:
    pace, effort = learnt(UNMEASURED, UNMEASURED, 4e9, Speed(prefill_tokens_per_s=1000.0))
    assert effort == UNMEASURED
    there = replace(host(), pace=pace)
    assert expected_rates(there, SMALL)[0] == pytest.approx(1000.0)
    assert expected_rates(there, BIG)[0] == pytest.approx(100.0)
    # Writing was not measured.
    assert expected_rates(there, SMALL)[1] == expected_rates(host(), SMALL)[1]


def test_a_model_measured_on_one_known_host_is_known_on_all() -> None:
    # A mixture of experts: ten times as fast as its size tells.
    pace, effort = learnt(Pace(4e12, None), UNMEASURED, 40e9, Speed(prefill_tokens_per_s=1000.0))
    assert pace == Pace(4e12, None)
    other = replace(host(), pace=Pace(8e12, None), efforts={BIG.key: effort})
    assert expected_rates(other, BIG)[0] == pytest.approx(2000.0)


def test_where_both_are_known_each_takes_the_same_share_of_what_was_wrong() -> None:
    before = Pace(200.0, 100.0), Pace(2.0, 1.0)
    pace, effort = learnt(*before, 9.0, Speed(prefill_tokens_per_s=200.0, tokens_per_s=50.0))
    assert (pace.prefill or 0) / 200.0 == pytest.approx(2.0**LEARNT_SHARE)
    assert 2.0 / (effort.prefill or 0) == pytest.approx(2.0**LEARNT_SHARE)
    assert (pace.decode or 0) < 100.0 < 100.0 * (effort.decode or 0)
    assert learnt(*before, 1.0, Speed()) == before


@pytest.mark.parametrize(
    ("pace", "effort", "rate", "most", "learnt_pace", "learnt_effort"),
    [
        # No token takes more than all 4 GB: the host was taken for too fast.
        (9e12, None, 1000.0, None, 4e12, 4e9),
        (9e12, 4e9, 1000.0, None, 4e12, 4e9),
        # A mixture of experts takes fewer.
        (3e12, None, 1000.0, None, 3e12, 3e9),
        # At the most so fast, whatever was beside: nothing is learnt of the model.
        (9e12, None, None, 1000.0, 4e12, None),
        (9e12, 1e9, None, 1000.0, 1e12, 1e9),
        (9e11, 1e9, None, 1000.0, 9e11, 1e9),
        (None, None, None, 1000.0, 4e12, None),
        (None, 1e9, None, 1000.0, 1e12, 1e9),
        (None, 1e9, None, None, None, 1e9),
        (None, 1e9, 1000.0, 1500.0, 1e12, 1e9),
    ],
)
def test_a_host_is_no_faster_than_all_weights_at_each_token_and_a_model_no_heavier(
    pace: float | None,
    effort: float | None,
    rate: float | None,
    most: float | None,
    learnt_pace: float | None,
    learnt_effort: float | None,
) -> None:
    before = Pace(pace, pace), Pace(effort, effort)
    measured, bound = (Speed(prefill_tokens_per_s=r, tokens_per_s=r) for r in (rate, most))
    now = learnt(*before, 4e9, measured, bound)
    assert now == (Pace(learnt_pace, learnt_pace), Pace(learnt_effort, learnt_effort))


@given(*[st.none() | st.floats(1.0, 1e13)] * 2, *[st.none() | st.floats(0.1, 1e5)] * 2)
def test_whatever_is_measured_a_host_keeps_below_what_all_weights_tell(
    pace: float | None, effort: float | None, rate: float | None, most: float | None
) -> None:
    effort = None if effort is None else min(effort, 4e9)
    measured, bound = Speed(tokens_per_s=rate), Speed(tokens_per_s=most)
    paced, weighs = learnt(Pace(None, pace), Pace(None, effort), 4e9, measured, bound)
    assert weighs.decode is None or weighs.decode <= 4e9 * (1 + 1e-9)
    if paced.decode is not None and (rate or most):
        assert paced.decode <= (rate or most or 0.0) * 4e9 * (1 + 1e-9)


def test_a_host_nobody_tried_counts_as_the_fastest() -> None:
    known = [Pace(1.0, 9.0), UNMEASURED, Pace(5.0, None), Pace(None, 3.0)]
    assert fastest(known) == Pace(5.0, 9.0)
    assert fastest([]) == UNMEASURED
