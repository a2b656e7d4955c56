"""``GET /``: the dashboard, from files read once at the start; no path ever reaches the disk."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files

from aiohttp import web

from bot.gateway.errors import Problem

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # What models write is hostile: no text of theirs may become markup by any slip.
        "require-trusted-types-for 'script'",
    )
)
"""Nothing foreign, nothing inline, in nobody's frame."""

_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}
_FILES = {
    "index.html": "index.html",
    "app.js": "app.js",
    "talk.js": "talk.js",
    "wire.js": "wire.js",
    "words.js": "words.js",
    "style.css": "style.css",
    "favicon.svg": "favicon.svg",
    "preact.js": "vendor/preact.js",
    "uplot.js": "vendor/uplot.js",
    "uplot.css": "vendor/uplot.css",
}

PREFIX = "/page/"


class Pages:
    """The files of the page, by name."""

    def __init__(self) -> None:
        folder = files("bot.gateway") / "page"
        self._files: Mapping[str, bytes] = {
            name: folder.joinpath(place).read_bytes() for name, place in _FILES.items()
        }

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Its paths."""
        router.add_get("/", self._serve)
        router.add_get(PREFIX + "{name}", self._serve)
        router.add_get("/favicon.ico", self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "")
        name = name or ("favicon.svg" if request.path == "/favicon.ico" else "index.html")
        data = self._files.get(name)
        if data is None:
            raise Problem(404, "There is nothing at this path.", "unknown_url")
        tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
        headers = {
            "ETag": tag,
            # Asked for at each visit, and answered without a body: an update is seen at once.
            "Cache-Control": "no-cache",
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        kind = _TYPES[name.rpartition(".")[2]]
        return web.Response(body=data, content_type=kind, charset="utf-8", headers=headers)
