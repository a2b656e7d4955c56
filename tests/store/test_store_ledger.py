import asyncio
import math
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from clocks import WallClock
from databases import new_database
from histories import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from store_values import SAGE, new_turn

from bot.domain.chat import Receipt, Timing, Usage
from bot.domain.cloud import (
    Account,
    Booking,
    BudgetNews,
    FreeTurn,
    HourLine,
    Payer,
    PriceStep,
    Settlement,
    UsageLine,
)
from bot.domain.ids import ModelKey, PlaceId, ProviderName, TurnId
from bot.policy.budget import BudgetRules
from bot.policy.periods import Period
from bot.policy.pricing import PLAN, flat_price
from bot.store.database import Database
from bot.store.ledger import LedgerStore
from bot.store.turns import TurnStore

ZAI = ProviderName("zai")
GLM = ModelKey("glm-4.6")
PRICE = flat_price(600_000, 2_200_000, 110_000)
TODAY = Period("2026-11-20", "2026-11-20")
BOOKING = Booking(TurnId("a"), ZAI, GLM, 500, PRICE, "ada", PlaceId("s1"))
USAGE = Usage(100, 50, cached_tokens=10, reasoning_tokens=5)


def ledger_of(
    database: Database, rules: BudgetRules | None = None, zone: tzinfo = UTC
) -> LedgerStore:
    return LedgerStore(database, rules or BudgetRules(), zone)


@pytest.fixture
def ledger(database: Database) -> LedgerStore:
    return ledger_of(database)


async def booked(ledger: LedgerStore, booking: Booking = BOOKING) -> int:
    answer = await ledger.book(booking)
    assert not answer.refusal
    return answer.number


async def account(database: Database, payer: Payer, name: str = "") -> tuple[int, int]:
    """What an account has spent and holds, of all days."""
    query = (
        "SELECT total(spent), total(reserved) FROM account "
        "WHERE payer = ? AND name = ? AND length(period) = 10"
    )
    (row,) = await database.fetch(query, (payer, name))
    return int(row[0]), int(row[1])


async def line(ledger: LedgerStore, period: Period = TODAY, **who: str) -> UsageLine:
    lines = await ledger.report(period, user=who.get("user"))
    return lines[0] if lines else UsageLine("")


def settled(number: int, cost: int = 300) -> Settlement:
    return Settlement(
        number,
        "usage",
        cost,
        USAGE,
        PRICE.steps[0],
        is_answer=True,
        first_token_s=0.5,
        generation_s=2.0,
    )


async def test_a_booking_holds_money_until_it_is_settled(ledger: LedgerStore) -> None:
    number = await booked(ledger)
    assert (await ledger.accounts())[0].reserved_micro_usd == 500

    today = (await ledger.settle(settled(number))).accounts[0]

    assert (today.spent_micro_usd, today.reserved_micro_usd) == (300, 0)
    assert today == (await ledger.accounts())[0]


async def test_a_released_booking_costs_nothing(ledger: LedgerStore) -> None:
    await ledger.settle(Settlement(await booked(ledger), "nothing"))

    totals = (await ledger.accounts())[0]
    assert (totals.spent_micro_usd, totals.reserved_micro_usd) == (0, 0)
    assert (await line(ledger)).cloud_calls == 0


async def test_settling_twice_changes_nothing(ledger: LedgerStore) -> None:
    number = await booked(ledger)
    await ledger.settle(settled(number))
    await ledger.settle(settled(number, 9_999))
    await ledger.settle(Settlement(number, "nothing"))

    assert (await ledger.accounts())[0].spent_micro_usd == 300


@pytest.mark.parametrize(
    ("rules", "words", "brief"),
    [
        (BudgetRules(daily_micro_usd=999), "the daily budget", "everybody's budget"),
        (BudgetRules(per_server_micro_usd=999), "this server's daily budget", "server's budget"),
        (BudgetRules(per_user_micro_usd=999), "your own daily budget", "the asker's budget"),
    ],
)
async def test_what_would_pass_a_limit_is_declined(
    database: Database, rules: BudgetRules, words: str, brief: str
) -> None:
    ledger = ledger_of(database, rules)
    await booked(ledger)

    answer = await ledger.book(BOOKING)

    assert answer.number == 0
    assert words in answer.refusal
    assert brief in answer.brief
    assert (await ledger.accounts())[0].reserved_micro_usd == 500


async def test_a_refusal_tells_when_the_day_is_over_and_only_what_all_share(
    database: Database,
) -> None:
    ledger = ledger_of(database, BudgetRules(per_server_micro_usd=1000))
    answer = await ledger.book(BOOKING)
    assert {account.payer for account in answer.accounts} == {"all", "provider"}
    # A key may have a limit of its own.
    for more in ({"daily_micro_usd": 999}, {"worst_micro_usd": 501}):
        answer = await ledger.book(replace(BOOKING, **more))
        assert answer.refusal
        assert answer.renews_in_s == 13 * 3600 + 45 * 60
        assert {account.payer for account in answer.accounts} == {"all", "provider"}


async def test_what_is_held_alone_is_told_as_such_and_no_news(database: Database) -> None:
    ledger = ledger_of(database, BudgetRules(daily_micro_usd=1000))
    large = replace(BOOKING, worst_micro_usd=600)
    number = await booked(ledger, large)
    held = await ledger.book(large)
    assert held.refusal
    assert (held.is_held, held.news) == (True, ())
    await ledger.settle(settled(number, 600))
    spent = await ledger.book(large)
    assert not spent.is_held
    assert spent.news == (BudgetNews("spent", Account("2026-11-20", 600, 0, 1000)),)


async def test_what_no_day_can_pay_is_never_paid_again(database: Database) -> None:
    ledger = ledger_of(database, BudgetRules(daily_micro_usd=1000))
    await booked(ledger)
    told = [
        (await ledger.book(replace(BOOKING, worst_micro_usd=worst))).renews_in_s
        for worst in (1000, 1001)
    ]
    assert told == [13 * 3600 + 45 * 60, math.inf]


async def test_a_refusal_tells_how_long_an_answer_what_is_left_can_pay(database: Database) -> None:
    ledger = ledger_of(database, BudgetRules(daily_micro_usd=1000))
    # Ten tokens of an answer for a micro-dollar, and nothing for the prompt.
    cheap = replace(
        BOOKING, price=flat_price(0, 100_000, 0), worst_micro_usd=600, answer_tokens=6_000
    )
    await booked(ledger, cheap)
    assert "an answer of 4,000 tokens" in (await ledger.book(cheap)).refusal
    await booked(ledger, replace(cheap, worst_micro_usd=400))
    spent = (await ledger.book(cheap)).refusal
    assert spent
    assert "an answer of" not in spent


async def test_limits_are_kept_apart_by_server_and_person(database: Database) -> None:
    ledger = ledger_of(database, BudgetRules(per_server_micro_usd=500, per_user_micro_usd=500))
    await booked(ledger)

    other = replace(BOOKING, user="bob", server=PlaceId("s2"))
    assert (await ledger.book(replace(other, server=PlaceId("s1")))).refusal
    assert (await ledger.book(replace(other, user="ada"))).refusal
    assert not (await ledger.book(other)).refusal
    assert await account(database, "server", "s2") == (0, 500)
    assert await account(database, "user", "bob") == (0, 500)
    assert await account(database, "all") == (0, 1000)


async def test_only_the_first_refusal_of_a_day_is_news(
    database: Database, clock: WallClock
) -> None:
    ledger = ledger_of(database, BudgetRules(daily_micro_usd=400))
    first, second = [await ledger.book(BOOKING) for _ in range(2)]
    clock.advance(86_400)
    third = await ledger.book(BOOKING)

    assert all(answer.refusal for answer in (first, second, third))
    assert [answer.news for answer in (first, second, third)] == [
        (BudgetNews("spent", Account("2026-11-20", 0, 0, 400)),),
        (),
        (BudgetNews("spent", Account("2026-11-21", 0, 0, 400)),),
    ]


async def test_a_persons_own_limit_is_no_news(database: Database) -> None:
    ledger = ledger_of(database, BudgetRules(per_user_micro_usd=400))
    answer = await ledger.book(BOOKING)
    assert answer.refusal
    assert answer.news == ()


async def test_the_alert_is_due_once_a_day(database: Database, clock: WallClock) -> None:
    ledger = ledger_of(database, BudgetRules(daily_micro_usd=1000, alert_at=0.6))
    due = [
        (await ledger.settle(settled(await booked(ledger, replace(BOOKING, worst_micro_usd=300)))))
        for _ in range(3)
    ]
    assert [s.news for s in due] == [
        (),
        (BudgetNews("alert", Account("2026-11-20", 600, 0, 1000)),),
        (),
    ]

    clock.advance(86_400)
    more = [
        (await ledger.settle(settled(await booked(ledger, replace(BOOKING, worst_micro_usd=300)))))
        for _ in range(2)
    ]
    assert [s.news for s in more] == [
        (),
        (BudgetNews("alert", Account("2026-11-21", 600, 0, 1000)),),
    ]


async def test_what_a_killed_lantern_left_open_is_charged_whole(ledger: LedgerStore) -> None:
    done, cut = await booked(ledger), await booked(ledger)
    await ledger.settle(settled(done))

    assert await ledger.charge_open() == 1
    assert await ledger.charge_open() == 0

    totals = (await ledger.accounts())[0]
    assert (totals.spent_micro_usd, totals.reserved_micro_usd) == (800, 0)
    assert (await line(ledger)).assumed_micro_usd == 500
    assert cut > done


async def test_an_assumed_charge_gives_way_to_the_truth(ledger: LedgerStore) -> None:
    number = await booked(ledger)
    await ledger.charge_open()
    await ledger.settle(settled(number))

    totals = (await ledger.accounts())[0]
    assert (totals.spent_micro_usd, totals.reserved_micro_usd) == (300, 0)


@pytest.mark.parametrize(
    ("zone", "day"), [("UTC", "2026-11-20"), ("Pacific/Auckland", "2026-11-21")]
)
async def test_the_day_begins_where_the_owner_lives(
    database: Database, zone: str, day: str, clock: WallClock
) -> None:
    clock.now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    ledger = ledger_of(database, zone=ZoneInfo(zone))
    await booked(ledger)
    assert ledger.today() == (await ledger.accounts())[0].period == day
    assert (await ledger.accounts())[0].reserved_micro_usd == 500


async def test_a_call_over_midnight_belongs_to_the_day_it_was_booked_on(
    ledger: LedgerStore, clock: WallClock
) -> None:
    clock.now = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)
    number = await booked(ledger)
    clock.advance(2)
    assert (await ledger.accounts())[0].spent_micro_usd == 0

    settled_ = await ledger.settle(settled(number))

    assert settled_.accounts[0].period == "2026-11-20"
    assert settled_.accounts[0].spent_micro_usd == 300
    assert (await ledger.accounts())[0].period == "2026-11-21"
    assert (await ledger.accounts())[0].spent_micro_usd == 0


async def test_a_clock_set_back_over_midnight_resets_no_day_twice(
    database: Database, clock: WallClock
) -> None:
    ledger = ledger_of(database, BudgetRules(daily_micro_usd=500))
    clock.now = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
    await ledger.settle(settled(await booked(ledger), 500))
    clock.advance(3600)
    await ledger.settle(settled(await booked(ledger), 500))
    clock.advance(-3600)
    assert (await ledger.book(BOOKING)).refusal
    clock.advance(3600)
    assert (await ledger.book(BOOKING)).refusal


@pytest.mark.parametrize(
    ("midnight", "hours"),
    [(datetime(2026, 3, 28, 23, tzinfo=UTC), 23), (datetime(2026, 10, 24, 22, tzinfo=UTC), 25)],
)
async def test_days_of_23_and_25_hours_are_one_day_each(
    database: Database, clock: WallClock, midnight: datetime, hours: int
) -> None:
    ledger = ledger_of(database, zone=ZoneInfo("Europe/Berlin"))
    days: list[str] = []
    for hour in range(-1, hours + 1):
        clock.now = midnight + timedelta(hours=hour)
        await ledger.settle(settled(await booked(ledger), 1))
        days.append(ledger.today())

    lines = await ledger.report(Period("2026-01-01", "2026-12-31"), "day")
    assert [(one.name, one.cost_micro_usd) for one in lines] == [
        (days[0], 1),
        (days[1], hours),
        (days[-1], 1),
    ]


async def test_a_turns_end_brings_its_line_once(ledger: LedgerStore, database: Database) -> None:
    turns, free = TurnStore(database), FreeTurn(TurnId("b"), "local", "studio", GLM, Usage(40, 20))
    await turns.begin(new_turn("b"))
    for _ in range(2):
        await turns.finish(TurnId("b"), "done", "Yes.", "", Receipt(SAGE), ledger.free_line(free))
    assert (await line(ledger)).local_turns == 1


async def test_a_count_beyond_any_integer_takes_no_end_with_it(
    ledger: LedgerStore, database: Database
) -> None:
    turns, usage = TurnStore(database), Usage(10**30, 10**30)
    free = FreeTurn(TurnId("b"), "local", "studio", GLM, usage)
    await turns.begin(new_turn("b"))
    await turns.finish(TurnId("b"), "done", "Yes.", "", Receipt(SAGE), ledger.free_line(free))
    stored = await turns.get(TurnId("b"))
    assert stored is not None
    assert stored.reply_text == "Yes."
    assert (await line(ledger)).prompt_tokens == 2**40


async def test_no_speed_is_told_by_what_a_provider_did_not_count(ledger: LedgerStore) -> None:
    free = FreeTurn(TurnId("b"), "local", "studio", ModelKey("qwen"), Usage(40, 20), "bob")
    ledger.note_free(ledger.free_line(replace(free, generation_s=1.0)))
    told = settled(await booked(ledger))
    counted = replace(told.usage, completion_tokens=900, estimated=True)
    await ledger.settle(replace(told, basis="counted", usage=counted))
    found = await line(ledger)
    assert found.tokens_per_s == pytest.approx(20.0)
    assert found.completion_tokens == 920


async def test_a_report_adds_turns_up_by_any_of_their_sides(ledger: LedgerStore) -> None:
    await ledger.settle(settled(await booked(ledger)))
    await booked(ledger, replace(BOOKING, user="bob"))
    free = FreeTurn(TurnId("b"), "local", "studio", ModelKey("qwen"), Usage(40, 20), "bob")
    ledger.note_free(ledger.free_line(replace(free, generation_s=1.0)))
    ledger.note_free(ledger.free_line(replace(free, source="cache", usage=Usage(7, 3))))

    found = await line(ledger)
    assert found.tokens_per_s == pytest.approx(70 / 3)
    assert replace(found, tokens_per_s=None) == UsageLine(
        "",
        cloud_calls=1,
        cloud_answers=1,
        local_turns=1,
        cached_turns=1,
        prompt_tokens=140,
        completion_tokens=70,
        cost_micro_usd=300,
        reserved_micro_usd=500,
        free_prompt_tokens=47,
        free_completion_tokens=23,
    )
    names = {
        by: [one.name for one in await ledger.report(TODAY, by)]
        for by in ("user", "server", "model", "answered_by")
    }
    assert names == {
        "user": ["ada", "bob"],
        "server": ["s1", ""],
        "model": ["glm-4.6", "qwen"],
        "answered_by": ["zai", "studio"],
    }
    assert (await line(ledger, user="ada")).local_turns == 0
    assert await ledger.report(TODAY, "user", server=PlaceId("s1"), user="eve") == ()
    assert await ledger.report(Period("2026-11-21", "2026-11-21")) == ()


@pytest.mark.parametrize(("estimated", "basis"), [(False, "usage"), (True, "counted")])
async def test_a_free_turn_is_a_row_like_any_other(
    ledger: LedgerStore, database: Database, clock: WallClock, estimated: bool, basis: str
) -> None:
    usage = replace(USAGE, estimated=estimated)
    free = FreeTurn(TurnId("b"), "local", "studio", GLM, usage, "bob", None, 0.625, 2)
    ledger.note_free(ledger.free_line(free))
    await database.noted()
    (row,) = await database.fetch("SELECT * FROM ledger")
    now_ms = round(clock.now.timestamp() * 1000)
    assert dict(row) | {"number": 1} == {
        "number": 1,
        "turn": "b",
        "source": "local",
        "state": "settled",
        "basis": basis,
        "is_answer": 1,
        "answered_by": "studio",
        "model": "glm-4.6",
        "server": "",
        "user": "bob",
        "day": "2026-11-20",
        "at_ms": now_ms,
        "ended_at_ms": now_ms,
        "prompt_tokens": 100,
        "cached_tokens": 10,
        "completion_tokens": 50,
        "reasoning_tokens": 5,
        "input_price": 0,
        "cached_price": 0,
        "output_price": 0,
        "price_source": "",
        "price_as_of": "",
        "price_known": 1,
        "reserved_micro_usd": 0,
        "cost_micro_usd": 0,
        "first_token_ms": 625,
        "generation_ms": 2000,
    }


async def test_until_it_is_settled_a_row_tells_the_dearest_prices(
    ledger: LedgerStore, database: Database
) -> None:
    steps = (PriceStep(1, 9, 3), PriceStep(5, 2, 4, above_tokens=100))
    number = await booked(ledger, replace(BOOKING, price=replace(PRICE, steps=steps)))
    query = "SELECT number, input_price, output_price, cached_price, first_token_ms FROM ledger"
    (row,) = await database.fetch(query)
    assert tuple(row) == (number, 5, 9, 4, None)


async def test_a_budget_of_nothing_is_spent_from_the_start(database: Database) -> None:
    answer = await ledger_of(database, BudgetRules(daily_micro_usd=0)).book(BOOKING)
    assert answer.news == (BudgetNews("spent", Account("2026-11-20", 0, 0, 0)),)


async def test_a_price_nobody_knows_is_marked(ledger: LedgerStore) -> None:
    stand_in = replace(PRICE, is_known=False, source="dearest of zai", as_of="2026-11-20")
    await ledger.settle(settled(await booked(ledger, replace(BOOKING, price=stand_in))))
    assert (await line(ledger)).unknown_price_calls == 1


async def test_a_plans_calls_are_told_apart(ledger: LedgerStore) -> None:
    plan = flat_price(0, 0, source=PLAN)
    number = await booked(ledger, replace(BOOKING, worst_micro_usd=0, price=plan))
    await ledger.settle(settled(number, 0))
    await ledger.settle(settled(await booked(ledger)))
    found = await line(ledger)
    assert (found.plan_calls, found.cloud_calls) == (1, 2)


async def test_a_row_keeps_the_prices_it_was_charged_by(
    ledger: LedgerStore, database: Database
) -> None:
    number = await booked(ledger)
    step = PriceStep(1, 2, 3)
    await ledger.settle(replace(settled(number), step=step))
    query = "SELECT input_price, output_price, cached_price, price_source FROM ledger"
    row = await database.read(lambda c: tuple(c.execute(query).fetchone()))
    assert row == (1, 2, 3, "config")


@given(
    costs=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=12),
    cap=st.integers(0, 2000),
)
@examples(15)
async def test_bookings_at_once_never_pass_the_limit_together(
    tmp_path_factory: pytest.TempPathFactory, costs: list[tuple[int, int]], cap: int
) -> None:
    path = new_database(tmp_path_factory.mktemp("ledger") / "lantern.db")
    async with Database(path, utcnow=WallClock()) as database:
        ledger = ledger_of(database, BudgetRules(daily_micro_usd=cap))

        async def spend(worst: int, share: int) -> None:
            answer = await ledger.book(replace(BOOKING, worst_micro_usd=worst))
            today = answer.accounts[0]
            assert today.spent_micro_usd + today.reserved_micro_usd <= cap
            if not answer.refusal:
                await ledger.settle(settled(answer.number, min(worst, share)))

        async with asyncio.TaskGroup() as group:
            for worst, share in costs:
                group.create_task(spend(worst, share))
        totals = (await ledger.accounts())[0]
        assert totals.spent_micro_usd <= cap
        assert totals.reserved_micro_usd == 0


_MOVES = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 400), st.integers(0, 400)), max_size=40
)
_CAPS = st.lists(st.none() | st.integers(200, 1200), min_size=6, max_size=6)


@pytest.mark.slow
@given(_MOVES, _CAPS)
@examples(15)
async def test_in_no_order_of_calls_is_any_limit_passed(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, int]],
    caps: list[int | None],
) -> None:
    """Four calls at once, begun and ended in any order, against the limits of all who pay."""
    day, month, server, user, providers_day, providers_month = caps
    rules = BudgetRules(
        day,
        server,
        user,
        monthly_micro_usd=month,
        by_provider={ZAI: (providers_day, providers_month)},
    )
    limit = min([cap for cap in caps if cap is not None], default=10**9)
    path = new_database(tmp_path_factory.mktemp("ledger") / "lantern.db")
    async with Database(path, utcnow=WallClock()) as database:
        ledger = ledger_of(database, rules)
        open_calls: dict[str, tuple[int, int]] = {}
        spent = 0
        for call, worst, actual in steps:
            if call in open_calls:
                number, held = open_calls.pop(call)
                await ledger.settle(settled(number, min(actual, held)))
                spent += min(actual, held)
            else:
                answer = await ledger.book(replace(BOOKING, worst_micro_usd=worst))
                fits = spent + sum(held for _, held in open_calls.values()) + worst <= limit
                assert (not answer.refusal) == fits
                if fits:
                    open_calls[call] = (answer.number, worst)
            held = sum(amount for _, amount in open_calls.values())
            found = await ledger.accounts(server=PlaceId("s1"), user="ada", providers=(ZAI,))
            assert len(found) == 6
            assert {(a.spent_micro_usd, a.reserved_micro_usd) for a in found} == {(spent, held)}


@pytest.mark.parametrize(
    ("moment", "zone", "day", "month"),
    [
        (datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), "UTC", "2026-01-31", "2026-01"),
        (datetime(2026, 2, 1, tzinfo=UTC), "UTC", "2026-02-01", "2026-02"),
        (datetime(2026, 1, 31, 23, tzinfo=UTC), "Europe/Berlin", "2026-02-01", "2026-02"),
        (datetime(2026, 2, 1, 4, 59, tzinfo=UTC), "America/New_York", "2026-01-31", "2026-01"),
        (datetime(2028, 2, 29, 23, 30, tzinfo=UTC), "UTC", "2028-02-29", "2028-02"),
        (datetime(2028, 2, 29, 23, 30, tzinfo=UTC), "Asia/Tokyo", "2028-03-01", "2028-03"),
        # March begins in Berlin's winter time and ends in its summer time.
        (datetime(2026, 3, 31, 21, 59, tzinfo=UTC), "Europe/Berlin", "2026-03-31", "2026-03"),
        (datetime(2026, 3, 31, 22, tzinfo=UTC), "Europe/Berlin", "2026-04-01", "2026-04"),
        (datetime(2026, 10, 31, 22, 59, tzinfo=UTC), "Europe/Berlin", "2026-10-31", "2026-10"),
        (datetime(2026, 10, 31, 23, tzinfo=UTC), "Europe/Berlin", "2026-11-01", "2026-11"),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), "UTC", "2026-12-31", "2026-12"),
        (datetime(2027, 1, 1, tzinfo=UTC), "UTC", "2027-01-01", "2027-01"),
    ],
)
async def test_a_month_is_the_one_of_its_day_where_the_owner_lives(
    database: Database, clock: WallClock, moment: datetime, zone: str, day: str, month: str
) -> None:
    clock.now = moment
    ledger = ledger_of(database, zone=ZoneInfo(zone))
    await booked(ledger)
    found = await ledger.accounts(providers=(ZAI,))
    assert [(a.period, a.reserved_micro_usd) for a in found] == [
        (day, 500),
        (month, 500),
        (day, 500),
        (month, 500),
    ]


async def test_a_months_budget_outlasts_its_days_and_ends_with_it(
    database: Database, clock: WallClock
) -> None:
    ledger = ledger_of(database, BudgetRules(monthly_micro_usd=1000))
    clock.now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    await ledger.settle(settled(await booked(ledger), 500))
    clock.advance(86_400)
    await ledger.settle(settled(await booked(ledger), 400))

    refused = await ledger.book(BOOKING)
    assert refused.refusal == "the monthly budget of $0.0010 has only $0.000100 left"
    assert refused.news == (BudgetNews("spent", Account("2026-11", 900, 0, 1000)),)

    clock.advance(86_400)
    assert (await ledger.accounts())[1] == Account("2026-12", cap_micro_usd=1000)
    assert not (await ledger.book(BOOKING)).refusal


async def test_a_providers_own_budget_stops_it_alone_and_is_told_once(database: Database) -> None:
    rules = BudgetRules(by_provider={ZAI: (None, 900)}, alert_at=0.5)
    ledger = ledger_of(database, rules)
    first = await ledger.settle(settled(await booked(ledger), 450))
    again = await ledger.settle(settled(await booked(ledger, replace(BOOKING, worst_micro_usd=1))))
    refused = [await ledger.book(BOOKING) for _ in range(2)]

    (alert,) = first.news
    assert alert == BudgetNews("alert", Account("2026-11", 450, 0, 900, "provider", ZAI))
    assert again.news == ()
    assert refused[0].refusal.startswith("zai's monthly budget of")
    assert [len(answer.news) for answer in refused] == [1, 0]
    other = replace(BOOKING, provider=ProviderName("openai"))
    assert not (await ledger.book(other)).refusal


async def test_a_crash_and_a_release_give_every_account_its_own_back(ledger: LedgerStore) -> None:
    released, cut = await booked(ledger), await booked(ledger)
    await ledger.settle(Settlement(released, "nothing"))
    await ledger.charge_open()
    everyone = await ledger.accounts(server=PlaceId("s1"), user="ada", providers=(ZAI,))
    assert {(a.spent_micro_usd, a.reserved_micro_usd) for a in everyone} == {(500, 0)}

    await ledger.settle(settled(cut, 30))
    everyone = await ledger.accounts(server=PlaceId("s1"), user="ada", providers=(ZAI,))
    assert {(a.spent_micro_usd, a.reserved_micro_usd) for a in everyone} == {(30, 0)}
    assert len(everyone) == 6


async def test_answers_are_counted_and_not_the_tries_for_them(ledger: LedgerStore) -> None:
    for is_answer in (False, True, True):
        number = await booked(ledger)
        await ledger.settle(replace(settled(number), is_answer=is_answer))
    found = await line(ledger)
    assert (found.cloud_calls, found.cloud_answers) == (3, 2)


@pytest.mark.parametrize(
    ("moment", "zone", "day"),
    [
        (datetime(2026, 11, 20, 23, 30, tzinfo=UTC), "UTC", "2026-11-20"),
        (datetime(2026, 11, 20, 23, 30, tzinfo=UTC), "Europe/Berlin", "2026-11-21"),
        (datetime(2026, 11, 20, 4, 30, tzinfo=UTC), "America/New_York", "2026-11-19"),
    ],
)
async def test_a_day_is_the_one_of_the_budgets_time_zone(
    database: Database, clock: WallClock, moment: datetime, zone: str, day: str
) -> None:
    clock.now = moment
    assert ledger_of(database, zone=ZoneInfo(zone)).today() == day


@pytest.mark.parametrize(("start", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
async def test_short_and_long_days_change_once(
    database: Database, clock: WallClock, start: str, hours: int
) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    ledger = ledger_of(database, zone=berlin)
    midnight = datetime.fromisoformat(start).replace(tzinfo=berlin).astimezone(UTC)
    days: list[str] = []
    for quarter in range(hours * 4 + 4):
        clock.now = midnight + timedelta(minutes=15 * quarter)
        days.append(ledger.today())
    assert days.count(start) == hours * 4
    assert days == sorted(days)


async def test_a_new_day_owes_nothing_and_what_is_under_way_stays_the_old_ones(
    database: Database, clock: WallClock
) -> None:
    ledger = ledger_of(database, BudgetRules(daily_micro_usd=1000))
    await ledger.settle(settled(await booked(ledger), 50))
    under_way = await booked(ledger)
    clock.advance(86_400)

    assert await booked(ledger, replace(BOOKING, worst_micro_usd=1000)) > under_way
    assert (await ledger.settle(settled(under_way, 70))).accounts[0].spent_micro_usd == 120
    assert (await ledger.accounts())[0].spent_micro_usd == 0
    assert (await ledger.accounts())[0].reserved_micro_usd == 1000


class LedgerMachine(RuleBasedStateMachine):
    """Any order of bookings, settlings, crashes and days, against a plain account book."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._clock = WallClock()
        self._folder = Path(tempfile.mkdtemp())
        self._database = Database(new_database(self._folder / "lantern.db"), utcnow=self._clock)
        self._runner.run(self._database.__aenter__())
        self._ledger = ledger_of(self._database, BudgetRules(daily_micro_usd=1000))
        self._open: dict[int, tuple[str, int]] = {}
        self._assumed: dict[int, tuple[str, int]] = {}
        self._spent: dict[str, int] = {}

    def teardown(self) -> None:
        self._runner.run(self._database.__aexit__(None, None, None))
        self._runner.close()
        shutil.rmtree(self._folder)

    @rule(target=calls, worst=st.integers(0, 700), user=st.sampled_from(["", "ada"]))
    def book(self, worst: int, user: str) -> int:
        booking = replace(BOOKING, worst_micro_usd=worst, user=user)
        answer = self._runner.run(self._ledger.book(booking))
        day = self._ledger.today()
        held = sum(amount for on, amount in self._open.values() if on == day)
        fits = self._spent.get(day, 0) + held + worst <= 1000
        assert (not answer.refusal) == fits
        if answer.refusal:
            return 0
        self._open[answer.number] = (day, worst)
        return answer.number

    @rule(number=consumes(calls), share=st.floats(0, 1), is_free=st.booleans())
    def settle(self, number: int, share: float, is_free: bool) -> None:
        day, worst = self._open.pop(number, ("", 0))
        if not day:
            day, worst = self._assumed.pop(number, ("", 0))
            if not day:
                return
            self._spent[day] -= worst
        cost = 0 if is_free else int(worst * share)
        settlement = Settlement(number, "nothing") if is_free else settled(number, cost)
        self._runner.run(self._ledger.settle(settlement))
        self._spent[day] = self._spent.get(day, 0) + cost

    @rule()
    def crash(self) -> None:
        assert self._runner.run(self._ledger.charge_open()) == len(self._open)
        for number, (day, worst) in self._open.items():
            self._spent[day] = self._spent.get(day, 0) + worst
            self._assumed[number] = (day, worst)
        self._open.clear()

    @rule(hours=st.integers(-30, 30))
    def time_passes(self, hours: int) -> None:
        self._clock.advance(3600 * hours)

    @invariant()
    def the_sums_are_right(self) -> None:
        accounts = self._runner.run(self._ledger.accounts(providers=(ZAI,)))
        assert len(accounts) == 4
        for account in accounts:
            held = [a for day, a in self._open.values() if day.startswith(account.period)]
            spent = [a for day, a in self._spent.items() if day.startswith(account.period)]
            assert account.spent_micro_usd == sum(spent)
            assert account.reserved_micro_usd == sum(held)
        rows = self._runner.run(self._ledger.report(Period("2000-01-01", "2100-01-01"), "day"))
        assert {row.name: row.cost_micro_usd for row in rows if row.cost_micro_usd} == {
            day: cost for day, cost in self._spent.items() if cost
        }


LedgerMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
test_any_story_keeps_the_books_right = pytest.mark.slow(LedgerMachine.TestCase)


async def test_the_last_day_is_told_by_hours_of_the_clock_with_what_was_waited_for(
    database: Database, clock: WallClock
) -> None:
    ledger, turns = ledger_of(database, zone=ZoneInfo("Asia/Kolkata")), TurnStore(database)
    server = PlaceId("s1")

    async def answered(
        turn: str, where: PlaceId | None = server, load_s: float = 0.0, until_s: float = 0.4
    ) -> None:
        stored = new_turn(turn)
        await turns.begin(stored)
        free = FreeTurn(stored.id, "local", "studio", GLM, USAGE, "ada", where, 0.5, 1.0)
        timing = Timing(1.0, load_s, 0.5, until_asked_s=until_s)
        receipt = Receipt(SAGE, GLM, timing=timing)
        await turns.finish(stored.id, "done", "Hi.", "", receipt, ledger.free_line(free))

    await answered("long ago")
    clock.advance(23 * 3600 + 59 * 60)
    await answered("one")
    # What each spends by Lantern's own work is no wait.
    await answered("two", load_s=3.0, until_s=6.0)
    await answered("elsewhere", PlaceId("s2"))
    # A provider was asked first, and what it was paid for was no answer: nobody waited twice.
    number = await booked(ledger, replace(BOOKING, turn=TurnId("two")))
    await ledger.settle(Settlement(number, "usage", 100, USAGE))
    clock.advance(2 * 3600 + 42.5)
    number = await booked(ledger)
    await ledger.settle(Settlement(number, "usage", 700, USAGE))
    day = await ledger.last_day(server)
    assert len(day.hours) == 24
    # A quarter to six in Kolkata, and 42 seconds and a half.
    assert day.starts_at == datetime(2026, 11, 20, 18, tzinfo=ZoneInfo("Asia/Kolkata"))
    assert [line.nth for line in day.hours] == list(range(24))
    told = {line.nth: line for line in day.hours if line != HourLine(line.nth)}
    assert sorted(told) == [21, 23]
    assert told[21] == HourLine(21, 2, 0, 0, 450, 100, 1.0, 1.5, 0.5, 3.0)
    # A call that was paid and brought no answer.
    assert told[23] == HourLine(23, 0, 0, 0, 150, 700)


def free_turn(
    name: str, model: ModelKey = GLM, user: str = "ada", server: str = "s1", is_kept: bool = False
) -> FreeTurn:
    source = "cache" if is_kept else "local"
    return FreeTurn(TurnId(name), source, "studio", model, USAGE, user, PlaceId(server))


async def test_a_persons_tokens_are_those_of_today_wherever_or_in_one_server(
    ledger: LedgerStore, database: Database, clock: WallClock
) -> None:
    for turn in (
        free_turn("yesterday's"),
        free_turn("one"),
        free_turn("two", server="s2"),
        free_turn("kept", is_kept=True),
        free_turn("bob's", user="bob"),
    ):
        ledger.note_free(ledger.free_line(turn))
        clock.advance(86_400 if turn.turn == "yesterday's" else 0)
    await database.noted()
    left_s = 13 * 3600 + 45 * 60
    assert await ledger.tokens_today("ada") == (300, left_s)
    assert await ledger.tokens_today("ada", PlaceId("s1")) == (150, left_s)
    assert await ledger.tokens_today("eve") == (0, left_s)


async def test_what_hosts_were_asked_is_told_once_for_each_quarter_of_an_hour(
    ledger: LedgerStore, database: Database, clock: WallClock
) -> None:
    other = ModelKey("other")
    for after_s, turn in (
        (0, free_turn("too old")),
        (86_400, free_turn("first")),
        (899, free_turn("same quarter")),
        (1, free_turn("next", other)),
        (0, free_turn("kept", is_kept=True)),
    ):
        clock.advance(after_s)
        ledger.note_free(ledger.free_line(turn))
    await booked(ledger)
    clock.advance(86_400)
    await database.noted()
    quarter = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
    assert sorted(await ledger.asked_of_hosts(1)) == [
        (GLM, quarter),
        (other, quarter + timedelta(minutes=15)),
    ]
    assert (GLM, quarter - timedelta(days=1)) in await ledger.asked_of_hosts(2)
