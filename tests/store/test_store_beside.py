"""Answers beside each other: which is shown, what goes on from it, and what becomes of the rest."""

from dataclasses import replace

import pytest
from store_values import CHANNEL, SAGE, new_turn

from bot.domain.chat import Place, Receipt, Turn
from bot.domain.ids import PlaceId, TurnId, UserId
from bot.store.beside import Answers
from bot.store.database import Database
from bot.store.turns import TurnStore

ADA, BOB = UserId("discord:1"), UserId("discord:2")
THREAD = Place(CHANNEL, thread=PlaceId("discord:77"))
A, B, C = TurnId("a"), TurnId("b"), TurnId("c")


@pytest.fixture
def turns(database: Database) -> TurnStore:
    return TurnStore(database)


async def said(turns: TurnStore, name: str, parent: str | None = None, **more: object) -> None:
    turn: Turn = replace(new_turn(name, parent=parent), **more)
    await turns.begin(turn)
    await turns.finish(turn.id, "done", f"reply of {name}", "", Receipt(SAGE))


async def redone(turns: TurnStore, name: str, about: str, reply: str = "again") -> None:
    await turns.begin(new_turn(name), "retry", TurnId(about))
    await turns.finish(TurnId(name), "done" if reply else "failed", reply, "", Receipt(SAGE))


async def line(turns: TurnStore, user: UserId = ADA) -> list[str]:
    """What a new message of theirs goes on from."""
    return [str(turn.id) for turn in await turns.newest_branch(CHANNEL, SAGE, user)]


async def answers(turns: TurnStore, turn: str) -> Answers:
    found = await turns.answers(TurnId(turn))
    assert found is not None
    return found


async def test_a_retry_takes_the_place_of_the_answer_it_redoes_and_both_stay(
    turns: TurnStore,
) -> None:
    await said(turns, "a")
    await redone(turns, "b", "a")

    assert await line(turns) == ["b"]
    assert await answers(turns, "a") == await answers(turns, "b") == Answers(A, B, (A, B))
    assert await turns.answers(TurnId("nobody")) is None


async def test_the_answer_chosen_goes_on_and_the_other_comes_back_when_chosen(
    turns: TurnStore,
) -> None:
    await said(turns, "a")
    await redone(turns, "b", "a")
    await turns.show(A)
    assert await line(turns) == ["a"]
    await said(turns, "next", "a")
    await turns.show(B)
    assert await line(turns) == ["b", "next"]
    await turns.show(A)
    assert await line(turns) == ["a", "next"]


async def test_a_question_asked_again_late_is_no_newer_than_what_was_said_since(
    turns: TurnStore,
) -> None:
    await said(turns, "a")
    await said(turns, "next", "a")
    await redone(turns, "b", "a")

    assert await line(turns) == await line(turns, BOB) == ["b", "next"]
    last = await turns.last_in(CHANNEL)
    assert last is not None
    assert last.id == "next"
    await said(turns, "more", "next")
    assert await line(turns, BOB) == ["b", "next", "more"]


async def test_the_last_turn_of_a_place_is_the_one_shown(turns: TurnStore) -> None:
    await said(turns, "a")
    await redone(turns, "b", "a")
    await redone(turns, "c", "b")
    for shown, since_reset in ((C, True), (A, False)):
        await turns.show(shown)
        last = await turns.last_in(CHANNEL, since_reset=since_reset)
        assert last is not None
        assert last.id == shown


async def test_what_is_asked_under_an_answer_that_gave_way_follows_the_one_in_its_place(
    turns: TurnStore,
) -> None:
    await said(turns, "a")
    await redone(turns, "b", "a")
    # Looked up while it was still shown; another was chosen before this was stored.
    await said(turns, "next", "a")

    assert await line(turns) == ["b", "next"]
    await redone(turns, "next2", "next")
    assert await line(turns) == ["b", "next2"]


async def test_a_retry_of_a_reply_whose_parent_gave_way_meanwhile_stands_in_its_place(
    turns: TurnStore,
) -> None:
    await said(turns, "a")
    await said(turns, "next", "a")
    await redone(turns, "b", "a")
    await turns.begin(new_turn("next2", parent="a"), "retry", TurnId("next"))

    assert await line(turns) == ["b", "next2"]


async def test_a_retry_without_a_word_gives_the_place_back_to_what_it_redid(
    turns: TurnStore,
) -> None:
    await said(turns, "a")
    await redone(turns, "b", "a")
    await said(turns, "next", "b")
    await redone(turns, "c", "b", reply=" \n")

    assert await line(turns) == ["b", "next"]
    assert await answers(turns, "c") == Answers(A, B, (A, B))


async def test_an_answer_that_was_chosen_meanwhile_is_not_pushed_aside_by_a_retry_that_fails(
    turns: TurnStore,
) -> None:
    await said(turns, "a")
    await redone(turns, "b", "a")
    await turns.begin(new_turn("c"), "retry", B)
    assert (await answers(turns, "a")).ids == (A, B, C)
    await turns.show(A)
    await turns.finish(C, "failed", "", "", Receipt(SAGE))

    assert await answers(turns, "a") == Answers(A, A, (A, B))


async def test_a_retry_cut_by_a_crash_gives_its_place_back(turns: TurnStore) -> None:
    await said(turns, "a")
    await turns.begin(new_turn("b"), "retry", A)
    await turns.close_running()

    assert await line(turns) == ["a"]


async def test_two_who_ask_again_at_once_leave_the_later_one_shown(turns: TurnStore) -> None:
    await said(turns, "a")
    await turns.begin(new_turn("b"), "retry", A)
    await turns.begin(new_turn("c"), "retry", A)
    for name in ("c", "b"):
        await turns.finish(TurnId(name), "done", "again", "", Receipt(SAGE))

    assert await answers(turns, "b") == Answers(A, C, (A, B, C))


async def test_answers_on_a_branch_aside_stay_aside(turns: TurnStore) -> None:
    await said(turns, "a")
    await said(turns, "b", "a")
    await said(turns, "aside", "a", user=BOB)
    await redone(turns, "aside2", "aside")

    assert await line(turns) == ["a", "b"]
    assert await line(turns, BOB) == ["a", "aside2"]
    await said(turns, "more", "aside2", user=BOB)
    await redone(turns, "aside3", "aside2")
    assert await line(turns, BOB) == ["a", "aside3", "more"]
    await said(turns, "most", "more", user=BOB)
    assert await line(turns, BOB) == ["a", "aside3", "more", "most"]
    assert await line(turns) == ["a", "b"]


async def test_a_retry_of_what_was_said_before_a_reset_begins_nothing(turns: TurnStore) -> None:
    await said(turns, "a")
    await turns.reset(CHANNEL)
    await redone(turns, "b", "a")
    assert await line(turns) == []
    await said(turns, "c", "b")
    assert await line(turns) == ["b", "c"]


async def test_a_thread_keeps_the_answer_it_was_opened_on(turns: TurnStore) -> None:
    await said(turns, "a")
    await said(turns, "t", "a", place=THREAD)
    await redone(turns, "b", "a")
    await turns.begin(replace(new_turn("t2", parent="a"), place=THREAD))

    assert [turn.id for turn in await turns.branch(TurnId("t"))] == ["a", "t"]
    assert [turn.id for turn in await turns.branch(TurnId("t2"))] == ["a", "t2"]


async def test_looking_through_answers_goes_round(turns: TurnStore) -> None:
    three = Answers(A, B, (A, B, C))
    assert [three.beside(turn, 1) for turn in (A, B, C)] == [B, C, A]
    assert [three.beside(turn, -1) for turn in (A, B, C)] == [C, A, B]
    # One that is not among them any more counts as the one that is shown.
    assert three.beside(TurnId("gone"), 1) == C


async def test_an_answer_runs_again_once_and_keeps_its_words(turns: TurnStore) -> None:
    await said(turns, "a")
    assert await turns.resume(A)
    assert not await turns.resume(A)
    (closed,) = await turns.close_running()
    assert (closed.status, closed.reply_text) == ("partial", "reply of a")
    assert await turns.resume(A)
    await turns.finish(A, "done", "reply of a and more", "", Receipt(SAGE))
    stored = await turns.get(A)
    assert stored is not None
    assert stored.reply_text == "reply of a and more"
    assert not await turns.resume(TurnId("nobody"))


async def test_what_never_had_an_answer_does_not_run_again(turns: TurnStore) -> None:
    await turns.begin(new_turn("a"))
    await turns.finish(A, "failed", "", "", Receipt(SAGE))
    assert not await turns.resume(A)


async def test_the_message_that_asked_is_known_for_good(turns: TurnStore) -> None:
    await turns.begin(new_turn("a"), question="4711")
    assert await turns.asked_by("4711") == A
    assert await turns.message_of(A) == "4711"
    assert await turns.asked_by("4712") is None
    assert await turns.message_of(B) is None


async def test_answers_to_other_words_than_their_question_has_now_are_outdated(
    turns: TurnStore,
) -> None:
    await said(turns, "a", user_text="old")
    assert not await turns.reword(A, "old")
    assert await turns.reword(A, "new")
    assert await turns.reword(A, "newer")
    assert await turns.reword(A, "old")
    assert await turns.reword(A, "new")
    assert (await answers(turns, "a")).outdated == {A}
    # Asked again as it was, and as it is.
    for name, words in (("b", "old"), ("c", "new")):
        await turns.begin(replace(new_turn(name), user_text=words), "retry", A)
        await turns.finish(TurnId(name), "done", "again", "", Receipt(SAGE))
    assert (await answers(turns, "c")).outdated == {A, B}
    await turns.reword(A, "old")
    assert (await answers(turns, "a")).outdated == {C}
    # Without words there is nothing to ask.
    await turns.reword(A, "")
    assert (await answers(turns, "a")).outdated == frozenset()
