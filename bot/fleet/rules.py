"""How the fleet goes about its work, and where it keeps facts: given to it by ``app.py``."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

from bot.domain.hosts import (
    Drain,
    LoadBegun,
    LoadHolder,
    LoadRecord,
    OwnInstance,
    SpeedRecord,
    WakeRecord,
)
from bot.domain.ids import HostName, InstanceRef
from bot.domain.values import value

SoleLoad = Callable[[str], AbstractContextManager[LoadHolder | None]]
"""Given a host's address: which other process loads there; none does while the block runs where it
gives None."""


def always_sole(_address: str) -> AbstractContextManager[None]:
    """Where no other process is thought of."""
    return nullcontext()


LEAST_TIMER_S = 0.001
"""uvloop rounds to whole milliseconds: a timer may ring early, and one set for the rest of such a
millisecond rings at once, round and round."""


@value
class FleetRules:
    """How the fleet goes about its work; plain values from the settings, times in seconds."""

    probe_every_s: float = 30.0
    probe_timeout_s: float = 5.0
    sweep_every_s: float = 30.0
    evict_foreign: bool = False
    loads_ahead: bool = True
    """Are models loaded before anybody asks? Of two Lanterns over one fleet only one may."""
    call_timeout_s: float = 10.0
    """Longest a host that is at work may take to list what it has loaded."""
    unload_timeout_s: float = 60.0
    """Longest an unload may take."""
    load_answer_s: float = 180.0
    """Longest a host may leave a load command without any word, where it gives words (sockets).

    Well above a cold load of two minutes: a loader may have no word to say before it is done.
    """
    wake_port: int = 9
    """Where a network card is called; any will do, and this one discards what comes."""
    load_stall_s: float = 600.0
    """Longest a load may go without progress; REST reports none, so this bounds it whole."""
    load_beside_s: float = 600.0
    """Longest the load of another process on the database is waited for."""
    load_silent_s: float = 30.0
    """The same of one that gives no sign of life, as when it was stopped in the middle of it; where
    the load usually takes longer, as long as that: its host may be about to end it."""


@value
class Recorder:
    """Where facts go that must outlive the process; each may raise ``StoreUnavailable``."""

    own_added: Callable[[OwnInstance], Awaitable[None]]
    """Awaited before the first grant; also when a known one changes."""
    own_gone: Callable[[HostName, InstanceRef], Awaitable[None]]
    noted: Callable[[LoadRecord | SpeedRecord], None]
    """Statistics: not waited for."""
    drained: Callable[[Drain], Awaitable[None]]
    woken: Callable[[WakeRecord], Awaitable[None]]
    begun: Callable[[LoadBegun], Awaitable[None]]
    """Told before the command of a load, which does not wait for it, and when it is over."""
