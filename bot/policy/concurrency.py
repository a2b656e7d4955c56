"""How many requests a provider is given at once, and how long the next one waits for its place.

Widened by answers and halved by refusals: what a provider takes depends on the account, the model
and the hour, and most tell it only by refusing.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from bot.domain.errors import FailureKind
from bot.domain.values import value
from bot.policy.prediction import seconds_in_line

TOO_MUCH = frozenset({FailureKind.RATE_LIMIT, FailureKind.OVERLOAD})
"""Failures by which a provider says that it is asked too much."""
CAREFUL_START = 2
"""Where one begins that limits requests at once and tells its limit only by refusing (Z.AI)."""
START = 5
"""Where any other begins whose limit nobody set."""
MOST_AT_ONCE = 32
"""How far answers widen what nobody limited."""
ANSWERS_TO_WIDEN = 10
"""Answers in a row, with every place taken, before a provider that once refused is given more."""
BRIEF_WAIT_S = 3.0
"""Longest wait for a place while somebody else could answer."""
ANSWER_S = 15.0
"""How long an answer is assumed to hold its place until one was measured."""


@value
class Concurrency:
    """How many requests one provider is given at once."""

    limit: int
    """At present."""
    most: int
    answers: int = 0
    """With every place taken, since the limit last changed."""
    shrunk_at: float = -math.inf
    """When it last said "too much" (monotonic seconds); at the beginning never."""

    def after_answer(self, *, is_full: bool) -> "Concurrency":
        """One request more after enough answers while every place was taken.

        Enough are as many as there are places, so that a crowd finds the room there is within
        few answers; where the provider has refused before, ``ANSWERS_TO_WIDEN``.
        """
        # Answers to one request at a time say nothing of two.
        if not is_full or self.limit >= self.most:
            return self
        enough = self.limit if math.isinf(self.shrunk_at) else ANSWERS_TO_WIDEN
        if self.answers + 1 < enough:
            return replace(self, answers=self.answers + 1)
        return replace(self, limit=self.limit + 1, answers=0)

    def after_refusal(self, sent_at: float, now: float) -> "Concurrency":
        """Half as many after the provider said that these were too many; never none."""
        # Seven refused in one moment are one piece of news: halved for each, a provider that
        # takes ten at once was left with one.
        if sent_at <= self.shrunk_at:
            return replace(self, answers=0)
        return replace(self, limit=max(1, self.limit // 2), answers=0, shrunk_at=now)


def first_concurrency(most: int | None, *, is_careful: bool) -> Concurrency:
    """Where a provider begins.

    Args:
        most: As configured; None leaves it to the provider, up to ``MOST_AT_ONCE``.
        is_careful: It is known to refuse what is one too many.
    """
    # A bound, as LiteLLM's `max_parallel_requests` is: whoever writes a number means "never more",
    # and is not surprised by fewer while the provider itself takes no more.
    if is_careful:
        return Concurrency(min(CAREFUL_START, most or CAREFUL_START), most or MOST_AT_ONCE)
    return Concurrency(most or START, most or MOST_AT_ONCE)


def wait_s(place: int, limit: int, answer_s: float | None, running_s: Sequence[float]) -> float:
    """Seconds until the turn of who waits at a place of the line, 1 being next; 0 is in.

    Args:
        place: In the line.
        limit: Requests at once.
        answer_s: How long an answer holds its place, as measured; None assumes it.
        running_s: How long each that is under way has been.
    """
    turn_s = ANSWER_S if answer_s is None else answer_s
    return (seconds_in_line(place, running_s, limit, turn_s) or 0.0) if place else 0.0
