"""Loads that belong to no turn: a progress bar in a command's reply, with Cancel."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import structlog

from bot.chat import words
from bot.chat.loading import LoadSteps, Readiness
from bot.domain.errors import BotError, NotPermitted
from bot.domain.events import Loading, Progress
from bot.domain.ids import HostName, ModelKey, UserId
from bot.store.notes import NoteStore
from cogs._places import user_id
from cogs._response import InteractionTransport
from cogs._say import AnyInteraction, error_words
from cogs._view import Act, Look
from cogs._writer import Outcome, Writer

NOTE = "discord.open_loads"
"""Where the messages of loads under way are noted, for the start after a crash."""

LEAVING = "⚠ Lantern is restarting. Give the command again to see how the load stands."

MAX_LEFT = 50
"""Of what earlier starts could not close either, the newest are tried again."""

Message = tuple[int, int]
"""Channel and message."""

CancelLoad = Callable[[HostName, ModelKey], Awaitable[bool]]

_log = structlog.get_logger(__name__)


class LoadPage:
    """What the reply to a load shows: a head line, then the bar or how it ended."""

    length = 0

    def __init__(self, head: str, ticket: str) -> None:
        self._head = head
        self._ticket = ticket
        self._step: Progress | None = None
        self._end: str | None = None
        self.changes = 0

    @property
    def is_over(self) -> bool:
        """Will it not change any more?"""
        return self._end is not None

    @property
    def step(self) -> Progress | None:
        """The newest progress."""
        return self._step

    def on_step(self, step: Progress) -> None:
        """The load went on."""
        self._step = step
        self.changes += 1

    def end(self, words_: str) -> None:
        """The load is over; the first word on how stays."""
        if self._end is None:
            self._end = words_
            self.changes += 1

    def looks(self, now: float) -> tuple[Look, ...]:
        """The one message as it should read now."""
        if self._end is not None:
            return (Look(f"{self._head}\n{self._end}".strip()),)
        if self._step is None:
            return ()
        line = words.progress_line(self._step)
        return (Look(f"{self._head}\n{line}".strip(), (Act.HALT,), self._ticket),)


@dataclass(slots=True)
class _Live:
    """One load being shown."""

    page: LoadPage
    asker: UserId
    cancel: CancelLoad
    reading: asyncio.Task[None] | None = None
    message: Message | None = None


class Loads:
    """Shows loads and cancels them; one per process."""

    def __init__(self, notes: NoteStore) -> None:
        self._notes = notes
        self._live: dict[str, _Live] = {}
        self._open: dict[Message, None] = {}
        """Every message that promises more, of this process or one before, oldest first."""
        self._is_leaving = False
        self._all_done = asyncio.Event()
        self._all_done.set()

    async def show(
        self,
        interaction: AnyInteraction,
        transport: InteractionTransport,
        head: str,
        steps: LoadSteps,
        cancel: CancelLoad,
    ) -> None:
        """Plays a load into the command's reply until it is in memory or has failed.

        Leaving before the last edit is shown leaves the message noted for the next start.
        """
        ticket = str(interaction.id)
        live = _Live(LoadPage(head, ticket), user_id(interaction.user), cancel)
        self._live[ticket] = live
        self._all_done.clear()
        if self._is_leaving:
            live.page.end(LEAVING)
        try:
            outcome = await self._play(live, transport, steps)
        finally:
            del self._live[ticket]
            if not self._live:
                self._all_done.set()
        if live.message is not None and outcome is not Outcome.GIVEN_UP:
            await self.forget(live.message)

    async def leave(self, limit_s: float) -> bool:
        """Ends every load's message within ``limit_s``; False when that took too long."""
        self._is_leaving = True
        for live in self._live.values():
            live.page.end(LEAVING)
            if live.reading is not None:
                live.reading.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._all_done.wait()
                return True
        _log.warning("loads left unfinished", count=len(self._live))
        return False

    async def left_open(self) -> tuple[Message, ...]:
        """Messages of loads that a Lantern before this one did not end; noted until forgotten.

        Raises:
            StoreUnavailable: the note cannot be read.
        """
        noted = json.loads(await self._notes.get(NOTE) or "[]")
        left = [(int(c), int(m)) for c, m in cast("list[Message]", noted)][-MAX_LEFT:]
        self._open = dict.fromkeys([*left, *self._open])
        live = {live.message for live in self._live.values()}
        return tuple(message for message in left if message not in live)

    async def forget(self, message: Message) -> None:
        """That message promises nothing any more."""
        self._open.pop(message, None)
        await self._note()

    async def _play(
        self, live: _Live, transport: InteractionTransport, steps: LoadSteps
    ) -> Outcome:
        async def keep(part: int, message_id: int) -> bool:
            live.message = (transport.channel_id, message_id)
            self._open[live.message] = None
            await self._note()
            return True

        writer = Writer(live.page, transport, keep)
        async with asyncio.TaskGroup() as group:
            live.reading = group.create_task(_read(steps, live.page, writer))
            outcome = await writer.run()
            live.reading.cancel()
        return outcome

    async def halt(self, interaction: AnyInteraction, ticket: str, *, is_admin: bool) -> None:
        """Somebody pressed Cancel.

        Raises:
            NotPermitted: neither the asker nor an admin.
        """
        live = self._live.get(ticket)
        if live is None:
            shown = interaction.message.content if interaction.message is not None else ""
            head = shown.split("\n", 1)[0]
            text = f"{head}\n-# This load is not running any more."
            await interaction.response.edit_message(content=text, view=None)
            return
        if live.asker != user_id(interaction.user) and not is_admin:
            raise NotPermitted("Only the person who asked, or an admin, may cancel this load.")
        await interaction.response.defer()
        step = live.page.step
        is_cancelled = isinstance(step, Loading) and await live.cancel(step.host, step.model)
        goes_on = isinstance(step, Loading) and not is_cancelled
        live.page.end("⏹ Cancelled." + (" Others wait for this load, so it goes on." * goes_on))
        if live.reading is not None:
            live.reading.cancel()

    async def _note(self) -> None:
        try:
            await self._notes.put(NOTE, json.dumps(list(self._open)))
        except BotError as error:
            _log.warning("load not noted", error=error.user_message)


async def _read(steps: LoadSteps, page: LoadPage, writer: Writer) -> None:
    try:
        async with steps as progress:
            async for step in progress:
                if isinstance(step, Readiness):
                    page.end(words.readiness_text(step))
                else:
                    page.on_step(step)
                writer.poke()
    except Exception as error:
        page.end(error_words(error))
    finally:
        page.end("⏹ Cancelled.")
        writer.poke()
