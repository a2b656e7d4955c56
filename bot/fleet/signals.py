"""What goes into a scheduler and what comes out: events in, effects out, frozen values."""

from dataclasses import dataclass
from typing import NewType

from bot.domain.errors import BotError, FailureKind
from bot.domain.events import FleetEvent, Progress
from bot.domain.hosts import Instance, LoadOrder, LoadRecord, OwnInstance, Report, Wish
from bot.domain.ids import InstanceRef, ModelKey

Ticket = NewType("Ticket", int)
"""One asker's place at a scheduler: first waiting, then holding an instance."""

# --- events ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probed:
    """The host answered a probe."""

    at: float
    report: Report


@dataclass(frozen=True, slots=True)
class ProbeFailed:
    """The host did not answer a probe, or not sensibly."""

    at: float
    reason: str
    kind: FailureKind = FailureKind.CONNECT


@dataclass(frozen=True, slots=True)
class Doubted:
    """A request failed on the host; the next probe decides."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody wishes for an instance."""

    at: float
    ticket: Ticket
    wish: Wish


@dataclass(frozen=True, slots=True)
class Left:
    """An asker went away, whether waiting or holding."""

    at: float
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed: somebody's patience may be over."""

    at: float


@dataclass(frozen=True, slots=True)
class Progressed:
    """The load under way got further."""

    at: float
    fraction: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The load under way is done; ``residents`` was read afterwards."""

    at: float
    own: OwnInstance
    residents: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class LoadBroke:
    """The load under way is over without an instance."""

    at: float
    reason: str
    kind: FailureKind
    residents: tuple[Instance, ...] | None = None
    """None when the list could not be read again."""
    own: OwnInstance | None = None
    """What the load made all the same, before the host was lost."""


@dataclass(frozen=True, slots=True)
class LoadSpared:
    """The load was not begun: others have loaded that model since the host was last looked at."""

    at: float
    residents: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class UnloadAsked:
    """An admin wants these out; ``Scheduler.unloadable`` allowed it."""

    at: float
    references: tuple[InstanceRef, ...]


@dataclass(frozen=True, slots=True)
class UnloadEnded:
    """An unload returned; whether the instance is gone is for ``residents`` to tell."""

    at: float
    reference: InstanceRef
    residents: tuple[Instance, ...] | None
    """Read afterwards; None when that failed. It may still list the instance: the host refused, or
    another program was using it."""


@dataclass(frozen=True, slots=True)
class CancelPressed:
    """Somebody pressed Cancel; ``Scheduler.may_cancel`` allowed it."""

    at: float
    model_key: ModelKey


@dataclass(frozen=True, slots=True)
class Pinned:
    """An admin pinned or unpinned these."""

    at: float
    references: tuple[InstanceRef, ...]
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class Drained:
    """An admin wants no new turns here, or wants them again."""

    at: float
    is_draining: bool


@dataclass(frozen=True, slots=True)
class Swept:
    """The eviction job came round."""

    at: float


AskerEvent = Asked | Left | CancelPressed | Ticked
HostEvent = Probed | ProbeFailed | Doubted
LoadEvent = Progressed | Loaded | LoadBroke | LoadSpared
KeeperEvent = UnloadAsked | UnloadEnded | Pinned | Drained | Swept
Event = AskerEvent | HostEvent | LoadEvent | KeeperEvent

# --- effects -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grant:
    """The asker may use this instance until it leaves."""

    ticket: Ticket
    instance: Instance
    queue_s: float
    load_s: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """The asker gets nothing here."""

    ticket: Ticket
    error: BotError


@dataclass(frozen=True, slots=True)
class Tell:
    """News for a waiting asker."""

    ticket: Ticket
    progress: Progress


@dataclass(frozen=True, slots=True)
class StartLoad:
    """Load this now."""

    order: LoadOrder


@dataclass(frozen=True, slots=True)
class StopLoad:
    """Nobody wants the load under way any more: cancel it at the host."""


@dataclass(frozen=True, slots=True)
class StartUnload:
    """Take this instance out of memory."""

    reference: InstanceRef
    instance: Instance
    even_busy: bool
    """False: not while the host says that it is working for somebody."""


@dataclass(frozen=True, slots=True)
class Announce:
    """News for logs and observers."""

    event: FleetEvent


@dataclass(frozen=True, slots=True)
class Remember:
    """A load finished, for the history."""

    record: LoadRecord


@dataclass(frozen=True, slots=True)
class Keep:
    """An own instance changed in what a restart must know."""

    own: OwnInstance


@dataclass(frozen=True, slots=True)
class Forget:
    """An own instance is not in memory any more."""

    reference: InstanceRef


Effect = (
    Grant | Refuse | Tell | StartLoad | StopLoad | StartUnload | Announce | Remember | Keep | Forget
)
