"""``GET /admin/events``: what happens, as server-sent events, to whoever looks on.

A viewer is first sent a snapshot of everything, then each event. Events are numbered and the newest
of them kept, so that one whose line broke goes on where it stopped. One that reads too slowly loses
events and is sent a new snapshot: nobody's memory grows for it, and no request waits for it.
Its key is looked at again before each frame: once it is revoked, over, or needed at last, a last
event says so.
While nobody looks on, and nobody did a moment ago, no event is made at all.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from aiohttp import web

from bot.gateway.edge import Object
from bot.gateway.errors import Problem
from bot.gateway.sinks import SSE_HEADERS

RING = 1000
"""Events kept for those whose line broke."""

BACKLOG = 500
"""Events a viewer may be behind before it loses them."""

KEPT_S = 60.0
"""Events are kept so long after the last viewer left; whoever comes back later gets a snapshot."""

COMMENT_S = 15.0
"""After so long without an event a line shows that the connection lives."""

LOOK_S = 1.0
"""A viewer that is told nothing still loses its line so soon after its key was revoked."""

Admit = Callable[[web.Request], Awaitable[object]]
"""Raises a ``Problem`` once whoever asked may not be told any more."""


@dataclass(eq=False, slots=True)
class _Viewer:
    frames: deque[bytes] = field(default_factory=deque[bytes])
    is_behind: bool = True
    """It is to be sent a snapshot next: it is new, or lost events."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, frame: bytes) -> None:
        if self.is_behind:
            return
        if len(self.frames) >= BACKLOG:
            self.frames.clear()
            self.is_behind = True
        else:
            self.frames.append(frame)
        self.news.set()


class Feed:
    """The events, their ring, and those who look on."""

    def __init__(
        self, prepare: Callable[[], Awaitable[Callable[[], Object]]], utcnow: Callable[[], datetime]
    ) -> None:
        """Begin without any event.

        Args:
            prepare: Reads what takes a while; what it gives makes a snapshot at once, so that no
                event falls between the snapshot and its number.
            utcnow: Wall time.
        """
        self._prepare = prepare
        self._utcnow = utcnow
        # A number that a former process gave is smaller than all of this one: whoever comes back
        # with it gets a snapshot, and not what happens to have the next number.
        self._number = int(utcnow().timestamp() * 1000)
        self._ring: deque[tuple[int, bytes]] = deque(maxlen=RING)
        self.viewers: set[_Viewer] = set()
        """Who looks on; only the feed changes it."""
        self.arrivals = 0
        """How often somebody began to look on, or was sent a snapshot anew."""
        self._kept_until = 0.0
        self._is_kept = self._is_closed = False

    def is_heard(self) -> bool:
        """Does anybody look on, or may come back? What nobody hears need not be made."""
        if not self._is_kept:
            return False
        if self.viewers or asyncio.get_running_loop().time() < self._kept_until:
            return True
        # By the number nobody was told, whoever comes back all the same is sent a snapshot.
        self._ring.clear()
        self._number += 1
        self._is_kept = False
        return False

    def publish(self, kind: str, **fields: object) -> None:
        """One event to everybody, now and to those who come back."""
        if not self.is_heard():
            return
        self._number += 1
        frame = self._frame(kind, fields, self._number)
        self._ring.append((self._number, frame))
        for viewer in self.viewers:
            viewer.take(frame)

    def show(self, kind: str, **fields: object) -> None:
        """How things stand at this moment, to those who look on; the next one outdates it."""
        # Without a number: nobody who comes back wants what was outdated a second later.
        frame = self._frame(kind, fields, None)
        for viewer in self.viewers:
            viewer.take(frame)

    async def close(self, _: object = None) -> None:
        """Ends every viewer's stream: a server that stops would wait for them."""
        self._is_closed = True
        for viewer in self.viewers:
            viewer.news.set()

    async def serve(self, admit: Admit, request: web.Request) -> web.StreamResponse:
        """One viewer's stream, until it leaves, may not stay, or the server stops."""
        response = web.StreamResponse(headers=SSE_HEADERS)
        await response.prepare(request)
        viewer = _Viewer()
        missed = self._missed(request.headers.get("Last-Event-ID", ""))
        viewer.is_behind = missed is None
        self.viewers.add(viewer)
        self.arrivals += 1
        self._is_kept = True
        clock = asyncio.get_running_loop().time
        told_at = clock()
        # A viewer that is gone is no fault.
        with suppress(ConnectionError):
            try:
                if missed:
                    await response.write(b"".join(missed))
                while not self._is_closed:
                    frame = await self._next(viewer)
                    try:
                        await admit(request)
                    except Problem as closed:
                        why: Object = {"status": closed.status, "code": closed.code}
                        why["message"] = closed.message
                        await response.write(self._frame("closed", why, None))
                        break
                    if not frame and clock() - told_at >= COMMENT_S:
                        frame = b": still here\n\n"
                    if frame:
                        await response.write(frame)
                        told_at = clock()
                await response.write_eof()
            finally:
                self.viewers.discard(viewer)
                self._kept_until = clock() + KEPT_S
        return response

    async def _next(self, viewer: _Viewer) -> bytes:
        """What a viewer is sent next; waits a moment for it, and may come without anything."""
        if viewer.is_behind:
            whole = await self._prepare()
            # No await from here on: the events after this number are those the viewer takes.
            viewer.is_behind = False
            self.arrivals += 1
            return self._frame("snapshot", whole(), self._number)
        viewer.news.clear()
        if not viewer.frames:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await viewer.news.wait()
        if viewer.is_behind or not viewer.frames:
            return b""
        waiting = b"".join(viewer.frames)
        viewer.frames.clear()
        return waiting

    def _missed(self, last: str) -> list[bytes] | None:
        """What came after the event of this number; None when that cannot be told any more."""
        # Python refuses to read thousands of digits as a number, and that would be our fault then.
        if not (last.isascii() and last.isdigit()) or len(last) > 20:
            return None
        since = int(last)
        oldest = self._ring[0][0] if self._ring else self._number + 1
        if not oldest - 1 <= since <= self._number:
            return None
        return [frame for number, frame in self._ring if number > since]

    def _frame(self, kind: str, fields: Object, number: int | None) -> bytes:
        at = self._utcnow().isoformat(timespec="milliseconds")
        head = b"" if number is None else b"id: %d\n" % number
        body = json.dumps({"type": kind, "at": at, **fields}, ensure_ascii=False)
        return b"%sdata: %s\n\n" % (head, body.encode("utf-8", "replace"))
