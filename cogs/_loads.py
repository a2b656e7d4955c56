"""Loads that belong to no turn: a progress bar in a command's reply, with Cancel."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import structlog

from bot.chat import words
from bot.domain.errors import BotError, NotPermitted
from bot.domain.events import Loading, Progress
from bot.domain.ids import HostName, ModelKey, UserId
from bot.store.notes import NoteStore
from cogs._looks import Act, Look
from cogs._places import user_id
from cogs._response import InteractionTransport
from cogs._say import AnyInteraction, error_words
from cogs._writer import Writer

NOTE = "discord.open_loads"
"""Where the messages of loads under way are noted, for the start after a crash."""

Steps = AbstractAsyncContextManager[AsyncIterator[Progress]]
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
    message: tuple[int, int] | None = field(default=None)
    """Channel and message."""


class Loads:
    """Shows loads and cancels them; one per process."""

    def __init__(self, notes: NoteStore) -> None:
        self._notes = notes
        self._live: dict[str, _Live] = {}

    async def show(
        self,
        interaction: AnyInteraction,
        transport: InteractionTransport,
        head: str,
        steps: Steps,
        cancel: CancelLoad,
    ) -> None:
        """Plays a load into the command's reply until it is in memory or has failed."""
        ticket = str(interaction.id)
        page = LoadPage(head, ticket)
        live = _Live(page, user_id(interaction.user), cancel)
        self._live[ticket] = live

        async def keep(part: int, message_id: int) -> bool:
            live.message = (transport.channel_id, message_id)
            await self._note()
            return True

        writer = Writer(page, transport, keep)
        try:
            async with asyncio.TaskGroup() as group:
                live.reading = group.create_task(_read(steps, page, writer))
                await writer.run()
                live.reading.cancel()
        finally:
            del self._live[ticket]
            await self._note()

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
        open_messages = [live.message for live in self._live.values() if live.message]
        try:
            await self._notes.put(NOTE, json.dumps(open_messages))
        except BotError as error:
            _log.warning("load not noted", error=error.user_message)


async def _read(steps: Steps, page: LoadPage, writer: Writer) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with steps as progress:
            async for step in progress:
                page.on_step(step)
                writer.poke()
    except Exception as error:
        page.end(error_words(error))
    else:
        page.end(_loaded(page.step, loop.time() - began))
    finally:
        page.end("⏹ Cancelled.")
        writer.poke()


def _loaded(step: Progress | None, seconds: float) -> str:
    if step is None:
        return "✅ Ready: nothing had to be loaded."
    return f"✅ `{step.model}` is in memory on {step.host} after {words.seconds_text(seconds)}."
