"""The scheduler where it is met exactly: bounds, guards, and what follows from one event alone."""

from dataclasses import replace

import pytest
from scheduler_playbook import GB, HOST, Playbook, model, unsized, up_with

from bot.domain.errors import FailureKind, NotPermitted
from bot.domain.events import Evicting, FleetEvent, Loading, Queued
from bot.domain.hosts import (
    HostConfig,
    LoadOrder,
    LoadRecord,
    OwnInstance,
    Pace,
    Report,
    Speed,
    SpeedRecord,
)
from bot.domain.ids import InstanceId, InstanceRef, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.capacity import REFUSED_S
from bot.fleet.demand import Demands
from bot.fleet.effects import Grant, StartUnload, Tell
from bot.fleet.queue import Ticket
from bot.fleet.scheduler import Scheduler
from bot.fleet.speeds import History
from bot.policy.placement import instance_bytes, load_bytes

ONE, TWO = ModelKey("one"), ModelKey("two")


def rests(play: Playbook, *names: str) -> None:
    """These are loaded by us and at rest, the first the longest."""
    for name in names:
        play.after(1).ask(f"by {name}", name)
        play.loaded()
        play.leave(f"by {name}")


@pytest.mark.parametrize("token", ["secret", None])
def test_a_snapshot_holds_everything_known(token: str | None) -> None:
    speeds = {ONE: Speed(load_s=4.0)}
    config = HostConfig(
        HOST, "studio:1", memory_bytes=9 * GB, max_loaded=2, token=token, slots=3, weight=2.0
    )
    scheduler = Scheduler(
        config,
        history=History(speeds, 5.0),
        own=(),
        evict_foreign=True,
        wake_s=9.0,
        demands=Demands(),
    )
    empty = scheduler.snapshot()
    assert empty.wake_s == 9.0
    assert (empty.interface, empty.version, empty.lists_only_loaded) == (None, "", None)
    report = Report("/api/v1", "0.4", {ONE: model("one")}, (), lists_only_loaded=True)
    scheduler.on_probed(0.0, report)
    found = scheduler.snapshot()
    assert (found.name, found.address, found.state) == (HOST, "studio:1", "up")
    assert (found.interface, found.version, found.lists_only_loaded) == (
        "/api/v1",
        "0.4",
        True,
    )
    assert (found.memory_bytes, found.max_loaded, found.slots) == (9 * GB, 2, 3)
    assert (found.weight, found.load_bytes_per_s, found.speeds) == (2.0, 5.0, speeds)
    assert (found.has_token, found.needs_token, found.evict_foreign) == (
        token is not None,
        False,
        True,
    )
    scheduler.on_probe_failed(1.0, "no token", FailureKind.AUTH)
    lost = scheduler.snapshot()
    assert (lost.reason, lost.failures, lost.needs_token) == ("no token", 1, True)
    assert (found.away_since, lost.away_since) == (None, 1.0)
    scheduler.on_probe_failed(1.5, "no token", FailureKind.AUTH)
    assert (found.next_probe_at, scheduler.snapshot().next_probe_at) == (None, 2.5)
    scheduler.on_probed(2.0, report)
    scheduler.on_doubted(3.0, "HTTP 500")
    scheduler.on_probe_failed(4.0, "cut", FailureKind.CUT)
    assert scheduler.snapshot().failures == 2


def test_a_snapshot_tells_what_was_measured_before_the_start_and_what_is_known_of_other_hosts() -> (
    None
):
    speeds = {ONE: Speed(prefill_tokens_per_s=100.0, tokens_per_s=10.0)}
    play = Playbook("one", "two", speeds=speeds)
    assert play.scheduler.snapshot().pace == Pace()
    play.up()
    pace = Pace(100.0 * 10 * GB, 10.0 * 10 * GB)
    assert play.scheduler.snapshot().pace == pace
    play.read(play.scheduler.on_answered(play.now, SpeedRecord(HOST, TWO, 0, 101, 1.0, 5.0)))
    efforts = {TWO: Pace(None, pace.decode and pace.decode / 20.0)}
    assert play.scheduler.snapshot().efforts == efforts


def test_a_snapshot_tells_that_a_probe_is_to_decide_and_since_when_it_is_woken() -> None:
    play = up_with("one", wake_mac="00:1a:2b:3c:4d:5e")
    assert not play.scheduler.snapshot().is_in_doubt
    play.doubt()
    assert play.scheduler.snapshot().is_in_doubt
    play.down()
    play.ask("ada", "one")
    assert play.scheduler.snapshot().woken_at == play.now


# --- askers ---------------------------------------------------------------------------------


def test_what_nobody_has_is_refused_though_a_load_is_under_way() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    assert play.ask("bob", "ghost") == ["refuse bob not there"]


def test_what_is_in_memory_alone_may_be_used() -> None:
    play = up_with("two")
    play.appears("one")
    play.appears("two")
    play.up()
    assert play.ask("ada", "one") == ["grant ada one"]
    assert play.granted["ada"].leases == 1
    # Though a load is under way, which those who wait for another wait for.
    play.disk[ModelKey("three")] = model("three")
    play.up()
    assert play.ask("eve", "three") == ["load three"]
    assert play.ask("bob", "ghost") == ["refuse bob not there"]


def test_what_is_in_memory_alone_cannot_be_loaded_again_for_a_longer_transcript() -> None:
    play = up_with("two")
    play.appears("one", context=4096)
    play.up()
    assert play.ask("ada", "one", context=9000) == ["refuse ada not there"]
    assert str(play.refused["ada"]) == "studio does not have `one`."


def test_whoever_is_seated_gets_the_copy_with_most_room() -> None:
    play = up_with("one")
    play.appears("one", parallel=2)
    play.appears("one", parallel=4)
    play.up()
    assert play.ask("ada", "one") == ["grant ada one:2"]


def test_of_copies_alike_the_first_is_taken_but_where_another_has_read_the_conversation() -> None:
    play = up_with("one")
    for _ in range(3):
        play.appears("one", parallel=2)
    play.up()
    assert play.ask("ada", "one") == ["grant ada one"]
    assert play.ask("bob", "one", conversation="c") == ["grant bob one:2"]
    play.leave("ada")
    play.leave("bob")
    assert play.ask("eve", "one", conversation="other") == ["grant eve one"]
    play.leave("eve")
    assert play.ask("bob again", "one", conversation="c") == ["grant bob again one:2"]


def test_a_slot_kept_free_for_one_who_gave_up_is_granted_at_once() -> None:
    play = up_with("one", "two", max_loaded=1, slots=2)
    play.ask("a0", "one")
    play.loaded()
    play.ask("bob", "two", wait=16)
    assert play.after(4).ask("a1", "one") == []
    assert play.after(12).tick() == ["refuse bob busy", "grant a1 one"]


def test_nothing_is_granted_while_the_host_is_out() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "one", wait=30)
    play.ask("eve", "one")
    play.doubt()
    assert play.leave("ada") == []
    assert play.after(30).tick() == ["refuse bob busy"]


def test_whoever_was_served_long_ago_counts_as_new() -> None:
    play = up_with("one", slots=1)
    rests(play, "one")
    play.ask("zed", "one")
    play.ask("ada", "one", user="by one")
    play.ask("bob", "one")
    assert play.leave("zed") == ["grant ada one"]


def test_who_waits_for_a_slot_holds_up_no_load() -> None:
    play = up_with("one", "two", slots=1)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "one")
    assert play.ask("eve", "two") == ["load two"]


def test_who_waits_for_a_slot_hides_nobody_who_waited_too_long() -> None:
    play = up_with("one", "two", max_loaded=1, slots=1)
    play.ask("a0", "one")
    play.loaded()
    play.ask("a1", "one")
    play.ask("bob", "two")
    play.ask("a2", "one")
    assert play.after(15).leave("a0") == ["grant a1 one"]
    assert play.leave("a1") == ["unload one"], "a2 came after bob, who waited long enough"


def test_for_those_refused_together_with_what_never_fits_no_load_begins() -> None:
    play = up_with(replace(model("one"), weights_bytes=GB, token_bytes=1e7), "two", memory_gb=64)
    play.ask("ada", "two")
    play.ask("bob", "one", load=LoadSettings(context_length=30_000))
    play.ask("eve", "one")
    refused = ["refuse bob does not fit", "refuse eve does not fit"]
    assert play.loaded() == ["grant ada two", *refused]


def test_what_never_fits_hides_nobody_who_waited_too_long() -> None:
    models = model("one", gb=30), model("two", gb=40), model("three"), model("huge", gb=200)
    play = up_with(*models, memory_gb=64)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "three")
    assert play.ask("hal", "huge") == [], "it is looked at once the load is over"
    play.ask("eve", "two")
    play.after(30).tick()
    assert play.ask("late", "one") == []


def test_beyond_its_patience_no_later_load_takes_the_room_it_waits_for() -> None:
    play = up_with("one", model("big", gb=30), model("small", gb=3), memory_gb=36)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "big")
    assert play.after(25).ask("eve", "small") == []


def test_the_shortest_patience_of_all_who_wait_for_it_keeps_the_room_free() -> None:
    play = up_with("one", model("big", gb=30), model("small", gb=3), memory_gb=36)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "big")
    play.after(10).ask("cid", "big", wait=20)
    assert play.after(5).ask("eve", "small") == []


def test_before_that_a_later_load_may_go_first() -> None:
    play = up_with("one", model("big", gb=30), model("small", gb=3), memory_gb=36)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "big")
    assert play.after(24.9).ask("eve", "small") == ["load small"]


def test_the_wait_for_an_eviction_is_part_of_the_load() -> None:
    play = up_with("one", "two", max_loaded=1)
    rests(play, "one")
    play.ask("ada", "two")
    play.after(3).unloaded()
    play.loaded(seconds=5)
    grant = play.log[-1] if isinstance(play.log[-1], Grant) else None
    assert grant is not None
    assert (grant.queue_s, grant.load_s) == (0.0, 8.0)


def test_when_the_eviction_failed_the_wait_counts_again() -> None:
    play = up_with("one", "two", max_loaded=1)
    rests(play, "one")
    play.ask("bob", "two", wait=5)
    play.unloaded(stays=True)
    assert play.after(5).tick() == ["refuse bob busy"]


def test_a_place_is_told_among_those_who_wait_for_the_same() -> None:
    play = up_with("one", "two", slots=1)
    for name in ("one", "two"):
        play.ask(f"holds {name}", name)
        play.loaded()
    play.ask("bob", "one")
    play.ask("eve", "two")
    assert play.told("eve") == Queued(HOST, TWO, 1, None, TWO)


def test_news_is_told_once() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "one")
    before = sum(isinstance(effect, Tell) for effect in play.log)
    play.tick()
    assert sum(isinstance(effect, Tell) for effect in play.log) == before


def test_time_alone_is_news_of_a_load() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.after(3).tick()
    assert isinstance(told := play.told("ada"), Loading)
    assert told.elapsed_s == 3.0


def test_whoever_waits_for_a_slot_has_no_load_to_cancel() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "one")
    with pytest.raises(NotPermitted):
        play.cancel("one")


def test_a_load_large_enough_to_the_token_is_joined() -> None:
    play = up_with("one")
    play.ask("ada", "one", load=LoadSettings(context_length=8192))
    play.ask("bob", "one", context=8192)
    play.ask("eve", "one", context=8193)
    assert isinstance(play.told("bob"), Loading)
    assert isinstance(play.told("eve"), Queued)
    assert play.loaded() == ["grant ada one", "grant bob one", "load one with 16384"]


def test_of_those_who_wait_only_the_same_models_are_ahead() -> None:
    play = up_with("one", "two", slots=1)
    play.ask("ada", "one")
    play.loaded()
    for who, key in (("bob", "one"), ("eve", "two"), ("zed", "one")):
        play.ask(who, key)
    assert [play.scheduler.ahead(Ticket(number)) for number in (2, 3, 4)] == [0, 0, 1]
    assert [play.scheduler.waits(Ticket(number)) for number in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    ("parallel", "held"),
    [(1, ("one",)), (2, ("two", "one")), (3, ("three", "two", "one")), (None, ("two", "one"))],
)
def test_the_slots_of_a_copy_hold_what_they_read_last(
    parallel: int | None, held: tuple[str, ...]
) -> None:
    play = up_with("one", slots=2)
    play.appears("one", parallel=parallel)
    play.up()
    for number, said in enumerate(("one", "three", "two", "", "one", "one")):
        play.ask(f"ada {number}", "one", conversation=said)
        play.leave(f"ada {number}")
    assert play.instance("one").conversations == held
    # What it is granted as is from before: that tells what is left to be read.
    play.ask("bob", "one", conversation="four")
    granted = play.granted["bob"]
    assert granted.conversations == held
    assert (granted.missed_s, granted.is_kept_free) == (0.0, False)


def test_a_prompt_is_being_read_until_its_first_word() -> None:
    play = up_with("one")
    rests(play, "one")
    play.ask("ada", "one")
    play.ask("bob", "one")
    assert play.instance("one").reading == 2
    for ticket in (Ticket(2), Ticket(2), Ticket(9)):
        assert play.scheduler.on_spoke(play.now, ticket) == ()
        assert play.instance("one").reading == 1
    play.leave("bob")
    assert play.instance("one").reading == 0


def test_what_else_is_in_memory_is_no_copy_and_beside_a_spilled_one_nothing_is_learnt() -> None:
    play = up_with("one", "two")
    play.appears("one")
    play.appears("two")
    play.up()

    def answered(per_s: float) -> None:
        record = SpeedRecord(HOST, ONE, 0, 101, 1.0, 100 / per_s)
        play.read(play.scheduler.on_answered(play.now, record))

    for per_s in (30.0,) * 5 + (5.0,) * 3:
        answered(per_s)
    assert [i.slowdown for i in play.scheduler.snapshot().instances] == [pytest.approx(6.0), 1.0]
    play.appears("one")
    play.up()
    before = play.scheduler.snapshot().speeds
    # Nobody says which of the two it was.
    answered(5.0)
    assert play.scheduler.snapshot().speeds == before


# --- the host -------------------------------------------------------------------------------


def test_a_host_that_comes_back_as_its_drain_ends_is_told_of_both() -> None:
    play = up_with("one")
    play.drain(for_s=10.0)
    play.down()
    assert play.after(10).up() == ["resume"]
    assert [news.what for news in play.news[-2:]] == ["host found", "host resumed"]


def test_where_nobody_else_is_left_the_next_probe_brings_a_host_back_sooner() -> None:
    play = up_with("one")
    for _ in range(3):
        play.doubt()
        play.up()
    assert play.scheduler.snapshot().state == "down"
    assert play.scheduler.on_sought(play.now) == ()
    play.up()
    assert play.scheduler.snapshot().state == "up"


def test_who_waits_is_told_when_the_probe_brings_the_host_back_not_yet() -> None:
    play = up_with("one", slots=1)
    for _ in range(2):
        play.doubt()
        play.up()
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "one")
    assert play.doubt() == []
    assert play.up() == ["refuse bob HostUnreachable"]


def test_a_silence_is_said_while_the_host_works_and_ends_with_a_word() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.scheduler.on_probe_failed(play.now, "gone", FailureKind.TIMEOUT, play.now - 5.0)
    host = play.scheduler.snapshot()
    assert (host.state, host.reason, host.failures) == ("up", "gone", 1)
    assert host.silent_since == play.now - 5.0
    assert not host.tells
    play.down(FailureKind.TIMEOUT)
    assert play.scheduler.snapshot().silent_since is None
    assert play.scheduler.snapshot().tells


# --- loads ----------------------------------------------------------------------------------


def test_a_step_of_a_load_told_again_is_as_old_as_the_first_time() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.after(4).progress(0.5)
    play.after(3).progress(0.5)
    play.tick()
    load = play.scheduler.snapshot().load
    assert load is not None
    assert load.told_at == play.now - 3


def test_a_load_is_never_more_than_done() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.progress(1.7)
    assert isinstance(told := play.told("ada"), Loading)
    assert told.fraction == 1.0


def test_a_finished_load_is_remembered() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded(seconds=4)
    assert LoadRecord(HOST, ONE, 4.0, 10 * GB) in play.log
    record = SpeedRecord(HOST, ONE, 100, 50, 1.0, 2.0)
    assert play.scheduler.on_answered(play.now, record) == (record,)


def test_a_model_erased_while_it_loads_has_no_size() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.disk = {}
    play.up()
    assert play.loaded(seconds=4) == ["grant ada one"]
    assert LoadRecord(HOST, ONE, 4.0, None) in play.log


def test_the_end_of_a_load_nobody_knows_of_is_no_fault() -> None:
    play = up_with("one")
    instance = play.appears("one")
    own = OwnInstance(HOST, InstanceRef("ref-1"), instance.identifier, ONE, 60)
    play.read(play.scheduler.on_loaded(play.now, own, play.listed()))
    assert play.instance("one").own
    end = play.scheduler.on_load_failed
    assert play.read(end(play.now, "cut", FailureKind.CUT, None, None)) == []
    assert play.scheduler.snapshot().state == "up"


def test_what_a_broken_load_made_all_the_same_is_ours() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loading = None
    own = OwnInstance(HOST, InstanceRef("ref-1"), InstanceId("one"), ONE, 60)
    play.read(play.scheduler.on_load_failed(play.now, "cut", FailureKind.CUT, None, own))
    play.appears("one")
    play.up()
    assert play.instance("one").own


def test_a_broken_load_shows_what_is_in_memory_meanwhile() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.appears("two")
    play.load_breaks()
    assert play.ask("bob", "two") == ["grant bob two"]


def test_a_load_that_failed_is_not_waited_for_to_appear() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.load_breaks()
    play.appears("one")
    play.see(
        replace(play.report(), residents=tuple(replace(i, net_ttl_s=120) for i in play.listed()))
    )
    assert not play.instance("one").own


def test_a_cancelled_load_lost_with_its_host_is_no_doubt_of_it() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.cancel("one")
    assert play.load_breaks("cut", FailureKind.CUT) == []
    assert play.scheduler.snapshot().state == "up"


def test_a_failure_of_any_other_kind_is_a_failed_load() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    assert play.load_breaks("no", FailureKind.BAD_REQUEST) == ["refuse ada load failed"]


def test_one_of_ours_beside_a_foreign_one_may_still_leave_for_a_refused_load() -> None:
    play = up_with("one", "two", "three")
    rests(play, "one")
    play.appears("two")
    play.up()
    play.ask("ada", "three")
    assert play.load_refused() == ["unload one"]
    assert isinstance(play.told("ada"), Evicting)


def test_a_try_given_up_while_room_was_made_leaves_both_to_the_next() -> None:
    play = up_with("one", "two", "three")
    rests(play, "one", "two")
    play.ask("bob", "three")
    play.load_refused()
    play.leave("bob")
    play.unloaded()
    play.ask("eve", "three")
    assert play.load_refused() == ["unload two"]


def test_a_load_that_ended_well_leaves_both_tries_to_the_next() -> None:
    play = up_with(*unsized("one", "two", "three"))
    rests(play, "one", "two")
    play.ask("bob", "three", load=LoadSettings(context_length=4096))
    play.load_refused()
    play.unloaded()
    play.ask("eve", "three", context=9000)
    play.loaded()
    assert play.load_refused() == ["unload two"]


def test_a_refusal_forgotten_leaves_both_tries_to_the_next() -> None:
    play = up_with(*unsized("one", "two", "three"))
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "two")
    play.load_refused()
    play.leave("bob")
    play.leave("ada")
    play.after(REFUSED_S).ask("eve", "two")
    assert play.load_refused() == ["unload one"]


def test_a_load_given_up_leaves_both_tries_to_who_waits_for_a_larger_one() -> None:
    play = up_with(*unsized("one", "two", "three", "four"))
    rests(play, "one", "two", "four")
    play.ask("bob", "three", load=LoadSettings(context_length=4096))
    play.load_refused()
    play.unloaded()
    play.ask("eve", "three", context=9000)
    assert play.load_refused() == ["refuse bob does not fit", "unload two"]
    play.unloaded()
    assert play.load_refused() == ["unload four"]


def test_a_load_that_broke_is_told_in_the_hosts_words_and_one_without_room_with_what_stays() -> (
    None
):
    play = up_with("one", "two")
    play.appears("one")
    play.up()
    play.ask("ada", "two")
    play.load_breaks("exit code 1.")
    assert str(play.refused["ada"]) == "exit code 1."
    play.after(REFUSED_S).ask("bob", "two")
    play.load_breaks("no room.", FailureKind.DOES_NOT_FIT)
    assert str(play.refused["bob"]) == (
        "two does not fit on studio: what is in memory must stay (loaded by others: one); "
        "the host says: no room."
    )


def test_what_others_load_meanwhile_may_be_used_during_our_load() -> None:
    play = up_with("one", "two")
    play.ask("ada", "two")
    play.appears("one")
    play.after(1).up()
    assert play.ask("bob", "one") == ["grant bob one"]


def test_a_model_that_does_not_fit_names_model_host_and_reason() -> None:
    play = up_with(model("huge", gb=200), memory_gb=64)
    play.ask("ada", "huge")
    words = "huge does not fit on studio: needs about 212.8 GB, the host has 64.0 GB."
    assert str(play.refused["ada"]) == words


def needs(gb: float) -> int:
    """Bytes that a load of such a model is reckoned to take."""
    needed = load_bytes(model("any", gb=gb), LoadOrder(ONE, "llm", LoadSettings(), 60, 30.0))
    assert needed is not None
    return needed


def test_a_ceiling_is_one_byte_less_than_was_refused_and_the_least_of_all() -> None:
    play = up_with(model("big", gb=20), model("less", gb=15), model("more", gb=30))
    for who, key, ceiling in (("a", "big", 20), ("b", "less", 15), ("c", "more", 15)):
        play.ask(who, key)
        assert play.load_refused() == [f"refuse {who} does not fit"]
        assert play.scheduler.snapshot().ceiling_bytes == needs(ceiling) - 1


def test_only_a_lack_of_memory_makes_a_ceiling() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.load_breaks()
    assert play.scheduler.snapshot().ceiling_bytes is None
    play.ask("bob", "one")
    play.disk = {}
    play.up()
    play.load_refused()
    assert play.scheduler.snapshot().ceiling_bytes is None


@pytest.mark.parametrize(("beyond", "stands"), [(0, True), (1, False)])
def test_a_ceiling_stands_until_more_than_it_is_held(beyond: int, stands: bool) -> None:
    play = up_with(model("big", gb=20), *unsized("other"))
    play.ask("ada", "big")
    play.load_refused()
    play.appears("theirs")
    play.ask("bob", "other")
    ceiling = play.scheduler.snapshot().ceiling_bytes
    assert ceiling is not None
    # Bytes grow by less than one a step: some size holds exactly as much.
    theirs = play.memory[InstanceId("theirs")]
    low, high = 0, 2 * ceiling
    while low < high:
        middle = (low + high) // 2
        is_less = instance_bytes(replace(theirs, size_bytes=middle)) < ceiling + beyond
        low, high = (middle + 1, high) if is_less else (low, middle)
    play.memory[theirs.identifier] = replace(theirs, size_bytes=low)
    play.loaded()
    assert instance_bytes(play.instance("theirs")) == ceiling + beyond
    assert (play.scheduler.snapshot().ceiling_bytes == ceiling) is stands


def test_only_a_load_that_brought_nothing_counts_as_a_try() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.ask("bob", "one", user="ada")
    assert play.loaded() == ["grant ada one"]
    for number, context in enumerate((9000, 20_000)):
        play.ask(f"long {number}", "one", context=context)
        assert play.loaded() == [f"grant long {number} {play.listed()[-1].identifier}"]
    play.memory.clear()
    assert play.up()[-1] == "load one with 32768"
    for _ in range(2):
        play.loading = None
        own = OwnInstance(HOST, InstanceRef("ghost"), InstanceId("one"), ONE, 60)
        decided = play.read(play.scheduler.on_loaded(play.now, own, ()))
        assert decided[-1] == "load one with 32768"


def test_a_load_too_small_for_somebody_is_no_try_of_theirs() -> None:
    play = up_with("one")
    play.ask("ada", "one", load=LoadSettings(context_length=4096))
    play.ask("long", "one", context=20_000)
    assert play.loaded() == ["grant ada one", "load one with 32768"]
    own = OwnInstance(HOST, InstanceRef("ghost"), InstanceId("one:2"), ONE, 60)
    for left in (2, 1, 0):
        play.loading = None
        decided = play.read(play.scheduler.on_loaded(play.now, own, play.listed()))
        assert decided[-1] == ("load one with 32768" if left else "refuse long load failed")


def test_where_one_has_tried_three_times_whoever_joined_later_has_their_own_tries() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    decided: list[list[str]] = []
    for number in range(5):
        if number == 2:
            play.ask("bob", "one")
        play.loading = None
        own = OwnInstance(HOST, InstanceRef("ghost"), InstanceId("one"), ONE, 60)
        decided.append(play.read(play.scheduler.on_loaded(play.now, own, ())))
    assert decided[2] == ["forget ghost", "refuse ada load failed", "load one"]
    # Nobody new joins them: a stream of askers would have it loaded for ever.
    assert play.ask("eve", "one") == ["refuse eve load failed"]
    assert decided[4] == ["forget ghost", "refuse bob load failed"]


def test_of_those_who_wait_for_one_load_the_first_in_turn_says_how_patient_they_are() -> None:
    play = up_with("one", model("big", gb=30), model("small", gb=3), memory_gb=36)
    play.ask("ada", "one")
    play.loaded()
    # She holds something: her wish comes behind bob's, though it is the older.
    play.ask("ada again", "big", user="ada")
    assert play.after(15).ask("bob", "big") == []
    assert play.ask("ada once more", "small", user="ada") == ["load small"]


def test_whoever_leaves_a_load_under_way_decides_nothing_for_those_behind() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.ask("bob", "two")
    assert isinstance(before := play.told("bob"), Queued)
    assert before.position == 2
    assert play.leave("ada") == []
    assert play.told("bob") is before
    play.tick()
    assert isinstance(after := play.told("bob"), Queued)
    assert after.position == 1


# --- unloads --------------------------------------------------------------------------------


def test_an_admin_unloads_what_works_for_others_and_nobody_else_does() -> None:
    play = up_with("one", "two")
    rests(play, "one", "two")
    play.unload("one")
    play.after(60).sweep()
    unloads = {e.instance.model_key: e.even_busy for e in play.log if isinstance(e, StartUnload)}
    assert unloads == {ONE: True, TWO: False}
    play.unloaded()
    news = FleetEvent("model unloaded", HOST, ONE, "asked by an admin", InstanceId("one"), "admin")
    assert news in play.news
    play.unloaded()
    news = FleetEvent("model unloaded", HOST, TWO, "at rest for 60 s", InstanceId("two"), "idle")
    assert news in play.news


def test_a_pin_of_ours_is_kept_for_the_next_start() -> None:
    play = up_with("one", "two")
    rests(play, "one")
    play.appears("two")
    play.up()
    assert play.pin("one") == ["keep one"]
    assert isinstance(kept := play.log[-1], OwnInstance)
    assert kept.pinned
    assert play.pin("two") == []
    assert play.instance("two").pinned


def test_what_an_earlier_turn_is_about_to_be_given_is_not_kept_free_for_a_later_one() -> None:
    play = up_with("three", "four", "five", max_loaded=2, slots=1, evict_foreign=True)
    for key in ("three", "four"):
        play.appears(key)
        play.up()
        play.ask(f"at {key}", key)
    for who, key in (("first", "four"), ("patient", "five"), ("last", "three")):
        assert play.ask(who, key) == []
    play.after(31).tick()
    # Of the two only this one is at rest, and it is taken: so the other is kept free.
    assert play.leave("at four") == ["grant first four"]
    kept = [i.model_key for i in play.scheduler.snapshot().instances if i.is_kept_free]
    assert kept == ["three"]
    assert play.leave("at three") == ["unload three"]


def test_a_pin_outlives_what_is_kept_of_the_instance_later() -> None:
    play = up_with("one")
    rests(play, "one")
    play.pin("one")
    assert play.ask("ada", "one", ttl=90.0) == ["keep one", "grant ada one"]
    kept = [effect for effect in play.log if isinstance(effect, OwnInstance)][-1]
    assert (kept.pinned, kept.idle_ttl_s) == (True, 90.0)


def test_what_stayed_and_left_later_by_another_hand_was_unloaded_elsewhere() -> None:
    play = up_with("one")
    rests(play, "one")
    play.unload("one")
    play.unloaded(stays=True)
    play.vanishes("one")
    play.up()
    words = "on the host, not by Lantern"
    news = FleetEvent("model unloaded", HOST, ONE, words, InstanceId("one"), "elsewhere")
    assert news in play.news


def test_a_load_that_stands_is_waited_for_no_longer_than_anybody_waits() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one", wait=30)
    play.ask("bob", "two", wait=30)
    play.after(1).progress(0.5)
    assert play.after(28.9).tick() == []
    assert play.after(0.1).tick() == ["refuse ada busy", "refuse bob busy"]
    assert str(play.refused["ada"]) == "studio stands still at 50% of its load."
    assert str(play.refused["bob"]) == "studio stayed busy for 30 s."


def test_whoever_comes_without_time_to_wait_is_not_told_of_a_wait() -> None:
    # "Busy for 0 s" was said of an idle host, by whose load nobody could wait any more.
    play = up_with("one")
    assert play.ask("ada", "one", wait=0) == ["refuse ada busy"]
    told = "studio had nothing ready, and no time to wait for it was left."
    assert str(play.refused["ada"]) == told


def test_what_is_held_by_another_lantern_is_so_called_by_who_waited_as_long_as_they_may() -> None:
    play = up_with("one")
    play.ask("ada", "one", wait=30)
    play.scheduler.on_load_held(play.now, is_held=True, told_at=play.now)
    assert play.after(30).tick() == ["refuse ada busy"]
    assert str(play.refused["ada"]) == "An earlier load on studio is not over."


def test_a_load_that_gets_on_is_waited_for_to_its_end() -> None:
    play = up_with("one")
    play.ask("ada", "one", wait=30)
    for second in range(1, 60):
        assert play.after(1).progress(second / 60) == []
        assert play.tick() == []


def test_a_load_of_which_nothing_is_known_is_waited_for_longer() -> None:
    play = up_with("one")
    play.ask("ada", "one", wait=10)
    assert play.after(179.9).tick() == []
    assert play.after(0.1).tick() == ["refuse ada busy"]


def test_who_waits_as_long_as_it_takes_waits_for_a_load_that_stands() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.after(1).progress(0.5)
    assert play.after(1000).tick() == []
