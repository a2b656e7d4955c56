"""What ``/model`` and ``/persona`` share: explain, or check, choose and warm with a bar."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import discord

from bot.chat.loading import LoadSteps
from bot.domain.chat import Place
from bot.domain.errors import NoCandidates
from bot.domain.ids import UserId
from bot.policy.access import check_may_switch
from bot.policy.choice import Scope
from bot.policy.pacing import Pacers
from cogs._explained import explained
from cogs._loads import Loads
from cogs._places import Admins, interaction_place, user_id
from cogs._response import InteractionTransport
from cogs._say import say
from cogs.face import Face


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for a switch, where, for whom."""

    place: Place
    user: UserId
    scope: Scope
    is_admin: bool


class Switching:
    """Plays one switch in the reply of its command."""

    def __init__(self, face: Face, loads: Loads, pacers: Pacers, admins: Admins) -> None:
        self._face = face
        self._loads = loads
        self._pacers = pacers
        self._admins = admins

    async def explain(self, interaction: discord.Interaction[Any]) -> None:
        """What answers here and why, for the asker alone."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        place, user = interaction_place(interaction), user_id(interaction.user)
        await say(interaction, explained(await self._face.switch.explain(place, user)))

    async def play(
        self,
        interaction: discord.Interaction[Any],
        scope: Scope,
        check: Callable[[], object],
        choose: Callable[[Asked], Awaitable[tuple[str, LoadSteps]]],
    ) -> None:
        """Switches in public, with the load as a bar.

        Args:
            interaction: The command.
            scope: For whom.
            check: Raises where nothing of that name is known; its error stays with the asker.
            choose: Keeps the choice; gives the headline and the load, which tells its own end.
        """
        place, user = interaction_place(interaction), user_id(interaction.user)
        is_admin = self._admins.includes(interaction)
        # Checked before anything public is shown; the switch checks again as it acts.
        check_may_switch(scope, is_admin=is_admin, is_private=place.is_private)
        # Right after the start nothing is known yet; choosing waits for the hosts.
        with suppress(NoCandidates):
            check()
        transport = InteractionTransport(interaction, self._pacers)
        await transport.begin()
        head, steps = await choose(Asked(place, user, scope, is_admin))
        await self._loads.show(interaction, transport, head, steps, self._face.acts.cancel_load)
