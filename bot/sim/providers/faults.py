"""Fault dials of a simulated provider."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

LineFault = Literal["reset", "no_headers"]
"""Before any answer: the connection breaks, or nothing ever comes."""

AnswerFault = Literal[
    "auth",
    "forbidden",
    "no_money",
    "plan_limit",
    "rate_limit",
    "overload",
    "server",
    "html",
    "bad_json",
    "too_long",
    "bad_request",
    "unknown_model",
    "refused",
]
"""An HTTP answer instead of a reply, in the wire's own form; `code` picks among its forms."""

ReplyFault = Literal["empty", "refused_midway", "window_full", "broken"]
"""A reply that ends otherwise: no text, a filter's finish reason, or the provider's own failure."""

StreamFault = Literal[
    "no_first_token",
    "cut",
    "silent_end",
    "error_event",
    "stall",
    "garbage",
    "fragment",
    "crlf",
    "comments",
    "duplicate_usage",
    "no_usage",
]
"""What becomes of a stream on its way."""

FaultName = LineFault | AnswerFault | ReplyFault | StreamFault
WaitForm = Literal["seconds", "date", "ms", "nonsense"]

ANSWER_FAULTS: tuple[AnswerFault, ...] = get_args(AnswerFault)
REPLY_FAULTS: tuple[ReplyFault, ...] = get_args(ReplyFault)
STREAM_FAULTS: tuple[StreamFault, ...] = get_args(StreamFault)


@dataclass(frozen=True, slots=True)
class Fault:
    """One dial as set."""

    name: FaultName
    code: str = ""
    """Which of the wire's forms: its own code, or an HTTP status; empty is the usual one."""
    after_tokens: int | None = 0
    """Tokens of text that go out first; None lets all of them out, up to the end mark."""
    wait_s: float | None = None
    """The wait it asks for, or the time until a plan's reset."""
    wait_form: WaitForm = "seconds"
    times: int | None = None
    """Uses left; None until cleared."""
    path: str = ""
    """Only requests whose path ends with this."""


class ProviderFaults:
    """The dials of one provider; setting one replaces its former setting."""

    def __init__(self) -> None:
        self._set: dict[FaultName, Fault] = {}
        self._changed = asyncio.Event()

    def set(
        self,
        name: FaultName,
        *,
        code: str = "",
        after_tokens: int | None = 0,
        wait_s: float | None = None,
        wait_form: WaitForm = "seconds",
        times: int | None = None,
        path: str = "",
    ) -> None:
        """Turn a dial: once with `times` 1, n times, or until cleared (None).

        `path` limits it to requests whose path ends so: what is meant for a chat is then not used
        up by a look at the models.
        """
        fault = Fault(name, code, after_tokens, wait_s, wait_form, times, path)
        if times is None or times > 0:
            self._set[name] = fault

    def clear(self, *names: FaultName) -> None:
        """Take back the named dials, or all; whoever hangs or stalls goes on."""
        for name in names or tuple(self._set):
            self._set.pop(name, None)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def is_set(self, name: FaultName) -> bool:
        """Whether a dial has uses left."""
        return name in self._set

    def take(self, name: FaultName, path: str) -> Fault | None:
        """Use a dial once, when it is set and meant for this path."""
        fault = self._set.get(name)
        if fault is None or not path.endswith(fault.path):
            return None
        if fault.times is not None:
            self._put_back(replace(fault, times=fault.times - 1))
        return fault

    def take_first(self, names: Sequence[FaultName], path: str) -> Fault | None:
        """Use the first of several dials that is set."""
        return next(self._take_each(names, path), None)

    def take_all(self, names: Sequence[FaultName], path: str) -> dict[FaultName, Fault]:
        """Use every one of several dials that is set."""
        return {fault.name: fault for fault in self._take_each(names, path)}

    async def until_cleared(self) -> None:
        """Wait for the next `clear`."""
        await self._changed.wait()

    def _take_each(self, names: Sequence[FaultName], path: str) -> Iterator[Fault]:
        for name in names:
            if (fault := self.take(name, path)) is not None:
                yield fault

    def _put_back(self, fault: Fault) -> None:
        if fault.times == 0:
            del self._set[fault.name]
        else:
            self._set[fault.name] = fault
