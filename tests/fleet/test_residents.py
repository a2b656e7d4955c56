"""What is in one host's memory, by its lists: whose it is, since when it rests, what left."""

from dataclasses import replace

import pytest

from bot.domain.errors import UnknownName
from bot.domain.hosts import Instance, LoadOrder, Model, OwnInstance
from bot.domain.ids import HostName, InstanceId, InstanceRef, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.queue import Ticket
from bot.fleet.residents import FRESH_S, LOST_S, NAMED, LostLoad, Residents

H = HostName("studio")
ONE, TWO = ModelKey("one"), ModelKey("two")
ADA = Ticket(1)


def instance(
    name: str = "one",
    ref: str | None = "r1",
    *,
    key: ModelKey = ONE,
    used: int | None = None,
    net: int | None = None,
) -> Instance:
    reference = None if ref is None else InstanceRef(ref)
    return Instance(InstanceId(name), key, reference, last_used=used, net_ttl_s=net)


def own(ref: str = "r1", name: str = "one", *, pinned: bool = False) -> OwnInstance:
    return OwnInstance(H, InstanceRef(ref), InstanceId(name), ONE, 60.0, pinned)


def order(ttl_s: int | None = 120) -> LoadOrder:
    return LoadOrder(ONE, "llm", LoadSettings(), ttl_s=ttl_s, idle_ttl_s=60.0)


def holding(*known: OwnInstance, listed: Instance | None = None) -> Residents:
    """One instance, seen at second 10."""
    residents = Residents(H, known)
    residents.see([listed or instance()], 10.0, None)
    return residents


def view(residents: Residents) -> Instance:
    (only,) = residents.views({})
    return only


def test_what_is_listed_is_there_with_what_only_we_know_and_what_is_not_is_gone() -> None:
    residents = holding(own(pinned=True))
    seen = view(residents)
    assert (seen.own, seen.pinned, seen.leases, seen.idle_since) == (True, True, 0, 10.0)
    assert (seen.idle_ttl_s, seen.spared_until) == (60.0, 0.0)
    assert residents.see([instance()], 11.0, None) == ([], [], [])
    claimed, gone, forgotten = residents.see([], 20.0, None)
    assert (claimed, [r.reference for r in gone], forgotten) == ([], ["r1"], ["r1"])
    assert residents.views({}) == ()
    assert residents.see([instance()], 30.0, None) == ([], [], [])
    assert not view(residents).own


def test_a_foreign_instance_is_nobodys_and_not_pinned() -> None:
    seen = view(holding())
    assert (seen.own, seen.pinned, seen.idle_ttl_s) == (False, False, None)


def test_a_view_knows_the_size_of_the_disk_and_counts_who_waits_as_one_more_lease() -> None:
    residents = holding()
    (seen,) = residents.views({ONE: Model(ONE, size_bytes=7)}, {InstanceRef("r1")})
    assert (seen.size_bytes, seen.leases, seen.idle_since) == (7, 1, None)
    residents.take(ADA, "ada", next(iter(residents)), 12.0)
    assert (view(residents).leases, view(residents).idle_since) == (1, None)
    assert view(residents).answers_since == (12.0,)
    residents.give_back(ADA, 15.0)
    assert (view(residents).answers_since, view(residents).idle_since) == ((), 15.0)


def test_a_view_keeps_what_the_host_listed_and_knows_of_the_disk_what_it_holds_a_token() -> None:
    listed = Instance(
        InstanceId("one"), ONE, InstanceRef("r1"), 4096, 3, 9, kind="embedding", last_used=5,
        net_ttl_s=6,
    )  # fmt: skip
    (seen,) = holding(listed=listed).views({ONE: Model(ONE, weights_bytes=7, token_bytes=0.5)})
    assert seen == replace(
        listed, weights_bytes=7, token_bytes=0.5, idle_since=10.0, awaited_until=10.0 + FRESH_S
    )


def test_a_name_is_an_identifier_first_and_then_a_model() -> None:
    residents = Residents(H, ())
    residents.see(
        [instance("two"), instance("chat", "r2", key=TWO), instance("one", "r3", key=TWO)],
        0.0,
        None,
    )
    assert [r.reference for r in residents.find("two")] == ["r1"]
    assert [r.reference for r in residents.find("one")] == ["r3"]
    residents.see([instance("chat", "r2", key=TWO), instance("a", "r3", key=TWO)], 0.0, None)
    assert [r.reference for r in residents.find("two")] == ["r2", "r3"]
    with pytest.raises(UnknownName, match="chat"):
        residents.find("chats")
    residents.see([instance("one"), instance("one:2", "r2")], 0.0, None)
    assert [r.reference for r in residents.find("one")] == ["r1", "r2"]
    assert [r.reference for r in residents.find("one:2")] == ["r2"]


def test_what_is_on_its_way_out_is_neither_shown_nor_found() -> None:
    residents = holding()
    assert not residents.is_unloading()
    residents.all[InstanceRef("r1")].leaving = "asked"
    assert residents.is_unloading()
    assert residents.views({}) == ()
    with pytest.raises(UnknownName):
        residents.find("one")


# --- rest -----------------------------------------------------------------------------------


def test_another_programs_use_begins_the_rest_anew_and_our_own_does_not() -> None:
    residents = holding(listed=instance(used=1))
    residents.see([instance(used=1)], 20.0, None)
    assert view(residents).idle_since == 10.0
    residents.see([instance(used=2)], 30.0, None)
    assert view(residents).idle_since == 30.0
    resident = next(iter(residents))
    residents.take(ADA, "ada", resident)
    del resident.users[ADA]
    residents.see([instance(used=3)], 40.0, None)
    assert view(residents).idle_since == 30.0
    residents.see([instance(used=4)], 50.0, None)
    assert view(residents).idle_since == 50.0


def test_a_use_that_goes_on_is_ours_at_every_look() -> None:
    residents = holding(listed=instance(used=1))
    resident = next(iter(residents))
    residents.take(ADA, "ada", resident)
    for second in (20.0, 30.0):
        residents.see([instance(used=int(second))], second, None)
    assert resident.idle_since == 10.0
    assert (resident.since, resident.seen_at) == (10.0, 30.0)


def test_a_lease_goes_on_under_a_new_record() -> None:
    residents = Residents(H, [own(pinned=True)])
    residents.resume(ADA, "ada", instance())
    seen = view(residents)
    assert (seen.own, seen.pinned, seen.leases) == (True, True, 1)
    resident = residents.held[ADA]
    # Older than any load.
    assert (resident.since, resident.idle_since, resident.users) == (0.0, 0.0, {ADA: "ada"})
    residents.resume(Ticket(2), "bob", instance())
    assert view(residents).leases == 2
    foreign = Residents(H, ())
    foreign.resume(ADA, "ada", instance())
    assert (view(foreign).own, view(foreign).pinned) == (False, False)


# --- whose it is ----------------------------------------------------------------------------


def test_what_was_loaded_without_a_reference_is_known_by_its_name_and_then_by_its_reference() -> (
    None
):
    named = own(f"{NAMED}one", pinned=True)
    residents = holding(named, listed=instance(ref=None))
    assert view(residents).own
    claimed, _, forgotten = residents.see([instance()], 20.0, None)
    assert claimed == [replace(named, reference=InstanceRef("r1"))]
    assert forgotten == [f"{NAMED}one"]
    assert view(residents).own
    # From now on its reference tells, though its name does not.
    assert residents.see([instance("other")], 30.0, None) == ([], [], [])
    assert view(residents).own


def test_a_name_of_another_model_is_not_ours() -> None:
    residents = holding(own(f"{NAMED}one"), listed=instance(ref=None, key=TWO))
    assert not view(residents).own
    residents = holding(own(f"{NAMED}one"), listed=instance(key=TWO))
    assert not view(residents).own


def test_a_list_without_references_proves_no_referenced_one_gone() -> None:
    residents = Residents(H, [own("r1"), own(f"{NAMED}gone", "gone")])
    _, _, forgotten = residents.see([instance(ref=None), instance("two", "r2")], 10.0, None)
    assert forgotten == [f"{NAMED}gone"]
    assert residents.see([instance()], 20.0, None)[2] == []
    assert view(residents).own


def test_what_one_lost_load_made_is_ours_and_no_more_than_that() -> None:
    residents = Residents(H, ())
    residents.see([instance("old", "r0", net=120)], 0.0, None)
    residents.lost = [LostLoad(order(), 0.0)]
    listed = [
        instance("old", "r0", net=120),
        instance("two", "r2", key=TWO, net=120),
        instance("hand", "r3", net=121),
        instance("nameless", None, net=120),
        instance("made", "r4", net=120),
        instance("more", "r5", net=120),
    ]
    claimed, _, _ = residents.see(listed, LOST_S - 1, None)
    assert claimed == [OwnInstance(H, InstanceRef("r4"), InstanceId("made"), ONE, 60.0)]
    assert residents.lost == []
    assert [r.reference for r in residents if r.own] == ["r4"]


def test_each_of_two_lost_loads_may_still_end() -> None:
    residents = Residents(H, ())
    residents.lost = [LostLoad(order(60), 0.0), LostLoad(order(120), 0.0)]
    claimed, _, _ = residents.see([instance(net=120)], 10.0, None)
    assert [c.reference for c in claimed] == ["r1"]
    assert residents.lost == [LostLoad(order(60), 0.0)]


def test_a_lost_load_is_given_up_to_the_second() -> None:
    residents = Residents(H, ())
    residents.lost = [LostLoad(order(), 5.0), LostLoad(order(), 6.0)]
    residents.see([], LOST_S + 5.0, None)
    assert residents.lost == [LostLoad(order(), 6.0)]


def test_what_is_known_as_ours_uses_up_no_lost_load() -> None:
    residents = Residents(H, [own()])
    residents.lost = [LostLoad(order(), 0.0)]
    assert residents.see([instance(net=120)], 10.0, None)[0] == []
    assert residents.lost == [LostLoad(order(), 0.0)]


def test_a_record_told_later_is_the_truth_of_what_was_seen_before() -> None:
    residents = holding()
    residents.see([instance(), instance("two", "r2")], 11.0, None)
    residents.adopt(own("r2", "two"))
    assert [seen.own for seen in residents.views({})] == [False, True]


def test_a_copy_seen_before_ours_was_is_no_work_of_a_turn() -> None:
    residents = Residents(H, ())
    theirs, ours = instance(net=3600), instance("two", "r2")
    residents.see([theirs], 10.0, None)
    residents.see([theirs, ours], 20.0, None)
    residents.take(ADA, "ada", residents.all[InstanceRef("r2")])
    assert residents.see([theirs], 30.0, None)[0] == []
    assert not view(residents).own


def test_a_copy_made_for_a_turn_is_found_behind_others_and_has_no_rest() -> None:
    residents = holding()
    residents.take(ADA, "ada", next(iter(residents)))
    others = [instance("two", "r2", key=TWO, net=9), instance("hand", "r3")]
    claimed, _, _ = residents.see([*others, instance("made", "r4", net=9)], 20.0, None)
    assert claimed == [OwnInstance(H, InstanceRef("r4"), InstanceId("made"), ONE, 0.0)]
