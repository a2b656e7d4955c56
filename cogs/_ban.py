"""After a 429 of Cloudflare's nobody calls Discord until it is over; what else its calls pass."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from math import inf
from types import SimpleNamespace

import aiohttp
import discord
import structlog
from discord.http import Route

UNTOLD_S = 60.0
"""How long a ban lasts that does not say."""

APART_S = 0.05
"""Between calls that waited: together they would be over Discord's 50 a second at once."""

VOID_S = 3.0
"""An interaction is void by then: to answer it would only count as one more invalid request."""

TRIES_ITSELF: ContextVar[bool] = ContextVar("tries_itself", default=False)
"""Set around an edit whose caller tries again, with newer words: a 5xx is handed on at once.

The library sends the same words again after 1, 3, 5, 7 and 9 seconds, and returns no sooner.
"""

_BROKEN = 500  # and above: a fault of Discord's own

_log = structlog.get_logger(__name__)


class Ban:
    """Holds every call to Discord's API, the library's own too; one per process.

    The library takes such a 429 (HTML, no bucket, not from Discord's own proxies) for an error of
    one call alone, and each further call makes the ban of the whole address longer.
    """

    def __init__(self) -> None:
        self._ends_at = -inf
        self._next_at = -inf
        """When one more of those that waited may leave."""

    def trace(self) -> aiohttp.TraceConfig:
        """What a client of the library is given, so that each of its calls passes here."""
        trace = aiohttp.TraceConfig()

        async def on_start(
            _: aiohttp.ClientSession, __: SimpleNamespace, call: aiohttp.TraceRequestStartParams
        ) -> None:
            await self.passed(str(call.url))

        async def on_end(
            _: aiohttp.ClientSession, __: SimpleNamespace, call: aiohttp.TraceRequestEndParams
        ) -> None:
            self.heard(str(call.url), call.response.status, call.response.headers)
            # A message made twice would stay: of those the library knows best what came of a call.
            is_handed_on = TRIES_ITSELF.get() and call.method == "PATCH"
            if is_handed_on and call.response.status >= _BROKEN:
                raise discord.DiscordServerError(call.response, None)

        trace.on_request_start.append(on_start)
        trace.on_request_end.append(on_end)
        return trace

    async def passed(self, url: str) -> None:
        """Returns once the call may be made.

        Raises:
            TimeoutError: it answers an interaction, which will be void by then.
        """
        loop = asyncio.get_running_loop()
        is_answer = "/interactions/" in url
        while url.startswith(Route.BASE) and (left := self._next_at - loop.time()) > 0:
            if is_answer and left > VOID_S:
                raise TimeoutError("Discord takes no calls for a while.")
            self._next_at += APART_S
            await asyncio.sleep(left)
            if loop.time() >= self._ends_at:
                break

    def heard(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Takes in how a call was answered; a 429 of Discord's own is left to the library."""
        # As the library tells them apart: what Discord itself says comes by its proxies, in JSON.
        is_own = "Via" in headers and headers.get("Content-Type") == "application/json"
        if status != 429 or is_own or not url.startswith(Route.BASE):
            return
        try:
            lasts = float(headers.get("Retry-After", UNTOLD_S))
        except ValueError:  # a date, which HTTP allows as well
            lasts = UNTOLD_S
        ends_at = asyncio.get_running_loop().time() + lasts
        # Calls that were on their way are refused too, and know no more than the first.
        if ends_at > self._ends_at:
            self._ends_at = ends_at
            self._next_at = max(self._next_at, ends_at)
            _log.warning("discord takes no calls for a while", seconds=round(lasts))
