"""One request to a host or provider, the bytes of its answer, and connections kept for the next.

aiohttp's client hands each read to a task: woken, timed and parsed for every token, it cost more
than all the rest of the relay, and of a short whole answer a sixth. Here a read goes on to whoever
wants it within the callback that brought it, wherever it holds nothing but words
(docs/adr/0018-relayed-bytes.md, 0029-words-within-the-callback.md).
"""

import asyncio
import errno
import re
import socket
import ssl
from asyncio.staggered import staggered_race
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import cast
from urllib.parse import urlsplit

from bot.domain.errors import Bug, FailureKind
from bot.inference.wire import Call, Method, Verdict, WireFault, garbage

MOST_HEAD_BYTES = 64 << 10
MOST_UNREAD_BYTES = 256 << 10
"""A client slower than its host holds so much here; then the host is not read any more."""

_MAY_BE_SIZE = re.compile(rb"(?:[0-9a-fA-F]{1,16}[ \t]*(?:;[^\r\n]{0,200})?(?:\r(?:\n|$)|$)|-|$)")
"""What a chunk begins with, as far as it came; less than nothing is told apart later."""

_BODILESS = ("204", "304")
"""Statuses after which nothing comes, whatever the head says (RFC 9112, 6.3)."""
_PORTS = {"http": 80, "https": 443}
_NO_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")
"""What no header's value may hold."""

KEEP_ALIVE_S = 4.0
"""LM Studio's server (Node) closes idle connections after 5 s; a request sent just then is lost."""

_NEXT_ADDRESS_S = 0.25
"""After so long the next of a name's addresses is tried beside the one before (RFC 8305)."""

IS_ADDRESS = re.compile(r"[0-9.]+|[^%]*:[^%]*")
"""What names nothing that had to be looked up."""

_Peer = tuple[str, str, int]
"""Scheme, name and port."""


class Exchange(asyncio.Protocol):
    """The answer to one request, as its bytes come in."""

    def __init__(self, most_bytes: int, straight: Callable[[bytes], bool] | None = None) -> None:
        """Begin before anything is sent.

        Args:
            most_bytes: Of one chunk, which is held until it is whole.
            straight: Is offered each read of a chunked answer that comes while its reader waits:
                what it takes is not read. What it raises ends the answer as a ``Bug``.
        """
        self._most_bytes = most_bytes
        self.straight = straight
        """None once whoever it belongs to is done."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._raw = bytearray()
        """Not yet understood: a part of the head, or of a chunk."""
        self._body = bytearray()
        """Of the answer, not read yet."""
        self._offered: Callable[[bytes], bool] | None = None
        """``straight`` while its reader waits for more, with all that came before on its way."""
        self._left: int | None = None
        """Bytes to come, where the head told how many."""
        self._is_chunked = self._is_kept_open = self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._due = 0.0
        """When its reader has waited long enough."""
        self._timer: asyncio.TimerHandle | None = None
        self.status = 0
        """0 until the head came."""
        self.headers: Mapping[str, str] = {}
        """By lower-case name."""
        self.is_over = False
        self.fault: Exception | None = None
        """Why it is over before its end."""
        self.may_stay = False
        """Is it over, to the last byte, and its connection good for another?"""
        self.is_unheard = True
        """Has no byte of an answer come?"""
        self.heard_at = self._loop.time()

    # --- called by the transport --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected; anew where the connection before it was found closed."""
        # uvloop's are of no class of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.is_over, self.fault = False, None

    def data_received(self, data: bytes) -> None:
        """One read: straight on where it may, else kept for whoever reads."""
        self.heard_at = self._loop.time()
        offered = self._offered
        try:
            if offered is not None and offered(data):
                return
        except Exception as error:
            # Raised to the loop it counted, an OSError, as the host's broken line.
            fault = Bug("Something went wrong inside Lantern as an answer was told.")
            fault.__cause__ = error
            self._end(fault)
        # Of two reads in one step of the loop the second must not pass the first.
        self._offered = None
        # What comes behind its end makes a connection useless for another.
        self.may_stay = self.is_unheard = False
        if self.is_over:
            # Kept, it grew for as long as whoever reads was held up by its own reader.
            self._wake()
            return
        self._raw += data
        try:
            if not self.status:
                self._read_head()
            if self.status:
                self._read_body()
        except WireFault as fault:
            self._end(fault)
        except ValueError:
            self._end(garbage("a number in its framing is none"))
        if len(self._body) > MOST_UNREAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
            self._is_paused = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Over: well where the answer's end needs no mark, or came before."""
        is_cut = not self.status or self._is_chunked or self._left is not None
        self._end(exc or (ConnectionResetError("cut") if is_cut else None))
        self._wake()

    # --- called by whoever reads --------------------------------------------------------------

    def close(self) -> None:
        """Ends the connection, and with it the other side's work."""
        # Closed in good order, the rest of a long prompt was sent first, and TLS waited half a
        # minute for an answer to its farewell.
        if self._transport is not None:
            self._transport.abort()

    async def head(self, due: float) -> None:
        """Returns when status and headers are there.

        Raises:
            TimeoutError: they are not by ``due``.
            OSError: the connection broke before.
            WireFault: it is no HTTP.
        """
        while not self.status:
            if self.is_over:
                raise self.fault or ConnectionResetError("cut")
            await self._more(due)

    async def read(self, due: Callable[[], float]) -> bytes:
        """The bytes that did not go straight on; empty at the end.

        Args:
            due: Moment at which silence counts as a failure; asked again when it has come.

        Raises:
            TimeoutError: nothing came in time.
            OSError: the connection broke.
            WireFault: it is no HTTP.
        """
        self._offered = self.straight if self._is_chunked and not self._raw else None
        try:
            while not self._body:
                if self.fault is not None:
                    raise self.fault
                if self.is_over:
                    return b""
                try:
                    await self._more(due())
                # What went straight on meanwhile was heard, too.
                except TimeoutError:
                    if not (self._body or self.is_over) and due() <= self._loop.time():
                        raise
        finally:
            # Nothing more goes past a reader who was told to stop.
            self._offered = None
        data = bytes(self._body)
        self._body.clear()
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def _more(self, due: float) -> None:
        self._waiter, self._due = self._loop.create_future(), due
        # Most waits end long before: the timer of one goes on for the next, set anew as it rings.
        if self._timer is not None and self._timer.when() > due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._ring)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._ring)
        else:
            self._wake(TimeoutError())

    # --- HTTP ---------------------------------------------------------------------------------

    def _read_head(self) -> None:
        while True:
            head, parted, rest = self._raw.partition(b"\r\n\r\n")
            if not self._raw.startswith(b"HTTP/1."[: len(self._raw)]):
                raise garbage("it does not speak HTTP")
            if not parted:
                if len(self._raw) > MOST_HEAD_BYTES:
                    raise garbage("its head has no end")
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            version, _, status = first.partition(" ")
            if not status[:3].isdecimal():
                raise garbage("it does not speak HTTP")
            self._raw = rest
            if not status.startswith("1"):
                break
            # Told meanwhile, a thousand times in one read by whoever means harm: the answer itself
            # is still to come.
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        told = self.headers.get("connection", "").lower()
        self._is_kept_open = version == "HTTP/1.1" and "close" not in told
        is_plain = self.headers.get("content-encoding", "identity").lower() == "identity"
        # Of a failure the status tells enough.
        if status.startswith("200") and not is_plain:
            raise garbage("it is packed, though we ask for no packing")
        self._frame(status)
        self.status = int(status[:3])

    def _frame(self, status: str) -> None:
        """How the end of the body will be known."""
        if status.startswith(_BODILESS):
            self._left = 0
        elif self.headers.get("transfer-encoding", "").lower() == "chunked":
            self._is_chunked = True
        elif "content-length" in self.headers:
            self._left = int(self.headers["content-length"])

    def _read_body(self) -> None:
        if not self._is_chunked:
            self._body += self._raw
            if self._left is not None:
                self._left -= len(self._raw)
                if self._left <= 0:
                    self._end(None)
                    self.may_stay = self._is_kept_open and self._left == 0
            self._raw.clear()
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
                at = end + 2
                self.may_stay = self._is_kept_open and bytes(self._raw[at:]) == b"\r\n"
            elif not b"\r\n".startswith(self._raw[after : after + 2]):
                # Waited for, what it announced would have come after the longest silence, or never.
                raise garbage("a chunk of another size than it says")
            elif len(self._raw) < after + 2:
                break
            else:
                self._body += self._raw[end + 2 : after]
                at = after + 2
        del self._raw[:at]
        if not self.is_over and not _MAY_BE_SIZE.match(self._raw):
            raise garbage("it announces chunks and sends none")
        if len(self._raw) > self._most_bytes + MOST_HEAD_BYTES:
            raise garbage("one chunk is larger than any answer")

    def _end(self, fault: Exception | None) -> None:
        if not self.is_over:
            self.is_over, self.fault = True, fault
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self, error: Exception | None = None) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if error is None:
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(error)


class ConnectionPool:
    """Connections by address; one that an answer left in good order serves the next request."""

    def __init__(self) -> None:
        self._idle: defaultdict[
            _Peer, dict[asyncio.Transport, tuple[Exchange, asyncio.TimerHandle]]
        ] = defaultdict(dict)
        """With the answer that left each, and what closes it in time."""
        self._tls: ssl.SSLContext | None = None

    async def sent(
        self, exchange: Exchange, call: Call, connect_s: float, due: float
    ) -> Callable[[], None]:
        """Sends a call; returns, with the answer's head there, what is called when it is done with.

        That keeps the connection where the answer ended in good order, and closes it otherwise.

        Raises:
            TimeoutError: no head came by ``due``.
            OSError: the connection broke.
            WireFault: there is no connection, ``CONNECT``; it is no HTTP; the key cannot be sent.
            BotError: as the call's ``before_words`` does, asked once the connection stands.
        """
        address, request = _written(call)
        transport = self._taken(address)
        is_kept = transport is not None
        if transport is None:
            transport = await self._connected(exchange, address, connect_s, due)
        else:
            transport.set_protocol(exchange)
            exchange.connection_made(transport)
        try:
            # Asked only before connecting, a mark set while names were looked up or TLS was made
            # came too late: the words of that one request left all the same.
            if call.before_words is not None:
                async with asyncio.timeout_at(due):
                    await call.before_words()
            transport.write(request)
            try:
                await exchange.head(due)
            # A kept connection that its host closed as the request left for it: a host that is
            # well was taken out for it, and with no other the client heard 502. nginx and Go do
            # not send a POST again, since it might be done twice. An answer changes nothing but
            # itself, and a host stops writing one when its connection breaks, so twice is at
            # worst a prompt read in vain. Only once, and never on a connection made for it: a
            # prompt that fells its host must not fell it again and again. Nor what is paid for.
            except ConnectionError:
                is_once = call.is_act or call.before_words is not None
                if is_once or not (is_kept and exchange.is_unheard):
                    raise
                transport = await self._connected(exchange, address, connect_s, due)
                transport.write(request)
                await exchange.head(due)
        except BaseException:
            transport.abort()
            raise
        return partial(self._left, address, exchange, transport)

    async def _connected(
        self, exchange: Exchange, address: _Peer, connect_s: float, due: float
    ) -> asyncio.Transport:
        """A new connection to the first of a name's addresses that takes one.

        Raises:
            TimeoutError: it is ``due`` before ``connect_s`` are over.
            WireFault: none did, ``CONNECT``.
        """
        (scheme, name, port), loop = address, asyncio.get_running_loop()
        until = loop.time() + connect_s
        try:
            async with asyncio.timeout_at(min(until, due)):
                if scheme == "https" and self._tls is None:
                    # Reads the machine's certificates: tens of milliseconds.
                    self._tls = await asyncio.to_thread(ssl.create_default_context)
                tls = self._tls if scheme == "https" else None
                # Looked up in a thread, which an address, as most hosts have, needs not.
                found = (
                    []
                    if IS_ADDRESS.fullmatch(name)
                    else await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
                )
                named = name if tls else None
                if len(found) < 2:
                    at = str(found[0][4][0]) if found else name
                    transport, _ = await loop.create_connection(
                        lambda: exchange, at, port, ssl=tls, server_hostname=named
                    )
                    return transport
                # A machine whose IPv6 leads nowhere must not wait for that. By ourselves: uvloop's
                # connections try one address after the other.
                ways = [partial(_joined, *each[:3], each[4]) for each in found]
                line, _, errors = await staggered_race(ways, _NEXT_ADDRESS_S)
                if line is None:
                    raise next(filter(None, reversed(errors)), OSError("no address"))
                transport, _ = await loop.create_connection(
                    lambda: exchange, sock=line, ssl=tls, server_hostname=named
                )
            return transport
        except TimeoutError as error:
            if due <= until:
                raise
            reason = f"no connection within {connect_s:g} s"
            raise WireFault(Verdict(FailureKind.CONNECT, reason)) from error
        except (OSError, ValueError) as error:
            raise WireFault(Verdict(FailureKind.CONNECT, _why(error))) from error

    def close(self) -> None:
        """Closes what is idle; what is in use closes with its request."""
        for address, idle in self._idle.items():
            for transport, (_, timer) in tuple(idle.items()):
                timer.cancel()
                self._drop(address, transport)

    def _taken(self, address: _Peer) -> asyncio.Transport | None:
        idle = self._idle[address]
        while idle:
            # The newest: in a lull the others grow too old.
            transport, (exchange, timer) = idle.popitem()
            timer.cancel()
            if exchange.may_stay and not transport.is_closing():
                return transport
            transport.close()
        return None

    def _left(self, address: _Peer, exchange: Exchange, transport: asyncio.Transport) -> None:
        if not exchange.may_stay:
            transport.abort()
            return
        # Stopped for a reader that was slow, and left before it had read all.
        transport.resume_reading()
        later = asyncio.get_running_loop().call_later
        self._idle[address][transport] = (
            exchange,
            later(KEEP_ALIVE_S, self._drop, address, transport),
        )

    def _drop(self, address: _Peer, transport: asyncio.Transport) -> None:
        del self._idle[address][transport]
        transport.close()


def _why(error: OSError | ValueError) -> str:
    """Why there is no connection, for people."""
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case ssl.SSLCertVerificationError():
            return "its certificate is not valid"
        case ssl.SSLError():
            return "no TLS connection"
        case socket.gaierror():
            return "no machine of that name"
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return "no route to it"
        case UnicodeError():
            # A name that cannot be one of the internet's.
            return "its address is no URL"
        case _:
            return "no connection"


async def _joined(family: int, kind: int, protocol: int, at: tuple[object, ...]) -> socket.socket:
    """A socket that is connected to one address."""
    line = socket.socket(family, kind, protocol)
    try:
        line.setblocking(False)
        await asyncio.get_running_loop().sock_connect(line, at)
    except BaseException:
        line.close()
        raise
    return line


def _written(call: Call) -> tuple[_Peer, bytes]:
    """Where a call goes, and its bytes.

    Raises:
        WireFault: its address is no URL, ``CONNECT``; its key cannot be sent, ``AUTH``.
    """
    address, head = _head(call.method, call.url, tuple(call.headers.items()))
    if call.method == "GET":
        return address, head + b"\r\n"
    return address, b"%bContent-Length: %d\r\n\r\n%b" % (head, len(call.body), call.body)


@lru_cache(maxsize=1024)
def _head(method: Method, url: str, headers: tuple[tuple[str, str], ...]) -> tuple[_Peer, bytes]:
    """Where a call goes, and its head, the same for all but for how long their bodies are.

    Raises:
        WireFault: as ``_written`` does.
    """
    try:
        where = urlsplit(url)
        port = where.port or _PORTS.get(where.scheme, 0)
    except ValueError:
        where, port = urlsplit(""), 0
    address = where.scheme, where.hostname or "", port
    if not address[1] or not address[2]:
        raise WireFault(Verdict(FailureKind.CONNECT, "its address is no URL"))
    fields = {"Host": where.netloc, "User-Agent": "lantern-bot", **dict(headers)}
    # Of all that a request's head says the key alone is not of our making.
    if _NO_VALUE.search("\t".join(fields.values())):
        reason = "it holds what no header may, such as a line break"
        raise WireFault(Verdict(FailureKind.AUTH, reason))
    path = f"{where.path or '/'}?{where.query}" if where.query else where.path or "/"
    lines = [f"{name}: {value}" for name, value in fields.items()]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, ""])
    return address, head.encode("latin-1")


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
