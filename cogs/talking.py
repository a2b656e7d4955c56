"""``/retry`` and ``/continue``, and the message menus Ask about this, Retry and Continue."""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.chat.lantern import Lantern
from bot.domain.chat import TurnRequest
from bot.domain.errors import RequestRefused
from bot.domain.ids import ModelKey, TurnId
from bot.policy.access import check_text
from bot.policy.pacing import Pacers
from cogs._access import Access
from cogs._again import Again
from cogs._autocomplete import CHOICES, StringChoices, model_choices
from cogs._faults import SENDING_ERRORS, DiscordFault, fault_of, say, say_error
from cogs._forms import form_of, sent_form
from cogs._languages import told
from cogs._mentions import is_by, quote_of, read_files
from cogs._missed import LOOK_S
from cogs._places import place_of, user_id
from cogs._reply import Replies
from cogs._transport import InteractionTransport

NOT_MINE = "That is none of my answers, nor a question I know."
NOT_KEPT = (
    "I keep no answer behind that message: it is none, or its question was deleted or forgotten."
)
NOTHING_THERE = "There is nothing in that message that I could read."

DELETED = "That message was deleted, so it is not asked about any more."
UNFETCHED = "Discord does not show me that message any more; ask about it anew."
ASKED = "You asked:"

ABOUT = "about"
"""Begins the form's id; the message's follows, so that one opened before a restart still counts."""

MOST_KNOWN = 200
"""Messages kept that somebody may be asking about: the newest. Others are fetched."""


class Talking(commands.Cog):
    """Goes on with answers and messages by commands and menus."""

    def __init__(
        self, lantern: Lantern, access: Access, replies: Replies, again: Again, pacers: Pacers
    ) -> None:
        self._turns = lantern.turns
        self._switch = lantern.switch
        self._settings = lantern.place_settings
        self._shown_in = lantern.replies
        self._access = access
        self._replies = replies
        self._again = again
        self._pacers = pacers
        self._known = OrderedDict[int, discord.Message]()
        self.menus = (
            app_commands.ContextMenu(name="Ask about this", callback=self.ask_about),
            app_commands.ContextMenu(name="Retry", callback=self.retry_this),
            app_commands.ContextMenu(name="Continue", callback=self.continue_this),
        )
        """For the tree: the library takes none from a cog by itself."""

    @app_commands.command(description="Answer the last question here again")
    @app_commands.describe(model="Which model or ☁ provider answers this time")
    async def retry(self, interaction: discord.Interaction[Any], model: str | None = None) -> None:
        """As the button under the last answer does, or by another model."""
        turn = await self._again.last(place_of(interaction), "retry")
        wanted = None if model is None else ModelKey(model)
        await self._again.press(interaction, "retry", turn, model=wanted)

    @retry.autocomplete("model")
    async def _models(self, interaction: discord.Interaction[Any], typed: str) -> StringChoices:
        place, user = place_of(interaction), user_id(interaction.user)
        found = await self._switch.options(place, user, typed, CHOICES)
        return model_choices(found, interaction.locale)

    @app_commands.command(name="continue", description="Go on with the last answer here")
    async def go_on(self, interaction: discord.Interaction[Any]) -> None:
        """As the button under the last answer does."""
        turn = await self._again.last(place_of(interaction), "continue")
        await self._again.press(interaction, "continue", turn)

    async def retry_this(
        self, interaction: discord.Interaction[Any], message: discord.Message
    ) -> None:
        """Answers a question, or what an answer answered, again."""
        await self._again.press(interaction, "retry", await self._turn_of(interaction, message))

    async def continue_this(
        self, interaction: discord.Interaction[Any], message: discord.Message
    ) -> None:
        """Goes on with an answer, or with that to a question."""
        await self._again.press(interaction, "continue", await self._turn_of(interaction, message))

    async def ask_about(
        self, interaction: discord.Interaction[Any], message: discord.Message
    ) -> None:
        """Asks in a form what is wanted; ``on_interaction`` answers with the message at hand."""
        self._known[message.id] = message
        self._known.move_to_end(message.id)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        tell = partial(told, locale=interaction.locale)
        field: ui.TextInput[Any] = ui.TextInput(
            custom_id="text",
            style=discord.TextStyle.paragraph,
            placeholder=tell("Sum it up in three sentences"),
            max_length=4000,
        )
        fields = [ui.Label[Any](text=tell("What do you want to know?"), component=field)]
        form = form_of(tell("Ask about this message"), f"{ABOUT}:{message.id}", fields)
        await interaction.response.send_modal(form)

    @commands.Cog.listener()
    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """Such a form sent, opened by this process or one before; others are not ours."""
        custom_id, texts = sent_form(interaction)
        mark, _, about = custom_id.partition(":")
        if mark != ABOUT or not self._replies.questions.is_new(interaction.id):
            return
        text = texts.get("text", "")
        try:
            await self._answer_about(interaction, int(about), text)
        except Exception as error:
            await say_error(interaction, error)
            # A form's words are gone from the screen as it is sent.
            if text.strip():
                given_back = f"{told(ASKED, interaction.locale)}\n{text}"
                with suppress(*SENDING_ERRORS):
                    await say(interaction, given_back, is_ours=False)
            await self._replies.questions.close(interaction.id)

    async def _answer_about(
        self, interaction: discord.Interaction[Any], about: int, text: str
    ) -> None:
        check_text(text)
        user, place = user_id(interaction.user), place_of(interaction)
        asker = self._access.take(interaction.client, interaction)
        transport = InteractionTransport(interaction, self._pacers)
        questions, channel = self._replies.questions, interaction.channel_id or 0
        if not await questions.note(interaction.id, channel, interaction.token):
            return
        me = interaction.client.user.id if interaction.client.user is not None else 0
        message = await self._looked_at(interaction, about, me)
        name = interaction.user.display_name
        # Alone: what is refused after it is deferred is read by all. The turn asks again.
        await self._settings.admit(TurnRequest(user, name, place, text, asker=asker), user)
        await transport.begin()
        quote = quote_of(message, me)
        parent = await self._shown_in.turn_of(str(about))
        if quote is None and parent is None:
            raise RequestRefused(NOT_KEPT if is_by(message, me) else NOTHING_THERE)
        shown = () if quote is None else message.attachments
        files, left_out = await read_files(shown, [about] * len(shown))
        # Others see an answer to a form that was never theirs to read.
        request = TurnRequest(
            user=user,
            user_name=name,
            place=place,
            text=text,
            attachments=files,
            # Where it was pressed is where it was said; of a server without the bot the
            # message itself does not tell.
            quotes=() if quote is None else (replace(quote, place=place),),
            parent=parent,
            asker=asker,
            asked=f"{name} asked about {message.jump_url}: {text[:200]}",
        )
        # Refused before it is stored, no receipt tells it.
        await self._replies.play(request, transport, (request.asked, *left_out))
        await questions.close(interaction.id)

    async def _looked_at(
        self, interaction: discord.Interaction[Any], about: int, me: int
    ) -> discord.Message:
        """The message that a form is about as it is now: it may have stood open for long.

        Raises:
            RequestRefused: it was deleted meanwhile, or Discord does not show it.
        """
        known, channel = self._known.get(about), interaction.channel_id or 0
        where = interaction.client.get_partial_messageable(channel, guild_id=interaction.guild_id)
        try:
            async with asyncio.timeout(LOOK_S):
                message = await where.fetch_message(about)
        except SENDING_ERRORS as error:
            is_deleted = fault_of(error) is DiscordFault.LOST
            if is_deleted or self._turns.taken_back.is_deleted(str(about)):
                self._known.pop(about, None)
                raise RequestRefused(DELETED) from error
            # Where the bot itself is not, its menu alone shows it messages.
            if known is None:
                raise RequestRefused(UNFETCHED) from error
            return known
        # So it is, without the intent, where the message does not ping the bot.
        return message if known is None or quote_of(message, me) else known

    async def _turn_of(
        self, interaction: discord.Interaction[Any], message: discord.Message
    ) -> TurnId:
        """The turn that a message shows or asked.

        Raises:
            RequestRefused: neither.
        """
        about = str(message.id)
        turn = await self._shown_in.turn_of(about) or await self._turns.store.asked_by(about)
        if turn is None:
            me = interaction.client.user
            # An answer of ours whose question was deleted was called none of ours.
            is_ours = me is not None and is_by(message, me.id)
            raise RequestRefused(NOT_KEPT if is_ours else NOT_MINE)
        return turn
