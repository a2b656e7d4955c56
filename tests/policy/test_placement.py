"""Does a load fit, and what leaves for it or for having rested too long?"""

from dataclasses import replace
from functools import partial
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import EMBED, GB, GEMMA, NOW, QWEN, host, instance, instances, model

from bot.domain.errors import FailureKind
from bot.domain.hosts import (
    HostSnapshot,
    Instance,
    Interface,
    LoadLimits,
    LoadOrder,
    Model,
    Together,
    Wish,
)
from bot.domain.ids import ModelKey
from bot.domain.personas import LoadSettings
from bot.policy.placement import (
    CANNOT_LOAD,
    DEFAULT_CONTEXT,
    GRACE,
    Hopeless,
    Placement,
    context_needed,
    fits,
    instance_bytes,
    is_in_doubt,
    load_bytes,
    order_for,
    place,
    place_roomy,
    plan_idle_eviction,
    takes_as_much,
    together,
)

NEW = ModelKey("new/model")


def _host(
    need_gb: float | None = 5.0,
    *,
    memory_gb: float | None = None,
    max_loaded: int | None = None,
    evict_foreign: bool = False,
    limits: LoadLimits | None = None,
) -> HostSnapshot:
    """A host with one model on its disk."""
    made = host(models=[model(NEW, need_gb)], memory_gb=memory_gb, max_loaded=max_loaded)
    taught = {NEW: limits} if limits else {}
    return replace(made, evict_foreign=evict_foreign, limits=taught)


def _place(on: HostSnapshot, *held: Instance, key: ModelKey = NEW) -> Placement | Hopeless:
    return place(on, [Wish(key)], held, NOW)


def _evicted(placed: Placement | Hopeless) -> list[str]:
    assert isinstance(placed, Placement), placed
    assert placed.waits_for == ()
    return [one.identifier for one in placed.evict]


# --- rest --------------------


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
        (replace(instance(idle_s=9999, ttl_s=1), spared_until=NOW + 0.1), False),
        (replace(instance(idle_s=9999, ttl_s=1), spared_until=NOW), True),
    ],
)
def test_only_own_unpinned_lease_free_instances_idle_for_their_ttl_go(
    held: Instance, goes: bool
) -> None:
    assert plan_idle_eviction([held], NOW, evict_foreign=False) == ((held,) if goes else ())


def test_foreign_idle_instances_go_only_when_told_to() -> None:
    foreign = instance(own=False, idle_s=100, ttl_s=10)
    assert plan_idle_eviction([foreign], NOW, evict_foreign=True) == (foreign,)


@pytest.mark.parametrize("interface", ["/api/v0", "/v1"])
def test_where_nothing_can_be_loaded_nothing_is_placed_and_nobody_leaves(
    interface: Interface,
) -> None:
    placed = _place(replace(_host(max_loaded=1), interface=interface), instance(QWEN, own=True))
    assert placed == Hopeless(FailureKind.LOAD_FAILED, CANNOT_LOAD[interface])
    can = _place(replace(_host(), interface="/api/v1"))
    assert isinstance(can, Placement)


def test_the_longest_idle_goes_first() -> None:
    fresh, stale = instance("a/a", idle_s=50, ttl_s=1), instance("b/b", idle_s=90, ttl_s=1)
    assert plan_idle_eviction([fresh, stale], NOW, evict_foreign=False) == (stale, fresh)


# --- room --------------------


def test_nothing_is_evicted_while_the_load_fits() -> None:
    placed = _place(_host(memory_gb=24, max_loaded=2), instance(gb=5))
    assert isinstance(placed, Placement)
    assert (placed.evict, placed.waits_for, placed.reason) == ((), (), "")


def test_without_known_limits_everything_fits() -> None:
    assert _evicted(_place(_host(), instance(gb=500))) == []


@pytest.mark.parametrize(("spare_bytes", "is_tried"), [(0, True), (-1, False)])
def test_within_a_tenth_of_the_memory_the_host_decides(spare_bytes: int, is_tried: bool) -> None:
    held, on = instance(pinned=True), _host()
    needed = load_bytes(on.models[NEW], order_for(on, on.models[NEW], [Wish(NEW)]))
    assert needed is not None
    both = needed + instance_bytes(held)
    memory = next(m for m in range(round(both / GRACE) - 2, both) if round(m * GRACE) >= both)
    placed = _place(replace(on, memory_bytes=memory + spare_bytes), held)
    assert isinstance(placed, Placement) is is_tried


def _with(*held: Instance) -> Together:
    """These in memory, and the load of ``NEW`` beside them."""
    on = _host()
    return together(held, order_for(on, on.models[NEW], [Wish(NEW)]))


def test_what_the_host_held_together_fits_whatever_the_formula_says() -> None:
    on, idle, pinned = _host(memory_gb=8), instance("a/idle"), instance("b/pin", pinned=True)
    assert _evicted(_place(on, idle)) == ["a/idle"]
    for held in (_with(idle), _with(idle, pinned)):
        assert _evicted(_place(replace(on, held=(held,)), idle)) == []
    # Less than what is wanted, or the same with another context, is no proof.
    for held in (_with(), _with(replace(idle, context_length=4096))):
        assert _evicted(_place(replace(on, held=(held,)), idle)) == ["a/idle"]


def test_what_the_host_refused_to_hold_together_is_not_tried_with_more() -> None:
    on, idle, pinned = _host(), instance("a/idle"), instance("b/pin", pinned=True)
    assert _evicted(_place(replace(on, refused=(_with(idle),)), idle, pinned)) == ["a/idle"]
    assert _evicted(_place(replace(on, refused=(_with(idle, pinned),)), idle)) == []
    assert _evicted(_place(replace(on, refused=(_with(idle), _with(pinned))), idle)) == ["a/idle"]
    # With nothing else to be done it is tried all the same: others may have had a part in it.
    assert _evicted(_place(replace(on, refused=(_with(),)), idle)) == []


def test_what_was_refused_beside_a_pin_is_not_tried_again_while_it_is_pinned() -> None:
    pinned, foreign = instance("a/pin", pinned=True), instance("c/other", own=False)
    idle = instance("b/idle")
    knows = replace(_host(), refused=(_with(pinned),))
    told = _place(knows, pinned, idle)
    assert isinstance(told, Hopeless)
    assert told.kind is FailureKind.DOES_NOT_FIT
    assert told.reason == "what is in memory must stay (pinned until `/fleet unpin`: a/pin)"
    assert _evicted(_place(knows, replace(pinned, pinned=False), idle)) == ["a/pin"]
    # Refused beside more than now stays: that may have been why.
    more = replace(_host(), refused=(_with(pinned, foreign),))
    assert isinstance(_place(more, pinned, foreign), Hopeless)
    assert _evicted(_place(more, pinned, idle)) == []
    assert _evicted(_place(replace(more, evict_foreign=True), pinned, foreign)) == ["c/other"]
    # Somebody else's may leave without a word, and without a pin it is tried again.
    without = replace(_host(), refused=(_with(foreign),))
    assert _evicted(_place(without, foreign)) == []
    # Seen together since, it fits.
    held = replace(knows, held=(_with(pinned),))
    assert _evicted(_place(held, pinned)) == []


@pytest.mark.parametrize(
    ("refused", "wanted", "is_refused"),
    [
        # Longer takes more; shorter may fit.
        ([8192], [8192], True),
        ([8192], [16384], True),
        ([8192], [32768], True),
        ([8192], [8191], False),
        # What nobody said counts as what hosts commonly load with.
        ([None], [None], True),
        ([None], [DEFAULT_CONTEXT], True),
        ([None], [8192], True),
        ([None], [DEFAULT_CONTEXT - 1], False),
        ([DEFAULT_CONTEXT], [None], True),
        ([DEFAULT_CONTEXT + 1], [None], False),
        # As many copies, each as long as one of those refused; in whatever order they were loaded.
        ([8192, 8192], [8192], False),
        ([8192, 8192], [8192, 8192], True),
        ([8192, 8192], [65536, 4096], False),
        ([8192, 4096], [4096, 16384], True),
        ([8192, 4096], [8192, 4095], False),
        ([8192], [2048, 8192], True),
        ([], [4096], True),
        ([4096], [], False),
    ],
)
def test_what_was_refused_is_refused_with_a_longer_context_and_not_with_a_shorter(
    refused: list[int | None], wanted: list[int | None], is_refused: bool
) -> None:
    pinned = instance("a/pin", pinned=True)
    few, many = (
        together([pinned, *(replace(instance("x/x"), context_length=c) for c in contexts)])
        for contexts in (refused, wanted)
    )
    assert takes_as_much(many, few) is is_refused
    # Another's copy is none of this one's, and without the pin it is less.
    other = together(replace(instance("y/y"), context_length=1 << 20) for _ in refused)
    assert takes_as_much(other, few) is False
    assert takes_as_much(many - together([pinned]), few) is False


def test_a_conversation_that_grows_has_no_length_tried_beside_a_pin_that_a_shorter_was() -> None:
    pinned = instance("a/pin", pinned=True)
    for said, refused, goes in ((None, None, False), (16384, 16384, False), (16384, 32768, True)):
        order = LoadOrder(NEW, model(NEW).kind, LoadSettings(context_length=refused), None, None)
        knows = replace(_host(), refused=(together([pinned], order),))
        grown = replace(knows, limits={}), [Wish(NEW, LoadSettings(context_length=said), 9000)]
        assert isinstance(place(*grown, [pinned], NOW), Placement) is goes


def test_a_second_copy_is_more_than_one() -> None:
    one, other = instance("a/a"), instance("a/a", identifier="a/a:2")
    assert together([one]) < together([one, other])


def test_what_is_missed_least_goes_first_however_lately_it_was_used() -> None:
    dear = replace(instance("a/dear", idle_s=500), missed_s=9.0)
    cheap = replace(instance("b/cheap", idle_s=1), missed_s=0.5)
    assert _evicted(_place(_host(max_loaded=2), dear, cheap)) == ["b/cheap"]


def test_what_the_host_refused_to_hold_together_is_no_reason_to_refuse() -> None:
    pinned, idle = instance("a/pin", pinned=True), instance("b/b", idle_s=10)
    low = replace(_host(), ceiling_bytes=1)
    assert _evicted(_place(low, pinned)) == []
    high = replace(_host(), ceiling_bytes=10**15)
    assert _evicted(_place(high, pinned, idle)) == []
    needed = load_bytes(high.models[NEW], order_for(high, high.models[NEW], [Wish(NEW)]))
    assert needed is not None
    both = replace(high, ceiling_bytes=needed + instance_bytes(pinned))
    assert _evicted(_place(both, pinned, idle)) == ["b/b"]


def test_the_least_recently_used_goes_first() -> None:
    held = (instance("a/new", idle_s=10), instance("b/old", idle_s=500))
    placed = _place(_host(max_loaded=2), *held)
    assert _evicted(placed) == ["b/old"]
    assert isinstance(placed, Placement)
    assert placed.reason == "after evicting b/old"


def test_of_two_as_long_idle_the_name_decides() -> None:
    held = (instance("b/b", idle_s=9), instance("a/a", idle_s=9))
    assert _evicted(_place(_host(max_loaded=2), *held)) == ["a/a"]


def test_a_host_that_lists_one_identifier_twice_breaks_nothing() -> None:
    held = (instance("a/a", gb=2.0, idle_s=9), instance("a/a", gb=1.0, idle_s=9))
    assert _evicted(_place(_host(max_loaded=1), *held)) == ["a/a", "a/a"]


def test_an_instance_whose_idle_time_is_unknown_counts_as_just_used() -> None:
    held = (instance("a/unknown", idle_s=None), instance("b/known", idle_s=5))
    assert _evicted(_place(_host(max_loaded=2), *held)) == ["b/known"]


def test_no_more_is_evicted_than_the_load_needs() -> None:
    held = (instance("a/small", gb=1, idle_s=900), instance("b/large", gb=20, idle_s=10))
    assert _evicted(_place(_host(15, memory_gb=24), *held)) == ["b/large"]


def test_of_two_that_fit_one_by_one_only_the_newer_stays() -> None:
    held = (
        instance("a/old", gb=5, idle_s=900),
        instance("b/newer", gb=5, idle_s=100),
        instance("c/large", gb=20, idle_s=10),
    )
    assert _evicted(_place(_host(15, memory_gb=24), *held)) == ["a/old", "c/large"]


def test_both_limits_hold_at_once() -> None:
    held = (instance("a/a", gb=1, idle_s=9), instance("b/b", gb=20, idle_s=5))
    assert _evicted(_place(_host(15, memory_gb=60, max_loaded=2), *held)) == ["a/a"]
    assert _evicted(_place(_host(15, memory_gb=24, max_loaded=1), *held)) == ["a/a", "b/b"]


def test_foreign_and_pinned_instances_stay_and_are_named() -> None:
    held = (
        instance("a/pin", pinned=True),
        instance("b/gui", own=False),
        instance("c/both", own=False, pinned=True),
    )
    placed = _place(_host(max_loaded=1), *held)
    words = (
        "what is in memory must stay"
        " (pinned until `/fleet unpin`: a/pin, c/both; loaded by others: b/gui)"
    )
    assert placed == Hopeless(FailureKind.DOES_NOT_FIT, words)
    told_to = _place(_host(max_loaded=1, evict_foreign=True), *held)
    assert isinstance(told_to, Hopeless)
    assert "others" not in told_to.reason


def test_foreign_instances_go_when_told_to() -> None:
    held = instance("b/gui", own=False, idle_s=None, ttl_s=None)
    assert _evicted(_place(_host(max_loaded=1, evict_foreign=True), held)) == ["b/gui"]


@pytest.mark.parametrize(
    "busy", [instance("a/busy", leases=2), replace(instance("a/busy"), spared_until=NOW + 0.1)]
)
def test_what_is_in_use_or_spared_is_waited_for_and_never_evicted(busy: Instance) -> None:
    placed = _place(_host(max_loaded=1), busy)
    assert isinstance(placed, Placement)
    assert (placed.evict, placed.waits_for) == ((), (busy,))
    assert placed.reason == "waits for a/busy to finish"


def test_what_is_in_use_is_waited_for_in_the_clocks_first_second_too() -> None:
    busy = instance("a/busy", leases=1)
    placed = place(_host(max_loaded=1), [Wish(NEW)], [busy], 0.5)
    assert isinstance(placed, Placement)
    assert placed.waits_for == (busy,)


def test_what_was_spared_goes_when_its_time_is_over() -> None:
    held = replace(instance("a/a"), spared_until=NOW)
    assert _evicted(_place(_host(max_loaded=1), held)) == ["a/a"]


def test_only_the_busy_ones_that_make_room_are_waited_for() -> None:
    idle, busy = instance("a/idle", gb=5, idle_s=9), instance("b/busy", gb=20, leases=1)
    placed = _place(_host(22, memory_gb=31), idle, busy)
    assert isinstance(placed, Placement)
    assert (placed.evict, placed.waits_for) == ((), (busy,))


def test_who_is_idle_is_not_among_those_waited_for() -> None:
    idle, busy = instance("a/idle", gb=5, idle_s=9), instance("b/busy", gb=20, leases=1)
    placed = _place(_host(22, memory_gb=25), idle, busy)
    assert isinstance(placed, Placement)
    assert placed.waits_for == (busy,)


def test_a_model_larger_than_the_memory_says_so() -> None:
    placed = _place(_host(30, memory_gb=24))
    words = "needs about 32.6 GB, the host has 24.0 GB"
    assert placed == Hopeless(FailureKind.DOES_NOT_FIT, words)


def test_gigabytes_are_said_to_the_tenth() -> None:
    vectors = replace(model(NEW), kind="embedding", size_bytes=28_619_047_619)
    tight = replace(_host(memory_gb=24.05), models={NEW: vectors})
    words = "needs about 30.1 GB, the host has 24.1 GB"
    assert _place(tight) == Hopeless(FailureKind.DOES_NOT_FIT, words)


def test_a_model_that_takes_just_the_memory_is_in_the_way_of_others_not_too_large() -> None:
    on = _host()
    needed = load_bytes(on.models[NEW], order_for(on, on.models[NEW], [Wish(NEW)]))
    placed = _place(replace(on, memory_bytes=needed), instance("a/pin", pinned=True))
    words = "what is in memory must stay (pinned until `/fleet unpin`: a/pin)"
    assert placed == Hopeless(FailureKind.DOES_NOT_FIT, words)


def test_who_is_only_in_use_is_not_said_to_stay_for_good() -> None:
    held = (instance("a/pin", gb=20, pinned=True), instance("b/busy", gb=1, leases=1))
    placed = _place(_host(15, memory_gb=24), *held)
    words = "what is in memory must stay (pinned until `/fleet unpin`: a/pin)"
    assert placed == Hopeless(FailureKind.DOES_NOT_FIT, words)


def test_a_host_that_may_hold_nothing_says_so() -> None:
    placed = _place(_host(max_loaded=0))
    words = "what is in memory must stay (no room at all)"
    assert placed == Hopeless(FailureKind.DOES_NOT_FIT, words)


def test_an_unknown_size_is_held_against_the_count_alone() -> None:
    assert _evicted(_place(_host(None, memory_gb=24), instance(gb=23))) == []


def test_a_model_that_is_not_on_the_disk_cannot_be_loaded() -> None:
    placed = _place(_host(), instance(), key=QWEN)
    assert isinstance(placed, Hopeless)
    assert placed.kind is FailureKind.NOT_THERE


def test_own_idle_copies_of_the_model_leave_before_anything_else() -> None:
    held = (
        instance("a/other", idle_s=900),
        instance(NEW, identifier="small", idle_s=1),
        instance(NEW, identifier="used", leases=1),
        instance(NEW, identifier="theirs", own=False),
    )
    free = _place(_host(evict_foreign=True), *held)
    assert _evicted(free) == ["small"]
    assert isinstance(free, Placement)
    assert free.reason == ""
    assert _evicted(_place(_host(max_loaded=3), *held)) == ["small", "a/other"]


# --- the host refused --------------------

REFUSED = LoadLimits(refusal="insufficient system resources")


def test_a_refusal_by_the_host_evicts_one_more() -> None:
    held = (instance("a/a", idle_s=10), instance("b/b", idle_s=90), instance("c/c", leases=1))
    placed = _place(_host(limits=REFUSED), *held)
    assert _evicted(placed) == ["b/b"]
    assert isinstance(placed, Placement)
    assert placed.reason == "after evicting b/b"
    # What leaves for another reason counts.
    assert _evicted(_place(_host(limits=REFUSED, max_loaded=3), *held)) == ["b/b"]


def test_a_refusal_with_only_busy_ones_of_ours_left_waits_for_them() -> None:
    busy = instance("a/busy", leases=1)
    held = (
        busy,
        instance("b/pin", leases=1, pinned=True),
        instance("c/gui", leases=1, own=False),
    )
    placed = _place(_host(limits=REFUSED, evict_foreign=True), *held)
    assert isinstance(placed, Placement)
    assert placed.waits_for == (busy,)


@pytest.mark.parametrize(
    ("idle_bytes", "busy_bytes", "goes"),
    [
        # Enough for the load; as much as the one in use holds; neither.
        (5 * GB, 9 * GB, True),
        (4 * GB, 4 * GB, True),
        (4 * GB, 5 * GB, False),
        (5 * GB - 1, 9 * GB, False),
    ],
)
def test_after_a_refusal_too_small_a_one_stays_and_the_one_in_use_is_waited_for(
    idle_bytes: int, busy_bytes: int, goes: bool
) -> None:
    on = _host(limits=REFUSED)
    on = replace(on, models={NEW: replace(model(NEW, 5.0), kind="embedding")})
    idle, busy = (
        replace(one, kind="embedding", size_bytes=size)
        for one, size in (
            (instance("a/idle", idle_s=10), idle_bytes),
            (instance("b/busy", leases=1), busy_bytes),
        )
    )
    placed = _place(on, idle, busy)
    assert isinstance(placed, Placement)
    assert (placed.evict, placed.waits_for) == (((idle,), ()) if goes else ((), (busy,)))


def test_a_refusal_with_nothing_idle_of_ours_left_is_final() -> None:
    placed = _place(_host(limits=REFUSED))
    assert placed == Hopeless(FailureKind.DOES_NOT_FIT, REFUSED.refusal)
    held = (instance("a/pin", pinned=True), instance("b/b", own=False))
    placed = _place(_host(limits=REFUSED), *held)
    # A host only says how much it lacks: who has it, and may let it go, is ours to say.
    words = (
        "what is in memory must stay (pinned until `/fleet unpin`: a/pin; loaded by others: b/b);"
        " the host says: insufficient system resources"
    )
    assert placed == Hopeless(FailureKind.DOES_NOT_FIT, words)
    assert _evicted(_place(_host(limits=REFUSED, evict_foreign=True), *held)) == ["b/b"]


@pytest.mark.parametrize(("spare_bytes", "goes"), [(0, ["b/b"]), (-1, ["b/b", "a/a"])])
def test_after_a_refusal_so_much_leaves_as_the_model_takes(
    spare_bytes: int, goes: list[str]
) -> None:
    # Embedding models: without a context they take their size and a twentieth.
    wanted = replace(model(NEW, 5.0), kind="embedding")
    on = replace(_host(limits=REFUSED), models={NEW: wanted})
    held = [
        replace(one, kind="embedding", size_bytes=5 * GB + spare_bytes)
        for one in (instance("a/a", idle_s=10), instance("b/b", idle_s=90))
    ]
    assert _evicted(_place(on, *held)) == goes
    # Whoever leaves for another reason leaves once.
    assert _evicted(_place(replace(on, max_loaded=2), *held)) == goes


def test_after_a_refusal_one_leaves_where_no_size_is_known() -> None:
    held = (instance("a/a", gb=None, idle_s=10), instance("b/b", gb=None, idle_s=90))
    assert _evicted(_place(_host(None, limits=REFUSED), *held)) == ["b/b"]


def test_what_was_refused_together_does_not_count_right_after_the_refusal() -> None:
    on = _host(limits=REFUSED)
    needed = load_bytes(on.models[NEW], order_for(on, on.models[NEW], [Wish(NEW)]))
    held = (instance("a/a", gb=10, idle_s=10), instance("b/b", gb=10, idle_s=90))
    assert _evicted(_place(replace(on, ceiling_bytes=needed), *held)) == ["b/b"]


def test_of_the_memory_and_what_was_refused_the_smaller_counts() -> None:
    on, idle = _host(memory_gb=100), instance("a/idle")
    needed = load_bytes(on.models[NEW], order_for(on, on.models[NEW], [Wish(NEW)]))
    assert _evicted(_place(replace(on, ceiling_bytes=needed), idle)) == ["a/idle"]
    tight = replace(on, memory_bytes=needed, ceiling_bytes=100 * GB)
    assert _evicted(_place(tight, idle)) == ["a/idle"]


# --- what a model takes --------------------


def _estimate(gb: float, context: int | None = None, quant: str | None = None) -> int:
    of = model(QWEN, gb)
    load = LoadSettings(context_length=context, kv_cache_quant=quant)
    estimate = load_bytes(of, order_for(host(models=[of]), of, [Wish(QWEN, load)]))
    assert estimate is not None
    return estimate


def test_an_8b_model_takes_its_weights_and_half_a_gigabyte_of_context() -> None:
    assert 5.2 * GB < _estimate(4.9) < 6.0 * GB


def test_the_estimate_is_weights_and_keys_and_values_to_the_byte() -> None:
    # Of 4 GB: the root of the size is 2, so 96 KiB a token.
    assert _estimate(4, 32_768) == 4_200_000_000 + 96 * 1024 * 32_768


def test_a_longer_context_takes_more() -> None:
    assert _estimate(5, 32_768) - _estimate(5) > 2 * GB


@pytest.mark.parametrize("quant", ["q8_0", "q4_0", "iq4_nl"])
def test_quantised_keys_and_values_take_less(quant: str) -> None:
    assert _estimate(5, 32_768, quant) < _estimate(5, 32_768)
    assert _estimate(5, 32_768, "f16") == _estimate(5, 32_768)


def test_the_default_context_never_exceeds_what_the_model_has() -> None:
    tiny = model(QWEN, 5, context=512)
    on = host(models=[tiny])
    said = Wish(QWEN, LoadSettings(context_length=512))
    assert load_bytes(tiny, order_for(on, tiny, [Wish(QWEN)])) == load_bytes(
        tiny, order_for(on, tiny, [said])
    )


def test_an_embedding_model_has_no_context_to_keep() -> None:
    of = model(EMBED, 1, kind="embedding")
    assert load_bytes(of, order_for(host(), of, [Wish(EMBED)])) == round(1.05 * GB)


def test_an_unknown_size_is_no_estimate() -> None:
    of = model(QWEN, None)
    assert load_bytes(of, order_for(host(), of, [Wish(QWEN)])) is None
    assert instance_bytes(instance(gb=None)) == 0


def test_a_loaded_copy_is_estimated_like_its_load() -> None:
    assert instance_bytes(instance(gb=5, context=8192)) == _estimate(5, 8192)
    assert instance_bytes(instance(gb=5, context=None)) == _estimate(5)


def test_a_copy_counts_as_its_load_did_where_the_host_told_what_that_takes() -> None:
    told = replace(model(QWEN, 5), weights_bytes=6 * GB, token_bytes=1000.0)
    copy = replace(instance(gb=5, context=8192), weights_bytes=6 * GB, token_bytes=1000.0)
    order = LoadOrder(QWEN, "llm", LoadSettings(context_length=8192), None, None)
    assert instance_bytes(copy) == load_bytes(told, order) == 6 * GB + 8_192_000
    assert instance_bytes(replace(copy, token_bytes=None)) == 6 * GB


@pytest.mark.parametrize(
    ("spare_bytes", "named"),
    [(0, 8192), (-1, 7168), (-7168 * 1000, 1024), (-7168 * 1000 - 1, None), (-9000 * 1000, None)],
)
def test_a_context_that_takes_too_much_is_refused_with_the_largest_that_fits(
    spare_bytes: int, named: int | None
) -> None:
    memory_bytes = 5 * GB + 8193 * 1000 + spare_bytes
    told = replace(model(NEW, 5), weights_bytes=5 * GB, token_bytes=1000.0, max_context_length=None)
    on = replace(_host(memory_gb=1.0), models={NEW: told}, memory_bytes=memory_bytes)
    settings = LoadSettings(context_length=1_000_000)
    placed = place(on, [Wish(NEW, settings)], [], NOW)
    assert isinstance(placed, Hopeless)
    words = "needs about 6.0 GB, the host has 5.0 GB"
    assert placed.reason == words + (f"; with {named:,} tokens of context it fits" if named else "")


def test_sizes_the_host_did_not_tell_come_from_its_disk() -> None:
    models = [model(NEW, 5), model(QWEN, 20)]
    on = host(models=models, memory_gb=24)
    unknown = instance(gb=None)
    assert _evicted(_place(on, unknown)) == [QWEN]
    assert _evicted(_place(on, instance(gb=7))) == []
    assert _evicted(_place(on, instance(GEMMA, gb=None))) == []


# --- how it is loaded --------------------


@pytest.mark.parametrize(
    ("asked", "needed", "ceiling", "given"),
    [
        (None, 0, 32_768, None),
        (None, DEFAULT_CONTEXT, 32_768, None),
        (None, DEFAULT_CONTEXT + 1, 32_768, 8192),
        (None, 5000, 32_768, 8192),
        (None, 8192, 32_768, 8192),
        (None, 8193, 32_768, 16_384),
        (None, 20_000, 24_000, 24_000),
        (None, 30_000, 24_000, 24_000),
        (None, 5000, None, 8192),
        (16_384, 9000, 32_768, 16_384),
        (2048, 3000, 32_768, 4096),
        (100_000, 0, 8192, 8192),
        (8192, 0, 8192, 8192),
    ],
)
def test_a_load_gets_the_context_the_transcript_needs_as_far_as_the_model_has_it(
    asked: int | None, needed: int, ceiling: int | None, given: int | None
) -> None:
    of = model(QWEN, context=ceiling)
    wish = Wish(QWEN, LoadSettings(context_length=asked), needed)
    order = order_for(host(models=[of]), of, [wish])
    assert order.settings.context_length == given


@pytest.mark.parametrize(
    ("most", "memory_gb", "said", "refusal", "given"),
    [
        (9000, None, None, "", 16_384),
        (3001, None, None, "", None),
        (3000, None, None, "", None),
        (2999, None, None, "", None),
        (9000, None, 4096, "", 4096),
        (9000, None, None, "no", None),
        (9000, 12.0, None, "", 16_384),
        # Beside the other there is room for it with a small context alone; waiting is as dear.
        (9000, 10.5, None, "", None),
        (9000, 6.0, None, "", None),
        (9000, 1.0, None, "", "hopeless"),
    ],
)
def test_a_load_gets_the_context_needed_of_late_where_nothing_else_changes(
    most: int, memory_gb: float | None, said: int | None, refusal: str, given: int | str | None
) -> None:
    on = _host(5.0, memory_gb=memory_gb, limits=LoadLimits(refusal=refusal))
    held, wish = [instance(gb=5.0, context=4096)], Wish(NEW, LoadSettings(said), 3000)
    for leases in (0, 1):
        held = [replace(held[0], leases=leases)]
        plain, found = place(on, [wish], held, NOW), place_roomy(on, [wish], held, NOW, most)
        if isinstance(found, Hopeless):
            assert plain == found
            assert given == "hopeless"
        else:
            assert isinstance(plain, Placement)
            assert (found.evict, found.waits_for) == (plain.evict, plain.waits_for)
            assert found.order.settings.context_length == given


@pytest.mark.parametrize(
    ("usual", "needed", "given"),
    [(16_384, 9000, None), (16_384, 16_385, 32_768), (2048, 2048, None), (2048, 3000, 4096)],
)
def test_a_hosts_own_default_is_left_to_it_where_it_does(
    usual: int, needed: int, given: int | None
) -> None:
    of = model(QWEN)
    on = replace(host(models=[of]), limits={QWEN: LoadLimits(usual_context=usual)})
    order = order_for(on, of, [Wish(QWEN, min_context=needed)])
    assert order.settings.context_length == given
    said = order_for(on, of, [Wish(QWEN, LoadSettings(context_length=usual))])
    assert said.settings.context_length == usual


@pytest.mark.parametrize(
    ("most", "window", "min_context", "needed"),
    [(None, None, 9000, 9000), (8192, None, 9000, 8192), (8192, 4096, 9000, 4096),
     (8192, 32_768, 100, 100), (None, 4096, 9000, 4096)],
)  # fmt: skip
def test_no_more_context_is_needed_than_the_host_can_give(
    most: int | None, window: int | None, min_context: int, needed: int
) -> None:
    limits = LoadLimits(most_context=most)
    assert context_needed(model(QWEN, context=window), limits, min_context) == needed
    assert context_needed(None, None, min_context) == min_context


def test_one_load_serves_all_who_wait_and_the_first_ones_settings_lead() -> None:
    of = model(QWEN)
    first = LoadSettings(gpu="max", kv_cache_quant="q8_0")
    wishes = [
        Wish(QWEN, first, 100, idle_ttl_s=60.2),
        Wish(QWEN, LoadSettings(gpu="off"), 9000, idle_ttl_s=45.0),
    ]
    order = order_for(host(models=[of]), of, wishes)
    assert order.settings == replace(first, context_length=16_384)
    assert (order.idle_ttl_s, order.ttl_s) == (60.2, 121)
    kept = order_for(host(), of, [*wishes, Wish(QWEN, idle_ttl_s=None)])
    assert (kept.idle_ttl_s, kept.ttl_s) == (None, None)
    assert order_for(host(), of, [Wish(QWEN, idle_ttl_s=0.0)]).ttl_s == 1


# --- properties --------------------

_LIMIT = st.none() | st.floats(1.0, 120.0)


@pytest.mark.slow
@given(instances(), _LIMIT, _LIMIT, st.none() | st.integers(0, 5), st.booleans(), st.booleans())
def test_what_must_stay_stays_and_what_is_planned_suffices(
    held: tuple[Instance, ...],
    need_gb: float | None,
    memory_gb: float | None,
    max_loaded: int | None,
    evict_foreign: bool,
    refused: bool,
) -> None:
    on = _host(need_gb, memory_gb=memory_gb, max_loaded=max_loaded, evict_foreign=evict_foreign)
    on = replace(on, limits={NEW: REFUSED} if refused else {})
    of = on.models[NEW]
    order = order_for(on, of, [Wish(NEW)])
    most = None if on.memory_bytes is None else round(on.memory_bytes * GRACE)
    beside = partial(fits, on, order, most, load_bytes(of, order))
    may_leave = [i for i in held if not i.leases and not i.pinned and (i.own or evict_foreign)]
    placed = _place(on, *held)
    if isinstance(placed, Hopeless) or placed.waits_for:
        if not refused:
            rest = [one for one in held if one not in may_leave]
            assert not beside(rest)
        if isinstance(placed, Placement):
            assert all(one in held and one.leases and not one.pinned for one in placed.waits_for)
        return
    assert set(placed.evict) <= set(may_leave)
    staying = [one for one in held if one not in placed.evict]
    assert beside(staying)
    if refused:
        assert placed.evict
        return
    for fewer in combinations(placed.evict, max(0, len(placed.evict) - 1)):
        if placed.evict:
            kept = [one for one in held if one not in fewer]
            assert not beside(kept)


@given(instances(), st.floats(0.0, 1e5))
def test_idle_eviction_never_touches_what_is_used_pinned_or_foreign(
    held: tuple[Instance, ...], later: float
) -> None:
    for one in plan_idle_eviction(held, NOW + later, evict_foreign=False):
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


@given(st.none() | st.integers(1, 200_000), st.integers(0, 200_000))
def test_the_context_given_always_holds_what_is_needed(asked: int | None, needed: int) -> None:
    of = model(QWEN, context=None)
    wish = Wish(QWEN, LoadSettings(context_length=asked, gpu="max"), needed)
    order = order_for(host(models=[of]), of, [wish])
    assert (order.settings.context_length or DEFAULT_CONTEXT) >= needed
    assert order.settings.gpu == "max"


def test_the_hosts_own_estimate_beats_the_formula() -> None:
    told = Model(NEW, size_bytes=10 * GB, weights_bytes=11 * GB, token_bytes=1000.0)
    order = LoadOrder(NEW, "llm", LoadSettings(context_length=8192), None, None)
    assert load_bytes(told, order) == 11 * GB + 8_192_000
    assert load_bytes(replace(told, token_bytes=None), order) == 11 * GB
    # It was told for keys and values as they are: of smaller ones the formula knows.
    small = replace(order, settings=LoadSettings(context_length=8192, kv_cache_quant="q8_0"))
    assert load_bytes(told, small) == load_bytes(replace(told, weights_bytes=None), small)


@pytest.mark.parametrize(
    ("model", "spare", "doubted"),
    [
        (Model(ModelKey("m"), size_bytes=10 * GB), 0, False),
        (Model(ModelKey("m"), size_bytes=10 * GB), -1, True),
        (Model(ModelKey("m"), size_bytes=10 * GB, max_context_length=4096), -1, False),
        (Model(ModelKey("m"), size_bytes=10 * GB, weights_bytes=1), -1, False),
        (Model(ModelKey("m")), -1, False),
        (Model(ModelKey("m"), size_bytes=10 * GB), None, False),
    ],
)
def test_a_model_is_in_doubt_where_the_formula_alone_may_refuse_it(
    model: Model, spare: int | None, doubted: bool
) -> None:
    longest = LoadSettings(context_length=32_768)
    order = LoadOrder(ModelKey("m"), "llm", longest, None, None)
    needed = load_bytes(Model(ModelKey("m"), size_bytes=10 * GB), order)
    assert needed is not None
    assert is_in_doubt(model, None if spare is None else needed + spare) is doubted


@pytest.mark.parametrize(
    ("context", "limits", "learnt"),
    [(16, None, 16), (None, None, None), (None, LoadLimits(usual_context=8), 8)],
)
def test_a_load_counts_beside_what_is_there_with_the_context_it_gets(
    context: int | None, limits: LoadLimits | None, learnt: int | None
) -> None:
    order = LoadOrder(QWEN, "llm", LoadSettings(context_length=context), None, None)
    there = instance(QWEN, context=learnt)
    assert together([there], order, limits) == {(QWEN, learnt, 0), (QWEN, learnt, 1)}
