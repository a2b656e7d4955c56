"""Takes the buttons from answers that are not stored any more: one by one, in the background."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import discord
import structlog

from bot.policy.pacing import OLD, Pacers
from cogs._readers import Readers
from cogs._transport import transport_to
from cogs._webhooks import Webhooks

EVERY_S = OLD.rhythm_s
"""Between two of them: what Discord takes for messages of any age."""

MOST = 1000
"""The oldest of more keep their buttons, which say that nothing is stored."""

_log = structlog.get_logger(__name__)


class ForgottenAnswers:
    """Owns which answers are still to lose their buttons; one per process."""

    def __init__(self, pacers: Pacers, webhooks: Webhooks, readers: Readers) -> None:
        self._readers = readers
        self._pacers = pacers
        self._webhooks = webhooks
        self._waiting = deque[tuple[str, str]](maxlen=MOST)
        self._news = asyncio.Event()

    def take(self, shown: Iterable[tuple[str, str]]) -> None:
        """These are forgotten: channel and message of each."""
        self._waiting.extend(shown)
        self._news.set()

    async def keep(self, client: Callable[[], discord.Client | None]) -> None:
        """Takes the buttons away, one after the other, by the connection there is then."""
        while True:
            await self._news.wait()
            now = client()
            if self._waiting and now is not None and now.is_ready():
                channel, message = self._waiting.popleft()
                try:
                    at = int(channel)
                    place = transport_to(now, at, self._pacers, self._webhooks, self._readers)
                    await place.dress(int(message), None)
                except Exception as error:
                    # A button that stays does little harm; an error that left here would end the
                    # boards and the presence line, too.
                    _log.info("buttons not taken away", error=str(error)[:200])
            if not self._waiting:
                self._news.clear()
            await asyncio.sleep(EVERY_S)
