"""Short answers in words, whatever was answered before; never silence."""

from typing import Any

import discord
import structlog
from discord import app_commands

from bot.chat import words
from bot.domain.errors import BotError
from bot.policy.splitting import LIMIT, split_reply
from cogs._faults import SENDING_ERRORS

BROKEN = "❌ Something went wrong inside Lantern; it is logged. Nothing was changed."
OUTDATED = (
    "❌ This command comes from another version of Lantern. Reload Discord (Ctrl+R) and try again; "
    "the commands were announced anew when Lantern started."
)

_log = structlog.get_logger(__name__)

AnyInteraction = discord.Interaction[Any]


async def say(interaction: AnyInteraction, text: str, *, ephemeral: bool = True) -> None:
    """Answers an interaction, over several messages when the text is long."""
    for part in split_reply(text, LIMIT):
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
    if isinstance(error, SENDING_ERRORS) and not isinstance(error, RuntimeError):
        _log.warning("discord did not take an answer", error=str(error)[:300])
        return "❌ Discord did not take the answer; try again."
    _log.error("discord face broke", exc_info=error)
    return BROKEN
