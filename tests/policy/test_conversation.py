"""What a message goes on from: its conversation while that lasts, what its thread is about, or
nothing."""

from dataclasses import replace
from functools import reduce

import pytest

from bot.domain.chat import (
    Candidate,
    Place,
    Receipt,
    Seam,
    Timing,
    Told,
    Turn,
    TurnRequest,
    TurnStatus,
    Usage,
)
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.policy.conversation import (
    STOPPED,
    ConversationMode,
    added,
    adds_to_own,
    awaits_name,
    continued,
    fresh_after_s,
    goes_on,
    gone_on,
    is_meant,
    is_trim_news,
    thread_title,
    unnamed_title,
)

HALL = Place(PlaceId("hall"), server=PlaceId("house"))
THREAD = replace(HALL, thread=PlaceId("thread"))
PRIVATE = Place(PlaceId("dm"), is_private=True)
ADA = UserId("ada")


@pytest.mark.parametrize(
    ("mode", "place", "is_pinged", "after_s"),
    [
        ("channel", HALL, True, 3600.0),
        ("channel", PRIVATE, True, 3600.0),
        ("reply_chain", HALL, True, 0.0),
        ("reply_chain", HALL, False, 0.0),
        ("reply_chain", THREAD, True, 3600.0),
        ("reply_chain", PRIVATE, False, 3600.0),
        ("reply_chain", PRIVATE, True, 0.0),
    ],
)
def test_a_plain_message_goes_on_by_mode_and_place(
    mode: ConversationMode, place: Place, is_pinged: bool, after_s: float
) -> None:
    assert fresh_after_s(mode, place, is_pinged=is_pinged, rest_s=3600.0) == after_s


def newest(
    place: Place = HALL, status: TurnStatus = "done", answering_s: float | None = None
) -> Turn:
    receipt = None
    if answering_s is not None:
        receipt = Receipt(PersonaName("sage"), timing=Timing(total_s=answering_s))
    return Turn(
        id=TurnId("t"),
        parent=None,
        user=ADA,
        user_name="Ada",
        place=place,
        persona=PersonaName("sage"),
        user_text="hello",
        reply_text="",
        reasoning_text="",
        status=status,
        created_at_ms=1_000_000,
        receipt=receipt,
    )


def asked(place: Place = HALL, after_s: float | None = 60.0) -> TurnRequest:
    return TurnRequest(ADA, "Ada", place, "and?", fresh_after_s=after_s)


@pytest.mark.parametrize(
    ("turn", "after_s", "rested_ms", "does"),
    [
        (newest(), 60.0, 59_999, True),
        (newest(), 60.0, 60_000, False),
        # The answer took ten of those seconds.
        (newest(answering_s=10.0), 60.0, 69_999, True),
        (newest(answering_s=10.0), 60.0, 70_000, False),
        (newest(status="running"), 60.0, 10**9, True),
        (newest(), None, 10**12, True),
        # A clock that was set back is no rest.
        (newest(), 60.0, -(10**9), True),
    ],
)
def test_a_conversation_rests_after_its_time(
    turn: Turn, after_s: float | None, rested_ms: int, does: bool
) -> None:
    assert goes_on(turn, asked(after_s=after_s), turn.created_at_ms + rested_ms) is does


def test_what_a_thread_was_opened_on_does_not_rest_and_comes_from_its_own_channel_alone() -> None:
    long_after = 10**12
    assert goes_on(newest(HALL), asked(THREAD), long_after)
    assert not goes_on(newest(PRIVATE), asked(THREAD), long_after)
    assert not goes_on(newest(THREAD), asked(HALL), 1_000_000)
    other = replace(THREAD, thread=PlaceId("another"))
    assert not goes_on(newest(other), asked(THREAD), 1_000_000)


def under_way(name: str, user: UserId = ADA, status: TurnStatus = "running") -> Turn:
    return replace(newest(status=status), id=TurnId(name), user=user)


@pytest.mark.parametrize(
    ("since", "adds"),
    [
        ((), False),
        ((under_way("a"),), True),
        ((under_way("a"), under_way("b")), True),
        # One of them has its answer: whoever replies to an older one means that one.
        ((under_way("a", status="done"), under_way("b")), False),
        ((under_way("a", UserId("bob")),), False),
        ((under_way("a"), under_way("b", UserId("bob"))), False),
    ],
)
def test_a_second_reply_in_one_moment_adds_to_the_first(
    since: tuple[Turn, ...], adds: bool
) -> None:
    branch = (under_way("root", status="done"), newest(), *since)
    assert adds_to_own(branch, TurnId("t"), ADA) is adds
    assert not adds_to_own(since, TurnId("t"), ADA)


@pytest.mark.parametrize(
    ("told", "kept", "is_news"),
    [
        (None, 30, True),
        (30, 30, False),
        (30, 21, False),
        (30, 20, True),
        (30, 40, False),
        (3, 2, True),
    ],
)
def test_how_many_were_kept_is_news_once_and_when_it_is_notably_less(
    told: int | None, kept: int, is_news: bool
) -> None:
    assert is_trim_news(Told(told), kept) is is_news


@pytest.mark.parametrize(
    ("before", "more", "whole"),
    [
        ("", "Hello", "Hello"),
        ("Half", "an answer", "Half an answer"),
        ("Half", " an answer", "Half an answer"),
        ("Half,", "an answer", "Half, an answer"),
        ("Half.", "An answer", "Half. An answer"),
        ("Half", ", an answer", "Half, an answer"),
        ("(half", ")", "(half)"),
        ("f(", "x)", "f(x)"),
        ("line\n", "line", "line\nline"),
        ("Half", "", "Half"),
    ],
)
def test_words_that_go_on_with_others_get_the_space_their_model_left_out(
    before: str, more: str, whole: str
) -> None:
    assert gone_on(before, more) == whole


SAGE = PersonaName("sage")
HOME = Receipt(SAGE, ModelKey("qwen"), HostName("studio"), usage=Usage(10, 20), notices=("a",))
AWAY = Receipt(
    SAGE, ModelKey("glm"), provider=ProviderName("zai"), usage=Usage(5, 7), cost_micro_usd=30
)


def test_a_receipt_of_two_parts_sums_them_and_names_who_gave_the_first() -> None:
    timed = replace(HOME, timing=Timing(generation_s=2.0, total_s=9.0), notices=("a", "b"))
    whole = continued(replace(AWAY, timing=Timing(generation_s=1.0), notices=("b", "c")), timed)
    assert (whole.host, whole.provider) == (HostName("studio"), None)
    assert whole.before == (Candidate(ModelKey("glm"), None, ProviderName("zai")),)
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (15, 27)
    assert (whole.timing.generation_s, whole.timing.total_s) == (3.0, 9.0)
    assert whole.cost_micro_usd == 30
    lost = tuple(replace(r, seams=(Seam(HostName(h)),)) for r, h in ((HOME, "a"), (AWAY, "b")))
    assert [seam.host for seam in continued(*lost).seams] == ["a", "b"]
    # It is finished now, whatever once cut it off.
    assert continued(replace(AWAY, notices=(STOPPED, "b")), HOME).notices == ("b", "a")
    assert whole.notices == ("b", "c", "a")
    # A third part keeps both; the same one again is named once.
    assert continued(whole, AWAY).before == (Candidate(ModelKey("qwen"), HostName("studio")),)
    assert continued(HOME, HOME).before == ()
    assert continued(Receipt(SAGE), HOME).before == ()
    # Another model on the same host is somebody else; so is each host that was lost.
    other = replace(HOME, model=ModelKey("gemma"))
    assert continued(other, HOME).before == (Candidate(ModelKey("gemma"), HostName("studio")),)
    seams = Seam(HostName("a"), pause_s=1.0), Seam(HostName("b"))
    assert [by.host for by in continued(replace(HOME, seams=seams), AWAY).before] == ["a", "studio"]
    guessed = replace(HOME, usage=Usage(1, 2, estimated=True))
    assert continued(guessed, HOME).usage.estimated
    assert continued(HOME, guessed).usage.estimated
    assert not continued(HOME, HOME).usage.estimated


QUICK = replace(HOME, usage=Usage(10, 100), timing=Timing(generation_s=2.0))
PAID = replace(AWAY, usage=Usage(5, 60), timing=Timing(generation_s=1.0))
ROUNDED_UP = replace(PAID, usage=Usage(5, 400, estimated=True))
GIVEN_AGAIN = replace(QUICK, timing=Timing(), from_cache=True)


@pytest.mark.parametrize(
    ("parts", "tokens", "per_s"),
    [
        ([QUICK, QUICK], 200, 50.0),
        ([PAID, QUICK], 160, 160 / 3),
        ([ROUNDED_UP, QUICK], 500, 50.0),
        ([QUICK, ROUNDED_UP], 500, 50.0),
        ([ROUNDED_UP, QUICK, QUICK], 600, 50.0),
        ([ROUNDED_UP, ROUNDED_UP], 800, None),
        ([GIVEN_AGAIN, QUICK], 200, 50.0),
        # Whoever counted nothing was counted here, one by one.
        ([replace(QUICK, usage=Usage(10, 100, estimated=True)), QUICK], 200, 50.0),
    ],
)
def test_the_speed_of_an_answer_in_parts_is_that_of_what_was_counted_in_time(
    parts: list[Receipt], tokens: int, per_s: float | None
) -> None:
    whole = reduce(continued, parts)
    assert (whole.usage.completion_tokens, whole.tokens_per_s) == (tokens, per_s)


@pytest.mark.parametrize(
    ("ended", "words", "stands"),
    [("done", "and more", "done"), ("partial", "and", "partial"), ("failed", "and", "partial")],
)
def test_an_answer_that_was_gone_on_with_has_all_its_words(
    ended: TurnStatus, words: str, stands: TurnStatus
) -> None:
    before = replace(newest(), status="partial", reply_text="Half", reasoning_text="hm")
    before = replace(before, receipt=HOME)
    more = replace(before, status=ended, reply_text=words, reasoning_text="so", receipt=AWAY)
    whole = added(before, more)
    assert (whole.status, whole.reply_text) == (stands, f"Half {words}")
    assert whole.reasoning_text == "hm\n\nso"
    assert whole.receipt == continued(HOME, AWAY)
    assert added(replace(before, receipt=None), more).receipt == AWAY


def test_an_answer_that_got_no_further_stands_as_it_stood_but_for_its_cost() -> None:
    before = replace(newest(), status="partial", reply_text="Half", receipt=HOME)
    more = replace(before, status="failed", reply_text="", reasoning_text="", receipt=AWAY)
    assert added(before, more) == replace(before, receipt=replace(HOME, cost_micro_usd=30))


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("", ""),
        ("<@42> https://x.example/y", ""),
        ("Why is the sky blue?", "Why is the sky blue?"),
        ("**Why** `is`\n# the <@!42> sky?", "Why is the sky?"),
        ("Why\u202eis\u200b the sky\u2066blue\x07?", "Why is the sky blue ?"),
        ("word " * 12 + "end", "word " * 11 + "word …"),
        ("x" * 61, "x" * 60 + " …"),
        ("x" * 60, "x" * 60),
    ],
)
def test_a_thread_is_named_by_its_first_words(text: str, title: str) -> None:
    assert thread_title(text) == title
    assert not awaits_name(title)


@pytest.mark.parametrize(
    ("who", "title"),
    [
        (("sage", "Ada"), "🧵 sage · Ada …"),
        (("", "*Ada* <@5>"), "🧵 Ada …"),
        (("s" * 64, "a" * 32), "🧵 " + "s" * 60 + " … …"),
    ],
)
def test_a_thread_without_a_word_is_named_by_who_talk_there(
    who: tuple[str, str], title: str
) -> None:
    assert unnamed_title(*who) == title
    assert awaits_name(title)
    assert len(title) <= 100


@pytest.mark.parametrize("title", ["A new talk", "A new talks", "🧵 knitting", "sage · Ada …", ""])
def test_a_thread_that_somebody_named_keeps_its_name(title: str) -> None:
    assert awaits_name(title) is (title == "A new talk")


@pytest.mark.parametrize("is_our_thread", [False, True])
@pytest.mark.parametrize("names_others", [False, True])
def test_a_message_is_ours_by_place_by_ping_by_reply_or_by_its_thread(
    is_our_thread: bool, names_others: bool
) -> None:
    def meant(**more: bool) -> bool:
        facts = {"is_private": False, "is_reply": False, "is_pinged": False} | more
        return is_meant(**facts, is_our_thread=is_our_thread, names_others=names_others)

    assert all(meant(**{fact: True}) for fact in ("is_private", "is_reply", "is_pinged"))
    assert meant() is (is_our_thread and not names_others)
