"""Reads what people attach: bounded, and all of it or nothing."""

import asyncio
from collections.abc import Sequence

import discord

from bot.documents.pdf import pdf_text
from bot.domain.chat import Attachment
from bot.domain.errors import RequestRefused
from bot.policy.access import AttachmentKind, Upload, check_attachments, decode_text
from cogs._faults import SENDING_ERRORS


async def read_files(files: Sequence[discord.Attachment]) -> tuple[Attachment, ...]:
    """The attached files as part of a turn.

    Raises:
        RequestRefused: too many, too large, of a kind that is not read, or gone.
    """
    kinds = check_attachments([Upload(f.filename, f.content_type or "", f.size) for f in files])
    return tuple([await _read(file, kind) for file, kind in zip(files, kinds, strict=True)])


async def _read(file: discord.Attachment, kind: AttachmentKind) -> Attachment:
    try:
        content = await file.read()
    except SENDING_ERRORS as error:
        raise RequestRefused(
            f"`{file.filename}` could not be fetched from Discord; attach it again."
        ) from error
    media_type = (file.content_type or "").split(";", 1)[0]
    if kind == "image":
        return Attachment(file.filename, media_type, image=content)
    if kind == "pdf":
        text = await asyncio.to_thread(pdf_text, file.filename, content)
        return Attachment(file.filename, media_type, text=text)
    return Attachment(file.filename, media_type, text=decode_text(file.filename, content))
