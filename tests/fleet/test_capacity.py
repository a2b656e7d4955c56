"""What a host can hold, as its loads, its refusals and its lists teach."""

from dataclasses import replace

import pytest
from scheduler_playbook import GB, model

from bot.domain.hosts import Instance, LoadLimits, LoadOrder
from bot.domain.ids import InstanceId, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.capacity import MOST_HELD, REFUSED_S, Capacity
from bot.policy.placement import instance_bytes, load_bytes, together

ONE = ModelKey("one")


def copy(name: str, *, gb: float = 10) -> Instance:
    return Instance(InstanceId(name), ModelKey(name), size_bytes=round(gb * GB))


def order(context: int | None = None) -> LoadOrder:
    return LoadOrder(ONE, "llm", LoadSettings(context_length=context), None, None)


@pytest.mark.parametrize(
    ("asked", "given", "learnt"),
    [
        (None, 4096, LoadLimits(usual_context=4096)),
        (8192, 4096, LoadLimits(most_context=4096)),
        (8192, 8192, LoadLimits()),
        (8192, None, LoadLimits()),
        (None, None, LoadLimits()),
    ],
)
def test_a_load_teaches_what_context_the_host_gives(
    asked: int | None, given: int | None, learnt: LoadLimits
) -> None:
    capacity = Capacity(None)
    capacity.loaded(order(asked), given, [copy("one")])
    assert capacity.limits == {ONE: learnt}


def test_what_was_learnt_before_stays_and_no_snapshot_changes() -> None:
    capacity = Capacity(None)
    capacity.loaded(order(), 4096, [])
    before = capacity.limits
    capacity.tries(ONE, "too big")
    assert capacity.limits == {ONE: LoadLimits(4096, None, "too big")}
    capacity.tries(ONE, is_retried=True)
    assert capacity.limits == {ONE: LoadLimits(4096, None, "", is_retried=True)}
    capacity.loaded(order(8192), 2048, [])
    assert capacity.limits == {ONE: LoadLimits(4096, 2048)}
    assert before == {ONE: LoadLimits(4096)}


def test_what_was_refused_together_is_asked_again_after_a_while_or_once_it_was_seen() -> None:
    capacity, there = Capacity(None), [copy("two")]
    tried = together(there, order())
    capacity.did_not_fit(order(), model("one"), there, 5.0)
    assert capacity.refused(5.0 + REFUSED_S - 1) == (tried,)
    assert capacity.refused(5.0 + REFUSED_S) == ()
    capacity.saw([*there, replace(copy("one"), context_length=None)])
    assert capacity.refused(5.0) == ()


def test_a_longer_context_proves_a_shorter_and_is_disproved_by_it() -> None:
    capacity, there = Capacity(None), [copy("two")]
    long, short = (replace(copy("one"), context_length=c) for c in (16384, 8192))
    capacity.did_not_fit(order(8192), model("one"), there, 5.0)
    capacity.saw([*there, replace(short, context_length=8191)])
    assert capacity.refused(5.0) == (together(there, order(8192)),)
    capacity.saw([*there, long])
    assert capacity.refused(5.0) == ()
    capacity.did_not_fit(order(8192), model("one"), there, 6.0)
    assert capacity.held == (together([*there, replace(short, context_length=8191)]),)


def test_the_ceiling_is_the_least_that_was_refused_and_falls_with_proof() -> None:
    one = load_bytes(model("one"), order()) or 0
    capacity = Capacity(None)
    capacity.did_not_fit(order(), model("one"), [copy("two")], 0.0)
    assert capacity.ceiling_bytes == instance_bytes(copy("two")) + one - 1
    capacity.did_not_fit(order(), model("one"), [copy("two"), copy("three")], 0.0)
    assert capacity.ceiling_bytes == instance_bytes(copy("two")) + one - 1
    capacity.did_not_fit(order(), model("one"), [], 0.0)
    assert capacity.ceiling_bytes == one - 1
    capacity.did_not_fit(order(), replace(model("one"), size_bytes=None), [], 0.0)
    assert capacity.ceiling_bytes == one - 1, "nothing is reckoned where no size is known"
    capacity.loaded(order(), None, [])
    assert capacity.ceiling_bytes == one - 1
    capacity.loaded(order(), None, [copy("one")])
    assert capacity.ceiling_bytes is None


@pytest.mark.parametrize(("over", "is_learnt"), [(0, True), (-1, False)])
def test_what_was_tried_beyond_the_owners_limit_says_nothing_of_it(
    over: int, is_learnt: bool
) -> None:
    one = load_bytes(model("one"), order()) or 0
    capacity = Capacity(one + over)
    capacity.did_not_fit(order(), model("one"), [], 0.0)
    assert (capacity.ceiling_bytes is not None) is is_learnt


def test_only_the_largest_sights_are_remembered_the_newest_of_them() -> None:
    capacity = Capacity(None)
    capacity.saw([copy("one")])
    capacity.saw([copy("one"), copy("two")])
    capacity.saw([copy("two")])
    assert capacity.held == (together([copy("one"), copy("two")]),)
    before = capacity.held
    capacity.saw([copy("two"), copy("one")])
    assert capacity.held is before, "nothing new was seen"
    capacity.did_not_fit(order(), model("one"), [copy("two")], 0.0)
    assert capacity.held == (), "what is refused now is no proof any more"
    for number in range(MOST_HELD + 1):
        capacity.saw([copy(f"m{number}")])
    assert len(capacity.held) == MOST_HELD
    assert capacity.held[0] == together([copy("m1")])


@pytest.mark.parametrize("is_memory", [True, False])
def test_only_a_load_for_which_there_was_no_room_is_tried_again_when_something_left(
    is_memory: bool,
) -> None:
    capacity = Capacity(None)
    # A file that is broken stays broken.
    if is_memory:
        capacity.failed(ONE, "no room", 5.0, is_memory=True)
    else:
        capacity.failed(ONE, "bad file", 5.0)
    until = capacity.limits[ONE].failed_until
    capacity.freed()
    assert (capacity.limits[ONE].failed_until == until) is not is_memory
    # What it failed by before says nothing of how it fails now.
    capacity.failed(ONE, "bad file", 6.0)
    until = capacity.limits[ONE].failed_until
    capacity.freed()
    assert capacity.limits[ONE].failed_until == until
