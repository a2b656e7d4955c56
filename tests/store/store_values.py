"""Turns and clocks the store's tests are told in."""

from bot.domain.chat import Attachment, Place, Turn
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId

CHANNEL = PlaceId("discord:9")
SAGE = PersonaName("sage")


def new_turn(
    name: str,
    *,
    parent: str | None = None,
    place: Place | None = None,
    persona: str = SAGE,
    text: str = "Why is the sky blue?",
    attachments: tuple[Attachment, ...] = (),
) -> Turn:
    return Turn(
        id=TurnId(name),
        parent=None if parent is None else TurnId(parent),
        user=UserId("discord:1"),
        user_name="Ada",
        place=place or Place(CHANNEL),
        persona=PersonaName(persona),
        user_text=text,
        reply_text="",
        reasoning_text="",
        status="running",
        created_at_ms=1_700_000_000_000,
        attachments=attachments,
    )
