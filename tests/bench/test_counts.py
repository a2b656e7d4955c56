"""The size of the house is judged by its bounds."""

from collections import Counter

import pytest

from bench.counts import beyond

EDGE = Counter(lines=2000, classes=22, functions=100, comments=60)


def test_a_house_that_is_exactly_as_large_as_it_may_be_is_well() -> None:
    assert beyond(20, 8, EDGE) == []


@pytest.mark.parametrize(
    ("rooms", "floors", "more", "words"),
    [
        (21, 8, {}, "more than 20 rooms"),
        (20, 9, {}, "more than 8 floors"),
        (20, 8, {"classes": 1}, "more than 11 classes a 1,000 lines"),
        (20, 8, {"functions": 1}, "more than 50 functions a 1,000 lines"),
        (20, 8, {"comments": -1}, "fewer than 30 comments of why a 1,000 lines"),
    ],
)
def test_what_is_beyond_a_bound_is_named(
    rooms: int, floors: int, more: dict[str, int], words: str
) -> None:
    whole = Counter(EDGE)
    whole.update(more)
    assert beyond(rooms, floors, whole) == [words]
