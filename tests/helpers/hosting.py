"""Simulated hosts in a thread of their own, for tests that run Lantern's own event loop."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from queue import Queue

from bot.sim.host import SimHost
from bot.sim.models import SimHostConfig


@contextmanager
def hosts_beside(*configs: SimHostConfig) -> Generator[tuple[SimHost, ...]]:
    """Runs the hosts in another thread's loop while the block lasts."""
    ready: Queue[tuple[tuple[SimHost, ...], asyncio.AbstractEventLoop, asyncio.Event]] = Queue()

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            hosts = [await stack.enter_async_context(SimHost(config)) for config in configs]
            done = asyncio.Event()
            ready.put((tuple(hosts), asyncio.get_running_loop(), done))
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="simulated hosts")
    thread.start()
    hosts, loop, done = ready.get(timeout=10)
    try:
        yield hosts
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
