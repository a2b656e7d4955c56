"""Talking: mentions, replies, direct messages and ``/chat`` become turns."""

from contextlib import suppress
from typing import Any

import discord
import structlog
from discord import app_commands
from discord.ext import commands

from bot.chat.lantern import Lantern
from bot.domain.chat import Place, TurnRequest
from bot.domain.errors import BotError, RequestRefused, TokensSpent
from bot.domain.events import Failed
from bot.domain.ids import ModelKey, PersonaName, TurnId, UserId
from bot.domain.personas import Priority
from bot.policy.access import check_may_manage, check_may_switch, check_text
from bot.policy.context import GREET_TEXT
from bot.policy.conversation import fresh_after_s, is_meant
from bot.policy.markup import harmless
from bot.policy.names import shown_name
from bot.policy.pacing import Pacers
from bot.policy.prompt import greetings
from bot.policy.splitting import LIMIT
from cogs._access import Access
from cogs._autocomplete import (
    CHOICES,
    StringChoices,
    answering_choices,
    model_choices,
    type_choices,
)
from cogs._chains import Chains, files_of
from cogs._faults import SENDING_ERRORS, error_words
from cogs._languages import told
from cogs._mentions import is_mentioned, is_prompt, read_files, said, said_late_ms
from cogs._places import may_write, place_of, user_id
from cogs._readers import Readers
from cogs._reply import Replies
from cogs._transport import InteractionTransport, Transport
from cogs._view import MessageView, View
from cogs._webhooks import Webhooks
from cogs._writer import Writer

UNREADABLE = "🙈 I can't read that unless you ping me."
HIDDEN = "🙈 I can't read the message this is about: Discord shows me only those that ping me."
MISSED = "⚠ I was away when you asked this. Please ask again."
HELD = "⏳"
"""Set under what is not answered, since its asker is to wait and was told so."""
MUTE = "🔇"
"""Set under what is not answered, since nothing may be sent there."""
HOW_TO_ASK = "Write something with my name, or attach a file."

_log = structlog.get_logger(__name__)


class Chat(commands.Cog):
    """Reads what people say, opens a turn, lets the reply be played."""

    def __init__(
        self,
        client: discord.Client,
        lantern: Lantern,
        access: Access,
        replies: Replies,
        pacers: Pacers,
        webhooks: Webhooks,
        readers: Readers,
    ) -> None:
        self._readers = readers
        self._client = client
        self._webhooks = webhooks
        self._catalog = lantern.catalog
        self._chains = Chains(client, lantern, access.rules.conversation)
        self._switch = lantern.switch
        self._settings = lantern.place_settings
        self._access = access
        self._replies = replies
        self._pacers = pacers
        self._signed = set[int]()
        """Channels where a sign is being set: one at a time, whoever writes how fast."""

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Answers messages meant for the bot."""
        await self._hear(message, is_missed=False)

    @commands.Cog.listener()
    async def on_missed_message(self, message: discord.Message) -> None:
        """Tells who wrote to the bot while it was away."""
        await self._hear(message, is_missed=True)

    @commands.Cog.listener()
    async def on_thread_create(self, thread: discord.Thread) -> None:
        """Takes note of one opened on an answer or a question, which may be deleted before words.

        So it is talked in without a mention all the same.
        """
        try:
            if (me := self._client.user) is not None:
                await self._chains.is_ours(thread, me.id)
        except BotError as error:
            _log.warning("thread not noted", error=error.user_message)

    async def _hear(self, message: discord.Message, *, is_missed: bool) -> None:
        me = self._client.user
        if me is None or not is_prompt(message):
            return
        # By its id: a thread that was made a moment ago is not in the library's cache yet.
        channel = self._client.get_partial_messageable(
            message.channel.id, guild_id=message.guild.id if message.guild else None
        )
        hook = self._webhooks.at(self._client, message.channel)
        transport = Transport(channel, self._pacers, question=message.id, hook=hook)
        server = message.guild
        private = self._readers.locale_at(self._client, channel.id)
        transport.locale = private if server is None else server.preferred_locale
        questions = self._replies.questions
        try:
            parent = await self._chains.replied_to(message)
            is_ours = is_meant(
                is_private=message.guild is None,
                is_reply=parent is not None,
                is_pinged=is_mentioned(message, me.id),
                is_our_thread=await self._chains.is_ours(message.channel, me.id),
                names_others=bool(message.mentions) or message.reference is not None,
            )
            is_open = not is_ours and await self._is_open(message)
            if (is_ours or is_open) and await questions.hear(message.id, channel.id):
                server_me = None if server is None else server.me
                if not may_write(message.channel, server_me):
                    transport.is_mute = True
                elif is_missed:
                    await self._access.check(self._client, message)
                    await self._say(transport, MISSED)
                else:
                    await self._answer(message, me.id, parent, transport, is_open=is_open)
                await questions.close(message.id)
        except Exception as error:
            await self._say(transport, error_words(error))
            await questions.close(message.id)
        if transport.is_mute:
            await self._sign(message, MUTE)

    async def _say(self, transport: Transport, words: str) -> None:
        """Says something that is no answer; what Discord never took is left to the next start."""
        # Sent without a writer, fourteen at once made Discord refuse the answers between them.
        # It may hold a file's name or what a host said.
        line = harmless(told(words, transport.locale))[:LIMIT]
        outcome = await Writer(View((MessageView(line),)), transport).run()
        if outcome == "given up" and transport.question is not None:
            self._replies.questions.leave_open(transport.question)

    async def _sign(self, message: discord.Message, sign: str) -> None:
        """Sets a sign under a message that gets no words, where it may and is not at that there."""
        if (channel := message.channel.id) in self._signed:
            return
        self._signed.add(channel)
        try:
            with suppress(*SENDING_ERRORS):
                await message.add_reaction(sign)
        finally:
            self._signed.discard(channel)

    async def _is_open(self, message: discord.Message) -> bool:
        """Is this, though it does not name the bot, a message that is answered here?"""
        place = place_of(message)
        # Without the intent such messages come empty; and one to somebody else is not ours to read.
        is_readable = self._client.intents.message_content
        is_to_others = bool(message.mentions) or message.reference is not None
        if not self._access.rules.here(place).unprompted or not is_readable or is_to_others:
            return False
        try:
            await self._access.check(self._client, message)
        except RequestRefused:
            return False  # A channel may be open to few, while all talk in it.
        return True

    @app_commands.command(description="Ask the persona of this channel")
    @app_commands.describe(
        message="What you want to say",
        persona="Who answers this time",
        model="Which model or ☁ provider answers this time; auto takes the soonest",
        attachment="A text file or image to read along",
        type="What kind of question it is: another order of who answers",
        no_cache="A new answer, though this very question was answered before",
        priority="Where others wait too: low lets them go first, high (admins) goes first",
    )
    async def chat(
        self,
        interaction: discord.Interaction[Any],
        message: app_commands.Range[str, 1, 6000],
        persona: str | None = None,
        model: str | None = None,
        attachment: discord.Attachment | None = None,
        type: str | None = None,
        no_cache: bool = False,
        priority: Priority | None = None,
    ) -> None:
        """A turn in this channel."""
        # Anybody would say high.
        if priority == "high":
            is_admin = self._access.rules.is_admin(interaction)
            check_may_manage("put a question before others'", is_allowed=is_admin)
        place, user = place_of(interaction), user_id(interaction.user)
        if persona or model:
            rights = self._access.rules.rights(interaction)
            check_may_switch("thread", rights, is_private=place.is_private)
        request_type = self._catalog.request_type(type) if type else None
        asker = self._access.take(interaction.client, interaction)
        # Alone: what is refused after it is deferred is read by all. The turn asks again.
        check_text(message, has_attachments=attachment is not None)
        name = interaction.user.display_name
        await self._settings.admit(TurnRequest(user, name, place, message, asker=asker), user)
        # "There is no model nope here" stood in the channel for everybody.
        said = PersonaName(persona) if persona else None
        await self._switch.check_named(place, user, persona=said, model=model)
        transport = InteractionTransport(interaction, self._pacers)
        # Fetching a file or a message may take longer than the three seconds Discord waits.
        if attachment is not None or isinstance(interaction.channel, discord.Thread):
            await transport.begin()
        files, left_out = await read_files([attachment] if attachment else [])
        start = await self._chains.thread_start(interaction.channel)
        request = TurnRequest(
            user=user,
            user_name=name,
            place=place,
            text=message,
            attachments=files,
            quotes=start.quotes,
            opened_on=start.opened_on,
            fresh_after_s=self._fresh_after_s(place, is_pinged=False),
            persona=said,
            model=ModelKey(model) if model else None,
            request_type=request_type,
            no_cache=no_cache,
            priority=priority,
            asker=asker,
        )
        await self._replies.play(request, transport, left_out)

    @chat.autocomplete("type")
    async def _types(self, _: discord.Interaction[Any], typed: str) -> StringChoices:
        return type_choices(self._catalog, typed)

    @chat.autocomplete("persona")
    async def _personas(self, asked: discord.Interaction[Any], typed: str) -> StringChoices:
        found = await self._switch.personas(place_of(asked), user_id(asked.user), typed, CHOICES)
        return answering_choices(found, asked.locale)

    @chat.autocomplete("model")
    async def _models(self, interaction: discord.Interaction[Any], typed: str) -> StringChoices:
        place, user = place_of(interaction), user_id(interaction.user)
        persona: str | None = getattr(interaction.namespace, "persona", None)
        found = await self._switch.options(place, user, typed, CHOICES, persona)
        return model_choices(found, interaction.locale)

    async def _answer(
        self,
        message: discord.Message,
        me: int,
        parent: TurnId | None,
        transport: Transport,
        *,
        is_open: bool,
    ) -> None:
        place = place_of(message)
        user = user_id(message.author)
        if self._access.is_held(user, place):
            # They were told once; a word for each message would be a flood of our own.
            await self._sign(message, HELD)
            return
        self._access.take(self._client, message)
        asker = await self._access.check(self._client, message)
        if is_open:
            try:
                await self._settings.admit(TurnRequest(user, "", place, "", asker=asker), user)
            except TokensSpent as spent:
                if not self._access.knows_spent(user, place, spent.left_s):
                    raise
                # Where every message is a question a word under each would be a flood of our own.
                await self._sign(message, HELD)
                return
        text, before = said(message, me), await self._chains.before(message, parent)
        if not (text or before.quotes or message.attachments or message.message_snapshots):
            words = HIDDEN if before.is_hidden else await self._hint(message, place, user)
            if words:
                await self._say(transport, words)
                return
            text = GREET_TEXT
        check_text(text, has_attachments=bool(message.attachments or before.quotes))
        files, left_out = await files_of(message, before)
        if before.is_hidden:
            left_out = (*left_out, HIDDEN)
        request = TurnRequest(
            user=user,
            user_name=message.author.display_name,
            place=place,
            text=text,
            attachments=files,
            quotes=before.quotes,
            parent=before.parent,
            opened_on=before.opened_on,
            fresh_after_s=self._fresh_after_s(place, is_pinged=is_mentioned(message, me)),
            said_at_ms=said_late_ms(message),
            asker=asker,
        )
        end = await self._replies.play(request, transport, left_out)
        if isinstance(end, Failed) and isinstance(end.error, TokensSpent):
            # They were spent by answers before this one while it waited; its reply says so.
            self._access.knows_spent(user, place, end.error.left_s)

    def _fresh_after_s(self, place: Place, *, is_pinged: bool) -> float | None:
        rules = self._access.rules
        return fresh_after_s(
            rules.conversation, place, is_pinged=is_pinged, rest_s=rules.fresh_after_s
        )

    async def _hint(self, message: discord.Message, place: Place, user: UserId) -> str:
        """What a message without words is answered with; empty where the persona greets."""
        # Discord then hides what is neither a mention nor private, attachments too.
        me = self._client.user.id if self._client.user is not None else 0
        is_hidden = not self._client.intents.message_content and message.guild is not None
        if is_hidden and not is_mentioned(message, me):
            return UNREADABLE
        persona = (await self._switch.explain(place, user)).persona
        return "" if greetings(persona) else f"👋 I'm **{shown_name(persona.name)}**. {HOW_TO_ASK}"
