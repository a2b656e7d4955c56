"""Is a message meant for the bot, and what does it say, in words and in files?"""

import asyncio
import re
from collections.abc import Mapping, Sequence

import discord

from bot.documents.pdf import pdf_text
from bot.domain.chat import Attachment, Quote
from bot.domain.errors import RequestRefused
from bot.policy.access import Upload, check_attachments, decode_text
from cogs._faults import SENDING_ERRORS
from cogs._places import place_of, user_id

_QUOTE_CHARS = 4000


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


def quoted(message: discord.Message, me: int) -> tuple[Quote, ...]:
    """The earlier message of one's own that a mention under it is about.

    Apart from the words, with its origin: it may have been said where nothing leaves the LAN.
    """
    earlier = message.reference.resolved if message.reference is not None else None
    if not isinstance(earlier, discord.Message) or earlier.author.id != message.author.id:
        return ()
    text = said(earlier, me)[:_QUOTE_CHARS]
    if not text:
        return ()
    at_ms = int(earlier.created_at.timestamp() * 1000)
    author = earlier.author
    return (Quote(text, user_id(author), author.display_name, place_of(earlier), at_ms),)


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


async def read_files(files: Sequence[discord.Attachment]) -> tuple[Attachment, ...]:
    """The attached files as part of a turn: all of them or none.

    Raises:
        RequestRefused: too many, too large, of a kind that is not read, or gone.
    """
    # Judged by what Discord says of them, before a byte is fetched.
    kinds = check_attachments([Upload(f.filename, f.content_type or "", f.size) for f in files])
    read: list[Attachment] = []
    for file, kind in zip(files, kinds, strict=True):
        try:
            content = await file.read()
        except SENDING_ERRORS as error:
            raise RequestRefused(
                f"`{file.filename}` could not be fetched from Discord; attach it again."
            ) from error
        media_type = (file.content_type or "").split(";", 1)[0]
        if kind == "image":
            read.append(Attachment(file.filename, media_type, image=content))
        elif kind == "pdf":
            # Parsing takes seconds, and the loop writes everybody's answers.
            text = await asyncio.to_thread(pdf_text, file.filename, content)
            read.append(Attachment(file.filename, media_type, text=text))
        else:
            text = decode_text(file.filename, content)
            read.append(Attachment(file.filename, media_type, text=text))
    return tuple(read)
