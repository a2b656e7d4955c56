"""A reply as it grows, event by event, in seconds the test says."""

from dataclasses import replace

import pytest
from cogs_doubles import (
    CANDIDATE,
    FINISHED,
    HOST,
    MODEL,
    READING,
    RECEIPT,
    STARTED,
    TURN,
    stored_turn,
)
from histories import examples
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Candidate, Rejection, Route
from bot.domain.errors import Bug, NoCandidates, RequestRefused
from bot.domain.events import (
    Evicting,
    Failed,
    FellBack,
    Finished,
    Loading,
    Notice,
    Offered,
    Queued,
    Reading,
    ReasoningDelta,
    Resuming,
    Routed,
    Silence,
    Stopped,
    TextDelta,
    TurnEvent,
)
from bot.domain.ids import HostName, ModelKey, ProviderName
from bot.policy.splitting import LIMIT
from bot.store.beside import Answers
from cogs._reply_view import PATIENCE_S, ReplyView, ShownAnswer
from cogs._view import Act, MessageView, TurnButton, buttons_of, cut_short, restored

LOADING = Loading(HOST, MODEL, 0.25, 9.0)


def view_after(*events: TurnEvent, at: float = 0.0) -> ReplyView:
    view = ReplyView(has_footer=False)
    for event in events:
        view.on_event(event, at)
    return view


def only(view: ReplyView, now: float = 0.0) -> MessageView:
    (message,) = view.messages(now)
    return message


def test_a_turn_that_only_began_shows_nothing() -> None:
    route = Route((CANDIDATE,), (Rejection("studio-2", MODEL, "away"),))
    assert view_after(STARTED, Routed(route)).messages(99.0) == ()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Queued(HOST, MODEL, 2, 9.0), "place 2 in the queue · about 9.0 s"),
        (Evicting(HOST, MODEL, (ModelKey("gemma-3-12b"),)), "unloading `gemma-3-12b`"),
        (LOADING, "25% · 9.0 s left"),
    ],
)
def test_waiting_for_a_host_shows_at_once_with_cancel(event: TurnEvent, words: str) -> None:
    view = only(view_after(STARTED, event))
    assert words in view.content
    assert view.acts == (Act.CANCEL,)
    assert view.subject == TURN


def test_a_short_reading_shows_nothing_so_that_the_first_word_is_not_held_up() -> None:
    view = view_after(STARTED, READING)
    assert view.messages(PATIENCE_S - 0.1) == ()
    view = only(view, PATIENCE_S + 0.1)
    assert "reading 1,200 tokens … 32%" in view.content
    assert view.acts == (Act.STOP,)


def test_reading_takes_the_place_of_a_bar_only_when_it_lasts() -> None:
    view = view_after(STARTED, LOADING)
    bar = only(view)
    view.on_event(READING, 5.0)
    assert only(view, 5.0 + PATIENCE_S - 0.01) == bar
    assert "reading" in only(view, 5.0 + PATIENCE_S).content


def test_a_silence_is_said_under_the_answer_until_it_goes_on() -> None:
    view = view_after(STARTED, TextDelta("Half an"), Silence(10.0))
    assert only(view, 12.0).content == "Half an\n-# ⏳ no word for 10 s; it may still go on"
    view.on_event(TextDelta(" answer"), 13.0)
    assert only(view, 13.0).content == "Half an answer"


def test_a_silence_in_the_middle_of_thinking_is_said_too() -> None:
    view = view_after(STARTED, READING, ReasoningDelta("secret plan"), Silence(10.0))
    assert "no word for 10 s" in only(view, 12.0).content


def test_where_no_room_is_left_for_a_silence_the_answer_goes_first() -> None:
    view = view_after(STARTED, TextDelta("x" * 1990), Silence(10.0))
    assert only(view, 12.0).content == "x" * 1990


def test_who_goes_on_is_said_under_the_answer_until_its_first_word() -> None:
    resuming = Resuming(HostName("studio-1"), replace(CANDIDATE, host=HostName("studio-2")))
    view = view_after(STARTED, TextDelta("Half an"), Silence(10.0), resuming)
    begun = "Half an\n-# ↪ studio-1 was lost; going on at studio-2"
    assert only(view, 12.0) == MessageView(f"{begun} …", (Act.STOP,), TURN)
    view.on_event(Queued(HOST, MODEL, 2, 9.0), 12.0)
    assert only(view, 12.0).content == f"{begun}: place 2 in its queue"
    view.on_event(LOADING, 12.0)
    assert only(view, 12.0).content == f"{begun}: loading 25% · 9.0 s left"
    view.on_event(READING, 13.0)
    assert only(view, 13.0).content == f"{begun} …"
    view.on_event(TextDelta(" answer"), 14.0)
    assert only(view, 14.0).content == "Half an answer"
    assert only(view, 14.0).acts == (Act.STOP,)


def test_thinking_is_shown_as_such_and_never_its_words() -> None:
    view = view_after(STARTED, READING, ReasoningDelta("secret plan"))
    view = only(view, 3.0)
    assert view.content == "💭 Thinking … 3 s"


def test_the_seconds_of_thinking_count_from_its_beginning() -> None:
    view = view_after(STARTED, ReasoningDelta("a"))
    view.on_event(ReasoningDelta("b"), 2.0)
    assert "4 s" in only(view, 4.0).content


def test_the_first_words_take_the_place_of_any_status() -> None:
    view = view_after(STARTED, LOADING, TextDelta("Hello"))
    assert only(view) == MessageView("Hello", (Act.STOP,), TURN)


@pytest.mark.parametrize("blank", ["", "\n", "  \n\t"])
def test_blanks_alone_are_no_beginning(blank: str) -> None:
    view = view_after(STARTED, TextDelta(blank))
    assert view.length == 0
    assert view.messages(0.0) == ()


def test_an_opened_fence_with_nothing_in_it_shows_nothing_yet() -> None:
    view = view_after(STARTED, TextDelta("```py\n"))
    assert view.messages(0.0) == ()


def test_a_fallback_before_the_first_word_goes_unseen() -> None:
    view = view_after(STARTED, FellBack(CANDIDATE, "refused"), TextDelta("Hi"), FINISHED)
    assert only(view).content == "Hi"


def test_a_notice_is_said_at_the_end() -> None:
    view = view_after(STARTED, Notice("The image was skipped."), TextDelta("Hi"), FINISHED)
    assert only(view).content == "Hi\n-# ℹ The image was skipped."


def test_thoughts_can_be_asked_for_only_when_there_were_some() -> None:
    assert Act.THOUGHTS not in only(view_after(STARTED, TextDelta("Hi"), FINISHED)).acts
    view = view_after(STARTED, ReasoningDelta("hm"), TextDelta("Hi"), FINISHED)
    assert Act.THOUGHTS in only(view).acts


def test_a_refused_request_is_words_without_buttons() -> None:
    view = view_after(Failed(None, RequestRefused("The message is empty.")))
    assert only(view) == MessageView("❌ The message is empty.")
    assert view.is_over


def test_a_slow_load_offers_the_ways_that_are_open() -> None:
    cloud = Candidate(ModelKey("glm-4.6"), provider=ProviderName("zai"), likely_micro_usd=4000)
    view = view_after(STARTED, LOADING, Offered(TURN, CANDIDATE, None, cloud))
    view = only(view)
    assert view.acts == (Act.CANCEL, Act.CLOUD)
    assert "☁ zai" in view.content
    assert view.labels == ((Act.CLOUD, "zai ≈ 0.4 ¢"),)
    shown = buttons_of(view)
    assert shown is not None
    labels = [child.item.label for child in shown.children if isinstance(child, TurnButton)]
    assert labels == ["Cancel", "zai ≈ 0.4 ¢"]


@pytest.mark.parametrize(
    ("step", "now", "words"),
    [
        (replace(LOADING, seconds_left=None), 0.0, "here in ~15 s"),
        (replace(LOADING, seconds_left=None), 6.0, "here in ~9.0 s"),
        (replace(LOADING, seconds_left=None), 14.0, "here in ~1.0 s"),
        (replace(LOADING, seconds_left=None), 14.1, "here in a moment"),
        (replace(LOADING, seconds_left=0.4), 13.0, "here in a moment"),
        (replace(LOADING, seconds_left=0.4), 18.0, "here in a moment"),
        (replace(LOADING, seconds_left=0.4), 18.1, "here later than expected"),
        (replace(LOADING, seconds_left=None), 18.1, "here later than expected"),
        (replace(LOADING, seconds_left=54.0), 75.0, "here in ~54 s"),
        (replace(LOADING, seconds_left=None, stands_s=5.0), 7.0, "here later than expected"),
        (replace(LOADING, seconds_left=None, stands_s=48.0), 15.0, "here later than expected"),
        (Queued(HOST, MODEL, 2), 75.0, "here later than expected"),
    ],
)
def test_an_offer_tells_the_wait_as_it_is_now(
    step: Loading | Queued, now: float, words: str
) -> None:
    offer = Offered(TURN, replace(CANDIDATE, seconds=15.0), replace(CANDIDATE), None)
    view = view_after(STARTED, offer, step)
    (shown,) = view.messages(now)
    assert shown.content.splitlines()[-1].startswith(f"🕰 {words} · ")


@pytest.mark.parametrize(
    ("now", "words"), [(6.9, "here in a moment"), (7.1, "here later than expected")]
)
def test_a_short_wait_is_not_called_late_for_a_second(now: float, words: str) -> None:
    offer = Offered(TURN, replace(CANDIDATE, seconds=5.0), replace(CANDIDATE), None)
    (shown,) = view_after(STARTED, offer, replace(LOADING, seconds_left=0.0)).messages(now)
    assert shown.content.splitlines()[-1].startswith(f"🕰 {words} · ")


def test_that_the_database_is_busy_is_told_while_it_is_and_never_after() -> None:
    view = view_after(Notice("The database is busy; this waits for it.", is_passing=True))
    assert only(view) == MessageView("⏳ The database is busy; this waits for it.")
    for event in (STARTED, LOADING):
        view.on_event(event, 0.0)
    assert "busy" not in only(view).content
    for event in (TextDelta("Hi"), FINISHED):
        view.on_event(event, 0.0)
    assert only(view).content == "Hi"


def test_a_button_names_the_model_it_takes() -> None:
    small = Candidate(ModelKey("qwen/small-8b"), host=HostName("alpha"))
    view = only(view_after(STARTED, LOADING, Offered(TURN, CANDIDATE, small, None)))
    assert view.labels == ((Act.WARM, "small-8b now"),)


def test_every_event_but_words_counts_as_a_change() -> None:
    view = view_after(STARTED, LOADING)
    before = view.changes
    view.on_event(TextDelta("Hi"), 0.0)
    assert view.changes == before
    view.on_event(Stopped(TURN, RECEIPT, "", True), 0.0)
    assert view.changes == before + 1


def test_a_press_that_was_stopped_before_its_first_word_says_so_with_one_sign() -> None:
    before = ShownAnswer(stored_turn("Hello."), (1,), Answers(TURN, TURN, (TURN,)))
    view = ReplyView(has_footer=False, standing=before)
    view.on_event(STARTED, 0.0)
    view.on_event(Stopped(TURN, RECEIPT, "", by_asker=True), 0.0)
    assert only(view).content.splitlines()[:2] == ["Hello.", "-# ⏹ Stopped."]


def test_stopped_twice_before_any_word_it_says_so_once() -> None:
    stopped = replace(RECEIPT, finish="cancelled", ending="Stopped.", host=None, model=None)
    turn = stored_turn("", "partial", stopped)
    before = ShownAnswer(turn, (1,), Answers(TURN, TURN, (TURN,)))
    view = ReplyView(has_footer=False, standing=before)
    view.on_event(STARTED, 0.0)
    view.on_event(Stopped(TURN, RECEIPT, "", by_asker=True), 0.0)
    assert only(view).content == "⏹ Stopped."


def test_of_a_question_that_nobody_could_answer_twice_the_newest_reason_stands_alone() -> None:
    off = replace(RECEIPT, finish="error", ending="alpha is off.", host=None, model=None)
    again = Failed(TURN, NoCandidates("alpha and beta are off."))

    def shown(text: str, end: Failed | Stopped) -> list[str]:
        answers = Answers(TURN, TURN, (TURN,))
        turn = stored_turn(text, "failed", off)
        view = ReplyView(has_footer=False, standing=ShownAnswer(turn, (1,), answers))
        view.on_event(STARTED, 0.0)
        view.on_event(end, 0.0)
        return [line.removeprefix("-# ") for line in only(view).content.splitlines()]

    assert shown("", again) == ["❌ alpha and beta are off."]
    # Why an answer that stands there is none, and that its redoing was stopped, are told as well.
    assert shown("Half", again) == ["Half", "❌ alpha and beta are off.", "❌ alpha is off."]
    stopped = Stopped(TURN, RECEIPT, "", by_asker=True)
    assert shown("", stopped) == ["⏹ Stopped.", "❌ alpha is off."]


@examples(12)
@given(st.lists(st.sampled_from(["word ", "end.\n\n", "```py\nx = 1\n", "```\n"]), max_size=9))
def test_messages_once_followed_by_another_never_change(pieces: list[str]) -> None:
    view = view_after(STARTED)
    before: tuple[MessageView, ...] = ()
    for piece in pieces:
        view.on_event(TextDelta(piece * 60), 0.0)
        views = view.messages(0.0)
        assert views[: len(before) - 1] == before[:-1]
        before = views


ZAI = ProviderName("zai")
AFAR = Reading(Candidate(ModelKey("glm-4.6"), provider=ZAI), 33, None)
CLOUD_RECEIPT = replace(RECEIPT, host=None, provider=ZAI, cost_micro_usd=4000)
ENDS: tuple[Finished | Stopped | Failed | None, ...] = (
    None,
    Finished(TURN, CLOUD_RECEIPT),
    Stopped(TURN, CLOUD_RECEIPT, "zai broke off.", False),
    Failed(TURN, NoCandidates("zai broke."), CLOUD_RECEIPT),
    Failed(TURN, Bug("The answer ended without a word of why; it is logged.")),
)


@pytest.mark.slow
@examples(30)
@given(
    st.lists(
        st.sampled_from(["word ", "end.\n\n", "```py\nx = 1\n", "```\n", "z" * 31]), max_size=9
    ),
    st.sampled_from(ENDS),
    st.booleans(),
    st.sampled_from([(), ("long " * 500,)]),
)
def test_every_message_with_a_providers_words_shows_its_mark(
    pieces: list[str],
    end: Finished | Stopped | Failed | None,
    has_footer: bool,
    notices: tuple[str, ...],
) -> None:
    view = ReplyView(has_footer=has_footer, notices=notices)
    view.on_event(STARTED, 0.0)
    view.on_event(AFAR, 0.0)
    view.on_event(ReasoningDelta("hm"), 0.0)
    for piece in ["Words.", *pieces]:
        view.on_event(TextDelta(piece * 60), 0.0)
    view.on_event(Silence(10.0), 0.0)
    if end is not None:
        view.on_event(end, 0.0)
    views = view.messages(0.0)
    stored = stored_turn("".join(pieces), "partial", CLOUD_RECEIPT)
    for shown in (*views, *map(cut_short, views), *restored(stored, has_footer=has_footer)):
        assert "\n-# ☁ zai" in shown.content or shown.content.startswith("☁ zai")
        assert len(shown.content) <= LIMIT
    for shown in views[:-1]:
        assert cut_short(shown).content.count("☁ zai") == 1


def test_the_mark_goes_when_a_host_answers_after_all() -> None:
    view = view_after(STARTED, AFAR, FellBack(AFAR.candidate, "busy"), READING, TextDelta("Hi"))
    assert only(view).content == "Hi"


def test_what_was_sent_of_a_providers_growing_answer_is_the_same_at_its_end() -> None:
    view = view_after(STARTED, AFAR, TextDelta("word " * 900))
    growing = view.messages(0.0)
    view.on_event(Finished(TURN, CLOUD_RECEIPT), 0.0)
    assert [shown.content for shown in view.messages(0.0)[:-1]] == [
        shown.content for shown in growing[:-1]
    ]


def test_tables_and_formulas_are_shown_and_what_is_held_back_leaves_the_status() -> None:
    view = view_after(STARTED, LOADING)
    status = only(view)
    view.on_event(TextDelta("| a | b |\n|---|---|\n"), 1.0)
    assert only(view, 1.0) == status
    view.on_event(TextDelta("| 1 | 2 |\n" * 3), 2.0)
    block = "```\na │ b\n──┼──\n" + "1 │ 2\n" * 3 + "```"
    assert only(view, 2.0).content == block
    view.on_event(TextDelta("\nSo \\(x^2\\)."), 3.0)
    assert only(view, 3.0).content == f"{block}\n\nSo x²."
    (message,) = restored(stored_turn("| a |\n|---|\n| 1 |\n\nSo \\(x^2\\)."), has_footer=False)
    assert message.content == "```\na\n─\n1\n```\n\nSo x²."
