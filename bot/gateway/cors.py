"""Web pages that may ask from a browser: only those that are configured, and /v1 alone."""

import re
from collections.abc import Collection

from aiohttp import hdrs, web

_MAY_SEND = ("authorization", "content-type", "x-api-key")
_EXPOSED = "X-Lantern-Route, X-Lantern-Model, x-request-id, request-id"
# OpenAI's own client tells about itself in headers that a page must be allowed to send.
_OF_CLIENTS = re.compile(r"(x-stainless|anthropic)-[a-z-]{1,40}")


def cors_headers(request: web.Request, origins: Collection[str]) -> dict[str, str]:
    """What lets the page that asks read the answer; nothing where it is not configured."""
    if not _is_for(request, origins):
        return {}
    return {
        hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: request.headers[hdrs.ORIGIN],
        hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: _EXPOSED,
        # A cache on the way would else hand one page's permission to the next.
        hdrs.VARY: hdrs.ORIGIN,
    }


def is_preflight(request: web.Request, origins: Collection[str]) -> bool:
    """Does a browser ask whether such a page may ask? It cannot send a key with that."""
    is_asked = hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    return request.method == "OPTIONS" and is_asked and _is_for(request, origins)


def preflight(request: web.Request) -> web.Response:
    """It may; never with credentials that a browser keeps by itself, for there are none."""
    asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "").lower().split(",")
    more = sorted({name.strip() for name in asked if _OF_CLIENTS.fullmatch(name.strip())})
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST",
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join((*_MAY_SEND, *more)),
        hdrs.ACCESS_CONTROL_MAX_AGE: "600",
    }
    return web.Response(status=204, headers=headers)


def _is_for(request: web.Request, origins: Collection[str]) -> bool:
    return request.path.startswith("/v1/") and request.headers.get(hdrs.ORIGIN) in origins
