"""Tells people that a slow answer is ready, where they asked to be told: edits never notify."""

import json

import structlog

from bot.domain.events import Failed, Finished, Stopped
from bot.domain.ids import UserId
from bot.policy.pings import PING_AFTER_S, ping_words
from bot.store.notes import NoteStore
from cogs._faults import SENDING_ERRORS
from cogs._languages import told
from cogs._transport import Transport
from cogs._view import Act, MessageView, View
from cogs._writer import Writer

NOTE = "discord.pings"
"""Who wants to be told, as a list of their ids."""

TELLS = (
    f"🔔 From now on I ping you when an answer to you is ready that took over {PING_AFTER_S:.0f} "
    "seconds to begin. 🔕 under such a ping ends it."
)
HUSHED = "🔕 I ping you no more. 🔔 on a waiting answer asks for it again."

_log = structlog.get_logger(__name__)


class Pings:
    """Owns the list of who is pinged; one per process."""

    def __init__(self, notes: NoteStore) -> None:
        self._notes = notes
        self._people: set[UserId] = set()

    async def read(self) -> None:
        """Remembers who asked for it before the start.

        Raises:
            StoreUnavailable: the note cannot be read.
        """
        self._people |= {UserId(user) for user in json.loads(await self._notes.get(NOTE) or "[]")}

    def wants(self, user: UserId) -> bool:
        """Did this person ask to be told?"""
        return user in self._people

    async def choose(self, user: UserId, *, is_on: bool) -> str:
        """Somebody chose for themselves; says what that means.

        Raises:
            StoreUnavailable: it counts until the next start alone.
        """
        # Changed before anything is awaited: of two who press at once, the later note has both.
        (self._people.add if is_on else self._people.discard)(user)
        await self._notes.put(NOTE, json.dumps(sorted(self._people)))
        return TELLS if is_on else HUSHED

    async def tell(
        self,
        user: UserId,
        end: Finished | Stopped | Failed,
        waited_s: float,
        transport: Transport,
        answer: int,
        *,
        is_private: bool,
    ) -> None:
        """Writes one short message that notifies them alone, if they want it and had to wait.

        Args:
            user: Who asked.
            end: How their answer ended.
            waited_s: How long it took to begin.
            transport: What shows the answer.
            answer: Its first message.
            is_private: Where nobody else is, a new message notifies by itself.
        """
        person = int(user.rpartition(":")[2])
        line = ping_words(end, waited_s, "" if is_private else f"<@{person}>")
        if not line or not self.wants(user):
            return
        line = told(line, transport.locale)
        view = MessageView(line, (Act.HUSH,), str(person), pings=None if is_private else person)
        try:
            # Discord notifies nobody who has left; a line about them would only stand there.
            if not await transport.has_left(person):
                await Writer(View((view,)), transport.below(answer)).run()
        except SENDING_ERRORS as error:
            _log.warning("ping not sent", error=str(error)[:300])
