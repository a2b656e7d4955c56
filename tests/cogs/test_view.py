"""The words under and around an answer, and the buttons, as messages."""

import re
from dataclasses import replace

import discord
import pytest
from cogs_doubles import CANDIDATE, MODEL, RECEIPT, TURN, stored_turn
from histories import examples
from hypothesis import given
from hypothesis import strategies as st

from bot.chat.beginning import DELETED
from bot.domain.chat import Receipt, Rejection, Turn
from bot.domain.errors import (
    FailureKind,
    NoCandidates,
    NotPermitted,
    RequestRefused,
    TokensSpent,
)
from bot.domain.events import Failed, Finished, Stopped
from bot.domain.ids import ProviderName
from bot.policy.conversation import STOPPED
from bot.policy.splitting import LIMIT, cut_reply, shown_parts, split_reply
from cogs._view import Act, MessageView, buttons_of, ended, laid_out, restored

WHOLE = (Act.RETRY, Act.CONTINUE, Act.OTHER)
FOOTER = "-# qwen/qwen3-30b-a3b-2507 · studio-1 · 90 tokens · 30 tok/s · 0.5 s to first token"


def the_end(
    text: str,
    end: Finished | Stopped | Failed,
    *,
    notices: tuple[str, ...] = (),
    has_thoughts: bool = False,
    has_footer: bool = True,
) -> tuple[MessageView, ...]:
    return ended(text, end, notices=notices, has_thoughts=has_thoughts, has_footer=has_footer)


@pytest.mark.parametrize(
    ("acts", "style"),
    [
        (WHOLE, discord.ButtonStyle.secondary),
        ((Act.CONTINUE, Act.RETRY, Act.OTHER), discord.ButtonStyle.primary),
    ],
)
async def test_people_are_led_to_go_on_with_what_was_cut_alone(
    acts: tuple[Act, ...], style: discord.ButtonStyle
) -> None:
    view = buttons_of(MessageView("Half", acts, TURN))
    assert view is not None
    (row,) = view.to_components()
    assert [b["style"] for b in row["components"] if b["label"] == "Continue"] == [style.value]


def test_a_whole_answer_carries_its_footer_and_retry() -> None:
    (view,) = the_end("Hello.", Finished(TURN, RECEIPT))
    assert view == MessageView(f"Hello.\n{FOOTER}", WHOLE, TURN)


def test_the_footer_can_be_switched_off() -> None:
    (view,) = the_end("Hello.", Finished(TURN, RECEIPT), has_footer=False)
    assert view.content == "Hello."


@pytest.mark.parametrize(
    ("end", "has_thoughts", "acts"),
    [
        (Finished(TURN, RECEIPT), False, WHOLE),
        (Finished(TURN, RECEIPT), True, (*WHOLE, Act.THOUGHTS)),
        (
            Finished(TURN, replace(RECEIPT, finish="length")),
            False,
            (Act.CONTINUE, Act.RETRY, Act.OTHER),
        ),
        (Stopped(TURN, RECEIPT, "", True), False, (Act.CONTINUE, Act.RETRY, Act.OTHER)),
        (Failed(TURN, NoCandidates("Nobody.")), False, (Act.RETRY, Act.OTHER)),
        (Failed(None, RequestRefused("Empty.")), False, ()),
        (Failed(TURN, NotPermitted("Certain people only.")), False, ()),
        (Failed(TURN, TokensSpent("New ones come in 2 h.", 7200.0)), False, (Act.RETRY, Act.OTHER)),
    ],
)
def test_the_buttons_after_an_answer_fit_how_it_ended(
    end: Finished | Stopped | Failed, has_thoughts: bool, acts: tuple[Act, ...]
) -> None:
    assert the_end("Hello.", end, has_thoughts=has_thoughts)[-1].acts == acts


def test_a_stopped_answer_without_words_offers_nothing_to_continue() -> None:
    (gone,) = the_end("", Stopped(TURN, RECEIPT, DELETED, True), has_footer=False)
    assert gone.content == "⏹ Stopped. Its question was deleted."
    (view,) = the_end("", Stopped(TURN, RECEIPT, "", True), has_footer=False)
    assert view == MessageView("⏹ Stopped.", (Act.RETRY, Act.OTHER), TURN)


@pytest.mark.parametrize("is_stored", [False, True])
def test_of_an_answer_without_words_what_became_of_it_stands_large_and_the_rest_small(
    *, is_stored: bool
) -> None:
    notices = ("zai was asked again.",)
    receipt = replace(RECEIPT, finish="cancelled", notices=notices)
    if is_stored:
        (view,) = restored(stored_turn("", "failed", receipt), has_footer=True)
    else:
        (view,) = the_end("", Stopped(TURN, receipt, "", True), notices=notices)
    small = ["-# ℹ zai was asked again.", FOOTER]
    assert view.content.splitlines() == ["⏹ Stopped.", *small]
    (view,) = the_end("", Stopped(TURN, RECEIPT, "Lantern is restarting.", False))
    assert view.content.splitlines() == ["⚠ Lantern is restarting.", FOOTER]
    (view,) = the_end("", Finished(TURN, RECEIPT), notices=notices)
    assert view.content.splitlines() == ["The model answered with no words.", *small]


def test_a_cut_answer_says_what_happened() -> None:
    end = Stopped(TURN, RECEIPT, "studio-1 went away.", False)
    assert "-# ⚠ The answer was cut: studio-1 went away." in the_end("Half", end)[-1].content


def test_a_failure_stands_in_full_size_with_all_that_was_tried() -> None:
    error = NoCandidates("Nobody could answer.\n• studio-1: out of memory")
    (view,) = the_end("", Failed(TURN, error))
    assert view.content == "❌ Nobody could answer.\n• studio-1: out of memory"


def test_a_very_long_failure_is_shown_whole() -> None:
    error = NoCandidates("\n".join(f"• studio-{n}: does not answer" for n in range(200)))
    views = the_end("", Failed(TURN, error))
    assert len(views) > 1
    assert "studio-199" in views[-1].content


def test_notices_stand_in_small_print() -> None:
    (view,) = the_end("Hi.", Finished(TURN, RECEIPT), notices=("Two messages were left out.",))
    assert view.content.splitlines() == ["Hi.", "-# ℹ Two messages were left out.", FOOTER]


@pytest.mark.parametrize("has_footer", [True, False])
@pytest.mark.parametrize("end", ["finished", "stopped", "failed", "cached"])
def test_an_answer_of_the_cloud_is_marked_and_priced_before_all_other_small_print(
    end: str, *, has_footer: bool
) -> None:
    receipt = replace(RECEIPT, host=None, provider=ProviderName("zai"), cost_micro_usd=4000)
    events: dict[str, Finished | Stopped | Failed] = {
        "finished": Finished(TURN, receipt),
        "stopped": Stopped(TURN, receipt, "zai broke off.", False),
        "failed": Failed(TURN, NoCandidates("zai broke."), receipt),
        "cached": Finished(TURN, replace(receipt, from_cache=True)),
    }
    views = the_end("Hi.", events[end], notices=("long " * 500,), has_footer=has_footer)
    first = views[-1].content.splitlines()[1]
    assert first.startswith("-# ☁ zai · 0.4 ¢")
    assert (first == "-# ☁ zai · 0.4 ¢") != has_footer


@pytest.mark.parametrize("has_footer", [True, False])
def test_a_restored_answer_of_the_cloud_is_marked_too(*, has_footer: bool) -> None:
    receipt = replace(RECEIPT, host=None, provider=ProviderName("zai"), cost_micro_usd=4000)
    (view,) = restored(stored_turn("Whole.", "done", receipt), has_footer=has_footer)
    assert view.content.splitlines()[1].startswith("-# ☁ zai · 0.4 ¢")


def test_an_answer_of_no_words_is_no_empty_message() -> None:
    (view,) = the_end(" \n", Finished(TURN, RECEIPT), has_footer=False)
    assert view.content == "The model answered with no words."


def test_small_print_is_never_so_long_that_the_answer_has_no_room() -> None:
    views = the_end("x" * 1990, Finished(TURN, RECEIPT), notices=("long " * 500,))
    assert all(len(view.content) <= LIMIT for view in views)


@examples(40)
@given(st.text(st.sampled_from("ab `*\n.~"), max_size=9000), st.integers(0, 300))
def test_whatever_the_text_no_message_is_too_long_or_blank(text: str, extra: int) -> None:
    views = the_end(text + "z" * extra, Finished(TURN, RECEIPT))
    assert all(0 < len(view.content) <= LIMIT and view.content.strip() for view in views)
    assert [bool(view.acts) for view in views] == [False] * (len(views) - 1) + [True]


@examples(40)
@given(st.lists(st.sampled_from(["word ", "end.\n\n", "next line\n"]), max_size=1200))
def test_nothing_of_the_text_is_lost_or_repeated(pieces: list[str]) -> None:
    text = "".join(pieces)
    views = the_end(text, Finished(TURN, RECEIPT)) if text.strip() else ()
    shown = "".join(re.sub(r"^-# .*", "", view.content, flags=re.MULTILINE) for view in views)
    assert "".join(shown.split()) == "".join(text.split())


@pytest.mark.parametrize("length", range(1880, 2001, 8))
def test_an_end_that_fills_its_message_still_gets_its_footer(length: int) -> None:
    text = ("word " * 500)[:length].strip()
    views = the_end(text, Finished(TURN, RECEIPT))
    assert views[-1].content.endswith(FOOTER)
    assert views[-1].content != FOOTER


def test_a_growing_answer_has_stop_under_its_last_message_and_closes_its_fence() -> None:
    text = "Look:\n```py\n" + "".join(f"line_{n} = {n}\n" for n in range(300))
    views = laid_out(shown_parts(cut_reply(text)), [Act.STOP], TURN)
    assert len(views) > 1
    assert [view.acts for view in views] == [()] * (len(views) - 1) + [(Act.STOP,)]
    assert all(view.content.count("```") % 2 == 0 for view in views)


def test_what_was_sent_of_a_growing_answer_is_the_same_at_its_end() -> None:
    text = "Look:\n```py\n" + "".join(f"line_{n} = {n}\n" for n in range(300)) + "```\nDone."
    early = laid_out(shown_parts(cut_reply(text[:3000])), [Act.STOP], TURN)
    assert the_end(text, Finished(TURN, RECEIPT))[0].content == early[0].content
    assert early[0].content == split_reply(text)[0]


def test_a_status_has_its_buttons_only_once_the_turn_is_known() -> None:
    assert laid_out(("Loading",), [Act.CANCEL], TURN) == (
        MessageView("Loading", (Act.CANCEL,), TURN),
    )
    assert laid_out(("Loading",), [Act.CANCEL], None) == (MessageView("Loading"),)


@pytest.mark.parametrize(
    ("turn", "line", "acts"),
    [
        (
            stored_turn("Half an", "partial"),
            "⚠ Lantern was restarted in the middle of this answer. The text so far is kept.",
            (Act.CONTINUE, Act.RETRY, Act.OTHER),
        ),
        (
            stored_turn("", "failed"),
            "⚠ Lantern was restarted before this answer began.",
            (Act.RETRY, Act.OTHER),
        ),
        (
            stored_turn("", "failed", replace(RECEIPT, finish="error", ending="All are off.")),
            "❌ All are off.",
            (Act.RETRY, Act.OTHER),
        ),
        (
            stored_turn("Half", "partial", replace(RECEIPT, ending="Time is up.")),
            "⚠ The answer was cut: Time is up. The text so far is kept.",
            (Act.CONTINUE, Act.RETRY, Act.OTHER),
        ),
        (
            stored_turn("Half", "partial", replace(RECEIPT, finish="cancelled", ending="Why.")),
            "⏹ Stopped.",
            (Act.CONTINUE, Act.RETRY, Act.OTHER),
        ),
        (
            stored_turn("Half", "partial", replace(RECEIPT, finish="cancelled")),
            "⏹ Stopped.",
            (Act.CONTINUE, Act.RETRY, Act.OTHER),
        ),
        (stored_turn("Whole.", "done", RECEIPT), FOOTER, WHOLE),
        (
            stored_turn("Whole.", "done", RECEIPT, reasoning_text="hm"),
            FOOTER,
            (*WHOLE, Act.THOUGHTS),
        ),
    ],
)
def test_what_a_crash_left_is_closed_honestly(turn: Turn, line: str, acts: tuple[Act, ...]) -> None:
    (view,) = restored(turn, has_footer=True)
    assert line in view.content
    assert view.acts == acts


def test_whoever_could_have_seen_a_picture_is_offered_after_a_crash_too() -> None:
    receipt = replace(RECEIPT, seer=CANDIDATE)
    (view,) = the_end("Words.", Finished(TURN, receipt))
    assert view.acts == (Act.SEE, *WHOLE)
    (view,) = restored(stored_turn("Words.", "done", receipt), has_footer=True)
    assert view.acts == (Act.SEE, *WHOLE)


def test_what_was_tried_before_a_crash_is_left_to_why() -> None:
    tried = (Rejection("studio-2", MODEL, "does not answer", FailureKind.CONNECT),)
    turn = stored_turn("", "failed", replace(RECEIPT, attempts=tried))
    content = restored(turn, has_footer=False)[0].content
    assert content == "⚠ Lantern was restarted before this answer began."


def test_who_asked_what_out_of_sight_stands_under_each_answer_to_it_once() -> None:
    receipt = replace(RECEIPT, asked="Bob asked about the cat: what is it?")
    small = ["-# ℹ Bob asked about the cat: what is it?", FOOTER]
    for notices in ((), (receipt.asked,)):
        (view,) = the_end("Hello.", Finished(TURN, receipt), notices=notices)
        assert view.content.splitlines() == ["Hello.", *small]
    (view,) = restored(stored_turn("Hello.", "done", receipt), has_footer=True)
    assert view.content.splitlines() == ["Hello.", *small]
    cut = Receipt(RECEIPT.persona, asked=receipt.asked, finish="error", notices=(STOPPED,))
    (view,) = restored(stored_turn("", "failed", cut), has_footer=True)
    assert view.content.splitlines() == [
        "⚠ Lantern was restarted before this answer began.",
        "-# ℹ Bob asked about the cat: what is it?",
    ]
