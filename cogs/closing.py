"""After a crash: tells everybody who was left without an end how their question stands."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from typing import cast

import discord
import structlog

from bot.chat.beginning import DELETED
from bot.chat.lantern import Lantern
from bot.domain.chat import Turn
from bot.domain.errors import BotError
from bot.domain.ids import TurnId
from bot.policy.pacing import Pacers
from bot.store.beside import Answers
from bot.store.questions import KEPT_MS, Question
from bot.store.replies import ReplyMessage
from cogs._faults import SENDING_ERRORS
from cogs._finding import answers_to, response_of, tell_by_token
from cogs._languages import told
from cogs._load_view import OpenLoad
from cogs._loads import Loads
from cogs._missed import LOOK_EVERY_S
from cogs._places import reads_history
from cogs._readers import Readers
from cogs._transport import CALL_S, transport_to
from cogs._view import MessageView, View, restored
from cogs._webhooks import Webhooks
from cogs._writer import Writer
from cogs.memory import ENDED

EACH_S = 180.0
"""Longest time given to one reply; what is not closed now is tried again at the next start."""

MISSED_S = 300
"""Who asked into a line that was cut, longer ago, has gone on to something else."""

MISSED_CHANNELS = 500
"""Thought of for missed questions, those where people asked last."""

FIRST = "discord.first_session"
"""The note of when this database's Lantern was first connected: what was said before it was never
its to answer.
"""

UNTOLD_LINE = "⚠ Lantern was restarted before it took this question up. Please ask again."
COMMAND_LINE = "⚠ Lantern was restarted before this was done. Give the command again."

_log = structlog.get_logger(__name__)


class Closing:
    """Collects what was left open before the first new turn, and closes it once connected."""

    def __init__(
        self,
        client: discord.Client,
        lantern: Lantern,
        loads: Loads,
        pacers: Pacers,
        webhooks: Webhooks,
        readers: Readers,
        *,
        answer_missed_s: float | None = None,
    ) -> None:
        self._webhooks = webhooks
        self._readers = readers
        self._client = client
        self._lantern = lantern
        self._loads = loads
        self._pacers = pacers
        self._answer_missed_s = answer_missed_s
        self._questions: tuple[Question, ...] = ()
        self._replies: tuple[ReplyMessage, ...] = ()
        self._left_loads: tuple[OpenLoad, ...] = ()
        self._left: dict[TurnId, Turn] = {}
        """What their messages are to show, as it was before anything of it could be deleted."""

    async def collect(self) -> None:
        """Reads what a Lantern that ended without warning left open."""
        try:
            self._replies = await self._lantern.replies.left_open()
            self._left_loads = await self._loads.left_open()
            self._questions = await self._lantern.questions.left_open()
            for question in self._questions:
                await self._collect(question.turn, question)
            for turn in dict.fromkeys(reply.turn for reply in self._replies):
                await self._collect(turn, None)
        except BotError as error:
            _log.warning("open replies not read", error=error.user_message)

    async def _collect(self, turn: TurnId | None, question: Question | None) -> None:
        stored = await self._stored(turn, question)
        if turn is not None and turn not in self._left and stored is not None:
            self._left[turn] = stored

    async def run(self) -> None:
        """Closes everything collected, one message after the other, within the channels' limits."""
        # Taken once: a new session must not close what this process is writing.
        questions, self._questions = self._questions, ()
        replies, self._replies = self._replies, ()
        loads, self._left_loads = self._left_loads, ()
        for load in loads:
            locale = load.locale or self._readers.locale_at(self._client, load.channel)
            cut = load.cut(locale)
            if load.token:
                # Known to no channel: what one person alone sees is changed by the token only.
                is_done = await tell_by_token(self._client, load.token, cut, locale=locale)
            else:
                is_done = await self._show((cut,), load.channel, (load.message,))
            if is_done:
                await self._loads.forget(load.message)
        known = {turn: tuple(group) for turn, group in groupby(replies, key=lambda r: r.turn)}
        for question in questions:
            kept = known.pop(question.turn, ()) if question.turn is not None else ()
            await self._close(question.turn, kept, question)
        for turn, messages in known.items():
            await self._close(turn, messages, None)
        if questions or replies:
            _log.info("open replies closed", questions=len(questions), messages=len(replies))

    async def hear_missed(self) -> None:
        """Hears what was sent while nobody could: into a line cut by our end or by Discord's.

        As the event ``message`` where it is to be answered late, else as ``missed_message``: its
        asker is told. Each once, whoever finds it: the store knows what was heard.
        """
        now, late_s = discord.utils.utcnow(), self._answer_missed_s or 0.0
        looked_s = max(MISSED_S, late_s)
        since = discord.utils.time_snowflake(now - timedelta(seconds=looked_s))
        answered_since = discord.utils.time_snowflake(now - timedelta(seconds=late_s))
        try:
            channels = await self._lantern.questions.channels(MISSED_CHANNELS)
            first = await self._lantern.notes.keep(FIRST, str(discord.utils.time_snowflake(now)))
        except BotError as error:
            _log.warning("missed questions not looked for", error=error.user_message)
            return
        # Where nobody has asked within the day nothing older was heard, either.
        day = discord.utils.time_snowflake(now - timedelta(milliseconds=KEPT_MS))
        unasked_since = max(int(first), since, day)
        unasked = self._spoken_in(unasked_since, channels)[: MISSED_CHANNELS - len(channels)]
        channels |= dict.fromkeys(unasked, unasked_since)
        for channel_id, oldest in channels.items():
            try:
                async with asyncio.timeout(CALL_S):
                    # As Discord knows it: a server's channel taken for a private one would be
                    # answered by the rules of private ones.
                    channel = self._client.get_channel(int(channel_id))
                    channel = channel or await self._client.fetch_channel(int(channel_id))
                    # Discord tells it with every new session: most channels need no look, and so
                    # one that twenty others were asked in after it is not left out either.
                    last: int | None = getattr(channel, "last_message_id", None)
                    if last is not None and last <= max(since, oldest):
                        continue
                    await asyncio.sleep(LOOK_EVERY_S)
                    # The newest page of it: in a busy channel the oldest of the last minutes would
                    # fill one, and what was missed came last.
                    history = cast("discord.TextChannel", channel).history()
                    newest = [message async for message in history]
                for message in reversed(newest):
                    # What is older than all we know may be another database's, and answered.
                    if message.id > max(since, oldest):
                        is_late = message.id > answered_since
                        self._client.dispatch("message" if is_late else "missed_message", message)
            except SENDING_ERRORS as error:
                # Where no history may be read, nothing is found.
                _log.info("missed questions not looked for", error=str(error)[:200])

    def _spoken_in(self, since: int, known: Collection[str]) -> list[str]:
        """Other channels and threads of servers where something was said, the newest first.

        Discord names them with every new session; private ones only once somebody writes there.
        """
        last: dict[str, int] = {}
        for server in self._client.guilds:
            for channel in (*server.channels, *server.threads):
                newest: int = getattr(channel, "last_message_id", None) or 0
                is_talk = isinstance(channel, discord.abc.Messageable)
                if not is_talk or newest <= since or str(channel.id) in known:
                    continue
                if reads_history(channel, server.me):
                    last[str(channel.id)] = newest
        return sorted(last, key=last.__getitem__, reverse=True)

    async def _close(
        self, turn: TurnId | None, kept: tuple[ReplyMessage, ...], question: Question | None
    ) -> None:
        """Brings a reply's messages in line with what is stored; where there is none, makes one."""
        left = None if turn is None else self._left.pop(turn, None)
        try:
            store = self._lantern.turns.store
            beside = None if turn is None else await store.answers(turn)
            stored = await self._stored(turn, question)
            about = turn if stored is None else stored.id
            ids = {int(message.message_id) for message in kept}
            if question is None:
                channel = int(kept[0].channel_id)
                views = self._restored(stored, channel, beside) if stored is not None else ()
                views = views or self._withdrawn(left, kept[0].message_id, channel)
                shown = tuple(sorted(ids))
                with_buttons = None if stored is None else stored.id
                is_done = not views or await self._show(views, channel, shown, about=with_buttons)
            else:
                is_done = await self._answer(question, stored, left, ids)
                if is_done:
                    await self._lantern.questions.close(question.id)
            if is_done and turn is not None:
                await self._lantern.replies.close(turn)
            if is_done and about is not None and about != turn and beside is not None:
                where = kept[0].channel_id
                await self._lantern.replies.bind(about, where, sorted(ids), beside.ids)
        except BotError as error:
            _log.warning("reply not closed", turn_id=turn, error=error.user_message)

    async def _stored(self, turn: TurnId | None, question: Question | None) -> Turn | None:
        """What its messages show; None where nothing of it is stored, or any more."""
        store = self._lantern.turns.store
        # A retry that was cut off before its first word has given its place back.
        beside = None if turn is None or question is not None else await store.answers(turn)
        about = turn if beside is None else beside.shown
        return None if about is None else await store.get(about)

    def _withdrawn(self, left: Turn | None, asked: str, channel: int) -> tuple[MessageView, ...]:
        """An answer whose question was taken back since the start: nothing can be done with it."""
        if left is None:
            return ()
        is_forgotten = self._lantern.turns.taken_back.is_forgotten(left.user, asked)
        why = f"⏹ Stopped. {ENDED if is_forgotten else DELETED}"
        news = () if left.status == "done" else (why,)
        has_footer = self._lantern.place_settings.at(left.place).footer
        locale = self._readers.locale_at(self._client, channel)
        whole = replace(left, status="done")
        *views, last = restored(whole, has_footer=has_footer, news=news, locale=locale)
        return (*views, replace(last, acts=()))

    def _restored(
        self, stored: Turn, channel: int, answers: Answers | None = None
    ) -> tuple[MessageView, ...]:
        has_footer = self._lantern.place_settings.at(stored.place).footer
        locale = self._readers.locale_at(self._client, channel)
        return restored(stored, answers, has_footer=has_footer, locale=locale)

    async def _answer(
        self, question: Question, stored: Turn | None, left: Turn | None, ids: set[int]
    ) -> bool:
        """Tells who asked how their question stands; whether that needs no further try."""
        # Also when some are known: the last may have appeared in the moment we were killed.
        found = await answers_to(self._client, question)
        response = await response_of(self._client, question)
        found = found if response is None else {**found, response.id: response}
        ids |= found.keys()
        channel, shown = int(question.channel_id), tuple(sorted(ids))
        if stored is not None:
            views = self._restored(stored, channel)
        else:
            views = self._withdrawn(left, question.id, channel)
            if not shown and (views or self._lantern.turns.taken_back.is_deleted(question.id)):
                return True  # To a message that is gone nothing is said.
        if views:
            anew = None if stored is None else question
            about = None if stored is None else stored.id
            if await self._show(views, channel, shown, anew, about=about):
                return True
            # Where only its giver has the app the token alone may edit: it stood there half
            # written, with a Stop, for ever.
            own = zip(views, shown, strict=False) if response is not None else ()
            token = question.token or ""
            done = [await tell_by_token(self._client, token, *message) for message in own]
            return bool(done) and all(done)
        if found and not any(message.is_waiting for message in found.values()):
            return True  # A refusal, or a command's whole answer: only noting its end was missed.
        line = UNTOLD_LINE if question.token is None else COMMAND_LINE
        view = MessageView(told(line, self._readers.locale_at(self._client, channel)))
        if question.token is None:
            return await self._show((view,), channel, shown, question)
        if response is not None:
            # By the token, the one way to an answer that its asker alone sees.
            return await tell_by_token(self._client, question.token, view)
        # Without a response Discord itself told that the application did not respond.
        return not shown or await self._show((view,), channel, shown)

    async def _show(
        self,
        views: tuple[MessageView, ...],
        channel: int,
        ids: tuple[int, ...],
        question: Question | None = None,
        *,
        about: TurnId | None = None,
    ) -> bool:
        """Whether the messages need no further try; what they show acts on the turn ``about``."""
        # The nonces of the first time: where no history may be read, Discord gives the message
        # that is there already instead of a second one.
        answers = int(question.id) if question is not None and question.token is None else None
        transport = transport_to(
            self._client, channel, self._pacers, self._webhooks, self._readers, answers
        )
        # Where we may not write the others are not kept waiting; the next start tries again.
        writer = Writer(View(views), transport, denied_tries=1)
        try:
            async with asyncio.timeout(EACH_S):
                outcome = await writer.run(existing=ids, is_unsure=True)
        except TimeoutError:
            return False
        if about is not None and await self._lantern.turns.store.get(about) is None:
            # Its question was deleted meanwhile: its buttons were shown after they were taken off.
            with suppress(*SENDING_ERRORS):
                for message in writer.ids()[-1:]:
                    await transport.dress(message, None)
        return outcome != "given up"
