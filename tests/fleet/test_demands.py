"""Who asks for which model, kept for all hosts together."""

import pytest
from scheduler_playbook import Playbook, up_with

from bot.domain.hosts import Wish
from bot.domain.ids import HostName, ModelKey
from bot.fleet.demand import LONGEST_REST_S, Demands
from bot.fleet.scheduler import Scheduler
from bot.fleet.speeds import History
from bot.policy.demand import FADES_S, lately_needed

ONE, TWO = ModelKey("one"), ModelKey("two")
HERE, THERE = HostName("here"), HostName("there")


def test_a_question_makes_the_next_likely_and_an_answer_more_so() -> None:
    demands = Demands()
    assert demands.chance(ONE, 0.0) == 0.0
    demands.asked(Wish(ONE, conversation="ada"), 0.0)
    asked = demands.chance(ONE, 0.0)
    demands.answered(ONE, "ada", 0.0)
    assert 0.0 < asked < demands.chance(ONE, 0.0)
    assert demands.chance(TWO, 0.0) == 0.0


def test_a_conversation_that_goes_on_is_no_new_one_and_rests_only_once() -> None:
    once, thrice = Demands(), Demands()
    for demands, turns in ((once, 1), (thrice, 3)):
        for _ in range(turns):
            demands.asked(Wish(ONE, conversation="ada"), 5.0)
            demands.answered(ONE, "ada", 5.0)
    assert once.chance(ONE, 5.0) == thrice.chance(ONE, 5.0)
    once.asked(Wish(ONE, conversation="bob"), 5.0)
    once.answered(ONE, "bob", 5.0)
    assert once.chance(ONE, 5.0) > thrice.chance(ONE, 5.0)


def test_of_conversations_that_rest_the_one_that_goes_on_leaves_the_others() -> None:
    demands = Demands()
    for said in ("ada", "bob"):
        demands.asked(Wish(ONE, conversation=said), 5.0)
        demands.answered(ONE, said, 5.0)
    demands.asked(Wish(ONE, conversation="ada"), 5.0)
    assert demands.of[ONE].resting == 1.0


def test_who_asks_again_while_being_answered_counts_once() -> None:
    once, twice = Demands(), Demands()
    for demands in (once, twice):
        demands.asked(Wish(ONE, conversation="ada"), 0.0)
        demands.answered(ONE, "ada", 1.0)
    # Two answers of one conversation that ended one after the other.
    twice.answered(ONE, "ada", 1.0)
    assert once.chance(ONE, 1.0) == twice.chance(ONE, 1.0)


def test_a_conversation_long_at_rest_begins_anew() -> None:
    demands = Demands()
    demands.asked(Wish(ONE, conversation="ada"), 0.0)
    demands.answered(ONE, "ada", 0.0)
    demands.answered(ONE, "bob", LONGEST_REST_S)
    before = demands.chance(ONE, LONGEST_REST_S)
    demands.asked(Wish(ONE, conversation="ada"), LONGEST_REST_S)
    assert demands.chance(ONE, LONGEST_REST_S) > before


def test_a_conversation_answered_a_moment_ago_is_known_however_late_it_is() -> None:
    demands, late = Demands(), 5 * LONGEST_REST_S
    demands.asked(Wish(ONE, conversation="ada"), late)
    demands.answered(ONE, "ada", late)
    demands.answered(ONE, "bob", late + 10.0)
    demands.asked(Wish(ONE, conversation="ada"), late + 10.0)
    assert demands.of[ONE].begun < 1.0, "it is no new one"


def test_another_copy_is_one_on_another_host_now() -> None:
    demands = Demands()
    demands.holds(HERE, {ONE})
    assert not demands.elsewhere(HERE, ONE)
    assert demands.elsewhere(THERE, ONE)
    demands.holds(THERE, {ONE, TWO})
    assert demands.elsewhere(HERE, ONE)
    demands.holds(THERE, {TWO})
    assert not demands.elsewhere(HERE, ONE)
    assert demands.elsewhere(HERE, TWO)


def test_the_newest_wish_is_kept() -> None:
    demands = Demands()
    wish = Wish(ONE, min_context=9000, user="ada", conversation="c", max_wait_s=5.0, since=3.0)
    demands.asked(wish, 0.0)
    demands.answered(ONE, "c", 1.0)
    assert demands.of[ONE].wish == wish


def told(*models: str) -> tuple[Playbook, Demands]:
    """A host that is up, and what it tells of who asks."""
    play, demands = Playbook(*models), Demands()
    play.scheduler = Scheduler(
        play.scheduler.config,
        history=History({}, None),
        own=(),
        evict_foreign=False,
        demands=demands,
    )
    play.up()
    return play, demands


def test_an_answer_that_ended_may_be_gone_on_from_and_its_model_is_missed_unless_elsewhere() -> (
    None
):
    play, demands = told("one")
    play.ask("ada", "one")
    play.loaded(seconds=10.0)
    assert demands.of[ONE].resting == 0.0
    assert demands.elsewhere(THERE, ONE)
    play.leave("ada")
    assert demands.of[ONE].resting == 1.0
    missed_s = 10.0 * demands.chance(ONE, play.now)
    assert play.instance("one").missed_s == pytest.approx(missed_s)
    demands.holds(THERE, {ONE})
    assert play.instance("one").missed_s == 0.0


def test_what_was_taken_out_by_hand_or_for_its_rest_is_nobodys_any_more() -> None:
    play, demands = told("one", "two")
    for name in ("one", "two"):
        play.ask(name, name)
        play.loaded()
        play.leave(name)
    assert set(demands.of) == {ONE, TWO}
    play.unload("two")
    assert set(demands.of) == {ONE}
    play.after(61).sweep()
    assert not demands.of


def test_the_largest_context_needed_of_late_is_kept_for_half_an_hour() -> None:
    demands = Demands()
    for at, asked, most in (
        (0.0, 5000, 5000),
        (10.0, 3000, 5000),
        (1799.0, 100, 5000),
        (1800.0, 100, 100),
        (1801.0, 100, 100),
        (3600.5, 50, 100),
        (3601.0, 50, 50),
    ):
        demands.asked(Wish(ONE, min_context=asked), at)
        assert lately_needed(demands.of.values(), at) == most, at
        assert lately_needed(demands.of.values(), at + FADES_S) == 0


def test_a_model_is_loaded_with_the_context_that_any_needed_of_late() -> None:
    play = up_with("one", "two")
    assert play.ask("ada", "one", context=9000) == ["load one with 16384"]
    play.loaded()
    # It has its words: nobody asked for so much before it was granted.
    assert play.ask("bob", "two", context=100) == ["load two with 16384"]
    play.loaded()
    for who, name in (("ada", "one"), ("bob", "two")):
        play.leave(who)
        play.vanishes(name)
    play.up()
    assert play.after(FADES_S).ask("cem", "two", context=100) == ["load two"]
