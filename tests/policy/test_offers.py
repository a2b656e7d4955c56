from typing import Literal

import pytest

from bot.domain.chat import Candidate, Route
from bot.domain.ids import HostName, ModelKey, ProviderName
from bot.policy.offers import SlowRules, Ways, WhenSlow, plan_ways

COLD = Candidate(ModelKey("big"), HostName("studio"), seconds=40.0)
OTHER = Candidate(ModelKey("big"), HostName("attic"), seconds=60.0)
CLOUD = Candidate(ModelKey("glm"), provider=ProviderName("zai"), seconds=1.0)
WARM = Candidate(ModelKey("small"), HostName("studio"), seconds=20.0)
"""At exactly half the wait."""
SLOW = SlowRules(after_s=40.0)
"""The wait for ``COLD`` is exactly what counts as slow."""


def test_a_wait_as_long_as_what_counts_as_slow_is_slow() -> None:
    assert plan_ways(Route((COLD, CLOUD)), lambda: None, SLOW) == Ways(COLD, cloud=CLOUD)
    assert plan_ways(Route((COLD, CLOUD)), lambda: None, SlowRules(after_s=40.1)) is None


@pytest.mark.parametrize(
    "candidates",
    [
        (),
        (CLOUD, COLD),
        (Candidate(ModelKey("big"), HostName("studio")), CLOUD),
        (COLD, OTHER),
    ],
    ids=["nobody", "a provider first", "nobody knows how long", "no other way"],
)
def test_there_is_nothing_to_offer(candidates: tuple[Candidate, ...]) -> None:
    assert plan_ways(Route(candidates), lambda: None, SLOW) is None


@pytest.mark.parametrize(
    ("seconds", "is_offered"), [(20.0, True), (20.1, False), (0.0, True), (None, False)]
)
def test_a_warm_model_is_offered_at_half_the_wait_or_less(
    seconds: float | None, is_offered: bool
) -> None:
    warm = Candidate(ModelKey("small"), HostName("studio"), seconds=seconds)
    ways = plan_ways(Route((COLD, OTHER)), lambda: warm, SLOW)
    assert ways == (Ways(COLD, warm=warm) if is_offered else None)


def test_a_warm_model_too_slow_leaves_the_cloud_to_offer() -> None:
    late = Candidate(ModelKey("small"), HostName("studio"), seconds=39.0)
    assert plan_ways(Route((COLD, OTHER, CLOUD)), lambda: late, SLOW) == Ways(COLD, cloud=CLOUD)


@pytest.mark.parametrize(("when_slow", "chosen"), [("ask", None), ("warm", WARM), ("cloud", CLOUD)])
def test_the_settings_choose_without_asking(when_slow: WhenSlow, chosen: Candidate | None) -> None:
    ways = plan_ways(Route((COLD, CLOUD)), lambda: WARM, SlowRules(40.0, when_slow))
    assert ways == Ways(COLD, WARM, CLOUD, chosen)


def test_who_always_waits_is_offered_nothing() -> None:
    assert plan_ways(Route((COLD, CLOUD)), lambda: WARM, SlowRules(40.0, "wait")) is None


@pytest.mark.parametrize("when_slow", ["warm", "cloud"])
def test_what_the_settings_would_choose_may_not_be_there(
    when_slow: Literal["warm", "cloud"],
) -> None:
    route, warm = (Route((COLD, CLOUD)), None) if when_slow == "warm" else (Route((COLD,)), WARM)
    ways = plan_ways(route, lambda: warm, SlowRules(40.0, when_slow))
    assert ways is not None
    assert ways.chosen is None
