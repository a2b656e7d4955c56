"""A stream of events whose producer dies with its reader (the safe channel of PEP 789)."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, Self, TypeVar

T = TypeVar("T")
Emit = Callable[[T], Awaitable[None]]


@asynccontextmanager
async def safe_channel(
    produce: Callable[["Handover[T]"], Awaitable[None]],
    straight: Callable[[Sequence[T]], object] | None = None,
) -> AsyncGenerator[AsyncIterator[T]]:
    """Runs ``produce(emit)`` beside the block and hands out what it emits.

    The reader sets the pace: an event is handed over before the next is made. Leaving the block
    cancels the producer and waits for it; a lone error leaves the block as it is, not in a group.

    Args:
        produce: Is given the way to emit.
        straight: Takes what ``Handover.offer`` offers, in place of the iterating one.
    """
    handover = Handover(straight)

    async def run() -> None:
        try:
            await produce(handover)
        finally:
            handover.end()

    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(run())
            try:
                yield handover
            finally:
                task.cancel()
                handover.has_left = True
    # Callers catch our errors by their class; wrapped in a group they would slip by.
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        raise


class Handover(AsyncIterator[T], Generic[T]):
    """One place between one producer and one reader: calling it returns when its item was taken.

    Every token of every answer goes this way, and this costs a fifth of what an anyio memory
    stream of size 0 does (`make bench` measures turns with it).
    """

    __slots__ = ("_held", "_is_over", "_loop", "_news", "_taken", "has_left", "straight")

    def __init__(self, straight: Callable[[Sequence[T]], object] | None = None) -> None:
        self.straight = straight
        """Takes what is offered; None where nobody does."""
        self._loop = asyncio.get_running_loop()
        self._held: deque[T] = deque()
        self._news: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._is_over = False
        self.has_left = False
        """Nothing more is taken."""

    async def __call__(self, event: T) -> None:
        """Returns when the event was taken; at once when nobody will ever take it."""
        if self.has_left:
            return
        self._held.append(event)
        _wake(self._news)
        self._taken = self._loop.create_future()
        try:
            await self._taken
        finally:
            # A giver told to stop takes back what was not taken.
            self._held.clear()

    def offer(self, events: Sequence[T]) -> bool:
        """Whether the reader's side took these at once, with neither task woken for them.

        Only while the reader waits for more: what it has in hand came before.
        """
        is_waiting = self._news is not None and not self._news.done()
        if self.straight is None or not is_waiting or self.has_left:
            return False
        self.straight(events)
        return True

    def end(self) -> None:
        """Nothing more is given."""
        self._is_over = True
        _wake(self._news)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._held:
            if self._is_over:
                raise StopAsyncIteration
            self._news = self._loop.create_future()
            await self._news
        event = self._held.popleft()
        _wake(self._taken)
        return event


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
