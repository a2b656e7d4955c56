"""What the messages of one reply read like while its turn goes on, and at its end."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from bot.chat import words
from bot.domain.chat import Turn
from bot.domain.errors import QuestionDeleted
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
    Way,
)
from bot.domain.ids import TurnId
from bot.domain.values import value
from bot.policy.conversation import gone_on
from bot.policy.formulas import plain_formulas
from bot.policy.markup import harmless
from bot.policy.splitting import LIMIT, Part, cut_reply, shown_parts
from bot.policy.tables import tabled
from bot.store.beside import Answers
from cogs._languages import told
from cogs._view import (
    ONLY,
    Act,
    MessageView,
    View,
    ended,
    laid_out,
    restored,
    small_line,
    with_offer,
)

PATIENCE_S = 1.2
"""Seconds of silence before a status is shown: its message would delay the first word's."""

SPARE = MessageView("-# ⋯", is_spare=True)


@value
class ShownAnswer:
    """An answer that stands in its messages: what a press is answered in."""

    turn: Turn
    messages: tuple[int, ...]
    answers: Answers
    """Those to its question, before the press."""
    is_continued: bool = False
    """It is gone on with; else another takes its place."""
    is_reworded: bool = False
    """The other is to the question as it reads since it was edited."""

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
        locale: object = None,
        behind: "ReplyView | None" = None,
    ) -> None:
        """``offers_ping`` lets its reader ask for a ping while they wait."""
        super().__init__()
        self._locale = locale
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
        self.due_at = 0.0
        """When a status that often ends at once would be shown after all."""
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
        self._outdated = frozenset[TurnId]() if standing is None else standing.answers.outdated
        self.is_forgotten = False
        """Its question is gone: nothing can be done with it once it has ended."""
        self.behind = behind
        """One asked earlier in its channel: until that is seen this one shows words alone."""
        self.is_seen = asyncio.Event()
        """Set once a message of it stands in the channel, or none ever will."""
        self.is_let_go = asyncio.Event()
        """Set once nobody writes it any more."""
        self.answers = None if standing is None else standing.answers
        """Those in whose messages it grows."""
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
                    is_joint = self._continues and len(self._text) == 1
                    text = gone_on(self._text[0], text)[self.length :] if is_joint else text
                    self._text.append(text)
                    self.first_at = now if self.first_at is None else self.first_at
                    self.length += len(text)
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
                self.due_at = self._status_since + PATIENCE_S
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

    @property
    def offered(self) -> tuple[Way, ...]:
        """The ways that may be taken, beside waiting."""
        return self._beside.ways if isinstance(self._beside, Offered) else ()

    def close_way(self, way: Way) -> None:
        """A way that was offered is open no more."""
        if isinstance(self._beside, Offered):
            self._beside = self._beside.without(way)
            self.changes += 1

    def messages(self, now: float) -> tuple[MessageView, ...]:
        """The messages as they should read now; none while nothing is worth a message."""
        views = self._as_it_stands(now)
        if not (self.is_over and views and views[-1].acts):
            return views
        *others, last = views
        if self.is_forgotten:
            return (*others, replace(last, acts=()))
        return (*others, with_offer(last)) if self._is_outdated() else views

    def offer(self, answers: Answers) -> bool:
        """Notes which answers its question was edited under; False when it is none of them."""
        standing = self._standing
        is_beside = standing is not None and standing.answers.first == answers.first
        if not is_beside and self.turn not in answers.ids:
            return False
        self._outdated = answers.outdated
        return True

    def _is_outdated(self) -> bool:
        """Is what it shows at its end to other words than its question has?"""
        standing = self._standing
        # Asked again in the same words, both answers are to those.
        if standing is not None and not (standing.is_reworded and self._has_new()):
            return standing.turn.id in self._outdated
        return self.turn in self._outdated

    def _has_new(self) -> bool:
        return len(self._text) > self._continues

    def _as_it_stands(self, now: float) -> tuple[MessageView, ...]:
        text, standing = "".join(self._text), self._standing
        if self.end is not None and standing is not None and not self._has_new():
            # Nothing came of the press: it reads as before, and says so.
            news = ""
            if isinstance(self.end, Stopped):
                has_text = bool(standing.turn.reply_text.strip())
                news = words.stopped_text(self.end, has_text=has_text)
            if isinstance(self.end, Failed):
                news = words.error_text(self.end.error)
            return restored(
                standing.turn,
                # Whether it is outdated may have changed since.
                replace(standing.answers, outdated=frozenset()),
                has_footer=self._has_footer,
                news=[news] if news else [],
                is_vain=isinstance(self.end, Failed),
                locale=self._locale,
            )
        is_unasked = isinstance(self.end, Failed) and isinstance(self.end.error, QuestionDeleted)
        if is_unasked and not self._before:
            return ()
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
                locale=self._locale,
            )
            return self._ended
        views = self._growing(text, now)
        if not views or standing is None:
            return views
        # Taken away they would come again below what others said since.
        rest = len(standing.messages) - len(views)
        return (*views, *(SPARE for _ in range(rest)))

    def _growing(self, text: str, now: float) -> tuple[MessageView, ...]:
        """The messages while the answer is being made."""
        if text:
            under = small_line(self._mark)
            room = LIMIT - len(under)
            whole = tabled(plain_formulas(text, is_whole=False), is_whole=False)
            self._parts = cut_reply(harmless(whole, is_whole=False), room, self._parts)
            shown = tuple(f"{part}{under}" for part in shown_parts(self._parts, room))
            small = ""
            if isinstance(self._beside, Resuming):
                line = words.resuming_line(self._beside, self._status)
                small = small_line(told(line, self._locale))
            elif status := told(self._status_text(now), self._locale):
                small = small_line(" ".join(status.split("\n")))
            # Where no room is left for it the answer itself goes first.
            if shown and len(shown[-1]) + len(small) <= LIMIT:
                shown = (*shown[:-1], shown[-1] + small)
            # A table that is none yet must not take away what stands there meanwhile.
            views = laid_out(shown, [Act.STOP], self.turn, self._mark) or self._before
        # "reading 33 tokens" between a load and its first word told nobody anything: what often
        # ends at once leaves the one before standing while it is new.
        elif isinstance(self._status, Reading | ReasoningDelta) and now < self.due_at:
            return self._before
        elif self.behind is not None and not (
            self.is_seen.is_set() or self.behind.is_seen.is_set()
        ):
            return ()
        elif status := told(self._status_text(now), self._locale):
            acts, labels = [Act.STOP], tuple[tuple[Act, str], ...]()
            if isinstance(self._status, Queued | Evicting | Loading | Waking):
                acts = [Act.CANCEL]
                if isinstance(offer := self._beside, Offered):
                    said = zip((Act.WARM, Act.CLOUD), words.offer_labels(offer), strict=True)
                    names = frozenset(filter(None, [offer.cloud and offer.cloud.where]))
                    labels = tuple(
                        (act, told(label, self._locale, names)) for act, label in said if label
                    )
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
