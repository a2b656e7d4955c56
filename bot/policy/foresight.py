"""How good predictions were: what was told of each answer's first word, against when it came."""

from collections.abc import Sequence
from statistics import median

from bot.domain.chat import Receipt
from bot.domain.values import value

FACTOR, ALLOWED_S = 2.0, 1.0
"""A prediction is near when neither is more than twice the other and a second."""
LEAST_S = 0.05
"""Less is as good as nothing: of a hundredth of a second and two neither is wrong."""


@value
class Foresight:
    """How one host's predictions came true."""

    answers: int
    median_factor: float
    """Actual by predicted seconds, of the one in the middle; above 1 is later than told."""
    near_share: float
    """Of 0 to 1, those within a factor of two and a second."""


def foretold(receipt: Receipt) -> tuple[float, float] | None:
    """Predicted and actual seconds to the first word, of the host that answered.

    None where no host answered, it was none of the route, or another spoke the first word: an
    answer whose host was lost told of the next one's prediction and the first one's wait.
    """
    timing, first_s = receipt.timing, receipt.timing.first_token_s
    who = (receipt.host, receipt.model)
    told = [c.seconds for c in receipt.route.candidates if (c.host, c.model) == who]
    if receipt.host is None or receipt.seams or first_s is None or not told or told[0] is None:
        return None
    return told[0], timing.queue_s + timing.load_s + first_s


def judged(told: Sequence[tuple[float, float]]) -> Foresight | None:
    """How these came true, each as predicted and actual seconds; None where there are none."""
    if not told:
        return None
    factors = [max(actual, LEAST_S) / max(predicted, LEAST_S) for predicted, actual in told]
    near = [max(pair) <= FACTOR * min(pair) + ALLOWED_S for pair in told]
    return Foresight(len(told), median(factors), sum(near) / len(near))
