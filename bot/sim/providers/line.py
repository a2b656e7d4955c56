"""The way of a stream to its asker, and the noise dials add to it."""

import zlib
from collections.abc import Collection

from aiohttp import web

from bot.sim.providers.faults import FaultName

_COMMENT = b": still here\n\n"
_UNKNOWN_EVENT = b'event: weather_report\ndata: {"type": "weather_report"}\n\n'
_LONGEST_PIECE = 7


class Line:
    """Writes events to one response."""

    def __init__(
        self,
        response: web.StreamResponse,
        noise: Collection[FaultName],
        seed: int,
        *,
        wire_chat: str,
    ) -> None:
        self._response = response
        self._noise = noise
        self._seed = seed
        self._comment = _COMMENT + (_UNKNOWN_EVENT if wire_chat == "/messages" else b"")
        self._piece = 0

    async def write(self, data: bytes) -> None:
        """Write one event.

        Raises:
            ConnectionError: the asker is gone.
        """
        if not data:
            return
        if "comments" in self._noise:
            data = self._comment + data
        if "crlf" in self._noise:
            data = data.replace(b"\n", b"\r\n")
        if "fragment" in self._noise:
            await self._write_torn(data)
        else:
            await self._response.write(data)

    async def _write_torn(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            self._piece += 1
            size = 1 + zlib.crc32(b"%d:%d" % (self._seed, self._piece)) % _LONGEST_PIECE
            await self._response.write(data[at : at + size])
            at += size
