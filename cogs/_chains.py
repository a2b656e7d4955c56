"""What a message goes on from: the answer or words it replies to, and what its thread is about."""

import asyncio
from dataclasses import replace

import discord
import structlog

from bot.chat.lantern import Lantern
from bot.domain.chat import Attachment, Quote
from bot.domain.errors import RequestRefused
from bot.domain.ids import PlaceId, TurnId
from bot.domain.values import value
from bot.policy.access import MAX_ATTACHMENTS
from bot.policy.conversation import ConversationMode
from cogs._faults import SENDING_ERRORS
from cogs._mentions import is_mentioned, quote_of, read_files, said
from cogs._places import place_of, user_id

MOST_QUOTED = 8
"""Messages of other people that a chain of replies brings along, newest first."""

LOOK_S = 2.0
"""Longest time to look up earlier messages; what was found by then is taken along."""

_NOTE = "discord.thread.{}"
"""Of a thread that was opened to talk with us."""

_log = structlog.get_logger(__name__)


@value
class Before:
    """What stands before a question."""

    parent: TurnId | None = None
    opened_on: TurnId | None = None
    """The turn its thread was opened on."""
    quotes: tuple[Quote, ...] = ()
    """Other people's words, oldest first."""
    files: tuple[tuple[int, discord.Attachment], ...] = ()
    """What was attached to those, with the message of each."""
    is_hidden: bool = False
    """Discord does not show us the words it is about."""


async def files_of(
    message: discord.Message, before: Before
) -> tuple[tuple[Attachment, ...], tuple[str, ...]]:
    """The files of a question and of the words before it, and what of all that is left out.

    Raises:
        RequestRefused: of the question's own, none can be read.
    """
    files, left_out = await read_files(message.attachments)
    try:
        taken = before.files[: MAX_ATTACHMENTS - len(files)]
        messages, quoted = [message for message, _ in taken], [file for _, file in taken]
        others, bad = await read_files(quoted, messages)
    except RequestRefused as refusal:
        # The question is not about a file that somebody else's message has, too.
        others, bad = (), (f"Left out: {refusal.user_message}",)
    return (*others, *files), (*left_out, *bad)


class Chains:
    """Looks up what stands before questions; holds what it may forget."""

    def __init__(self, client: discord.Client, lantern: Lantern, mode: ConversationMode) -> None:
        self._client = client
        self._replies = lantern.replies
        self._turns = lantern.turns
        self._notes = lantern.notes
        self._mode = mode
        self._ours = set[int]()

    async def replied_to(self, message: discord.Message) -> TurnId | None:
        """The turn whose answer a message replies to."""
        about = _about(message)
        return None if about is None else await self._replies.turn_of(str(about))

    async def is_ours(self, channel: object, me: int) -> bool:
        """Was this thread opened to talk with us: by ``/thread``, or on an answer or question?"""
        if isinstance(channel, discord.Thread) and channel.owner_id == me:
            return True
        # By its id: a thread made a moment ago is not in the library's cache yet.
        if not isinstance(channel, discord.Thread | discord.PartialMessageable):
            return False
        if channel.id not in self._ours:
            if await self._turn_of(channel.id) is not None:
                await self._note(channel.id)
            elif await self._notes.get(_NOTE.format(channel.id)) is not None:
                self._ours.add(channel.id)
        return channel.id in self._ours

    async def _note(self, thread: int) -> None:
        # Once the question it was opened on was deleted or forgotten nothing told any more, and
        # people there were answered no longer, without a word.
        await self._notes.keep(_NOTE.format(thread), "ours")
        self._ours.add(thread)

    async def before(self, message: discord.Message, parent: TurnId | None = None) -> Before:
        """Everything that stands before a message; ``parent`` where it is known already."""
        if parent is not None:
            return Before(parent)
        # From the newest up; whatever was found before an error or the time's end counts.
        found: list[discord.Message] = []
        try:
            async with asyncio.timeout(LOOK_S):
                parent = await self._climbed(message, found)
        except SENDING_ERRORS as error:
            _log.info("earlier messages not looked up", error=str(error)[:200])
        start = Before()
        # The first message of a forum post has the post's own id: it is no words before itself.
        if parent is None and message.id == message.channel.id:
            await self._note(message.id)
            start = Before(quotes=self._title(message))
        elif parent is None:
            start = await self.thread_start(message.channel)
        quoted = [self._quoted(earlier) for earlier in reversed(found)]
        return Before(
            parent,
            start.opened_on,
            tuple(quote for before in (start, *quoted) for quote in before.quotes),
            tuple(file for before in (start, *quoted) for file in before.files),
            any(before.is_hidden for before in (start, *quoted)),
        )

    async def thread_start(self, channel: object) -> Before:
        """What a thread was opened on: a turn, or somebody's words while nothing followed them."""
        if not isinstance(channel, discord.Thread):
            return Before()
        # Discord gives a thread the id of the message it was opened on.
        if turn := await self._turn_of(channel.id):
            return Before(opened_on=turn)
        if await self._turns.store.last_in(PlaceId(f"discord:{channel.id}")) is not None:
            return Before()  # a turn of it has them
        parent = channel.parent
        holder = channel if parent is None or isinstance(parent, discord.ForumChannel) else parent
        try:
            async with asyncio.timeout(LOOK_S):
                starter = await holder.fetch_message(channel.id)
        except SENDING_ERRORS as error:
            # A thread without a message to begin with, or one we may not read.
            _log.info("thread's first message not found", error=str(error)[:200])
            return Before()
        found = self._quoted(starter)
        return replace(found, quotes=(*self._title(starter), *found.quotes))

    def _title(self, starter: discord.Message) -> tuple[Quote, ...]:
        """What a forum post is called, as its author's words; none where the post begins so."""
        post, me = starter.channel, 0 if self._client.user is None else self._client.user.id
        if not isinstance(post, discord.Thread) or not isinstance(
            post.parent, discord.ForumChannel
        ):
            return ()
        # Many write their whole question there, and only our name below.
        if said(starter, me).casefold().startswith(post.name.casefold()):
            return ()
        at_ms, author = int(starter.created_at.timestamp() * 1000), starter.author
        name = author.display_name
        place, message = place_of(starter), str(starter.id)
        return (Quote(post.name, user_id(author), name, place, at_ms, message),)

    async def _climbed(
        self, message: discord.Message, found: list[discord.Message]
    ) -> TurnId | None:
        """The turn at the upper end of a chain of replies; adds the messages on the way to it."""
        most = 1 if self._mode == "channel" else MOST_QUOTED
        while len(found) < most and (about := _about(message)) is not None:
            # In a channel that goes on by itself a friend's question stands in the transcript.
            if self._mode == "reply_chain" and (turn := await self._turn_of(about)):
                return turn
            earlier = None if message.reference is None else message.reference.resolved
            if earlier is None and self._mode == "reply_chain":
                # Of a chain the library knows the next message alone.
                earlier = await message.channel.fetch_message(about)
            if not isinstance(earlier, discord.Message):
                break  # deleted
            found.append(earlier)
            message = earlier
        return None

    async def _turn_of(self, message: int) -> TurnId | None:
        """The turn a message shows; of a question, the answer that is shown to it by now."""
        if shown := await self._replies.turn_of(str(message)):
            return shown
        asked = await self._turns.store.asked_by(str(message))
        # The turn it began may have failed, and been asked again: whoever replied to the question
        # was answered as if nobody had answered it, under an answer that everybody could read.
        answers = None if asked is None else await self._turns.store.answers(asked)
        return asked if answers is None else answers.shown

    def _quoted(self, earlier: discord.Message) -> Before:
        me = 0 if self._client.user is None else self._client.user.id
        if quote := quote_of(earlier, me):
            files = tuple((earlier.id, file) for file in earlier.attachments)
            return Before(quotes=(quote,), files=files)
        # Without the intent contents come empty, but for messages that ping us and our own.
        is_shown = self._client.intents.message_content or earlier.guild is None
        is_hidden = not is_shown and earlier.author.id != me and not is_mentioned(earlier, me)
        return Before(is_hidden=is_hidden)


def _about(message: discord.Message) -> int | None:
    """The message that is replied to, when it stands in the same channel."""
    reference = message.reference
    # A forwarded message refers to its original too, and one of another place is not ours.
    if reference is None or reference.type is not discord.MessageReferenceType.default:
        return None
    return reference.message_id if reference.channel_id == message.channel.id else None
