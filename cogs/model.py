"""``/model``: what answers here and why, or switch and load at once."""

from contextlib import suppress
from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.domain.errors import NoCandidates
from bot.policy.access import check_may_switch
from bot.policy.choice import Scope
from cogs._choices import StringChoices, model_choices
from cogs._explained import explained, for_whom
from cogs._lanes import Lanes
from cogs._loads import Loads
from cogs._places import Admins, interaction_place, user_id
from cogs._response import InteractionTransport
from cogs._say import say
from cogs.face import Face

ScopeOption = Literal["me", "channel", "server"]


class ModelCog(commands.Cog):
    """Chooses the model of a place."""

    def __init__(self, face: Face, loads: Loads, lanes: Lanes, admins: Admins) -> None:
        self._face = face
        self._loads = loads
        self._lanes = lanes
        self._admins = admins

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
        place, user = interaction_place(interaction), user_id(interaction.user)
        switch = self._face.switch
        if name is None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            await say(interaction, explained(await switch.explain(place, user)))
            return
        is_admin = self._admins.includes(interaction)
        # Checked before anything public is shown; the switch checks again as it acts.
        check_may_switch(Scope(scope), is_admin=is_admin, is_private=place.is_private)
        # Right after the start nothing is known yet; setting it waits for the hosts.
        with suppress(NoCandidates):
            self._face.board.model(name)
        transport = InteractionTransport(interaction, self._lanes)
        await transport.begin()
        model = await switch.set_model(place, user, Scope(scope), name, is_admin=is_admin)
        head = f"🔀 `{model}` now answers {for_whom(Scope(scope), place)}."
        steps = switch.warm(place, user, model=model)
        await self._loads.show(interaction, transport, head, steps, switch.cancel_warm)

    @model.autocomplete("name")
    async def _names(self, _: discord.Interaction[Any], typed: str) -> StringChoices:
        return model_choices(self._face.board, typed)
