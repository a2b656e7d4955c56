"""What a message goes on from: its conversation while that lasts, what its thread is about, or
nothing."""

from dataclasses import replace

import pytest

from bot.domain.chat import Place, Receipt, Timing, Told, Turn, TurnRequest, TurnStatus
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId
from bot.policy.conversation import (
    ConversationMode,
    adds_to_own,
    fresh_after_s,
    goes_on,
    is_trim_news,
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
