"""``/usage``: tokens, speed, cost and what is left of the budget."""

from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat import words
from cogs._places import interaction_place, user_id
from cogs._say import say
from cogs.face import Face


class UsageCog(commands.Cog):
    """Reads the ledger."""

    def __init__(self, face: Face) -> None:
        self._face = face

    @app_commands.command(
        description="Tokens, speed, cost and budget left: yours and this server's"
    )
    @app_commands.describe(period="Which days; last month is the summary of a whole month")
    async def usage(
        self,
        interaction: discord.Interaction[Any],
        period: Literal["today", "week", "month", "last month"] = "today",
    ) -> None:
        """For the asker, and for the server it is asked in."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        place, user = interaction_place(interaction), user_id(interaction.user)
        mine = await self._face.tally.report(period, "me", user, place.server)
        parts = ["**You**", words.usage_text(mine)]
        if place.server is not None:
            ours = await self._face.tally.report(period, "server", user, place.server)
            parts += ["", "**This server**", words.usage_text(ours)]
        await say(interaction, "\n".join(parts))
