"""``/greet``: a persona's greeting, any of them by its number."""

from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.lantern import Lantern
from bot.domain.chat import TurnRequest
from bot.domain.errors import RequestRefused
from bot.policy.context import GREET_TEXT
from bot.policy.names import matching, shown_name
from bot.policy.pacing import Pacers
from bot.policy.prompt import greetings
from cogs._access import Access
from cogs._places import place_of, user_id
from cogs._reply import Replies
from cogs._transport import InteractionTransport


class Greeting(commands.Cog):
    """Begins a conversation with words of the persona that answers here."""

    def __init__(self, lantern: Lantern, access: Access, replies: Replies, pacers: Pacers) -> None:
        self._switch = lantern.switch
        self._access = access
        self._replies = replies
        self._pacers = pacers

    @app_commands.command(
        description="Begin afresh with a greeting of the persona that answers here"
    )
    @app_commands.describe(number="Which of its greetings; without it one is drawn")
    async def greet(self, interaction: discord.Interaction[Any], number: int | None = None) -> None:
        """A turn without a question; what is said next goes on from it."""
        known = await self._greetings(interaction)
        if number is not None and not 1 <= number <= len(known):
            raise RequestRefused(f"There is no greeting {number} here; it has {len(known)}.")
        asker = self._access.take(interaction.client, interaction)
        request = TurnRequest(
            user=asker.user,
            user_name=interaction.user.display_name,
            place=place_of(interaction),
            text=GREET_TEXT,
            fresh_after_s=0,
            greeting=number,
            asker=asker,
        )
        await self._replies.play(request, InteractionTransport(interaction, self._pacers))

    @greet.autocomplete("number")
    async def _numbers(
        self, interaction: discord.Interaction[Any], typed: str
    ) -> list[app_commands.Choice[int]]:
        known = await self._greetings(interaction)
        texts = {nth: (str(nth), " ".join(text.split())) for nth, text in enumerate(known, 1)}
        found = matching(typed, texts)[:25]
        return [
            app_commands.Choice(name=f"{nth} · {texts[nth][1]}"[:100], value=nth) for nth in found
        ]

    async def _greetings(self, interaction: discord.Interaction[Any]) -> tuple[str, ...]:
        """Those of whoever answers here, as they are written.

        Raises:
            RequestRefused: there are none.
        """
        place, user = place_of(interaction), user_id(interaction.user)
        persona = (await self._switch.explain(place, user)).persona
        if not (known := greetings(persona)):
            raise RequestRefused(f"{shown_name(persona.name)} has no greeting; write something.")
        return known
