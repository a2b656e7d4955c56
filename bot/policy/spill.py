"""When one loaded copy is far slower than its model usually is on that host.

LM Studio loads what does not fit the graphics card partly into the computer's own memory and says
nothing of it: the same model then writes a tenth as fast, until it is loaded again.
"""

from collections.abc import Sequence
from statistics import median

SPILLED = 3.0
"""Times slower than usual; heat and other programs cost less than that."""
LEAST_USUAL = 5
"""Answers before anything counts as usual."""
LEAST_SLOW = 2
"""Answers of one copy in a row: one may have met another program at work."""
KEPT_RATES = 40
"""Of the newest answers: should a host stay slow, that becomes its usual."""


def slowdown(usual: Sequence[float], newest: Sequence[float]) -> float:
    """How many times slower a copy writes than usual; 1.0 while it may be chance.

    Args:
        usual: Tokens a second of the model's answers on that host, by whichever copy.
        newest: Those of this copy, oldest first.
    """
    if len(usual) < LEAST_USUAL or len(newest) < LEAST_SLOW:
        return 1.0
    times = median(usual) / max(newest[-LEAST_SLOW:])
    return times if times > SPILLED else 1.0
