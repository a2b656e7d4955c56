"""Who asks for which model, kept for all hosts together."""

import math

import pytest
from scheduler_playbook import HOST, up_with

from bot.domain.hosts import SpeedRecord, Wish
from bot.domain.ids import HostName, ModelKey
from bot.fleet.demand import LONGEST_REST_S, Demands
from bot.policy.demand import (
    COPY_HORIZON_S,
    COPY_SHARE,
    FADES_S,
    GOES_ON,
    NOBODY,
    RESTS_S,
    chance,
    expected_asks,
    lately_needed,
)
from bot.policy.prediction import usual_s
from bot.policy.speeds import expected_rates

ONE, TWO = ModelKey("one"), ModelKey("two")
HERE, THERE = HostName("here"), HostName("there")
USUAL = 1000.0, 40.0
"""Tokens a second that a host reads and writes."""


def test_a_question_makes_the_next_likely_and_an_answer_more_so() -> None:
    demands = Demands()
    assert chance(demands.of.get(ONE, NOBODY), 0.0) == 0.0
    demands.asked(Wish(ONE, conversation="ada"), 0.0)
    asked = chance(demands.of.get(ONE, NOBODY), 0.0)
    demands.answered(Wish(ONE, conversation="ada"), 0.0)
    assert 0.0 < asked < chance(demands.of.get(ONE, NOBODY), 0.0)
    assert chance(demands.of.get(TWO, NOBODY), 0.0) == 0.0


def test_a_conversation_that_goes_on_is_no_new_one_and_rests_only_once() -> None:
    once, thrice = Demands(), Demands()
    for demands, turns in ((once, 1), (thrice, 3)):
        for _ in range(turns):
            demands.asked(Wish(ONE, conversation="ada"), 5.0)
            demands.answered(Wish(ONE, conversation="ada"), 5.0)
    assert chance(once.of.get(ONE, NOBODY), 5.0) == chance(thrice.of.get(ONE, NOBODY), 5.0)
    once.asked(Wish(ONE, conversation="bob"), 5.0)
    once.answered(Wish(ONE, conversation="bob"), 5.0)
    assert chance(once.of.get(ONE, NOBODY), 5.0) > chance(thrice.of.get(ONE, NOBODY), 5.0)


def test_of_conversations_that_rest_the_one_that_goes_on_leaves_the_others() -> None:
    demands = Demands()
    for said in ("ada", "bob"):
        demands.asked(Wish(ONE, conversation=said), 5.0)
        demands.answered(Wish(ONE, conversation=said), 5.0)
    demands.asked(Wish(ONE, conversation="ada"), 5.0)
    assert demands.of[ONE].resting == 1.0


def test_who_asks_again_while_being_answered_counts_once() -> None:
    once, twice = Demands(), Demands()
    for demands in (once, twice):
        demands.asked(Wish(ONE, conversation="ada"), 0.0)
        demands.answered(Wish(ONE, conversation="ada"), 1.0)
    # Two answers of one conversation that ended one after the other.
    twice.answered(Wish(ONE, conversation="ada"), 1.0)
    assert chance(once.of.get(ONE, NOBODY), 1.0) == chance(twice.of.get(ONE, NOBODY), 1.0)


def test_a_conversation_long_at_rest_begins_anew() -> None:
    demands = Demands()
    demands.asked(Wish(ONE, conversation="ada"), 0.0)
    demands.answered(Wish(ONE, conversation="ada"), 0.0)
    demands.answered(Wish(ONE, conversation="bob"), LONGEST_REST_S)
    before = chance(demands.of.get(ONE, NOBODY), LONGEST_REST_S)
    demands.asked(Wish(ONE, conversation="ada"), LONGEST_REST_S)
    assert chance(demands.of.get(ONE, NOBODY), LONGEST_REST_S) > before


def test_a_conversation_answered_a_moment_ago_is_known_however_late_it_is() -> None:
    demands, late = Demands(), 5 * LONGEST_REST_S
    demands.asked(Wish(ONE, conversation="ada"), late)
    demands.answered(Wish(ONE, conversation="ada"), late)
    demands.answered(Wish(ONE, conversation="bob"), late + 10.0)
    demands.asked(Wish(ONE, conversation="ada"), late + 10.0)
    assert demands.of[ONE].begun < 1.0, "it is no new one"


def missed(demands: Demands, host: HostName, *conversations: str, now: float = 0.0) -> float:
    """Of a copy that a load of 10 s brings back, by a host of the usual pace."""
    return demands.missed_s(host, ONE, 10.0, conversations, now)


def test_another_copy_is_one_on_another_host_now() -> None:
    demands = Demands()
    demands.asked(Wish(ONE, conversation="ada"), 0.0)
    load_s = 10.0 * chance(demands.of[ONE], 0.0)
    demands.holds(HERE, {ONE: USUAL})
    assert missed(demands, HERE) == load_s
    demands.holds(THERE, {ONE: USUAL, TWO: USUAL})
    assert missed(demands, HERE) == 0.0
    demands.holds(THERE, {TWO: USUAL})
    assert missed(demands, HERE) == load_s


def test_of_several_copies_the_best_that_stays_tells_how_slow_it_will_be() -> None:
    demands = Demands()
    demands.asked(Wish(ONE, conversation="ada"), 0.0)
    demands.holds(HERE, {ONE: USUAL})
    for host, rates in (("snail", (10.0, 2.0)), ("mule", (100.0, 20.0)), ("ox", (50.0, 15.0))):
        demands.holds(HostName(host), {ONE: rates})
    # 500 tokens to read and a tenth of writing 240.
    slower_s = (500 / 100 + 24 / 20) - (500 / 1000 + 24 / 40)
    asks = COPY_SHARE * expected_asks(demands.of[ONE], 0.0, COPY_HORIZON_S)
    assert missed(demands, HERE) == pytest.approx(asks * slower_s)
    assert missed(demands, HostName("mule")) == 0.0, "a faster copy stays"


def test_what_a_copy_has_read_is_read_again_elsewhere_if_its_conversation_goes_on() -> None:
    demands = Demands()
    for said, tokens in (("ada", 3000), ("bob", 500), ("eve", 9000)):
        demands.asked(Wish(ONE, min_context=tokens, conversation=said), 0.0)
        demands.answered(Wish(ONE, min_context=tokens, conversation=said), 0.0)
    demands.asked(Wish(ONE, min_context=9500, conversation="eve"), 60.0)
    demands.holds(THERE, {ONE: (250.0, 40.0)})
    base_s = missed(demands, HERE, now=60.0)
    again = GOES_ON * math.exp(-60.0 / RESTS_S) * (3000 + 500)
    # Eve's is being answered: it goes on where that is.
    read_s = missed(demands, HERE, "ada", "bob", "eve", "nobody", now=60.0) - base_s
    assert read_s == pytest.approx(again / 250.0)
    for listed, read_s in (({}, 0.0), ({ONE: USUAL}, again / USUAL[0])):
        demands.holds(THERE, {})
        demands.holds(HERE, listed)
        base_s = missed(demands, HERE, now=60.0)
        assert missed(demands, HERE, "ada", "bob", now=60.0) - base_s == pytest.approx(read_s)


def test_how_long_a_conversation_is_the_host_tells() -> None:
    demands = Demands()
    demands.holds(HERE, {ONE: USUAL})
    demands.answered(Wish(ONE, min_context=2000, conversation="ada"), 0.0)
    base_s = missed(demands, HERE)
    for told, tokens in ((0, 2000), (300, 300), (0, 300)):
        demands.told(ONE, "ada", told)
        demands.told(ONE, "bob", 5000)
        read_s = missed(demands, HERE, "ada", "bob") - base_s
        assert read_s == pytest.approx(GOES_ON * tokens / USUAL[0])


def test_the_newest_wish_is_kept() -> None:
    demands = Demands()
    wish = Wish(ONE, min_context=9000, user="ada", conversation="c", max_wait_s=5.0, since=3.0)
    demands.asked(wish, 0.0)
    demands.answered(Wish(ONE, conversation="c"), 1.0)
    assert demands.of[ONE].wish == wish


def test_an_answer_that_ended_may_be_gone_on_from_and_its_model_is_missed_unless_elsewhere() -> (
    None
):
    play = up_with("one")
    demands = play.demands
    play.ask("ada", "one")
    play.loaded(seconds=10.0)
    assert demands.of[ONE].resting == 0.0
    play.leave("ada")
    assert demands.of[ONE].resting == 1.0
    missed_s = 10.0 * chance(demands.of[ONE], play.now)
    assert play.instance("one").missed_s == pytest.approx(missed_s)
    here = play.scheduler.snapshot()
    read, written = expected_rates(here, here.models[ONE])
    demands.holds(THERE, {ONE: (read, written)})
    assert play.instance("one").missed_s == 0.0
    demands.holds(THERE, {ONE: (read / 2, written / 2)})
    asks = COPY_SHARE * expected_asks(demands.of[ONE], play.now, COPY_HORIZON_S)
    missed_s = asks * usual_s((read, written))
    assert play.instance("one").missed_s == pytest.approx(missed_s)


def test_a_copy_that_read_a_long_conversation_stays_though_another_was_used_later() -> None:
    play = up_with("long", "short", "new", max_loaded=2)
    for name, context in (("long", 8000), ("short", 200)):
        play.after(1).ask(name, name, context=context, conversation=name)
        play.loaded(seconds=10.0)
        play.after(1).leave(name)
    assert play.ask("ada", "new") == ["unload short"]


def test_a_conversation_is_as_long_as_the_host_told_else_as_was_asked_for() -> None:
    play = up_with("told", "untold", "new", max_loaded=2)
    for name, context in (("untold", 4000), ("told", 8000)):
        play.after(1).ask(name, name, context=context, conversation=name)
        play.loaded(seconds=10.0)
        play.after(1).leave(name)
    told, untold = (
        SpeedRecord(HOST, ModelKey(name), 0, 0, 1.0, 1.0) for name in ("told", "untold")
    )
    play.scheduler.on_answered(play.now, told, conversation="told", tokens=100)
    play.scheduler.on_answered(play.now, untold, conversation="untold")
    assert play.ask("ada", "new") == ["unload told"]


def test_what_was_taken_out_by_hand_or_for_its_rest_is_nobodys_any_more() -> None:
    play = up_with("one", "two")
    demands = play.demands
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
