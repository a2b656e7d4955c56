"""From the grant to the request: a few turns at a time, and a look at the host only in doubt."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from clocks import LoopClock
from failures import fails
from fleet_bench import GUARD_S, ONE, TWO, Bench, H, a_wish, fleet_over, sim_config

from bot.chat.host_serving import HostServing
from bot.domain.chat import Candidate, Route
from bot.domain.errors import FailureKind, HostUnreachable
from bot.domain.events import Progress
from bot.domain.hosts import Drain
from bot.domain.ids import HostName
from bot.fleet import delivery, fleet, reading
from bot.fleet import host as host_module
from bot.fleet.lease import Lease, Silent
from bot.fleet.reading import Doubts
from bot.fleet.rules import FleetRules
from bot.fleet.scheduler import Scheduler
from bot.policy.ahead import Ahead
from bot.policy.breaker import BreakerRules
from bot.sim import journal
from bot.sim.host import SimHost

MANY = 12
OTHER = Candidate(ONE, HostName("other"), seconds=0.5)


@pytest.fixture(autouse=True)
def nobody_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SET_OUT_S", math.inf)


class Crowd:
    """Turns that wait for one model; each sends, or leaves, when it is told to."""

    def __init__(self, bench: Bench, tasks: asyncio.TaskGroup) -> None:
        self.bench = bench
        # Of those told at once any may come first: news of the load may have woken it before.
        self.through: list[int] = []
        self.refused: list[int] = []
        self.leases: list[Lease] = []
        self._heard = asyncio.Event()
        self._leave = [asyncio.Event() for _ in range(MANY)]
        self.tasks = [tasks.create_task(self._turn(number)) for number in range(MANY)]

    async def _turn(self, number: int) -> None:
        async with self.bench.fleet.host(H).lease(a_wish(user=f"u{number}")) as lease:
            self.leases.append(lease)
            try:
                async for _ in lease:
                    pass
                self.through.append(number)
            except HostUnreachable:
                self.refused.append(number)
            self._heard.set()
            await self._leave[number].wait()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(GUARD_S):
            while len(self.through) + len(self.refused) < count:
                self._heard.clear()
                await self._heard.wait()

    async def sends(self, number: int) -> None:
        await self.bench.fleet.host(H).confirm(self.leases[number])

    def leaves(self, *numbers: int) -> None:
        for number in numbers:
            self._leave[number].set()


@asynccontextmanager
async def loaded() -> AsyncGenerator[tuple[Crowd, SimHost]]:
    """A load has ended for which many waited, and those let through know of it."""
    config = sim_config(parallel=MANY)
    async with SimHost(config) as sim, fleet_over(sim) as bench, asyncio.TaskGroup() as tasks:
        sim.faults.stall_load()
        crowd = Crowd(bench, tasks)
        await bench.until(lambda host: host.waiting.get(ONE) == MANY)
        sim.faults.clear("stall_load")
        await crowd.until(delivery.SETTING_OUT)
        yield crowd, sim
        crowd.leaves(*range(MANY))


async def test_they_are_let_through_a_few_at_a_time_as_others_send_or_leave() -> None:
    async with loaded() as (crowd, sim):
        assert crowd.bench.host().instances[0].leases == MANY
        assert sorted(crowd.through) == [0, 1, 2, 3]
        await crowd.sends(2)
        await crowd.until(5)
        crowd.leaves(0)
        await crowd.until(6)
        crowd.tasks[1].cancel()
        await crowd.until(7)
        # Whoever has sent holds up nobody, and gives nobody's place away when it leaves.
        crowd.leaves(2)
        await crowd.tasks[2]
        assert sorted(crowd.through) == list(range(7))
        for number in range(3, MANY):
            await crowd.sends(number)
        await crowd.until(MANY)
        # The list that was read at the load's end vouches for all who had asked by then.
        asked = [call.endpoint for call in sim.journal.of(journal.Called)]
        assert asked[asked.index("loadModel") :].count("listLoaded") == 2


async def test_whoever_leaves_before_it_is_told_holds_up_nobody() -> None:
    async with loaded() as (crowd, _):
        for number in range(4, MANY - 1):
            crowd.tasks[number].cancel()
        await crowd.bench.until(lambda host: host.instances[0].leases == 5)
        await crowd.sends(0)
        await crowd.until(5)
        assert crowd.through[-1] == MANY - 1


async def test_turns_that_send_nothing_hold_the_others_up_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch, loop_clock: LoopClock
) -> None:
    monkeypatch.setattr(delivery, "SET_OUT_S", 1.0)
    async with loaded() as (crowd, _):
        for count in range(delivery.SETTING_OUT, MANY, delivery.SETTING_OUT):
            await crowd.until(count)
            assert sorted(crowd.through) == list(range(count))
            loop_clock.passes(1.0)
        await crowd.until(MANY)
        assert sorted(crowd.through) == list(range(MANY))


async def test_no_route_is_made_for_one_that_is_granted_and_not_told_yet() -> None:
    async def unheard(_: Progress) -> None: ...

    def replan() -> Route:
        raise AssertionError("it waits in no line")

    async with (
        SimHost(sim_config(parallel=MANY)) as sim,
        fleet_over(sim) as bench,
        AsyncExitStack() as others,
        asyncio.TaskGroup() as tasks,
    ):
        await bench.use()
        host, told = bench.fleet.host(H), list[Lease]()
        for _ in range(delivery.SETTING_OUT):
            told.append(await others.enter_async_context(granted(bench)))
        hosting = HostServing(bench.fleet, None)  # pyright: ignore[reportArgumentType]  # sends nothing

        async def asks() -> None:
            candidate = Candidate(ONE, host=H)
            async with hosting.lease(
                H, candidate, a_wish(), Route(), unheard, is_last=True, replan=replan
            ) as lease:
                assert lease.grant is not None

        asking = tasks.create_task(asks())
        await bench.until(lambda host: host.instances[0].leases == delivery.SETTING_OUT + 1)
        assert not asking.done()
        await host.confirm(told[0])
        await asking


async def test_a_load_that_nobody_asked_for_holds_nobodys_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with SimHost(sim_config()) as sim, fleet_over(sim) as bench:
        wish = a_wish(user="ada", conversation="c", since=0.0)

        def ahead(*_: object) -> Ahead:
            return Ahead(H, wish, 1.0)

        monkeypatch.setattr(fleet, "plan_ahead", ahead)
        await bench.fleet.improve()
        assert [i.conversations for i in bench.host().instances] == [()]


async def test_when_the_host_breaks_those_not_told_are_refused_and_the_others_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_module, "REBUILD_RULES", BreakerRules(threshold=1, base_s=0.01))

    def broken(*_: object) -> None:
        patch.undo()
        raise ZeroDivisionError("a fault of our own")

    async with loaded() as (crowd, _):
        # Apart from what else is changed here, which one undo would end as well.
        patch = pytest.MonkeyPatch()
        patch.setattr(Scheduler, "on_swept", broken)
        await crowd.bench.fleet.evict_idle()
        await crowd.until(MANY)
        assert sorted(crowd.through) == [0, 1, 2, 3]
        assert sorted(crowd.refused) == list(range(4, MANY))
        await crowd.bench.until_up()
        assert crowd.bench.host().instances[0].leases == 4
        await crowd.sends(0)


async def test_those_not_told_yet_hold_their_instance_through_a_drain_and_the_next_load() -> None:
    async with loaded() as (crowd, _):
        crowd.bench.fleet.host(H).drain(Drain(H))
        await crowd.sends(0)
        await crowd.until(5)
        crowd.bench.fleet.host(H).drain(Drain(H, is_on=False))
        async with asyncio.TaskGroup() as tasks:
            other = tasks.create_task(crowd.bench.use(TWO))
            await crowd.bench.until(lambda host: len(host.instances) == 2)
            for number in range(1, MANY):
                await crowd.until(min(MANY, number + 4))
                await crowd.sends(number)
        assert sorted(crowd.through) == list(range(MANY))
        assert other.result()[0].identifier == TWO


@asynccontextmanager
async def one_in_memory(rules: FleetRules | None = None) -> AsyncGenerator[tuple[Bench, SimHost]]:
    """A model that was just used, and nobody at work."""
    async with SimHost(sim_config()) as sim, fleet_over(sim, rules=rules) as bench:
        await bench.use()
        yield bench, sim


@asynccontextmanager
async def granted(bench: Bench) -> AsyncGenerator[Lease]:
    async with bench.fleet.host(H).lease(a_wish()) as lease:
        async for _ in lease:
            pass
        yield lease


async def looks(bench: Bench, sim: SimHost) -> int:
    """How often the host was looked at for one more question, which came after all other looks."""
    sim.journal.clear()
    loop = asyncio.get_running_loop()
    before = loop.time()
    while loop.time() == before:  # noqa: ASYNC110  # nothing tells of a tick of the clock
        await asyncio.sleep(0)
    async with granted(bench) as asking:
        await bench.fleet.host(H).confirm(asking)
    return sum(call.endpoint == "listLoaded" for call in sim.journal.of(journal.Called))


async def test_words_of_an_answer_under_way_vouch_for_its_instance_until_they_are_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with one_in_memory() as (bench, sim):
        assert await looks(bench, sim) == 1
        async with (
            granted(bench) as speaking,
            bench.fleet.host(H).reader.first_word_within(math.inf, speaking) as heard,
        ):
            # Nothing was said yet.
            assert await looks(bench, sim) == 1
            heard()
            assert await looks(bench, sim) == 0
            monkeypatch.setattr(reading, "VOUCHED_S", 0.0)
            assert await looks(bench, sim) == 1
        monkeypatch.undo()


async def test_whoever_is_not_called_for_each_word_tells_when_the_newest_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newest = math.inf
    async with one_in_memory() as (bench, sim):
        reader = bench.fleet.host(H).reader
        async with granted(bench) as speaking:
            async with reader.first_word_within(math.inf, speaking) as heard:
                heard(lambda: newest)
                monkeypatch.setattr(reading, "VOUCHED_S", 0.0)
                assert await looks(bench, sim) == 0
                newest = 0.0
                assert await looks(bench, sim) == 1
                newest = math.inf
            # Its last word vouches for its instance, and is the host's sign of life.
            assert await looks(bench, sim) == 0
            assert reader.heard_at == newest


async def test_words_that_went_by_uncalled_put_another_answers_end_off() -> None:
    async with one_in_memory() as (bench, _):
        reader, loop = bench.fleet.host(H).reader, asyncio.get_running_loop()
        asked: list[float] = []

        def newest_at() -> float:
            asked.append(loop.time())
            return asked[0] if len(asked) < 3 else 0.0

        async with (
            granted(bench) as speaking,
            granted(bench) as mute,
            reader.first_word_within(math.inf, speaking) as heard,
        ):
            heard(newest_at)
            with pytest.raises(HostUnreachable):
                async with reader.first_word_within(0.01, mute):
                    await asyncio.Event().wait()
            assert len(asked) >= 2


async def test_the_progress_of_a_load_puts_an_answers_end_off(loop_clock: LoopClock) -> None:
    async with one_in_memory() as (bench, _):
        reader, loop = bench.fleet.host(H).reader, asyncio.get_running_loop()
        began_at = loop.time()

        async def in_vain() -> None:
            with pytest.raises(HostUnreachable):
                async with granted(bench) as mute, reader.first_word_within(8.125, mute):
                    await asyncio.Event().wait()
            assert loop.time() == began_at + 7.125 + 8.125

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(in_vain())
            await loop_clock.armed(8.125)
            loop_clock.passes(7.125)
            reader.heard_at = loop.time()
            loop_clock.passes(1.0)
            await loop_clock.armed(7.125)
            loop_clock.passes(7.125)


@pytest.mark.parametrize(("is_heard", "longest_s"), [(True, 20.0), (False, 10.0)])
async def test_a_host_in_doubt_is_asked_whether_it_is_there_and_left_the_sooner_if_it_is_deaf(
    is_heard: bool, longest_s: float, loop_clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "DOUBTED_S", 2.5)
    async with one_in_memory(FleetRules()) as (bench, _):
        host, loop = bench.fleet.host(H), asyncio.get_running_loop()
        began_at, knocks = loop.time(), list[float]()
        host.reader.knock = lambda: knocks.append(loop.time())

        async def in_vain() -> None:
            def limit_s(other_s: float, is_deaf: bool) -> float:
                assert other_s == 0.5
                return 10.0 if is_deaf else 20.0

            doubts = Doubts(5.0, lambda _: OTHER, limit_s)
            within = host.reader.first_word_within(90.0, mute, doubts)
            with pytest.raises(Silent, match=f"nothing for {longest_s:.0f} s") as broke:
                async with within:
                    await asyncio.Event().wait()
            assert (loop.time(), broke.value.sooner) == (began_at + longest_s, OTHER)

        async with granted(bench) as mute, asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(in_vain())
            await loop_clock.armed(5.0)
            loop_clock.passes(5.0)
            while not waiting.done():
                await loop_clock.armed(2.5)
                if is_heard:
                    await host.probe()
                loop_clock.passes(2.5)
                if loop.time() == began_at + longest_s:
                    break
        # Once in a silence.
        assert knocks == [began_at + 5.0]


async def test_a_host_that_hangs_after_it_told_of_itself_has_its_time_from_then(
    loop_clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "DOUBTED_S", 2.5)
    async with one_in_memory(FleetRules()) as (bench, _):
        reader, loop = bench.fleet.host(H).reader, asyncio.get_running_loop()
        began_at, knocks = loop.time(), list[float]()

        def knock() -> None:
            knocks.append(loop.time() - began_at)
            # At the first it is there: all of an answer that is sent as a whole is being written.
            if len(knocks) == 1:
                reader.told_at = loop.time()

        reader.knock = knock

        async def in_vain() -> None:
            doubts = Doubts(5.0, lambda _: OTHER, lambda _, is_deaf: 8.0 if is_deaf else 300.0)
            with pytest.raises(Silent, match="nothing for 15 s"):
                async with reader.first_word_within(310.0, mute, doubts):
                    await asyncio.Event().wait()

        async with granted(bench) as mute, asyncio.TaskGroup() as tasks:
            tasks.create_task(in_vain())
            await loop_clock.armed(5.0)
            loop_clock.passes(5.0)
            for _ in range(4):
                await loop_clock.armed(2.5)
                loop_clock.passes(2.5)
        assert knocks == [5.0, 10.0]


@pytest.mark.parametrize("asked_s", [4.5, 5.0])
async def test_a_host_is_deaf_that_has_not_told_of_itself_since_it_was_asked_to(
    asked_s: float, loop_clock: LoopClock
) -> None:
    async with one_in_memory(FleetRules()) as (bench, _):
        host, loop = bench.fleet.host(H), asyncio.get_running_loop()
        await host.probe()
        loop_clock.passes(1.0)
        asked_at = loop.time()
        loop_clock.passes(asked_s)
        assert host.reader.is_deaf(asked_at) is (asked_s == 5.0)
        await host.probe()
        assert not host.reader.is_deaf(asked_at)


async def test_alone_a_host_in_doubt_has_all_its_time_and_is_left_for_nobody(
    loop_clock: LoopClock,
) -> None:
    async with one_in_memory() as (bench, _):
        reader, loop = bench.fleet.host(H).reader, asyncio.get_running_loop()
        began_at = loop.time()

        async def in_vain() -> None:
            # As long as another, which could answer, leaves it.
            doubts = Doubts(5.0, lambda _: OTHER, lambda _, is_deaf: 9.0)
            with pytest.raises(Silent) as broke:
                async with reader.first_word_within(8.0, mute, doubts):
                    await asyncio.Event().wait()
            assert (loop.time(), broke.value.sooner) == (began_at + 8.0, None)

        async with granted(bench) as mute, asyncio.TaskGroup() as tasks:
            tasks.create_task(in_vain())
            await loop_clock.armed(5.0)
            loop_clock.passes(5.0)
            await loop_clock.armed(1.0)
            loop_clock.passes(3.0)


async def test_a_fault_of_ours_in_a_doubt_takes_no_deadline_away(loop_clock: LoopClock) -> None:
    async with one_in_memory() as (bench, _):
        reader, loop = bench.fleet.host(H).reader, asyncio.get_running_loop()
        began_at, faults = loop.time(), list[object]()
        loop.set_exception_handler(lambda _, what: faults.append(what["exception"]))
        fault = KeyError("route")

        def sooner(_: float) -> None:
            raise fault

        async def in_vain() -> None:
            doubts = Doubts(5.0, sooner, lambda _, is_deaf: 6.0)
            with pytest.raises(Silent):
                async with reader.first_word_within(8.0, mute, doubts):
                    await asyncio.Event().wait()
            assert loop.time() == began_at + 8.0

        async with granted(bench) as mute, asyncio.TaskGroup() as tasks:
            tasks.create_task(in_vain())
            await loop_clock.armed(5.0)
            loop_clock.passes(5.0)
            await loop_clock.armed(3.0)
            loop_clock.passes(3.0)
        # Told to the log once, not each second.
        assert faults == [fault]


async def test_a_sign_of_life_ends_a_doubt_and_who_is_asked_is_probed(
    loop_clock: LoopClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "DOUBTED_S", 2.5)
    async with one_in_memory() as (bench, _):
        reader, loop = bench.fleet.host(H).reader, asyncio.get_running_loop()

        async def in_vain() -> None:
            doubts = Doubts(5.0, lambda _: OTHER, lambda _, is_deaf: 7.5)
            with pytest.raises(HostUnreachable, match="nothing for 8 s"):
                async with reader.first_word_within(90.0, mute, doubts):
                    await asyncio.Event().wait()

        async with granted(bench) as mute, asyncio.TaskGroup() as tasks:
            tasks.create_task(in_vain())
            await loop_clock.armed(5.0)
            reader.told_at = -math.inf
            loop_clock.passes(5.0)
            await loop_clock.armed(2.5)
            while reader.told_at < loop.time():  # noqa: ASYNC110  # nothing tells of a probe
                await asyncio.sleep(0)
            reader.heard_at = loop.time() + 1.0
            loop_clock.passes(2.5)
            await loop_clock.armed(3.5)
            loop_clock.passes(3.5)
            await loop_clock.armed(2.5)
            loop_clock.passes(2.5)


async def test_the_last_word_of_an_answer_that_ended_well_vouches_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "ENDED_S", math.inf)
    async with one_in_memory() as (bench, sim):
        reader = bench.fleet.host(H).reader
        async with granted(bench) as mute, reader.first_word_within(math.inf, mute):
            """An answer without a word vouches for nothing."""
        assert await looks(bench, sim) == 1
        async with granted(bench) as spoke:
            async with reader.first_word_within(math.inf, spoke) as heard:
                heard()
            assert await looks(bench, sim) == 0
            monkeypatch.setattr(reading, "ENDED_S", 0.0)
            assert await looks(bench, sim) == 1
            # From when it came, which for words that went by uncalled is told by another.
            monkeypatch.setattr(reading, "ENDED_S", 60.0)
            heard_at, long_ago = reader.heard_at, asyncio.get_running_loop().time() - 60.0
            async with reader.first_word_within(math.inf, spoke) as heard:
                heard(lambda: long_ago)
            assert await looks(bench, sim) == 1
            assert reader.heard_at == heard_at
            monkeypatch.setattr(reading, "ENDED_S", math.inf)
            # Nor does one that broke; whatever broke it may have taken the model along.
            with suppress(ConnectionError):
                async with reader.first_word_within(math.inf, spoke) as heard:
                    heard()
                    raise ConnectionError
            assert await looks(bench, sim) == 1


async def test_a_model_that_left_within_that_moment_is_found_missing_by_any_list() -> None:
    async with one_in_memory() as (bench, sim):
        host = bench.fleet.host(H)
        async with granted(bench) as spoke:
            async with host.reader.first_word_within(math.inf, spoke) as heard:
                heard()
            sim.unload(ONE)
            await host.probe()
            with fails(FailureKind.NOT_THERE):
                await host.confirm(spoke)


async def test_words_of_one_model_do_not_vouch_for_another() -> None:
    async with one_in_memory() as (bench, sim):
        await bench.use(TWO)
        host = bench.fleet.host(H)
        async with host.lease(a_wish(TWO)) as speaking, granted(bench) as asking:
            async for _ in speaking:
                pass
            async with host.reader.first_word_within(math.inf, speaking) as heard:
                heard()
                sim.unload(ONE)
                with fails(FailureKind.NOT_THERE):
                    await host.confirm(asking)


async def test_a_list_that_told_of_the_loss_vouches_for_nobody() -> None:
    async with one_in_memory() as (bench, sim), granted(bench) as lease:
        sim.unload(ONE)
        await bench.fleet.host(H).probe()
        with fails(FailureKind.NOT_THERE):
            await bench.fleet.host(H).confirm(lease)
