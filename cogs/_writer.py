"""Writes one reply: only its latest text, one call at a time, paced, and its end without fail."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from math import inf
from typing import Protocol

import structlog

from bot.policy.pacing import Pacer, Writing, ask_all
from cogs._faults import SENDING_ERRORS, Fault, fault_of
from cogs._slots import Slots, Step
from cogs._transport import Transport
from cogs._view import Look

MAX_TRIES = 26
"""Of the last words: with pauses doubling to ``MAX_PAUSE_S`` a fault may last two minutes."""

MAX_PAUSE_S = 5.0

_WAKE_CHARS = 32
"""A waiting writer is asked again when so much text came: cheaper than at every token."""

_log = structlog.get_logger(__name__)


class Growing(Protocol):
    """What is written while it grows: a reply, a load, a stored turn."""

    @property
    def length(self) -> int:
        """Characters of the answer so far; 0 while only a status is shown."""
        ...

    @property
    def changes(self) -> int:
        """Counts what is new besides the answer's length."""
        ...

    @property
    def is_over(self) -> bool:
        """Will it not change any more?"""
        ...

    def looks(self, now: float) -> tuple[Look, ...]:
        """The messages as they should read now."""
        ...


class Outcome(Enum):
    """How the writing ended."""

    SHOWN = "shown"
    GONE = "gone"
    """There is no place to show it any more."""
    GIVEN_UP = "given up"
    """Discord did not take the last words, by many tries or until we left; it may yet."""


class Writer:
    """Owns the messages of one reply."""

    def __init__(
        self,
        page: Growing,
        transport: Transport,
        keep: Callable[[int, int], Awaitable[bool]],
        denied_tries: int = MAX_TRIES,
    ) -> None:
        """``keep(part, message_id)`` remembers a message; False when it is too early to.

        ``denied_tries`` are made of an edit that is not permitted.
        """
        self._page = page
        self._transport = transport
        self._keep = keep
        self._denied_tries = denied_tries
        self._slots = Slots()
        self._news = asyncio.Event()
        self._wakes_at_length = 0
        self._given = Writing(ready=0)
        self._given_changes = -1
        self._has_more = False
        self._failures = 0
        self._key = f"{id(self):x}"
        self._joined: set[Pacer] = set()

    @property
    def is_visible(self) -> bool:
        """Has a message been shown?"""
        return self._slots.is_visible

    def poke(self) -> None:
        """Something is new."""
        if self._page.length >= self._wakes_at_length or self._page.is_over:
            self._news.set()

    async def run(self, existing: tuple[int, ...] = ()) -> Outcome:
        """Writes until the end is shown, over ``existing`` messages first; early when it cannot."""
        self._slots.take_over(existing)
        try:
            if (deferred := await self._transport.begin()) is not None:
                self._slots.take_over((deferred,))
            return await self._write()
        except SENDING_ERRORS as error:
            is_leaving = fault_of(error) is Fault.LEAVING
            return self._ended(Outcome.GIVEN_UP if is_leaving else Outcome.GONE, error)
        finally:
            for pacer in self._joined:
                pacer.left(self._key)

    async def _write(self) -> Outcome:
        while True:
            await self._slots.keep(self._keep)
            at = self._next_call_at()
            if at > self._now():
                await self._rest(at)
            elif (outcome := await self._act()) is not None:
                await self._slots.keep(self._keep)
                return outcome

    def _next_call_at(self) -> float:
        now, changes = self._now(), self._page.changes
        # A status that reads as before must ask for no place: a waiting reply that was touched
        # every second and had nothing to show kept its place before every stream of the bot.
        if not self._has_more and changes != self._given_changes and not self._page.length:
            self._has_more = self._slots.next_step(self._page.looks(now)) is not None
            self._given_changes = changes
        writing = replace(
            self._given,
            ready=self._page.length,
            is_finished=self._page.is_over,
            is_changed=self._has_more or self._page.changes != self._given_changes,
            is_urgent=self._page.length > 0 and self._given.shown == 0,
        )
        pacers = self._transport.pacers(is_new=self._slots.is_empty)
        self._joined.update(pacers)
        return ask_all(pacers, now, self._key, writing)

    async def _rest(self, until: float) -> None:
        length = self._page.length
        self._wakes_at_length = 0 if until == inf else length + _WAKE_CHARS if length else 1
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if until == inf else until):
                await self._news.wait()
        self._news.clear()

    async def _act(self) -> Outcome | None:
        """One call towards what the page reads now; an outcome when it was the last."""
        now, changes = self._now(), self._page.changes
        looks, is_last = self._page.looks(now), self._page.is_over
        step = self._slots.next_step(looks)
        self._give(now, is_call=step is not None)
        if step is not None:
            for pacer in self._transport.pacers(is_new=step.message_id is None):
                pacer.began(now, self._key)
            try:
                await self._slots.take(step, self._transport)
            except SENDING_ERRORS as error:
                return await self._failed(step, error)
            self._failures = 0
        self._given_changes = changes
        self._has_more = self._slots.next_step(looks) is not None
        if self._has_more:
            return None
        if self._slots.lacks(looks):
            return Outcome.GONE
        # Without asking for a place again: a reply that is shown needs none.
        return Outcome.SHOWN if is_last else None

    def _give(self, now: float, *, is_call: bool) -> None:
        """Notes what this call shows; the first words count as young again."""
        length = self._page.length
        edits = self._given.edits + 1 if self._given.shown else 0
        self._given = replace(
            self._given,
            shown=length,
            edits=edits,
            last_start=now if is_call else self._given.last_start,
        )

    async def _failed(self, step: Step, error: BaseException) -> Outcome | None:
        self._has_more = True
        match fault_of(error):
            case Fault.ARCHIVED if step.message_id is not None:
                self._slots.lose(step)
            case Fault.REFUSED if self._slots.refuse(step, str(error)):
                _log.warning("message refused by Discord", error=_words(error))
            case Fault.DENIED if self._slots.cut_short(step):
                _log.warning("reply cut short", error=_words(error))
            case Fault.DENIED if step.message_id is not None:
                return await self._again(error, self._denied_tries)
            case Fault.PASSING:
                return await self._again(error, MAX_TRIES if self._page.is_over else inf)
            case Fault.LEAVING:
                return self._ended(Outcome.GIVEN_UP, error)
            case _:
                return self._ended(Outcome.GONE, error)
        return None

    async def _again(self, error: BaseException, tries: float) -> Outcome | None:
        """Pauses before another try; an outcome when there were too many."""
        self._failures += 1
        if self._failures >= tries:
            return self._ended(Outcome.GIVEN_UP, error)
        await asyncio.sleep(min(MAX_PAUSE_S, 2.0 ** (self._failures - 1)))
        return None

    def _ended(self, outcome: Outcome, error: BaseException) -> Outcome:
        _log.warning("reply cannot be shown", outcome=outcome.value, error=_words(error))
        return outcome

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
