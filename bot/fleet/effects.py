"""What a scheduler decides, as values: its driver carries them out in the order given."""

from bot.domain.errors import BotError
from bot.domain.events import FleetEvent, Progress
from bot.domain.hosts import (
    Drain,
    Instance,
    LoadOrder,
    LoadRecord,
    OwnInstance,
    SpeedRecord,
    WakeRecord,
)
from bot.domain.ids import InstanceRef
from bot.domain.values import value
from bot.fleet.queue import Ticket


@value
class Grant:
    """The asker may use this instance until it leaves."""

    ticket: Ticket
    instance: Instance
    queue_s: float
    """Waited for a slot, or for other work of the host."""
    load_s: float
    """Waited for the load, evictions before it included."""


@value
class Refuse:
    """The asker gets nothing here."""

    ticket: Ticket
    error: BotError


@value
class Tell:
    """News for a waiting asker."""

    ticket: Ticket
    progress: Progress


@value
class StopLoad:
    """Nobody wants the load under way any more: cancel it at the host."""


@value
class StartUnload:
    """Take this instance out of memory."""

    instance: Instance
    even_busy: bool
    """False: not while the host says that it is working for somebody."""


@value
class Forget:
    """An own instance is not in memory any more: no restart need know it."""

    reference: InstanceRef


@value
class Wake:
    """The host sleeps: call it until it answers, or nobody wants it woken any more."""


Effect = (
    Grant
    | Refuse
    | Tell
    | LoadOrder
    | StopLoad
    | StartUnload
    | Forget
    | Wake
    | WakeRecord
    | Drain
    | OwnInstance
    | LoadRecord
    | SpeedRecord
    | FleetEvent
)
"""What must be done: a ``LoadOrder`` is loaded, an ``OwnInstance``, a ``Drain`` or a record is kept
for the next start, a ``FleetEvent`` is announced."""
Effects = tuple[Effect, ...]
