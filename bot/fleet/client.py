"""What Lantern asks of one host, whichever interface it has: the SDK's socket, or REST."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bot.domain.hosts import Instance, Interface
from bot.domain.ids import InstanceId, InstanceRef
from bot.fleet.signals import LoadOrder, Report, Sighting


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The instance a load made."""

    identifier: InstanceId
    reference: InstanceRef | None = None


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

    async def resident(self) -> tuple[Sighting, ...]:
        """What is in memory now."""
        ...

    async def copies(self, order: LoadOrder) -> tuple[Sighting, ...]:
        """What is in memory of one model now, asked as cheaply as the interface can."""
        ...

    async def load(
        self, order: LoadOrder, on_progress: Callable[[float], None]
    ) -> LoadResult | None:
        """Loads one more instance; None when ``stop_load`` was heeded and nothing stays.

        Raises:
            LoadFailed: with the host's own reason.
            DoesNotFit: the host refused for lack of memory.
            HostUnreachable: the connection was lost; the load may go on there.
        """
        ...

    async def stop_load(self) -> None:
        """Asks the host to give up the load under way, as far as the interface can."""
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
