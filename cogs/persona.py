"""``/persona``: who answers here and why, or switch and load their model at once."""

from functools import partial
from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.loading import LoadSteps
from bot.domain.personas import Persona
from bot.policy.choice import Scope
from bot.policy.pacing import Pacers
from cogs._choices import StringChoices, persona_choices
from cogs._explained import for_whom
from cogs._loads import Loads
from cogs._places import Admins
from cogs._switching import Asked, Switching
from cogs.face import Face

ScopeOption = Literal["me", "channel", "server"]

_GREETING_CHARS = 1000


class PersonaCog(commands.Cog):
    """Chooses the persona of a place."""

    def __init__(self, face: Face, loads: Loads, pacers: Pacers, admins: Admins) -> None:
        self._face = face
        self._switching = Switching(face, loads, pacers, admins)

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
        if name is None:
            await self._switching.explain(interaction)
            return
        switch, catalog = self._face.switch, self._face.catalog

        async def choose(asked: Asked) -> tuple[str, LoadSteps]:
            persona = await switch.set_persona(
                asked.place, asked.user, asked.scope, name, is_admin=asked.is_admin
            )
            head = _introduced(persona, for_whom(asked.scope, asked.place))
            return head, switch.warm(asked.place, asked.user, persona=persona.name)

        check = partial(catalog.persona, name)
        await self._switching.play(interaction, Scope(scope), check, choose)

    @persona.autocomplete("name")
    async def _names(self, _: discord.Interaction[Any], typed: str) -> StringChoices:
        return persona_choices(self._face.catalog, typed)


def _introduced(persona: Persona, whom: str) -> str:
    head = f"🎭 **{persona.name}** is chosen {whom}."
    if not persona.greeting.strip():
        return head
    greeting = persona.greeting.strip()[:_GREETING_CHARS].replace("\n", "\n> ")
    return f"{head}\n> {greeting}"
