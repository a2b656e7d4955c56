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
class Concurrency:
    """How many requests one provider is given at once."""

    limit: int
    """At present."""
    most: int
    """As configured."""
    answers: int = 0
    """Since the limit last changed."""

    def after_answer(self) -> "Concurrency":
        """One request more after ``ANSWERS_TO_WIDEN`` answers, up to the configured number."""
        if self.limit >= self.most:
            return self
        if self.answers + 1 < ANSWERS_TO_WIDEN:
            return replace(self, answers=self.answers + 1)
        return replace(self, limit=self.limit + 1, answers=0)

    def after_refusal(self) -> "Concurrency":
        """One request fewer after the provider said that these were too many; never none."""
        return replace(self, limit=max(1, self.limit - 1), answers=0)
