"""What Lantern asks of one host, whichever interface it has: the SDK's socket, or REST."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from bot.domain.hosts import Instance, Interface, LoadOrder, Report


class Stop:
    """The wish to give one load up.

    It belongs to the order, not to the connection: it counts whether it comes before the command,
    while the command is on its way, or after the connection was made anew.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._way: Callable[[], Awaitable[None]] | None = None

    async def way_opens(self, way: Callable[[], Awaitable[None]]) -> None:
        """The host can be told from now on; it is told at once when that was asked before."""
        self._way = way
        if self.is_asked:
            await way()

    def way_closes(self) -> None:
        """There is no load to stop any more, or nobody to tell."""
        self._way = None

    async def deliver(self) -> None:
        """Tells the host, where there is a way.

        Raises:
            HostUnreachable: the host is lost.
        """
        if self._way is not None:
            await self._way()


class HostClient(Protocol):
    """One connection to one host; every method raises ``HostUnreachable`` when the host is lost.

    None of them has a deadline of its own: callers bring one.
    """

    @property
    def interface(self) -> Interface:
        """How it talks to the host."""
        ...

    async def inventory(self) -> Report:
        """Everything one probe tells: the disk, the memory, the version."""
        ...

    async def resident(self) -> tuple[Instance, ...]:
        """What is in memory now."""
        ...

    async def copies(self, order: LoadOrder) -> tuple[Instance, ...]:
        """What is in memory of one model now, asked as cheaply as the interface can."""
        ...

    async def load(
        self, order: LoadOrder, on_progress: Callable[[float], None], stop: Stop
    ) -> Instance | None:
        """Loads one more instance; None when ``stop`` was heeded and nothing stays.

        Raises:
            Unavailable: ``LOAD_FAILED`` with the host's own reason, or ``DOES_NOT_FIT`` when it
                refused for lack of memory.
            HostUnreachable: the connection was lost; the load may go on there.
        """
        ...

    async def unload(self, instance: Instance) -> None:
        """Takes an instance out of memory; one that is gone already is no error.

        Raises:
            Unavailable: the host refused.
        """
        ...

    async def is_working(self, instance: Instance) -> bool:
        """Is the instance serving anybody right now, as far as the host tells?"""
        ...

    async def close(self) -> None:
        """Leaves the host; never raises for a host that is gone."""
        ...
