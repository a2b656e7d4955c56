"""What Discord delivers is heard once, and noted before anything of its answer is shown."""

import asyncio
from collections import OrderedDict

import structlog

from bot.domain.errors import BotError
from bot.store.questions import QuestionStore

MOST_KNOWN = 1000
"""A gateway that resumes repeats the last events; older ones the store knows."""

NOTE_S = 1.0
"""Longest a question waits to be noted: an interaction must be answered within three seconds,
whatever the disk does."""

_log = structlog.get_logger(__name__)


class Questions:
    """The questions of this process; one per process."""

    def __init__(self, store: QuestionStore) -> None:
        self._store = store
        self._known: OrderedDict[int, None] = OrderedDict()
        self._unanswered: set[int] = set()
        """Their end could not be shown: the next start tells it."""

    async def hear(self, question: int, channel_id: int, token: str | None = None) -> bool:
        """Notes a message or interaction; False when it was delivered before."""
        return self.is_new(question) and await self.note(question, channel_id, token)

    async def note(self, question: int, channel_id: int, token: str | None = None) -> bool:
        """Notes what is known to be new in this process; False when one before knew it."""
        try:
            async with asyncio.timeout(NOTE_S):
                return await self._store.hear(str(question), str(channel_id), token)
        except (BotError, TimeoutError) as error:
            # Better answered and forgotten by a crash than not answered at all.
            _log.warning("question not noted", error=str(error)[:300])
            return True

    def is_new(self, question: int) -> bool:
        """The first time; for what leaves nothing to tell after a crash, such as a Stop."""
        # Looked up before anything is awaited: two copies may come in one moment.
        if question in self._known:
            return False
        self._known[question] = None
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return True

    def leave_open(self, question: int) -> None:
        """Its end could not be shown, so ``close`` leaves it to the next start."""
        self._unanswered.add(question)

    async def close(self, question: int) -> None:
        """Its asker was told."""
        if question in self._unanswered:
            self._unanswered.discard(question)
            return
        try:
            await self._store.close(str(question))
        except BotError as error:
            _log.warning("question not closed", error=error.user_message)
