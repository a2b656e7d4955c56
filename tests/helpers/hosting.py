"""Simulated hosts and other doubles in a thread, for tests that run Lantern's own event loop."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from queue import Queue
from typing import TypeVar

from bot.sim.host import SimHost
from bot.sim.models import SimHostConfig

T = TypeVar("T")


@contextmanager
def beside(*doubles: AbstractAsyncContextManager[T]) -> Generator[tuple[T, ...]]:
    """Runs what is entered in another thread's loop while the block lasts."""
    ready: Queue[tuple[tuple[T, ...], asyncio.AbstractEventLoop, asyncio.Event]] = Queue()

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            entered = [await stack.enter_async_context(double) for double in doubles]
            done = asyncio.Event()
            ready.put((tuple(entered), asyncio.get_running_loop(), done))
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="doubles")
    thread.start()
    entered, loop, done = ready.get(timeout=10)
    try:
        yield entered
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)


@contextmanager
def hosts_beside(*configs: SimHostConfig) -> Generator[tuple[SimHost, ...]]:
    """Runs simulated hosts in another thread's loop while the block lasts."""
    with beside(*(SimHost(config) for config in configs)) as hosts:
        yield hosts
