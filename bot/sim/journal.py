"""What a simulated host did, in order, for tests and the demo to read."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from bot.sim.answers import Message

Via = Literal["socket", "rest", "jit", "foreign"]
UnloadReason = Literal["asked", "ttl", "jit evicted", "host stopped"]


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request arrived; WebSocket openings are requests too."""

    at: float
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Called:
    """A call or a channel arrived on a WebSocket."""

    at: float
    namespace: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class LoadStarted:
    """A load began; `config` holds the wire keys that were applied."""

    at: float
    key: str
    identifier: str
    config: Mapping[str, object]
    ttl_s: float | None
    via: Via


@dataclass(frozen=True, slots=True)
class LoadFinished:
    """An instance is resident."""

    at: float
    key: str
    identifier: str
    reference: str


@dataclass(frozen=True, slots=True)
class LoadCancelled:
    """A load was given up on request, or because the host stopped."""

    at: float
    key: str
    identifier: str


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """A load was refused or broke; `identifier` is empty when none was given out."""

    at: float
    key: str
    identifier: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unloaded:
    """An instance left memory."""

    at: float
    key: str
    identifier: str
    reference: str
    reason: UnloadReason


@dataclass(frozen=True, slots=True)
class PredictionStarted:
    """A request was accepted by an instance; it may still wait for a slot."""

    at: float
    number: int
    key: str
    identifier: str
    asked_model: str
    via: Via
    prompt_tokens: int
    messages: tuple[Message, ...]
    sampling: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class PredictionEnded:
    """How a prediction ended; use the subclasses. `tokens` counts reasoning too."""

    at: float
    number: int
    key: str
    identifier: str
    tokens: int


@dataclass(frozen=True, slots=True)
class PredictionFinished(PredictionEnded):
    """Generated to its end."""

    reason: str = "stop"


@dataclass(frozen=True, slots=True)
class PredictionCancelled(PredictionEnded):
    """Stopped because the asker stopped it or left."""


@dataclass(frozen=True, slots=True)
class PredictionCut(PredictionEnded):
    """Broken off by a fault of the host."""


@dataclass(frozen=True, slots=True)
class PredictionFailed(PredictionEnded):
    """Died with its instance."""

    reason: str = "Model unloaded"


Record = (
    Request
    | Called
    | LoadStarted
    | LoadFinished
    | LoadCancelled
    | LoadFailed
    | Unloaded
    | PredictionStarted
    | PredictionEnded
)
R = TypeVar("R", bound=Record)


class Journal:
    """The newest records of one host, oldest first; only the host writes."""

    def __init__(self, limit: int = 100_000) -> None:
        self._records: deque[Record] = deque(maxlen=limit)
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def write(self, record: Record) -> None:
        """Append one record and wake those who wait for it."""
        self._records.append(record)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def of(self, kind: type[R]) -> list[R]:
        """Return the records of one kind, subclasses included."""
        return [record for record in self._records if isinstance(record, kind)]

    def clear(self) -> None:
        """Forget everything so far."""
        self._records.clear()

    async def wait_for(
        self, kind: type[R], where: Callable[[R], bool] = lambda _: True, *, timeout_s: float = 60.0
    ) -> R:
        """Return the first record of a kind that fits, waiting for it when it is not there yet.

        Raises:
            TimeoutError: none came in time.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                changed = self._changed
                for record in self.of(kind):
                    if where(record):
                        return record
                await changed.wait()
