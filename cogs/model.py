"""``/model``: what answers here and why, or switch and load at once."""

from functools import partial
from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.loading import LoadSteps
from bot.policy.choice import Scope
from bot.policy.pacing import Pacers
from cogs._choices import StringChoices, model_choices
from cogs._explained import for_whom
from cogs._loads import Loads
from cogs._places import Admins
from cogs._switching import Asked, Switching
from cogs.face import Face

ScopeOption = Literal["me", "channel", "server"]


class ModelCog(commands.Cog):
    """Chooses the model of a place."""

    def __init__(self, face: Face, loads: Loads, pacers: Pacers, admins: Admins) -> None:
        self._face = face
        self._switching = Switching(face, loads, pacers, admins)

    @app_commands.command(description="See or choose the model that answers here")
    @app_commands.describe(
        name="The model; auto takes the persona's own. Leave out to see what answers and why",
        scope="For whom; channels and servers are for admins to choose",
    )
    async def model(
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
            model = await switch.set_model(
                asked.place, asked.user, asked.scope, name, is_admin=asked.is_admin
            )
            head = f"🔀 `{model}` is chosen {for_whom(asked.scope, asked.place)}."
            return head, switch.warm(asked.place, asked.user, model=model)

        check = partial(catalog.model, name)
        await self._switching.play(interaction, Scope(scope), check, choose)

    @model.autocomplete("name")
    async def _names(self, _: discord.Interaction[Any], typed: str) -> StringChoices:
        return model_choices(self._face.catalog, typed)
