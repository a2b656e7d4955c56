from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import GB, NOW, instance, instances

from bot.domain.hosts import Instance
from bot.policy.eviction import (
    NoRoom,
    Room,
    RoomPlan,
    is_evictable,
    plan_idle_eviction,
    plan_one_more,
    plan_room,
)
from bot.policy.memory import instance_bytes


def _plan(
    held: tuple[Instance, ...],
    *,
    need: float | None = 5.0,
    memory: float | None = None,
    max_loaded: int | None = None,
    evict_foreign: bool = False,
) -> RoomPlan | NoRoom:
    return plan_room(
        held,
        None if need is None else round(need * GB),
        None if memory is None else round(memory * GB),
        max_loaded,
        NOW,
        evict_foreign=evict_foreign,
    )


def _evicted(plan: RoomPlan | NoRoom) -> list[str]:
    assert isinstance(plan, RoomPlan), plan
    return [one.identifier for one in plan.evict]


# --- idle --------------------


@pytest.mark.parametrize(
    ("held", "goes"),
    [
        (instance(idle_s=1800, ttl_s=1800), True),
        (instance(idle_s=1799.9, ttl_s=1800), False),
        (instance(idle_s=9999, ttl_s=None), False),
        (instance(idle_s=None, ttl_s=1), False),
        (instance(idle_s=9999, ttl_s=1, own=False), False),
        (instance(idle_s=9999, ttl_s=1, pinned=True), False),
        (instance(leases=1, ttl_s=0), False),
    ],
)
def test_only_own_unpinned_lease_free_instances_idle_for_their_ttl_go(
    held: Instance, goes: bool
) -> None:
    assert plan_idle_eviction([held], NOW) == ((held,) if goes else ())


def test_foreign_idle_instances_go_only_when_told_to() -> None:
    foreign = instance(own=False, idle_s=100, ttl_s=10)
    assert plan_idle_eviction([foreign], NOW, evict_foreign=True) == (foreign,)


def test_the_longest_idle_goes_first() -> None:
    fresh, stale = instance("a/a", idle_s=50, ttl_s=1), instance("b/b", idle_s=90, ttl_s=1)
    assert plan_idle_eviction([fresh, stale], NOW) == (stale, fresh)


# --- room --------------------


def test_nothing_is_evicted_while_the_load_fits() -> None:
    plan = _plan((instance(gb=5),), memory=24, max_loaded=2)
    assert plan == RoomPlan((), "fits")


def test_without_known_limits_everything_fits() -> None:
    assert _evicted(_plan((instance(gb=500),))) == []


def test_the_least_recently_used_goes_first() -> None:
    held = (instance("a/new", idle_s=10), instance("b/old", idle_s=500))
    assert _evicted(_plan(held, max_loaded=2)) == ["b/old"]


def test_an_instance_whose_idle_time_is_unknown_counts_as_just_used() -> None:
    held = (instance("a/unknown", idle_s=None), instance("b/known", idle_s=5))
    assert _evicted(_plan(held, max_loaded=2)) == ["b/known"]


def test_no_more_is_evicted_than_the_load_needs() -> None:
    held = (instance("a/small", gb=1, idle_s=900), instance("b/large", gb=20, idle_s=10))
    assert _evicted(_plan(held, need=15, memory=24)) == ["b/large"]


def test_both_limits_hold_at_once() -> None:
    held = (instance("a/a", gb=1, idle_s=9), instance("b/b", gb=20, idle_s=5))
    assert _evicted(_plan(held, need=15, memory=60, max_loaded=2)) == ["a/a"]
    assert _evicted(_plan(held, need=15, memory=24, max_loaded=1)) == ["a/a", "b/b"]


def test_foreign_and_pinned_instances_stay_and_are_named() -> None:
    held = (instance("a/pin", pinned=True), instance("b/gui", own=False))
    plan = _plan(held, max_loaded=2)
    assert isinstance(plan, NoRoom)
    assert plan.waits_for == ()
    assert "pinned: a/pin" in plan.reason
    assert "loaded by others: b/gui" in plan.reason


def test_foreign_instances_go_when_told_to() -> None:
    held = (instance("b/gui", own=False, idle_s=None, ttl_s=None),)
    assert _evicted(_plan(held, max_loaded=1, evict_foreign=True)) == ["b/gui"]


def test_a_busy_own_instance_is_waited_for_and_never_evicted() -> None:
    busy = instance("a/busy", leases=2)
    plan = _plan((busy,), max_loaded=1)
    assert plan == NoRoom("waits for a/busy to finish", (busy,))


def test_only_the_busy_ones_that_make_room_are_waited_for() -> None:
    idle, busy = instance("a/idle", gb=5, idle_s=9), instance("b/busy", gb=20, leases=1)
    plan = _plan((idle, busy), need=22, memory=28)
    assert isinstance(plan, NoRoom)
    assert plan.waits_for == (busy,)


def test_a_model_larger_than_the_memory_says_so() -> None:
    plan = _plan((), need=30, memory=24)
    assert plan == NoRoom("needs about 30.0 GB, the host has 24.0 GB")


def test_a_host_that_may_hold_nothing_says_so() -> None:
    plan = _plan((), max_loaded=0)
    assert plan == NoRoom("what is in memory must stay (no room at all)")


def test_an_unknown_size_is_held_against_the_count_alone() -> None:
    assert _evicted(_plan((instance(gb=23),), need=None, memory=24)) == []


def test_a_refusal_by_the_host_evicts_one_more() -> None:
    held = (instance("a/a", idle_s=10), instance("b/b", idle_s=90), instance("c/c", leases=1))
    plan = plan_one_more(held, NOW)
    assert isinstance(plan, RoomPlan)
    assert plan.evict == (held[1],)
    assert "the host refused" in plan.reason


def test_a_refusal_with_nothing_idle_of_ours_left_is_final() -> None:
    held = (instance(leases=1), instance("b/b", own=False))
    assert isinstance(plan_one_more(held, NOW), NoRoom)
    assert isinstance(plan_one_more(held, NOW, evict_foreign=True), RoomPlan)


# --- properties --------------------

_LIMIT = st.none() | st.floats(1.0, 120.0)


@pytest.mark.slow
@given(instances(), _LIMIT, _LIMIT, st.none() | st.integers(0, 5), st.booleans())
def test_what_must_stay_stays_and_what_is_planned_suffices(
    held: tuple[Instance, ...],
    need: float | None,
    memory: float | None,
    max_loaded: int | None,
    evict_foreign: bool,
) -> None:
    plan = _plan(held, need=need, memory=memory, max_loaded=max_loaded, evict_foreign=evict_foreign)
    room = Room(
        None if need is None else round(need * GB),
        None if memory is None else round(memory * GB),
        max_loaded,
    )
    evictable = [one for one in held if is_evictable(one, evict_foreign=evict_foreign)]
    if isinstance(plan, NoRoom):
        assert all(one in held and one.leases and not one.pinned for one in plan.waits_for)
        assert not room.fits_beside([one for one in held if one not in evictable])
        return
    assert set(plan.evict) <= set(evictable)
    assert room.fits_beside([one for one in held if one not in plan.evict])
    for fewer in combinations(plan.evict, max(0, len(plan.evict) - 1)):
        if plan.evict:
            assert not room.fits_beside([one for one in held if one not in fewer])


@given(instances(), st.floats(0.0, 1e5))
def test_idle_eviction_never_touches_what_is_used_pinned_or_foreign(
    held: tuple[Instance, ...], later: float
) -> None:
    for one in plan_idle_eviction(held, NOW + later):
        assert one.own
        assert not one.pinned
        assert not one.leases
        assert one.idle_since is not None
        assert one.idle_ttl_s is not None
        assert NOW + later - one.idle_since >= one.idle_ttl_s


@given(instances())
def test_an_instance_never_counts_for_less_than_its_weights(held: tuple[Instance, ...]) -> None:
    for one in held:
        assert instance_bytes(one) >= (one.size_bytes or 0)
