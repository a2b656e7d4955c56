"""A simulated LM Studio host on a real port of this machine."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from bot.sim.clock import SimClock
from bot.sim.engine import Engine
from bot.sim.faults import Fault, Faults
from bot.sim.journal import Journal, Request
from bot.sim.memory import LoadOrder, SimInstance
from bot.sim.models import SimHostConfig
from bot.sim.tasks import HostTasks
from bot.sim.wire_rest import ENGINE, answer
from bot.sim.wire_routes import add_routes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOOPBACK = "127.0.0.1"
_OPEN_PATHS = frozenset(
    {"/lmstudio-greeting", "/llm", "/embedding", "/system", "/files", "/repository"}
)


class SimHost:
    """Use as `async with SimHost(config) as host:`; inside, it may stop and start on its port."""

    def __init__(self, config: SimHostConfig) -> None:
        self.config = config
        self.faults = Faults()
        self.journal = Journal()
        self._clock = SimClock(config.time_scale)
        self._engine = Engine(config, self._clock, self.journal, self.faults)
        self._port = config.port
        self._tasks: HostTasks | None = None
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        """Where it listens, as `127.0.0.1:PORT`; the port is known once it was started."""
        return f"{_LOOPBACK}:{self._port}"

    @property
    def resident(self) -> tuple[SimInstance, ...]:
        """What is in its memory now, oldest first."""
        return tuple(instance.view() for instance in self._engine.memory)

    @property
    def is_up(self) -> bool:
        """Whether it listens."""
        return self._runner is not None

    async def __aenter__(self) -> Self:
        self._tasks = await HostTasks().__aenter__()
        self._engine.run_in(self._tasks)
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            await tasks.__aexit__(kind, error, trace)

    async def start(self) -> None:
        """Listen; after a `stop` on the same port, with an empty memory."""
        assert self._tasks is not None, "enter the host first"
        if self._runner is not None:
            return
        app = web.Application(middlewares=[self._meet], client_max_size=64 * 1024 * 1024)
        app[ENGINE] = self._engine
        add_routes(app, self.config)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.TCPSite(runner, _LOOPBACK, self._port).start()
        self._port = runner.addresses[0][1]
        self._runner = runner
        self._tasks.spawn(self._engine.loader.watch_idle(), "sim idle watch")

    async def stop(self) -> None:
        """Go away like a killed process: connections break, loads end, the memory is empty."""
        runner, self._runner = self._runner, None
        if runner is None or self._tasks is None:
            return
        self._engine.loader.stop()
        self._tasks.cancel_all()
        self._cut_all(runner)
        await runner.cleanup()

    def kill(self) -> None:
        """Break every connection off at once; the host itself goes on."""
        if self._runner is not None:
            self._cut_all(self._runner)

    async def preload(
        self,
        key: str,
        identifier: str | None = None,
        *,
        context_length: int | None = None,
        ttl_s: float | None = None,
        is_jit: bool = False,
    ) -> SimInstance:
        """Make a model resident at once, loaded by somebody else.

        Raises:
            SimError: the model is not on disk, the identifier is taken, or it does not fit.
        """
        model = self._engine.on_disk(key)
        space = "embedding" if model.is_embedding else "llm"
        fields = {} if context_length is None else {f"{space}.load.contextLength": context_length}
        order = LoadOrder(model, identifier, fields, ttl_s, "foreign", is_jit)
        return self._engine.loader.place(order).view()

    def unload(self, identifier: str) -> None:
        """Unload an instance as somebody at the machine would.

        Raises:
            SimError: it is not resident.
        """
        self._engine.loader.unload(self._engine.loaded(identifier), "asked")

    def skip_time(self, seconds: float) -> None:
        """Let simulated time pass at once, so that idle instances age."""
        self._clock.skip(seconds)
        self._engine.loader.expire()

    @staticmethod
    def _cut_all(runner: web.AppRunner) -> None:
        server = runner.server
        for connection in list(server.connections) if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    @web.middleware
    async def _meet(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        self.journal.write(Request(now, request.method, request.path))
        faulty = await self._misbehave(request)
        if faulty is not None:
            return faulty
        if request.path not in _OPEN_PATHS and not self._may_enter(request):
            return _unauthorised()
        return await handler(request)

    async def _misbehave(self, request: web.Request) -> web.StreamResponse | None:
        faults, path = self.faults, request.path
        while hang := faults.take("hang", path):
            await hang.lifted.wait()
        if faults.take("refuse", path):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        status = faults.take("status", path)
        if status is not None:
            return _failure(status)
        if faults.take("garbage", path):
            return web.Response(
                body=b"\x00\xff<<garbage\x01>> }{ data", content_type="application/json"
            )
        return None

    def _may_enter(self, request: web.Request) -> bool:
        token = self.config.token
        return token is None or request.headers.get("Authorization") == f"Bearer {token}"


def _failure(fault: Fault) -> web.Response:
    return answer({"error": fault.text}, int(fault.number))


def _unauthorised() -> web.Response:
    message = "An LM Studio API token is required, and it must be a valid one."
    error = {"type": "invalid_request", "code": "invalid_api_key", "message": message}
    return answer({"error": error}, 401)
