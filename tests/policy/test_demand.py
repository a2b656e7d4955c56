"""How likely is it that a model is asked for again soon?"""

import math

import pytest
from policy_builders import NOW

from bot.domain.hosts import Demand
from bot.policy.demand import (
    COPY_HORIZON_S,
    COPY_SHARE,
    FADES_S,
    GOES_ON,
    HORIZON_S,
    NOBODY,
    RESTS_S,
    chance,
    expected_asks,
    faded,
    missed_s,
    resting_since,
)


def test_nobody_asked_for_is_asked_for_by_nobody() -> None:
    assert chance(NOBODY, NOW) == 0.0


def test_conversations_begun_come_at_the_rate_of_late() -> None:
    expected = 3.0 * HORIZON_S / FADES_S
    assert chance(Demand(begun=3.0, at=NOW), NOW) == pytest.approx(1 - math.exp(-expected))


def test_a_conversation_just_answered_mostly_goes_on() -> None:
    expected = GOES_ON * (1 - math.exp(-HORIZON_S / RESTS_S))
    found = chance(Demand(resting=1.0, at=NOW), NOW)
    assert found == pytest.approx(1 - math.exp(-expected))
    assert found > chance(Demand(begun=1.0, at=NOW), NOW)


def test_both_fade_each_by_its_own_time() -> None:
    later = faded(Demand(2.0, 4.0, NOW), NOW + RESTS_S)
    assert later.resting == pytest.approx(4.0 / math.e)
    assert later.begun == pytest.approx(2.0 * math.exp(-RESTS_S / FADES_S))
    assert later.at == NOW + RESTS_S
    assert resting_since(NOW, NOW + RESTS_S) == pytest.approx(1 / math.e)


def test_a_clock_that_went_back_fades_nothing() -> None:
    assert faded(Demand(2.0, 4.0, NOW), NOW - 5).begun == 2.0
    assert resting_since(NOW, NOW - 5) == 1.0


@pytest.mark.parametrize(("rested_s", "likely"), [(0, 0.59), (60, 0.37), (120, 0.17), (300, 0.02)])
def test_a_conversation_goes_on_as_likely_as_among_people(rested_s: float, likely: float) -> None:
    # Of log-normal pauses with a median of 45 s, where 68 % of all answers are asked on.
    found = expected_asks(Demand(resting=1.0, at=NOW), NOW + rested_s, HORIZON_S)
    assert found == pytest.approx(likely, abs=0.055)


def test_the_last_copy_is_missed_by_its_load_and_another_by_how_slow_the_rest_are() -> None:
    demand = Demand(begun=2.0, resting=1.0, at=NOW)
    assert missed_s(demand, NOW, 8.0, None) == 8.0 * chance(demand, NOW)
    asks = COPY_SHARE * expected_asks(demand, NOW, COPY_HORIZON_S)
    for slower_s, lost_s in ((3.0, 3.0), (0.0, 0.0), (-3.0, 0.0)):
        assert missed_s(demand, NOW, 8.0, slower_s) == pytest.approx(asks * lost_s)
    assert missed_s(NOBODY, NOW, 8.0, 3.0) == 0.0
