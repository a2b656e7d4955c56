"""One request to a host over a connection of its own, and the bytes of its answer.

aiohttp's client hands each read to a task: woken, timed and parsed for every token, it cost more
than all the rest of the relay. Here a read goes on to the client within the callback that brought
it, wherever nothing is to be changed in it (docs/adr/0018-relayed-bytes.md).
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

from aiohttp import ServerTimeoutError

from bot.inference.passing import Passing
from bot.inference.wire import WireFault, garbage

MOST_HEAD_BYTES = 64 << 10
MOST_UNREAD_BYTES = 256 << 10
"""A client slower than its host holds so much here; then the host is not read any more."""

_MAY_BE_SIZE = re.compile(rb"(?:[0-9a-fA-F]{1,16}[ \t]*(?:;[^\r\n]{0,200})?(?:\r(?:\n|$)|$)|-|$)")
"""What a chunk begins with, as far as it came; less than nothing is told apart later."""

Straight = Callable[[bytes], bool]
"""Sends bytes in HTTP's chunks to the client at once; False where they must go another way."""


class Exchange(asyncio.Protocol):
    """The answer to one request, as its bytes come in."""

    def __init__(self, passing: Passing, straight: Straight, heard: Callable[[], None]) -> None:
        """Begin before anything is sent.

        Args:
            passing: Tells what may go straight on; it is fed by whoever reads, not here.
            straight: Where that goes.
            heard: Called for each read that went there.
        """
        self._passing = passing
        self._straight = straight
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._raw = b""
        """Not yet understood: a part of the head, or of a chunk."""
        self._body = bytearray()
        """Of the answer, not read yet."""
        self._is_read = False
        """Does its reader wait for more, with all that came before on its way?"""
        self._left: int | None = None
        """Bytes to come, where the head told how many."""
        self._is_chunked = False
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        """0 until the head came."""
        self.headers: Mapping[str, str] = {}
        """By lower-case name."""
        self.is_over = False
        self.fault: Exception | None = None
        """Why it is over before its end."""
        self.heard_at = self._loop.time()

    # --- called by the transport --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        # uvloop's are of no class of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """One read: straight on where it may, else kept for whoever reads."""
        self.heard_at = self._loop.time()
        if (
            self._is_read
            and self._is_chunked
            and not self._raw
            and (chunks := whole_chunks(data))
            and (changed := self._passing.straight(chunks)) is not None
            and self._straight(changed or data)
        ):
            self._passing.deltas += len(chunks)
            self._heard()
            return
        self._raw += data
        try:
            if not self.status:
                self._read_head()
            if self.status:
                self._read_body()
        except (WireFault, ValueError) as error:
            self._end(error)
        if len(self._body) > MOST_UNREAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Over: well where the answer's end needs no mark, or came before."""
        is_cut = not self.status or self._is_chunked or self._left is not None
        self._end(exc or (ConnectionResetError("cut") if is_cut else None))
        self._wake()

    # --- called by whoever reads --------------------------------------------------------------

    async def head(self) -> None:
        """Returns when status and headers are there.

        Raises:
            OSError: the connection broke before.
            WireFault: it is no HTTP.
        """
        while not self.status:
            if self.is_over:
                raise self.fault or ConnectionResetError("cut")
            await self._more()

    async def read(self, due: Callable[[], float]) -> bytes:
        """The bytes that did not go straight on; empty at the end.

        Args:
            due: Moment at which silence counts as a failure; asked again when it has come.

        Raises:
            TimeoutError: nothing came in time.
            OSError: the connection broke.
            WireFault: it is no HTTP.
        """
        self._is_read = not self._body
        while not self._body:
            if self.fault is not None:
                raise self.fault
            if self.is_over:
                return b""
            try:
                async with asyncio.timeout_at(due()):
                    await self._more()
            # What went straight on meanwhile was heard, too.
            except TimeoutError:
                if due() <= self._loop.time():
                    raise
        self._is_read = False
        data = bytes(self._body)
        self._body.clear()
        if self._transport is not None:
            self._transport.resume_reading()
        return data

    async def _more(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- HTTP ---------------------------------------------------------------------------------

    def _read_head(self) -> None:
        head, parted, rest = self._raw.partition(b"\r\n\r\n")
        if not parted:
            if len(self._raw) > MOST_HEAD_BYTES:
                raise garbage("its head has no end")
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, status = first.partition(" ")
        if not version.startswith("HTTP/1.") or not status[:3].isdecimal():
            raise garbage("it does not speak HTTP")
        self._raw = rest
        if status.startswith("1"):
            # Told meanwhile; the answer itself is still to come.
            self._read_head()
            return
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._is_chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        if not self._is_chunked and "content-length" in self.headers:
            self._left = int(self.headers["content-length"])
        self.status = int(status[:3])

    def _read_body(self) -> None:
        if not self._is_chunked:
            self._body += self._raw
            if self._left is not None:
                self._left -= len(self._raw)
                if self._left <= 0:
                    self._end(None)
            self._raw = b""
        else:
            self._read_chunks()

    def _read_chunks(self) -> None:
        at = 0
        while not self.is_over and (end := self._raw.find(b"\r\n", at)) >= 0:
            size = int(self._raw[at:end].partition(b";")[0], 16)
            after = end + 2 + size
            if size < 0:
                raise garbage("a chunk of no size")
            if not size:
                self._end(None)
            elif not b"\r\n".startswith(self._raw[after : after + 2]):
                # Waited for, what it announced would have come after the longest silence, or never.
                raise garbage("a chunk of another size than it says")
            elif len(self._raw) < after + 2:
                break
            else:
                self._body += self._raw[end + 2 : after]
                at = after + 2
        self._raw = self._raw[at:]
        if not self.is_over and not _MAY_BE_SIZE.match(self._raw):
            raise garbage("it announces chunks and sends none")
        if len(self._raw) > MOST_UNREAD_BYTES + MOST_HEAD_BYTES:
            raise garbage("one chunk is larger than any answer")

    def _end(self, fault: Exception | None) -> None:
        if not self.is_over:
            self.is_over, self.fault = True, fault

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@asynccontextmanager
async def exchanged(
    exchange: Exchange, url: str, headers: Mapping[str, str], body: bytes, connect_s: float
) -> AsyncGenerator[None]:
    """Sends a POST by a connection of its own, which is closed when the block is left.

    Raises:
        OSError: there is no connection; aiohttp's ``ServerTimeoutError`` where it took too long.
    """
    where = urlsplit(url)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_s):
            transport, _ = await loop.create_connection(
                lambda: exchange, where.hostname or "", where.port or 80
            )
    except TimeoutError as error:
        raise ServerTimeoutError from error
    try:
        fields = {
            "Host": where.netloc,
            "User-Agent": "lantern-bot",
            "Connection": "close",
            **headers,
            "Content-Length": str(len(body)),
        }
        lines = [f"POST {where.path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
        transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        yield
    finally:
        transport.close()


def whole_chunks(data: bytes) -> list[bytes]:
    """The payloads of a read that holds whole chunks of whole events alone; else none.

    As strict as can be: what goes straight on is read by the client's parser, not by ours.
    """
    found: list[bytes] = []
    at, most = 0, len(data)
    while at < most:
        end = data.find(b"\r\n", at, at + 10)
        size = data[at:end]
        try:
            after = end + 2 + int(size, 16)
        except ValueError:
            return []
        payload = data[end + 2 : after]
        # Also no chunk without a byte: the last one is the end.
        is_plain = payload.endswith(b"\n\n") and size == b"%x" % len(payload)
        if not is_plain or data[after : after + 2] != b"\r\n":
            return []
        found.append(payload)
        at = after + 2
    return found
