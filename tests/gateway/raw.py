"""Bytes to a gateway as no client library would send them, and the answers that come back."""

import asyncio
import json
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from tests.gateway.gate import kind_of

GUARD_S = 60.0
"""Only against hanging."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer of a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, object]:
        """OpenAI's object, which every refusal must be."""
        body = cast(dict[str, dict[str, object]], json.loads(self.body))
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["type"] == kind_of(self.status, body["error"]["code"])
        assert self.headers["content-type"].startswith("application/json")
        assert len(self.headers["x-request-id"]) == 16
        assert self.headers["server"] == "Lantern"
        return body["error"]


def at(base: str) -> tuple[str, int]:
    parts = urlsplit(base)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


async def read_reply(reader: asyncio.StreamReader, *, has_body: bool = True) -> Reply | None:
    """The next answer; None where the connection was closed instead."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    status = int(first.split(" ")[1])
    length = int(headers.get("content-length", "0"))
    # None of these tests lets a stream begin.
    assert "transfer-encoding" not in headers
    body = await reader.readexactly(length) if has_body and status >= 200 else b""
    return Reply(status, headers, body)


async def converse(base: str, *pieces: bytes) -> list[Reply]:
    """Sends the pieces one after another, and gives every answer until the gateway closes.

    A half-closed connection is a client that left, so only the gateway's own limits end it.
    """
    replies: list[Reply] = []
    async with asyncio.timeout(GUARD_S):
        reader, writer = await asyncio.open_connection(*at(base))
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            while (reply := await read_reply(reader)) is not None:
                replies.append(reply)
        except ConnectionError:
            pass  # cut while more was being sent: what came before counts
        finally:
            writer.close()
    return replies


def request(
    target: str, *headers: str, method: str = "POST", host: str = "localhost", body: bytes = b""
) -> bytes:
    """A request as written; nothing is added but the Host."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
