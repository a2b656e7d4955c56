"""What a waiting asker is told: how far a load is, and how long a line will take."""

from dataclasses import replace

import pytest

from bot.domain.events import Loading
from bot.domain.hosts import Instance, LoadInFlight, Speed
from bot.domain.ids import HostName, InstanceId, InstanceRef, ModelKey
from bot.fleet.progress import STANDS_S, at_rest_in_s, loading_news
from bot.fleet.queue import Ticket
from bot.fleet.residents import Resident
from bot.policy.prediction import PROGRESS_TO_TRUST, seconds_in_line

H, ONE = HostName("studio"), ModelKey("one")
TURNS = {"one": 10.0, "two": 40.0}


@pytest.mark.parametrize(
    ("fraction", "expected_s", "left_s"),
    [
        (0.0, None, None),
        (PROGRESS_TO_TRUST - 0.001, None, None),
        (PROGRESS_TO_TRUST, None, 90.0),
        (0.5, 100.0, 10.0),
        (0.0, 40.0, 30.0),
        (0.0, 10.1, 1.0),
        (0.0, 10.0, None),
        (PROGRESS_TO_TRUST, 10.0, 90.0),
    ],
)
def test_seconds_left_are_told_by_progress_else_by_history_else_not(
    fraction: float, expected_s: float | None, left_s: float | None
) -> None:
    load = LoadInFlight(ONE, fraction, 100.0, expected_s, 3)
    told = loading_news(H, load, 110.0)
    assert told == Loading(H, ONE, fraction, told.seconds_left, 10.0, 3, told.usual_s)
    assert told.seconds_left == (None if left_s is None else pytest.approx(left_s))


@pytest.mark.parametrize(
    ("fraction", "usual_s", "elapsed_s", "is_late"),
    [
        (0.0, 10.0, 15.0, False),
        (0.0, 10.0, 15.01, True),
        (0.0, None, 99.0, False),
        (0.5, 10.0, 7.5, False),
        (0.5, 10.0, 7.6, True),
        (0.58, 15.0, 75.0, True),
        # Of a tiny model a second more is what counts.
        (0.0, 0.02, 1.02, False),
        (0.0, 0.02, 1.03, True),
    ],
)
def test_a_load_says_that_it_takes_longer_than_usual_as_soon_as_that_is_plain(
    fraction: float, usual_s: float | None, elapsed_s: float, is_late: bool
) -> None:
    told = loading_news(H, LoadInFlight(ONE, fraction, 0.0, usual_s, 1), elapsed_s)
    assert told.usual_s == (usual_s if is_late else None)


def test_a_load_is_never_said_to_be_for_nobody() -> None:
    assert loading_news(H, LoadInFlight(ONE, 0.0, 0.0, None, 0), 1.0).waiters == 1


def test_a_load_that_waits_for_that_of_another_lantern_tells_so_far_and_no_end() -> None:
    load = LoadInFlight(ONE, 0.5, 100.0, 40.0, 3, is_held=True)
    held = Loading(H, ONE, 0.0, None, 12.0, 3, is_held=True)
    assert loading_news(H, load, 112.9) == held
    signed = replace(load, told_at=112.9 - STANDS_S)
    assert loading_news(H, signed, 112.9) == held
    # Stopped by Ctrl-Z it was said to load for minutes.
    stands = replace(held, stands_s=STANDS_S)
    assert loading_news(H, replace(signed, told_at=112.8 - STANDS_S), 112.9) == stands


@pytest.mark.parametrize(
    ("position", "running_s", "slots", "turn_s", "expected"),
    [
        # The slot that is free first is free again before the other.
        (2, [9.0, 60.0], 2, 10.0, 16.0),
        (1, [], 1, None, None),
        (1, [], 0, 8.0, None),
        (1, [3.0], 1, 8.0, 7.0),
        (1, [3.0], 2, 8.0, 0.0),
        (2, [3.0], 2, 8.0, 7.0),
        (3, [3.0], 2, 8.0, 8.0),
        (1, [20.0], 1, 8.0, 10.0),
        (2, [3.0, 6.0], 2, 8.0, 7.0),
        (3, [0.0, 6.0], 2, 8.0, 13.0),
        (1, [1.0, 2.0, 3.0], 2, 8.0, 7.0),
        (1, [2.5], 1, 8.0, 7.0),
    ],
)
def test_a_place_in_line_takes_as_long_as_those_ahead(
    position: int, running_s: list[float], slots: int, turn_s: float | None, expected: float | None
) -> None:
    assert seconds_in_line(position, running_s, slots, turn_s) == expected


def test_a_load_that_tells_nothing_for_long_is_said_to_stand_and_not_to_end() -> None:
    load = LoadInFlight(ONE, 0.5, 0.0, 4.0, told_at=2.0, gap_s=1.0)
    left = [loading_news(H, load, now).seconds_left for now in (2.0, 3.0, 5.0, 7.0)]
    assert left == [2.0, 1.0, 1.0, 1.0], "it never rises"
    for now, stands_s in ((7.01, 5.0), (14.2, 12.0)):
        said = loading_news(H, load, now)
        assert (said.seconds_left, said.stands_s) == (None, stands_s)


def test_a_load_that_reports_seldom_does_not_stand_between_two_reports() -> None:
    load = LoadInFlight(ONE, 0.1, 0.0, None, told_at=10.0, gap_s=10.0)
    assert loading_news(H, load, 30.0).stands_s is None
    assert loading_news(H, load, 30.1).stands_s == 20.0


@pytest.mark.parametrize(
    ("began", "seconds"),
    [
        ({}, 0.0),
        # Turns of 10 s and 40 s, 4 s and 2 s under way: 8 s and 39 s are left of them.
        ({"one": [6.0]}, 8.0),
        ({"one": [6.0], "two": [8.0]}, 39.0),
        ({"two": [8.0], "one": [6.0]}, 39.0),
        ({"two": [8.0, 2.0]}, 39.0),
        ({"one": [6.0], "unmeasured": [6.0]}, None),
        ({"unmeasured": [6.0], "one": [6.0]}, None),
    ],
)
def test_a_host_is_at_rest_once_the_longest_of_its_answers_is_over(
    began: dict[str, list[float]], seconds: float | None
) -> None:
    residents = [
        Resident(
            InstanceRef(name),
            Instance(InstanceId(name), ModelKey(name)),
            0.0,
            0.0,
            users={Ticket(n): "ada" for n, _ in enumerate(starts)},
            granted_at={Ticket(n): start for n, start in enumerate(starts)},
        )
        for name, starts in began.items()
    ]
    speeds = {ModelKey(name): Speed(turn_s=turn_s) for name, turn_s in TURNS.items()}
    assert at_rest_in_s(residents, speeds, 10.0) == seconds
