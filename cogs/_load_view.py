"""What the message of a load reads like: a head line, then the bar or how it ended."""

import asyncio
from dataclasses import dataclass

from bot.chat import words
from bot.chat.walk import Readiness
from bot.domain.events import FleetEvent, Progress
from bot.domain.ids import UserId
from bot.policy.markup import harmless
from bot.policy.splitting import LIMIT
from cogs._languages import told
from cogs._view import Act, MessageView, View

CUT_LINE = "⚠ Lantern was restarted, which cut this load."
AGAIN_LINE = "Give the command again to see how it stands."


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """A message that shows a load, as it is noted for the start after a crash."""

    channel: int
    message: int
    head: str = ""
    """Its headline, as it is read: what was chosen, or is loaded."""
    stays: str = ""
    """Of a choice, what is true of it however its load ends; else empty."""
    ticket: str = ""
    """Names the load and the choice."""
    token: str = ""
    """The command's, where whoever gave it sees the message alone; good for fifteen minutes."""
    locale: str = ""
    """Discord's name of that person's language."""

    def cut(self, locale: object) -> MessageView:
        """The message once its load was cut by a crash, in its readers' language."""
        # The choice holds all the same: the headline once went with the bar, and nobody knew what
        # had been chosen.
        end = told(f"{CUT_LINE} {self.stays or AGAIN_LINE}", locale)
        text = f"{self.head}\n{end}".strip()
        return MessageView(text, (Act.UNDO,) if self.stays else (), self.ticket)


class LoadView(View):
    """The reply to a load: a head line, then the bar or how it ended."""

    def __init__(
        self, head: str, stays: str, ticket: str, asker: UserId, locale: object = None
    ) -> None:
        """``head`` is as it is read: it may hold a persona's words."""
        super().__init__()
        self._locale = locale
        self.asker = asker
        self.stays = stays
        """Of a choice, what is true of it however its load ends; else empty."""
        self.step: Progress | None = None
        """The newest progress."""
        self.open: OpenLoad | None = None
        """Where it stands, once that is known."""
        self.reading: asyncio.Task[None] | None = None
        self.since = ""
        """What became of it after its end."""
        self._ready: Readiness | None = None
        self._head = head
        self._ticket = ticket
        self._end = ""
        self._acts: tuple[Act, ...] = ()

    def end(self, how: str | Readiness) -> None:
        """The load is over; the first word on how stays. A choice in vain can be undone."""
        is_as_wished = False
        if isinstance(how, Readiness):
            self._ready, by = how, how.by.provider if how.by is not None else None
            is_as_wished = by == how.provider if how.provider else how.is_as_wished
            how = words.readiness_text(how)
        if not self.is_over:
            self._end, self.is_over = how, True
            is_in_vain = self.stays and not is_as_wished and not self.since
            self._acts = (Act.UNDO,) if is_in_vain else ()
            self.changes += 1

    def stop(self, how: str) -> None:
        """Nobody follows the load any more; that it goes on for others is not ours to end."""
        self.end(how)
        if self.reading is not None:
            self.reading.cancel()

    def overtake(self, how: str) -> None:
        """What its end says is so no more, and nothing of it is left to undo."""
        self.since, self._acts = how, ()
        self.changes += 1

    def loses(self, event: FleetEvent) -> bool:
        """Is it the copy which this load said was ready that has left memory, and is that news?"""
        ready = self._ready
        # Of a choice that was changed it is of no account what became of its model.
        if self.since or ready is None or ready.by is None or ready.instance is None:
            return False
        left = (event.what, event.host, event.instance)
        return left == ("model unloaded", ready.by.host, ready.instance.identifier)

    def messages(self, now: float) -> tuple[MessageView, ...]:
        """The one message as it should read now."""
        if self.is_over:
            # The end may hold what a host said, the head a greeting; both may be long.
            end = told(f"{self._end}\n{self.since}", self._locale)
            text = harmless(f"{self._head}\n{end}".strip())[:LIMIT]
            return (MessageView(text, self._acts, self._ticket if self._acts else ""),)
        if self.step is None:
            return ()
        line = told(words.progress_line(self.step), self._locale)
        return (MessageView(f"{self._head}\n{line}".strip(), (Act.HALT,), self._ticket),)
