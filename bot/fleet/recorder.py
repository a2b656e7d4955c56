"""What the fleet tells its keeper, so that a restart knows what is ours and how fast hosts are."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.domain.hosts import LoadRecord, OwnInstance, SpeedRecord
from bot.domain.ids import HostName, InstanceRef


async def _nothing(*_: object) -> None:
    """Keeps nothing."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Where facts go that must outlive the process; each may raise ``StoreUnavailable``."""

    own_added: Callable[[OwnInstance], Awaitable[None]] = _nothing
    """Awaited before the first grant; also when a known one changes."""
    own_gone: Callable[[HostName, InstanceRef], Awaitable[None]] = _nothing
    loaded: Callable[[LoadRecord], Awaitable[None]] = _nothing
    spoke: Callable[[SpeedRecord], Awaitable[None]] = _nothing
