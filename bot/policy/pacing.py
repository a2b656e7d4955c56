"""When a reply's message may be written next: the newest text soonest, never past a limit.

A reply's first words go out at once. While it is young it is edited sooner than the sustained
rhythm, as soon as enough characters wait; later once per rhythm. Within the window one call is
always kept for the reply's end: discord.py holds the call that takes a window's last place until
the window has passed, so only a call with nothing due after it takes that place early.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Limit:
    """So many calls in any window of so many seconds."""

    calls: int
    window_s: float
    margin_s: float = 0.03
    """Two calls arrive closer together than they were started, by the network's jitter."""

    @property
    def rhythm_s(self) -> float:
        """Seconds between calls that can be kept up for ever."""
        return self.window_s / self.calls

    def opens_at(self, starts: Sequence[float]) -> float:
        """When one more call may start, given when the last ones did."""
        return self._after(starts, self.calls)

    def opens_with_one_kept_at(self, starts: Sequence[float]) -> float:
        """When one more call may start that leaves a place for a reply's end."""
        return max(self.opens_at(starts), self._after(starts, self.calls - 1))

    def _after(self, starts: Sequence[float], places: int) -> float:
        if not places or len(starts) < places:
            return -inf
        return starts[-places] + places * self.rhythm_s + self.margin_s


CHANNEL = Limit(5, 5.0)
"""Edits of a channel's messages, all together (observed; Discord publishes no numbers)."""

INTERACTION = Limit(5, 2.0)
"""Every call by one interaction's token (observed)."""

CREATION = Limit(5, 5.0)
"""New messages in a channel: a bucket of its own (observed)."""

_YOUNG = ((0.4, 140), (0.8, 240), (1.0, 280), (1.0, 320))
"""A young reply's edits: due after so many rhythms, or with so many characters waiting (scaled
by the rhythm's seconds).

Found by simulation (``bench/pacing.py``) over replies of 30 to 500 tokens at 10 to 200 tokens/s.
"""

_SHORTEST = 0.2
"""Rhythms between two calls of one young reply, however much text waits."""


@dataclass(frozen=True, slots=True)
class Writing:
    """One reply's message as the pacer sees it."""

    ready: int
    """Characters that could be shown now."""
    shown: int = 0
    """Characters given to the last call."""
    last_start: float | None = None
    """When the last call for this message began; None when there is no message yet."""
    edits: int = 0
    """Edits of this reply that began since its first words."""
    is_finished: bool = False
    """Only the last call is missing: it is due even when no character is new (footer, buttons)."""
    is_changed: bool = False
    """Something besides the text's length is new: a load bar, a button."""
    is_urgent: bool = False
    """The first words after a load bar, or an answer to a press: no need to wait for the rhythm."""

    @property
    def has_news(self) -> bool:
        """Whether a call would show anything new."""
        return self.is_finished or self.is_changed or self.is_urgent or self.ready > self.shown


@dataclass(frozen=True, slots=True)
class ActNow:
    """Start the call now, and tell the log."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Ask again then, or sooner when the text grew or ended."""

    at: float


@dataclass(frozen=True, slots=True)
class NothingToDo:
    """Ask again when something is new."""


Decision = ActNow | WaitUntil | NothingToDo


def decide(
    now: float,
    writing: Writing,
    starts: Sequence[float],
    limit: Limit = CHANNEL,
    *,
    ahead: Sequence[Writing] = (),
    sharing: int = 1,
) -> Decision:
    """Whether this message is written now, later, or not at all.

    Args:
        now: The monotonic clock.
        writing: The message; no call for it may be under way.
        starts: When the bucket's latest calls began, oldest first.
        limit: The bucket's limit.
        ahead: Messages whose turn is before this one's, first first.
        sharing: Live replies in this bucket, this one included.
    """
    if not writing.has_news:
        return NothingToDo()
    taken = list(starts)
    for other in ahead:
        taken.append(max(now, _free_at(other, taken, limit, sharing)))
    at = _free_at(writing, taken, limit, sharing)
    return ActNow() if at <= now else WaitUntil(at)


def due_at(writing: Writing, limit: Limit) -> float:
    """When the message itself wants its next call, whatever the bucket allows; -inf: at once."""
    if writing.last_start is None or writing.is_finished or writing.is_urgent:
        return -inf
    rhythms, characters = _YOUNG[writing.edits] if writing.edits < len(_YOUNG) else (1.0, inf)
    if writing.ready - writing.shown >= characters * limit.rhythm_s:
        rhythms = _SHORTEST
    return writing.last_start + rhythms * limit.rhythm_s


def _free_at(writing: Writing, starts: Sequence[float], limit: Limit, sharing: int) -> float:
    due = due_at(writing, limit)
    if due == -inf:
        return limit.opens_at(starts)
    if sharing > 1:
        # Several young replies would else spend the window together and then all stand still.
        due = max(due, max(starts, default=-inf) + limit.rhythm_s)
    return max(due, limit.opens_with_one_kept_at(starts))


class ChannelLog:
    """One bucket's calls and the replies that share it; owned by whoever writes them.

    Each writer asks before a call, tells when it began one, and leaves when its reply is done.
    First and last calls go before all others, then the earliest due: every reply gets its share.
    """

    def __init__(self, limit: Limit = CHANNEL) -> None:
        self._limit = limit
        self._starts: deque[float] = deque(maxlen=limit.calls)
        self._replies: dict[str, Writing | None] = {}
        self._held_until = -inf

    @property
    def starts(self) -> tuple[float, ...]:
        """When the latest calls began, oldest first; no more than the limit looks at."""
        return tuple(self._starts)

    def ask(self, now: float, reply: str, writing: Writing) -> Decision:
        """Whether this reply's message is written now; joins the replies that share the bucket."""
        self._replies[reply] = writing if writing.has_news else None
        if writing.has_news and now < self._held_until:
            return WaitUntil(self._held_until)
        return decide(
            now,
            writing,
            self._starts,
            self._limit,
            ahead=self._ahead_of(reply, writing),
            sharing=len(self._replies),
        )

    def began(self, now: float, reply: str) -> None:
        """A call for this reply's message starts now."""
        self._starts.append(now)
        if reply in self._replies:
            self._replies[reply] = None

    def left(self, reply: str) -> None:
        """This reply asks no more; must be told even when its writer failed."""
        self._replies.pop(reply, None)

    def hold(self, until: float) -> None:
        """Discord asked for a pause: nobody calls before that time."""
        self._held_until = max(self._held_until, until)

    def is_quiet(self, now: float) -> bool:
        """Whether the log may be forgotten: no reply is live and its calls no longer count."""
        return (
            not self._replies
            and now >= self._held_until
            and (
                not self._starts
                or now >= self._starts[-1] + self._limit.window_s + self._limit.margin_s
            )
        )

    def _ahead_of(self, reply: str, writing: Writing) -> list[Writing]:
        order = list(self._replies)
        mine = (due_at(writing, self._limit), order.index(reply))
        waiting = [
            ((due_at(other, self._limit), place), other)
            for place, other in enumerate(self._replies.values())
            if other is not None
        ]
        return [other for turn, other in sorted(waiting, key=lambda pair: pair[0]) if turn < mine]
