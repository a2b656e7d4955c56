"""The calls that make, edit and delete a reply's messages: plain, or by an interaction's token."""

import asyncio
from math import inf
from typing import Any

import discord

from bot.policy.pacing import CREATION, INTERACTION, OLD, Pacer, Pacers, Writing
from bot.policy.speakers import Speaker
from cogs._faults import DiscordFault, fault_of
from cogs._languages import public_locale
from cogs._places import is_at_home
from cogs._readers import Readers
from cogs._view import MessageView, buttons_of
from cogs._webhooks import Hook, Webhooks

_ANOTHERS = 50005  # a message by another author can be changed by nobody else
_MAY_NOT_REPLY = 160002  # without Read Message History no message may refer to another

CALL_S = 60.0
"""Longest one plain call may hang; the library's own retries of a 5xx take 25 seconds."""

TOKEN_LIFE_S = 14.5 * 60
"""An interaction's token lives 15 minutes from its creation; plain edits take over before."""


class Transport:
    """Plain messages in a channel, thread or direct message; the first answers ``question``.

    What a call may raise is in ``SENDING_ERRORS``.
    """

    locale: object = None
    """Discord's name of the language its readers have."""

    def __init__(
        self,
        channel: discord.PartialMessageable,
        pacers: Pacers,
        question: int | None = None,
        hook: Hook | None = None,
    ) -> None:
        """``hook`` is the way to speak as somebody else there; None: there is none."""
        self.channel_id = channel.id
        """Where the messages stand."""
        self.closes_at = inf
        """By the loop's clock: from then on nothing here can be edited."""
        self.edits_old = False
        """Its messages were made over an hour ago: Discord takes few edits of such."""
        self.is_mute = False
        """Discord let none of it be sent."""
        self._channel = channel
        self._pacers = pacers
        self.question = question
        """The message or interaction that is answered."""
        self._may_refer = question is not None
        self._sent: set[int] = set()
        self._hook = hook
        self._speaker: Speaker | None = None
        self._is_hooked = False
        """A webhook made some of its messages."""

    def speak_as(self, speaker: Speaker | None) -> None:
        """New messages come by this name and picture, where that may be; None: as the bot."""
        self._speaker = speaker

    def pacers(self, *, is_new: bool) -> tuple[Pacer, ...]:
        """What the next call is paced by: a new message, or a change to one."""
        now, channel = asyncio.get_running_loop().time(), self.channel_id
        is_spoken = is_new and self._speaker is not None
        if (hook := self._hook) is not None and (
            self._is_hooked or (is_spoken and hook.webhooks.may_speak(hook.channel))
        ):
            # Its calls, new messages among them, count together and nowhere else.
            return (self._pacers.of_channel(hook.channel, now, INTERACTION),)
        if is_new:
            # The library waits for their limit, too, but two answers that arrived in another order
            # than they were made told it of a place that was gone.
            made = self._pacers.of_channel(channel, now, CREATION)
            return (made, self._pacers.everywhere)
        old = (self._pacers.of_channel(channel, now, OLD),) if self.edits_old else ()
        return (*old, self._pacers.of_channel(channel, now), self._pacers.everywhere)

    async def begin(self) -> int | None:
        """Tells Discord that an answer comes, where it waits for one; gives a message made by that.

        Here it waits for none, and there is no message yet.
        """
        return None

    async def show_typing(self) -> None:
        """Shows "is typing" for about ten seconds, when a request is free for it."""
        everywhere, key = self._pacers.everywhere, f"typing in {self.channel_id}"
        now = asyncio.get_running_loop().time()
        # It could as well be left out: it takes a place that is free and waits for none.
        is_free = everywhere.ask(now, key, Writing(ready=1)) <= now
        everywhere.left(key)
        if is_free:
            everywhere.began(now, key)
            await self._channel.typing()

    async def send(self, part: int, message: MessageView) -> int:
        """Makes the message of a part, counted from 0; gives its id."""
        options: dict[str, Any] = {}
        if (buttons := buttons_of(message, self.locale)) is not None:
            options["view"] = buttons
        if message.pings is not None:
            options["allowed_mentions"] = discord.AllowedMentions(
                everyone=False,
                roles=False,
                users=[discord.Object(message.pings)],
                replied_user=False,
            )
        hook, speaker = self._hook, self._speaker
        if hook is not None and speaker is not None and hook.webhooks.may_speak(hook.channel):
            made = await hook.send(speaker, message.content, options)
            if made is not None:
                self._is_hooked = True
                return made
        if self.question is not None and part not in self._sent:
            # Sent again after a lost answer it still comes once. A replacement is another message.
            options["nonce"] = f"{self.question}.{part}"
            if part == 0 and self._may_refer:
                # The question may be deleted meanwhile; the answer then stands alone.
                options["reference"] = discord.MessageReference(
                    message_id=self.question, channel_id=self.channel_id, fail_if_not_exists=False
                )
        try:
            async with asyncio.timeout(CALL_S):
                # No previews: each edit with a new address would unfold one, and the text jump.
                sent = await self._channel.send(message.content, suppress_embeds=True, **options)
        except discord.HTTPException as error:
            if error.code != _MAY_NOT_REPLY or not self._may_refer:
                self.is_mute = part == 0 and isinstance(error, discord.Forbidden)
                raise
            # Here people read neither answer nor refusal: every message was refused with this.
            self._may_refer = False
            return await self.send(part, message)
        self._sent.add(part)
        # A thread that was closed for a moment left the sign of silence beside a whole answer.
        self.is_mute = False
        return sent.id

    def below(self, answer: int) -> "Transport":
        """Of one more message, which refers to that answer; made by the bot itself."""
        below = Transport(self._channel, self._pacers, question=answer)
        below.locale = self.locale
        return below

    async def has_left(self, person: int) -> bool:
        """Is that person in this server no more?"""
        server = self._channel.guild
        if server is None:
            return False
        try:
            async with asyncio.timeout(CALL_S):
                await server.fetch_member(person)
        except discord.NotFound:
            return True
        return False

    def fault_of(self, error: BaseException) -> DiscordFault:
        """The kind of trouble that an error of a call stands for here."""
        fault, channel = fault_of(error), self._channel
        # Put out of a server the bot reads the same as where a permission is taken for a moment:
        # for two minutes an answer was generated that nobody could be shown.
        is_out = channel.guild_id is not None and channel.guild is None
        return DiscordFault.GONE if is_out and fault is DiscordFault.DENIED else fault

    async def edit(
        self, message_id: int, message: MessageView, before: MessageView | None = None
    ) -> None:
        """Changes a message of this reply; ``before`` is what it shows, where that is known."""
        buttons = _new_buttons(message, before, self.locale)
        await self._change(message_id, {"content": message.content, **buttons})

    async def dress(self, message_id: int, message: MessageView | None) -> None:
        """Puts these buttons under a message, or none; its words stay as they are."""
        now = asyncio.get_running_loop().time()
        for pacer in self.pacers(is_new=False):
            pacer.began(now, f"buttons of {message_id}")
        view = None if message is None else buttons_of(message, self.locale)
        await self._change(message_id, {"view": view})

    async def _change(self, message_id: int, options: dict[str, Any]) -> None:
        # By its id alone: nothing is fetched, and an interaction's message can be changed so too,
        # while the library's own InteractionMessage knows no way but the token.
        known, hook = self._channel.get_partial_message(message_id), self._hook
        if hook is None or not hook.webhooks.has_spoken(message_id):
            try:
                async with asyncio.timeout(CALL_S):
                    await known.edit(**options)
                    return
            except discord.HTTPException as error:
                # One of a persona's, made by a Lantern before this one.
                if hook is None or error.code != _ANOTHERS:
                    raise
                hook.webhooks.spoke(message_id)
        self._is_hooked = True
        await hook.edit(message_id, options)

    async def delete(self, message_id: int) -> None:
        """Takes a message of this reply away."""
        if self._hook is not None and self._hook.webhooks.has_spoken(message_id):
            try:
                await self._hook.delete(message_id)
                return
            except discord.DiscordException as error:
                # Somebody deleted its webhook: one that stayed had a Stop that stopped nothing.
                # To a webhook made since, the messages of one before it are unknown.
                is_gone = fault_of(error) in (DiscordFault.LOST, DiscordFault.EXPIRED)
                if isinstance(error, discord.HTTPException) and not is_gone:
                    raise
        async with asyncio.timeout(CALL_S):
            await self._channel.get_partial_message(message_id).delete()


def transport_to(
    client: discord.Client,
    channel: int,
    pacers: Pacers,
    webhooks: Webhooks,
    readers: Readers,
    question: int | None = None,
) -> Transport:
    """To messages that stand in a channel, whichever of us made them: the bot or our webhook."""
    known = client.get_channel(channel)
    hook = webhooks.at(client, known)
    partial = client.get_partial_messageable(channel)
    transport = Transport(partial, pacers, question, hook)
    transport.locale = readers.locale_at(client, channel)
    return transport


class InteractionTransport(Transport):
    """An interaction's response and followups; plain messages once its token has ended."""

    def __init__(
        self, interaction: discord.Interaction[Any], pacers: Pacers, *, is_for_all: bool = True
    ) -> None:
        """Without ``is_for_all`` whoever asked sees the answer alone."""
        channel_id, guild_id = interaction.channel_id or 0, interaction.guild_id
        super().__init__(
            interaction.client.get_partial_messageable(channel_id, guild_id=guild_id), pacers
        )
        self.question = interaction.id
        self.is_for_all = is_for_all
        self.locale = public_locale(interaction) if is_for_all else interaction.locale
        self._interaction = interaction
        # Five calls in two seconds, where a channel's messages together have five in five.
        self._token = Pacer(INTERACTION)
        """Edits and followups alike count here."""
        self._ends_at = asyncio.get_running_loop().time() + TOKEN_LIFE_S
        may_edit = is_at_home(interaction) and interaction.app_permissions.view_channel
        # What one person sees alone is known to the token and to no channel.
        if not (may_edit and is_for_all):
            self.closes_at = self._ends_at
        self._original: int | None = None

    def pacers(self, *, is_new: bool) -> tuple[Pacer, ...]:
        """The token's own; the channel's once it has ended."""
        return (self._token,) if self._lives() else super().pacers(is_new=is_new)

    async def begin(self) -> int | None:
        """Defers the response, once; gives the id of the "is thinking" message that makes."""
        # Within three seconds, whatever the model does: later the token is void, and the person
        # reads that the application did not respond.
        if not self._interaction.response.is_done():
            alone = {} if self.is_for_all else {"ephemeral": True}
            response = await self._interaction.response.defer(**alone, thinking=True)
            self._original = response.message_id if response is not None else None
        return self._original

    async def show_typing(self) -> None:
        """Does nothing: the deferred message says "is thinking"."""

    # Calls by the token are never cancelled: the library sleeps inside a lock that a cancelled
    # call would leave locked for the rest of the token's life.

    async def send(self, part: int, message: MessageView) -> int:
        """Sends a followup; the first message fills the deferred one instead."""
        if not self._lives():
            return await super().send(part, message)
        try:
            buttons = buttons_of(message, self.locale)
            if self._original is None:
                sent = await self._interaction.edit_original_response(
                    content=message.content, view=buttons
                )
                self._original = sent.id
                return sent.id
            options: dict[str, Any] = {} if buttons is None else {"view": buttons}
            followup = self._interaction.followup
            return (
                await followup.send(message.content, wait=True, suppress_embeds=True, **options)
            ).id
        except discord.HTTPException as error:
            self._end_by(error)
        return await super().send(part, message)

    async def edit(
        self, message_id: int, message: MessageView, before: MessageView | None = None
    ) -> None:
        """Changes a message of this reply; ``before`` is what it shows, where that is known."""
        if not self._lives():
            await super().edit(message_id, message, before)
            return
        content, buttons = message.content, _new_buttons(message, before, self.locale)
        try:
            if message_id == self._original:
                await self._interaction.edit_original_response(content=content, **buttons)
            else:
                followup = self._interaction.followup
                await followup.edit_message(message_id, content=content, **buttons)
        except discord.HTTPException as error:
            self._end_by(error)
            await super().edit(message_id, message, before)

    def _lives(self) -> bool:
        return asyncio.get_running_loop().time() < self._ends_at

    def _end_by(self, error: discord.HTTPException) -> None:
        """Marks the token as ended when that is the error; raises any other error again."""
        if fault_of(error) is not DiscordFault.EXPIRED:
            raise error
        self._ends_at = -inf


def _new_buttons(
    message: MessageView, before: MessageView | None, locale: object
) -> dict[str, Any]:
    """The buttons of an edit; those that stand there already are left where they are."""
    # Nearly every edit has new text alone: making and sending buttons was a quarter of its cost.
    is_same = before and (before.acts, before.subject) == (message.acts, message.subject)
    return {} if is_same else {"view": buttons_of(message, locale)}
