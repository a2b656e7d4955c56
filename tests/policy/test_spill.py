"""A copy far slower than its model usually is there."""

import pytest

from bot.policy.spill import slowdown


@pytest.mark.parametrize(
    ("usual", "newest", "times"),
    [
        ([30.0] * 5, [6.0, 5.0], 5.0),
        ([30.0] * 4, [6.0, 5.0], 1.0),
        ([30.0] * 5, [5.0], 1.0),
        ([30.0] * 5, [5.0, 10.0], 1.0),
        ([30.0] * 5, [5.0, 9.0], 30 / 9),
        ([30.0] * 5, [5.0, 5.0, 29.0], 1.0),
        ([30.0] * 5, [29.0, 5.0, 5.0], 6.0),
        ([30.0, 30.0, 30.0, 5.0, 5.0], [5.0, 5.0], 6.0),
        ([30.0, 30.0, 5.0, 5.0, 5.0], [5.0, 5.0], 1.0),
    ],
)
def test_how_many_times_slower(usual: list[float], newest: list[float], times: float) -> None:
    assert slowdown(usual, newest) == pytest.approx(times)
