"""Is a message meant for the bot, and what does it say, in words and in files?"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import discord

from bot.documents.pdf import pdf_text
from bot.domain.chat import Attachment, Quote
from bot.domain.errors import RequestRefused
from bot.policy.access import MAX_ATTACHMENTS, Upload, check_attachments, check_image, decode_text
from cogs._faults import SENDING_ERRORS
from cogs._places import place_of, user_id

_QUOTE_CHARS = 4000

_LATE = timedelta(seconds=5)
"""Discord delivers far sooner, but for what came while nobody heard."""


def is_prompt(message: discord.Message) -> bool:
    """A person's own words: no bot, no webhook, no pin or join notice."""
    return (
        not message.author.bot
        and message.webhook_id is None
        and message.type in (discord.MessageType.default, discord.MessageType.reply)
    )


def is_mentioned(message: discord.Message, me: int) -> bool:
    """Is the bot named, by its name or by the role Discord made for it?"""
    return any(user.id == me for user in message.mentions) or bool(_own_roles(message, me))


def said(message: discord.Message, me: int) -> str:
    """The words without the bot's mention, other people by name."""
    names = {user.id: user.display_name for user in message.mentions if user.id != me}
    return without_mentions(message.content, {me, *_own_roles(message, me)}, names)


def said_late_ms(message: discord.Message) -> int | None:
    """When a message was said that is only heard now, UTC milliseconds; None of one just said.

    Its channel may have been opened meanwhile, by somebody who did not mean these words.
    """
    said_at = message.created_at
    is_late = discord.utils.utcnow() - said_at > _LATE
    return int(said_at.timestamp() * 1000) if is_late else None


def is_by(message: discord.Message, me: int) -> bool:
    """Is it ours, be it by a persona's name and picture?"""
    return message.author.id == me or (
        message.webhook_id is not None and message.application_id == me
    )


def quote_of(earlier: discord.Message, me: int) -> Quote | None:
    """An earlier message that a question is about: one's own, or somebody else's; never ours.

    Apart from the words, with its origin: it may have been said where nothing leaves the LAN.
    """
    # A picture alone is somebody's as well, and where it was said counts.
    named = " ".join(f"[{file.filename}]" for file in earlier.attachments)
    text = said(earlier, me)[:_QUOTE_CHARS] or named
    if is_by(earlier, me) or not text:
        return None
    at_ms = int(earlier.created_at.timestamp() * 1000)
    author = earlier.author
    name, where = author.display_name, place_of(earlier)
    return Quote(text, user_id(author), name, where, at_ms, str(earlier.id))


def without_mentions(text: str, own: set[int], names: Mapping[int, str]) -> str:
    """Takes the bot's own mentions out and puts names in place of other people's."""

    def name(found: re.Match[str]) -> str:
        who = int(found[1])
        return "" if who in own else f"@{names[who]}" if who in names else found[0]

    return re.sub(r"<@[!&]?(\d+)>", name, text).strip()


def _own_roles(message: discord.Message, me: int) -> set[int]:
    # Discord makes a role of the bot's name on inviting it; people pick it from the list instead.
    return {
        role.id
        for role in message.role_mentions
        if role.tags is not None and role.tags.bot_id == me
    }


async def read_files(
    files: Sequence[discord.Attachment], quoted_in: Sequence[int] = ()
) -> tuple[tuple[Attachment, ...], tuple[str, ...]]:
    """The attached files as part of a turn, and why others among them are left out.

    Args:
        files: They.
        quoted_in: Of each, the message it hangs at; empty: they are the question's own.

    Raises:
        RequestRefused: none is left: too large, of a kind that is not read, broken, or gone.
    """
    read: list[Attachment] = []
    refused: list[RequestRefused] = []
    for number, file in enumerate(files, 1):
        try:
            if number > MAX_ATTACHMENTS:
                raise RequestRefused(f"`{file.filename}`, beyond the {MAX_ATTACHMENTS} taken.")
            message_id = str(quoted_in[number - 1]) if quoted_in else None
            read.append(replace(await _read(file), message_id=message_id))
        except RequestRefused as refusal:
            refused.append(refusal)
    # Without any of them the question is another than the one that was asked.
    if refused and not read:
        raise refused[0]
    return tuple(read), tuple(f"Left out: {refusal.user_message}" for refusal in refused)


async def _read(file: discord.Attachment) -> Attachment:
    """One attached file.

    Raises:
        RequestRefused: too large, of a kind that is not read, or gone.
    """
    # Judged by what Discord says of it, before a byte is fetched.
    (kind,) = check_attachments([Upload(file.filename, file.content_type or "", file.size)])
    try:
        content = await file.read()
    except SENDING_ERRORS as error:
        raise RequestRefused(
            f"`{file.filename}` could not be fetched from Discord; attach it again."
        ) from error
    media_type = (file.content_type or "").split(";", 1)[0]
    if kind == "image":
        check_image(file.filename, content)
        return Attachment(file.filename, media_type, image=content)
    if kind == "pdf":
        # Parsing takes seconds, and the loop writes everybody's answers.
        text = await asyncio.to_thread(pdf_text, file.filename, content)
    else:
        text = decode_text(file.filename, content)
    return Attachment(file.filename, media_type, text=text)
