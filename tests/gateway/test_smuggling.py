"""Requests that a proxy and a server could read differently: none is answered twice."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bot.gateway.connections import ConnectionLimits
from bot.gateway.server import GatewayRules
from tests.gateway.gate import LOOPBACK, chat, gate
from tests.gateway.raw import GUARD_S, Reply, converse, request
from tests.helpers.house import QWEN, sim

QUICK = GatewayRules(
    doors=LOOPBACK, limits=ConnectionLimits(GUARD_S, GUARD_S, idle_s=0.02, lingering_s=0.02)
)
"""A connection on which all was answered is over soon."""

CHAT = "/v1/chat/completions"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
BODY = json.dumps(chat(QWEN.key, max_tokens=2)).encode()
WHOLE = f"Content-Length: {len(BODY)}"
HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
END = b"0\r\n\r\n"


def post(*headers: str, body: bytes) -> bytes:
    return request(CHAT, JSON, *headers, body=body)


SMUGGLED = {
    "length and chunks": post("Content-Length: 4", CHUNKED, body=END + HIDDEN),
    "chunks and length": post(CHUNKED, "Content-Length: 4", body=END + HIDDEN),
    "two lengths": post("Content-Length: 4", "Content-Length: 60", body=b"{}{}" + HIDDEN),
    "one length twice": post(WHOLE, WHOLE, body=BODY),
    "a list of lengths": post("Content-Length: 4, 4", body=b"{}{}" + HIDDEN),
    "a length with a sign": post("Content-Length: +4", body=b"{}{}" + HIDDEN),
    "a length below zero": post("Content-Length: -1", body=b"{}{}" + HIDDEN),
    "a hexadecimal length": post("Content-Length: 0x4", body=b"{}{}" + HIDDEN),
    "a space before the colon": post("Content-Length : 4", body=b"{}{}" + HIDDEN),
    "a length beyond all numbers": post("Content-Length: " + "9" * 30, body=b"{}" + HIDDEN),
    "an empty length": post("Content-Length: ", body=HIDDEN),
    "a coding nobody knows": post("Transfer-Encoding: xchunked", body=END + HIDDEN),
    "identity": post("Transfer-Encoding: identity", body=END + HIDDEN),
    "chunks that are not last": post("Transfer-Encoding: chunked, identity", body=END + HIDDEN),
    "two codings": post(CHUNKED, "Transfer-Encoding: identity", body=END + HIDDEN),
    "chunks twice": post(CHUNKED, CHUNKED, body=END + HIDDEN),
    "a vertical tab": post("Transfer-Encoding: \x0bchunked", body=END + HIDDEN),
    "a coding with a space": post("Transfer-Encoding : chunked", body=END + HIDDEN),
    "a folded coding": post("Transfer-Encoding:\r\n chunked", body=END + HIDDEN),
    "a folded header": post(WHOLE, "X-A: b\r\n c", body=BODY),
    "bare line feeds": post(WHOLE, body=BODY).replace(b"\r\n", b"\n"),
    "a bare line feed": post(f"X-A: b\n{WHOLE}", body=BODY),
    "a bare carriage return": post(f"X-A: b\r{WHOLE}", body=BODY),
    "a zero byte": post(WHOLE, "X-A: b\0c", body=BODY),
    "a space first": b" " + post(WHOLE, body=BODY),
    "a line feed in a chunk": post(CHUNKED, body=b"2;a=b\n\r\n{}\r\n" + END + HIDDEN),
    "a chunk below zero": post(CHUNKED, body=b"-2\r\n{}\r\n" + END + HIDDEN),
    "a chunk in C's form": post(CHUNKED, body=b"0x2\r\n{}\r\n" + END + HIDDEN),
    "a chunk beyond all numbers": post(CHUNKED, body=b"f" * 17 + b"\r\n{}\r\n" + END + HIDDEN),
    "chunks by line feeds": post(CHUNKED, body=b"2\n{}\n0\n\n" + HIDDEN),
    "a chunk that is longer": post(CHUNKED, body=b"2\r\n{}0\r\n\r\n" + HIDDEN),
    "chunks in HTTP/1.0": post(CHUNKED, body=END + HIDDEN).replace(b"1.1", b"1.0", 1),
    "two Hosts": request("/v1/models", "Host: evil.example", method="GET"),
    "no Host": b"GET /v1/models HTTP/1.1\r\n\r\n",
}

OTHERS = {
    "another machine's address": (request("http://evil.example/v1/models", method="GET"), 400),
    "our own whole address": (request("http://localhost/v1/models", method="GET"), 400),
    "every path": (request("*", method="OPTIONS"), 400),
    "a tunnel": (request("evil.example:443", method="CONNECT"), 400),
    "a tunnel to a path": (request("/v1/models", method="CONNECT"), 404),
    "an echo": (request("/v1/models", method="TRACE"), 405),
    "no method": (request("/v1/models", method="BREW"), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
    "HTTP/1.0 without a Host": (b"GET /v1/models HTTP/1.0\r\n\r\n", 421),
    "a long address": (request("/v1/" + "a" * 9000, method="GET"), 431),
    "a long header": (request("/v1/models", "X-A: " + "a" * 9000, method="GET"), 431),
    "a long name": (request("/v1/models", "X" * 9000 + ": a", method="GET"), 431),
    "many headers": (request("/v1/models", *(f"X-{n}: a" for n in range(200)), method="GET"), 400),
    "dots": (request("/v1/../admin/models", method="GET"), 404),
    "hidden dots": (request("/v1/%2e%2e/%61dmin/models", method="GET"), 404),
    "a file": (request("/v1/models/../../../../etc/passwd", method="GET"), 404),
    "a hidden file": (request("/v1/models/..%2f..%2f..%2fetc%2fpasswd", method="GET"), 404),
    "a zero byte in a path": (request("/v1/models/%00", method="GET"), 404),
    "no UTF-8 in a path": (request("/v1/models/%ff%fe", method="GET"), 404),
    "half an escape": (request("/v1/models/%zz", method="GET"), 404),
    "two slashes": (request("//admin/models", method="GET"), 404),
    "backslashes": (request("/v1\\..\\admin", method="GET"), 404),
    "a control character": (request("/v1/models/\x01", method="GET"), 400),
    "bytes in a path": (request("/v1/models/\xe9\xff", method="GET"), 400),
    "bytes in a Host": (request("/v1/models", method="GET", host="\xff\xfe"), 421),
    "packed": (post(WHOLE, "Content-Encoding: gzip", body=BODY), 415),
    "packed and cut in pieces": (
        post("Transfer-Encoding: gzip, chunked", body=b"%x\r\n%b\r\n" % (len(BODY), BODY) + END),
        400,
    ),
    "another expectation": (post(WHOLE, "Expect: magic", body=BODY), 417),
}


async def asked(folder: Path, shapes: Sequence[bytes]) -> list[list[Reply]]:
    """What each got, all of them at once, and a good one after them."""
    async with gate(folder, sim("one", QWEN), rules=QUICK) as it:
        async with asyncio.TaskGroup() as tasks:
            talks = [tasks.create_task(converse(it.base, shape)) for shape in shapes]
        assert (await it.ask(CHAT, chat(QWEN.key, max_tokens=2))).status == 200
        return [talk.result() for talk in talks]


async def test_no_smuggled_request_is_answered(tmp_path: Path) -> None:
    for name, replies in zip(SMUGGLED, await asked(tmp_path, list(SMUGGLED.values())), strict=True):
        assert [reply.status for reply in replies] == [400], name
        assert replies[0].error["type"] == "invalid_request_error"


async def test_odd_requests_are_refused_in_the_usual_form(tmp_path: Path) -> None:
    shapes = [shape for shape, _ in OTHERS.values()]
    for (name, (_, status)), replies in zip(
        OTHERS.items(), await asked(tmp_path, shapes), strict=True
    ):
        assert [reply.status for reply in replies] == [status], name
        assert replies[0].error["type"] == "invalid_request_error"


@pytest.mark.parametrize("header", ["Transfer-Encoding:\tchunked", "TRANSFER-ENCODING: CHUNKED"])
async def test_one_request_behind_another_is_no_smuggling(tmp_path: Path, header: str) -> None:
    piece = b"%x\r\n%b\r\n" % (len(BODY), BODY)
    [replies] = await asked(tmp_path, [post(header, body=piece + END + HIDDEN)])
    assert [reply.status for reply in replies] == [200, 200]
