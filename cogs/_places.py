"""From Discord's objects to Lantern's plain values: who speaks, where, and with what rights."""

from dataclasses import dataclass

import discord

from bot.domain.chat import Place
from bot.domain.ids import PlaceId, UserId


def user_id(user: discord.abc.Snowflake) -> UserId:
    """A person as Lantern knows them."""
    return UserId(f"discord:{user.id}")


def place_id(snowflake: int) -> PlaceId:
    """A channel, thread or server as Lantern knows it."""
    return PlaceId(f"discord:{snowflake}")


def message_place(message: discord.Message) -> Place:
    """Where a message was written."""
    server = message.guild.id if message.guild is not None else None
    return _place(message.channel, message.channel.id, server)


def interaction_place(interaction: discord.Interaction) -> Place:
    """Where a command was given or a button pressed."""
    return _place(interaction.channel, interaction.channel_id or 0, interaction.guild_id)


def _place(channel: object, channel_id: int, server: int | None) -> Place:
    is_thread = isinstance(channel, discord.Thread)
    return Place(
        channel=place_id(channel.parent_id if is_thread else channel_id),
        thread=place_id(channel_id) if is_thread else None,
        server=place_id(server) if server is not None else None,
        is_private=server is None,
        # A thread that Discord has not told of yet looks like any channel: its parent is unknown.
        is_certain=server is None or not isinstance(channel, discord.PartialMessageable | None),
    )


@dataclass(frozen=True, slots=True)
class Admins:
    """Who may load, unload and choose for everybody.

    The bot's owner may everywhere, in private messages too. In a server so may its managers and
    the holders of a configured role. Discord's own command permissions are only a default that
    can be overridden, so this is checked again in code at every act.
    """

    owners: frozenset[int]
    roles: frozenset[str]
    """Ids or names."""

    def includes(self, interaction: discord.Interaction) -> bool:
        """May the person behind this interaction act as an admin here?"""
        if interaction.user.id in self.owners:
            return True
        if interaction.guild_id is None:
            return False
        if interaction.permissions.manage_guild:
            return True
        if not isinstance(interaction.user, discord.Member):
            return False
        names = {name for role in interaction.user.roles for name in (str(role.id), role.name)}
        return not names.isdisjoint(self.roles)


def owners_of(application: discord.AppInfo | None) -> frozenset[int]:
    """The people the bot belongs to: its owner, or its whole team."""
    if application is None:
        return frozenset()
    if application.team is not None:
        return frozenset(member.id for member in application.team.members)
    return frozenset({application.owner.id})
