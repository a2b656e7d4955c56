"""A reply as it grows: a fold over the turn's events that says how its messages should read now."""

from dataclasses import dataclass
from typing import assert_never

from bot.chat import words
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
    Routed,
    Started,
    Stopped,
    TextDelta,
    TurnEvent,
)
from bot.domain.ids import TurnId
from bot.policy.markup import harmless
from bot.policy.splitting import LIMIT, Part, cut_reply
from cogs._view import Act, Look, ended, growing, waiting

PATIENCE_S = 1.2
"""A shorter silence shows no status: its message would only stand in the way of the first word."""


@dataclass(frozen=True, slots=True)
class _Thinking:
    """The model reasons and has not begun to answer."""


class Page:
    """One reply. Times are the loop's seconds."""

    def __init__(self, *, has_footer: bool) -> None:
        self._has_footer = has_footer
        self._text: list[str] = []
        self._parts: tuple[Part, ...] = ()
        self._status: Progress | Reading | _Thinking | None = None
        self._status_since = 0.0
        self._offer: Offered | None = None
        self._notices: list[str] = []
        self._has_thoughts = False
        self._was_visible = False
        self._length = 0
        self._changes = 0
        self._end: Finished | Stopped | Failed | None = None
        self.turn: TurnId | None = None
        """Known from the first event on, unless the request was refused."""

    @property
    def is_over(self) -> bool:
        """Has the last event come?"""
        return self._end is not None

    @property
    def length(self) -> int:
        """Characters of the answer so far; 0 while only a status is shown."""
        return self._length

    @property
    def changes(self) -> int:
        """Counts what is new besides the answer's length."""
        return self._changes

    def touch(self) -> None:
        """Time went by: a status may read differently."""
        self._changes += 1

    def on_event(self, event: TurnEvent, now: float) -> None:
        """Takes in one event of the turn."""
        if isinstance(event, TextDelta):
            self._add(event.text)
            return
        self._changes += 1
        match event:
            case ReasoningDelta():
                self._has_thoughts = True
                self._enter(_Thinking(), now)
            case Queued() | Evicting() | Loading() | Reading():
                self._enter(event, now)
            case Started(turn=turn):
                self.turn = turn
            case Offered():
                self._offer = event
            case Notice(text=text):
                self._notices.append(text)
            case Finished() | Stopped() | Failed():
                self._end = event
                self.turn = event.turn or self.turn
            case Routed() | FellBack():
                pass  # told by /why; a fallback before the first word goes unseen
            case _:
                assert_never(event)

    def _add(self, text: str) -> None:
        # Discord refuses a message of blanks alone: an answer begins with something to see.
        if self._text or text.strip():
            self._text.append(text)
            self._length += len(text)

    def looks(self, now: float) -> tuple[Look, ...]:
        """The messages as they should read now; none while nothing is worth a message."""
        looks = self._looks(now)
        self._was_visible = self._was_visible or bool(looks)
        return looks

    def _looks(self, now: float) -> tuple[Look, ...]:
        text = "".join(self._text)
        if self._end is not None:
            return ended(
                text,
                self._end,
                notices=self._notices,
                has_thoughts=self._has_thoughts,
                has_footer=self._has_footer,
            )
        if text:
            self._parts = cut_reply(harmless(text), LIMIT, self._parts)
            return growing(self._parts, self.turn)
        line = self._status_line(now)
        if not line:
            return ()
        if not isinstance(self._status, Queued | Evicting | Loading):
            return waiting(line, [Act.STOP], self.turn)
        return self._waiting_for_load(line)

    def _waiting_for_load(self, line: str) -> tuple[Look, ...]:
        if self._offer is None:
            return waiting(line, [Act.CANCEL], self.turn)
        ways = {Act.WARM: self._offer.warm, Act.CLOUD: self._offer.cloud}
        acts = [Act.CANCEL, *(act for act, way in ways.items() if way is not None)]
        return waiting(f"{line}\n{words.offer_text(self._offer)}", acts, self.turn)

    def _enter(self, status: Progress | Reading | _Thinking, now: float) -> None:
        if type(status) is not type(self._status):
            self._status_since = now
        self._status = status

    def _status_line(self, now: float) -> str:
        lasted = now - self._status_since
        match self._status:
            case None:
                return ""
            case Queued() | Evicting() | Loading():
                return words.progress_line(self._status)
            case Reading() | _Thinking() if lasted < PATIENCE_S and not self._was_visible:
                return ""
            case Reading():
                return words.reading_line(self._status, lasted)
            case _Thinking():
                return f"💭 Thinking … {lasted:.0f} s" if lasted >= 1 else "💭 Thinking …"
