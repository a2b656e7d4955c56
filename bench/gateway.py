"""The gateway, side by side with nginx (or a bare aiohttp relay) in front of the same host.

Host, relays and the clients' driver are processes of their own, and only a relay's CPU is counted:
ratios in one run, since the machine is whose it is. A relay's cost per token is counted between the
first words of all streams and the first end, so that what a request itself costs is left out: as a
slope between two lengths of answers it held half of that cost's own changes.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.relay_host import MODEL, PORT_LINE
from bench.startup import cpu_s, memory_mb
from bench.table import Row, at_least, at_most, told

TOKENS_PER_S = 50
ANSWERS_S, COUNTED_S = 7, 5.0
"""How long answers last, and how long of that their tokens are counted."""
CROWDS = (64, 256)
ASKERS, ASKED_S = 16, 3.0
FIRSTS = 40
LONGEST_S = 60.0

NGINX = """
daemon off; worker_processes 1; error_log /dev/null; pid {folder}/pid;
events {{ worker_connections 2048; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream host {{ server 127.0.0.1:{port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{own};
    location / {{
      proxy_pass http://host; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off; keepalive_requests 1000000;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Relay:
    """A process in front of the host."""

    name: str
    port: int
    pid: int


@dataclass(slots=True)
class Figures:
    """Of one relay, each as often as it was measured."""

    token_us: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    share: list[float] = field(default_factory=list[float])
    first_ms: list[float] = field(default_factory=list[float])
    asked_per_s: list[float] = field(default_factory=list[float])
    memory_mb: float = 0.0


def run() -> list[Row]:
    """CPU per token, tokens delivered, time to first token, requests a second, memory."""
    if sys.platform != "linux":  # nobody else has /proc
        return []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lantern-bench-")))
        host, _ = stack.enter_context(_child("bench.relay_host", str(TOKENS_PER_S)))
        relays = [
            Relay("lantern", *stack.enter_context(_child("bench.relays", "lantern", str(host)))),
            Relay("aiohttp", *stack.enter_context(_child("bench.relays", "aiohttp", str(host)))),
        ]
        if program := shutil.which("nginx"):
            relays.append(stack.enter_context(_nginx(program, folder, host)))
        direct = Relay("direct", host, 0)
        figures = asyncio.run(_measure([*relays, direct]))
    return _rows(figures, relays[-1].name)


async def _measure(relays: list[Relay]) -> Mapping[str, Figures]:
    figures = {relay.name: Figures() for relay in relays}
    for relay in relays:
        for reader in await _asked(relay.port, 4, 8):
            await reader.over
    # They take turns, so that a slow moment of the machine is everybody's.
    for _ in range(3):
        for relay in relays:
            found = figures[relay.name]
            found.first_ms += [await _first_ms(relay.port) for _ in range(FIRSTS)]
            found.asked_per_s.append(await _asked_per_s(relay.port))
    for crowd in CROWDS:
        for _ in range(2):
            for relay in relays:
                found = figures[relay.name]
                token_us, share = await _crowd(relay, crowd)
                found.token_us.setdefault(crowd, []).append(token_us)
                if crowd == max(CROWDS):
                    found.share.append(share)
                    found.memory_mb = memory_mb(relay.pid) if relay.pid else 0.0
    return figures


def _rows(figures: Mapping[str, Figures], beside: str) -> list[Row]:
    ours, theirs, direct = figures["lantern"], figures[beside], figures["direct"]
    rows: list[Row] = []
    for crowd in CROWDS:
        own, other = median(ours.token_us[crowd]), median(theirs.token_us[crowd])
        what = f"CPU per token, {crowd} streams of {TOKENS_PER_S}/s"
        rows += [
            at_most(f"{what}, as a part of {beside}'s", own / other, "x", 1.5),
            told(f"{what}: Lantern", own, "us"),
            told(f"{what}: {beside}", other, "us"),
        ]
    crowd = f"{max(CROWDS)} x {TOKENS_PER_S} tokens/s"
    rows += [
        at_least(f"delivered in time, {crowd}", min(ours.share), "", 0.99),
        told(f"delivered in time, {crowd}: {beside}", min(theirs.share), ""),
        told(f"delivered in time, {crowd}: no relay", min(direct.share), ""),
    ]
    bare = median(direct.first_ms)
    own, other = median(ours.first_ms) - bare, median(theirs.first_ms) - bare
    rows += [
        at_most(f"added time to first token, as a part of {beside}'s", own / other, "x", 4.0),
        told("added time to first token", own, "ms"),
        told(f"added time to first token: {beside}", other, "ms"),
    ]
    own, other = max(ours.asked_per_s), max(theirs.asked_per_s)
    what = f"whole answers a second, {ASKERS} connections"
    rows += [
        at_least(f"{what}, as a part of {beside}'s", own / other, "x", 0.5),
        told(f"{what}: Lantern", own, ""),
        told(f"{what}: {beside}", other, ""),
        told("memory after all of it", ours.memory_mb, "MB"),
        told(f"memory after all of it: {beside}", theirs.memory_mb, "MB"),
    ]
    if beside != "aiohttp":
        plain = figures["aiohttp"]
        for size in CROWDS:
            ratio = median(plain.token_us[size]) / median(theirs.token_us[size])
            rows.append(told(f"a bare aiohttp relay's CPU per token, {size} streams", ratio, "x"))
        ratio = max(plain.asked_per_s) / other
        rows.append(told("a bare aiohttp relay's whole answers a second", ratio, "x"))
    return rows


# --- clients ------------------------------------------------------------------------------


class _Reader(asyncio.Protocol):
    """Counts the events of one answer; costs as little as can be."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.events, self.is_answered = 0, False
        self.first: asyncio.Future[float] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self._loop = loop

    def data_received(self, data: bytes) -> None:
        assert self.is_answered or b" 200 " in data[:20], data[:500]
        self.is_answered = True
        self.events += data.count(b"data: ")
        if self.events and not self.first.done():
            self.first.set_result(self._loop.time())
        if data.endswith(b"0\r\n\r\n") and not self.over.done():
            self.over.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


def _request(tokens: int, *, is_stream: bool) -> bytes:
    stream = "true" if is_stream else "false"
    words = '[{"role": "user", "content": "Why?"}]'
    limit = f'"max_tokens": {tokens}, "stream_options": {{"include_usage": true}}'
    body = f'{{"model": "{MODEL}", "messages": {words}, "stream": {stream}, {limit}}}'.encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _asked(port: int, streams: int, tokens: int) -> list[_Reader]:
    """Asks for so many at once."""
    loop = asyncio.get_running_loop()
    readers: list[_Reader] = []
    for _ in range(streams):
        transport, reader = await loop.create_connection(_Reader, "127.0.0.1", port)
        transport.write(_request(tokens, is_stream=True))
        readers.append(reader)
    return readers


async def _crowd(relay: Relay, streams: int) -> tuple[float, float]:
    """The relay's CPU microseconds for a token, and which share had come when all were due."""
    tokens = TOKENS_PER_S * ANSWERS_S
    began = time.monotonic()
    async with asyncio.timeout(LONGEST_S):
        readers = await _asked(relay.port, streams, tokens)
        for reader in readers:
            await reader.first
        spent = -cpu_s(relay.pid) if relay.pid else 0.0
        counted = -sum(reader.events for reader in readers)
        await asyncio.sleep(COUNTED_S)
        spent += cpu_s(relay.pid) if relay.pid else 0.0
        counted += sum(reader.events for reader in readers)
        for reader in readers:
            await reader.over
    took = time.monotonic() - began
    heard = sum(min(reader.events, tokens) for reader in readers)
    share = heard / (streams * tokens) * min(1.0, (ANSWERS_S + 1.0) / took)
    return spent / counted * 1e6, share


async def _first_ms(port: int) -> float:
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_connection(_Reader, "127.0.0.1", port)
    began = loop.time()
    transport.write(_request(1, is_stream=True))
    async with asyncio.timeout(LONGEST_S):
        first = await reader.first
        await reader.over
    transport.close()
    return (first - began) * 1e3


async def _asked_per_s(port: int) -> float:
    """Whole answers, each connection asking again as soon as it was answered."""
    until = time.monotonic() + ASKED_S
    request = _request(1, is_stream=False)

    async def ask() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = 0
        while time.monotonic() < until:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b" 200 " in head.split(b"\r\n")[0], head
            if b"chunked" in head:
                await reader.readuntil(b"0\r\n\r\n")
            else:
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            asked += 1
        writer.close()
        return asked

    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(ask()) for _ in range(ASKERS)]
    return sum(task.result() for task in asking) / ASKED_S


# --- processes ----------------------------------------------------------------------------


@contextmanager
def _child(module: str, *words: str) -> Generator[tuple[int, int]]:
    """A process of this folder, its port and its pid."""
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith(PORT_LINE))
            yield int(line.rpartition(" ")[2]), process.pid
        finally:
            process.kill()


@contextmanager
def _nginx(program: str, folder: Path, port: int) -> Generator[Relay]:
    own = 20_000 + os.getpid() % 10_000
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, own=own))
    command = [program, "-e", "/dev/null", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command) as process:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while not (found := children.read_text().split()):
                time.sleep(0.05)
            yield Relay("nginx", own, int(found[0]))
        finally:
            process.terminate()
