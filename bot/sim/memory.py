"""What a simulated host has in memory: instances, names given out, bytes reserved."""

import asyncio
import itertools
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bot.sim.answers import Message
from bot.sim.errors import DoesNotFit, IdentifierInUse
from bot.sim.journal import Via
from bot.sim.models import SimHostConfig, SimModel
from bot.sim.slots import Slots

Phase = Literal["processingPrompt", "generating", "computingEmbedding"]
CONTEXT_KEYS = ("llm.load.contextLength", "embedding.load.contextLength")
SLOTS_KEY = "llm.load.numParallelSessions"
_PREFIXES_KEPT = 8


@dataclass(frozen=True, slots=True)
class SimInstance:
    """A frozen view of one resident instance."""

    key: str
    identifier: str
    reference: str
    context_length: int
    config: Mapping[str, object]
    ttl_s: float | None
    via: Via
    is_jit: bool
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """What somebody wants loaded; `fields` are wire configuration keys."""

    model: SimModel
    identifier: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    ttl_s: float | None = None
    via: Via = "socket"
    is_jit: bool = False


@dataclass(slots=True, eq=False)
class Instance:
    """One loaded copy of a model. Owned by `Memory`; the engine moves its slots and clocks."""

    order: LoadOrder
    identifier: str
    reference: str
    context_length: int
    slots: Slots
    idle_since_s: float
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    phases: Counter[Phase] = field(default_factory=Counter[Phase])
    prefixes: deque[tuple[Message, ...]] = field(
        default_factory=lambda: deque[tuple[Message, ...]](maxlen=_PREFIXES_KEPT)
    )

    @property
    def model(self) -> SimModel:
        """The model it is a copy of."""
        return self.order.model

    @property
    def is_idle(self) -> bool:
        """Whether nobody runs or waits."""
        return self.slots.running == 0 and self.slots.waiting == 0

    @property
    def status(self) -> Phase | Literal["idle"]:
        """What it does, in the wire's words."""
        phases: tuple[Phase, ...] = ("processingPrompt", "generating", "computingEmbedding")
        for phase in phases:
            if self.phases[phase] > 0:
                return phase
        return "idle"

    def cached_messages(self, messages: tuple[Message, ...]) -> int:
        """Return how many leading messages an earlier prompt already put in the cache."""
        return max((_shared(prefix, messages) for prefix in self.prefixes), default=0)

    def view(self) -> SimInstance:
        """Return a frozen copy of the state."""
        return SimInstance(
            key=self.model.key,
            identifier=self.identifier,
            reference=self.reference,
            context_length=self.context_length,
            config=dict(self.order.fields),
            ttl_s=self.order.ttl_s,
            via=self.order.via,
            is_jit=self.order.is_jit,
            running=self.slots.running,
            waiting=self.slots.waiting,
        )


@dataclass(frozen=True, slots=True)
class Reservation:
    """A name and memory set aside for a load in flight."""

    order: LoadOrder
    identifier: str
    context_length: int
    bytes: int


class Memory:
    """The only writer of what is resident or being loaded on one host."""

    def __init__(self, config: SimHostConfig) -> None:
        self._config = config
        self._resident: dict[str, Instance] = {}
        self._loading: dict[str, Reservation] = {}
        self._references = itertools.count(1)

    def __iter__(self) -> Iterator[Instance]:
        return iter(tuple(self._resident.values()))

    @property
    def used_bytes(self) -> int:
        """Memory of resident and loading instances."""
        resident = sum(
            self.bytes_needed(i.model, i.context_length) for i in self._resident.values()
        )
        return resident + sum(reserved.bytes for reserved in self._loading.values())

    def bytes_needed(self, model: SimModel, context_length: int) -> int:
        """Return the memory one instance takes."""
        return model.size_bytes + context_length * self._config.context_bytes_per_token

    def fits(self, model: SimModel, context_length: int) -> bool:
        """Whether the guardrail would let a load pass now."""
        return (
            self.used_bytes + self.bytes_needed(model, context_length) <= self._config.memory_bytes
        )

    def context_of(self, model: SimModel, fields: Mapping[str, object]) -> int:
        """Return the context length a load with these fields gets."""
        asked = next((fields[key] for key in CONTEXT_KEYS if key in fields), None)
        wanted = (
            asked if isinstance(asked, int) and asked > 0 else self._config.default_context_length
        )
        return min(wanted, model.max_context_length)

    def reserve(self, order: LoadOrder) -> Reservation:
        """Set name and memory aside.

        Raises:
            IdentifierInUse: the wanted identifier is taken.
            DoesNotFit: there is not enough memory.
        """
        identifier = self._free_identifier(order)
        context_length = self.context_of(order.model, order.fields)
        needed = self.bytes_needed(order.model, context_length)
        if not self.fits(order.model, context_length):
            raise DoesNotFit(needed)
        reserved = Reservation(order, identifier, context_length, needed)
        self._loading[identifier] = reserved
        return reserved

    def give_up(self, reserved: Reservation) -> None:
        """Take a reservation back."""
        self._loading.pop(reserved.identifier, None)

    def settle(self, reserved: Reservation, now_s: float) -> Instance:
        """Turn a reservation into a resident instance."""
        self.give_up(reserved)
        slots = reserved.order.fields.get(SLOTS_KEY)
        instance = Instance(
            order=reserved.order,
            identifier=reserved.identifier,
            reference=self._next_reference(),
            context_length=reserved.context_length,
            slots=Slots(slots if isinstance(slots, int) else self._config.slots),
            idle_since_s=now_s,
        )
        self._resident[instance.identifier] = instance
        return instance

    def remove(self, instance: Instance) -> None:
        """Take an instance out; its running and waiting requests fail."""
        if self._resident.get(instance.identifier) is instance:
            del self._resident[instance.identifier]
        instance.gone.set()
        instance.slots.close()

    def of_kind(self, *, embedding: bool) -> list[Instance]:
        """Return the resident instances of one namespace, oldest first."""
        return [i for i in self._resident.values() if i.model.is_embedding == embedding]

    def find(self, name: str, *, embedding: bool | None = None) -> Instance | None:
        """Return the instance of that identifier, else the oldest one of that model key."""
        fitting = [
            i
            for i in self._resident.values()
            if embedding is None or i.model.is_embedding == embedding
        ]
        by_name = (i for i in fitting if name in (i.identifier, i.reference))
        return next(by_name, None) or next((i for i in fitting if i.model.key == name), None)

    def _free_identifier(self, order: LoadOrder) -> str:
        taken = self._resident.keys() | self._loading.keys()
        if order.identifier is not None:
            if order.identifier in taken:
                raise IdentifierInUse(order.identifier)
            return order.identifier
        key = order.model.key
        names = itertools.chain((key,), (f"{key}:{n}" for n in itertools.count(2)))
        return next(name for name in names if name not in taken)

    def _next_reference(self) -> str:
        number = next(self._references)
        return (
            f"{zlib.crc32(self._config.name.encode()):08x}{id(self) & 0xFFFFFFFF:08x}{number:08x}"
        )


def _shared(left: tuple[Message, ...], right: tuple[Message, ...]) -> int:
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
