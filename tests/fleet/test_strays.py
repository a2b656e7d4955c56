"""What LM Studio loads by itself for turns of ours whose instance was gone, as scripts."""

from dataclasses import replace

import pytest
from scheduler_playbook import Playbook, up_with

from bot.domain.hosts import Instance
from bot.fleet.residents import SPARED_S

JIT_TTL_S = 3600


def used_and_gone(answers: int = 1) -> Playbook:
    """Turns hold an instance of ours that somebody unloads."""
    play = up_with("one", "two", slots=4)
    play.ask("first", "one")
    play.loaded()
    play.leave("first")
    play.up()
    for number in range(answers):
        assert play.ask(f"turn {number}", "one") == [f"grant turn {number} one"]
    play.vanishes("one")
    return play


def appears(play: Playbook, key: str = "one", ttl_s: int | None = JIT_TTL_S) -> Instance:
    made = replace(play.appears(key), net_ttl_s=ttl_s)
    play.memory[made.identifier] = made
    return made


def listed(play: Playbook) -> list[str]:
    return play.read(play.scheduler.on_listed(play.now, play.listed()))


def test_a_copy_loaded_for_a_turn_stays_until_that_turn_ends_and_goes_then() -> None:
    play = used_and_gone()
    appears(play)
    # Kept, so that a restart knows it, too.
    assert listed(play) == ["keep one", "forget ref-1"]
    assert play.instance("one").leases == 1
    assert play.sweep() == []
    assert play.leave("turn 0") == ["unload one"]


def test_a_copy_that_comes_after_the_loss_was_seen_is_known_all_the_same() -> None:
    play = used_and_gone()
    assert listed(play) == ["forget ref-1"]
    play.after(120)
    appears(play)
    assert "keep one" in listed(play)
    assert play.leave("turn 0") == ["unload one"]


def test_nobody_else_is_given_it() -> None:
    play = used_and_gone()
    appears(play)
    listed(play)
    assert play.ask("eve", "one") == ["load one"]


def test_as_many_copies_as_turns_were_on_their_way_are_ours() -> None:
    play = used_and_gone(answers=2)
    for _ in range(3):
        appears(play)
    listed(play)
    assert [play.instance(name).own for name in ("one", "one:2", "one:3")] == [True, True, False]
    play.leave("turn 0")
    assert play.leave("turn 1") == ["unload one", "unload one:2"]


@pytest.mark.parametrize(("after_s", "is_ours"), [(4.9, True), (5.0, False)])
def test_soon_after_the_answer_a_copy_is_still_taken_for_its_work(
    after_s: float, is_ours: bool
) -> None:
    play = used_and_gone()
    play.leave("turn 0")
    play.after(after_s)
    appears(play)
    assert ("unload one" in listed(play)) is is_ours


def test_a_load_by_hand_has_no_timer_and_stays() -> None:
    play = used_and_gone()
    appears(play, ttl_s=None)
    listed(play)
    assert not play.instance("one").own
    # Nor is what was there before the loss.
    other = used_and_gone()
    other.memory = {}
    appears(other, "two")
    listed(other)
    assert not other.instance("two").own


def test_a_copy_that_was_there_before_is_somebody_elses() -> None:
    play = up_with("one", slots=4)
    play.ask("first", "one")
    play.loaded()
    appears(play)
    listed(play)
    play.after(1)
    play.up()
    play.vanishes("one")
    listed(play)
    assert not play.instance("one:2").own


def test_what_we_unloaded_ourselves_leaves_no_claim_behind() -> None:
    play = up_with("one", slots=4)
    play.ask("first", "one", ttl=0.0)
    play.loaded()
    play.leave("first")
    assert play.sweep() == ["unload one"]
    play.unloaded()
    appears(play)
    listed(play)
    assert not play.instance("one").own


def test_what_is_being_loaded_for_us_is_not_taken_for_a_stray() -> None:
    play = used_and_gone()
    listed(play)
    assert play.ask("eve", "one") == ["load one"]
    made = appears(play)
    listed(play)
    assert not play.instance("one").own
    del play.memory[made.identifier]
    assert "grant eve one" in play.loaded()
    assert play.leave("turn 0") == []


def test_one_that_would_not_leave_is_asked_again_to_the_second() -> None:
    play = used_and_gone()
    appears(play)
    play.up()
    assert play.leave("turn 0") == ["unload one"]
    play.unloaded(stays=True)
    assert play.after(SPARED_S - 0.1).up() == []
    assert play.after(0.1).up() == ["unload one"]
