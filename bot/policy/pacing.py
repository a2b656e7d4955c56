"""When a reply's message may be written next: the newest text soonest, never past a limit.

A reply's first words go out at once. While it is young it is edited sooner than the sustained
rhythm, as soon as enough characters wait; later once per rhythm. Times are the loop's seconds.
"""

from collections import deque
from collections.abc import Sequence
from math import inf

from bot.domain.values import value


@value
class Limit:
    """So many calls in any window of so many seconds."""

    calls: int
    window_s: float
    margin_s: float = 0.03
    """Two calls arrive closer together than they were started, by the network's jitter."""
    is_spread: bool = True
    """The calls of several answers keep a rhythm apart."""
    steady_s: float = 0.0
    """Seconds between edits of a reply that is not young any more, though the limit allows more."""

    @property
    def rhythm_s(self) -> float:
        """Seconds between calls that can be kept up for ever."""
        return self.window_s / self.calls

    def opens_at(self, starts: Sequence[float], *, keeps_one: bool = False) -> float:
        """When one more call may start after calls that started then, oldest first; -inf: any time.

        With ``keeps_one`` a place stays free for a reply's end.
        """
        # discord.py holds the call that takes a window's last place until the window has passed
        # (ADR 5): four quick edits, then a stream stands still. An end has nothing due after it.
        began, calls, opens = len(starts), self.calls, -inf
        if calls <= began:
            opens = starts[-calls] + self.window_s
        if keeps_one and 1 < calls <= began + 1:
            opens = max(opens, starts[1 - calls] + (calls - 1) * self.rhythm_s)
        return opens + self.margin_s


CHANNEL = Limit(5, 5.0)
"""Edits of a channel's messages, all together (observed; Discord publishes no numbers)."""

CREATION = Limit(5, 5.0, margin_s=0.15, is_spread=False)
"""New messages of a channel, all together (observed); nobody waits for a rhythm to begin one."""

# As often as it allows an answer of half a minute was edited 88 times: read along it only flickers.
INTERACTION = Limit(5, 2.0, steady_s=CHANNEL.rhythm_s)
"""Every call by one interaction's token (observed)."""

OLD = Limit(3, 20.0)
"""Edits of a channel's messages that are older than an hour (observed; else refused with 30046)."""

EVERYWHERE = Limit(40, 1.0, is_spread=False)
"""Calls of all channels together: Discord takes 50 a second of a bot; ten are left for the rest.

Not spread: a spent window is over within a second, and twenty streams would wait half of one.
"""

STATUS_EVERY_S = 1.7
"""A status leaves places free in the channel's five per five seconds for the first words."""

_YOUNG = ((0.4, 140), (0.8, 240), (1.0, 280), (1.0, 320))
"""A young reply's edits: due after so many rhythms, or with so many characters waiting (scaled
by the rhythm's seconds).

Found by simulation (``bench/pacing.py``) over replies of 30 to 500 tokens at 10 to 200 tokens/s.
"""

_SHORTEST = 0.2
"""Rhythms between two calls of one young reply, however much text waits."""

_MANY_CHANNELS = 256


@value
class Writing:
    """One reply's message as the pacer sees it; no call for it is under way."""

    ready: int
    """Characters of the answer that could be shown now; 0: a status stands in its place."""
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
    goes_on: bool = False
    """The next message of a reply that is being read, and stands still until it is there."""


class Pacer:
    """The latest calls that count in one limit, and the replies that share it.

    First and last calls go before all others, then the earliest due: every reply gets its share.
    """

    def __init__(self, limit: Limit = CHANNEL) -> None:
        self._limit = limit
        self._starts: deque[float] = deque(maxlen=limit.calls)
        self._live: dict[str, bool] = {}
        """Every reply that shares the limit; whether it shows text rather than a status."""
        self._line: dict[str, tuple[float, bool]] = {}
        """Those that wait for a place here, the longest waiting first: when each wants its call,
        whatever the limit allows (-inf: at once), and whether it is one for a status."""
        self._last_status = -inf
        """When the latest call for a status began."""

    def ask(self, now: float, reply: str, writing: Writing) -> float:
        """When this reply may be written: a call may begin once that is not after ``now``.

        The reply shares the limit from here until ``left``. Inf: there is nothing new to show.
        """
        self._live[reply] = writing.ready > 0
        has_text = writing.ready > writing.shown
        if not (has_text or writing.is_changed or writing.is_finished or writing.is_urgent):
            self.step_aside(reply)
            return inf
        if writing.goes_on:
            # Four who had asked nothing yet were greeted first, and an answer stood still for 5 s.
            self._line = {reply: (-inf, False), **self._line}
        self._line[reply] = self._due(writing)
        at, taken, dues = inf, list(self._starts), self._dues()
        for waiting in sorted(dues, key=dues.__getitem__):
            at = self._free_at(dues[waiting], taken)
            if waiting == reply:
                break
            taken.append(max(now, at))
        if at <= now:
            self.step_aside(reply)
        return at

    def due_early_at(self, writing: Writing) -> float:
        """How many characters make a young reply due before its time; inf: none do any more."""
        if writing.edits >= len(_YOUNG):
            return inf
        return writing.shown + _YOUNG[writing.edits][1] * self._limit.rhythm_s

    def step_aside(self, reply: str) -> None:
        """This reply waits for no place here now; it still shares the limit."""
        self._line.pop(reply, None)

    def began(self, now: float, reply: str) -> None:
        """A call for this reply's message starts now and counts here."""
        self._starts.append(now)
        if not self._live.get(reply, True):
            self._last_status = now

    def left(self, reply: str) -> None:
        """This reply asks no more; must be told even when its writer failed."""
        self._live.pop(reply, None)
        self.step_aside(reply)

    def is_quiet(self, now: float) -> bool:
        """Whether it may be forgotten: no reply is live and its calls no longer count."""
        window_s = self._limit.window_s + self._limit.margin_s
        return not self._live and (not self._starts or now >= self._starts[-1] + window_s)

    def _due(self, writing: Writing) -> tuple[float, bool]:
        """When that wants its call, and whether it is a status, whose time depends on others'."""
        if writing.last_start is None or writing.is_finished or writing.is_urgent:
            return -inf, False
        if not writing.ready:
            return writing.last_start + STATUS_EVERY_S, True
        rhythm_s = self._limit.rhythm_s
        every_s = max(rhythm_s, self._limit.steady_s)
        if writing.ready >= self.due_early_at(writing):
            every_s = _SHORTEST * rhythm_s
        elif writing.edits < len(_YOUNG):
            every_s = _YOUNG[writing.edits][0] * rhythm_s
        return writing.last_start + every_s, False

    def _dues(self) -> dict[str, float]:
        """When each reply in the line wants its call, whatever the limit allows; -inf: at once."""
        between_s, last_status = STATUS_EVERY_S * self._limit.rhythm_s, self._last_status
        dues: dict[str, float] = {}
        for reply, (due, is_status) in self._line.items():
            if is_status:
                # Nine load bars in one channel must not take its edits from the answer there.
                last_status = dues[reply] = max(due, last_status + between_s)
            else:
                dues[reply] = due
        return dues

    def _free_at(self, due: float, taken: Sequence[float]) -> float:
        """When a call due then may start after those that started, or will, at ``taken``."""
        if due == -inf:
            return self._limit.opens_at(taken)
        if taken and self._limit.is_spread and sum(self._live.values()) > 1:
            # Several young replies would else spend the window together and then all stand still.
            due = max(due, taken[-1] + self._limit.rhythm_s)
        return max(due, self._limit.opens_at(taken, keeps_one=True))


class Pacers:
    """Finds what a call is paced by; one per process."""

    def __init__(self) -> None:
        self.everywhere = Pacer(EVERYWHERE)
        """Every plain call counts here; calls by an interaction's token do not."""
        self._channels: dict[tuple[int, Limit], Pacer] = {}

    def of_channel(self, channel_id: int, now: float, limit: Limit = CHANNEL) -> Pacer:
        """What all edits of a channel's messages share, or all of old ones there."""
        if len(self._channels) >= _MANY_CHANNELS:
            quiet = [key for key, pacer in self._channels.items() if pacer.is_quiet(now)]
            for key in quiet:
                del self._channels[key]
        return self._channels.setdefault((channel_id, limit), Pacer(limit))


def ask_all(pacers: Sequence[Pacer], now: float, reply: str, writing: Writing) -> float:
    """When a call that counts in each of these may start, as ``Pacer.ask`` gives it."""
    at = -inf
    for pacer in pacers:
        if at <= now:
            at = pacer.ask(now, reply, writing)
        else:
            # A reply waits in one line at most. One that stood first in the line of all channels
            # while its own channel was full, or had nothing new, held every other stream up.
            pacer.step_aside(reply)
    return at
