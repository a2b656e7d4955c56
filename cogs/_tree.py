"""The command tree: where commands live, who may give them, what an error reads like."""

import hashlib
import json
from typing import Any

import discord
import structlog
from discord import app_commands

from bot.domain.errors import BotError
from bot.policy.access import aim_of
from bot.store.notes import NoteStore
from cogs._access import Access
from cogs._faults import SENDING_ERRORS, say_error
from cogs._languages import CommandNames
from cogs._questions import Questions

_log = structlog.get_logger(__name__)


class LanternTree(app_commands.CommandTree[Any]):
    """Commands for servers and direct messages; never in servers the owner did not allow."""

    access: Access | None = None
    questions: Questions | None = None
    """Where commands are noted; they are heard once."""

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """May commands be given here? False, without a word, for one delivered before."""
        is_command = interaction.type is discord.InteractionType.application_command
        if is_command and self.questions is not None:
            channel, token = interaction.channel_id or 0, interaction.token
            if not await self.questions.hear(interaction.id, channel, token):
                return False
        try:
            if self.access is not None:
                command = interaction.command
                aim = aim_of("" if command is None else command.qualified_name)
                await self.access.check(interaction.client, interaction, aim=aim)
        except BotError as error:
            # An option field shows choices alone; without any it reads "Loading options failed".
            if interaction.type is discord.InteractionType.autocomplete:
                await interaction.response.autocomplete([])
            await self.on_error(interaction, error)
            return False
        return True

    async def on_error(self, interaction: discord.Interaction[Any], error: Exception, /) -> None:
        """Every failure of a command is a visible message."""
        await say_error(interaction, error)
        if self.questions is not None:
            await self.questions.close(interaction.id)


async def command_hash(tree: app_commands.CommandTree[Any]) -> str:
    """Changes exactly when the commands as Discord knows them would, in any language."""
    names, commands = CommandNames(), tree.get_commands()
    known = [await command.get_translated_payload(tree, names) for command in commands]
    payload = sorted(json.dumps(command, sort_keys=True) for command in known)
    return hashlib.sha256("\n".join(payload).encode()).hexdigest()


async def sync_when_changed(
    tree: app_commands.CommandTree[Any], notes: NoteStore, application_id: int
) -> bool:
    """Announces the commands when they differ from those announced last; says whether it did."""
    # Not at each start: one request replaces all commands, and a created one counts towards
    # the 200 that Discord allows a day.
    note, now = f"discord.commands.{application_id}", await command_hash(tree)
    try:
        if await notes.get(note) == now:
            return False
        announced = await tree.sync()
        await notes.put(note, now)
    except (*SENDING_ERRORS, BotError) as error:
        # The old commands still work; the next start tries again.
        _log.warning("commands not announced", error=str(error)[:300])
        return False
    _log.info("commands announced", count=len(announced))
    return True
