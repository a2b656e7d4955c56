"""Plays turns into messages: gives a turn's events to its view, lets a writer show it."""

import asyncio
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

import structlog

from bot.chat.lantern import Lantern
from bot.chat.turns import Turns
from bot.domain.chat import TurnRequest
from bot.domain.errors import BotError, Bug, RequestRefused, StoreUnavailable
from bot.domain.events import (
    Failed,
    Finished,
    Started,
    Stopped,
    TurnEvent,
    Way,
)
from bot.domain.ids import PersonaName, TurnId
from bot.policy.speakers import speaker_of
from bot.store.beside import Answers
from bot.store.replies import ReplyStore
from cogs._faults import SENDING_ERRORS
from cogs._pings import Pings
from cogs._questions import Questions
from cogs._reply_view import ReplyView, ShownAnswer
from cogs._transport import Transport
from cogs._view import MessageView, restored
from cogs._writer import Writer

TICK_S = 1.5
"""How often a status that changes by itself is looked at: reading percent, thinking seconds."""

MARKS_S = 0.5
"""How often it is looked whether anything was marked local only, where a provider is offered."""

TYPING_AFTER_S = 0.4
TYPING_EVERY_S = 8.0
"""Discord shows typing for about ten seconds."""

LAST_EDIT_S = 8.0
"""Longest wait for an end that is on its way to Discord: five seconds of its window, and a call."""

LAST_EDITS_S = 10.0
"""Before nothing can be edited any more an answer is ended so much earlier, to show its end."""

BEHIND_S = 5.0
"""Longest a reply lets an earlier one appear first: Discord may take none of that one."""

# "Stop ends it" was told to people whose Stop would have been refused.
WRITTEN = "An answer is being written there; whoever asked, or an admin, can end it by Stop."

TAKEN_AWAY = (
    "Somebody deleted the message that answer was being written in, and so it ended. Retry in the "
    "menu of its question answers in a new message."
)

TIME_IS_UP = "Discord lets me write here for 15 minutes only; Continue goes on."

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Hold:
    """A press that has the messages of one question's answers to itself."""

    press: object
    is_brief: bool
    is_let_go: asyncio.Event = field(default_factory=asyncio.Event)


class Replies:
    """Every reply being written; one per process."""

    def __init__(self, lantern: Lantern) -> None:
        self.questions = Questions(lantern.questions)
        self.pings = Pings(lantern.notes)
        self._lantern = lantern
        self._live: dict[ReplyView, int] = {}
        """With the channel of each, in the order they were asked."""
        self._held: dict[TurnId, _Hold] = {}
        self._all_done = asyncio.Event()
        self._all_done.set()

    async def play(
        self,
        request: TurnRequest,
        transport: Transport,
        notices: Sequence[str] = (),
        standing: ShownAnswer | None = None,
    ) -> Finished | Stopped | Failed | None:
        """Plays a request until its reply's last edit; cancelled, it stops the generation too.

        Gives how it ended; None where nobody is there to see it.

        Args:
            request: What is asked.
            transport: Makes and edits the messages.
            notices: Said under the answer.
            standing: Its messages are gone on in, instead of new ones.

        Raises:
            RequestRefused: of ``standing``, somebody deleted the message it was written in.
        """
        # Who waits for another's answer learns of it before that has its first word: posted at once
        # the waiting line stood above the answer it waited for, for good.
        channel = transport.channel_id
        unseen = (v for v, at in self._live.items() if at == channel and not v.is_seen.is_set())
        view = ReplyView(
            has_footer=self._lantern.place_settings.at(request.place).footer,
            notices=notices,
            standing=standing,
            offers_ping=not self.pings.wants(request.user),
            locale=transport.locale,
            behind=next(reversed(tuple(unseen)), None),
        )
        began = asyncio.get_running_loop().time()
        self._live[view] = channel
        self._all_done.clear()
        try:
            reply = _Reply(self._lantern, self.questions, view, transport)
            shown_in = await reply.play(request, standing)
        finally:
            del self._live[view]
            view.is_seen.set()
            view.is_let_go.set()
            if standing is not None:
                # Its messages may be gone on in; whoever is pinged now must not keep them.
                self._held.pop(standing.answers.first, None)
            if not self._live:
                self._all_done.set()
        # After its last edit: told sooner, they would find it unfinished.
        if shown_in and view.end is not None:
            now = asyncio.get_running_loop().time()
            first_at = now if view.first_at is None else view.first_at
            await self.pings.tell(
                request.user,
                view.end,
                first_at - began,
                transport,
                shown_in[0],
                is_private=request.place.is_private,
            )
        return view.end

    @contextmanager
    def held(
        self, answers: Answers, press: object = None, *, is_brief: bool = False
    ) -> Generator[bool]:
        """Keeps the messages of one question's answers for one press at a time.

        Args:
            answers: They.
            press: Who presses what; the same once more is told False and is to do nothing.
            is_brief: It takes a call to Discord: other presses wait for it (``let_go``).

        Raises:
            RequestRefused: another press is being answered in them, or an answer written.
        """
        before = self._held.get(answers.first)
        if press is not None and before is not None and before.press == press:
            yield False
            return
        # Two writers of one message would overwrite each other's words.
        if before is not None or any(map(self.is_writing, answers.ids)):
            raise RequestRefused(WRITTEN)
        self._held[answers.first] = hold = _Hold(press, is_brief)
        try:
            yield True
        finally:
            hold.is_let_go.set()
            if self._held.get(answers.first) is hold:
                del self._held[answers.first]

    def ending(self, answers: Answers) -> tuple[asyncio.Event, ...]:
        """Set as each thing comes to rest that is about to, in the messages of these answers.

        That is an end: people see it before we do. A last edit that took the last place of its
        channel's window is shown at once, and the library lets go of it as the window ends, up to
        five seconds later. And it is a look at another answer, of a moment. Each press in between
        was refused, in words of an answer that nobody was writing.
        """
        ends = (view for view in self._live if view.is_over and _is_in(view, answers))
        hold = self._held.get(answers.first)
        brief = () if hold is None or not hold.is_brief else (hold.is_let_go,)
        return (*(view.is_let_go for view in ends), *brief)

    async def let_go(self, answers: Answers) -> None:
        """Waits for those; what comes to their messages before is not shown by them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_EDIT_S):
                for event in self.ending(answers):
                    await event.wait()

    def offer(self, answers: Answers) -> bool:
        """Notes for an answer under way that its question was edited; False when it is none."""
        return any([view.offer(answers) for view in self._live])

    def close_way(self, turn: TurnId, way: Way) -> None:
        """Shows no longer, within a second, a way that was offered and is open no more."""
        for view in self._live:
            if view.turn == turn:
                view.close_way(way)

    def strip(self, turns: Iterable[TurnId]) -> bool:
        """Nothing can be done any more with the answers under way among these; is there any?

        To be said before they are ended: what they show at their end would have buttons.
        """
        views = [view for view in self._live if view.turn in set(turns)]
        for view in views:
            view.is_forgotten = True
        return bool(views)

    def is_writing(self, turn: TurnId) -> bool:
        """Are this turn's messages still being written?"""
        return any(view.turn == turn for view in self._live)

    async def settled(self, limit_s: float) -> bool:
        """Waits until no reply is being written; False when that took too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._all_done.wait()
                return True
        _log.warning("replies left unfinished", count=len(self._live))
        return False


class _Reply:
    """One turn being played: its events taken in, its view kept on the screen by a writer."""

    def __init__(
        self, lantern: Lantern, questions: Questions, view: ReplyView, transport: Transport
    ) -> None:
        self._questions = questions
        self._turns = lantern.turns
        self._store = lantern.replies
        self._shelf = lantern.shelf
        self._settings = lantern.place_settings
        self._privacy = lantern.privacy
        self._view = view
        self._transport = transport
        # Not by methods: whoever is held by its own writer is garbage once it is done.
        keep = partial(_keep, lantern.replies, view, transport.channel_id)
        showing = partial(_showing, lantern.turns, view)
        self._writer = Writer(view, transport, keep, showing=showing)

    async def play(self, request: TurnRequest, standing: ShownAnswer | None) -> tuple[int, ...]:
        """Gives the messages that show its end; none where it could not be shown."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(request))
            aside = (
                self._tick(),
                self._show_typing(),
                self._close_in_time(),
                self._come_after(),
                self._close_ways(),
            )
            beside = [group.create_task(each) for each in aside]
            # Asked for again, an answer whose message is gone comes in another.
            ids = () if standing is None else standing.messages
            outcome = await self._writer.run(existing=ids, renews=standing is not None)
            if outcome != "shown":
                # Leaving the turn stops its generation: nobody can read it any more.
                reading.cancel()
            for task in beside:
                task.cancel()
        # What was given up stays open in the store: the next start finds it and tries again.
        question = self._transport.question
        if outcome == "given up" and question is not None:
            self._questions.leave_open(question)
        turn = self._view.turn if standing is None else standing.turn.id
        if outcome == "given up" or turn is None:
            return ()
        is_taken_away = outcome == "gone" and bool(self._writer.lost)
        is_still_kept = await self._close(turn, standing, is_taken_away=is_taken_away)
        # Deleted with its question, it is no answer any more.
        if is_taken_away and is_still_kept and standing is not None:
            raise RequestRefused(TAKEN_AWAY)
        return self._writer.ids() if outcome == "shown" else ()

    async def _close(
        self, turn: TurnId, standing: ShownAnswer | None, *, is_taken_away: bool
    ) -> bool:
        """Notes where the answer stands now; was it, where that was looked for, still stored?"""
        now, shown_in = None, self._writer.ids()
        try:
            for message in self._writer.lost:
                await self._store.lost(str(message))
            # Which one it shows the store knows: a retry without a word gave its place back.
            if standing is not None or is_taken_away:
                now = await self._turns.store.answers(turn)
            if standing is None:
                await self._store.close(turn)
            else:
                shown = turn if now is None else now.shown
                beside = (standing.answers if now is None else now).ids
                channel = str(self._transport.channel_id)
                await self._store.bind(shown, channel, shown_in, beside)
            if is_taken_away and shown_in:
                await self._end_at(shown_in[-1], now)
        except BotError as error:
            _log.warning("reply not closed in the store", error=error.user_message)
        return now is not None

    async def _end_at(self, message: int, answers: Answers | None) -> None:
        """Lets what is left of an answer end in a message: its Stop stopped nothing any more."""
        stored = None if answers is None else await self._turns.store.get(answers.shown)
        last: MessageView | None = None
        if stored is not None and answers is not None and not self._view.is_forgotten:
            locale = self._transport.locale
            *_, last = restored(stored, answers, has_footer=False, locale=locale)
        with suppress(*SENDING_ERRORS):
            await self._transport.dress(message, last)

    async def _read(self, request: TurnRequest) -> None:
        """Takes in events as they come; showing them never holds the turn up."""
        loop = asyncio.get_running_loop()
        failure: BotError = Bug("The answer ended without a word of why; it is logged.")
        if self._transport.question is not None:
            # Stored with the turn, before anything is shown: a message that appears as we are
            # killed is found again by its question, and closed with what its turn has.
            request = replace(request, question=str(self._transport.question))

        def take(events: Sequence[TurnEvent]) -> None:
            now, due_at = loop.time(), self._view.due_at
            for event in events:
                self._view.on_event(event, now)
            # By the next tick alone "waiting for the answer that this goes on from" stood for three
            # seconds after that one was answered.
            if self._view.due_at != due_at:
                loop.call_at(self._view.due_at, self._look_again)
            self._writer.poke()

        try:
            async with self._turns.open(request, take) as events:
                async for event in events:
                    if isinstance(event, Started):
                        persona = self._shelf.get(event.persona)
                        speaks = self._settings.at(request.place).webhooks
                        self._transport.speak_as(speaker_of(persona) if speaks else None)
                    take((event,))
        except Exception as error:
            _log.exception("turn could not be read")
            bug = Bug("Something went wrong inside Lantern; it is logged.")
            failure = error if isinstance(error, BotError) else bug
        # A turn that ended and then failed on its way out has its answer; that is what is shown.
        if not self._view.is_over:
            take((Failed(self._view.turn, failure),))

    async def _tick(self) -> None:
        while not self._view.is_over and not self._view.length:
            await asyncio.sleep(TICK_S)
            self._look_again()

    async def _close_ways(self) -> None:
        """Offers no model any longer once it has left memory, and no provider once the words stay.

        A mark, or a persona, keeps them here.
        """
        seen = self._marks()
        while not self._view.is_over and not self._view.length:
            await asyncio.sleep(MARKS_S)
            now, turn = self._marks(), self._view.turn
            if turn is None:
                continue
            for way in self._view.offered:
                # Not judged at each look: a disk that is busy for a moment would take it as well.
                if way == "cloud" and now == seen:
                    continue
                try:
                    await self._turns.check_way(turn, way)
                except StoreUnavailable:
                    now = seen  # asked again
                except RequestRefused:
                    self._view.close_way(way)
                    self._writer.poke()
            seen = now

    def _marks(self) -> tuple[int, Mapping[PersonaName, bool]]:
        """Differs from before where words that might leave may have to stay by now."""
        return self._privacy.changes, self._shelf.local_only

    def _look_again(self) -> None:
        """What is shown may read otherwise by now, though nothing has happened."""
        self._view.changes += 1
        self._writer.poke()

    async def _close_in_time(self) -> None:
        # Where only the token may edit, what is written as it ends stood there for ever with a
        # Stop, and was generated on for two minutes.
        if self._transport.closes_at < inf:
            left_s = self._transport.closes_at - asyncio.get_running_loop().time()
            await asyncio.sleep(left_s - LAST_EDITS_S)
            if self._view.turn is not None:
                await self._turns.end((self._view.turn,), TIME_IS_UP, by_asker=False)

    async def _come_after(self) -> None:
        if (first := self._view.behind) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEHIND_S):
                    await first.is_seen.wait()
            self._view.behind = None
            self._look_again()

    async def _show_typing(self) -> None:
        # Beside the work and only in a silence: the first words never wait for it.
        await asyncio.sleep(TYPING_AFTER_S)
        while not self._writer.is_visible and not self._view.is_over:
            with suppress(*SENDING_ERRORS):
                await self._transport.show_typing()
            await asyncio.sleep(TYPING_EVERY_S)


def _is_in(view: ReplyView, answers: Answers) -> bool:
    """Does a reply grow in the messages of these answers?"""
    # What was refused before it was stored has no turn, and stands there all the same.
    beside = view.answers
    return view.turn in answers.ids or (beside is not None and beside.first == answers.first)


def _showing(turns: Turns, view: ReplyView) -> None:
    if view.turn is not None and not view.is_over:
        turns.showing(view.turn)


async def _keep(
    store: ReplyStore, view: ReplyView, channel: int, part: int, message_id: int
) -> bool:
    """Remembers a message, so that a reply to it branches and a crash leaves no spinner."""
    view.is_seen.set()
    if view.turn is None:
        return False
    try:
        await store.put(str(message_id), str(channel), view.turn, part)
    except BotError as error:
        # Kept for all that: a full disk must not silence the answer, nor be asked at each edit.
        _log.warning("message not remembered", error=error.user_message)
    return True
