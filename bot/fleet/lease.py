"""One asker's way to an instance: progress while waiting, then the right to use it."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from bot.domain.chat import Candidate, Endpoint
from bot.domain.errors import BotError, Bug, FailureKind, HostUnreachable, Unavailable
from bot.domain.events import Loading, Progress
from bot.domain.hosts import HostConfig, Wish
from bot.fleet.effects import Grant, Refuse, Tell
from bot.fleet.progress import stuck_text
from bot.fleet.queue import Ticket


class Elsewhere(Unavailable):
    """No failure: another host is clearly sooner by now.

    ``why`` is said where there is more to it.
    """

    def __init__(self, candidate: Candidate, why: str = "") -> None:
        super().__init__(why or f"{candidate.where} is sooner by now.", FailureKind.BUSY)
        self.candidate = candidate


class Silent(HostUnreachable):
    """It hangs: it said nothing of an answer for too long.

    ``sooner`` is whom it was left for before all its time was over; None where it had all of it.
    """

    def __init__(self, user_message: str, sooner: Candidate | None) -> None:
        super().__init__(user_message, FailureKind.TIMEOUT)
        self.sooner = sooner


class Lease:
    """Use as ``async with fleet.host(name).lease(wish) as lease: async for step in lease: ...``.

    The iteration ends when the instance is granted, or raises an ``Unavailable``. Leaving the block
    at any moment gives everything back.
    """

    def __init__(
        self,
        ticket: Ticket,
        config: HostConfig,
        wish: Wish,
        asks: Callable[["Lease"], None],
        leaves: Callable[["Lease"], None],
        on_late: Callable[[], None],
    ) -> None:
        """Made for one ``async with``.

        Args:
            ticket: The asker's place.
            config: Of the host.
            wish: What is asked for.
            asks: Tells the host's scheduler of it.
            leaves: Gives everything back.
            on_late: Lets the scheduler look when the asker's time to wait is over.
        """
        self.ticket = ticket
        self.wish = wish
        self.grant: Grant | None = None
        self._elsewhere: Elsewhere | None = None
        self._step: Progress | None = None
        """The newest that was told."""
        self.shared_at = math.inf
        """From when on its host did other work beside."""
        self.shares = 1
        """Among how many its host divided its work meanwhile, at the most."""
        self.spoke_at = math.inf
        """When the first word of its answer came."""
        self._config = config
        self._asks, self._leaves, self._on_late = asks, leaves, on_late
        self._steps: deque[Progress] = deque()
        self._refusal: BotError | None = None
        self._news = asyncio.Event()
        self.asked_at = asyncio.get_running_loop().time()
        self.began_at = self.asked_at if wish.since is None else wish.since
        """When its asker began to wait, here or elsewhere."""
        wait_s = wish.max_wait_s
        self._deadline = None if wait_s is None else self.began_at + wait_s

    # Nothing is awaited on the way in or out: a turn cancelled while it leaves holds nothing. No
    # generator, either: of the kind that awaits, the loop keeps account of each.
    async def __aenter__(self) -> Self:
        self._asks(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leaves(self)

    @property
    def granted(self) -> Grant:
        """The instance, and what was waited for it."""
        if self.grant is None:
            raise Bug("a lease was used before it was granted")
        return self.grant

    @property
    def endpoint(self) -> Endpoint:
        """Where the request is sent."""
        instance, config = self.granted.instance, self._config
        # A host with one model loaded answers any name with it: the reply must name one of these.
        names = frozenset({str(instance.identifier), str(instance.model_key)})
        return Endpoint(
            base_url=f"http://{config.address}/v1",
            model=str(instance.identifier),
            token=config.token,
            source=str(config.name),
            accepted_models=names,
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Progress:
        while True:
            if self._steps:
                return self._steps.popleft()
            if self._refusal is not None:
                raise self._refusal
            if self.grant is not None:
                raise StopAsyncIteration
            if self._elsewhere is not None:
                raise self._elsewhere
            try:
                async with asyncio.timeout_at(self._deadline):
                    await self._news.wait()
            except TimeoutError:
                # The scheduler knows whether this wait is over: one's own load is not cut.
                self._deadline = None
                self._on_late()
            self._news.clear()

    def leave_for(self, candidate: Candidate) -> None:
        """Another host is clearly sooner: the wait here ends, unless it has been granted."""
        step, why = self._step, ""
        # Why it is sooner: "studio-1 is sooner by now" hid that the host here had hung.
        if isinstance(step, Loading) and step.stands_s is not None:
            why = stuck_text(step)
        self._elsewhere = Elsewhere(replace(candidate, since=self.began_at), why)
        self._news.set()

    def heard(self, news: Grant | Refuse | Tell) -> None:
        """The scheduler's word; of two steps of one kind only the newer counts."""
        match news:
            case Tell(progress=step):
                # A slow reader must not get an old percentage after a new one, nor all of them.
                if self._steps and type(self._steps[-1]) is type(step):
                    self._steps.pop()
                self._steps.append(step)
                self._step = step
            case Grant():
                self.grant = news
            case Refuse(error=error):
                # Once granted, what becomes of the host is told by the request itself.
                if self.grant is None:
                    self._refusal = error
        self._news.set()
