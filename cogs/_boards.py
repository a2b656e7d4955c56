"""Boards: one message of a server that shows the fleet, edited in place at a gentle pace."""

import asyncio
import io
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import astuple, replace

import discord
import structlog

from bot.chat.board import BOARD_EVERY_S, PICTURE_EVERY_S, board_picture, board_text
from bot.chat.lantern import Lantern
from bot.domain.cloud import LastDay
from bot.domain.errors import BotError, StoreUnavailable
from bot.domain.ids import PlaceId, UserId
from bot.domain.values import value
from bot.policy.pacing import Pacers
from cogs._faults import SENDING_ERRORS, DiscordFault
from cogs._languages import told
from cogs._owners import tell_owners
from cogs._readers import Readers
from cogs._transport import CALL_S, Transport
from cogs._view import MessageView, View
from cogs._writer import Writer

NOTE = "discord.boards"
"""Where boards stand: lists of server, channel and message."""

DENIED = (
    "📋 I may not edit the fleet's board any more. Let me see that channel again, or take the "
    "board away by `/fleet board show:off`:"
)
LOCKED = (
    "📋 The fleet's board stands in a locked thread, where I may change nothing. Unlock it, or "
    "take the board away by `/fleet board show:off`:"
)

BLOCKED_MAX_S = 900.0
"""Longest pause before one that may not be changed is tried again: each refusal counts towards the
limit that bans a whole address."""

_log = structlog.get_logger(__name__)


Pictures = tuple[tuple[bytes, str], ...]
"""What hangs under a board, each with its words; mostly one."""


@value
class Board:
    """Where one stands."""

    server: int
    channel: int
    message: int


@value
class _Block:
    """What stands in the way of changing one, and until when it is left alone."""

    line: str
    tries: int
    until: float


class _Frame(Transport):
    """A board's message; remembers why the last call failed."""

    fault: DiscordFault | None = None
    pictures: Pictures | None = None
    """What its edit brings along; None leaves what hangs there, or Discord refused a picture."""

    async def send(self, part: int, message: MessageView) -> int:
        try:
            return await super().send(part, message)
        except SENDING_ERRORS as error:
            self.fault = self.fault_of(error)
            raise

    async def edit(
        self, message_id: int, message: MessageView, before: MessageView | None = None
    ) -> None:
        try:
            if self.pictures is None:
                await super().edit(message_id, message, before)
                return
            async with asyncio.timeout(CALL_S):
                await self._channel.get_partial_message(message_id).edit(
                    content=message.content, attachments=_files(self.pictures)
                )
        except SENDING_ERRORS as error:
            self.fault = self.fault_of(error)
            if not self.pictures or self.fault not in (DiscordFault.DENIED, DiscordFault.REFUSED):
                raise
            # Perhaps the picture alone; its words must not wait for it.
            self.pictures = None
            await self.edit(message_id, message, before)


class Boards:
    """Owns which boards there are and what they show; one per process."""

    def __init__(
        self, lantern: Lantern, pacers: Pacers, readers: Readers, owner_channel: int | None = None
    ) -> None:
        """``owner_channel`` is where the owners are told things; None: in private."""
        self._readers = readers
        self._lantern = lantern
        self._owner_channel = owner_channel
        self._pacers = pacers
        self._boards: dict[int, Board] = {}
        """By server."""
        self._shown: dict[Board, str] = {}
        self._drawn: dict[Board, tuple[float, LastDay | None]] = {}
        """When its picture was looked at last, and the day that hangs there; None: no picture."""
        self._blocked: dict[Board, _Block] = {}
        """Those that may not be changed; said once of each."""
        self._putting_up: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By server: whoever puts one up."""

    async def read(self) -> None:
        """Remembers the boards of before the start.

        Raises:
            StoreUnavailable: the note cannot be read.
        """
        noted: list[list[int]] = json.loads(await self._lantern.notes.get(NOTE) or "[]")
        self._boards = {board.server: board for board in (Board(*at) for at in noted)}

    async def put_up(self, client: discord.Client, server: int, channel: int) -> Board | None:
        """Puts a server's board up in a channel; the one it had elsewhere goes.

        Gives where it stands when those who asked meanwhile had theirs put up, too; None: it was
        taken away.

        Raises:
            Exception: one of ``SENDING_ERRORS``, where nothing may be sent there.
            StoreUnavailable: it stands, until the next start.
        """
        async with self._putting_up[server]:
            await self._put_up(client, server, channel)
        # Behind whoever waited: of two at once each was told that it stands in their channel.
        async with self._putting_up[server]:
            return self._boards.get(server)

    async def _put_up(self, client: discord.Client, server: int, channel: int) -> None:
        text, empty = await self._text(client, server), Board(server, channel, 0)
        self._drawn.pop(empty, None)
        pictures = await self._pictures(client, empty)
        place = client.get_partial_messageable(channel, guild_id=server)
        sent = await place.send(text, files=_files(pictures or ()), suppress_embeds=True)
        board = Board(server, channel, sent.id)
        if empty in self._drawn:
            self._drawn[board] = self._drawn.pop(empty)
        before = self._boards.pop(server, None)
        self._boards[server], self._shown[board] = board, text
        await self._clear(client, before)
        await self._note()

    async def take_down(self, client: discord.Client, server: int) -> bool:
        """Takes a server's board away; False where there was none.

        Raises:
            StoreUnavailable: it is gone all the same; the next start finds that out.
        """
        board = self._boards.pop(server, None)
        await self._clear(client, board)
        await self._note()
        return board is not None

    def in_the_way(self, server: int) -> str:
        """Why a server's board cannot be brought up to date, and what helps; empty where it can."""
        board = self._boards.get(server)
        block = None if board is None else self._blocked.get(board)
        return "" if block is None else block.line

    async def keep(self, client: Callable[[], discord.Client | None]) -> None:
        """Brings every board up to date once a minute, by the connection there is then."""
        while True:
            now = client()
            if now is not None and now.is_ready():
                # Side by side: one that Discord does not take now must not hold up the others.
                async with asyncio.TaskGroup() as group:
                    for board in tuple(self._boards.values()):
                        block = self._blocked.get(board)
                        if block is None or asyncio.get_running_loop().time() >= block.until:
                            group.create_task(self._refresh(now, board))
            await asyncio.sleep(BOARD_EVERY_S)

    async def _refresh(self, client: discord.Client, board: Board) -> None:
        """Brings one board up to date; one that somebody deleted is a board no more."""
        try:
            text = await self._text(client, board.server)
            pictures = await self._pictures(client, board)
            if self._shown.get(board) == text and pictures is None:
                return
            channel = client.get_partial_messageable(board.channel, guild_id=board.server)
            frame = _Frame(channel, self._pacers)
            frame.edits_old, frame.pictures = True, pictures

            async def keep(_: int, message: int) -> bool:
                nonlocal board
                if message != board.message:
                    board = await self._replace(client, board, message)
                return True

            view, is_news = View((MessageView(text),)), board not in self._blocked
            writer = Writer(view, frame, keep, denied_tries=1, is_news=is_news)
            outcome = await writer.run(existing=(board.message,))
            # Another may have been put up meanwhile.
            if self._boards.get(board.server) != board:
                return
            if outcome == "shown":
                self._shown[board] = text
                self._blocked.pop(board, None)
                if pictures and frame.pictures is None:
                    self._drawn[board] = asyncio.get_running_loop().time(), None
                return
            # Nobody knows what hangs there now: with the next try it is drawn anew.
            self._drawn.pop(board, None)
            if frame.fault in (DiscordFault.DENIED, DiscordFault.LOCKED):
                await self._block(client, board, frame.fault)
            elif frame.fault in (DiscordFault.GONE, DiscordFault.LOST):
                # Whoever deletes it wants it gone: put up again, it would be a spammer.
                _log.info("board was taken away", server=board.server, channel=board.channel)
                del self._boards[board.server]
                await self._note()
        except Exception:
            # A board is worth no answer: whatever breaks here must not end what runs beside it.
            _log.exception("board not kept", server=board.server)

    async def _block(self, client: discord.Client, board: Board, fault: DiscordFault) -> None:
        """Leaves one alone for a while, longer each time; the first time its owners are told."""
        before = self._blocked.get(board)
        tries = 1 if before is None else before.tries + 1
        until = asyncio.get_running_loop().time() + min(BLOCKED_MAX_S, BOARD_EVERY_S * 2**tries)
        line = f"{LOCKED if fault is DiscordFault.LOCKED else DENIED} <#{board.channel}>."
        self._blocked[board] = _Block(line, min(tries, 10), until)
        if before is None:
            await tell_owners(client, line, self._owner_channel, self._readers)

    async def _replace(self, client: discord.Client, board: Board, message: int) -> Board:
        """Remembers the message put up anew where a board could not be edited; gives the new board.

        One that was taken away or put up elsewhere meanwhile is not put up anew.
        """
        anew = replace(board, message=message)
        if self._boards.get(board.server) != board:
            await self._clear(client, anew)
            return anew
        # The picture hung under the old one: the new one gets its own with the next look.
        for known in (self._shown, self._drawn):
            known.pop(board, None)
        self._blocked.pop(board, None)
        self._boards[board.server] = anew
        try:
            await self._note()
        except StoreUnavailable as error:
            # The old one is deleted next: left there, it would stand beside the new one.
            _log.warning("board not noted", server=board.server, error=str(error)[:300])
        return anew

    async def _pictures(self, client: discord.Client, board: Board) -> Pictures | None:
        """What is to hang under a board now; None: what hangs there already."""
        now, known = asyncio.get_running_loop().time(), self._drawn.get(board)
        channel, hung = client.get_channel(board.channel), None if known is None else known[1]
        may_attach = (
            isinstance(channel, discord.abc.GuildChannel | discord.Thread)
            and channel.permissions_for(channel.guild.me).attach_files
        )
        if may_attach and known is not None and now - known[0] < PICTURE_EVERY_S:
            return None
        day, drawn = None, None
        if may_attach:
            try:
                day = await self._lantern.usage.last_day(PlaceId(f"discord:{board.server}"))
                drawn = await asyncio.to_thread(board_picture, day)
            except BotError:
                return None
            except Exception:
                # Whatever breaks in a picture: the words beside it must not wait for its mending.
                _log.exception("board's picture not drawn", server=board.server)
                self._drawn[board] = now, hung
                return None
        # Of before the start one may hang there that tells of a day long gone.
        is_same = known is not None and (day == hung or (drawn is None and hung is None))
        self._drawn[board] = now, hung if is_same else day if drawn is not None else None
        if is_same:
            return None
        return () if drawn is None else (drawn,)

    async def _text(self, client: discord.Client, server: int) -> str:
        lantern = self._lantern
        try:
            today = await lantern.usage.report(
                "today", "server", UserId(""), PlaceId(f"discord:{server}")
            )
        except BotError:
            today = None
        standings = await lantern.providers.standings()
        text = board_text(lantern.catalog.snapshot(), standings, today)
        guild = client.get_guild(server)
        return told(text, None if guild is None else guild.preferred_locale)

    async def _clear(self, client: discord.Client, board: Board | None) -> None:
        if board is None:
            return
        self._shown.pop(board, None)
        self._drawn.pop(board, None)
        self._blocked.pop(board, None)
        place = client.get_partial_messageable(board.channel, guild_id=board.server)
        try:
            await place.get_partial_message(board.message).delete()
        except SENDING_ERRORS as error:
            _log.info("board not deleted", server=board.server, error=str(error)[:300])

    async def _note(self) -> None:
        boards = [astuple(board) for board in self._boards.values()]
        await self._lantern.notes.put(NOTE, json.dumps(boards))


def _files(pictures: Pictures) -> list[discord.File]:
    return [
        discord.File(io.BytesIO(png), "last-24-hours.png", description=alt) for png, alt in pictures
    ]
