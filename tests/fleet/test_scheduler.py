"""The scheduler as scripts: what happens, what it decides."""

import math
from dataclasses import replace

import pytest
from scheduler_playbook import GB, HOST, Playbook, model, unsized, up_with

from bot.domain.errors import FailureKind, NotPermitted, UnknownName
from bot.domain.events import Evicting, FleetEvent, Loading, Queued
from bot.domain.hosts import HostConfig, OwnInstance, Purpose, Report, Speed, SpeedRecord
from bot.domain.ids import InstanceId, InstanceRef, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.capacity import REFUSED_S
from bot.fleet.demand import Demands
from bot.fleet.effects import Grant, StartUnload
from bot.fleet.queue import Ticket
from bot.fleet.residents import reference_of
from bot.fleet.scheduler import PULSE_S, UNMEASURED_LOST_S, Scheduler
from bot.fleet.speeds import History
from bot.policy.placement import CANNOT_LOAD

ONE, TWO = ModelKey("one"), ModelKey("two")


# --- loading --------------------------------------------------------------------------------


def test_a_cold_model_is_loaded_at_once_and_granted_when_it_is_there() -> None:
    play = up_with("one")
    assert play.ask("ada", "one") == ["load one"]
    assert play.told("ada") == Loading(HOST, ONE, 0.0, None, 0.0, 1)
    assert play.loaded(seconds=8) == ["grant ada one"]
    assert play.granted["ada"].own
    news = FleetEvent("model loaded", HOST, ONE, "", InstanceId("one"), None, 8.0, 10 * GB)
    assert news in play.news


def test_a_load_held_by_that_of_another_lantern_is_told_so_and_begins_with_its_end() -> None:
    play = up_with("one")
    play.scheduler.on_load_held(play.now, is_held=True)
    play.ask("ada", "one")
    play.after(2)
    play.read(play.scheduler.on_load_held(play.now, is_held=True))
    assert play.told("ada") == Loading(HOST, ONE, 0.0, None, 0.0, 1, is_held=True)
    play.after(5)
    play.read(play.scheduler.on_load_held(play.now, is_held=False))
    assert play.told("ada") == Loading(HOST, ONE, 0.0, None, 0.0, 1)
    play.loaded(seconds=8)
    assert play.news[-1].seconds == 8.0, "what it waited is no part of how long it takes"


def test_a_resident_model_is_granted_without_a_word() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded()
    assert play.ask("bob", "one") == ["grant bob one"]
    with pytest.raises(KeyError):
        play.told("bob")


def test_any_number_of_waiters_share_one_load() -> None:
    play = up_with("one", slots=100)
    assert play.ask("u0", "one") == ["load one"]
    for number in range(1, 100):
        assert play.ask(f"u{number}", "one") == []
    assert isinstance(told := play.told("u7"), Loading)
    assert told.waiters == 8, "the 92 who came later need not be announced to those before"
    play.after(1).progress(0.1)
    assert isinstance(told := play.told("u7"), Loading)
    assert told.waiters == 100
    assert len(play.loaded()) == 100


def test_progress_goes_to_every_waiter_and_never_back() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.ask("bob", "one")
    play.after(2).progress(0.5)
    play.after(1).progress(0.3)
    for who in ("ada", "bob"):
        # Half of it was done after 2 s: after 3 s there is 1 s left.
        assert play.told(who) == Loading(HOST, ONE, 0.5, 1.0, 3.0, 2)


def test_seconds_left_come_from_the_models_own_history() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded(seconds=10)
    play.leave("ada")
    play.vanishes("one")
    play.up()
    play.ask("ada2", "one")
    assert isinstance(first := play.told("ada2"), Loading)
    assert first.seconds_left == pytest.approx(10)
    play.after(4).progress(0.5)
    assert isinstance(later := play.told("ada2"), Loading)
    assert later.seconds_left == pytest.approx(4)


def test_a_leaver_cancels_nothing() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    assert play.leave("ada") == []
    assert play.loaded() == []
    assert play.instance("one").own
    assert play.ask("bob", "one") == ["grant bob one"]


def test_one_load_at_a_time_per_host() -> None:
    play = up_with("one", "two")
    assert play.ask("ada", "one") == ["load one"]
    assert play.ask("bob", "two") == []
    assert play.told("bob") == Queued(HOST, TWO, 2)
    assert play.loaded() == ["grant ada one", "load two"]
    assert play.loaded() == ["grant bob two"]


def test_load_settings_and_twice_the_idle_ttl_go_with_the_load() -> None:
    play = up_with("one")
    settings = LoadSettings(context_length=16384, gpu="max", kv_cache_quant="q8_0")
    play.ask("ada", "one", load=settings, ttl=45.2)
    assert play.loading is not None
    assert play.loading.settings == settings
    assert play.loading.ttl_s == 91
    assert play.loading.idle_ttl_s == 45.2


def test_a_model_to_be_kept_loaded_gets_no_net() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=None)
    assert play.loading is not None
    assert play.loading.ttl_s is None


def test_a_failed_load_is_told_once_to_everybody_and_not_tried_again() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.ask("bob", "one")
    assert play.load_breaks("exit code 7") == ["refuse ada load failed", "refuse bob load failed"]
    assert str(play.refused["ada"]) == "exit code 7"
    assert play.news[-1] == FleetEvent("load failed", HOST, ONE, "exit code 7")
    assert play.loading is None


def test_a_load_that_failed_is_not_asked_for_by_the_next_turn_for_growing_times() -> None:
    play = up_with("one", "two")
    for pause_s in (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0):
        assert play.ask(f"at {pause_s} {play.now}", "one") == ["load one"]
        assert play.load_breaks("exit code 7")[0].endswith("load failed")
        until = play.scheduler.snapshot().limits[ONE].failed_until
        assert until == play.now + pause_s
        play.after(pause_s - 0.5)
        assert play.ask(f"early {play.now}", "one")[0].endswith("load failed")
        assert "again in 1 s: exit code 7" in str(play.refused[f"early {play.now}"])
        play.after(0.5)
    assert play.ask("bob", "two") == ["load two"]


def test_once_it_was_in_memory_the_pause_after_a_failed_load_is_over_and_the_next_is_short() -> (
    None
):
    play = up_with("one", slots=1)
    for pause_s in (5.0, 10.0):
        play.ask(f"ada {pause_s}", "one")
        play.load_breaks()
        play.after(pause_s)
    play.ask("bob", "one")
    play.load_breaks()
    assert play.ask("eve", "one") == ["refuse eve load failed"]
    play.appears("one")
    play.up()
    assert play.scheduler.snapshot().limits[ONE].failure == ""
    assert play.ask("eve", "one") == ["grant eve one"]
    play.vanishes("one")
    play.up()
    play.leave("eve")
    play.ask("ivy", "one")
    play.load_breaks()
    assert play.scheduler.snapshot().limits[ONE].failed_until == play.now + 5.0


def test_a_copy_too_small_serves_whom_it_can_while_a_larger_one_failed_to_load() -> None:
    play = up_with("one")
    play.appears("one", context=4096)
    play.up()
    play.ask("long", "one", context=20_000)
    assert play.load_breaks() == ["refuse long load failed"]
    assert play.ask("ada", "one", context=1000) == ["grant ada one"]


def test_what_failed_for_lack_of_memory_is_tried_as_soon_as_something_left() -> None:
    play = up_with("one", "two", "three")
    play.appears("two")
    play.up()
    play.ask("ada", "one")
    assert play.load_refused() == ["refuse ada does not fit"]
    assert play.ask("bob", "one") == ["refuse bob load failed"]
    play.ask("cat", "three")
    assert play.load_breaks() == ["refuse cat load failed"]
    play.vanishes("two")
    play.up()
    assert play.ask("dan", "three") == ["refuse dan load failed"]
    assert play.ask("eve", "one") == ["load one"]


def test_an_admin_who_orders_a_load_is_told_of_no_earlier_one() -> None:
    play = up_with("one", "two")
    for key in ("one", "two"):
        play.ask(f"ada {key}", key)
        play.load_breaks()
    assert play.read(play.scheduler.on_load_ordered(play.now, ONE)) == []
    assert play.ask("bob", "two") == ["refuse bob load failed"]
    assert play.ask("eve", "one") == ["load one"]


def test_what_was_cancelled_or_lost_with_its_host_is_no_failed_load() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.cancel("one")
    play.load_breaks("cancelled", FailureKind.CANCELLED)
    assert play.ask("bob", "one") == ["load one"]
    play.load_breaks("silent", FailureKind.TIMEOUT)
    play.up()
    assert play.ask("eve", "one") == ["load one"]


def test_a_failed_load_does_not_hold_up_the_next_model() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.ask("bob", "two")
    assert play.load_breaks() == ["refuse ada load failed", "load two"]


def test_a_model_that_never_appears_is_given_up_after_three_loads() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    decided: list[str] = []
    for _ in range(3):
        play.loading = None
        own = OwnInstance(HOST, InstanceRef("ghost"), InstanceId("one"), ONE, 60)
        decided = play.read(play.scheduler.on_loaded(play.now, own, ()))
    assert decided == ["forget ghost", "refuse ada load failed"]


# --- cancelling -----------------------------------------------------------------------------


def test_cancel_with_one_waiter_stops_the_load_at_the_host() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    decided = play.cancel("one")
    assert decided == ["stop the load", "refuse ada cancelled"]
    assert play.load_breaks("cancelled", FailureKind.CANCELLED) == []


def test_cancel_after_the_presser_left_stops_the_load_too() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.leave("ada")
    assert play.cancel("one") == ["stop the load"]


def test_cancel_is_refused_while_somebody_else_waits() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.ask("bob", "one")
    with pytest.raises(NotPermitted):
        play.cancel("one")


def test_there_is_nothing_to_cancel_when_nobody_waits_and_nothing_loads() -> None:
    with pytest.raises(NotPermitted):
        up_with("one").cancel("one")


def test_a_wish_during_the_cancel_waits_and_is_loaded_afresh() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.cancel("one")
    load = play.scheduler.snapshot().load
    assert load is not None
    assert load.is_stopping
    assert play.ask("bob", "one") == []
    assert isinstance(play.told("bob"), Queued)
    assert play.load_breaks("cancelled", FailureKind.CANCELLED) == ["load one"]
    assert play.loaded() == ["grant bob one"]


def test_a_cancel_that_comes_too_late_takes_out_what_nobody_wants() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.cancel("one")
    assert play.loaded() == ["unload one"]
    assert play.unloaded() == ["forget ref-1"]


def test_a_cancel_that_comes_too_late_serves_whoever_asked_meanwhile() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.cancel("one")
    play.ask("bob", "one")
    assert play.loaded() == ["grant bob one"]


def test_a_queued_load_is_cancelled_before_it_began() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.ask("bob", "two")
    assert play.cancel("two") == ["refuse bob cancelled"]
    assert play.loaded() == ["grant ada one"]


# --- slots and turns ------------------------------------------------------------------------


def test_beyond_the_slots_askers_queue_with_their_position() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.loaded()
    assert play.ask("bob", "one") == []
    assert play.ask("eve", "one") == []
    assert play.told("bob") == Queued(HOST, ONE, 1, None, ONE)
    assert play.told("eve") == Queued(HOST, ONE, 2, None, ONE)
    assert play.leave("ada") == ["grant bob one"]
    assert play.told("eve") == Queued(HOST, ONE, 1, None, ONE)


def test_the_hosts_own_word_on_slots_beats_the_configured() -> None:
    play = up_with("one", slots=5)
    play.appears("one", parallel=1)
    play.up()
    assert play.ask("ada", "one") == ["grant ada one"]
    assert play.ask("bob", "one") == []


def test_a_queue_position_carries_seconds_once_turns_were_measured() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.loaded()
    play.scheduler.on_answered(play.now, SpeedRecord(HOST, ONE, 100, 50, 2.0, 8.0))
    play.ask("bob", "one")
    assert play.told("bob") == Queued(HOST, ONE, 1, 10.0, ONE)
    play.ask("eve", "one")
    assert play.told("eve") == Queued(HOST, ONE, 2, 20.0, ONE)
    # The pulse keeps it fresh; an answer that outlasts the usual goes on for a while.
    play.after(7.5).tick()
    assert play.told("bob") == Queued(HOST, ONE, 1, 7.0, ONE)
    play.after(12.5).tick()
    assert play.told("bob") == Queued(HOST, ONE, 1, 10.0, ONE)
    play.leave("ada")
    assert play.told("eve") == Queued(HOST, ONE, 1, 10.0, ONE)


def test_users_take_turns() -> None:
    play = up_with("one", slots=1)
    play.ask("a1", "one", user="ada")
    play.loaded()
    for who in ("a2", "a3", "a4"):
        play.ask(who, "one", user="ada")
    play.ask("b1", "one", user="bob")
    play.ask("b2", "one", user="bob")
    served = [play.leave(who)[0].split()[1] for who in ("a1", "b1", "a2", "b2", "a3")]
    assert served == ["b1", "a2", "b2", "a3", "a4"]


def test_whoever_waited_as_long_as_they_may_is_refused() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "one", wait=30)
    assert play.after(29).tick() == []
    assert play.after(1).tick() == ["refuse bob busy"]
    assert str(play.refused["bob"]) == "studio stayed busy for 30 s."


def test_ones_own_load_under_way_is_not_cut_by_the_clock() -> None:
    play = up_with("one")
    play.ask("ada", "one", wait=30)
    assert play.after(120).tick() == []
    assert play.loaded() == ["grant ada one"]
    # ... but once it failed the time is over.
    play.ask("bob", "one", wait=30)


def test_the_grant_splits_the_wait_into_queue_and_load() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.ask("bob", "two")
    play.loaded(seconds=10)
    play.loaded(seconds=5)
    grant = next(e for e in play.log if isinstance(e, Grant) and e.instance.model_key == TWO)
    assert (grant.queue_s, grant.load_s) == (10.0, 5.0)


# --- room -----------------------------------------------------------------------------------


def test_own_idle_instances_make_room_least_recently_used_first() -> None:
    play = up_with("one", "two", "big", max_loaded=2)
    for name in ("one", "two"):
        play.after(10).ask(name, name)
        play.loaded()
        play.leave(name)
    assert play.after(10).ask("ada", "big") == ["unload one"]
    assert play.told("ada") == Evicting(HOST, ModelKey("big"), (ONE,))
    assert play.unloaded() == ["forget ref-1", "load big"]
    assert play.loaded() == ["grant ada big"]
    news = FleetEvent(
        "model unloaded", HOST, ONE, "evicted to make room for big", InstanceId("one"), "evicted"
    )
    assert news in play.news


def test_memory_decides_how_many_must_leave() -> None:
    play = up_with(model("one", gb=10), model("two", gb=10), model("big", gb=20), memory_gb=29)
    for name in ("one", "two"):
        play.after(10).ask(name, name)
        play.loaded()
        play.leave(name)
    assert play.ask("ada", "big") == ["unload one", "unload two"]
    assert play.unloaded() == ["forget ref-1"]
    assert play.unloaded() == ["forget ref-2", "load big"]


def test_a_leased_instance_is_never_unloaded_but_waited_for() -> None:
    play = up_with("one", "two", max_loaded=1)
    play.ask("ada", "one")
    play.loaded()
    assert play.ask("bob", "two") == []
    assert play.told("bob") == Queued(HOST, TWO, 1, None, ONE)
    assert play.leave("ada") == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load two"]
    assert play.loaded() == ["grant bob two"]


def test_who_waits_for_a_load_hears_how_long_until_it_begins() -> None:
    three = ModelKey("three")
    play = up_with("one", "two", "three", max_loaded=1)
    play.ask("ada", "one")
    play.loaded(seconds=8.0)
    play.scheduler.on_answered(play.now, SpeedRecord(HOST, ONE, 100, 50, 2.0, 18.0))
    for name, key in (("bob", "two"), ("eve", "three"), ("fay", "two")):
        play.ask(name, key)
    # Ada's answer takes twenty seconds, and by its size the load of two takes eight.
    assert play.told("bob") == Queued(HOST, TWO, 1, 20.0, ONE)
    assert play.told("eve") == Queued(HOST, three, 2, 28.0, ONE)
    assert play.told("fay") == Queued(HOST, TWO, 3, 20.0, ONE)
    play.after(5.0).tick()
    assert play.told("eve") == Queued(HOST, three, 2, 26.0, ONE)
    play.leave("ada")
    play.unloaded()
    assert play.told("eve") == Queued(HOST, three, 2, 8.0)
    # Nobody knows how long an answer of two takes.
    play.loaded(seconds=8.0)
    assert play.told("eve") == Queued(HOST, three, 1, None, TWO)


def test_no_load_is_foretold_for_who_waits_for_a_slot() -> None:
    play = up_with("one", "two", max_loaded=1, slots=1)
    play.ask("ada", "one")
    play.loaded(seconds=8.0)
    play.scheduler.on_answered(play.now, SpeedRecord(HOST, ONE, 100, 50, 2.0, 18.0))
    play.ask("bob", "one")
    play.ask("eve", "two")
    assert play.told("bob") == Queued(HOST, ONE, 1, 20.0, ONE)
    # Bob has his place before her load, and his answer takes as long as Ada's.
    assert play.told("eve") == Queued(HOST, TWO, 2, 40.0, ONE)


def test_no_seconds_are_told_until_a_slot_that_others_will_have_taken_the_memory_of_by_then() -> (
    None
):
    # Of 24 for two models in turn at one host some were told "about 3 s", and began after 38 s.
    play = up_with("one", "two", max_loaded=1, slots=2)
    for name in ("ada", "abe"):
        play.ask(name, "one")
    play.loaded(seconds=8.0)
    play.scheduler.on_answered(play.now, SpeedRecord(HOST, ONE, 100, 50, 2.0, 18.0))
    for name, key in (("bob", "two"), ("cid", "one"), ("eve", "two"), ("fay", "two")):
        play.ask(name, key)
    # Those who wait for two will have waited a swap's sixteen seconds together before cid's turn.
    assert play.told("bob") == Queued(HOST, TWO, 1, 20.0, ONE)
    assert play.told("cid") == Queued(HOST, ONE, 2, None, ONE)
    assert play.told("eve") == Queued(HOST, TWO, 3, 20.0, ONE)
    # Its load brings two slots.
    assert play.told("fay") == Queued(HOST, TWO, 4, None, ONE)


def in_line(*, at_s: float = 0.0, turn_s: float = 20.0) -> Playbook:
    """Room for one model and one answer: ada's began so long ago; a swap costs sixteen seconds."""
    play = up_with("one", "two", max_loaded=1, slots=1)
    play.ask("ada", "one")
    play.loaded(seconds=8.0)
    play.scheduler.on_answered(play.now, SpeedRecord(HOST, ONE, 100, 50, 2.0, turn_s - 2.0))
    return play.after(at_s)


def test_the_slot_of_the_very_moment_in_which_a_swap_is_due_is_promised_to_nobody() -> None:
    play = in_line(at_s=8.0)
    play.ask("eve", "two")
    play.ask("cid", "one")
    assert play.told("cid") == Queued(HOST, ONE, 2, None, ONE)
    assert play.after(16.0).leave("ada") == ["unload one"]


def test_a_swap_that_nobody_waits_for_any_more_takes_nobodys_seconds() -> None:
    play = in_line()
    play.ask("bob", "two")
    play.after(13.0).tick()
    play.leave("bob")
    play.ask("eve", "two")
    play.ask("cid", "one")
    # Hers is due in sixteen seconds, his was in three.
    assert play.told("cid") == Queued(HOST, ONE, 1, 14.0, ONE)


def test_a_swap_is_due_with_the_least_patient_of_those_who_wait_for_it() -> None:
    play = in_line(at_s=6.0, turn_s=10.0)
    play.ask("abe", "two", wait=20.0)
    play.ask("bob", "two")
    play.ask("cid", "one")
    # In five seconds for abe and in eight for bob; ada's answer takes seven more.
    assert play.told("cid") == Queued(HOST, ONE, 3, None, ONE)


def test_who_waits_for_a_slot_holds_up_no_load_behind_the_one_under_way() -> None:
    three = ModelKey("three")
    play = up_with("one", "two", "three", slots=1)
    play.ask("ada", "one")
    play.loaded(seconds=8.0)
    for who, key in (("bob", "two"), ("cid", "one"), ("dan", "three")):
        play.ask(who, key)
    # However long an answer of one takes, and be it known or not.
    assert play.told("dan") == Queued(HOST, three, 3, 8.0, ONE)
    play.scheduler.on_answered(play.now, SpeedRecord(HOST, ONE, 100, 50, 2.0, 18.0))
    play.tick()
    assert play.told("cid") == Queued(HOST, ONE, 1, 20.0, ONE)
    assert play.told("dan") == Queued(HOST, three, 3, 8.0, ONE)


def test_no_seconds_are_told_behind_an_answer_that_is_still_to_begin_and_was_never_measured() -> (
    None
):
    play = up_with("one", "two", "three", max_loaded=1, slots=1)
    play.ask("ada", "one")
    play.loaded(seconds=8.0)
    for who, key in (("bob", "one"), ("cid", "two"), ("dan", "three")):
        play.ask(who, key)
    play.doubt()
    play.leave("ada")
    assert play.told("dan") == Queued(HOST, ModelKey("three"), 3)


def test_of_a_load_whose_length_nobody_can_guess_no_wait_is_told_behind_it() -> None:
    play = up_with(model("one"), replace(model("two"), size_bytes=None), model("three"))
    play.ask("ada", "one")
    play.after(4.0).progress(0.5)
    play.ask("bob", "two")
    play.ask("eve", "three")
    assert play.told("bob") == Queued(HOST, TWO, 2, 4.0)
    assert play.told("eve") == Queued(HOST, ModelKey("three"), 3)
    # Half a second later it is told in whole seconds still.
    play.after(0.5).tick()
    assert play.told("bob") == Queued(HOST, TWO, 2, 4.0)
    # How soon its host gives it up nobody knows.
    play.leave("ada")
    play.cancel("one")
    play.tick()
    assert play.told("bob") == Queued(HOST, TWO, 1)


def test_a_foreign_instance_is_used_when_it_fits_and_never_unloaded() -> None:
    play = up_with("one", "two", max_loaded=1)
    play.appears("one")
    play.up()
    assert play.ask("ada", "one") == ["grant ada one"]
    play.leave("ada")
    assert play.ask("bob", "two") == ["refuse bob does not fit"]
    assert "loaded by others: one" in str(play.refused["bob"])


def test_told_to_foreign_instances_make_room_too() -> None:
    play = up_with("one", "two", max_loaded=1, evict_foreign=True)
    play.appears("one")
    play.up()
    assert play.ask("bob", "two") == ["unload one"]


def test_what_can_never_fit_is_refused_at_once() -> None:
    play = up_with(model("huge", gb=200), memory_gb=64)
    assert play.ask("ada", "huge") == ["refuse ada does not fit"]


def test_an_instance_that_does_not_leave_is_left_in_peace_for_a_while() -> None:
    play = up_with("one", "two", max_loaded=1)
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    assert play.ask("bob", "two") == ["unload one"]
    assert play.unloaded(stays=True) == []
    assert play.told("bob") == Queued(HOST, TWO, 1)
    assert play.ask("eve", "one") == ["grant eve one"]
    play.leave("eve")
    assert play.after(9).tick() == []
    assert play.after(1).tick() == ["unload one"]


def test_two_cold_models_on_a_one_slot_host_are_both_served() -> None:
    play = up_with("one", "two", max_loaded=1, slots=1)
    assert play.ask("ada", "one") == ["load one"]
    assert play.ask("bob", "two") == []
    assert play.loaded() == ["grant ada one"]
    assert play.leave("ada") == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load two"]
    assert play.loaded() == ["grant bob two"]


def test_turns_for_the_resident_model_may_go_first_but_not_for_ever() -> None:
    play = up_with("one", "two", max_loaded=1, slots=2)
    play.ask("a0", "one")
    play.loaded()
    play.ask("bob", "two", wait=120)
    assert play.ask("a1", "one") == ["grant a1 one"]
    assert play.leave("a0") == []
    assert play.after(15).ask("a2", "one") == []
    assert play.leave("a1") == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load two"]
    assert play.loaded() == ["grant bob two"]
    assert play.leave("bob") == ["unload two"]
    assert play.unloaded() == ["forget ref-2", "load one"]
    assert play.loaded() == ["grant a2 one"]


def test_who_waited_for_the_resident_model_first_holds_it() -> None:
    play = up_with("one", "two", max_loaded=1, slots=1)
    play.ask("a0", "one")
    play.loaded()
    play.ask("a1", "one")
    play.ask("bob", "two")
    assert play.after(60).leave("a0") == ["grant a1 one"]
    assert play.leave("a1") == ["unload one"]


# --- the host refuses -----------------------------------------------------------------------


def test_a_refused_load_evicts_one_more_and_is_tried_once_more() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    assert play.ask("bob", "two") == ["load two"]
    assert play.load_refused() == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load two"]
    assert play.load_refused() == ["refuse bob does not fit"]
    assert str(play.refused["bob"]) == "insufficient system resources"


def test_a_refused_load_evicts_as_much_as_it_takes() -> None:
    play = up_with(model("small", gb=4), model("little", gb=4), "spare", "large")
    for name in ("small", "little", "spare"):
        play.after(1).ask(name, name)
        play.loaded()
        play.leave(name)
    play.ask("bob", "large")
    assert play.load_refused() == ["unload small", "unload little", "unload spare"]


def test_a_load_refused_beside_one_in_use_waits_for_it_whatever_lies_at_rest() -> None:
    play = up_with(model("small", gb=0.1), model("busy", gb=6), model("large", gb=18))
    for name in ("small", "busy"):
        play.ask(name, name)
        play.loaded()
    play.leave("small")
    assert play.ask("bob", "large") == ["load large"]
    # The small one makes no room that would do.
    assert play.load_refused() == []
    assert "bob" not in play.refused
    # Once both rest, as much leaves as the load takes.
    assert play.leave("busy") == ["unload busy", "unload small"]
    play.unloaded()
    assert play.unloaded() == ["forget ref-1", "load large"]
    assert play.loaded() == ["grant bob large"]


def test_a_load_refused_anew_after_an_eviction_still_waits_for_the_one_in_use() -> None:
    play = up_with(*unsized("rests", "busy", "large"))
    for name in ("rests", "busy"):
        play.ask(name, name)
        play.loaded()
    play.leave("rests")
    play.ask("bob", "large")
    assert play.load_refused() == ["unload rests"]
    assert play.unloaded() == ["forget ref-1", "load large"]
    assert play.load_refused() == []
    # Nothing failed: whoever comes now waits with him.
    assert play.ask("eve", "large") == []
    assert play.leave("busy") == ["unload busy"]
    assert play.unloaded() == ["forget ref-2", "load large"]
    # At rest nothing is left to hope for.
    assert play.load_refused() == ["refuse bob does not fit", "refuse eve does not fit"]


def test_what_a_host_refused_to_hold_together_is_not_tried_while_something_can_leave() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "two")
    play.load_refused()
    play.leave("bob")
    play.leave("ada")
    assert play.ask("eve", "two") == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load two"]
    assert play.loaded() == ["grant eve two"]


def test_a_ceiling_refuses_nobody_and_is_forgotten_when_more_is_held() -> None:
    play = up_with("one", "two")
    play.appears("one")
    play.up()
    play.ask("bob", "two")
    assert play.load_refused() == ["refuse bob does not fit"]
    # Another program may have had a part in it: with nothing to evict it is simply tried, though
    # not at once.
    assert play.after(5).ask("eve", "two") == ["load two"]
    assert play.loaded() == ["grant eve two"]
    play.leave("eve")
    play.vanishes("one")
    play.up()
    assert play.ask("ada", "one") == ["load one"]


def test_a_load_joined_and_used_is_no_failed_try() -> None:
    play = up_with("one", slots=1)
    play.ask("first", "one", context=9000)
    for number in range(5):
        play.ask(f"long {number}", "one", context=9000 << number)
        play.ask(f"short {number}", "one", context=1000)
    seen: set[str] = set()
    for _ in range(40):
        if play.loading is not None:
            play.loaded()
        elif play.leaving:
            play.unloaded()
        for who in set(play.granted) - seen:
            seen.add(who)
            play.leave(who)
    assert not play.refused
    assert len(seen) == 11


def test_a_refused_load_with_nothing_of_ours_to_evict_fails_at_once() -> None:
    play = up_with("one", "two")
    play.appears("one")
    play.up()
    play.ask("bob", "two")
    assert play.load_refused() == ["refuse bob does not fit"]
    words = (
        "two does not fit on studio: what is in memory must stay (loaded by others: one);"
        " the host says: insufficient system resources."
    )
    assert str(play.refused["bob"]) == words
    assert play.scheduler.snapshot().limits[ModelKey("two")].failure == words


def test_what_is_pinned_is_named_to_whom_the_host_refuses_a_load() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    play.pin("one")
    assert play.ask("bob", "two") == ["load two"]
    refused = play.load_breaks("Insufficient memory: see settings.", FailureKind.DOES_NOT_FIT)
    assert refused == ["refuse bob does not fit"]
    assert str(play.refused["bob"]) == (
        "two does not fit on studio: what is in memory must stay"
        " (pinned until `/fleet unpin`: one); the host says: Insufficient memory: see settings."
    )
    play.pin("one", False)
    assert play.ask("eve", "two") == ["unload one"]


def test_a_load_refused_beside_a_pin_is_remembered_until_something_changes_there() -> None:
    play = up_with("one", "two", "three")
    for key in ("one", "three"):
        play.ask("ada", key)
        play.loaded()
        play.leave("ada")
    play.pin("one")
    assert play.ask("bob", "two") == ["load two"]
    assert play.load_refused() == ["unload three"]
    assert play.unloaded() == ["forget ref-2", "load two"]
    assert play.load_refused() == ["refuse bob does not fit"]
    # Each that came later had it loaded and refused anew.
    for minutes in (0, 1, 20):
        play.after(60.0 * minutes)
        assert play.ask(f"eve {minutes}", "two") == [f"refuse eve {minutes} does not fit"]
        assert str(play.refused[f"eve {minutes}"]) == (
            "two does not fit on studio: what is in memory must stay"
            " (pinned until `/fleet unpin`: one)."
        )
    play.pin("one", False)
    assert play.ask("dan", "two") == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load two"]


def test_a_load_refused_beside_a_pin_is_tried_again_after_half_an_hour() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    play.pin("one")
    play.ask("bob", "two")
    play.load_refused()
    play.after(REFUSED_S - 1)
    assert play.ask("eve", "two") == ["refuse eve does not fit"]
    play.after(1)
    assert play.ask("dan", "two") == ["load two"]


def test_what_found_no_room_is_tried_at_once_when_something_is_pinned_no_more() -> None:
    play = up_with("one", "two", "three", "four")
    for who, key in (("ada", "one"), ("bea", "three"), ("cy", "four")):
        play.ask(who, key)
        play.loaded()
    for who in ("bea", "cy", "ada"):
        play.after(1).leave(who)
    play.pin("three")
    assert play.ask("bob", "two") == ["load two"]
    assert play.load_refused() == ["unload four"]
    play.unloaded()
    # With one more gone it might fit: that is for the next try to tell.
    assert play.load_refused() == ["refuse bob does not fit"]
    play.pin("one")
    assert play.ask("eve", "two") == ["refuse eve load failed"]
    play.pin("three", False)
    assert play.ask("dan", "two") == ["unload three"]


def test_what_is_in_use_is_waited_for_where_one_more_left_and_it_was_not_enough() -> None:
    play = up_with("one", "two", "three")
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "two")
    play.loaded()
    play.leave("bob")
    assert play.ask("eve", "three") == ["load three"]
    assert play.load_refused() == ["unload two"]
    assert play.unloaded() == ["forget ref-2", "load three"]
    assert play.load_refused() == []
    assert play.told("eve") == Queued(HOST, ModelKey("three"), 1, None, ModelKey("one"))
    assert play.leave("ada") == ["unload one"]


def test_a_refused_load_waits_for_our_own_busy_instance() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "two")
    assert play.load_refused() == []
    assert play.leave("ada") == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load two"]
    assert play.loaded() == ["grant bob two"]


@pytest.mark.parametrize(
    ("later_s", "does"), [(REFUSED_S - 1, "unload one"), (REFUSED_S, "load two")]
)
def test_what_was_refused_together_is_tried_again_when_others_may_have_left(
    later_s: float, does: str
) -> None:
    play = up_with(*unsized("one", "two"))
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "two")
    play.load_refused()
    play.leave("bob")
    play.leave("ada")
    play.after(later_s)
    assert play.ask("eve", "two") == [does]


def test_what_was_held_together_is_loaded_together_again_whatever_the_formula_says() -> None:
    play = up_with(model("one", gb=10), model("two", gb=10), memory_gb=22)
    play.ask("ada", "one")
    play.loaded()
    # By the formula 23.6 GB: within a tenth, so that the host decides.
    assert play.ask("bob", "two") == ["load two"]
    play.loaded()
    play.vanishes("two")
    play.leave("bob")
    play.up()
    play.scheduler.config = replace(play.scheduler.config, memory_bytes=20 * GB)
    assert play.ask("bob", "two") == ["load two"]


def test_who_waits_for_another_load_of_a_refused_model_has_both_tries_still() -> None:
    play = up_with(*unsized("one", "two", "three"))
    for name in ("one", "two"):
        play.ask(name, name)
        play.loaded()
        play.leave(name)
    play.ask("bob", "three", load=LoadSettings(context_length=4096))
    play.ask("eve", "three", context=9000)
    assert play.load_refused() == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load three with 16384"]
    play.leave("eve")
    play.ask("zoe", "three", context=20_000)
    # Beside what a shorter context was refused beside, a longer one is not tried.
    assert play.load_refused() == ["refuse bob does not fit", "unload two"]
    assert play.unloaded() == ["forget ref-2", "load three with 32768"]
    play.ask("one", "one")
    assert play.load_refused() == ["refuse zoe does not fit", "load one"]


# --- context --------------------------------------------------------------------------------


def test_a_long_transcript_loads_with_a_context_that_holds_it() -> None:
    play = up_with("one")
    assert play.ask("ada", "one", context=9000) == ["load one with 16384"]


def test_an_own_idle_instance_too_small_is_loaded_again_larger() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    assert play.ask("bob", "one", context=9000) == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load one with 16384"]
    why = "reloading one with room for a longer text"
    assert why in [event.reason for event in play.news], "not evicted to make room for itself"
    assert play.loaded() == ["grant bob one"]
    assert play.ask("ada2", "one") == ["grant ada2 one"]


@pytest.mark.parametrize("replaces", [True, False])
@pytest.mark.parametrize("first", ["question", "order"])
def test_what_is_loaded_by_hand_takes_the_place_of_a_smaller_copy_at_rest(
    first: Purpose, replaces: bool
) -> None:
    # Beside the new copy the one that just came stood on, and answered.
    play = up_with("one")
    play.ask("ada", "one", purpose=first)
    play.loaded()
    play.leave("ada")
    load = "load one with 16384"
    decided = play.ask("bob", "one", context=9000, purpose="order", replaces=replaces)
    assert decided == (["unload one"] if replaces else [load])
    if replaces:
        assert play.unloaded() == ["forget ref-1", load]


@pytest.mark.parametrize("is_foreign", [True, False])
def test_a_second_instance_is_loaded_beside_one_too_small_that_must_stay(is_foreign: bool) -> None:
    play = up_with("one")
    if is_foreign:
        play.appears("one")
        play.up()
    else:
        play.ask("ada", "one")
        play.loaded()
    assert play.ask("bob", "one", context=9000) == ["load one with 16384"]
    assert play.loaded() == ["grant bob one:2"]


def test_nobody_waits_for_more_context_than_the_model_has() -> None:
    play = up_with(model("one", window=8192))
    assert play.ask("ada", "one", context=9000) == ["load one with 8192"]
    assert play.loaded() == ["grant ada one"]


def test_what_no_model_has_is_no_measure_for_others() -> None:
    play = up_with(model("one", window=8192), model("two", window=131_072))
    play.ask("ada", "one", context=999_999, purpose="order", replaces=True)
    play.loaded()
    play.leave("ada")
    assert play.ask("bob", "two") == ["load two with 8192"]


def test_no_more_context_is_asked_for_than_the_model_has() -> None:
    play = up_with(model("one", window=8192))
    settings = LoadSettings(context_length=100_000)
    assert play.ask("ada", "one", load=settings) == ["load one with 8192"]


def test_a_smaller_default_than_usual_is_learnt() -> None:
    play = up_with("one")
    assert play.ask("ada", "one", context=3000) == ["load one"]
    assert play.loaded(context=2048) == ["unload one"]
    assert play.unloaded() == ["forget ref-1", "load one with 4096"]
    assert play.loaded() == ["grant ada one"]


def test_a_larger_saved_default_is_left_to_the_host() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded(context=16384)
    play.leave("ada")
    play.vanishes("one")
    play.up()
    assert play.ask("bob", "one", context=9000) == ["load one"]


def test_a_host_that_gives_less_context_than_asked_is_taken_at_its_word() -> None:
    play = up_with("one")
    play.ask("ada", "one", context=9000)
    assert play.loaded(context=8192) == ["grant ada one"]


def test_one_load_serves_the_longest_transcript_waiting() -> None:
    play = up_with("one", "two")
    play.ask("x", "two")
    play.ask("ada", "one")
    play.ask("bob", "one", context=9000)
    assert play.loaded() == ["grant x two", "load one with 16384"]
    assert play.loaded() == ["grant ada one", "grant bob one"]


def test_a_longer_wish_does_not_join_a_load_too_small_for_it() -> None:
    play = up_with("one")
    play.ask("ada", "one", load=LoadSettings(context_length=8192))
    play.ask("bob", "one", context=9000)
    assert play.loaded() == ["grant ada one", "load one with 16384"]
    assert play.loaded() == ["grant bob one:2"]


# --- resting and leaving ----------------------------------------------------------------------


def sweep(play: Playbook) -> list[str]:
    return play.sweep()


def test_idle_time_counts_from_the_end_of_work() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.loaded()
    play.after(600)
    assert sweep(play) == []
    play.leave("ada")
    play.after(59)
    assert sweep(play) == []
    play.after(1)
    assert sweep(play) == ["unload one"]
    assert play.unloaded() == ["forget ref-1"]


def test_foreign_pinned_and_kept_instances_rest_for_ever() -> None:
    play = up_with("one", "two", "three")
    play.appears("one")
    play.ask("ada", "two", ttl=60)
    play.loaded()
    play.pin("two")
    play.ask("eve", "three", ttl=None)
    play.loaded()
    play.leave("ada")
    play.leave("eve")
    play.after(100_000)
    assert sweep(play) == []
    play.pin("two", is_pinned=False)
    assert sweep(play) == ["unload two"]


def test_the_most_patient_user_decides_how_long_an_instance_rests() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.loaded()
    assert play.ask("bob", "one", ttl=600) == ["keep one", "grant bob one"]
    assert play.ask("eve", "one", ttl=30) == []
    play.leave("ada")
    assert play.instance("one").idle_ttl_s == 600


def test_a_request_during_a_ttl_unload_is_served_after_a_reload() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.loaded()
    play.leave("ada")
    play.after(60)
    sweep(play)
    assert play.ask("bob", "one") == []
    assert play.unloaded() == ["forget ref-1", "load one"]
    assert play.loaded() == ["grant bob one"]


def test_an_instance_somebody_waits_for_is_not_swept_away() -> None:
    play = up_with("one", "two", slots=1)
    play.ask("ada", "one", ttl=60)
    play.loaded()
    play.leave("ada")
    play.after(60)
    assert sweep(play) == ["unload one"]


@pytest.mark.parametrize("is_seen_first", [True, False])
def test_where_nothing_can_be_loaded_whoever_asks_is_told_so_and_no_load_begins(
    *, is_seen_first: bool
) -> None:
    play = Playbook("one")
    report = replace(play.report(), interface="/v1")
    if is_seen_first:
        play.see(report)
    said = play.ask("ada", "one")
    if not is_seen_first:
        said = play.see(report)
    assert said == ["refuse ada load failed"]
    assert str(play.refused["ada"]) == f"{HOST} is {CANNOT_LOAD['/v1']}."


def test_what_a_command_beside_left_is_ours_and_what_is_not_here_stays_unknown() -> None:
    play = up_with("one", "two")
    play.appears("one")
    play.up()
    (found,) = play.scheduler.snapshot().instances
    left = OwnInstance(HOST, reference_of(found), found.identifier, found.model_key, 60.0)
    gone = replace(left, reference=InstanceRef("gone"))
    assert not found.own
    effects = play.scheduler.on_left_to_us(play.now, [gone, left])
    # Written once more: a host that is begun anew knows it by this.
    assert [one for one in effects if isinstance(one, OwnInstance)] == [left]
    assert [i.own for i in play.scheduler.snapshot().instances] == [True]
    assert not play.scheduler.on_left_to_us(play.now, [left])
    play.after(60)
    assert sweep(play) == ["unload one"]


def used_at(play: Playbook, last_used: int) -> Report:
    used = tuple(replace(i, last_used=last_used) for i in play.listed())
    return Report(play.report().interface, models=play.disk, residents=used)


def test_use_by_another_program_begins_the_rest_anew() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.loaded()
    play.leave("ada")
    play.see(used_at(play, 1))
    play.after(59).see(used_at(play, 2))
    play.after(30).see(used_at(play, 2))
    assert sweep(play) == []
    play.after(30)
    assert sweep(play) == ["unload one"]


def test_our_own_use_seen_late_does_not() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.loaded()
    play.leave("ada")
    play.after(59).see(used_at(play, 1))
    play.after(1)
    assert sweep(play) == ["unload one"]


def test_what_left_by_itself_is_loaded_again_when_asked_for() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    play.vanishes("one")
    assert play.up() == ["forget ref-1"]
    assert play.ask("bob", "one") == ["load one"]


def test_an_instance_that_appears_during_its_load_is_granted_only_when_the_load_has_ended() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    order = play.loading
    instance = play.appears("one")
    assert play.up() == []
    assert order is not None
    own = OwnInstance(HOST, InstanceRef("ref-1"), instance.identifier, ONE, 60)
    assert play.read(play.scheduler.on_loaded(play.now, own, play.listed())) == ["grant ada one"]
    assert play.granted["ada"].own


def test_a_load_spared_grants_what_others_loaded() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loading = None
    play.appears("one")
    assert play.read(play.scheduler.on_listed(play.now, play.listed(), is_load_spared=True)) == [
        "grant ada one"
    ]
    assert not play.granted["ada"].own


# --- own and foreign --------------------------------------------------------------------------


def remembered(reference: str, pinned: bool = False) -> OwnInstance:
    return OwnInstance(HOST, InstanceRef(reference), InstanceId("one"), ONE, 60.0, pinned)


def test_an_own_instance_is_known_again_after_a_restart_and_rests_from_then() -> None:
    play = Playbook("one", own=[remembered("ref-1")])
    play.appears("one")
    play.up()
    assert play.instance("one").own
    play.after(59)
    assert sweep(play) == []
    play.after(1)
    assert sweep(play) == ["unload one"]


def appeared(play: Playbook, ttl_s: int | None) -> Report:
    seen = tuple(replace(i, net_ttl_s=ttl_s) for i in play.listed())
    return Report(play.report().interface, models=play.disk, residents=seen)


def test_what_a_lost_load_makes_in_the_end_is_ours() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.load_breaks("cut", FailureKind.CUT)
    play.up()
    play.appears("one")
    assert play.see(appeared(play, 120)) == ["keep one"]
    assert play.instance("one").own
    assert play.instance("one").idle_ttl_s == 60


@pytest.mark.parametrize(("key", "ttl_s"), [("one", 3600), ("one", None), ("two", 120)])
def test_what_somebody_else_loads_after_a_lost_load_is_not(key: str, ttl_s: int | None) -> None:
    play = up_with("one", "two")
    play.ask("ada", "one", ttl=60)
    play.load_breaks("cut", FailureKind.CUT)
    play.up()
    play.appears(key)
    play.see(appeared(play, ttl_s))
    assert not play.instance(key).own


def test_a_lost_load_is_claimed_once() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.load_breaks("cut", FailureKind.CUT)
    play.appears("one")
    play.appears("one")
    play.see(appeared(play, 120))
    assert [i.own for i in play.scheduler.snapshot().instances] == [True, False]


def test_a_lost_load_is_not_waited_for_for_ever() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.load_breaks("cut", FailureKind.CUT)
    play.after(1000).appears("one")
    play.see(appeared(play, 120))
    assert not play.instance("one").own


def test_an_instance_of_the_same_name_but_another_load_is_foreign() -> None:
    play = Playbook("one", own=[remembered("ref-before")])
    play.appears("one")
    assert play.up() == ["forget ref-before"]
    assert not play.instance("one").own


def test_a_pin_survives_a_restart() -> None:
    play = Playbook("one", own=[remembered("ref-1", pinned=True)])
    play.appears("one")
    play.up()
    assert play.instance("one").pinned


def test_unloading_by_hand_spares_foreign_and_busy_instances() -> None:
    play = up_with("one", "two")
    play.appears("one")
    play.up()
    with pytest.raises(NotPermitted, match="somebody else"):
        play.unload("one")
    assert play.unload("one", even_foreign=True) == ["unload one"]
    play.unloaded()
    play.ask("ada", "two")
    play.loaded()
    with pytest.raises(NotPermitted, match="answering"):
        play.unload("two", even_foreign=True)
    with pytest.raises(UnknownName):
        play.unload("three", even_foreign=True)


@pytest.mark.parametrize("known_as", ["ref-1", "name:one"])
def test_beside_another_lantern_what_that_one_keeps_is_not_unloaded(known_as: str) -> None:
    play = up_with("one")
    play.appears("one")
    play.up()
    for even_foreign in (False, True):
        with pytest.raises(NotPermitted, match="kept by the Lantern that runs on this database"):
            play.unload("one", even_foreign, {InstanceRef(known_as)})
    # What neither of them loaded leaves as before, but not while it answers that one.
    assert play.unload("one", even_foreign=True, theirs={InstanceRef("ref-2")}) == ["unload one"]
    assert [e.even_busy for e in play.log if isinstance(e, StartUnload)] == [False]


def test_beside_another_lantern_ones_own_leaves_as_before() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    own = play.instance("one").reference
    assert own is not None
    assert play.unload("one", theirs={own}) == ["unload one"]


# --- going and coming -------------------------------------------------------------------------


def test_wishes_before_the_first_probe_wait_for_it() -> None:
    play = Playbook("one")
    assert play.ask("ada", "one") == []
    assert play.up() == ["load one"]


def test_a_model_the_host_does_not_have_is_refused() -> None:
    play = Playbook("one")
    play.ask("ada", "two")
    assert play.up() == ["refuse ada not there"]
    assert play.ask("bob", "two") == ["refuse bob not there"]


def test_a_host_that_goes_and_comes_is_announced_once_each_way() -> None:
    play = up_with("one")
    for _ in range(3):
        play.down()
    play.up()
    play.up()
    kinds = [event.what for event in play.news]
    assert kinds == ["host found", "host lost", "host found"]


def test_a_host_away_from_the_start_is_announced_once() -> None:
    play = Playbook("one")
    play.down()
    play.down()
    assert [event.what for event in play.news] == ["host lost"]


def test_everybody_waiting_is_told_when_the_host_is_lost() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.ask("bob", "two")
    assert play.down() == ["refuse ada HostUnreachable", "refuse bob HostUnreachable"]
    assert play.ask("eve", "one") == ["refuse eve HostUnreachable"]


def test_a_host_lost_during_a_load_is_out_until_probed() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.ask("bob", "two")
    assert play.load_breaks("silent", FailureKind.TIMEOUT) == ["refuse ada HostUnreachable"]
    assert play.scheduler.snapshot().state == "down"
    assert play.up() == ["load two"]


def test_who_waits_for_a_load_whose_line_broke_waits_on_while_the_host_may_go_on_with_it() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one", ttl=60)
    play.ask("bob", "two")
    assert play.load_breaks("cut", FailureKind.CUT) == []
    assert play.scheduler.snapshot().state == "down"
    # Its driver looks whether it comes before it commands another.
    assert play.up() == ["load one"]
    assert play.scheduler.lost_until(ONE) == play.now + UNMEASURED_LOST_S
    assert play.scheduler.lost_until(TWO) == 0.0
    # One that breaks time and again is no reason to wait for ever.
    assert play.load_breaks("cut", FailureKind.CUT) == ["refuse ada HostUnreachable"]


@pytest.mark.parametrize("is_back", [True, False])
def test_who_waits_for_a_load_that_was_made_as_the_line_broke_is_not_refused(is_back: bool) -> None:
    # Of a host that had been frozen: the bar was at 100 %, and the model was there.
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    assert play.load_made(FailureKind.CUT) == []
    if is_back:
        assert play.up() == ["grant ada one"]
    else:
        assert play.down() == ["refuse ada HostUnreachable"]


def test_with_a_host_that_went_away_its_load_went() -> None:
    play = up_with("one")
    play.ask("ada", "one", ttl=60)
    play.load_breaks("cut", FailureKind.CUT)
    assert play.down() == ["refuse ada HostUnreachable"]
    play.up()
    assert play.scheduler.lost_until(ONE) == 0.0


def test_a_measured_load_that_was_lost_is_waited_for_as_long_as_one_that_is_late() -> None:
    play = up_with("one", speeds={ONE: Speed(load_s=30.0)})
    play.ask("ada", "one", ttl=60)
    play.after(10).load_breaks("cut", FailureKind.CUT)
    assert play.scheduler.lost_until(ONE) == play.now - 10 + 45.0


def test_a_failed_request_takes_the_host_out_until_the_next_probe() -> None:
    play = up_with("one")
    play.doubt("HTTP 500")
    assert play.ask("ada", "one") == ["refuse ada HostUnreachable"]
    assert play.scheduler.health.next_probe_at(play.now) == play.now
    play.up()
    assert play.ask("bob", "one") == ["load one"]


def test_a_host_that_fails_every_request_stays_out_for_growing_pauses() -> None:
    play = up_with("one")
    for _ in range(3):
        play.doubt("HTTP 503")
        play.up()
    assert play.scheduler.snapshot().state == "down"
    due = play.scheduler.health.next_probe_at(play.now)
    assert due is not None
    assert due > play.now
    play.now = due
    play.up()
    assert play.scheduler.snapshot().state == "up"
    play.doubt("HTTP 503")
    play.up()
    later = play.scheduler.health.next_probe_at(play.now)
    assert later is not None
    assert later - play.now > due - 1000.0


def test_a_served_request_forgives() -> None:
    play = up_with("one")
    for _ in range(10):
        play.doubt("HTTP 503")
        play.up()
        play.scheduler.on_answered(play.now, SpeedRecord(HOST, ONE, 1, 1, 1, 1))
    assert play.scheduler.snapshot().state == "up"


def test_a_slow_host_at_work_is_not_dead() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    assert play.down(FailureKind.TIMEOUT) == []
    assert play.scheduler.snapshot().state == "up"
    assert play.down(FailureKind.CONNECT) == ["refuse ada HostUnreachable"]


def test_a_slow_host_at_rest_is_out() -> None:
    play = up_with("one")
    play.down(FailureKind.TIMEOUT)
    assert play.scheduler.snapshot().state == "down"


def test_failed_probes_are_repeated_at_once_and_then_with_growing_pauses() -> None:
    play = up_with("one")
    pauses: list[float] = []
    for _ in range(5):
        play.down()
        due = play.scheduler.health.next_probe_at(play.now)
        assert due is not None
        pauses.append(due - play.now)
        play.now = due
    assert pauses == [0.0, 1.0, 2.0, 4.0, 5.0]


def test_a_line_that_is_full_refuses_the_next_and_not_those_in_it() -> None:
    play = up_with("one", slots=1, max_waiting=2)
    play.ask("ada", "one")
    play.loaded()
    for who in ("bob", "eve"):
        assert play.ask(who, "one") == []
    assert play.ask("zoe", "one") == ["refuse zoe busy"]
    assert str(play.refused["zoe"]) == "studio has 2 waiting already and takes no more for now."
    assert play.leave("ada") == ["grant bob one"]
    assert play.ask("zoe again", "one") == []


def test_a_draining_host_finishes_and_takes_nothing_new() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "one")
    assert play.drain() == ["drain None", "refuse bob busy"], "bob can wait elsewhere"
    assert play.scheduler.snapshot().state == "draining"
    assert play.ask("eve", "one") == ["refuse eve busy"]
    # "studio is busy" was told of a machine that its owner had just taken back.
    assert [getattr(play.refused[who], "brief", None) for who in ("bob", "eve")] == ["draining"] * 2
    assert play.leave("ada") == ["unload one"]
    assert play.unloaded() == ["forget ref-1"]
    assert play.drain(is_draining=False) == ["resume"]
    assert play.scheduler.snapshot().state == "up"
    assert [news.what for news in play.news if news.what.startswith("host")] == [
        "host found",
        "host drained",
        "host resumed",
    ]
    assert play.drain(is_draining=False) == ["resume"], "kept again, and no news"
    assert play.news[-1].what == "host resumed"
    assert play.ask("bob2", "one") == ["load one"]


def test_a_drain_takes_what_is_ours_and_at_rest_alone() -> None:
    play = up_with("one", "two", "three")
    for who, key in (("ada", "one"), ("bob", "two")):
        play.ask(who, key)
        play.loaded()
    play.appears("three")
    play.up()
    play.leave("ada")
    assert play.drain() == ["drain None", "unload one"], "two answers, three is foreign"
    assert play.unloaded(stays=True) == [], "it works for somebody else: left in peace"
    assert play.after(9.9).up() == []
    assert play.after(0.1).up() == ["unload one"]


def test_a_drain_gives_up_the_load_under_way() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    assert play.drain() == ["drain None", "refuse ada busy", "stop the load"]
    assert play.tick() == [], "said once"
    assert play.loaded() == ["unload one"], "the cancel came too late"


def test_a_drain_ends_at_its_time_and_not_before() -> None:
    play = up_with("one")
    assert play.drain(for_s=60.0) == ["drain 60.0"]
    assert play.news[-1] == FleetEvent("host drained", HOST, seconds=60.0)
    assert play.scheduler.snapshot().drained_until == play.now + 60.0
    play.after(59.9)
    assert play.ask("ada", "one") == ["refuse ada busy"]
    play.after(0.1)
    assert play.ask("bob", "one") == ["resume", "load one"]
    assert play.news[-1] == FleetEvent("host resumed", HOST, reason="its time was over")
    assert play.scheduler.snapshot().drained_until is None


def test_a_tick_is_due_when_time_alone_changes_something() -> None:
    play = up_with("one", "two", slots=1)
    due_at = play.scheduler.due_at
    assert due_at() == math.inf
    play.ask("ada", "one")
    assert due_at() == play.now + PULSE_S, "somebody waits"
    play.load_breaks()
    until = play.now + 5.0
    assert due_at() == until, "whoever asks then may have it loaded"
    play.after(4.9996).tick()
    assert due_at() == until, "the tick came too early"
    play.after(0.0004).tick()
    assert due_at() == math.inf
    play.drain(for_s=60.0)
    assert due_at() == play.now + 60.0
    play.after(59.9996).tick()
    assert due_at() == pytest.approx(play.now + 0.0004)
    play.after(0.0004).tick()
    assert due_at() == math.inf
    play.drain()
    assert due_at() == math.inf, "until it is told"


def test_a_drain_of_a_host_that_is_away_holds_when_it_comes_back() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    play.down()
    assert play.drain() == ["drain None"], "nothing can be unloaded there now"
    assert play.scheduler.snapshot().state == "down"
    assert play.up() == ["unload one"]
    assert play.scheduler.snapshot().state == "draining"


def test_a_lease_on_an_instance_that_vanished_is_given_back_quietly() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded()
    play.vanishes("one")
    play.up()
    assert play.leave("ada") == []
    assert play.ask("bob", "one") == ["load one"]


def test_a_disk_that_did_not_change_stays_the_same_object() -> None:
    play = up_with("one")
    before = play.scheduler.snapshot().models
    play.disk = dict(play.disk)
    play.up()
    assert play.scheduler.snapshot().models is before
    play.disk = {}
    play.up()
    assert play.scheduler.snapshot().models == {}


def test_the_snapshot_shows_who_waits_and_what_loads() -> None:
    play = up_with("one", "two")
    play.ask("ada", "one")
    play.ask("bob", "two")
    play.after(3).progress(0.25)
    snapshot = play.scheduler.snapshot()
    assert snapshot.waiting == {ONE: 1, TWO: 1}
    assert snapshot.load is not None
    assert (snapshot.load.model_key, snapshot.load.fraction, snapshot.load.waiters) == (
        ONE,
        0.25,
        1,
    )


# --- copies that spilled --------------------------------------------------------------------


def answers(play: Playbook, per_s: float, times: int = 1, key: ModelKey = ONE) -> None:
    for _ in range(times):
        record = SpeedRecord(HOST, key, 0, 101, 1.0, 100 / per_s)
        play.read(play.scheduler.on_answered(play.now, record))


def test_a_copy_far_slower_than_usual_is_told_once_and_as_usual_after_a_reload() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    answers(play, 30.0, times=5)
    answers(play, 5.0)
    assert play.instance("one").slowdown == 1.0, "one may have met another program at work"
    speed = play.scheduler.snapshot().speeds[ONE]
    answers(play, 5.0, times=3)
    assert play.instance("one").slowdown == pytest.approx(6.0)
    told = [news for news in play.news if news.what in ("model slow", "model quick")]
    words = "5.0 tokens a second, where 30.0 are usual"
    assert told == [FleetEvent("model slow", HOST, ONE, words, InstanceId("one"))]
    after = play.scheduler.snapshot().speeds[ONE]
    assert after == speed, "what a spilled copy does says nothing of the next"
    play.vanishes("one")
    play.up()
    play.ask("bob", "one")
    play.loaded()
    assert play.instance("one").slowdown == 1.0
    answers(play, 30.0)
    assert play.instance("one").slowdown == 1.0


def test_a_copy_that_is_quick_again_is_told_too() -> None:
    play = up_with("one")
    play.ask("ada", "one")
    play.loaded()
    answers(play, 30.0, times=5)
    answers(play, 5.0, times=2)
    answers(play, 29.0)
    assert play.instance("one").slowdown == 1.0
    assert play.news[-1].what == "model quick"


def test_of_two_copies_nobody_knows_which_is_slow() -> None:
    play = up_with("one")
    play.appears("one")
    play.appears("one")
    play.up()
    answers(play, 30.0, times=5)
    answers(play, 5.0, times=3)
    assert [i.slowdown for i in play.scheduler.snapshot().instances] == [1.0, 1.0]


def test_what_is_usual_outlives_a_restart() -> None:
    history = History({}, None, answers={ONE: [30.0] * 5})
    scheduler = Scheduler(
        HostConfig(HOST, "studio:1234"),
        history=history,
        own=(),
        evict_foreign=False,
        wake_s=None,
        demands=Demands(),
    )
    play = up_with("one")
    play.scheduler = scheduler
    play.appears("one")
    play.up()
    answers(play, 5.0, times=2)
    assert play.instance("one").slowdown == pytest.approx(6.0)


# --- swaps and late binding --------------------------------------------------------------------


@pytest.mark.parametrize(("waiting", "after_s", "is_kept"), [(1, 19, 0), (1, 21, 1), (2, 11, 1)])
def test_a_model_in_use_makes_way_once_others_waited_together_what_the_swap_costs(
    waiting: int, after_s: float, is_kept: int
) -> None:
    play = up_with("one", "two", max_loaded=1)
    play.ask("a", "one")
    play.loaded(seconds=10.0)
    play.leave("a")
    play.ask("b", "two")
    play.unloaded()
    play.loaded(seconds=10.0)
    play.leave("b")
    # Two is in memory; a load of either takes ten seconds, and a swap both.
    play.ask("ada", "two")
    for number in range(waiting):
        play.ask(f"waits {number}", "one")
    play.after(after_s).tick()
    assert play.ask("late", "two") == ([] if is_kept else ["grant late two"])
    assert [i.is_kept_free for i in play.scheduler.snapshot().instances] == [bool(is_kept)]


def test_a_load_serves_all_who_stood_in_line_for_it_before_the_next_swap() -> None:
    play = up_with("one", "two", max_loaded=1, slots=4)
    for number in range(4):
        play.ask(f"a{number}", "one")
        play.ask(f"b{number}", "two")
    # Those who wait for the other have waited together four times as long as this load took.
    granted = [e for e in play.loaded(seconds=10.0) if e.startswith("grant")]
    assert granted == [f"grant a{number} one" for number in range(4)]
    # Whoever comes now stands behind them, once they waited beside what is in memory as well.
    play.after(21).tick()
    assert play.ask("late", "one") == []


def test_nobody_is_overtaken_beyond_their_patience_by_what_came_after_they_had_asked() -> None:
    play = up_with("one", "two", max_loaded=1, slots=2)
    play.ask("ada", "one")
    play.ask("bob", "two", wait=60.0)
    play.loaded(seconds=30.0)
    assert play.ask("eve", "one") == ["grant eve one"]
    play.leave("eve")
    play.after(16).tick()
    assert play.ask("late", "one") == []


@pytest.mark.parametrize(("after_s", "is_kept"), [(19, False), (21, True)])
def test_what_is_at_rest_costs_its_load_as_well_before_it_is_kept_free(
    after_s: float, is_kept: bool
) -> None:
    play = up_with(model("one", gb=4), model("two", gb=4), model("big", gb=8), memory_gb=11)
    play.ask("a", "big")
    play.loaded(seconds=10.0)
    play.leave("a")
    play.ask("b", "one")
    play.unloaded()
    play.loaded(seconds=10.0)
    play.leave("b")
    # Until this load is over nothing leaves for the next one.
    assert play.ask("c", "two") == ["load two"]
    assert play.ask("bob", "big") == []
    play.after(after_s).tick()
    assert play.ask("late", "one") == ([] if is_kept else ["grant late one"])


@pytest.mark.parametrize(("purpose", "is_kept"), [("hint", False), ("question", True)])
def test_for_a_guess_nothing_is_kept_free(purpose: Purpose, is_kept: bool) -> None:
    play = up_with(model("one", gb=4), model("two", gb=4), model("big", gb=8), memory_gb=11)
    play.ask("ada", "one")
    play.loaded(seconds=10.0)
    assert play.ask("eve", "two") == ["load two"]
    play.ask("bob", "big", purpose=purpose)
    # By now what is in memory may leave for a guess, and the swap was waited for.
    play.after(70).tick()
    assert play.ask("late", "one") == ([] if is_kept else ["grant late one"])


def test_what_is_waited_for_is_kept_free_and_not_the_outgrown_copy_that_leaves_anyhow() -> None:
    play = up_with("one", "two", memory_gb=23)
    for key in ("one", "two"):
        play.ask(f"at {key}", key)
        play.loaded(seconds=10.0)
    play.leave("at one")
    assert play.ask("ada", "one", context=32_768) == []
    play.after(31).tick()
    kept = [i.model_key for i in play.scheduler.snapshot().instances if i.is_kept_free]
    assert kept == ["two"]


def test_what_came_of_late_and_stays_prolongs_nobodys_patience() -> None:
    play = up_with("one", "two", "three", "four", max_loaded=2)
    play.ask("ada", "one")
    play.loaded(seconds=30.0)
    play.appears("three")
    play.up()
    play.ask("bob", "two", wait=60.0)
    play.after(14).vanishes("three")
    play.appears("four")
    play.up()
    play.after(1).tick()
    assert play.ask("late", "one") == []


def test_of_two_that_are_to_leave_the_later_one_counts() -> None:
    play = up_with(model("one", gb=4), model("two", gb=4), model("big", gb=8), memory_gb=11)
    play.ask("ada", "one")
    play.loaded(seconds=30.0)
    assert play.ask("eve", "two") == ["load two"]
    play.ask("bob", "big", wait=120.0)
    assert play.loaded(seconds=30.0) == ["grant eve two"]
    assert play.ask("next", "one") == ["grant next one"]
    play.leave("next")
    play.after(30).tick()
    assert play.ask("late", "one") == []


def test_who_comes_from_another_host_brings_the_time_it_waited() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.loaded()
    play.ask("bob", "one")
    play.after(1).ask("eve", "one", since=play.now - 60)
    assert [play.scheduler.ahead(Ticket(number)) for number in (2, 3)] == [1, 0]
    assert play.after(4).leave("ada") == ["grant eve one"]
    # What it waited elsewhere, where a host may have hung, is no queue of this one.
    grant = next(e for e in reversed(play.log) if isinstance(e, Grant))
    assert (grant.queue_s, grant.load_s) == (4.0, 0.0)
    assert play.scheduler.ahead(Ticket(1)) is None
