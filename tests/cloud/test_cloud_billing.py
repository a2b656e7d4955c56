"""Money is held and settled against a ledger that may fail, be slow, or be asked by many."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from bot.cloud.billing import Billing, Ledger
from bot.domain.cloud import (
    Account,
    Booking,
    BudgetNews,
    CloudEvent,
    LedgerAnswer,
    Price,
    Settlement,
)
from bot.domain.errors import FailureKind, StoreUnavailable, Unavailable
from bot.domain.ids import ModelKey, ProviderName, TurnId

BOOKING = Booking(TurnId("t"), ProviderName("zai"), ModelKey("m"), 2_500_000_000, Price())
COST = Settlement(1, "usage", 7)
TODAY = Account("2026-11-20", 10, 20, 100)
NEWS = BudgetNews("alert", TODAY)


@dataclass(slots=True)
class Desk:
    """A ledger whose answers a test sets; every write waits until it may go on."""

    billing: Billing
    news: list[CloudEvent]
    written: list[object]
    state: "State"


@dataclass(slots=True)
class State:
    answer: LedgerAnswer = field(default_factory=lambda: LedgerAnswer(1, (TODAY,)))
    day: str = "2026-11-20"
    error: StoreUnavailable | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def desk() -> AsyncGenerator[Desk]:
    state, news, written = State(), list[CloudEvent](), list[object]()
    state.may_go_on.set()

    async def write(what: object) -> LedgerAnswer:
        state.begun.set()
        await state.may_go_on.wait()
        if state.error is not None:
            raise state.error
        written.append(what)
        return state.answer

    async def accounts(_: object) -> tuple[Account, ...]:
        if state.error is not None:
            raise state.error
        return state.answer.accounts

    ledger = Ledger(book=write, settle=write, accounts=accounts, today=lambda: state.day)
    async with asyncio.TaskGroup() as tasks:
        yield Desk(Billing(ledger, news.append, tasks), news, written, state)


async def turns(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    for _ in range(100):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")


async def test_a_booking_gives_its_number_and_the_days_totals() -> None:
    async with desk() as at:
        assert at.billing.accounts() == ()
        assert await at.billing.book(BOOKING) == 1
        assert at.billing.accounts() == (TODAY,)
        assert at.written == [BOOKING]
        at.state.day = "2026-11-21"
        assert at.billing.accounts() == ()
        assert at.billing.today() == "2026-11-21"


async def test_a_refusal_says_what_the_call_may_cost_and_is_news_when_it_is() -> None:
    async with desk() as at:
        at.state.answer = LedgerAnswer(
            0, (TODAY,), "the daily budget is spent", (NEWS,), renews_in_s=60.0, brief="theirs"
        )
        words = r"^zai may cost up to \$2500\.00, but the daily budget is spent\.$"
        with pytest.raises(Unavailable, match=words) as raised:
            await at.billing.book(BOOKING)
        assert (raised.value.kind, raised.value.retry_after_s) == (FailureKind.BUDGET, 60.0)
        assert raised.value.brief == "theirs"
        assert at.news == [NEWS]
        assert at.billing.accounts() == (TODAY,)


async def test_who_leaves_while_the_money_is_being_held_gets_it_given_back() -> None:
    async with desk() as at, asyncio.TaskGroup() as group:
        at.state.may_go_on.clear()
        asker = group.create_task(at.billing.book(BOOKING))
        await at.state.begun.wait()
        asker.cancel()
        await turns(asker.done)
        assert asker.cancelled()
        assert at.written == []
        at.state.may_go_on.set()
        await turns(lambda: len(at.written) == 2)
        assert at.written == [BOOKING, Settlement(1, "nothing")]


@pytest.mark.parametrize("is_refused", [True, False])
async def test_who_leaves_when_nothing_was_held_has_nothing_to_give_back(is_refused: bool) -> None:
    async with desk() as at:
        at.state.may_go_on.clear()
        if is_refused:
            at.state.answer = LedgerAnswer(0, (TODAY,), "too dear")
        else:
            at.state.error = StoreUnavailable("its disk is full")
        async with asyncio.TaskGroup() as group:
            asker = group.create_task(at.billing.book(BOOKING))
            await at.state.begun.wait()
            asker.cancel()
        at.state.may_go_on.set()
    assert at.written == ([BOOKING] if is_refused else [])


async def test_a_cost_is_written_though_its_asker_leaves_meanwhile() -> None:
    async with desk() as at:
        at.state.may_go_on.clear()
        async with asyncio.TaskGroup() as group:
            asker = group.create_task(at.billing.settle(COST))
            await at.state.begun.wait()
            asker.cancel()
        assert asker.cancelled()
        at.state.may_go_on.set()
    assert at.written == [COST]
    assert at.billing.accounts() == (TODAY,)


async def test_a_settlement_tells_news_and_only_todays_totals() -> None:
    async with desk() as at:
        at.state.answer = LedgerAnswer(1, (replace(TODAY, period="2026-11-19"),), news=(NEWS,))
        await at.billing.settle(COST)
        assert at.news == [NEWS]
        assert at.billing.accounts() == ()
        at.state.answer = LedgerAnswer(1, (TODAY,))
        await at.billing.settle(COST)
        assert at.billing.accounts() == (TODAY,)
        at.state.answer = LedgerAnswer(1, (replace(TODAY, period="2026-11-19"),))
        await at.billing.settle(COST)
        assert at.billing.accounts() == (TODAY,)
        assert at.news == [NEWS]


async def test_a_cost_that_cannot_be_written_is_written_before_anything_is_booked() -> None:
    async with desk() as at:
        at.state.error = StoreUnavailable("its disk is full")
        await at.billing.settle(COST)
        with pytest.raises(Unavailable, match=r"^Nothing may be spent.*its disk is full") as raised:
            await at.billing.book(BOOKING)
        assert raised.value.kind is FailureKind.BUDGET
        assert at.written == []
        at.state.error = None
        await at.billing.book(BOOKING)
        await at.billing.catch_up()
        assert at.written == [COST, BOOKING]


async def test_a_ledger_that_cannot_be_written_ends_no_other_write() -> None:
    async with desk() as at:
        at.state.error = StoreUnavailable("its disk is full")
        with pytest.raises(Unavailable, match="its disk is full"):
            await at.billing.book(BOOKING)
        at.state.error = None
        await at.billing.settle(COST)
        assert at.written == [COST]


async def test_without_the_days_totals_advice_just_knows_less() -> None:
    async with desk() as at:
        at.state.error = StoreUnavailable("its disk is full")
        await at.billing.refresh(())
        assert at.billing.accounts() == ()
        at.state.error = None
        await at.billing.refresh(())
        assert at.billing.accounts() == (TODAY,)
