"""Wait or switch: what to offer when the wanted model is cold and slow here. Pure."""

from collections.abc import Callable
from typing import Literal

from bot.domain.chat import Candidate, Route
from bot.domain.values import value

WhenSlow = Literal["ask", "wait", "warm", "cloud"]
"""Ask by a card while loading; or always wait, take what is warm, or go to the cloud."""

QUICK_SHARE = 0.5
"""What is offered instead must take at most this share of the wait."""


@value
class SlowRules:
    """When a wait counts as slow, and what is done about it."""

    after_s: float = 20.0
    when_slow: WhenSlow = "ask"


@value
class Ways:
    """What may be done instead of waiting."""

    here: Candidate
    warm: Candidate | None = None
    cloud: Candidate | None = None
    chosen: Candidate | None = None
    """What the settings take without asking; None asks, and waits meanwhile."""


def plan_ways(
    route: Route, soonest_warm: Callable[[], Candidate | None], rules: SlowRules
) -> Ways | None:
    """The ways open beside a slow first candidate; None when waiting is all right.

    Args:
        route: Its first candidate is what would be waited for.
        soonest_warm: Gives the soonest model in memory, whatever it is; None without one. Asked
            only where a wait is slow: every model of every host is weighed for it.
        rules: What counts as slow.
    """
    here = route.candidates[0] if route.candidates else None
    if here is None or here.host is None or here.seconds is None or here.seconds < rules.after_s:
        return None
    if rules.when_slow == "wait":
        return None
    cloud = next((c for c in route.candidates if c.provider is not None), None)
    warm = soonest_warm()
    if warm is not None and (warm.seconds is None or warm.seconds > here.seconds * QUICK_SHARE):
        warm = None
    if warm is None and cloud is None:
        return None
    chosen = {"warm": warm, "cloud": cloud}.get(rules.when_slow)
    return Ways(here, warm, cloud, chosen)
