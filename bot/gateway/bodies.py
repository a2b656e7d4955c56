"""A request's body: looked at from its headers first, then read, within a size and a time."""

import asyncio

from aiohttp import web

from bot.gateway.connections import BODY_S, EXPECTS
from bot.gateway.errors import Problem


async def read_body(request: web.Request) -> bytes:
    """The whole body of a request that says it is JSON.

    Raises:
        Problem: it is none by its own word, is packed, is too large, or does not come.
    """
    if request.content_type != "application/json":
        # Any page may post plain text without asking first; for JSON its browser asks.
        words = "The body must be sent as `Content-Type: application/json`."
        raise Problem(415, words)
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        # A few kilobytes unpack to gigabytes, and no client packs what it asks.
        raise Problem(415, "A packed body is not taken.")
    most = request.client_max_size
    if (request.content_length or 0) > most:
        raise _too_large(most)
    if EXPECTS in request:
        # Everything that can be judged by the headers was: now the client may send it.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        # Most bodies came with their headers.
        if request.content.is_eof():
            return await request.read()
        async with asyncio.timeout(request.app[BODY_S]):
            return await request.read()
    except TimeoutError as err:
        raise Problem(408, "The body did not arrive in time.") from err
    except web.HTTPRequestEntityTooLarge as err:
        raise _too_large(most) from err
    except web.RequestPayloadError as err:
        raise Problem(400, "The body broke off, or is not what its headers say.") from err


def _too_large(most: int) -> Problem:
    words = f"The body is too large: `gateway.max_body` is {most / (1 << 20):g} MiB."
    return Problem(413, words, "request_too_large")
