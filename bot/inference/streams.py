"""The door of this room: one request to one endpoint becomes deltas."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import aiohttp

from bot.domain.chat import Endpoint, InferenceRequest, Wire
from bot.domain.events import Delta
from bot.inference.anthropic import AnthropicAdapter
from bot.inference.base import Adapter
from bot.inference.exchange import Exchange
from bot.inference.openai import OpenAiAdapter

_KEEP_ALIVE_S = 4.0
"""LM Studio's server (Node) closes idle connections after 5 s; a request sent just then is lost."""


class Inference:
    """Speaks to any endpoint by the adapter of its wire."""

    def __init__(
        self, session: aiohttp.ClientSession, *, utcnow: Callable[[], datetime] | None = None
    ) -> None:
        """Use a shared session.

        Args:
            session: see `inference_session`; the caller closes it.
            utcnow: wall time for a ``retry-after`` that is a date, where the answer has no date.
        """
        exchange = Exchange(session, utcnow)
        self._adapters: Mapping[Wire, Adapter] = {
            "openai": OpenAiAdapter(exchange),
            "anthropic": AnthropicAdapter(exchange),
        }

    def open(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Send a request; iterate the deltas inside the block; leaving it stops the generation.

        Errors before the answer begins are raised on entering, later ones from the iteration,
        after the deltas that came. A whole answer ends with exactly one `StreamEnd`, also when
        there was no text at all.

        Raises:
            HostUnreachable: the host did not answer, broke off, fell silent or sent garbage.
            Unavailable: any other failure, such as ``WRONG_MODEL``: the reply names a model the
                endpoint does not accept.
            Refused: the other side declined to answer.
        """
        return self._adapters[endpoint.wire].open(endpoint, request)


def inference_session() -> aiohttp.ClientSession:
    """Return the session all streams share: no limit per host, no environment proxy, no cookies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=_KEEP_ALIVE_S),
        headers={"User-Agent": "lantern-bot"},
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
