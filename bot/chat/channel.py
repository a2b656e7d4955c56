"""A stream of events whose producer dies with its reader (the safe channel of PEP 789)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

T = TypeVar("T")
Emit = Callable[[T], Awaitable[None]]


@asynccontextmanager
async def safe_channel(
    produce: Callable[[Emit[T]], Awaitable[None]],
) -> AsyncGenerator[AsyncIterator[T]]:
    """Runs ``produce(emit)`` beside the block and hands out what it emits.

    The reader sets the pace: an event is handed over before the next is made. Leaving the block
    cancels the producer and waits for it; a lone error leaves the block as it is, not in a group.
    """
    send, receive = anyio.create_memory_object_stream[T](0)

    async def run() -> None:
        async with send:
            await produce(send.send)

    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(run())
            try:
                yield receive
            finally:
                # Cancel before closing: a producer waiting to hand over must see the cancellation,
                # not a broken stream.
                task.cancel()
                receive.close()
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        raise
