"""``/settings``: what must stay on the LAN, for me, a channel or a server."""

from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.domain.chat import Place
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import check_may_manage
from bot.policy.privacy import Sources
from cogs._places import Admins, interaction_place, user_id
from cogs._say import say
from cogs.face import Face

ScopeName = Literal["me", "channel", "server"]


class SettingsCog(commands.Cog):
    """Marks people and places whose words never leave the LAN."""

    def __init__(self, face: Face, admins: Admins) -> None:
        self._face = face
        self._admins = admins

    @app_commands.command(description="See or set what never leaves the LAN")
    @app_commands.describe(
        local_only="on: these words never go to a cloud provider, whatever fails",
        scope="Whose words; a channel or server is for admins to set",
    )
    async def settings(
        self,
        interaction: discord.Interaction[Any],
        local_only: Literal["on", "off"] | None = None,
        scope: ScopeName = "me",
    ) -> None:
        """Without ``local_only`` it shows how things stand."""
        place, user = interaction_place(interaction), user_id(interaction.user)
        if local_only is not None:
            if scope != "me" and not place.is_private:
                is_admin = self._admins.includes(interaction)
                check_may_manage(f"change privacy for a {scope}", is_admin=is_admin)
            await self._set(place, user, scope, is_on=local_only == "on")
        await say(interaction, await self._shown(place, user))

    async def _set(self, place: Place, user: UserId, scope: ScopeName, *, is_on: bool) -> None:
        privacy = self._face.privacy
        if scope == "me":
            await privacy.set_user(user, local_only=is_on)
        elif scope == "server" and place.server is not None:
            await privacy.set_place(place.server, local_only=is_on)
        else:
            await privacy.set_place(place.conversation, local_only=is_on)

    async def _shown(self, place: Place, user: UserId) -> str:
        here = [place.conversation, place.channel, *([place.server] if place.server else [])]
        asked = Sources(frozenset[PlaceId](here), frozenset({user}), frozenset())
        marks = await self._face.privacy.look_up(asked)
        lines = [
            _line("Your words", user in marks.people),
            _line("This channel", bool({place.conversation, place.channel} & marks.places)),
        ]
        if place.server is not None:
            lines.append(_line("This server", place.server in marks.places))
        return "\n".join(lines)


def _line(what: str, is_private: bool) -> str:
    if is_private:
        return f"🔒 {what}: local only, never sent to a cloud provider."
    return f"🌐 {what}: may go to a cloud provider when no host can answer."
