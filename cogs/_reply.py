"""Plays turns into messages: folds a turn's events into its view, lets a writer show it."""

import asyncio
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import inf
from typing import assert_never

import structlog

from bot.chat import words
from bot.chat.lantern import Lantern
from bot.domain.chat import Turn, TurnRequest
from bot.domain.errors import BotError, Bug, RequestRefused
from bot.domain.events import (
    Evicting,
    Failed,
    FellBack,
    Finished,
    Loading,
    Notice,
    Offered,
    Progress,
    Queued,
    Reading,
    ReasoningDelta,
    Resuming,
    Routed,
    Silence,
    Started,
    Stopped,
    TextDelta,
    TurnEvent,
    Waking,
)
from bot.domain.ids import TurnId
from bot.policy.conversation import gone_on
from bot.policy.formulas import plain_formulas
from bot.policy.markup import harmless
from bot.policy.speakers import speaker_of
from bot.policy.splitting import LIMIT, Part, cut_reply, shown_parts
from bot.policy.tables import tabled
from bot.store.beside import Answers
from cogs._faults import SENDING_ERRORS
from cogs._pings import Pings
from cogs._questions import Questions
from cogs._transport import Transport
from cogs._view import ONLY, Act, MessageView, View, ended, laid_out, restored, small_line
from cogs._writer import Writer

PATIENCE_S = 1.2
"""Seconds of silence before a status is shown: its message would delay the first word's."""

TICK_S = 1.5
"""How often a status that changes by itself is looked at: reading percent, thinking seconds."""

TYPING_AFTER_S = 0.4
TYPING_EVERY_S = 8.0
"""Discord shows typing for about ten seconds."""

LAST_EDIT_S = 8.0
"""Longest wait for an end that is on its way to Discord: five seconds of its window, and a call."""

LAST_EDITS_S = 10.0
"""Before nothing can be edited any more an answer is ended so much earlier, to show its end."""

TIME_IS_UP = "Here Discord lets me write for 15 minutes; Continue goes on."

_REST = "-# ⋯"
"""Stands in messages of the answer before, until it is known whether they are needed."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer that stands in its messages: what a press is answered in."""

    turn: Turn
    messages: tuple[int, ...]
    answers: Answers
    """Those to its question, before the press."""
    is_continued: bool = False
    """It is gone on with; else another takes its place."""

    def place(self, *, is_new: bool) -> tuple[int, int]:
        """Which of how many answers is shown: a new one beside those with words, or this one."""
        nth, of = self.answers.place(self.turn.id)
        # A question without an answer is not looked back at.
        after = of + (1 if self.turn.reply_text.strip() else 0)
        return (after, after) if is_new else (nth, of)


class ReplyView(View):
    """One reply as it grows. Times are the loop's seconds."""

    def __init__(
        self,
        *,
        has_footer: bool,
        notices: Sequence[str] = (),
        standing: ShownAnswer | None = None,
        offers_ping: bool = False,
    ) -> None:
        """``offers_ping`` lets its reader ask for a ping while they wait."""
        super().__init__()
        self._has_footer = has_footer
        self._offers_ping = offers_ping
        self._standing = standing
        self._text: list[str] = []
        self._continues = standing is not None and standing.is_continued
        if standing is not None and standing.is_continued:
            self._text.append(standing.turn.reply_text)
            self.length = len(standing.turn.reply_text)
        self._parts: tuple[Part, ...] = ()
        self._status: Progress | Reading | ReasoningDelta | Silence | Notice | None = None
        self._status_since = 0.0
        self._beside: Offered | Resuming | None = None
        """What goes with a status: ways to take instead, or a host that was lost in the middle."""
        self._beside_at = 0.0
        self._notices = [*notices]
        self._has_thoughts = False
        self._mark = words.receipt_mark(standing.turn.receipt) if self._text and standing else ""
        """Of the providers whose words come next, or came before; empty for a host's."""
        self._ended: tuple[MessageView, ...] = ()
        self._before: tuple[MessageView, ...] = ()
        """As they read when they were last asked for."""
        self.first_at: float | None = None
        """When its first new words came."""
        self.end: Finished | Stopped | Failed | None = None
        self.is_edited = False
        """Its question reads otherwise than when it was asked."""
        self.is_forgotten = False
        """Its question is gone: nothing can be done with it once it has ended."""
        self.is_let_go = asyncio.Event()
        """Set once nobody writes it any more."""
        self.turn: TurnId | None = None
        """Known from the first event on, unless the request was refused."""

    def on_event(self, event: TurnEvent, now: float) -> None:
        """Takes in one event of the turn."""
        if not isinstance(event, TextDelta):
            # Text counts by its length alone: a change per token would wake the writer each time.
            self.changes += 1
        match event:
            case TextDelta(text=text):
                # Discord refuses a message of blanks alone: an answer begins with words.
                if self._text or text.strip():
                    self._status = self._beside = None
                    # The first words that go on with others may need a space before them.
                    before = self._text[0] if self._continues and len(self._text) == 1 else ""
                    self._text.append(gone_on(before, text)[len(before) :])
                    self.first_at = now if self.first_at is None else self.first_at
                    self.length += len(self._text[-1])
            case (
                Queued()
                | Evicting()
                | Loading()
                | Waking()
                | Reading()
                | ReasoningDelta()
                | Silence()
                # Under the answer it read as if the database still were busy.
                | Notice(is_passing=True)
            ):
                self._has_thoughts = self._has_thoughts or isinstance(event, ReasoningDelta)
                is_same = type(event) is type(self._status)
                self._status_since = self._status_since if is_same else now
                self._status = event
                is_asked = isinstance(event, Reading)
                mark = words.provider_mark(event.candidate.provider) if is_asked else self._mark
                # Words that are gone on with keep the mark of who said them.
                self._mark = mark or (self._mark if self._continues else "")
            case Started(turn=turn):
                self.turn = turn
            case Offered() | Resuming():
                self._beside, self._beside_at = event, now
                self._status = None if isinstance(event, Resuming) else self._status
            case Notice(text=text):
                self._notices.append(text)
            case Finished() | Stopped() | Failed():
                self.end, self.is_over = event, True
                self.turn = event.turn or self.turn
            case Routed() | FellBack():
                pass  # told by /why; a fallback before the first word goes unseen
            case _:
                assert_never(event)

    def messages(self, now: float) -> tuple[MessageView, ...]:
        """The messages as they should read now; none while nothing is worth a message."""
        views = self._as_it_stands(now)
        if not (self.is_over and views and views[-1].acts):
            return views
        *others, last = views
        if self.is_forgotten:
            return (*others, replace(last, acts=()))
        return (*others, replace(last, acts=(*last.acts, Act.EDITED))) if self.is_edited else views

    def _as_it_stands(self, now: float) -> tuple[MessageView, ...]:
        text, standing = "".join(self._text), self._standing
        has_new = len(self._text) > self._continues
        if self.end is not None and standing is not None and not has_new:
            # Nothing came of the press: it reads as before, and says so.
            news = f"ℹ {words.stopped_text(self.end)}" if isinstance(self.end, Stopped) else ""
            if isinstance(self.end, Failed):
                news = words.error_text(self.end.error)
            place = standing.place(is_new=False)
            return restored(
                standing.turn, has_footer=self._has_footer, place=place, news=[news] if news else []
            )
        if self.end is not None:
            place = ONLY
            if standing is not None:
                place = standing.place(is_new=not standing.is_continued)
            # Once: fifty messages are written one by one, and each asks for all of them twice.
            self._ended = self._ended or ended(
                text,
                self.end,
                notices=self._notices,
                has_thoughts=self._has_thoughts,
                has_footer=self._has_footer,
                said_by=self._mark,
                place=place,
            )
            return self._ended
        views = self._growing(text, now)
        if not views or standing is None:
            return views
        # Taken away they would come again below what others said since.
        rest = len(standing.messages) - len(views)
        return (*views, *(MessageView(_REST) for _ in range(rest)))

    def _growing(self, text: str, now: float) -> tuple[MessageView, ...]:
        """The messages while the answer is being made."""
        if text:
            under = small_line(self._mark)
            room = LIMIT - len(under)
            told = tabled(plain_formulas(text, is_whole=False), is_whole=False)
            self._parts = cut_reply(harmless(told, is_whole=False), room, self._parts)
            shown = tuple(f"{part}{under}" for part in shown_parts(self._parts, room))
            small = ""
            if isinstance(self._beside, Resuming):
                small = small_line(words.resuming_line(self._beside, self._status))
            elif isinstance(self._status, Silence):
                small = small_line(words.silence_line(self._status))
            elif status := self._status_text(now):
                small = small_line(" ".join(status.split("\n")))
            # Where no room is left for it the answer itself goes first.
            if shown and len(shown[-1]) + len(small) <= LIMIT:
                shown = (*shown[:-1], shown[-1] + small)
            # A table that is none yet must not take away what stands there meanwhile.
            views = laid_out(shown, [Act.STOP], self.turn, self._mark) or self._before
        # "reading 33 tokens" between a load and its first word told nobody anything: what often
        # ends at once leaves the one before standing while it is new.
        elif (
            isinstance(self._status, Reading | ReasoningDelta)
            and now - self._status_since < PATIENCE_S
        ):
            return self._before
        elif status := self._status_text(now):
            acts, labels = [Act.STOP], tuple[tuple[Act, str], ...]()
            if isinstance(self._status, Queued | Evicting | Loading | Waking):
                acts = [Act.CANCEL]
                if isinstance(offer := self._beside, Offered):
                    said = zip((Act.WARM, Act.CLOUD), words.offer_labels(offer), strict=True)
                    labels = tuple((act, label) for act, label in said if label)
                    acts += [act for act, _ in labels]
                acts += [Act.TELL] if self._offers_ping else []
            views = laid_out((status,), acts, self.turn)
            views = tuple(replace(view, labels=labels) for view in views)
        else:
            return ()
        self._before = views
        return views

    def _status_text(self, now: float) -> str:
        lasted = now - self._status_since
        match self._status:
            case None:
                return ""
            case Queued() | Evicting() | Loading() | Waking():
                line, offer = words.progress_line(self._status), self._beside
                if not isinstance(offer, Offered):
                    return line
                return f"{line}\n{words.offer_text(offer, self._status, now - self._beside_at)}"
            case Notice(text=text):
                return f"⏳ {text}"
            case Silence():
                return words.silence_line(self._status)
            case Reading():
                return words.reading_line(self._status, lasted)
            case ReasoningDelta():
                return f"💭 Thinking … {lasted:.0f} s" if lasted >= 1 else "💭 Thinking …"


class Replies:
    """Every reply being written; one per process."""

    def __init__(self, lantern: Lantern) -> None:
        self.questions = Questions(lantern.questions)
        self.pings = Pings(lantern.notes)
        self._lantern = lantern
        self._live: set[ReplyView] = set()
        self._held: dict[TurnId, tuple[object, object]] = {}
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
        """
        view = ReplyView(
            has_footer=self._lantern.place_settings.at(request.place).footer,
            notices=notices,
            standing=standing,
            offers_ping=not self.pings.wants(request.user),
        )
        began = asyncio.get_running_loop().time()
        self._live.add(view)
        self._all_done.clear()
        try:
            reply = _Reply(self._lantern, self.questions, view, transport)
            shown_in = await reply.play(request, standing)
        finally:
            self._live.discard(view)
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
    def held(self, answers: Answers, press: object = None) -> Generator[bool]:
        """Keeps the messages of one question's answers for one press at a time.

        Args:
            answers: They.
            press: Who presses what; the same once more is told False and is to do nothing.

        Raises:
            RequestRefused: another press is being answered in them, or an answer written.
        """
        before = self._held.get(answers.first)
        if press is not None and before is not None and before[0] == press:
            yield False
            return
        # Two writers of one message would overwrite each other's words.
        if before is not None or any(map(self.is_writing, answers.ids)):
            raise RequestRefused("An answer is being written there; Stop ends it.")
        self._held[answers.first] = hold = (press, object())
        try:
            yield True
        finally:
            if self._held.get(answers.first) is hold:
                del self._held[answers.first]

    def ending(self, answers: Answers) -> tuple[ReplyView, ...]:
        """Those that have ended, of the answers to one question that are being written.

        People see such an end before we do: a last edit that took the last place of its channel's
        window is shown at once, and the library lets go of it as the window ends, up to five
        seconds later. Each press in between was refused.
        """
        return tuple(view for view in self._live if view.is_over and view.turn in answers.ids)

    async def let_go(self, answers: Answers) -> None:
        """Waits for such ends; what comes to their messages before is not shown by them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_EDIT_S):
                for view in self.ending(answers):
                    await view.is_let_go.wait()

    def offer(self, turn: TurnId, *, is_edited: bool) -> bool:
        """Notes for an answer under way that its question was edited; False when it is none."""
        views = [view for view in self._live if view.turn == turn]
        for view in views:
            view.is_edited = is_edited
        return bool(views)

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
        self._view = view
        self._transport = transport
        self._writer = Writer(view, transport, self._keep)

    async def play(self, request: TurnRequest, standing: ShownAnswer | None) -> tuple[int, ...]:
        """Gives the messages that show its end; none where it could not be shown."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(request))
            aside = (self._tick(), self._show_typing(), self._close_in_time())
            beside = [group.create_task(each) for each in aside]
            outcome = await self._writer.run(existing=() if standing is None else standing.messages)
            if outcome != "shown":
                # Leaving the turn stops its generation: nobody can read it any more.
                reading.cancel()
            for task in beside:
                task.cancel()
        shown_in = self._writer.ids()
        if outcome == "gone" and len(shown_in) > 1:
            # Whoever deletes one message of an answer as the next begins left that with a Stop.
            with suppress(*SENDING_ERRORS):
                await self._transport.dress(shown_in[-1], None)
        # What was given up stays open in the store: the next start finds it and tries again.
        question = self._transport.question
        if outcome == "given up" and question is not None:
            self._questions.leave_open(question)
        if outcome == "given up" or (self._view.turn is None and standing is None):
            return ()
        try:
            if standing is None and self._view.turn is not None:
                await self._store.close(self._view.turn)
            elif standing is not None:
                # Which one that is the store knows: a retry without a word gave its place back.
                now = await self._turns.store.answers(standing.turn.id)
                shown = standing.turn.id if now is None else now.shown
                beside_it = standing.answers.ids if now is None else now.ids
                channel = str(self._transport.channel_id)
                await self._store.bind(shown, channel, self._writer.ids(), beside_it)
        except BotError as error:
            _log.warning("reply not closed in the store", error=error.user_message)
        return self._writer.ids() if outcome == "shown" else ()

    async def _read(self, request: TurnRequest) -> None:
        """Takes in events as they come; showing them never holds the turn up."""
        loop = asyncio.get_running_loop()
        failure: BotError = Bug("The answer ended without a word of why; it is logged.")
        if self._transport.question is not None:
            # Stored with the turn, before anything is shown: a message that appears as we are
            # killed is found again by its question, and closed with what its turn has.
            request = replace(request, question=str(self._transport.question))

        def take(events: Sequence[TurnEvent]) -> None:
            now = loop.time()
            for event in events:
                self._view.on_event(event, now)
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

    async def _show_typing(self) -> None:
        # Beside the work and only in a silence: the first words never wait for it.
        await asyncio.sleep(TYPING_AFTER_S)
        while not self._writer.is_visible and not self._view.is_over:
            with suppress(*SENDING_ERRORS):
                await self._transport.show_typing()
            await asyncio.sleep(TYPING_EVERY_S)

    async def _keep(self, part: int, message_id: int) -> bool:
        """Remembers a message, so that a reply to it branches and a crash leaves no spinner."""
        if self._view.turn is None:
            return False
        try:
            channel = str(self._transport.channel_id)
            await self._store.put(str(message_id), channel, self._view.turn, part)
        except BotError as error:
            # Kept for all that: a full disk must not silence the answer, nor be asked at each edit.
            _log.warning("message not remembered", error=error.user_message)
        return True
