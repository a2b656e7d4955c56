"""What Discord refuses, told apart by what the writer does next; and what a person reads of it."""

from enum import Enum
from typing import Any

import aiohttp
import discord
import structlog
from discord import app_commands

from bot.chat import words
from bot.domain.errors import BotError
from bot.policy.markup import harmless
from bot.policy.splitting import LIMIT, split_reply
from cogs._languages import public_locale, told

SENDING_ERRORS = (
    discord.DiscordException,
    aiohttp.ClientError,  # a cut line is one of these, not an HTTPException
    OSError,
    TimeoutError,
    RuntimeError,  # aiohttp's word for a session that was closed: we are leaving
)
"""Everything a call to Discord may raise."""

_GONE = frozenset({
    10003,  # unknown channel
    10004,  # unknown guild
    10062,  # unknown interaction: not answered within 3 s
    40060,  # interaction already answered: another process has this token
    50007,  # direct messages closed
    50278,  # no server in common any more
})  # fmt: skip
_UNKNOWN_MESSAGE = 10008
_EXPIRED = frozenset({10015, 50027})  # unknown webhook, invalid webhook token
_ARCHIVED = 50083
_LOCKED = 160005

BROKEN = "❌ Something went wrong inside Lantern; it is logged. Nothing was changed."
OUTDATED = (
    "❌ This command comes from another version of Lantern. Reload Discord (Ctrl+R) and try again; "
    "the commands were announced anew when Lantern started."
)

_log = structlog.get_logger(__name__)

AnyInteraction = discord.Interaction[Any]


class DiscordFault(Enum):
    """Why a message was not taken."""

    GONE = "gone"
    """There is no place to show it any more: stop the work."""
    LOST = "lost"
    """Somebody deleted that one message."""
    DENIED = "denied"
    """We may not do that here; a permission taken in the middle may come back."""
    EXPIRED = "expired"
    """The interaction's fifteen minutes are over: go on by plain message edits."""
    ARCHIVED = "archived"
    """The thread was archived: its messages cannot be edited, a new one opens it again."""
    LOCKED = "locked"
    """A moderator closed the thread: nothing may be written there until it is opened again."""
    REFUSED = "refused"
    """Discord will never take this very content."""
    LEAVING = "leaving"
    """We have disconnected: the next start closes what is open."""
    PASSING = "passing"
    """Try again in a moment."""


def fault_of(error: BaseException) -> DiscordFault:
    """The kind of trouble an error of ``SENDING_ERRORS`` stands for."""
    if isinstance(error, RuntimeError):
        return DiscordFault.LEAVING
    if not isinstance(error, discord.HTTPException):
        return DiscordFault.PASSING
    if error.code == _ARCHIVED:
        return DiscordFault.ARCHIVED
    if error.code == _LOCKED:
        return DiscordFault.LOCKED
    # An interaction's ended token comes as a bare HTTPException with 401, never as NotFound.
    if error.code in _EXPIRED or error.status == 401:
        return DiscordFault.EXPIRED
    if error.code == _UNKNOWN_MESSAGE:
        return DiscordFault.LOST
    if error.code in _GONE or error.status == 404:
        return DiscordFault.GONE
    if error.status == 403:
        return DiscordFault.DENIED
    # A 429 that reaches us is Cloudflare's, or the library has waited five times in vain.
    if error.status >= 500 or error.status == 429:
        return DiscordFault.PASSING
    return DiscordFault.REFUSED


async def say(
    interaction: AnyInteraction, text: str, *, ephemeral: bool = True, is_ours: bool = True
) -> None:
    """Answers an interaction in words, whatever was answered before; long ones over several.

    Ours are said in the language of whoever asked, or of the place where everybody reads them.
    """
    locale = interaction.locale if ephemeral else public_locale(interaction)
    # Names, descriptions, thoughts and what hosts say of their errors are other people's words.
    text = harmless(told(text, locale) if is_ours else text)
    for part in split_reply(text, LIMIT):
        # A second first response is refused (40060): what follows it is another route.
        if interaction.response.is_done():
            await interaction.followup.send(part, ephemeral=ephemeral, suppress_embeds=True)
        else:
            await interaction.response.send_message(part, ephemeral=ephemeral, suppress_embeds=True)


async def say_error(interaction: AnyInteraction, error: BaseException) -> None:
    """Tells the person what went wrong; what was not meant to happen is logged."""
    if interaction.type is discord.InteractionType.autocomplete:
        return  # an autocomplete can show choices alone
    try:
        await say(interaction, error_words(error))
    except SENDING_ERRORS as unsaid:
        _log.warning("error could not be shown", error=str(unsaid)[:300], shown=str(error)[:300])


def error_words(error: BaseException) -> str:
    """What a person reads of an error; logs it when it was not raised on purpose."""
    if isinstance(error, app_commands.CommandInvokeError):
        return error_words(error.original)
    if isinstance(error, BotError):
        return words.error_text(error)
    if isinstance(error, app_commands.CommandNotFound | app_commands.CommandSignatureMismatch):
        return OUTDATED
    if isinstance(error, app_commands.TransformerError | app_commands.CheckFailure):
        return f"❌ {error}"
    # Outside a call to Discord a RuntimeError is a bug of ours, to be logged whole.
    if isinstance(error, SENDING_ERRORS) and not isinstance(error, RuntimeError):
        _log.warning("discord did not take an answer", error=str(error)[:300])
        return "❌ Discord did not take the answer; try again."
    _log.error("discord face broke", exc_info=error)
    return BROKEN
