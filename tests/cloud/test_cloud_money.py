"""What calls cost: held before, settled after, equal to what the provider itself wrote down."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from clocks import LoopClock
from cloud_house import ADA, SERVER, Cloud, Heard, cloud_house

from bot.cloud.serve import Listener, ProviderTries, serve
from bot.domain.cloud import BudgetNews
from bot.domain.errors import FailureKind, StoreUnavailable
from bot.domain.events import Delta
from bot.domain.ids import ProviderName, UserId
from bot.policy.budget import BudgetRules
from bot.policy.periods import Period
from bot.sim.providers.config import SimProviderConfig, WireKind
from bot.sim.providers.faults import FaultName

LONG_ANSWERS = SimProviderConfig(time_scale=0.0)


async def spent(cloud: Cloud) -> int:
    return (await cloud.ledger.accounts())[0].spent_micro_usd


async def reserved(cloud: Cloud) -> int:
    return (await cloud.ledger.accounts())[0].reserved_micro_usd


@pytest.mark.parametrize("wire", ["zai", "openai", "anthropic", "generic"])
async def test_the_ledger_says_what_the_provider_charged(tmp_path: Path, wire: WireKind) -> None:
    async with cloud_house(tmp_path, wire) as cloud:
        heard = [await cloud.serve(wire) for _ in range(3)]

        journal = cloud.double(wire).journal
        rows = await cloud.rows()
        assert all(h.served for h in heard)
        assert [row["cost_micro_usd"] for row in rows] == [
            call.cost_micro_usd for call in journal.chats()
        ]
        assert await spent(cloud) == journal.cost_micro_usd > 0
        assert await reserved(cloud) == 0
        assert {(row["state"], row["basis"], row["price_source"]) for row in rows} == {
            ("settled", "usage", "config")
        }


async def test_a_row_tells_who_asked_where_and_by_what_prices(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        await cloud.serve("zai")

        (row,) = await cloud.rows()
        assert row["user"] == cloud.providers.ledger_name(ADA)
        assert ADA not in json.dumps(row)
        assert (row["server"], row["model"], row["answered_by"]) == (SERVER, "glm-4.6", "zai")
        prices = (row["input_price"], row["cached_price"], row["output_price"])
        assert prices == (600_000, 110_000, 2_200_000)
        assert row["day"] == "2026-11-20"
        assert row["first_token_ms"] is not None


async def test_people_are_unknown_to_providers_and_different_at_each(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", "openai", "anthropic") as cloud:
        for name in cloud.doubles:
            await cloud.serve(name)
            await cloud.serve(name)

        told = [
            {call.arrival.user for call in double.journal.chats()}
            for double in cloud.doubles.values()
        ]
        assert [len(users) for users in told] == [1, 1, 1]
        assert len(set[str]().union(*told)) == 3
        assert all(len(user) == 32 and "discord" not in user for users in told for user in users)


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["zai", "openai", "anthropic"])
@pytest.mark.parametrize("fault", ["cut", "silent_end", "stall"])
async def test_a_broken_answer_costs_what_was_counted_and_never_more_than_was_held(
    tmp_path: Path, loop_clock: LoopClock, wire: WireKind, fault: FaultName
) -> None:
    async with cloud_house(tmp_path, wire, idle_s=7.0) as cloud:
        double, heard = cloud.double(wire), Heard()
        double.faults.set(fault, after_tokens=6)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(cloud.serve(wire, heard=heard))
            await heard.words(6)
            if fault == "stall":
                await loop_clock.armed(7.0)
                loop_clock.passes(7.0)
        (row,) = await cloud.rows()
        cost, held = row["cost_micro_usd"], row["reserved_micro_usd"]
        await double.journal.until(lambda journal: not journal.open)
        assert isinstance(cost, int)
        assert isinstance(held, int)
        assert double.journal.cost_micro_usd <= cost <= held


async def test_usage_that_is_not_told_is_counted_on_the_safe_side(tmp_path: Path) -> None:
    sim = SimProviderConfig(time_scale=0.0, usage="none")
    async with cloud_house(tmp_path, "generic", sim=sim) as cloud:
        assert (await cloud.serve("generic")).served is not None

        (row,) = await cloud.rows()
        assert row["basis"] == "counted"
        assert await spent(cloud) >= cloud.double("generic").journal.cost_micro_usd


async def test_leaving_in_the_middle_is_paid_for_and_frees_the_rest(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        double = cloud.double()
        double.faults.set("stall", after_tokens=10)
        async with asyncio.TaskGroup() as group:
            asker = group.create_task(cloud.serve())
            await double.journal.until(lambda journal: bool(journal.open))
            await until(lambda: reserved_rows(cloud))
            asker.cancel()

        await double.journal.until(lambda journal: not journal.open)
        assert await reserved(cloud) == 0
        (row,) = await cloud.rows()
        assert row["basis"] == "counted"
        assert cloud.news == []
        assert cloud.providers.snapshots(10, 10, 0.0)[0].is_serving


async def reserved_rows(cloud: Cloud) -> bool:
    return any(row["state"] == "reserved" for row in await cloud.rows())


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(5_000):
        if await holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")


@pytest.mark.slow
async def test_two_hundred_at_once_at_the_edge_of_the_budget_overspend_nothing(
    tmp_path: Path,
) -> None:
    # An answer costs 7; what is held for each beside the others is given back.
    cap, before = 200_000, 198_800
    rules = BudgetRules(daily_micro_usd=cap)
    async with cloud_house(
        tmp_path, "openai", rules=rules, max_wait_s=60.0, max_concurrent=50, rate_count=1000
    ) as cloud:
        await fill_up(cloud, before)
        await cloud.database.write(lambda c: c.executescript(SEEN).rowcount)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(cloud.serve("openai")) for _ in range(200)]

        heard = [task.result() for task in tasks]
        served = [h for h in heard if h.served is not None]
        assert 0 < len(served) < 200
        assert {h.kind for h in heard if h.served is None} == {FailureKind.BUDGET}
        assert len(cloud.double("openai").journal.chats()) == len(served)
        query = "SELECT max(held), count(*) FROM seen"
        most, changes = await cloud.database.read(lambda c: tuple(c.execute(query).fetchone()))
        assert most <= cap
        assert changes >= 2 * len(served)
        totals = (await cloud.ledger.accounts())[0]
        assert totals.reserved_micro_usd == 0
        charged = cloud.double("openai").journal.cost_micro_usd
        assert totals.spent_micro_usd == before + charged <= cap
        assert sorted(event.what for event in cloud.news) == ["alert", "spent"]


SEEN = """
CREATE TABLE seen (held INTEGER);
CREATE TRIGGER watch AFTER UPDATE ON account WHEN new.period = '2026-11-20' BEGIN
    INSERT INTO seen VALUES (new.spent + new.reserved);
END;
"""
"""Notes each state of the day's account, in the transaction that makes it."""


async def fill_up(cloud: Cloud, micro_usd: int) -> None:
    """Spend nearly all of the day before the test begins."""
    query = "INSERT INTO account (period, payer, name, spent, reserved) VALUES (?, 'all', '', ?, 0)"
    row = ("2026-11-20", micro_usd)
    await cloud.database.write(lambda c: c.execute(query, row).rowcount)


async def test_the_admins_are_warned_once_a_day(tmp_path: Path) -> None:
    rules = BudgetRules(daily_micro_usd=2_000, alert_at=0.1)
    async with cloud_house(tmp_path, "zai", rules=rules, sim=LONG_ANSWERS) as cloud:
        for _ in range(15):
            await cloud.serve(ask=cloud.ask(answer_tokens=100))
        assert sorted(event.what for event in cloud.news) == ["alert", "spent"]

        cloud.clock.advance(86_400)
        for _ in range(15):
            await cloud.serve(ask=cloud.ask(answer_tokens=100))

        days = [event.account.period for event in cloud.news if isinstance(event, BudgetNews)]
        assert sorted(days) == ["2026-11-20", "2026-11-20", "2026-11-21", "2026-11-21"]


async def test_each_server_and_person_has_a_limit_of_their_own(tmp_path: Path) -> None:
    rules = BudgetRules(per_user_micro_usd=700)
    async with cloud_house(tmp_path, "zai", rules=rules, sim=LONG_ANSWERS) as cloud:
        mine = [await cloud.serve() for _ in range(4)]
        theirs = await cloud.serve(ask=replace(cloud.ask(), user=UserId("discord:2")))

        assert mine[0].served is not None
        assert mine[-1].kind is FailureKind.BUDGET
        assert "your own daily budget" in str(mine[-1].error)
        assert theirs.served is not None
        assert cloud.news == []
        me = cloud.providers.ledger_name(ADA)
        (mine_alone,) = await cloud.ledger.report(Period("2026-11-20", "2026-11-20"), user=me)
        assert 0 < mine_alone.cost_micro_usd <= 700


async def test_routing_is_told_when_the_day_cannot_pay(tmp_path: Path) -> None:
    rules = BudgetRules(daily_micro_usd=1_000)
    async with cloud_house(tmp_path, "zai", rules=rules) as cloud:
        await cloud.providers.prepare()
        (cheap,) = cloud.providers.snapshots(100, 100, 0.0)
        (dear,) = cloud.providers.snapshots(100, 1000, 0.0)

        assert cheap.is_serving
        assert cheap.likely_micro_usd == 170
        assert cheap.cost_micro_usd == 412
        assert "the daily budget of $0.0010 has only $0.0010 left" in dear.reason

        cloud.clock.advance(86_400)
        assert cloud.providers.snapshots(100, 1000, 0.0)[0].is_serving


async def test_nothing_is_sent_while_the_ledger_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        with monkeypatch.context() as broken:
            broken.setattr(cloud.database, "write", out_of_disk)
            heard = await cloud.serve()

        assert heard.kind is FailureKind.BUDGET
        assert "disk is full" in str(heard.error)
        assert cloud.double().journal.calls == ()
        assert (await cloud.serve()).served is not None


async def test_a_cost_that_could_not_be_written_is_written_before_anything_new_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        with monkeypatch.context() as broken:

            async def break_the_disk(_: Delta) -> None:
                broken.setattr(cloud.database, "write", out_of_disk)

            listener = replace(Heard().listener(), hear=break_the_disk)
            await serve_to(cloud, listener)
            assert await reserved(cloud) > 0
            with pytest.raises(StoreUnavailable, match="disk is full"):
                await cloud.providers.catch_up()
            assert (await cloud.serve()).kind is FailureKind.BUDGET

        assert (await cloud.serve()).served is not None
        assert await reserved(cloud) == 0
        assert await spent(cloud) == cloud.double().journal.cost_micro_usd


async def test_money_held_for_a_caller_who_left_meanwhile_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        begun, may_go_on = asyncio.Event(), asyncio.Event()
        write = cloud.database.write

        async def slow_write(change: Callable[[sqlite3.Connection], object]) -> object:
            begun.set()
            await may_go_on.wait()
            return await write(change)

        with monkeypatch.context() as slowed:
            slowed.setattr(cloud.database, "write", slow_write)
            async with asyncio.TaskGroup() as group:
                asker = group.create_task(cloud.serve())
                await begun.wait()
                asker.cancel()
            may_go_on.set()
            await until(lambda: is_released(cloud))

        assert await reserved(cloud) == 0
        assert cloud.double().journal.calls == ()


async def is_released(cloud: Cloud) -> bool:
    return [row["state"] for row in await cloud.rows()] == ["released"]


class HeldWrite:
    """Holds back the n-th write of a database until it may go on."""

    def __init__(self, cloud: Cloud, nth: int) -> None:
        self.begun, self.may_go_on = asyncio.Event(), asyncio.Event()
        self._write = cloud.database.write
        self._left = nth

    async def __call__(self, change: Callable[[sqlite3.Connection], object]) -> object:
        self._left -= 1
        if self._left == 0:
            self.begun.set()
            await self.may_go_on.wait()
        return await self._write(change)


async def test_a_cost_is_written_though_its_asker_leaves_while_it_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        held = HeldWrite(cloud, 2)
        monkeypatch.setattr(cloud.database, "write", held)
        async with asyncio.TaskGroup() as group:
            asker = group.create_task(cloud.serve())
            await held.begun.wait()
            asker.cancel()
        assert asker.cancelled()
        assert await reserved(cloud) > 0
        held.may_go_on.set()
        await until(lambda: is_settled(cloud))

        assert await spent(cloud) == cloud.double().journal.cost_micro_usd > 0
        assert await reserved(cloud) == 0


async def is_settled(cloud: Cloud) -> bool:
    return [row["state"] for row in await cloud.rows()] == ["settled"]


async def test_a_slow_disk_keeps_no_other_question_waiting_for_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cloud_house(tmp_path, "openai", max_concurrent=1, max_wait_s=0.0) as cloud:
        held = HeldWrite(cloud, 2)
        monkeypatch.setattr(cloud.database, "write", held)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(cloud.serve("openai"))
            await held.begun.wait()
            assert (await cloud.serve("openai")).served is not None
            held.may_go_on.set()
        assert first.result().served is not None


async def test_what_is_too_dear_takes_no_place_with_it(tmp_path: Path) -> None:
    rules = BudgetRules(daily_micro_usd=10_000)
    async with cloud_house(
        tmp_path, "openai", rules=rules, max_concurrent=1, max_wait_s=0.0
    ) as cloud:
        dear = [await cloud.serve("openai", cloud.ask(answer_tokens=100_000)) for _ in range(2)]
        assert [heard.kind for heard in dear] == [FailureKind.BUDGET] * 2
        assert [heard.requests for heard in dear] == [0, 0]
        assert (await cloud.serve("openai")).served is not None


async def test_a_cost_settled_after_midnight_hides_nothing_of_the_new_days_budget(
    tmp_path: Path,
) -> None:
    rules = BudgetRules(daily_micro_usd=1_000)
    async with cloud_house(tmp_path, "zai", rules=rules) as cloud:
        await cloud.providers.prepare()
        async with cloud.providers.call(cloud.only(ProviderName("zai")), cloud.ask()) as call:
            cloud.clock.advance(86_400)
            await cloud.providers.prepare()
            async with call.open() as deltas:
                async for _ in deltas:
                    pass

        assert call.cost_micro_usd > 0
        (snapshot,) = cloud.providers.snapshots(100, 1000, 0.0)
        assert "the daily budget of $0.0010 has only $0.0010 left" in snapshot.reason


@pytest.mark.parametrize("failing", range(1, 9))
async def test_whichever_write_fails_no_money_is_wrong_and_none_is_spent_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        write, count = cloud.database.write, 0

        async def write_but_once(change: Callable[[sqlite3.Connection], object]) -> object:
            nonlocal count
            count += 1
            if count == failing:
                raise StoreUnavailable("its disk answered with an error")
            return await write(change)

        monkeypatch.setattr(cloud.database, "write", write_but_once)
        heard = [await cloud.serve() for _ in range(4)]
        await cloud.providers.catch_up()

        journal = cloud.double().journal
        assert {h.kind for h in heard} <= {None, FailureKind.BUDGET}
        assert len(journal.chats()) == sum(h.served is not None for h in heard) >= 3
        assert await spent(cloud) == journal.cost_micro_usd
        assert await reserved(cloud) == 0


async def test_a_question_costs_what_all_its_calls_cost(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        cloud.double().faults.set("empty", times=1)
        question = ProviderTries()

        heard = await cloud.serve(question=question)

        assert heard.served is not None
        assert question.cost_micro_usd == cloud.double().journal.cost_micro_usd
        assert len(await cloud.rows()) == 2


async def serve_to(cloud: Cloud, listener: Listener) -> None:
    await serve(
        cloud.providers, ProviderName("zai"), cloud.ask(), ProviderTries(), listener, is_last=True
    )


async def out_of_disk(*_: object) -> object:
    raise StoreUnavailable("its disk is full")


@pytest.mark.parametrize("is_over_in_time", [True, False])
async def test_what_is_held_for_others_is_waited_for_and_not_called_spent(
    tmp_path: Path, loop_clock: LoopClock, is_over_in_time: bool
) -> None:
    cap = 200_000
    rules = BudgetRules(daily_micro_usd=cap)
    async with cloud_house(tmp_path, "openai", rules=rules, max_wait_s=60.0) as cloud:
        cloud.double("openai").faults.set("stall", after_tokens=6)
        first, second = Heard(), Heard()
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(cloud.serve("openai", heard=first))
            await first.words(6)
            held = await reserved(cloud)
            await cloud.database.write(
                lambda c: c.execute("UPDATE account SET spent = ?", (cap - 2 * held + 1,)).rowcount
            )
            await cloud.providers.standings()
            waiting = tasks.create_task(cloud.serve("openai", heard=second))
            await second.waits()
            alike = cloud.ask().answer_tokens
            assert cloud.providers.snapshots(100, alike, 0.0)[0].is_serving
            if not is_over_in_time:
                loop_clock.passes(60.0)
                await asyncio.wait([waiting])
            cloud.double("openai").faults.clear()
            await asyncio.wait([asking, waiting])
        assert first.served is not None
        if is_over_in_time:
            assert second.served is not None
        else:
            assert second.kind is FailureKind.BUSY
            assert "is held for answers under way" in str(second.error)
        assert [news.what for news in cloud.news if isinstance(news, BudgetNews)] == ["alert"]
