"""What is told of providers, and which of several keys goes first; over no socket."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from cloud_house import asking
from virtual_time import play

from bot.cloud.billing import Ledger
from bot.cloud.prices import LookUp, Prices
from bot.cloud.providers import Providers
from bot.domain.chat import Endpoint, InferenceRequest, Usage
from bot.domain.cloud import (
    Account,
    AnswerRoom,
    Booking,
    LedgerAnswer,
    Price,
    ProviderConfig,
    Settlement,
)
from bot.domain.errors import Bug, FailureKind, Unavailable
from bot.domain.events import Delta, StreamEnd, TextDelta
from bot.domain.ids import ModelKey, ProviderName, TurnId
from bot.policy.dialects import THINKING_ROOM
from bot.policy.pricing import PLAN, flat_price, likely_cost, worst_cost
from bot.policy.provider_health import Outage

ZAI, ACME = ProviderName("zai"), ProviderName("acme")
PRICE = flat_price(600_000, 2_200_000)
CONFIG = ProviderConfig(ZAI, "http://x.invalid", ModelKey("glm-4.6"), price=PRICE)
TODAY = "2026-11-20"
OUT = Outage(FailureKind.AUTH, "Its key is wrong.")
UNKNOWN = replace(PRICE, is_known=False)


@dataclass
class Sky:
    """A ledger and streams in memory."""

    held: tuple[Account, ...] = ()
    today: str = TODAY
    reads: int = 0
    settle_s: float = 0.0
    settled: list[Settlement] = field(default_factory=list[Settlement])

    @asynccontextmanager
    async def open_stream(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        yield self._deltas()

    async def _deltas(self) -> AsyncIterator[Delta]:
        yield TextDelta("Well.")
        yield StreamEnd("stop", Usage(1, 1), "m")

    async def book(self, booking: Booking) -> LedgerAnswer:
        return LedgerAnswer(1, ())

    async def settle(self, settlement: Settlement) -> LedgerAnswer:
        await asyncio.sleep(self.settle_s)
        self.settled.append(settlement)
        return LedgerAnswer(1, ())

    async def accounts(self, names: Sequence[ProviderName]) -> tuple[Account, ...]:
        self.reads += 1
        return self.held

    def providers(self, *configs: ProviderConfig) -> Providers:
        return Providers(
            configs,
            ledger=Ledger(self.book, self.settle, self.accounts, lambda: self.today),
            open_stream=self.open_stream,
            observe=lambda _: None,
            utcnow=lambda: datetime(2026, 11, 20, tzinfo=UTC),
            draw=lambda: 0.5,
            salt="salt",
        )


def twins(**changes: object) -> tuple[ProviderConfig, ...]:
    return tuple(replace(CONFIG, deployment=n, **changes) for n in (1, 2))


def listed(
    monkeypatch: pytest.MonkeyPatch, price: Price | None, window: int | None = None
) -> list[str]:
    """The tables, as they would be loaded; gives when they were."""
    loads: list[str] = []

    def load() -> LookUp:
        loads.append("loaded")
        return lambda config, at: (price, window)  # pyright: ignore[reportReturnType]  # also what no table says

    monkeypatch.setattr("bot.cloud.prices._load", load)
    return loads


# --- coming and going -------------------------------------------------------------------------


def test_leaving_waits_until_the_last_cost_is_written() -> None:
    async def scene() -> list[Settlement]:
        sky = Sky(settle_s=7.0)
        async with sky.providers(CONFIG) as providers:
            (deployment,) = providers.deployments(ZAI)
            with pytest.raises(ZeroDivisionError):
                async with providers.call(deployment, asking(TurnId("t"), "Why?")):
                    raise ZeroDivisionError
            assert not sky.settled
        return sky.settled

    assert len(play(scene())) == 1


def test_who_names_no_end_waits_as_long_as_the_settings_say() -> None:
    async def scene() -> float:
        async with Sky().providers(replace(CONFIG, max_concurrent=1, max_wait_s=9.0)) as providers:
            (deployment,) = providers.deployments(ZAI)
            async with providers.call(deployment, asking(TurnId("a"), "Why?")):
                with pytest.raises(Unavailable, match="busy"):
                    async with providers.call(deployment, asking(TurnId("b"), "Why?")):
                        raise AssertionError
        return asyncio.get_running_loop().time()

    assert play(scene()) == 9.0


async def test_tables_are_loaded_where_any_price_is_not_said_and_by_whoever_asks_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads = listed(monkeypatch, PRICE)
    dear = replace(CONFIG, name=ACME, price=None)
    async with Sky().providers(CONFIG) as providers:
        await providers.prepare()
        assert not loads
    async with Sky().providers(CONFIG, dear) as providers:
        await providers.prepare()
        assert loads == ["loaded"]
    async with Sky().providers(dear) as providers:
        (deployment,) = providers.deployments(ACME)
        async with providers.call(deployment, asking(TurnId("t"), "Why?")) as call:
            assert call.price == PRICE
    assert loads == ["loaded"] * 2


async def test_nothing_is_sent_without_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load(_: Prices) -> None:
        """Nothing is there to be loaded."""

    monkeypatch.setattr(Prices, "load", load)
    async with Sky().providers(replace(CONFIG, price=None)) as providers:
        (deployment,) = providers.deployments(ZAI)
        with pytest.raises(Bug, match="no price"):
            async with providers.call(deployment, asking(TurnId("t"), "Why?")):
                raise AssertionError


async def test_what_is_spent_is_read_once_a_day_and_by_nobody_without_a_cloud() -> None:
    sky = Sky((Account(TODAY, 5),))
    async with sky.providers(CONFIG) as providers:
        for _ in range(2):
            await providers.prepare()
        assert sky.reads == 1
        sky.today = "2026-11-21"
        await providers.prepare()
        assert sky.reads == 2
    async with (alone := Sky()).providers() as providers:
        await providers.prepare()
    assert alone.reads == 0


# --- what routing is told ---------------------------------------------------------------------


async def test_a_snapshot_says_what_the_settings_the_prices_and_the_ledger_say() -> None:
    said = replace(
        CONFIG,
        quality=8,
        vision=True,
        context_length=1000,
        thinking="auto",
        model=ModelKey("glm-4.7"),
    )
    async with Sky().providers(said) as providers:
        (seen,) = providers.snapshots(100, 50, 0.0)
    assert (seen.name, seen.model, seen.is_serving, seen.reason) == (ZAI, "glm-4.7", True, "")
    assert (seen.quality, seen.vision, seen.context_length) == (8, True, 1000)
    assert seen.cost_micro_usd == worst_cost(PRICE, 100, 50 + THINKING_ROOM)
    assert seen.likely_micro_usd == likely_cost(PRICE, 100, 50)
    assert (seen.has_plan, seen.brief) == (False, "not available")


@pytest.mark.parametrize(
    ("configured", "asked", "room"),
    [
        (None, None, 50),
        (900, None, 900),
        (None, AnswerRoom(4096), 4096),
        (900, AnswerRoom(4096), 900),
        (900, AnswerRoom(4096, is_set=True), 4096),
    ],
)
async def test_the_most_is_told_for_the_room_that_is_held(
    configured: int | None, asked: AnswerRoom | None, room: int
) -> None:
    async with Sky().providers(replace(CONFIG, max_tokens=configured)) as providers:
        (seen,) = providers.snapshots(100, 50, 0.0, asked)
    assert seen.cost_micro_usd == worst_cost(PRICE, 100, room)
    assert seen.likely_micro_usd == likely_cost(PRICE, 100, 50)


@pytest.mark.parametrize(
    ("price", "cost", "has_plan"),
    [(UNKNOWN, None, False), (replace(Price(), source=PLAN), 0, True), (Price(), 0, False)],
)
async def test_no_route_is_compared_by_a_price_that_stands_in(
    price: Price, cost: int | None, *, has_plan: bool
) -> None:
    async with Sky().providers(replace(CONFIG, price=price)) as providers:
        (seen,) = providers.snapshots(100, 50, 0.0)
    assert (seen.cost_micro_usd, seen.likely_micro_usd) == (cost, cost)
    assert seen.has_plan is has_plan


async def test_before_tables_are_loaded_nothing_is_known_of_a_price() -> None:
    async with Sky().providers(replace(CONFIG, price=None)) as providers:
        (seen,) = providers.snapshots(100, 50, 0.0)
    assert (seen.cost_micro_usd, seen.likely_micro_usd, seen.has_plan) == (None, None, False)


async def test_a_day_that_cannot_pay_is_said_with_what_it_would_cost() -> None:
    sky = Sky((Account(TODAY, spent_micro_usd=9_999_990, cap_micro_usd=10_000_000),))
    async with sky.providers(CONFIG) as providers:
        await providers.prepare()
        (seen,) = providers.snapshots(1_000, 1_000, 0.0)
        assert not seen.is_serving
        worst = worst_cost(PRICE, 1_000, 1_000) / 1e6
        left = "the daily budget of $10.00 has only $0.000010 left"
        assert seen.reason == f"it may cost up to ${worst:.4f}; {left}"
        assert seen.brief == "over everybody's budget"
        # Out for its key, that is what is said: another day mends nothing.
        (deployment,) = providers.deployments(ZAI)
        deployment.health = replace(deployment.health, outage=OUT)
        (seen,) = providers.snapshots(1_000, 1_000, 0.0)
        assert (seen.reason, seen.brief) == ("Its key is wrong.", "not available")


async def test_those_that_may_be_asked_speak_for_their_provider() -> None:
    first, second = twins()
    async with Sky().providers(first, replace(second, quality=9)) as providers:
        one, two = providers.deployments(ZAI)
        one.first_token_s, two.first_token_s = 1.0, 2.0
        (seen,) = providers.snapshots(1, 1, 0.0)
        assert (seen.quality, seen.first_token_s) == (5, 1.0)
        one.health = replace(one.health, outage=OUT)
        (seen,) = providers.snapshots(1, 1, 0.0)
        assert (seen.is_serving, seen.quality, seen.first_token_s) == (True, 9, 2.0)
        two.health = replace(two.health, outage=OUT)
        (seen,) = providers.snapshots(1, 1, 0.0)
        assert not seen.is_serving
        assert seen.reason == "zai/1: Its key is wrong. zai/2: Its key is wrong."


# --- what people are told ---------------------------------------------------------------------


async def test_a_standing_tells_of_all_keys_and_what_their_provider_was_paid() -> None:
    paid = Account(TODAY, 5, 0, None, "provider", ZAI)
    sky = Sky((Account(TODAY, 7), paid, Account(TODAY, 3, 0, None, "provider", ACME)))
    async with sky.providers(*twins(max_concurrent=1), replace(CONFIG, name=ACME)) as providers:
        one, two = providers.deployments(ZAI)
        now = asyncio.get_running_loop().time()
        one.health = replace(one.health, wait_until=now + 60)
        two.health = replace(two.health, wait_until=now + 30)
        async with asyncio.TaskGroup() as waiting:
            for each, times in ((one, 2), (two, 3)):
                for number in range(times):
                    place = each.gate.enter(f"{number}", now + 60, _unheard)
                    waiting.create_task(place)
            await asyncio.sleep(0)
            zai, acme = await providers.standings()
            for each, times in ((one, 2), (two, 3)):
                for number in range(times):
                    each.gate.leave(f"{number}")
        assert (zai.name, zai.running, zai.waiting) == (ZAI, 2, 3)
        assert 29 < zai.limited_s <= 30
        assert zai.accounts == (paid,)
        assert [d.name for d in zai.deployments] == ["zai/1", "zai/2"]
        assert (acme.name, acme.deployments) == (ACME, ())


async def _unheard(place: int) -> None:
    """Nobody hears of a place."""


@pytest.mark.parametrize(
    ("prices", "found"),
    [
        ((), None),
        ((UNKNOWN,), None),
        ((replace(Price(), source=PLAN),), None),
        ((PRICE, flat_price(1, 1)), "p1"),
        ((PRICE, UNKNOWN, replace(Price(), source=PLAN)), "p0"),
        ((None, PRICE), "p1"),
        # Alike: by name, and no two prices are compared.
        ((flat_price(2, 2), flat_price(2, 2)), "p0"),
    ],
)
async def test_what_home_saved_is_reckoned_by_the_cheapest_known_price(
    monkeypatch: pytest.MonkeyPatch, prices: tuple[Price | None, ...], found: str | None
) -> None:
    listed(monkeypatch, None)
    configs = [
        replace(CONFIG, name=ProviderName(f"p{n}"), price=price) for n, price in enumerate(prices)
    ]
    async with Sky().providers(*configs) as providers:
        cheapest = await providers.cheapest()
    assert (cheapest and cheapest[0]) == found


# --- repeats ----------------------------------------------------------------------------------

REPEATS: list[tuple[Callable[[Providers], object], int]] = [
    (lambda providers: None, 3),
    # A fifth of a minute's questions.
    (lambda providers: [providers.count_first() for _ in range(25)], 5),
]


@pytest.mark.parametrize(("before", "allowed"), REPEATS)
async def test_repeats_are_taken_where_they_are_allowed(
    before: Callable[[Providers], object], allowed: int
) -> None:
    async with Sky().providers(CONFIG) as providers:
        before(providers)
        assert [providers.take_repeat(ZAI) for _ in range(allowed + 1)] == [True] * allowed + [
            False
        ]


async def test_a_provider_is_repeated_as_long_as_one_key_is_in_service() -> None:
    async with Sky().providers(*twins()) as providers:
        one, two = providers.deployments(ZAI)
        one.health = replace(one.health, outage=OUT)
        assert providers.take_repeat(ZAI)
        two.health = replace(two.health, outage=OUT)
        assert not providers.take_repeat(ZAI)
