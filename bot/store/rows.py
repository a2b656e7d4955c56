"""A turn and its attachments as table rows and back."""

import sqlite3

from bot.domain.chat import Attachment, Place, Turn, TurnStatus
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId
from bot.store.fields import storable
from bot.store.receipts import decode_receipt, encode_receipt

IMAGE_BYTES = 4 * 1024 * 1024
"""A larger image is not kept; its name is."""


def turn_values(turn: Turn, changed_at_ms: int) -> dict[str, str | int | None]:
    """The columns of a turn by name."""
    return {
        "id": turn.id,
        "parent": turn.parent,
        "user": turn.user,
        "user_name": storable(turn.user_name),
        "channel": turn.place.channel,
        "thread": turn.place.thread,
        "server": turn.place.server,
        "is_private": turn.place.is_private,
        "conversation": turn.place.conversation,
        "persona": turn.persona,
        "user_text": storable(turn.user_text),
        "reply_text": storable(turn.reply_text),
        "reasoning_text": storable(turn.reasoning_text),
        "status": turn.status,
        "created_at_ms": turn.created_at_ms,
        "changed_at_ms": changed_at_ms,
        "receipt": None if turn.receipt is None else encode_receipt(turn.receipt),
    }


def turn_of(row: sqlite3.Row, attachments: tuple[Attachment, ...]) -> Turn:
    """The turn of a row with all columns."""
    return Turn(
        id=TurnId(row["id"]),
        parent=row["parent"],
        user=UserId(row["user"]),
        user_name=row["user_name"],
        place=Place(
            channel=PlaceId(row["channel"]),
            thread=row["thread"],
            server=row["server"],
            is_private=bool(row["is_private"]),
        ),
        persona=PersonaName(row["persona"]),
        user_text=row["user_text"],
        reply_text=row["reply_text"],
        reasoning_text=row["reasoning_text"],
        status=TurnStatus(row["status"]),
        created_at_ms=row["created_at_ms"],
        receipt=None if row["receipt"] is None else decode_receipt(row["receipt"]),
        attachments=attachments,
    )


AttachmentValues = tuple[TurnId, int, str, str, str | None, bytes | None]


def attachment_values(turn: Turn) -> list[AttachmentValues]:
    """The columns of a turn's attachments in the table's order."""
    return [
        (
            turn.id,
            position,
            storable(attachment.name),
            attachment.media_type,
            None if attachment.text is None else storable(attachment.text),
            _kept(attachment.image),
        )
        for position, attachment in enumerate(turn.attachments)
    ]


def attachment_of(row: sqlite3.Row) -> Attachment:
    """The attachment of a row."""
    return Attachment(row["name"], row["media_type"], row["text"], row["image"])


def _kept(image: bytes | None) -> bytes | None:
    return image if image is not None and len(image) <= IMAGE_BYTES else None
