"""A reply as it grows, event by event, in seconds the test says."""

import pytest
from cogs_doubles import CANDIDATE, FINISHED, HOST, MODEL, READING, RECEIPT, STARTED, TURN
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.chat import Candidate, Rejection, Route
from bot.domain.errors import RequestRefused
from bot.domain.events import (
    Evicting,
    Failed,
    FellBack,
    Loading,
    Notice,
    Offered,
    Queued,
    ReasoningDelta,
    Routed,
    Stopped,
    TextDelta,
    TurnEvent,
)
from bot.domain.ids import ModelKey, ProviderName
from cogs._page import PATIENCE_S, Page
from cogs._view import Act, Look

LOADING = Loading(HOST, MODEL, 0.25, 9.0)


def page_after(*events: TurnEvent, at: float = 0.0) -> Page:
    page = Page(has_footer=False)
    for event in events:
        page.on_event(event, at)
    return page


def only(page: Page, now: float = 0.0) -> Look:
    (look,) = page.looks(now)
    return look


def test_a_turn_that_only_began_shows_nothing() -> None:
    route = Route((CANDIDATE,), (Rejection("studio-2", MODEL, "away"),))
    assert page_after(STARTED, Routed(route)).looks(99.0) == ()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Queued(HOST, MODEL, 2, 9.0), "place 2 in the queue · about 9.0 s"),
        (Evicting(HOST, MODEL, (ModelKey("gemma-3-12b"),)), "unloading `gemma-3-12b`"),
        (LOADING, "25% · 9.0 s left"),
    ],
)
def test_waiting_for_a_host_shows_at_once_with_cancel(event: TurnEvent, words: str) -> None:
    look = only(page_after(STARTED, event))
    assert words in look.content
    assert look.acts == (Act.CANCEL,)
    assert look.subject == TURN


def test_a_short_reading_shows_nothing_so_that_the_first_word_is_not_held_up() -> None:
    page = page_after(STARTED, READING)
    assert page.looks(PATIENCE_S - 0.1) == ()
    look = only(page, PATIENCE_S + 0.1)
    assert "reading 1,200 tokens … 32%" in look.content
    assert look.acts == (Act.STOP,)


def test_reading_shows_at_once_where_a_bar_stood_before() -> None:
    page = page_after(STARTED, LOADING)
    only(page)
    page.on_event(READING, 5.0)
    assert "reading" in only(page, 5.0).content


def test_thinking_is_shown_as_such_and_never_its_words() -> None:
    page = page_after(STARTED, READING, ReasoningDelta("secret plan"))
    look = only(page, 3.0)
    assert look.content == "💭 Thinking … 3 s"


def test_the_seconds_of_thinking_count_from_its_beginning() -> None:
    page = page_after(STARTED, ReasoningDelta("a"))
    page.on_event(ReasoningDelta("b"), 2.0)
    assert "4 s" in only(page, 4.0).content


def test_the_first_words_take_the_place_of_any_status() -> None:
    page = page_after(STARTED, LOADING, TextDelta("Hello"))
    assert only(page) == Look("Hello", (Act.STOP,), TURN)


@pytest.mark.parametrize("blank", ["", "\n", "  \n\t"])
def test_blanks_alone_are_no_beginning(blank: str) -> None:
    page = page_after(STARTED, TextDelta(blank))
    assert page.length == 0
    assert page.looks(0.0) == ()


def test_an_opened_fence_with_nothing_in_it_shows_nothing_yet() -> None:
    page = page_after(STARTED, TextDelta("```py\n"))
    assert page.looks(0.0) == ()


def test_a_fallback_before_the_first_word_goes_unseen() -> None:
    page = page_after(STARTED, FellBack(CANDIDATE, "refused"), TextDelta("Hi"), FINISHED)
    assert only(page).content == "Hi"


def test_a_notice_is_said_at_the_end() -> None:
    page = page_after(STARTED, Notice("The image was skipped."), TextDelta("Hi"), FINISHED)
    assert only(page).content == "Hi\n-# ℹ The image was skipped."


def test_thoughts_can_be_asked_for_only_when_there_were_some() -> None:
    assert Act.THOUGHTS not in only(page_after(STARTED, TextDelta("Hi"), FINISHED)).acts
    page = page_after(STARTED, ReasoningDelta("hm"), TextDelta("Hi"), FINISHED)
    assert Act.THOUGHTS in only(page).acts


def test_a_refused_request_is_words_without_buttons() -> None:
    page = page_after(Failed(None, RequestRefused("The message is empty.")))
    assert only(page) == Look("❌ The message is empty.")
    assert page.is_over


def test_a_slow_load_offers_the_ways_that_are_open() -> None:
    cloud = Candidate(ModelKey("glm-4.6"), provider=ProviderName("zai"), likely_micro_usd=4000)
    page = page_after(STARTED, LOADING, Offered(TURN, CANDIDATE, None, cloud))
    look = only(page)
    assert look.acts == (Act.CANCEL, Act.CLOUD)
    assert "☁ zai" in look.content


def test_every_event_but_words_counts_as_a_change() -> None:
    page = page_after(STARTED, LOADING)
    before = page.changes
    page.on_event(TextDelta("Hi"), 0.0)
    assert page.changes == before
    page.on_event(Stopped(TURN, RECEIPT, "Stopped.", True), 0.0)
    assert page.changes == before + 1


@settings(deadline=None, max_examples=12)
@given(st.lists(st.sampled_from(["word ", "end.\n\n", "```py\nx = 1\n", "```\n"]), max_size=9))
def test_messages_once_followed_by_another_never_change(pieces: list[str]) -> None:
    page = page_after(STARTED)
    before: tuple[Look, ...] = ()
    for piece in pieces:
        page.on_event(TextDelta(piece * 60), 0.0)
        looks = page.looks(0.0)
        assert looks[: len(before) - 1] == before[:-1]
        before = looks
