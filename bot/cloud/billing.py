"""Writes money down so that nothing is lost: shielded from cancelling, tried again until it works.

What cannot be written stays reserved in the ledger, so the limits hold meanwhile; and nothing new
is booked before it was written.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from bot.domain.cloud import Account, Booking, CloudEvent, LedgerAnswer, Settlement
from bot.domain.errors import FailureKind, StoreUnavailable, Unavailable
from bot.domain.ids import ProviderName
from bot.domain.values import value
from bot.policy.budget import refusal_text

_SETTLE_S = 5.0
"""Longest a leaving caller waits for its cost to be written; the writing itself goes on."""

HELD_LOOK_S = 1.0
"""So often it is looked whether money that was held is free, be nothing heard of it."""

_log = structlog.get_logger(__name__)


class Held(Unavailable):
    """There is money for a call, once some of what is held for others was given back."""


@value
class Ledger:
    """The ledger as this room is handed it; each awaitable may raise ``StoreUnavailable``."""

    book: Callable[[Booking], Awaitable[LedgerAnswer]]
    settle: Callable[[Settlement], Awaitable[LedgerAnswer]]
    accounts: Callable[[Sequence[ProviderName]], Awaitable[tuple[Account, ...]]]
    """Everybody's and these providers', of today and this month."""
    today: Callable[[], str]
    """The day it is now, as the ledger counts days."""


class Billing:
    """Books and settles calls; remembers the accounts of its day and month for advice."""

    def __init__(
        self, ledger: Ledger, observe: Callable[[CloudEvent], None], tasks: asyncio.TaskGroup
    ) -> None:
        self._ledger = ledger
        self._observe = observe
        self._tasks = tasks
        self._late: dict[int, Settlement] = {}
        self.today = ledger.today
        """The day it is now, as the ledger counts days."""
        self._known: dict[tuple[str, str], Account] = {}
        """By provider (empty for everybody) and period."""
        self._short = deque[asyncio.Event]()
        """Of those who wait for money that is held; the first has waited longest."""

    def accounts(self, provider: str = "") -> tuple[Account, ...]:
        """Everybody's accounts and a provider's as last heard; none of a day that is over."""
        # A month's key begins every day's in it.
        today = self._ledger.today()
        return tuple(
            account
            for (name, period), account in self._known.items()
            if name in ("", provider) and today.startswith(period)
        )

    async def refresh(self, providers: Sequence[ProviderName]) -> None:
        """Read what is spent today and this month; without it routing just knows less."""
        try:
            self._remember(await self._ledger.accounts(providers))
        except StoreUnavailable as err:
            _log.warning("budget not read", reason=err.user_message)

    def _remember(self, accounts: Sequence[Account]) -> None:
        today = self._ledger.today()
        # A call over midnight is settled on the day before, which is nobody's advice.
        known = self._known | {(account.name, account.period): account for account in accounts}
        self._known = {key: known[key] for key in known if today.startswith(key[1])}

    async def book(self, booking: Booking) -> int:
        """Hold the worst case of a call; the ledger's row number.

        Raises:
            Held: a limit would be passed by what is held for calls under way.
            Unavailable: a limit would be passed, or the ledger cannot be written.
        """
        await self.catch_up()
        # A write that was begun is finished even when its asker leaves, and then the money would
        # stay held for a call that never comes: it is given back by whoever is still here.
        asking = self._tasks.create_task(self._ask(booking))
        try:
            answer = await asyncio.shield(asking)
        except asyncio.CancelledError:
            self._tasks.create_task(self._give_back(asking))
            raise
        if isinstance(answer, StoreUnavailable):
            raise _unwritable(answer) from answer
        self._remember(answer.accounts)
        for news in answer.news:
            self._observe(news)
        if answer.refusal:
            words = refusal_text(booking.provider, booking.worst_micro_usd, answer.refusal)
            if answer.is_held:
                raise Held(words, FailureKind.BUSY)
            wait_s, brief = answer.renews_in_s, answer.brief
            raise Unavailable(words, FailureKind.BUDGET, retry_after_s=wait_s, brief=brief)
        self._may_try()
        return answer.number

    async def freed(self, held: Held, until: float) -> None:
        """Returns once money may have been given back.

        Raises:
            Held: there is no time left.
        """
        now = asyncio.get_running_loop().time()
        if now >= until:
            raise held
        mine = asyncio.Event()
        self._short.append(mine)
        try:
            # Another process on the same database gives back, too, and tells nobody here.
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(until, now + HELD_LOOK_S)):
                    await mine.wait()
        finally:
            if not mine.is_set():
                self._short.remove(mine)

    async def settle(self, settlement: Settlement) -> None:
        """Write a cost down; a caller that is cancelled does not stop it."""
        # Not cancelled with its asker: an answer that was left is charged by the provider all the
        # same, and what it holds would stay held until the next start, then be charged whole.
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

    def _may_try(self) -> None:
        # One: who finds enough lets the next try. All at once wrote for each other in vain.
        if self._short:
            self._short.popleft().set()

    async def _ask(self, booking: Booking) -> LedgerAnswer | StoreUnavailable:
        # Returned, not raised: an error of one task would cancel every other write of the group.
        try:
            return await self._ledger.book(booking)
        except StoreUnavailable as err:
            return err

    async def _give_back(self, asking: asyncio.Task[LedgerAnswer | StoreUnavailable]) -> None:
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
        settled = await self._ledger.settle(settlement)
        self._may_try()
        self._late.pop(settlement.number, None)
        self._remember(settled.accounts)
        for news in settled.news:
            self._observe(news)


def _unwritable(err: StoreUnavailable) -> Unavailable:
    words = f"Nothing may be spent while the ledger cannot be written: {err.user_message}"
    return Unavailable(words, FailureKind.BUDGET)
