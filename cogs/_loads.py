"""Loads that belong to no turn: a progress bar in a command's reply, with Cancel."""

import asyncio
import json
from contextlib import suppress
from typing import cast

import structlog

from bot.chat import words
from bot.chat.lantern import Lantern
from bot.chat.walk import LoadSteps, Readiness
from bot.domain.errors import BotError, NotPermitted
from bot.domain.events import Loading, Progress
from bot.domain.ids import UserId
from cogs._faults import AnyInteraction, error_words
from cogs._places import user_id
from cogs._transport import InteractionTransport
from cogs._view import Act, MessageView, View
from cogs._writer import Writer

NOTE = "discord.open_loads"
"""Where the messages of loads under way are noted, for the start after a crash."""

LEAVING = "⚠ Lantern is restarting. Give the command again to see how the load stands."

MAX_LEFT = 50
"""Of what earlier starts could not close either, the newest are tried again."""

Message = tuple[int, int]
"""Channel and message."""

_log = structlog.get_logger(__name__)


class LoadView(View):
    """The reply to a load: a head line, then the bar or how it ended."""

    def __init__(self, head: str, ticket: str, asker: UserId) -> None:
        super().__init__()
        self.asker = asker
        self.step: Progress | None = None
        """The newest progress."""
        self.message: Message | None = None
        """Where it stands, once that is known."""
        self.reading: asyncio.Task[None] | None = None
        self._head = head
        self._ticket = ticket
        self._end = ""

    def end(self, how: str) -> None:
        """The load is over; the first word on how stays."""
        if not self.is_over:
            self._end, self.is_over = how, True
            self.changes += 1

    def stop(self, how: str) -> None:
        """Nobody follows the load any more; that it goes on for others is not ours to end."""
        self.end(how)
        if self.reading is not None:
            self.reading.cancel()

    def messages(self, now: float) -> tuple[MessageView, ...]:
        """The one message as it should read now."""
        if self.is_over:
            return (MessageView(f"{self._head}\n{self._end}".strip()),)
        if self.step is None:
            return ()
        line = words.progress_line(self.step)
        return (MessageView(f"{self._head}\n{line}".strip(), (Act.HALT,), self._ticket),)


class Loads:
    """Shows loads and cancels them; one per process."""

    def __init__(self, lantern: Lantern) -> None:
        self._notes = lantern.notes
        self._acts = lantern.acts
        self._live: dict[str, LoadView] = {}
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
    ) -> None:
        """Plays a load into the command's reply until it is in memory or has failed.

        Leaving before the last edit is shown leaves the message noted for the next start.
        """
        ticket = str(interaction.id)
        view = self._live[ticket] = LoadView(head, ticket, user_id(interaction.user))
        self._all_done.clear()
        # A command may still come in while Lantern drains.
        if self._is_leaving:
            view.end(LEAVING)

        async def keep(part: int, message_id: int) -> bool:
            view.message = (transport.channel_id, message_id)
            self._open[view.message] = None
            await self._note()
            return True

        writer = Writer(view, transport, keep)
        try:
            async with asyncio.TaskGroup() as group:
                view.reading = group.create_task(_read(steps, view, writer))
                outcome = await writer.run()
                view.reading.cancel()
        finally:
            del self._live[ticket]
            if not self._live:
                self._all_done.set()
        if view.message is not None and outcome != "given up":
            await self.forget(view.message)

    async def leave(self, limit_s: float) -> bool:
        """Ends every load's message within ``limit_s``; False when that took too long."""
        self._is_leaving = True
        for view in self._live.values():
            view.stop(LEAVING)
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
        # Those not closed this time stay noted: another start may be allowed what this one is not.
        self._open = dict.fromkeys([*left, *self._open])
        # Loads begun since are noted too, and alive.
        live = {view.message for view in self._live.values()}
        return tuple(message for message in left if message not in live)

    async def forget(self, message: Message) -> None:
        """That message promises nothing any more."""
        self._open.pop(message, None)
        await self._note()

    async def halt(self, interaction: AnyInteraction, ticket: str, *, is_admin: bool) -> None:
        """Somebody pressed Cancel.

        Raises:
            NotPermitted: neither the asker nor an admin.
        """
        view = self._live.get(ticket)
        if view is None:
            # Its button outlived the process; the message itself tells what was being loaded.
            shown = interaction.message.content if interaction.message is not None else ""
            head = shown.split("\n", 1)[0]
            text = f"{head}\n-# This load is not running any more."
            await interaction.response.edit_message(content=text, view=None)
            return
        if view.asker != user_id(interaction.user) and not is_admin:
            raise NotPermitted("Only the person who asked, or an admin, may cancel this load.")
        await interaction.response.defer()
        how, step = "⏹ Cancelled.", view.step
        if isinstance(step, Loading) and not await self._acts.cancel_load(step.host, step.model):
            how += " Others wait for this load, so it goes on."
        view.stop(how)

    async def _note(self) -> None:
        try:
            await self._notes.put(NOTE, json.dumps(list(self._open)))
        except BotError as error:
            _log.warning("load not noted", error=error.user_message)


async def _read(steps: LoadSteps, view: LoadView, writer: Writer) -> None:
    try:
        async with steps as progress:
            async for step in progress:
                if isinstance(step, Readiness):
                    view.end(words.readiness_text(step))
                else:
                    view.step = step
                    view.changes += 1
                writer.poke()
    except Exception as error:
        view.end(error_words(error))
    finally:
        view.end("⏹ Cancelled.")
        writer.poke()
