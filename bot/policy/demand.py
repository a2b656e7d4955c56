"""How likely a model is asked for again soon, and what its eviction would cost. Pure.

Two things make it likely: new conversations come at a rate that fades over half an hour, and a
conversation that was answered a moment ago mostly goes on.
"""

import math
from dataclasses import dataclass

HORIZON_S = 120.0
"""An eviction is judged by who asks within so long: later there is time to load again."""
FADES_S = 1800.0
"""After so long a question counts a third of a new one."""
GOES_ON = 0.68
"""Share of answers that are followed by another question: three turns a conversation."""
RESTS_S = 120.0
"""After so long without a next question a conversation counts a third of one just answered."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Who asks for one model, as of a moment; everything fades from there on."""

    begun: float = 0.0
    """Conversations begun of late, each fading by ``FADES_S``."""
    resting: float = 0.0
    """Conversations that may go on, each fading by ``RESTS_S``."""
    at: float = 0.0
    """Monotonic seconds."""


NOBODY = Demand()


def faded(demand: Demand, now: float) -> Demand:
    """The same demand as of now."""
    gone_s = max(0.0, now - demand.at)
    begun = demand.begun * math.exp(-gone_s / FADES_S)
    return Demand(begun, demand.resting * math.exp(-gone_s / RESTS_S), now)


def resting_since(since: float, now: float) -> float:
    """What one conversation answered at a time counts for among those that may go on."""
    return math.exp(-max(0.0, now - since) / RESTS_S)


def chance(demand: Demand, now: float) -> float:
    """How likely somebody asks within ``HORIZON_S``; 0 to 1."""
    of_now = faded(demand, now)
    # Right after the start little time has passed to count in.
    new = of_now.begun * HORIZON_S / FADES_S
    going_on = of_now.resting * GOES_ON * (1.0 - math.exp(-HORIZON_S / RESTS_S))
    return 1.0 - math.exp(-new - going_on)
