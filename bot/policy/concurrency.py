"""How many requests a provider is given at once: fewer when it says "too many", slowly more again.

Z.AI limits by requests at once and model, and tells the limit only by refusing.
"""

from dataclasses import dataclass, replace

CROWDED_CODE = "1302"
"""Z.AI: too many requests at once."""
CAREFUL_START = 2
"""Where a provider that tells no limit begins."""
ANSWERS_TO_WIDEN = 10
"""Answers in a row, at the present limit, before one more request at once is tried."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """The present limit of one provider."""

    limit: int
    most: int
    """As configured."""
    answers: int = 0
    """Since the limit last changed."""


def lanes(most: int, *, is_careful: bool) -> Lanes:
    """The limit to begin with."""
    return Lanes(min(CAREFUL_START, most) if is_careful else most, most)


def widened(lanes: Lanes) -> Lanes:
    """The limit after an answer."""
    if lanes.limit >= lanes.most:
        return lanes
    if lanes.answers + 1 < ANSWERS_TO_WIDEN:
        return replace(lanes, answers=lanes.answers + 1)
    return replace(lanes, limit=lanes.limit + 1, answers=0)


def narrowed(lanes: Lanes) -> Lanes:
    """The limit after the provider said that these were too many; never none at all."""
    return replace(lanes, limit=max(1, lanes.limit - 1), answers=0)
