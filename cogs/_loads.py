"""Loads that belong to no turn: a progress bar in a command's reply, with Cancel."""

import asyncio
import json
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Any

import structlog

from bot.chat import words
from bot.chat.lantern import Lantern
from bot.chat.walk import LoadSteps, Readiness
from bot.domain.errors import BotError, NotPermitted
from bot.domain.events import Loading, Progress
from bot.domain.ids import UserId
from bot.policy.access import Rights
from bot.policy.markup import harmless
from bot.policy.splitting import LIMIT
from cogs._faults import AnyInteraction, error_words
from cogs._languages import public_locale, told
from cogs._places import place_of, user_id
from cogs._transport import InteractionTransport
from cogs._view import Act, MessageView, View, buttons_of
from cogs._writer import Writer

NOTE = "discord.open_loads"
"""Where the messages of loads under way are noted, for the start after a crash."""

LEAVING = "⚠ Lantern is restarting. Give the command again to see how the load stands."

MAX_LEFT = 50
"""Of what earlier starts could not close either, the newest are tried again."""

CUT_LINE = "⚠ Lantern was restarted, which cut this load."
AGAIN_LINE = "Give the command again to see how it stands."

_log = structlog.get_logger(__name__)


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
        self._head = head
        self._ticket = ticket
        self._end = ""
        self._acts: tuple[Act, ...] = ()

    def end(self, how: str, *, is_as_wished: bool = False) -> None:
        """The load is over; the first word on how stays. A choice in vain can be undone."""
        if not self.is_over:
            self._end, self.is_over = how, True
            self._acts = (Act.UNDO,) if self.stays and not is_as_wished else ()
            self.changes += 1

    def stop(self, how: str) -> None:
        """Nobody follows the load any more; that it goes on for others is not ours to end."""
        self.end(how)
        if self.reading is not None:
            self.reading.cancel()

    def messages(self, now: float) -> tuple[MessageView, ...]:
        """The one message as it should read now."""
        if self.is_over:
            # The end may hold what a host said, the head a greeting; both may be long.
            end = told(self._end, self._locale)
            text = harmless(f"{self._head}\n{end}".strip())[:LIMIT]
            return (MessageView(text, self._acts, self._ticket if self._acts else ""),)
        if self.step is None:
            return ()
        line = told(words.progress_line(self.step), self._locale)
        return (MessageView(f"{self._head}\n{line}".strip(), (Act.HALT,), self._ticket),)


class Loads:
    """Shows loads and cancels them; one per process."""

    def __init__(self, lantern: Lantern) -> None:
        self._notes = lantern.notes
        self._acts = lantern.acts
        self._switch = lantern.switch
        self._live: dict[str, LoadView] = {}
        self._open: dict[int, OpenLoad] = {}
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
        stays: str = "",
    ) -> None:
        """Plays a load into the command's reply until it is in memory or has failed.

        Leaving before the last edit is shown leaves the message noted for the next start.

        Args:
            interaction: The command.
            transport: Shows its reply.
            head: Its first lines, in its readers' language, which stay.
            steps: The load.
            stays: Of a choice made under the interaction's id as its ticket, what is true of it
                however the load ends; it can then be undone.
        """
        ticket = str(interaction.id)
        view = LoadView(head, stays, ticket, user_id(interaction.user), transport.locale)
        self._live[ticket] = view
        self._all_done.clear()
        # A command may still come in while Lantern drains.
        if self._is_leaving:
            view.end(LEAVING)

        async def keep(part: int, message_id: int) -> bool:
            own = () if transport.is_for_all else (interaction.token, str(interaction.locale))
            view.open = OpenLoad(transport.channel_id, message_id, head, stays, ticket, *own)
            self._open[message_id] = view.open
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
        if view.open is not None and outcome != "given up":
            await self.forget(view.open.message)

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

    async def left_open(self) -> tuple[OpenLoad, ...]:
        """Messages of loads that a Lantern before this one did not end; noted until forgotten.

        Raises:
            StoreUnavailable: the note cannot be read.
        """
        noted: list[list[Any]] = json.loads(await self._notes.get(NOTE) or "[]")
        left = [OpenLoad(*load) for load in noted][-MAX_LEFT:]
        # Those not closed this time stay noted: another start may be allowed what this one is not.
        self._open = {load.message: load for load in left} | self._open
        # Loads begun since are noted too, and alive.
        live = {view.open for view in self._live.values()}
        return tuple(load for load in left if load not in live)

    async def forget(self, message: int) -> None:
        """That message promises nothing any more."""
        self._open.pop(message, None)
        await self._note()

    async def halt(self, interaction: AnyInteraction, ticket: str, rights: Rights) -> None:
        """Somebody pressed Cancel.

        Raises:
            NotPermitted: neither the asker nor an admin.
        """
        view = self._live.get(ticket)
        if view is None:
            # Its button outlived the process, and is pressed before the message is closed.
            shown, locale = interaction.message, public_locale(interaction)
            head = shown.content.split("\n", 1)[0] if shown is not None else ""
            left = self._open.get(shown.id) if shown is not None else None
            over = told("-# This load is not running any more.", locale)
            cut = left.cut(locale) if left else MessageView(f"{head}\n{over}")
            buttons = buttons_of(cut, locale)
            await interaction.response.edit_message(content=cut.content, view=buttons)
            return
        if view.asker != user_id(interaction.user) and not rights.is_admin:
            raise NotPermitted("Only the person who asked, or an admin, may cancel this load.")
        await interaction.response.defer()
        how, step = "⏹ Cancelled.", view.step
        if isinstance(step, Loading) and not await self._acts.cancel_load(step.host, step.model):
            how += " Others wait for this load, so it goes on."
        # A load that was cancelled read as if the choice were gone too.
        view.stop(f"{how} {view.stays}".strip())

    async def undo(self, interaction: AnyInteraction, ticket: str, rights: Rights) -> None:
        """Somebody pressed Undo: takes the choice back, unless somebody chose since.

        Raises:
            NotPermitted: neither who chose nor an admin.
            RequestRefused: it is too long ago, was undone before, or somebody chose since.
        """
        # First, since a disk that hangs must not make the press fail.
        await interaction.response.defer()
        place, user = place_of(interaction), user_id(interaction.user)
        said = await self._switch.undo(place, user, ticket, rights=rights)
        shown = interaction.message.content if interaction.message is not None else ""
        # How the load ended is of no account any more; what was chosen is.
        said = told(said, public_locale(interaction))
        text = f"{shown.rpartition(chr(10))[0]}\n{said}".strip()
        await interaction.edit_original_response(content=text, view=None)

    async def _note(self) -> None:
        try:
            await self._notes.put(NOTE, json.dumps([astuple(o) for o in self._open.values()]))
        except BotError as error:
            _log.warning("load not noted", error=error.user_message)


async def _read(steps: LoadSteps, view: LoadView, writer: Writer) -> None:
    try:
        async with steps as progress:
            async for step in progress:
                if isinstance(step, Readiness):
                    by = step.by.provider if step.by is not None else None
                    is_kept = by == step.provider if step.provider else step.is_as_wished
                    view.end(words.readiness_text(step), is_as_wished=is_kept)
                else:
                    view.step = step
                    view.changes += 1
                writer.poke()
    except Exception as error:
        view.end(error_words(error))
    finally:
        view.end("⏹ Cancelled.")
        writer.poke()
