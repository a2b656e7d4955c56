"""``/settings``: what must stay on the LAN, for me, a channel or a server."""

from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.lantern import Lantern
from bot.domain.ids import PlaceId
from bot.policy.access import check_may_manage
from bot.policy.privacy import Sources
from cogs._faults import say
from cogs._places import DiscordRules, place_of, user_id

ScopeName = Literal["me", "channel", "server"]


class SettingsCog(commands.Cog):
    """Marks people and places whose words never leave the LAN."""

    def __init__(self, lantern: Lantern, rules: DiscordRules) -> None:
        self._privacy = lantern.privacy
        self._rules = rules

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
        place, user, privacy = place_of(interaction), user_id(interaction.user), self._privacy
        is_on = local_only == "on"
        if local_only is not None and scope == "me":
            await privacy.mark("user", user, local_only=is_on)
        elif local_only is not None:
            # A private conversation is its one person's own to mark.
            if not place.is_private:
                is_admin = self._rules.is_admin(interaction)
                check_may_manage(f"change privacy for a {scope}", is_admin=is_admin)
            where = place.server if scope == "server" else None
            await privacy.mark("place", where or place.conversation, local_only=is_on)
        here = [place.conversation, place.channel, *([place.server] if place.server else [])]
        asked = Sources(frozenset[PlaceId](here), frozenset({user}), frozenset())
        marks = await privacy.look_up(asked)
        lines = [
            _line("Your words", user in marks.people),
            _line("This channel", bool({place.conversation, place.channel} & marks.places)),
        ]
        if place.server is not None:
            lines.append(_line("This server", place.server in marks.places))
        await say(interaction, "\n".join(lines))


def _line(what: str, is_private: bool) -> str:
    if is_private:
        return f"🔒 {what}: local only, never sent to a cloud provider."
    return f"🌐 {what}: may go to a cloud provider when no host can answer."
