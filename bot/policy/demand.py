"""How likely a model is asked for again soon, and what its eviction would cost. Pure.

Two things make it likely: new conversations come at a rate that fades over half an hour, and a
conversation that was answered a moment ago mostly goes on.
"""

import math
from collections.abc import Iterable

from bot.domain.hosts import Demand

HORIZON_S = 120.0
"""An eviction is judged by who asks within so long: later there is time to load again."""
FADES_S = 1800.0
"""After so long a question counts a third of a new one."""
COPY_HORIZON_S, COPY_SHARE = 600.0, 0.5
"""One of several copies is judged by who asks within so long, of whom this part counts: they may
not come."""
GOES_ON, RESTS_S = 0.85, 90.0
"""Of conversations just answered so many ask again, and after so long without a next question one
counts a third. Chosen so that one more question within ``HORIZON_S`` is as likely as in chats of
three turns with pauses of 45 s in the median, long ones seldom (log-normal): 0.59 right after an
answer, 0.37 a minute later, 0.17 after two, 0.02 after five. The share that really go on (0.68)
with the mean pause said too little while a conversation was fresh, when it counts most."""


NOBODY = Demand()


def faded(demand: Demand, now: float) -> Demand:
    """The same demand as of now."""
    begun, resting = _left_of(demand, now)
    return Demand(begun, resting, now, demand.wish, demand.most_context, demand.most_at)


def _left_of(demand: Demand, now: float) -> tuple[float, float]:
    """What its beginnings and its resting conversations count for by now."""
    gone_s = max(0.0, now - demand.at)
    return demand.begun * math.exp(-gone_s / FADES_S), demand.resting * math.exp(-gone_s / RESTS_S)


def resting_since(since: float, now: float) -> float:
    """What one conversation answered at a time counts for among those that may go on."""
    return math.exp(-max(0.0, now - since) / RESTS_S)


def lately_needed(demands: Iterable[Demand], now: float) -> int:
    """The most tokens of context that anybody needed of any of these models of late."""
    late = (demand.most_context for demand in demands if now - demand.most_at < FADES_S)
    return max(late, default=0)


def expected_asks(demand: Demand, now: float, horizon_s: float) -> float:
    """How many questions are expected within some seconds."""
    # Asked for each instance in every snapshot of a host: no record of it is made.
    begun, resting = _left_of(demand, now)
    new = begun * horizon_s / FADES_S
    return new + resting * GOES_ON * (1.0 - math.exp(-horizon_s / RESTS_S))


def chance(demand: Demand, now: float) -> float:
    """How likely somebody asks within ``HORIZON_S``; 0 to 1."""
    return 1.0 - math.exp(-expected_asks(demand, now, HORIZON_S))


def missed_s(demand: Demand, now: float, load_s: float, slower_s: float | None) -> float:
    """Seconds that a copy's eviction is expected to cost those who will ask.

    Args:
        demand: For its model.
        now: Monotonic seconds.
        load_s: Loading the model again.
        slower_s: By so much the best copy that stays is slower; None where none stays.
    """
    if slower_s is None:
        return load_s * chance(demand, now)
    # Two models with a copy each on a slow host once took turns on the fast one, a load every 15 s:
    # neither was missed there.
    return COPY_SHARE * expected_asks(demand, now, COPY_HORIZON_S) * max(0.0, slower_s)
