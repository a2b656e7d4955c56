"""Writes money down so that nothing is lost: shielded from cancelling, tried again until it works.

What cannot be written stays reserved in the ledger, so the limits hold meanwhile; and nothing new
is booked before it was written.
"""

import asyncio
from collections.abc import Callable

import structlog

from bot.cloud.books import Books
from bot.domain.cloud import Booking, CloudEvent, DayTotals, LedgerAnswer, Settlement
from bot.domain.errors import FailureKind, StoreUnavailable, Unavailable

_SETTLE_S = 5.0
"""Longest a leaving caller waits for its cost to be written; the writing itself goes on."""

_Answer = LedgerAnswer | StoreUnavailable

_log = structlog.get_logger(__name__)


class Billing:
    """Books and settles calls; remembers the day's totals for advice."""

    def __init__(
        self, books: Books, observe: Callable[[CloudEvent], None], tasks: asyncio.TaskGroup
    ) -> None:
        self._books = books
        self._observe = observe
        self._tasks = tasks
        self._late: dict[int, Settlement] = {}
        self._totals: DayTotals | None = None

    @property
    def totals(self) -> DayTotals | None:
        """Today's spending as last heard; None when nothing is known of today."""
        if self._totals is None or self._totals.day != self._books.today():
            return None
        return self._totals

    async def refresh(self) -> None:
        """Read the day's totals; without them routing just knows less."""
        try:
            self._totals = await self._books.totals()
        except StoreUnavailable as err:
            _log.warning("budget not read", reason=err.user_message)

    async def book(self, booking: Booking) -> int:
        """Hold the worst case of a call; the ledger's row number.

        Raises:
            Unavailable: a limit would be passed, or the ledger cannot be written.
        """
        await self.catch_up()
        answer = await self._shielded(booking)
        if isinstance(answer, StoreUnavailable):
            raise _unwritable(answer) from answer
        self._totals = answer.today
        if answer.news is not None:
            self._observe(answer.news)
        if not answer.refusal:
            return answer.number
        words = f"{booking.provider} may cost up to ${booking.worst_micro_usd / 1e6:.4f}"
        raise Unavailable(f"{words}, but {answer.refusal}.", FailureKind.BUDGET)

    async def settle(self, settlement: Settlement) -> None:
        """Write a cost down; a caller that is cancelled does not stop it."""
        writing = self._tasks.create_task(self._write(settlement))
        try:
            async with asyncio.timeout(_SETTLE_S):
                await asyncio.shield(writing)
        except TimeoutError:
            _log.warning("cost not written yet", number=settlement.number)

    async def catch_up(self) -> None:
        """Write what could not be written before.

        Raises:
            Unavailable: it still cannot.
        """
        for settlement in tuple(self._late.values()):
            try:
                await self._put(settlement)
            except StoreUnavailable as err:
                raise _unwritable(err) from err

    async def _shielded(self, booking: Booking) -> _Answer:
        # A write that was begun is finished even when its asker leaves, so that the money would
        # stay held for a call that never comes.
        asking = self._tasks.create_task(self._ask(booking))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            self._tasks.create_task(self._undo(asking))
            raise

    async def _ask(self, booking: Booking) -> _Answer:
        try:
            return await self._books.book(booking)
        except StoreUnavailable as err:
            return err

    async def _undo(self, asking: asyncio.Task[_Answer]) -> None:
        answer = await asking
        if isinstance(answer, LedgerAnswer) and not answer.refusal:
            await self._write(Settlement(answer.number, "nothing"))

    async def _write(self, settlement: Settlement) -> None:
        try:
            await self._put(settlement)
        except StoreUnavailable as err:
            self._late[settlement.number] = settlement
            _log.warning("cost not written", number=settlement.number, reason=err.user_message)

    async def _put(self, settlement: Settlement) -> None:
        settled = await self._books.settle(settlement)
        self._late.pop(settlement.number, None)
        if settled.today.day == self._books.today():
            self._totals = settled.today
        if settled.news is not None:
            self._observe(settled.news)


def _unwritable(err: StoreUnavailable) -> Unavailable:
    words = f"Nothing may be spent while the ledger cannot be written: {err.user_message}"
    return Unavailable(words, FailureKind.BUDGET)
