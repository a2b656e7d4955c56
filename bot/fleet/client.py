"""What Lantern asks of one host, whichever interface it has: the SDK's socket, or REST."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Protocol

from bot.domain.hosts import Instance, Interface, LoadOrder, ModelKind, Report
from bot.domain.personas import LoadSettings

LoadValue = bool | int | float | str

CONFIG_NAMES = (
    "contextLength",
    "gpu.ratio",
    "flashAttention",
    "numExperts",
    "ropeFrequencyBase",
    "ropeFrequencyScale",
)
"""What hosts tell of a load."""

REST_SAYS = ("context_length", "flash_attention", "num_experts")
"""The load settings ``POST /api/v1/models/load`` takes; it refuses others."""
_EMBEDDING_SAYS = ("context_length", "gpu", "rope_frequency_base", "rope_frequency_scale")
_SETTINGS = (
    "context_length",
    "gpu",
    "flash_attention",
    "cpu_threads",
    "rope_frequency_base",
    "rope_frequency_scale",
    "num_experts",
    "kv_cache_quant",
)


def not_applied(settings: LoadSettings, kind: ModelKind, interface: Interface) -> tuple[str, ...]:
    """The load settings that were wished for and that an interface has no words for.

    Known here by name, because the SDK drops unknown keys silently: the model would be loaded with
    defaults and nobody told. ``cpu_threads`` cannot be said anywhere: ``lmstudio`` 1.5.0 knows it
    for predictions alone, and Lantern's tokens come by REST, which does not take it.
    """
    says = set(_EMBEDDING_SAYS if kind == "embedding" else _SETTINGS) - {"cpu_threads"}
    if interface != "SDK socket":
        says &= set(REST_SAYS)
    wished = (name for name in _SETTINGS if getattr(settings, name) is not None)
    return tuple(name for name in wished if name not in says)


@dataclass(slots=True)
class Stop:
    """The wish to give one load up.

    It belongs to the order, not to the connection: it counts whether it comes before the command,
    while the command is on its way, or after the connection was made anew.
    """

    is_asked: bool = False
    tell: Callable[[], Coroutine[None, None, None]] | None = None
    """Tells the host, while there is a load it can be told to cancel; raises nothing."""


class HostClient(Protocol):
    """One connection to one host; every method raises ``HostUnreachable`` when the host is lost.

    None of them has a deadline of its own: callers bring one.
    """

    interface: Interface
    """How it talks to the host."""

    async def inventory(self) -> Report:
        """Everything one probe tells: the disk, the memory, the version."""
        ...

    async def resident(self, kind: ModelKind | None = None) -> tuple[Instance, ...]:
        """What is in memory now.

        With a kind at least all of that kind, asked as cheaply as the interface can, and told of
        each no more than what it is known by.
        """
        ...

    async def load(
        self, order: LoadOrder, on_progress: Callable[[float], None], stop: Stop
    ) -> Instance | None:
        """Loads one more instance; None when ``stop`` was heeded in time, and there is none.

        Raises:
            Unavailable: the host refused or broke the load off, with its own reason; of kind
                ``DOES_NOT_FIT`` for lack of memory, else ``LOAD_FAILED``.
            HostUnreachable: the connection was lost; the load may go on there.
        """
        ...

    async def unload(self, instance: Instance, *, even_busy: bool = True) -> None:
        """Takes an instance out of memory; one that is gone already is no error.

        Unless ``even_busy``, one that serves anybody right now, as far as the host tells, stays.

        Raises:
            Unavailable: the host refused.
        """
        ...

    async def load_config(self, instance: Instance) -> Mapping[str, LoadValue]:
        """How the host says that an instance was loaded, by ``CONFIG_NAMES``; what it tells."""
        ...

    async def count_tokens(self, instance: Instance, text: str) -> int | None:
        """Tokens of a text as this instance reads it; None where the interface cannot tell."""
        ...

    async def close(self) -> None:
        """Leaves the host; never raises for a host that is gone."""
        ...
