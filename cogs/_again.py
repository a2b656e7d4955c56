"""Answers again: Retry and Continue in the answer's own messages, and looking through answers."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import discord

from bot.chat.beginning import WORDLESS
from bot.chat.lantern import Lantern
from bot.domain.chat import Place, TurnKind, TurnRequest
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import ModelKey, TurnId
from bot.policy.access import check_may_switch
from bot.policy.pacing import Pacers
from cogs._access import Access
from cogs._faults import SENDING_ERRORS, say
from cogs._languages import public_locale, told
from cogs._mentions import said
from cogs._missed import MissedChanges
from cogs._places import is_at_home, place_of, user_id
from cogs._reply import Replies
from cogs._reply_view import ShownAnswer
from cogs._transport import InteractionTransport, Transport
from cogs._view import View, buttons_of, restored
from cogs._webhooks import Webhooks
from cogs._writer import Writer

UNREADABLE = "Discord does not show me that question any more; ask it anew."
GONE = "That answer is not stored any more."
TAKEN_BACK = "Its question was deleted, and so it left here too, with its answers; ask it anew."
UNSHOWN = "Discord did not let me show the other answer; this one goes on."

MOST_WAITS = 5
"""Of one press, for others in the same messages."""
_YOUNG = timedelta(minutes=55)
"""Discord takes few edits of messages that are older than an hour."""


class Again:
    """Answers presses and commands about answers that stand; one per process."""

    def __init__(
        self,
        lantern: Lantern,
        access: Access,
        replies: Replies,
        pacers: Pacers,
        webhooks: Webhooks,
    ) -> None:
        self.missed = MissedChanges()
        self._turns = lantern.turns
        self._webhooks = webhooks
        self._shown_in = lantern.replies
        self._people = lantern.people
        self._switch = lantern.switch
        self._settings = lantern.place_settings
        self._access = access
        self._replies = replies
        self._pacers = pacers

    async def last(self, place: Place, kind: TurnKind) -> TurnId:
        """The answer that ``/retry`` and ``/continue`` mean.

        Raises:
            RequestRefused: nothing was asked here, or not since it was begun afresh.
            StoreUnavailable: that cannot be read.
        """
        store, here = self._turns.store, place.conversation
        last = await store.last_in(here, since_reset=True)
        if last is not None:
            return last.id
        # After /reset there is a last turn, but none of this conversation.
        if await store.last_in(here) is not None:
            raise RequestRefused(f"This is a fresh conversation: there is nothing to {kind} yet.")
        raise RequestRefused("Nothing was asked here yet.")

    async def press(
        self,
        interaction: discord.Interaction[Any],
        kind: TurnKind,
        turn: TurnId,
        *,
        must_see: bool = False,
        model: ModelKey | None = None,
        is_edited: bool = False,
    ) -> None:
        """Retries or continues an answer where it stands; where that cannot be, in a new message.

        Args:
            interaction: A press under the answer, or a command that means it.
            kind: ``retry`` or ``continue``.
            turn: The answer.
            must_see: Whatever model sees the pictures answers.
            model: Answers instead, this time.
            is_edited: The question is asked as it reads now.

        Raises:
            RequestRefused: it is being written, or has no words to go on with; its question was
                deleted, or Discord does not show it as it was edited; somebody deleted the message
                it is written in; or whoever presses asks too fast or has no tokens.
            NotPermitted: it is not stored any more, or belongs to another conversation; whoever
                presses may not ask here, or not choose; or no words may leave for that provider.
            StoreUnavailable: it cannot be looked up.
        """
        user = user_id(interaction.user)
        await self._look_for(interaction, turn)
        standing = await self._at_rest(interaction, turn, is_continued=kind == "continue")
        # Pressed twice by a nervous finger: one answer is enough. A command is answered in words:
        # deferred alone it said that it thinks for ever.
        is_press = interaction.type is discord.InteractionType.component
        press = (kind, user, must_see, model, is_edited) if is_press else None
        with self._replies.held(standing.answers, press) as is_first:
            if not is_first:
                if not interaction.response.is_done():
                    await interaction.response.defer()
                return
            if kind == "continue" and not standing.turn.reply_text.strip():
                # Said in its message it took the place of why nobody answered.
                raise RequestRefused(WORDLESS)
            asker = self._access.take(interaction.client, interaction)
            if model is not None:
                # Another model for one answer is a choice of one's own.
                is_private = place_of(interaction).is_private
                rights = self._access.rules.rights(interaction)
                check_may_switch("thread", rights, is_private=is_private)
                # What may leave is asked of the very words, which need not be the presser's own, as
                # it is now: a select may be of an hour ago. The turn judges again as it sends.
                here = place_of(interaction)
                await self._switch.check_named(here, user, model=model, again=standing.turn)
            # Changed while words stayed here, they stay here, whenever the button is pressed.
            text, at_ms = "", None
            if is_edited:
                text, at_ms = await self._words_of(interaction, standing)
                standing = replace(standing, is_reworded=True)
            request = TurnRequest(
                user,
                interaction.user.display_name,
                place_of(interaction),
                text=text,
                said_at_ms=at_ms,
                parent=standing.turn.id,
                kind=kind,
                must_see=must_see,
                model=model,
                asker=asker,
            )
            # Alone, and nothing is begun for it in the answer's place; the turn asks again.
            await self._settings.admit(request, user)
            await self._play(interaction, request, standing)

    async def look(self, interaction: discord.Interaction[Any], turn: TurnId, steps: int) -> None:
        """Shows another answer to the same question, from which the conversation then goes on.

        Raises:
            RequestRefused: one is being written there, or Discord did not take the other.
            NotPermitted: it is not stored any more, or belongs to another conversation.
            StoreUnavailable: it cannot be looked up, or which is shown not be stored.
        """
        standing = await self._at_rest(interaction, turn)
        answers, store = standing.answers, self._turns.store
        with self._replies.held(answers, is_brief=True):
            wanted = answers.beside(turn, steps)
            stored = await store.get(wanted)
            if stored is None:
                raise NotPermitted(GONE)
            has_footer = self._access.rules.here(stored.place).footer
            locale = public_locale(interaction)
            views = restored(stored, answers, has_footer=has_footer, locale=locale)
            ids = standing.messages or (interaction.message.id if interaction.message else 0,)
            await store.show(wanted)
            try:
                if len(views) == len(ids) == 1 and not interaction.response.is_done():
                    content = views[0].content
                    buttons = buttons_of(views[0], locale)
                    await interaction.response.edit_message(content=content, view=buttons)
                else:
                    # Where the bot is not itself it may change what its press alone made: there
                    # the other answer comes below, as a retry does.
                    is_home = is_at_home(interaction)
                    if is_home and not interaction.response.is_done():
                        await interaction.response.defer()
                    transport = (
                        self._transport(interaction, ids)
                        if is_home
                        else InteractionTransport(interaction, self._pacers)
                    )
                    writer = Writer(View(views), transport)
                    ids = ids if is_home else ()
                    if await writer.run(existing=ids, renews=True) != "shown":
                        raise RequestRefused(UNSHOWN)
                    for message in writer.lost:
                        await self._shown_in.lost(str(message))
                    ids = writer.ids()
            except (*SENDING_ERRORS, RequestRefused):
                # What people still read is what goes on.
                await store.show(answers.shown)
                raise
            await self._shown_in.bind(wanted, str(interaction.channel_id), ids, answers.ids)

    async def _at_rest(
        self, interaction: discord.Interaction[Any], turn: TurnId, *, is_continued: bool = False
    ) -> ShownAnswer:
        """As ``standing``; what is about to come to rest there is waited for, where that can be."""
        standing = await self.standing(interaction, turn, is_continued=is_continued)
        # Where the answer comes in a message of its own it would fill what this defers: the old
        # answer's place, or one that its asker alone sees. There a press in between is refused.
        if not self._replies.ending(standing.answers) or not is_at_home(interaction):
            return standing
        if interaction.type is discord.InteractionType.component:
            await interaction.response.defer()
        else:
            await interaction.response.defer(ephemeral=True, thinking=True)
        # Of three who look and one who presses Retry, each waits for whoever came before.
        for _ in range(MOST_WAITS):
            await self._replies.let_go(standing.answers)
            # Only now the store knows where what was written stands.
            standing = await self.standing(interaction, turn, is_continued=is_continued)
            if not self._replies.ending(standing.answers):
                break
        return standing

    async def _look_for(self, interaction: discord.Interaction[Any], turn: TurnId) -> None:
        """Takes note of what was deleted of an answer while we were not there to be told.

        Raises:
            RequestRefused: its question was.
            NotPermitted: as ``standing`` says.
        """
        if not is_at_home(interaction):
            return
        standing, client = await self.standing(interaction, turn), interaction.client
        asked = await self._turns.store.asked_in(standing.answers.first)
        pressed = 0 if interaction.message is None else interaction.message.id
        channel = interaction.channel_id or 0
        looked_for = {(channel, message) for message in standing.messages if message != pressed}
        if asked is not None:
            looked_for.add((int(asked[0]), int(asked[1])))
        for quote in standing.turn.quotes:
            if quote.message_id is not None:
                there = int(quote.place.conversation.removeprefix("discord:"))
                looked_for.add((there, int(quote.message_id)))
        for message in await self.missed.gone(client, looked_for):
            if asked is not None and message == int(asked[1]):
                client.dispatch("missed_deletion", message)
                raise RequestRefused(TAKEN_BACK)
            await self._shown_in.lost(str(message))
            await self._people.unquote(str(message))

    async def standing(
        self, interaction: discord.Interaction[Any], turn: TurnId, *, is_continued: bool = False
    ) -> ShownAnswer:
        """The answer as people see it now, whichever of those beside it was pressed.

        Raises:
            NotPermitted: it is not stored any more, or belongs to another conversation.
            StoreUnavailable: it cannot be looked up.
        """
        answers = await self._turns.store.answers(turn)
        stored = None if answers is None else await self._turns.store.get(answers.shown)
        if answers is None or stored is None:
            raise NotPermitted(GONE)
        if stored.place.conversation != place_of(interaction).conversation:
            raise NotPermitted("That reply belongs to another conversation.")
        shown = await self._shown_in.messages(answers.shown)
        ids = tuple(int(message.message_id) for message in shown)
        return ShownAnswer(stored, ids, answers, is_continued)

    async def _words_of(
        self, interaction: discord.Interaction[Any], standing: ShownAnswer
    ) -> tuple[str, int]:
        """What a question reads like now, and since when, in UTC milliseconds.

        Raises:
            RequestRefused: Discord does not show it.
        """
        asked = await self._turns.store.message_of(standing.answers.first)
        channel, client = interaction.channel_id or 0, interaction.client
        words, at_ms, me = "", 0, client.user.id if client.user is not None else 0
        if asked is not None:
            # In a thread opened on it the question stands in the channel; there it is asked anew.
            with suppress(*SENDING_ERRORS):
                where = client.get_partial_messageable(channel, guild_id=interaction.guild_id)
                message = await where.fetch_message(int(asked))
                words = said(message, me)
                at_ms = int((message.edited_at or message.created_at).timestamp() * 1000)
        if not words:
            raise RequestRefused(UNREADABLE)
        return words, at_ms

    async def _play(
        self, interaction: discord.Interaction[Any], request: TurnRequest, standing: ShownAnswer
    ) -> None:
        questions, response = self._replies.questions, interaction.response
        is_home = is_at_home(interaction)
        if not standing.messages or not is_home:
            # This press alone makes a message, which a crash could leave without an end. A command
            # was noted by the tree.
            is_command = interaction.type is discord.InteractionType.application_command
            channel, token = interaction.channel_id or 0, interaction.token
            if is_command or await questions.note(interaction.id, channel, token):
                transport = InteractionTransport(interaction, self._pacers)
                # With what stood in the messages that are gone.
                standing_ = standing if is_home else None
                await self._replies.play(request, transport, standing=standing_)
            await questions.close(interaction.id)
            return
        is_press = interaction.type is discord.InteractionType.component
        if is_press and request.model is None:
            if not response.is_done():
                await response.defer()
        else:
            where = f"{interaction.guild_id or '@me'}/{interaction.channel_id}"
            link = f"https://discord.com/channels/{where}/{standing.messages[0]}"
            word = "Going on" if standing.is_continued else "Answering again"
            line = f"🔁 {word}: {link}"
            if is_press:
                # Picked in a select of their own, which has done its work.
                line = told(line, interaction.locale)
                if response.is_done():
                    await interaction.edit_original_response(content=line, view=None)
                else:
                    await response.edit_message(content=line, view=None)
            else:
                await say(interaction, line)
        transport = self._transport(interaction, standing.messages)
        await self._replies.play(request, transport, standing=standing)

    def _transport(self, interaction: discord.Interaction[Any], ids: tuple[int, ...]) -> Transport:
        """Edits messages that stand where an interaction came from, at the pace of their age."""
        channel = interaction.client.get_partial_messageable(
            interaction.channel_id or 0, guild_id=interaction.guild_id
        )
        pressed = interaction.message
        # What the bot answered commands with has a webhook's id, too: its own.
        if pressed is not None and pressed.webhook_id not in (None, interaction.application_id):
            # Asked as the bot first, each press cost a refusal, which counts towards a ban.
            self._webhooks.spoke(pressed.id)
        hook = self._webhooks.at(interaction.client, interaction.channel)
        transport = Transport(channel, self._pacers, hook=hook)
        transport.locale = public_locale(interaction)
        age = discord.utils.utcnow() - discord.utils.snowflake_time(min(ids))
        transport.edits_old = age > _YOUNG
        return transport
