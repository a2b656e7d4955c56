"""Tasks that end with their owner: of one simulated host, or of one client of it."""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

Work = Coroutine[Any, Any, None]
Spawn = Callable[[Work, str], asyncio.Task[None]]


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Wait until one of several things has happened; the others are cancelled."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


class HostTasks:
    """Enter it to be able to spawn; leaving cancels what still runs."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel_all()
        # The block's own error goes on as it is; wrapped in a group no test would recognise it.
        await self._group.__aexit__(None, None, None)

    def spawn(self, work: Work, name: str) -> asyncio.Task[None]:
        """Run something for at most as long as the owner lives."""
        task = self._group.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def cancel_all(self) -> None:
        """Cancel everything spawned so far."""
        for task in tuple(self._running):
            task.cancel()
