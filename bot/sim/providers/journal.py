"""Every request a simulated provider saw, what it cost and how it ended."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TextIO

from bot.sim.wire_json import JsonObject

Outcome = Literal["finished", "cut", "refused", "error"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came."""

    number: int
    at: float
    """On the loop's clock, which all processes of a Linux machine share."""
    method: str
    path: str
    model: str = ""
    user: str = ""
    """What stood in the wire's field for the asker."""
    payload: JsonObject = field(default_factory=dict[str, object])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """By lower-case name, without keys."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a request is charged for."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Thinking included."""
    cached_tokens: int = 0
    thinking_tokens: int = 0
    cost_micro_usd: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has ended."""

    arrival: Arrival
    ended_at: float
    status: int
    """HTTP status; 0 when none was sent."""
    outcome: Outcome
    reason: str = ""
    """Finish reason, error code, the fault's name, or ``asker left``."""
    bill: Bill = Bill()

    @property
    def cost_micro_usd(self) -> int:
        """What it cost."""
        return self.bill.cost_micro_usd

    def as_line(self) -> str:
        """Return it as one line of JSON, flat."""
        row = {**asdict(self.arrival), **asdict(self.bill)}
        row |= {"ended_at": self.ended_at, "status": self.status}
        row |= {"outcome": self.outcome, "reason": self.reason}
        return json.dumps(row, ensure_ascii=True)


class ProviderJournal:
    """Requests in order of their ends; only the provider writes."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._open: dict[int, Arrival] = {}
        self._changed = asyncio.Event()
        self._file: TextIO | None = None

    @property
    def calls(self) -> tuple[Call, ...]:
        """Requests that have ended, oldest end first."""
        return tuple(self._calls)

    @property
    def open(self) -> tuple[Arrival, ...]:
        """Requests under way."""
        return tuple(self._open.values())

    @property
    def cost_micro_usd(self) -> int:
        """What all ended requests cost together."""
        return sum(call.cost_micro_usd for call in self._calls)

    def chats(self) -> tuple[Call, ...]:
        """Ended requests for an answer: no looks at models, no token counts."""
        return tuple(call for call in self._calls if is_chat(call.arrival))

    def clear(self) -> None:
        """Forget ended requests; the file keeps them."""
        self._calls.clear()

    def write_to(self, file: TextIO | None) -> None:
        """Append every request that ends from now on to a file, which stays its owner's."""
        self._file = file

    def begin(self, arrival: Arrival) -> None:
        """Note that a request is under way."""
        self._open[arrival.number] = arrival
        self._wake()

    def end(self, call: Call) -> None:
        """Note how a request ended."""
        self._open.pop(call.arrival.number, None)
        self._calls.append(call)
        if self._file is not None:
            self._file.write(call.as_line() + "\n")
            self._file.flush()
        self._wake()

    async def until(
        self, is_so: Callable[["ProviderJournal"], bool], *, timeout_s: float = 60.0
    ) -> None:
        """Wait until something holds of this journal.

        Raises:
            TimeoutError: it did not come to hold in time.
        """
        async with asyncio.timeout(timeout_s):
            while not is_so(self):
                await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def is_chat(arrival: Arrival) -> bool:
    """Whether a request asks for an answer."""
    return arrival.method == "POST" and arrival.path.endswith(("/chat/completions", "/messages"))
