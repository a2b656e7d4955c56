"""One asker's way to an instance: progress while waiting, then the right to use it."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from bot.domain.chat import Endpoint
from bot.domain.errors import BotError, Bug
from bot.domain.events import Progress
from bot.domain.hosts import HostConfig, Instance, Wish
from bot.fleet.signals import Asked, Grant, Left, Refuse, Tell, Ticked, Ticket


class Counter(Protocol):
    """The host's side of a lease."""

    def enter(self, lease: "Lease", event: Asked) -> None:
        """The asker waits from now on."""
        ...

    def leave(self, event: Left) -> None:
        """The asker went away."""
        ...

    def tick(self, event: Ticked) -> None:
        """The asker's time to wait is over."""
        ...


class Lease:
    """Use as ``async with fleet.lease(host, wish) as lease: async for step in lease: ...``.

    The iteration ends when the instance is granted, or raises an ``Unavailable``. Leaving the block
    at any moment gives everything back: no part of it awaits, so cancellation cannot stop it.
    """

    def __init__(self, ticket: Ticket, config: HostConfig, wish: Wish, counter: Counter) -> None:
        self._ticket = ticket
        self._config = config
        self._wish = wish
        self._counter = counter
        self._steps: deque[Progress] = deque()
        self._grant: Grant | None = None
        self._refusal: BotError | None = None
        self._news = asyncio.Event()
        self._deadline: float | None = None

    @property
    def ticket(self) -> Ticket:
        """Its place at the scheduler."""
        return self._ticket

    @property
    def instance(self) -> Instance:
        """What was granted."""
        return self._granted().instance

    @property
    def holds(self) -> tuple[Ticket, str, Instance] | None:
        """Its ticket, its user and what was granted; None while it waits."""
        return self._grant and (self._ticket, self._wish.user, self._grant.instance)

    @property
    def queue_s(self) -> float:
        """Seconds waited for a slot, or for other work of the host."""
        return self._granted().queue_s

    @property
    def load_s(self) -> float:
        """Seconds waited for the load, evictions before it included."""
        return self._granted().load_s

    @property
    def endpoint(self) -> Endpoint:
        """Where the request is sent."""
        instance, config = self.instance, self._config
        names = frozenset({str(instance.identifier), str(instance.model_key)})
        return Endpoint(
            base_url=f"http://{config.address}/v1",
            model=str(instance.identifier),
            token=config.token,
            source=str(config.name),
            accepted_models=names,
        )

    async def __aenter__(self) -> Self:
        now = asyncio.get_running_loop().time()
        if self._wish.max_wait_s is not None:
            self._deadline = now + self._wish.max_wait_s
        self._counter.enter(self, Asked(now, self._ticket, self._wish))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._counter.leave(Left(asyncio.get_running_loop().time(), self._ticket))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Progress:
        while True:
            if self._steps:
                return self._steps.popleft()
            if self._refusal is not None:
                raise self._refusal
            if self._grant is not None:
                raise StopAsyncIteration
            await self._next_news()

    def heard(self, news: Grant | Refuse | Tell) -> None:
        """The scheduler's word; of two steps of one kind only the newer counts."""
        match news:
            case Tell(progress=step):
                if self._steps and type(self._steps[-1]) is type(step):
                    self._steps.pop()
                self._steps.append(step)
            case Grant():
                self._grant = news
            case Refuse(error=error):
                if self._grant is None:
                    self._refusal = error
        self._news.set()

    async def _next_news(self) -> None:
        if self._deadline is None:
            await self._news.wait()
        else:
            await self._news_in_time(self._deadline)
        self._news.clear()

    async def _news_in_time(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
        except TimeoutError:
            # The scheduler knows whether this wait is over: one's own load under way is not cut.
            self._deadline = None
            self._counter.tick(Ticked(asyncio.get_running_loop().time()))

    def _granted(self) -> Grant:
        if self._grant is None:
            raise Bug("a lease was used before it was granted")
        return self._grant
