"""Loads that belong to no turn: a progress bar in a command's reply, with Cancel."""

import asyncio
import json
from contextlib import suppress
from dataclasses import astuple
from typing import Any

import structlog

from bot.chat.flights import News
from bot.chat.lantern import Lantern
from bot.chat.walk import LoadSteps, Readiness
from bot.domain.errors import BotError, NotPermitted
from bot.domain.events import FleetEvent, Loading
from bot.domain.values import value
from bot.policy.access import Rights
from cogs._faults import AnyInteraction, error_words
from cogs._languages import public_locale, told
from cogs._load_view import LoadView, OpenLoad
from cogs._places import place_of, user_id
from cogs._transport import InteractionTransport
from cogs._view import MessageView, buttons_of
from cogs._writer import Writer

NOTE = "discord.open_loads"
"""Where the messages of loads under way are noted, for the start after a crash."""

LEAVING = "⚠ Lantern is restarting. Give the command again to see how the load stands."

MAX_LEFT = 50
"""Of what earlier starts could not close either, the newest are tried again."""

FOLLOWED_S, MOST_FOLLOWED = 600.0, 50
"""So long after its end a load's message is told what became of it; of so many, the newest."""

_log = structlog.get_logger(__name__)


@value
class _Ended:
    """A message that says how its load ended."""

    view: LoadView
    transport: InteractionTransport
    ids: tuple[int, ...]
    until: float
    """By the loop's clock: so long what became of it since is told there."""


class Loads:
    """Shows loads and cancels them; one per process."""

    def __init__(self, lantern: Lantern) -> None:
        self._notes = lantern.notes
        self._acts = lantern.acts
        self._switch = lantern.switch
        self._newsroom = lantern.newsroom
        self._live: dict[str, LoadView] = {}
        self._ended: dict[str, _Ended] = {}
        """By ticket, oldest first."""
        self._overtaken = asyncio.Queue[str]()
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
                if stays:
                    group.create_task(self._look())
                outcome = await writer.run()
                view.reading.cancel()
        finally:
            del self._live[ticket]
            if not self._live:
                self._all_done.set()
        if outcome == "shown":
            self._follow(ticket, view, transport, writer.ids())
        if view.open is not None and outcome != "given up":
            await self.forget(view.open.message)
        if stays:
            await self._look()

    async def keep(self) -> None:
        """Tells in messages of ended loads what became of them since, until it is cancelled."""
        with self._newsroom.heard_by(self._hear):
            while True:
                # One behind the other: two edits of one message may arrive in any order.
                ticket = await self._overtaken.get()
                if (ended := self._ended.get(ticket)) is not None:
                    await Writer(ended.view, ended.transport).run(existing=ended.ids)

    def _follow(
        self, ticket: str, view: LoadView, transport: InteractionTransport, ids: tuple[int, ...]
    ) -> None:
        now = asyncio.get_running_loop().time()
        ended = _Ended(view, transport, ids, min(now + FOLLOWED_S, transport.closes_at))
        kept = {key: each for key, each in self._ended.items() if now < each.until}
        self._ended = dict([*kept.items(), (ticket, ended)][-MOST_FOLLOWED:])
        if view.since:
            # While its end was on the way to Discord.
            self._overtaken.put_nowait(ticket)

    def _hear(self, news: News) -> None:
        if isinstance(news, FleetEvent):
            views = self._live | {ticket: each.view for ticket, each in self._ended.items()}
            for ticket in [ticket for ticket, view in views.items() if view.lose(news)]:
                self._show_anew(ticket)

    async def _look(self) -> None:
        """Tells choices that somebody has changed since, or that hold again.

        Of two admins who chose in one moment both read that theirs was chosen.
        """
        views = self._live | {ticket: each.view for ticket, each in self._ended.items()}
        try:
            made = await self._switch.overtaken([t for t, view in views.items() if view.stays])
        except BotError as error:
            _log.warning("choices not looked up", error=error.user_message)
            return
        for ticket, how in made.items():
            if views[ticket].overtake(how):
                self._show_anew(ticket)

    def _show_anew(self, ticket: str) -> None:
        # What is shown still is written by its own writer.
        ended = self._ended.get(ticket)
        if ended is not None and asyncio.get_running_loop().time() < ended.until:
            self._overtaken.put_nowait(ticket)

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
        # Nothing that is told of it later takes the place of that.
        self._ended.pop(ticket, None)
        shown = interaction.message.content if interaction.message is not None else ""
        # How the load ended is of no account any more; what was chosen is.
        said = told(said, public_locale(interaction))
        text = f"{shown.rpartition(chr(10))[0]}\n{said}".strip()
        await interaction.edit_original_response(content=text, view=None)
        await self._look()

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
                    view.end(step)
                else:
                    view.step = step
                    view.changes += 1
                writer.poke()
    except Exception as error:
        view.end(error_words(error))
    finally:
        view.end("⏹ Cancelled.")
        writer.poke()
