"""The discord.py client: the least it needs to hear, and nothing it sends ever pings."""

import discord
import structlog
from discord import app_commands
from discord.ext import commands

from bot.policy.pacing import Pacers
from cogs._buttons import TurnButton
from cogs._faults import SENDING_ERRORS
from cogs._loads import Loads
from cogs._places import Admins, owners_of
from cogs._reply import Replies
from cogs._tree import LanternTree, sync_when_changed
from cogs.buttons import Buttons
from cogs.chat import Chat
from cogs.closing import Closing
from cogs.control import Control
from cogs.face import Face
from cogs.fleet import FleetCog
from cogs.model import ModelCog
from cogs.persona import PersonaCog
from cogs.settings import SettingsCog
from cogs.usage import UsageCog

# Voice is not used: the library's two warnings at every start would only worry people.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False

_log = structlog.get_logger(__name__)


class LanternBot(commands.Bot):
    """One connection to Discord; made anew when Discord wants other terms."""

    def __init__(
        self, face: Face, replies: Replies, loads: Loads, pacers: Pacers, *, reads_content: bool
    ) -> None:
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            tree_cls=LanternTree,
            intents=_intents(reads_content=reads_content),
            allowed_mentions=discord.AllowedMentions.none(),
            allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True),
            allowed_installs=app_commands.AppInstallationType(guild=True),
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            # Ready is said so long after the last server came; nothing here waits for them all.
            guild_ready_timeout=0.25,
        )
        self._face = face
        self._replies = replies
        self._loads = loads
        self._pacers = pacers
        self._closing = Closing(self, face, loads, pacers)
        self._was_ready = False

    async def setup_hook(self) -> None:
        """Runs once, logged in but not yet connected."""
        face, loads, pacers = self._face, self._loads, self._pacers
        await self._closing.collect()
        admins = Admins(owners_of(self.application), face.rules.admin_roles)
        for cog in (
            Chat(self, face, self._replies, pacers),
            ModelCog(face, loads, pacers, admins),
            PersonaCog(face, loads, pacers, admins),
            FleetCog(face, loads, pacers, admins),
            Control(face, admins),
            UsageCog(face),
            SettingsCog(face, admins),
            Buttons(face, self._replies, loads, pacers, admins),
        ):
            await self.add_cog(cog)
        self.add_dynamic_items(TurnButton)
        if isinstance(self.tree, LanternTree):
            self.tree.allowed_servers = face.rules.allowed_servers
        await sync_when_changed(self.tree, face.notes, self.application_id or 0)

    async def on_message(self, message: discord.Message, /) -> None:
        """There are no prefix commands; the chat cog listens by itself."""

    async def tell_owners(self, text: str) -> None:
        """Writes to the people the bot belongs to; one who takes no messages is left out."""
        for owner in owners_of(self.application):
            try:
                person = await self.fetch_user(owner)
                await person.send(text, suppress_embeds=True)
            except SENDING_ERRORS as error:
                _log.warning("owner not told", error=str(error)[:300])

    async def on_ready(self) -> None:
        """Comes again after every new session; the first time counts."""
        if self._was_ready:
            return
        self._was_ready = True
        _log.info("discord connected", user=str(self.user), servers=len(self.guilds))
        self._face.on_ready()
        await self._closing.run()


def _intents(*, reads_content: bool) -> discord.Intents:
    intents = discord.Intents.none()
    intents.guilds = intents.guild_messages = intents.dm_messages = True
    intents.message_content = reads_content
    return intents
