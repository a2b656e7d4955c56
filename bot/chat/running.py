"""A turn under way: what may be done to it from outside, and how it is told to end."""

import asyncio
from dataclasses import dataclass, field

from bot.chat.draft import Draft
from bot.chat.override import Override
from bot.domain.chat import Place, Turn, TurnStatus
from bot.domain.errors import BotError
from bot.domain.ids import HostName, ModelKey, TurnId, UserId
from bot.domain.values import value
from bot.policy.conversation import gone_on
from bot.policy.privacy import Judge


@value
class Ending:
    """How a turn ended."""

    status: TurnStatus
    reason: str = ""
    by_asker: bool = False
    error: BotError | None = None


@dataclass(slots=True)
class Running:
    """A turn under way; ``stop`` ends it and its text so far is kept."""

    id: TurnId
    place: Place
    user: UserId
    """Whoever asked or pressed; may stop it, and choose how it is answered."""
    author: UserId | None = None
    """Of the words that are answered, known once it has begun; may stop it as well."""
    override: Override = field(default_factory=Override)
    judge: Judge | None = None
    """Of a question for which ways are offered: whether its words may leave, as of now."""
    loading: tuple[HostName, ModelKey] | None = None
    is_stored: bool = False
    stopped: Ending | None = None
    """How it was told to end."""
    scope: asyncio.Timeout | None = None
    """Entered while there is something to cut short."""
    draft: Draft | None = None
    """Set once there is something to answer."""
    before: Turn | None = None
    """Of an answer that is gone on with, how it stood."""
    kept_at: float = 0.0
    """When its text so far was last stored, on the event loop's clock."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its end is stored."""

    def said(self) -> str:
        """The whole answer so far."""
        more = "" if self.draft is None else self.draft.text
        return gone_on("" if self.before is None else self.before.reply_text, more)

    def stop(self, reason: str = "", *, by_asker: bool = True, press: str = "") -> None:
        """Ends the turn, once; before its work began it then ends at the beginning."""
        if self.stopped is not None:
            return
        if press and self.draft is not None:
            self.draft.pressed(press)
        self.stopped = Ending("partial", reason, by_asker=by_asker)
        if self.scope is not None:
            # A deadline already past cancels exactly this block, and says that we did.
            self.scope.reschedule(0.0)
