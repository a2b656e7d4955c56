"""From Discord's objects to Lantern's plain values: who speaks, where, and with what rights."""

from collections.abc import Callable
from dataclasses import field
from typing import Any

import discord

from bot.domain.chat import Asker, Place
from bot.domain.ids import PlaceId, UserId
from bot.domain.values import value
from bot.policy.access import AccessRules, PlaceRules, Rights, rights_of
from bot.policy.conversation import ConversationMode
from bot.policy.ratelimit import RateRule


@value
class DiscordRules:
    """The settings of the Discord face, as plain values."""

    doors: AccessRules = field(default_factory=AccessRules)
    """Who is answered, and where."""
    rate: RateRule | None = None
    """How many questions of one person are taken; None: any number."""
    admin_roles: frozenset[str] = field(default_factory=frozenset[str])
    """Ids or names of roles whose members may do what server managers may."""
    conversation: ConversationMode = "channel"
    """What a message without an answer under it goes on from."""
    fresh_after_s: float | None = None
    """Idle seconds after which a conversation rests; None: never."""
    answer_missed_s: float | None = None
    """Questions sent while Lantern was away, and no older, are answered late; None: none are."""
    has_warm_up: bool = False
    """Load what will answer while somebody is still writing."""
    has_presence: bool = True
    """Show under the bot's name how the fleet stands."""
    owner_channel: int | None = None
    """Where the owners are told things; None: in private."""
    on_ready: Callable[[], None] = lambda: None
    """Called once, when Discord has taken us in for the first time."""
    here: Callable[[Place], PlaceRules] = lambda _: PlaceRules()
    """What admins have set for a place, as of now."""

    def asker(
        self, client: discord.Client, said: discord.Message | discord.Interaction[Any]
    ) -> Asker:
        """Whoever wrote, gave a command or pressed, as far as the event tells."""
        manages, is_home = False, True
        if isinstance(said, discord.Interaction):
            person, is_home = said.user, is_at_home(said)
            # In private Discord gives everybody every permission.
            manages = said.guild_id is not None and said.permissions.manage_guild
        else:
            person = said.author
            if isinstance(person, discord.Member):
                manages = person.guild_permissions.manage_guild
        # Whoever installed the bot for themselves manages some server of their own, and may give
        # themselves a role of any name there.
        roles, manages = (roles_of(person), manages) if is_home else (frozenset[str](), False)
        is_owner = person.id in owners_of(client.application)
        is_admin = is_owner or manages or not roles.isdisjoint(self.admin_roles)
        return Asker(user_id(person), is_owner, roles, is_admin=is_admin)

    def rights(self, interaction: discord.Interaction[Any]) -> Rights:
        """What the person behind this interaction may do here besides asking, as of now."""
        asker = self.asker(interaction.client, interaction)
        return rights_of(asker, self.here(place_of(interaction)))

    def is_admin(self, interaction: discord.Interaction[Any]) -> bool:
        """May the person behind this interaction load, unload and choose for everybody here?

        The bot's owner may everywhere, in private messages too; in a server so may its managers
        and the holders of a configured role.
        """
        # Asked at every act: Discord's own command permissions are a default others can override.
        return self.asker(interaction.client, interaction).is_admin


def roles_of(person: discord.abc.User) -> frozenset[str]:
    """Ids and names of somebody's roles; none of somebody who is not met in a server."""
    roles = person.roles if isinstance(person, discord.Member) else ()
    return frozenset(name for role in roles for name in (str(role.id), role.name))


def owners_of(application: discord.AppInfo | None) -> frozenset[int]:
    """The people the bot belongs to: its owner, or its whole team."""
    if application is None:
        return frozenset()
    # Discord gives a team's application an owner as well: a stand-in without a person.
    if application.team is not None:
        return frozenset(member.id for member in application.team.members)
    return frozenset({application.owner.id})


def user_id(user: discord.abc.Snowflake) -> UserId:
    """A person as Lantern knows them."""
    return UserId(f"discord:{user.id}")


def is_at_home(interaction: discord.Interaction[Any]) -> bool:
    """Is the bot itself where this was pressed or said, so that it may edit messages there?

    Where only a person installed it, all it may touch is what their interaction made.
    """
    is_dm = interaction.guild_id is None and interaction.context.private_channel is not True
    return is_dm or interaction.is_guild_integration()


def place_of(said: discord.Message | discord.Interaction[Any]) -> Place:
    """Where a message was written, a command given or a button pressed."""
    channel = said.channel
    match said:
        case discord.Message():
            channel_id, guild_id = said.channel.id, said.guild.id if said.guild else None
        case discord.Interaction():
            channel_id, guild_id = said.channel_id or 0, said.guild_id
    here = PlaceId(f"discord:{channel_id}")
    # In a group's direct message everybody there reads along.
    is_group = isinstance(said, discord.Interaction) and said.context.private_channel is True
    is_thread = isinstance(channel, discord.Thread)
    return Place(
        channel=PlaceId(f"discord:{channel.parent_id}") if is_thread else here,
        thread=here if is_thread else None,
        server=PlaceId(f"discord:{guild_id}") if guild_id is not None else None,
        is_private=guild_id is None and not is_group,
        # A thread that Discord has not told of yet looks like any channel: its parent is unknown.
        is_certain=guild_id is None or not isinstance(channel, discord.PartialMessageable | None),
    )


def reads_history(channel: discord.abc.GuildChannel | discord.Thread, me: discord.Member) -> bool:
    """May the bot read what was said there before?

    Asked all the same, each refusal counts towards the limit that bans an address.
    """
    home = channel.parent if isinstance(channel, discord.Thread) else channel
    return home is not None and home.permissions_for(me).read_message_history


def may_write(channel: object, me: discord.Member | None) -> bool:
    """May the bot say anything there, as far as is known?

    Asked for an answer all the same, a host wrote one that nobody could be shown.
    """
    is_thread = isinstance(channel, discord.Thread)
    home = channel.parent if is_thread else channel
    if me is None or not isinstance(home, discord.abc.GuildChannel):
        return True
    may = home.permissions_for(me)
    may_send = may.send_messages_in_threads if is_thread else may.send_messages
    # A persona speaks by a webhook, which needs no other permission.
    return may_send or may.manage_webhooks
