"""What a message goes on from: its conversation while that lasts, what its thread is about, or
nothing."""

from dataclasses import replace

import pytest

from bot.domain.chat import Place, Receipt, Timing, Turn, TurnRequest, TurnStatus
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId
from bot.policy.conversation import ConversationMode, fresh_after_s, goes_on

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
