"""Predictions against what came."""

from dataclasses import replace

import pytest

from bot.domain.chat import Candidate, Receipt, Route, Seam, Timing
from bot.domain.ids import HostName, ModelKey, PersonaName
from bot.policy.foresight import Foresight, foretold, judged

KEY, STUDIO, ATTIC = ModelKey("m"), HostName("studio"), HostName("attic")
ROUTE = Route((Candidate(KEY, STUDIO, seconds=2.0), Candidate(KEY, ATTIC, seconds=9.0)))
TIMING = Timing(queue_s=1.0, load_s=5.0, first_token_s=0.5)
RECEIPT = Receipt(PersonaName("p"), KEY, ATTIC, timing=TIMING, route=ROUTE)


def test_who_answered_is_held_to_what_was_told_of_it() -> None:
    assert foretold(RECEIPT) == (9.0, 6.5)
    assert foretold(replace(RECEIPT, host=HostName("cellar"))) is None
    assert foretold(replace(RECEIPT, model=ModelKey("other"))) is None
    assert foretold(replace(RECEIPT, host=None)) is None
    assert foretold(replace(RECEIPT, timing=Timing())) is None
    # The first word was the lost host's, whatever was told of the one that went on.
    assert foretold(replace(RECEIPT, seams=(Seam(STUDIO),))) is None
    unknown = Route((Candidate(KEY, ATTIC),))
    assert foretold(replace(RECEIPT, route=unknown)) is None


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ([], None),
        ([(2.0, 5.0)], Foresight(1, 2.5, 1.0)),
        ([(2.0, 5.01)], Foresight(1, 2.505, 0.0)),
        ([(5.0, 2.0)], Foresight(1, 0.4, 1.0)),
        ([(5.01, 2.0)], Foresight(1, 2.0 / 5.01, 0.0)),
        ([(0.0, 0.02)], Foresight(1, 1.0, 1.0)),
        ([(1.0, 1.0), (1.0, 2.0), (1.0, 9.0)], Foresight(3, 2.0, 2 / 3)),
    ],
)
def test_how_they_came_true(told: list[tuple[float, float]], found: Foresight | None) -> None:
    assert judged(told) == found
