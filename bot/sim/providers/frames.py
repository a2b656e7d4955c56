"""The pieces of a stream before they are bytes, and what faults make of them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bot.sim.providers.faults import Fault, FaultName
from bot.sim.wire_json import JsonObject

FrameKind = Literal["plain", "thought", "text", "finish", "comment"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a stream."""

    data: JsonObject | str | None
    """JSON, text as it stands, or nothing: a token that is generated but not shown."""
    kind: FrameKind = "plain"
    event: str | None = None

    def encode(self) -> bytes:
        """Return its bytes."""
        if self.data is None:
            return b""
        data = self.data if isinstance(self.data, str) else _dumped(self.data)
        if self.kind == "comment":
            return f": {data}\n\n".encode()
        name = "" if self.event is None else f"event: {self.event}\n"
        return f"{name}data: {data}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Break:
    """The stream goes wrong here."""

    fault: Fault


Step = Frame | Break

_BREAKS: tuple[FaultName, ...] = (
    "no_first_token",
    "stall",
    "garbage",
    "error_event",
    "silent_end",
    "cut",
)


def with_breaks(frames: Iterable[Frame], faults: Mapping[FaultName, Fault]) -> Iterator[Step]:
    """Yield the frames of a stream and its breaks in their places."""
    due = [faults[name] for name in _BREAKS if name in faults]
    texts = 0
    for frame in frames:
        for fault in [fault for fault in due if _is_due(fault, frame, texts)]:
            due.remove(fault)
            yield _garbage(frame) if fault.name == "garbage" else Break(fault)
        yield frame
        texts += frame.kind == "text"


def _is_due(fault: Fault, frame: Frame, texts: int) -> bool:
    if fault.name == "no_first_token" or frame.kind == "finish":
        return True
    after = fault.after_tokens
    return frame.kind == "text" and after is not None and texts >= after


def _garbage(frame: Frame) -> Frame:
    return Frame('{"id": "broken", "choi', event=frame.event)


def _dumped(data: JsonObject) -> str:
    # Providers write UTF-8 as it stands, so that a character may be torn; half of a surrogate pair
    # has no UTF-8 and goes out escaped.
    plain = json.dumps(data, ensure_ascii=False)
    return plain if plain.isprintable() else json.dumps(data)
