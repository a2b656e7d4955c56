"""Is a message meant for the bot, and what does it say? Pure but for the message it looks at."""

import re
from collections.abc import Mapping

import discord

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
    """The words without the bot's mention, other people by name.

    A mention under one's own earlier message quotes it. Other people's words are never taken
    along: whether those may leave the LAN is theirs to say, and a turn knows its asker alone.
    """
    names = {user.id: user.display_name for user in message.mentions if user.id != me}
    text = without_mentions(message.content, {me, *_own_roles(message, me)}, names)
    quoted = message.reference.resolved if message.reference is not None else None
    if not isinstance(quoted, discord.Message) or quoted.author.id != message.author.id:
        return text
    quote = quoted.content[:_QUOTE_CHARS].replace("\n", "\n> ")
    return f"> {quote}\n\n{text}" if quote else text


def without_mentions(text: str, own: set[int], names: Mapping[int, str]) -> str:
    """Takes the bot's own mentions out and puts names in place of other people's."""

    def name(found: re.Match[str]) -> str:
        who = int(found[1])
        return "" if who in own else f"@{names[who]}" if who in names else found[0]

    return re.sub(r"<@[!&]?(\d+)>", name, text).strip()


def _own_roles(message: discord.Message, me: int) -> set[int]:
    return {
        role.id
        for role in message.role_mentions
        if role.tags is not None and role.tags.bot_id == me
    }
