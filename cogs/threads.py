"""``/thread``: a thread whose every message is a turn, named by the first words said in it."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.lantern import Lantern
from bot.domain.chat import Asker, Place, TurnRequest
from bot.domain.errors import BotError, RequestRefused
from bot.domain.ids import PlaceId
from bot.policy.access import check_may_switch, check_text
from bot.policy.conversation import awaits_name, thread_title, unnamed_title
from bot.policy.markup import harmless
from bot.policy.names import shown_name
from bot.policy.pacing import Pacers
from bot.policy.splitting import LIMIT
from cogs._access import Access
from cogs._autocomplete import CHOICES, StringChoices, answering_choices
from cogs._faults import SENDING_ERRORS, say
from cogs._languages import public_locale
from cogs._mentions import is_prompt
from cogs._places import place_of, user_id
from cogs._reply import Replies
from cogs._transport import Transport
from cogs._webhooks import Webhooks

NO_THREADS = "Threads belong to text channels; here every message goes on from the last one."
NOT_ALLOWED = "I may open no thread here: the permission Create Public Threads is missing."
MUTE = "I may not write in threads here: the permission Send Messages in Threads is missing."


class Threads(commands.Cog):
    """Opens threads to talk in, and names them."""

    def __init__(
        self,
        client: discord.Client,
        lantern: Lantern,
        access: Access,
        replies: Replies,
        pacers: Pacers,
        webhooks: Webhooks,
    ) -> None:
        self._client = client
        self._webhooks = webhooks
        self._catalog = lantern.catalog
        self._switch = lantern.switch
        self._settings = lantern.place_settings
        self._access = access
        self._replies = replies
        self._pacers = pacers

    @app_commands.command(description="Open a thread in which I answer every message")
    @app_commands.describe(
        persona="Who answers in it",
        message="The first question; it gives the thread its name",
    )
    async def thread(
        self,
        interaction: discord.Interaction[Any],
        persona: str | None = None,
        message: app_commands.Range[str, 1, 1800] | None = None,
    ) -> None:
        """A public thread in this channel, with whoever asked for it in it."""
        channel, user = interaction.channel, user_id(interaction.user)
        parent = channel.parent if isinstance(channel, discord.Thread) else channel
        if not isinstance(parent, discord.TextChannel):
            raise RequestRefused(NO_THREADS)
        # One was opened, and promised to be answered in, in which nothing was ever said.
        if not parent.permissions_for(parent.guild.me).send_messages_in_threads:
            raise RequestRefused(MUTE)
        rules, place = self._access.rules, place_of(interaction)
        asker, rights = rules.asker(interaction.client, interaction), rules.rights(interaction)
        if message is not None:
            check_text(message)
            self._access.take(interaction.client, interaction)
            # A public thread was opened to say in it that nothing is answered.
            first = TurnRequest(user, interaction.user.display_name, place, message, asker=asker)
            await self._settings.admit(first, user)
        if persona is not None:
            check_may_switch("thread", rights)
            persona = self._catalog.persona(persona, user, place.server).name
        await interaction.response.defer(ephemeral=True, thinking=True)
        title = thread_title(message or "")
        if not title:
            who = persona
            # Whoever cannot be looked up now names no thread.
            with suppress(BotError):
                who = persona or (await self._switch.explain(place, user)).persona.name
            title = unnamed_title(shown_name(who or ""), interaction.user.display_name)
        try:
            thread = await parent.create_thread(name=title, type=discord.ChannelType.public_thread)
        except discord.Forbidden as error:
            raise RequestRefused(NOT_ALLOWED) from error
        here = PlaceId(f"discord:{thread.id}")
        inside = replace(place, channel=PlaceId(f"discord:{parent.id}"), thread=here)
        if persona is not None:
            await self._switch.set_persona(inside, user, "thread", persona, rights=rights)
        with suppress(*SENDING_ERRORS):
            await thread.add_user(interaction.user)
        await say(interaction, f"🧵 <#{thread.id}>: I answer every message there.")
        if message is not None:
            await self._ask(interaction, inside, thread, message, asker)

    @thread.autocomplete("persona")
    async def _personas(self, interaction: discord.Interaction[Any], typed: str) -> StringChoices:
        found = await self._switch.personas(
            place_of(interaction), user_id(interaction.user), typed, CHOICES
        )
        return answering_choices(found, interaction.locale)

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """The first words in a thread of ours name it."""
        thread, me = message.channel, self._client.user
        if not isinstance(thread, discord.Thread) or me is None or not awaits_name(thread.name):
            return
        if thread.owner_id != me.id or not is_prompt(message):
            return
        if title := thread_title(message.content):
            # Renaming is taken twice in ten minutes; the name it has does no harm.
            with suppress(*SENDING_ERRORS):
                await thread.edit(name=title)

    async def _ask(
        self,
        interaction: discord.Interaction[Any],
        place: Place,
        thread: discord.Thread,
        text: str,
        asker: Asker,
    ) -> None:
        channel = self._client.get_partial_messageable(thread.id, guild_id=interaction.guild_id)
        name = interaction.user.display_name
        # Nobody sees what was written beside a command: the answer would stand there alone.
        asked = "\n> ".join(harmless(text).splitlines())
        try:
            await channel.send(f"> {asked}\n— {harmless(name)}"[:LIMIT], suppress_embeds=True)
        except discord.Forbidden as error:
            raise RequestRefused(MUTE) from error
        request = TurnRequest(asker.user, name, place, text, asker=asker)
        hook = self._webhooks.at(self._client, thread)
        transport = Transport(channel, self._pacers, hook=hook)
        # Of a thread made a moment ago the library may not know the server yet.
        transport.locale = public_locale(interaction)
        await self._replies.play(request, transport)
