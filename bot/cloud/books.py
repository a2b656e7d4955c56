"""Where money is written down; the ledger's side of a call."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.domain.cloud import Booking, DayTotals, LedgerAnswer, Settlement


@dataclass(frozen=True, slots=True)
class Books:
    """The ledger as this room needs it; each awaitable may raise ``StoreUnavailable``."""

    book: Callable[[Booking], Awaitable[LedgerAnswer]]
    settle: Callable[[Settlement], Awaitable[LedgerAnswer]]
    totals: Callable[[], Awaitable[DayTotals]]
    today: Callable[[], str]
    """The day it is now, as the ledger counts days."""
