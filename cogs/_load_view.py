"""What the message of a load reads like: a head line, then the bar or how it ended."""

import asyncio

from bot.chat import words
from bot.chat.walk import Readiness
from bot.domain.events import FleetEvent, Progress
from bot.domain.ids import UserId
from bot.domain.values import value
from bot.policy.markup import harmless
from bot.policy.splitting import LIMIT
from cogs._languages import told
from cogs._view import Act, MessageView, View

CUT_LINE = "⚠ Lantern was restarted, which cut this load."
AGAIN_LINE = "Give the command again to see how it stands."


@value
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
        text = harmless(f"{self.head}\n{end}".strip())[:LIMIT]
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
        self._left = self._changed = ""
        """What became of its model, and of the choice, after its end."""
        self._ready: Readiness | None = None
        self._head = head
        self._ticket = ticket
        self._end = ""
        self._is_in_vain = False
        """It is a choice, and whoever was chosen is not ready."""

    @property
    def since(self) -> str:
        """What became of it after its end."""
        # Of a choice that was changed it is of no account what became of its model.
        return self._changed or self._left

    def end(self, how: str | Readiness) -> None:
        """The load is over; the first word on how stays. A choice in vain can be undone."""
        is_as_wished = False
        if isinstance(how, Readiness):
            self._ready, by = how, how.by.provider if how.by is not None else None
            is_as_wished = by == how.provider if how.provider else how.is_as_wished
            how = words.readiness_text(how)
        if not self.is_over:
            self._end, self.is_over = how, True
            self._is_in_vain = bool(self.stays) and not is_as_wished
            self.changes += 1

    def stop(self, how: str) -> None:
        """Nobody follows the load any more; that it goes on for others is not ours to end."""
        self.end(how)
        if self.reading is not None:
            self.reading.cancel()

    def overtake(self, how: str) -> bool:
        """Takes in how the choice was changed since; does that read otherwise than before?

        Empty where it holds again: the change was undone.
        """
        is_news, self._changed = how != self._changed, how
        self.changes += is_news
        return is_news

    def lose(self, event: FleetEvent) -> bool:
        """Takes in what left memory; is it the copy which this load said was ready, and news?"""
        ready, before = self._ready, self.since
        left = (event.what, event.host, event.instance)
        if ready is None or ready.by is None or ready.instance is None or self._left:
            return False
        if left == ("model unloaded", ready.by.host, ready.instance.identifier):
            self._left = f"📤 It left memory again: {event.reason}."
        self.changes += self.since != before
        return self.since != before

    def messages(self, now: float) -> tuple[MessageView, ...]:
        """The one message as it should read now."""
        if self.is_over:
            # The end may hold what a host said, the head a greeting; both may be long.
            end = told(f"{self._end}\n{self.since}", self._locale)
            text = harmless(f"{self._head}\n{end}".strip())[:LIMIT]
            # Nothing is left to undo of what was changed.
            acts = (Act.UNDO,) if self._is_in_vain and not self.since else ()
            return (MessageView(text, acts, self._ticket if acts else ""),)
        if self.step is None:
            return ()
        line = told(words.progress_line(self.step), self._locale)
        return (MessageView(f"{self._head}\n{line}".strip(), (Act.HALT,), self._ticket),)
