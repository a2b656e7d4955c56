"""What was ordered makes way for questions alone, and a guess takes nothing of anybody."""

import math
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st
from scheduler_playbook import Playbook, model, up_with

from bot.domain.errors import FailureKind
from bot.domain.events import Queued
from bot.domain.hosts import Purpose
from bot.domain.ids import ModelKey
from bot.fleet.effects import Grant, StartUnload
from bot.fleet.residents import FRESH_S

CANCELLED = FailureKind.CANCELLED


def ordered(purpose: Purpose = "order") -> Playbook:
    """Room for one model, which was ordered and is there."""
    play = up_with("one", "two", max_loaded=1)
    play.ask("bob", "one", purpose=purpose)
    play.loaded(seconds=2)
    play.leave("bob")
    return play.after(FRESH_S + 1)


def test_a_guess_takes_out_nothing_that_somebody_ordered_or_is_about_to_ask() -> None:
    for purpose in ("order", "hint"):
        play = ordered(purpose)
        assert play.ask("ahead", "two", purpose="ahead") == ["refuse ahead does not fit"]
        assert play.ask("typed", "two", purpose="hint") == ["refuse typed does not fit"]


def test_a_question_takes_out_what_was_ordered_and_so_does_another_order() -> None:
    assert ordered().ask("ada", "two") == ["unload one"]
    assert ordered().ask("eve", "two", purpose="order") == ["unload one"]


def test_what_was_ordered_and_asked_for_since_is_as_any_other() -> None:
    play = ordered()
    play.ask("ada", "one")
    play.leave("ada")
    assert play.ask("ahead", "two", purpose="ahead") == ["unload one"]


def test_an_order_stands_though_whoever_gave_it_left_before_it_was_loaded() -> None:
    for purpose in ("order", "hint"):
        play = up_with("one", "two", max_loaded=1)
        play.ask("bob", "one", purpose=purpose)
        play.leave("bob")
        play.loaded(seconds=2)
        assert play.instance("one").awaited_until == math.inf


def resting(for_s: float = FRESH_S + 1, ttl: float | None = 60.0) -> Playbook:
    """Room for one model, and what somebody was answered by rests there for so long."""
    play = up_with("one", "two", max_loaded=1)
    play.ask("ada", "one", ttl=ttl)
    play.loaded()
    play.leave("ada")
    play.after(for_s)
    return play


def test_an_order_for_what_is_there_counts_as_one() -> None:
    play = resting()
    assert play.ask("bob", "one", purpose="order") == ["grant bob one"]
    assert play.ask("ahead", "two", purpose="ahead") == ["refuse ahead does not fit"]


def test_what_was_ordered_is_as_likely_to_be_asked_for_as_what_answered_and_a_hint_is_not() -> None:
    purposes: dict[Purpose, float | None] = {"order": 1.0, "hint": None}
    for purpose, resting_now in purposes.items():
        demand = ordered(purpose).demands.of.get(ModelKey("one"))
        assert (demand and demand.resting) == resting_now


def test_what_has_just_come_into_memory_makes_way_for_no_guess() -> None:
    play = resting(for_s=FRESH_S - 0.1)
    assert play.ask("early", "two", purpose="ahead") == ["refuse early does not fit"]
    play.after(0.1)
    assert play.ask("late", "two", purpose="ahead") == ["unload one"]


def test_what_is_kept_loaded_makes_way_for_no_guess() -> None:
    play = resting(ttl=None)
    assert play.ask("ahead", "two", purpose="ahead") == ["refuse ahead does not fit"]


def test_what_was_ordered_leaves_by_its_timer() -> None:
    assert ordered().sweep() == ["unload one"]


def test_an_order_takes_no_slot_and_waits_for_none() -> None:
    play = up_with("one", slots=1)
    play.ask("ada", "one")
    play.loaded()
    assert play.ask("bob", "one", purpose="order") == ["grant bob one"]
    assert play.leave("ada") == []
    assert play.ask("eve", "one") == ["grant eve one"]


def test_what_an_order_found_in_memory_has_read_no_conversation() -> None:
    play = up_with("one")
    play.ask("bob", "one", purpose="order", conversation="here")
    play.loaded()
    assert play.instance("one").conversations == ()


def test_who_orders_a_model_otherwise_leaves_the_first_copy_where_there_is_room() -> None:
    play = up_with("one", max_loaded=2)
    play.ask("bob", "one", purpose="order", context=4096)
    play.ask("eve", "one", purpose="order", context=16384)
    assert "load one with 16384" in play.loaded()
    play.loaded()
    assert {i.context_length for i in play.scheduler.snapshot().instances} == {4096, 16384}


def test_a_question_for_more_takes_the_place_of_a_smaller_copy_that_was_ordered() -> None:
    play = ordered()
    assert play.ask("ada", "one", context=16384) == ["unload one"]


def guessing() -> Playbook:
    """A guess is being loaded in place of what somebody had."""
    play = resting()
    assert play.ask("ahead", "two", purpose="ahead") == ["unload one"]
    assert "load two" in play.unloaded()
    return play


def test_nobody_is_said_to_wait_for_a_guess() -> None:
    play = guessing()
    load = play.scheduler.snapshot().load
    assert load is not None
    assert (load.is_guess, load.waiters, play.scheduler.snapshot().waiting) == (True, 0, {})


def test_a_load_under_way_for_a_guess_is_given_up_for_a_question() -> None:
    play = guessing()
    assert play.ask("ada2", "one") == ["stop the load", "refuse ahead cancelled"]
    assert play.ask("eve", "one") == [], "it is told once"
    told = play.told("ada2")
    assert isinstance(told, Queued)
    assert told.finishing is None
    assert play.load_breaks("cancelled", CANCELLED) == ["load one"]
    assert "grant ada2 one" in play.loaded()


def test_a_guess_given_up_too_late_stays_where_it_is_in_nobodys_way() -> None:
    play = up_with("one", "two", "three", max_loaded=2)
    play.ask("ahead", "two", purpose="ahead")
    play.ask("ada", "one")
    assert "unload two" not in play.loaded()
    assert play.loading is not None
    assert play.loading.model_key == "one"


def test_a_guess_that_somebody_asks_for_is_theirs_and_is_not_given_up() -> None:
    play = guessing()
    assert play.ask("bob", "two") == []
    assert play.ask("ada2", "one") == []
    assert "grant bob two" in play.loaded()


def test_an_order_stops_a_guess_and_a_guess_stops_nothing() -> None:
    play = guessing()
    assert play.ask("more", "one", purpose="hint") == []
    ended = ["stop the load", "refuse ahead cancelled", "refuse more cancelled"]
    assert play.ask("eve", "one", purpose="order") == ended


def test_what_can_never_fit_stops_no_guess_and_what_waits_for_others_does() -> None:
    play = up_with("one", "two", model("huge", gb=99), memory_gb=30)
    assert play.ask("ahead", "two", purpose="ahead") == ["load two"]
    assert play.ask("bob", "huge", wait=600.0) == []
    assert play.ask("ada", "one") == ["stop the load", "refuse ahead cancelled"]
    alone = up_with("two", model("huge", gb=99), memory_gb=30)
    alone.ask("ahead", "two", purpose="ahead")
    alone.ask("bob", "huge", wait=600.0)
    assert "refuse bob does not fit" in alone.loaded()
    assert alone.instance("two").idle_since is not None


def test_a_question_for_what_is_in_memory_lets_a_guess_go_on() -> None:
    play = up_with("one", "two", max_loaded=2)
    play.ask("ada", "one")
    play.loaded()
    play.ask("ahead", "two", purpose="ahead")
    assert play.ask("bob", "one") == ["grant bob one"]
    assert play.ask("eve", "one") == [], "she waits for a slot"


def test_a_guess_waits_for_nobodys_answer() -> None:
    play = up_with("one", "two", max_loaded=1)
    play.ask("ada", "one")
    play.loaded()
    play.after(FRESH_S + 1)
    assert play.ask("ahead", "two", purpose="ahead") == ["refuse ahead busy"]


def test_a_question_for_what_leaves_for_a_guess_comes_before_it() -> None:
    play = resting()
    assert play.ask("ahead", "two", purpose="ahead") == ["unload one"]
    assert play.ask("bob", "one") == []
    assert "load one" in play.unloaded()


Step = tuple[Literal["ask", "leave", "wait", "load", "unload", "sweep"], str, Purpose, float]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("ask", "ask", "leave", "wait", "load", "load", "unload", "sweep")),
        st.sampled_from(("one", "two", "three")),
        st.sampled_from(("question", "order", "hint", "ahead")),
        st.sampled_from((0.0, 0.5, 5.0, FRESH_S, 200.0)),
    ),
    max_size=40,
)


def _step(play: Playbook, step: Step, who: str, askers: list[str]) -> None:
    what, key, purpose, seconds = step
    if what == "ask":
        askers.append(who)
        play.ask(who, key, purpose=purpose, ttl=600.0)
    elif what == "leave" and askers:
        play.leave(askers.pop(0))
    elif what == "load" and (load := play.scheduler.load) is not None:
        if load.is_stopping:
            play.load_breaks("cancelled", CANCELLED)
        else:
            play.loaded(seconds=seconds)
    elif what == "unload" and play.leaving:
        play.unloaded()
    elif what == "sweep":
        play.sweep()
    else:
        play.after(seconds).tick()


@given(STEPS, st.sampled_from((1, 2)))
def test_whatever_happens_what_was_ordered_stays_until_it_was_asked_for(
    steps: list[Step], room: int
) -> None:
    play, askers = up_with("one", "two", "three", max_loaded=room), list[str]()
    for number, step in enumerate(steps):
        awaited = {
            i.model_key for i in play.scheduler.snapshot().instances if i.awaited_until == math.inf
        }
        seen = len(play.log)
        _step(play, step, f"{number}", askers)
        there = play.scheduler.snapshot()
        left = {e.instance.model_key for e in play.log[seen:] if isinstance(e, StartUnload)}
        if step[0] != "sweep" and not there.waiting:
            assert not left & awaited
        for effect in play.log[seen:]:
            if isinstance(effect, Grant) and step[:3] == (
                "ask",
                effect.instance.model_key,
                "order",
            ):
                assert play.instance(step[1]).awaited_until == math.inf
        load = play.scheduler.load
        if load is not None and load.is_guess and not load.is_stopping:
            assert there.waiting.keys() <= {i.model_key for i in there.instances}
