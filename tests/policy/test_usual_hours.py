"""What is loaded before the hours at which it is usually asked for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from policy_builders import GEMMA, NOW, QWEN, fleet, host, instance, model

from bot.domain.hosts import FleetSnapshot, HostSnapshot, LoadInFlight, LoadLimits, Speed, Wish
from bot.domain.ids import ModelKey
from bot.policy.usual_hours import LEAST, SOON, plan_preload, usually_asked

BERLIN = ZoneInfo("Europe/Berlin")
THURSDAY = datetime(2026, 11, 19, 8, 45, tzinfo=BERLIN)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
DISK = (model(QWEN), model(GEMMA))
ROOMY = replace(host("a", DISK), memory_bytes=500 * 10**9)


def asked(
    *ago: int, at: datetime = THURSDAY, key: ModelKey = QWEN
) -> list[tuple[ModelKey, datetime]]:
    return [(key, (at - n * DAY).astimezone(UTC)) for n in ago]


@pytest.mark.parametrize(
    ("ago", "is_usual"),
    [
        ((1, 2, 3, 6), True),
        ((1, 2, 3), False),
        # Twice on one day is one day.
        ((1, 1, 2, 3), False),
        # Saturday and Sunday tell nothing of a Thursday.
        ((1, 2, 4, 5), False),
        # The seventh working day before it, and the eighth.
        ((1, 2, 3, 9), True),
        ((1, 2, 3, 10), False),
        # What was asked for just now makes no habit.
        ((0, 1, 2, 3), False),
    ],
)
def test_what_was_asked_for_on_most_days_like_this_one_is_usual(
    ago: tuple[int, ...], is_usual: bool
) -> None:
    assert usually_asked(asked(*ago), THURSDAY) == [QWEN] * is_usual


def test_weekends_tell_of_weekends() -> None:
    saturday = THURSDAY + 2 * DAY
    assert usually_asked(asked(1, 2, 3, 4, 5, at=saturday), saturday) == []
    assert usually_asked(asked(6, 7, 13, 21, at=saturday), saturday) == [QWEN]


@pytest.mark.parametrize(
    ("later", "is_soon"),
    [(-MINUTE, False), (0 * MINUTE, True), (SOON - MINUTE, True), (SOON, False)],
)
def test_only_what_is_asked_for_soon_counts(later: timedelta, is_soon: bool) -> None:
    assert bool(usually_asked(asked(1, 2, 3, 6, at=THURSDAY + later), THURSDAY)) is is_soon


def test_nine_in_the_morning_stays_nine_when_clocks_change() -> None:
    monday = datetime(2026, 10, 26, 8, 45, tzinfo=BERLIN)
    before = [(QWEN, datetime(2026, 10, day, 7, 0, tzinfo=UTC)) for day in (20, 21, 22, 23)]
    assert usually_asked(before, monday) == [QWEN]
    assert usually_asked(before, monday - timedelta(hours=1)) == []


def test_the_surest_comes_first() -> None:
    seldom, often = asked(1, 2, 3, 6), asked(1, 2, 3, 6, 7, key=GEMMA)
    assert usually_asked([*seldom, *often], THURSDAY) == [GEMMA, QWEN]
    assert LEAST == 4


def planned(*hosts: HostSnapshot) -> list[tuple[ModelKey, str]]:
    seen: FleetSnapshot = fleet(*hosts)
    plan = plan_preload(seen, [Wish(QWEN), Wish(GEMMA)])
    return [(wish.model_key, name) for wish, name in plan]


def test_each_host_is_asked_for_one_thing_the_soonest_first() -> None:
    slow = replace(ROOMY, name="slow", speeds={k: Speed(load_s=90.0) for k in (QWEN, GEMMA)})
    assert planned(ROOMY) == [(QWEN, "a")]
    assert planned(slow, ROOMY) == [(QWEN, "a"), (GEMMA, "slow")]


@pytest.mark.parametrize(
    "other",
    [
        replace(ROOMY, name="b", instances=(instance(),)),
        replace(ROOMY, name="b", load=LoadInFlight(QWEN, 0.5, NOW, None)),
    ],
)
def test_what_is_in_memory_somewhere_or_about_to_be_is_loaded_nowhere(other: HostSnapshot) -> None:
    assert planned(ROOMY, other)[0] == (GEMMA, "a")


@pytest.mark.parametrize(
    "other",
    [
        replace(ROOMY, state="down"),
        replace(ROOMY, waiting={GEMMA: 1}),
        replace(ROOMY, instances=(instance(ModelKey("else"), leases=1),)),
        replace(ROOMY, instances=(instance(ModelKey("else")),), max_loaded=1),
        replace(ROOMY, models={}),
        replace(ROOMY, limits={k: LoadLimits(failed_until=NOW + 1) for k in (QWEN, GEMMA)}),
    ],
)
def test_nothing_leaves_or_waits_for_it(other: HostSnapshot) -> None:
    assert planned(other) == []
