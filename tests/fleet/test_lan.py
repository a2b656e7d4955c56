"""Short calls on the LAN: what goes over the line, and what becomes of one that breaks."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from bot.fleet.lan import lan_http

KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CUT = b""


class Asked:
    """What a host was sent: request by request, of one connection after the other."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}/v1/models"
        self.heads: list[list[bytes]] = []
        """Line by line."""
        self.connections = 0


@asynccontextmanager
async def a_host(*answers: Sequence[bytes]) -> AsyncGenerator[Asked]:
    """Gives each connection its own answers, in order; what has none left is cut."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.connections += 1
        try:
            for answer in left.pop(0):
                head = await reader.readuntil(b"\r\n\r\n")
                asked.heads.append(head.rstrip().split(b"\r\n"))
                if not answer:
                    break
                writer.write(answer)
            else:
                await reader.read()
        except asyncio.IncompleteReadError:
            pass  # Whoever asked has left.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    name, port = server.sockets[0].getsockname()
    asked = Asked(f"{name}:{port}")
    async with server:
        yield asked


async def test_a_call_says_no_more_than_it_must() -> None:
    async with a_host([KEPT, KEPT]) as host, lan_http() as http:
        await http.get(host.url, headers={"Authorization": "Bearer key"})
        await http.post(host.url, content=b"")
    plain = [b"Host: " + host.url.split("/")[2].encode(), b"User-Agent: lantern-bot"]
    assert host.heads == [
        [b"GET /v1/models HTTP/1.1", *plain, b"authorization: Bearer key"],
        [b"POST /v1/models HTTP/1.1", *plain, b"Content-Length: 0"],
    ]
    assert host.connections == 1


@pytest.mark.parametrize(("method", "is_sent_again"), [("GET", True), ("POST", False)])
async def test_a_load_is_not_sent_again_where_a_kept_connection_breaks(
    method: str, is_sent_again: bool
) -> None:
    async with a_host([KEPT, CUT], [KEPT]) as host, lan_http() as http:
        await http.get(host.url)
        try:
            answer = await http.request(method, host.url)
        except httpx.ReadError:
            assert not is_sent_again
        else:
            assert is_sent_again
            assert answer.status_code == 200
    assert (len(host.heads), host.connections) == ((3, 2) if is_sent_again else (2, 1))


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_a_body_is_an_answer_at_once(status: bytes) -> None:
    """Its end was waited for until the host closed the connection."""
    async with a_host([b"HTTP/1.1 " + status + b"\r\n\r\n"]) as host, lan_http() as http:
        answer = await http.get(host.url)
    assert (answer.status_code, answer.content) == (int(status[:3]), b"")


async def test_what_is_no_http_is_told_as_such() -> None:
    async with a_host([b"220 mail\r\n"]) as host, lan_http() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(host.url)
