"""Requests that wait end with the key they came by, before anything is loaded or sent for them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

import structlog
from aiohttp import web

from bot.chat.flights import Flights
from bot.domain.errors import KeyEnded
from bot.domain.ids import TurnId
from bot.gateway.errors import Problem

LOOK_S = 0.5
"""How often, while a request with a key is under way: an ended one is out after this and
``doors.KEYS_S``, the age of the keys known."""

_log = structlog.get_logger(__name__)

Admit = Callable[[web.Request], Awaitable[object]]


class KeyWatch:
    """Looks again at the keys of all requests that wait; answers that are written may end."""

    def __init__(self, flights: Flights, admit: Admit) -> None:
        self._flights = flights
        self._admit = admit
        self._requests: dict[TurnId, web.Request] = {}
        self._is_anybody = asyncio.Event()

    @contextmanager
    def over(self, id: TurnId, request: web.Request) -> Generator[None]:
        """A request that came by a key, while the block runs."""
        self._requests[id] = request
        self._is_anybody.set()
        try:
            yield
        finally:
            del self._requests[id]
            if not self._requests:
                self._is_anybody.clear()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Looks while the block runs."""
        tasks = await asyncio.TaskGroup().__aenter__()
        looking = tasks.create_task(self._look_around(), name="keys of who waits")
        try:
            yield
        finally:
            looking.cancel()
            # Not told of the error: it would come out wrapped in a group.
            await tasks.__aexit__(None, None, None)

    async def _look_around(self) -> None:
        is_broken = False
        while True:
            await self._is_anybody.wait()
            await asyncio.sleep(LOOK_S)
            try:
                await self._look()
                is_broken = False
            except Exception:
                # Whatever is wrong with it, requests are answered without; said once.
                if not is_broken:
                    _log.exception("keys not looked at")
                is_broken = True

    async def _look(self) -> None:
        for flight in self._flights:
            request = self._requests.get(flight.id)
            if request is None or not flight.is_waiting:
                continue
            try:
                await self._admit(request)
            except Problem as closed:
                # It may have been sent meanwhile. Of what a door refuses by the key alone can end.
                if closed.status == 401 and flight.is_waiting:
                    flight.cancel(KeyEnded(closed.message))
