"""Plays turns into messages: reads a turn's events, keeps its page, lets a writer show it."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress

import structlog

from bot.domain.chat import TurnRequest
from bot.domain.errors import BotError, Bug
from bot.domain.events import Failed
from bot.domain.ids import TurnId
from cogs._faults import SENDING_ERRORS
from cogs._page import Page
from cogs._transport import Transport
from cogs._writer import Outcome, Writer
from cogs.face import Face

TICK_S = 1.5
"""How often a status that changes by itself is looked at: reading percent, thinking seconds."""

TYPING_AFTER_S = 0.4
TYPING_EVERY_S = 8.0
"""Discord shows typing for about ten seconds."""

_log = structlog.get_logger(__name__)


class Replies:
    """Every reply being written; one per process."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._live: set[_Reply] = set()
        self._all_done = asyncio.Event()
        self._all_done.set()

    async def play(self, request: TurnRequest, transport: Transport) -> None:
        """Answers one request, to the last edit. Leaving early stops the work everywhere."""
        reply = _Reply(self._face, transport)
        with self._listed(reply):
            await reply.play(request)

    def is_writing(self, turn: TurnId) -> bool:
        """Are this turn's messages still being written?"""
        return any(reply.turn == turn for reply in self._live)

    async def settled(self, limit_s: float) -> bool:
        """Waits until no reply is being written; False when that took too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._all_done.wait()
                return True
        _log.warning("replies left unfinished", count=len(self._live))
        return False

    @contextmanager
    def _listed(self, reply: "_Reply") -> Generator[None]:
        self._live.add(reply)
        self._all_done.clear()
        try:
            yield
        finally:
            self._live.discard(reply)
            if not self._live:
                self._all_done.set()


class _Reply:
    """One turn on its way to its readers."""

    def __init__(self, face: Face, transport: Transport) -> None:
        self._face = face
        self._transport = transport
        self._page = Page(has_footer=face.rules.has_footer)
        self._writer = Writer(self._page, transport, self._keep)

    @property
    def turn(self) -> TurnId | None:
        """Known once the turn is stored."""
        return self._page.turn

    async def play(self, request: TurnRequest) -> None:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(request))
            beside = [group.create_task(self._tick()), group.create_task(self._show_typing())]
            outcome = await self._writer.run()
            if outcome is not Outcome.SHOWN:
                # Leaving the turn stops its generation: nobody can read it any more.
                reading.cancel()
            for task in beside:
                task.cancel()
        if outcome is not Outcome.GIVEN_UP:
            await self._close()

    async def _read(self, request: TurnRequest) -> None:
        """Takes in events as they come; showing them never holds the turn up."""
        loop = asyncio.get_running_loop()
        try:
            async with self._face.turns.open(request) as events:
                async for event in events:
                    self._page.on_event(event, loop.time())
                    self._writer.poke()
        except Exception as error:
            _log.exception("turn could not be read")
            self._fail(error)
        if not self._page.is_over:
            self._fail(Bug("The answer ended without a word of why; it is logged."))

    def _fail(self, error: Exception) -> None:
        bug = Bug("Something went wrong inside Lantern; it is logged.")
        failure = error if isinstance(error, BotError) else bug
        self._page.on_event(Failed(self._page.turn, failure), asyncio.get_running_loop().time())
        self._writer.poke()

    async def _tick(self) -> None:
        while not self._page.is_over and not self._page.length:
            await asyncio.sleep(TICK_S)
            self._page.touch()
            self._writer.poke()

    async def _show_typing(self) -> None:
        """Beside the work and only in a silence: the first words never wait for it."""
        await asyncio.sleep(TYPING_AFTER_S)
        while not self._writer.is_visible and not self._page.is_over:
            with suppress(*SENDING_ERRORS):
                await self._transport.show_typing()
            await asyncio.sleep(TYPING_EVERY_S)

    async def _keep(self, part: int, message_id: int) -> bool:
        """Remembers a message, so that a reply to it branches and a crash leaves no spinner."""
        if self._page.turn is None:
            return False
        try:
            channel = str(self._transport.channel_id)
            await self._face.replies.put(str(message_id), channel, self._page.turn, part)
        except BotError as error:
            _log.warning("message not remembered", error=error.user_message)
        return True

    async def _close(self) -> None:
        if self._page.turn is None:
            return
        try:
            await self._face.replies.close(self._page.turn)
        except BotError as error:
            _log.warning("reply not closed in the store", error=error.user_message)
