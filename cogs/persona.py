"""``/persona``: who answers here and why, or switch and load their model at once."""

from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.domain.personas import Persona
from bot.policy.access import check_may_switch
from bot.policy.choice import Scope
from cogs._choices import StringChoices, persona_choices
from cogs._explained import explained, for_whom
from cogs._lanes import Lanes
from cogs._loads import Loads
from cogs._places import Admins, interaction_place, user_id
from cogs._response import InteractionTransport
from cogs._say import say
from cogs.face import Face

ScopeOption = Literal["me", "channel", "server"]

_GREETING_CHARS = 1000


class PersonaCog(commands.Cog):
    """Chooses the persona of a place."""

    def __init__(self, face: Face, loads: Loads, lanes: Lanes, admins: Admins) -> None:
        self._face = face
        self._loads = loads
        self._lanes = lanes
        self._admins = admins

    @app_commands.command(description="See or choose the persona that answers here")
    @app_commands.describe(
        name="The persona. Leave out to see who answers and why",
        scope="For whom; channels and servers are for admins to choose",
    )
    async def persona(
        self,
        interaction: discord.Interaction[Any],
        name: str | None = None,
        scope: ScopeOption = "me",
    ) -> None:
        """Explains, or switches and warms."""
        place, user = interaction_place(interaction), user_id(interaction.user)
        switch = self._face.switch
        if name is None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            await say(interaction, explained(await switch.explain(place, user)))
            return
        is_admin = self._admins.includes(interaction)
        # Checked before anything public is shown; the switch checks again as it acts.
        check_may_switch(Scope(scope), is_admin=is_admin, is_private=place.is_private)
        self._face.board.persona(name)
        transport = InteractionTransport(interaction, self._lanes)
        await transport.begin()
        persona = await switch.set_persona(place, user, Scope(scope), name, is_admin=is_admin)
        head = _introduced(persona, for_whom(Scope(scope), place))
        steps = switch.warm(place, user, persona=persona.name)
        await self._loads.show(interaction, transport, head, steps, switch.cancel_warm)

    @persona.autocomplete("name")
    async def _names(self, _: discord.Interaction[Any], typed: str) -> StringChoices:
        return persona_choices(self._face.board, typed)


def _introduced(persona: Persona, whom: str) -> str:
    head = f"🎭 **{persona.name}** now answers {whom}."
    if not persona.greeting.strip():
        return head
    greeting = persona.greeting.strip()[:_GREETING_CHARS].replace("\n", "\n> ")
    return f"{head}\n> {greeting}"
