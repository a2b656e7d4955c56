"""Lantern in Discord, from logging in to the last edit; the one door the root uses."""

import asyncio
from contextlib import suppress
from typing import Any, Literal

import aiohttp
import discord
import structlog
from discord import app_commands, http
from discord.backoff import ExponentialBackoff
from discord.ext import commands
from discord.webhook.async_ import AsyncWebhookAdapter, async_context

from bot.chat.lantern import Lantern
from bot.domain.errors import BotError, ConfigError
from bot.policy.pacing import CREATION, Pacers
from cogs._access import Access
from cogs._again import Again
from cogs._ban import Ban
from cogs._boards import Boards
from cogs._faults import SENDING_ERRORS
from cogs._forgotten import ForgottenAnswers
from cogs._forms import FormButton
from cogs._languages import CommandNames
from cogs._loads import Loads
from cogs._missed import MOST_ASKED
from cogs._owners import tell_owners
from cogs._places import DiscordRules
from cogs._presence import PresenceLine
from cogs._readers import Readers
from cogs._reply import Replies
from cogs._tree import LanternTree, sync_when_changed
from cogs._view import TurnButton
from cogs._webhooks import Webhooks
from cogs.buttons import Buttons
from cogs.chat import Chat
from cogs.closing import Closing
from cogs.edits import Edits
from cogs.fleet import FleetCog
from cogs.general import General
from cogs.greeting import Greeting
from cogs.identity import NO_CONTENT, REFUSED_LOGIN, invite_link
from cogs.memory import Memory
from cogs.personas import PersonasCog
from cogs.settings import SettingsCog
from cogs.switching import Choosing
from cogs.talking import Talking
from cogs.threads import Threads
from cogs.warming import Warming

__all__ = ["DiscordFace", "DiscordRules", "LanternBot"]

_REFUSED_TOKEN = 4004
_TOO_MANY_SERVERS = 4011
_MAX_PAUSE_S = 60.0

# Voice is not used: the library's two warnings at every start would only worry people.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False

_MAX_RECONNECT_S = 30.0

_RECONNECTED_S = 120
"""So long after a try a next one follows a line that stood: a try lasts a minute at most."""


class Backoff(ExponentialBackoff[Literal[False]]):
    """The library's pauses between tries to connect again, but for their length."""

    def __init__(self, base: int = 1, *, integral: Literal[False] = False) -> None:
        super().__init__(base, integral=integral)
        # It remembers tries for 34 minutes, and never that one succeeded: after one long cut each
        # short one left the bot deaf for half a minute.
        self._reset_time = _RECONNECTED_S

    def delay(self) -> float:
        """Seconds until the next try."""
        # A gateway that was away for 20 s left the bot deaf for 94 more: pauses grew to 17 minutes.
        # Only new sessions count towards Discord's 1,000 a day, and a cut one is resumed.
        return min(_MAX_RECONNECT_S, super().delay())


# Neither module takes another in any way of its own.
discord.client.ExponentialBackoff = Backoff  # pyright: ignore[reportPrivateImportUsage]  # no door
discord.shard.ExponentialBackoff = Backoff  # pyright: ignore[reportPrivateImportUsage]  # no door


class Window(http.Ratelimit):
    """The library's record of one of Discord's limits, but for how long it waits for a new one."""

    async def _refresh(self) -> None:
        # A call that fails tells nothing of its window, and the library slept again for what the
        # newest answer had said was left: two failed edits let an answer stand for five seconds.
        if self.expires is not None:
            left_s = self.expires - asyncio.get_running_loop().time()
            self.reset_after = max(CREATION.margin_s, left_s)
        await super()._refresh()


http.Ratelimit = Window

_RESPONSE_TRIES = 3
_ALREADY_ANSWERED = 40060


class FirstResponses(AsyncWebhookAdapter):
    """The library's calls by tokens, but for a first response whose line is cut: it gave none."""

    async def request(self, route: http.Route, session: aiohttp.ClientSession, **told: Any) -> Any:
        """Makes a call; a first response again where nobody knows whether it was taken."""
        if not route.path.endswith("/callback"):
            return await super().request(route, session, **told)
        for left in reversed(range(_RESPONSE_TRIES)):
            is_first = left == _RESPONSE_TRIES - 1
            try:
                return await super().request(route, session, **told)
            except discord.HTTPException as error:
                if is_first or error.code != _ALREADY_ANSWERED:
                    raise
                # It was taken and the answer lost: "thinking" stood there, and the turn was ended.
                break
            except (aiohttp.ClientError, OSError):
                # Closed by ourselves as we leave, it takes no other call.
                if not left or session.closed:
                    raise
        return {"interaction": {"id": str(route.webhook_id), "type": 2}}


_log = structlog.get_logger(__name__)


class WantsShards(Exception):
    """Discord advises more than one connection."""


class DiscordFace:
    """Keeps a connection to Discord, and what outlives one: replies, loads, pacing."""

    def __init__(self, lantern: Lantern, rules: DiscordRules) -> None:
        self.lantern = lantern
        self.rules = rules
        self.replies = Replies(lantern)
        self.loads = Loads(lantern)
        self.access = Access(rules)
        self.pacers = Pacers()
        self.webhooks = Webhooks()
        self.readers = Readers(lantern.notes)
        self.again = Again(lantern, self.access, self.replies, self.pacers, self.webhooks)
        self.ban = Ban()
        self.forgotten = ForgottenAnswers(self.pacers, self.webhooks, self.readers)
        self.presence = PresenceLine(lantern.catalog)
        self.boards = Boards(lantern, self.pacers, self.readers, rules.owner_channel)
        self._bot: LanternBot | None = None
        self._is_closing = asyncio.Event()

    async def serve(self, token: str) -> None:
        """Stays connected until closed; an unreachable Discord is tried again for ever.

        Raises:
            ConfigError: Discord refuses the token.
        """
        async_context.set(FirstResponses())
        reads_content, kind, pause_s = True, LanternBot, 1.0
        while not self._is_closing.is_set():
            self._bot = kind(self, reads_content=reads_content)
            try:
                async with self._bot:
                    await self._bot.start(token)
            except WantsShards:
                kind = ShardedBot
                continue
            except discord.PrivilegedIntentsRequired:
                _log.warning("message content not granted", how_to=NO_CONTENT)
                # Discord closes such a session for good (4014). Mentions, private messages and
                # commands need no such permission, so it goes on with those.
                reads_content = False
                continue
            # Not tried again: refused logins count towards the limit that bans a whole address.
            except discord.LoginFailure as error:
                raise ConfigError([REFUSED_LOGIN]) from error
            except (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError) as error:
                if isinstance(error, discord.ConnectionClosed) and error.code == _REFUSED_TOKEN:
                    raise ConfigError([REFUSED_LOGIN]) from error
                if isinstance(error, discord.ConnectionClosed) and error.code == _TOO_MANY_SERVERS:
                    # In over 2,500 servers one is too few, whatever was advised.
                    kind = ShardedBot
                    continue
                if not self._is_closing.is_set():
                    _log.warning("discord unreachable", error=str(error)[:300], again_in_s=pause_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._is_closing.wait()
            pause_s = min(_MAX_PAUSE_S, pause_s * 2)

    async def tell_owners(self, text: str) -> bool:
        """Writes to the people the bot belongs to; False when none of them could be told."""
        if self._bot is None or not self._bot.is_ready():
            return False
        return await tell_owners(self._bot, text, self.rules.owner_channel, self.readers)

    async def keep_shown(self) -> None:
        """Keeps what stands beside the answers true, for as long as Lantern runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.boards.keep(lambda: self._bot))
            group.create_task(self.forgotten.keep(lambda: self._bot))
            group.create_task(self.loads.keep())
            if self.rules.has_presence:
                group.create_task(self.presence.keep())

    async def close(self, limit_s: float) -> None:
        """Lets replies and loads show their end within ``limit_s``, then disconnects."""
        # At once: a slow reply must not use up the time of a load's last words.
        async with asyncio.TaskGroup() as group:
            group.create_task(self.replies.settled(limit_s))
            group.create_task(self.loads.leave(limit_s))
        self._is_closing.set()
        if self._bot is not None:
            await self._bot.close()


class LanternBot(commands.Bot):
    """One connection to Discord; made anew when Discord wants other terms.

    It hears the least it needs, and nothing it sends ever pings.
    """

    def __init__(self, face: DiscordFace, *, reads_content: bool) -> None:
        intents = discord.Intents.none()
        intents.guilds = intents.guild_messages = intents.dm_messages = True
        intents.message_content = reads_content
        # Every keystroke of every channel: heard only where something is done with it.
        intents.typing = face.rules.has_warm_up
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            tree_cls=LanternTree,
            intents=intents,
            http_trace=face.ban.trace(),
            allowed_mentions=discord.AllowedMentions.none(),
            # Group chats and other servers by whoever installed it for themselves; who that may be
            # is judged by the rules for direct messages.
            allowed_contexts=app_commands.AppCommandContext(
                guild=True, dm_channel=True, private_channel=True
            ),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
            # Nobody reads the caches: replies are found in the store, names come with each event.
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            # Ready is said so long after the last server came; nothing here waits for them all.
            guild_ready_timeout=0.25,
        )
        self._face = face
        self._closing = Closing(
            self,
            face.lantern,
            face.loads,
            face.pacers,
            face.webhooks,
            face.readers,
            answer_missed_s=face.rules.answer_missed_s,
        )
        self._was_ready = False

    async def setup_hook(self) -> None:
        """Runs once, logged in but not yet connected."""
        if not isinstance(self, ShardedBot):
            # Advised long before one is refused; first, since the rest of this is done once.
            with suppress(*SENDING_ERRORS):
                shards, *_ = await self.http.get_bot_gateway()
                if shards > 1:
                    raise WantsShards
        face, lantern, rules = self._face, self._face.lantern, self._face.rules
        # Before the first new turn, whose messages are open too and are not left over.
        await self._closing.collect()
        await face.replies.pings.read()
        await face.boards.read()
        await face.readers.read()
        talking = Talking(lantern, face.access, face.replies, face.again, face.pacers)
        for cog in (
            Chat(
                self,
                lantern,
                face.access,
                face.replies,
                face.pacers,
                face.webhooks,
                face.readers,
            ),
            Choosing(lantern, rules, face.loads, face.pacers),
            FleetCog(lantern, rules, face.loads, face.pacers, face.boards),
            General(lantern, rules),
            Greeting(lantern, face.access, face.replies, face.pacers),
            SettingsCog(lantern, face.access),
            PersonasCog(lantern, face.access, face.replies.questions),
            Warming(self, lantern, rules),
            Buttons(lantern, face.access, face.replies, face.loads, face.again),
            talking,
            Memory(lantern, face.replies, face.forgotten),
            Edits(self, lantern, face.replies, face.pacers, face.webhooks, face.readers),
            Threads(self, lantern, face.access, face.replies, face.pacers, face.webhooks),
        ):
            await self.add_cog(cog)
        for menu in talking.menus:
            self.tree.add_command(menu)
        self.add_dynamic_items(TurnButton, FormButton)
        if isinstance(self.tree, LanternTree):
            self.tree.access = face.access
            self.tree.questions = face.replies.questions
        await self.tree.set_translator(CommandNames())
        await sync_when_changed(self.tree, lantern.notes, self.application_id or 0)

    async def on_message(self, message: discord.Message, /) -> None:
        """There are no prefix commands; the chat cog listens by itself."""

    async def on_app_command_completion(
        self, interaction: discord.Interaction[Any], _: object, /
    ) -> None:
        """A command was answered; one that failed is closed by its tree."""
        await self._face.replies.questions.close(interaction.id)

    async def on_interaction(self, interaction: discord.Interaction[Any], /) -> None:
        """Whoever presses or commands in private tells how they read there."""
        await self._face.readers.hear(interaction)

    async def on_resumed(self) -> None:
        """The same session goes on; what was sent into the cut line is lost."""
        self._face.presence.renew(self)

    async def on_ready(self) -> None:
        """Comes again after every new session; the first time counts."""
        self._face.presence.renew(self)
        missed, store = self._face.again.missed, self._face.lantern.turns.store
        missed.begin_session()
        if not self._was_ready:
            self._was_ready = True
            servers, shards = len(self.guilds), self.shard_count or 1
            _log.info("discord connected", user=str(self.user), servers=servers, shards=shards)
            if not servers and self.application_id is not None:
                # Everything looked well, and nobody anywhere could write to it.
                _log.warning("in no server", to_add_it=invite_link(self.application_id))
            self._face.rules.on_ready()
            await self._closing.run()
        # Every new session: what Discord delivered into a line that was cut is not sent again.
        await self._closing.hear_missed()
        # After who waits was told: what was taken back may wait, and is looked for when it is used.
        with suppress(BotError):
            await missed.tell(self, await store.newest_asked(MOST_ASKED))


class ShardedBot(LanternBot, commands.AutoShardedBot):
    """The same over as many connections as Discord wants; it is ready when all of them are."""
