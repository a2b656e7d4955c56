"""Fault dials of a simulated host."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Literal

FaultName = Literal[
    "refuse",
    "hang",
    "status",
    "garbage",
    "stall_load",
    "stall_prefill",
    "drop_mid_load",
    "drop_after_tokens",
    "fail_next_load",
    "wrong_model",
    "silent_end",
    "stall_after_tokens",
    "slow_first_token",
]


_AFTER_ALL = -1


@dataclass(frozen=True, slots=True)
class Fault:
    """One dial as set: what it does, where, and how many times more (None: until cleared)."""

    name: FaultName
    number: float = 0
    """Tokens, status code, fraction or seconds, as the dial needs."""
    text: str = ""
    times: int | None = None
    path: str = ""
    """Only requests whose path starts with this."""
    lifted: asyncio.Event = field(default_factory=asyncio.Event, compare=False, repr=False)
    """Set when the dial is cleared: whoever hangs or stalls by it goes on."""


class Faults:
    """The dials of one host; setting one replaces its former setting.

    `times` counts uses: 1 is once, None lasts until cleared. `path` limits a connection fault to
    paths that start with it, so that a background probe does not use up what was meant for a chat.
    """

    def __init__(self) -> None:
        self._set: dict[FaultName, Fault] = {}
        self._lifted: dict[FaultName, asyncio.Event] = {}

    def refuse(self, times: int | None = None, path: str = "") -> None:
        """Close connections at once."""
        self._put(Fault("refuse", times=times, path=path))

    def hang(self, times: int | None = None, path: str = "") -> None:
        """Accept and say nothing."""
        self._put(Fault("hang", times=times, path=path))

    def status_500(self, times: int | None = None, path: str = "") -> None:
        """Answer HTTP 500."""
        self._put(Fault("status", 500, "Internal server error", times, path))

    def status_503(self, times: int | None = None, path: str = "") -> None:
        """Answer HTTP 503 at once."""
        self._put(Fault("status", 503, "Service unavailable", times, path))

    def garbage(self, times: int | None = None, path: str = "") -> None:
        """Answer bytes that are neither JSON nor SSE."""
        self._put(Fault("garbage", times=times, path=path))

    def stall_load(self, at: float = 0.5, times: int | None = 1) -> None:
        """Let a load stand still at a fraction until the next `clear`, or until it is cancelled."""
        self._put(Fault("stall_load", at, times=times))

    def stall_prefill(self, times: int | None = 1) -> None:
        """Read half of a prompt and stand still there until the next `clear`."""
        self._put(Fault("stall_prefill", times=times))

    def drop_mid_load(self, at: float = 0.5, times: int | None = 1) -> None:
        """Cut the asker's connection when a load reaches a fraction; the load itself goes on."""
        self._put(Fault("drop_mid_load", at, times=times))

    def drop_after_tokens(self, count: int, times: int | None = 1) -> None:
        """Cut the connection of a prediction after so many tokens."""
        self._put(Fault("drop_after_tokens", count, times=times))

    def fail_next_load(self, text: str, times: int | None = 1, at: float = 0.3) -> None:
        """Let a load break at a fraction with the given cause."""
        self._put(Fault("fail_next_load", at, text, times))

    def wrong_model(self, name: str, times: int | None = 1) -> None:
        """Name another model in the reply."""
        self._put(Fault("wrong_model", text=name, times=times))

    def silent_end(self, after_tokens: int | None = None, times: int | None = 1) -> None:
        """End a stream without its end marks: after so many tokens, or after all (None)."""
        at = _AFTER_ALL if after_tokens is None else after_tokens
        self._put(Fault("silent_end", at, times=times))

    def stall_after_tokens(self, count: int, times: int | None = 1) -> None:
        """Go silent after so many tokens, connection open, until the next `clear`."""
        self._put(Fault("stall_after_tokens", count, times=times))

    def slow_first_token(self, seconds: float, times: int | None = None) -> None:
        """Add simulated seconds before the first token."""
        self._put(Fault("slow_first_token", seconds, times=times))

    def clear(self, *names: FaultName) -> None:
        """Take back the named dials, or all; whoever hangs or stalls goes on."""
        for name in names or tuple(self._lifted):
            self._set.pop(name, None)
            lifted = self._lifted.pop(name, None)
            if lifted is not None:
                lifted.set()

    def is_set(self, name: FaultName) -> bool:
        """Whether a dial has uses left."""
        return name in self._set

    def take(self, name: FaultName, path: str = "") -> Fault | None:
        """Use a dial once, when it is set and meant for this path."""
        fault = self._set.get(name)
        if fault is None or not path.startswith(fault.path):
            return None
        if fault.times is not None:
            self._count_down(fault, fault.times - 1)
        return fault

    def _put(self, fault: Fault) -> None:
        if fault.times is None or fault.times > 0:
            lifted = self._lifted.setdefault(fault.name, asyncio.Event())
            self._set[fault.name] = replace(fault, lifted=lifted)

    def _count_down(self, fault: Fault, left: int) -> None:
        if left <= 0:
            del self._set[fault.name]
            return
        self._set[fault.name] = replace(fault, times=left)
