"""The reckoned machine of the fleet's bench keeps to what LM Studio does."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from virtual_time import play

from bench.fleet.host import BESIDE, SENT_S, SLOTS, Generation, Machine, NotServed, Work
from bench.fleet.trace import GB, HostSpec, ModelSpec
from bot.domain.ids import HostName, ModelKey

ONE = ModelSpec(ModelKey("lab/one"), 4 * GB, active=8.0, kv_bytes=0)
TWO = ModelSpec(ModelKey("lab/two"), 4 * GB, active=8.0, kv_bytes=0)
SPEC = HostSpec(
    HostName("studio"), 9 * GB, bandwidth=40 * GB, read_8b=1000.0, disk=1 * GB, start_s=1.0,
    models={ONE.key: ONE, TWO.key: TWO},
)  # fmt: skip
"""Reads 1,000 tokens in a second, writes ten a second, loads in about five."""
CONTEXT = 4096


def on(work: Callable[[Machine], Awaitable[None]], spec: HostSpec = SPEC) -> None:
    async def run() -> None:
        await work(Machine(spec, seed=1))

    play(run())


def now() -> float:
    return asyncio.get_running_loop().time()


async def ends(answer: Generation) -> tuple[float, float]:
    """When its first and its last word came."""
    await answer.first
    first = now()
    await answer.last
    return first, now()


def test_an_answer_alone_takes_the_seconds_of_its_prompt_and_its_words() -> None:
    async def work(machine: Machine) -> None:
        copy = await machine.load(ONE, CONTEXT)
        began = now()
        first, last = await ends(machine.begin(copy, Work(1, 2000, 11)))
        assert first - began == pytest.approx(SENT_S + 2.0 + 0.1)
        assert last - first == pytest.approx(1.0)

    on(work)


def test_a_load_that_does_not_fit_is_refused_before_it_begins() -> None:
    async def work(machine: Machine) -> None:
        await machine.load(ONE, CONTEXT)
        began = now()
        with pytest.raises(NotServed, match="memory"):
            await machine.load(replace(TWO, size_bytes=6 * GB), CONTEXT)
        assert now() == began
        assert machine.loads == 1

    on(work)


def test_keys_and_values_count_as_memory_too() -> None:
    async def work(machine: Machine) -> None:
        with pytest.raises(NotServed):
            await machine.load(replace(ONE, kv_bytes=2_000_000), CONTEXT)
        await machine.load(replace(ONE, kv_bytes=1_000_000), CONTEXT)

    on(work)


def test_loads_wait_for_each_other_and_tell_how_far_they_are() -> None:
    fractions: list[float] = []

    async def work(machine: Machine) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(machine.load(ONE, CONTEXT, on_progress=fractions.append))
            tasks.create_task(machine.load(TWO, CONTEXT))
        assert 8.0 < now() < 12.0

    on(work)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_a_load_given_up_leaves_nothing_behind() -> None:
    async def work(machine: Machine) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await machine.load(ONE, CONTEXT)
        assert not machine.copies
        assert machine.used_bytes() == 0
        assert machine.loading is None

    on(work)


def test_the_fifth_waits_in_line_until_a_slot_is_free() -> None:
    async def work(machine: Machine) -> None:
        copy = await machine.load(ONE, CONTEXT)
        answers = [machine.begin(copy, Work(n, 10, 2)) for n in range(SLOTS + 1)]
        assert copy.free == -1
        await answers[0].last
        assert answers[-1].slot is not None
        await answers[-1].last
        assert copy.free == SLOTS

    on(work)


def test_answers_of_one_instance_slow_each_other_less_than_two_instances_do() -> None:
    async def pace(machine: Machine, *models: ModelSpec) -> float:
        copies = [(machine.resident(m.key) or [await machine.load(m, CONTEXT)])[0] for m in models]
        answers = [machine.begin(c, Work(n, 1, 1001)) for n, c in enumerate(copies)]
        for answer in answers:
            await answer.first
        began = now()
        await answers[0].last
        return now() - began

    async def work(machine: Machine) -> None:
        assert await pace(machine, ONE, ONE) == pytest.approx(100 * (1 + BESIDE), rel=0.01)
        assert await pace(machine, ONE, TWO) == pytest.approx(200, rel=0.01)

    on(work)


def test_a_prompt_being_read_halves_the_writing_beside_it() -> None:
    async def work(machine: Machine) -> None:
        copy = await machine.load(ONE, CONTEXT)
        writing = machine.begin(copy, Work(1, 1, 101))
        await writing.first
        began = now()
        reading = machine.begin(copy, Work(2, 4000, 1))
        await reading.first
        took = now() - began
        assert took == pytest.approx((SENT_S + 4.0 + 0.1) * (1 + BESIDE))
        await writing.last
        # Of ten seconds alone, as many as the reading took went at half the pace.
        assert now() - began == pytest.approx(10.0 + took / 2)

    on(work)


def test_a_slot_reads_only_what_is_new_of_the_transcript_it_holds() -> None:
    async def work(machine: Machine) -> None:
        copy = await machine.load(ONE, CONTEXT)
        first = machine.begin(copy, Work(1, 500, 20))
        await first.last
        assert copy.held(1) == 520
        follow_up = machine.begin(copy, Work(1, 560, 20))
        await follow_up.last
        assert (first.read, follow_up.read) == (500, 40)
        others = [machine.begin(copy, Work(n, 10, 2)) for n in range(2, 2 + SLOTS)]
        for other in others:
            await other.last
        again = machine.begin(copy, Work(1, 600, 2))
        await again.last
        assert again.read == 600

    on(work)


def test_whoever_leaves_frees_the_slot_and_slows_nobody() -> None:
    async def work(machine: Machine) -> None:
        copy = await machine.load(ONE, CONTEXT)
        stays, leaves = (machine.begin(copy, Work(n, 1, 101)) for n in range(2))
        await stays.first
        await leaves.first
        machine.leave(leaves)
        assert copy.free == SLOTS - 1
        began = now()
        await stays.last
        assert now() - began == pytest.approx(10.0, rel=0.02)

    on(work)


def test_a_load_just_in_time_cuts_what_another_one_is_answering() -> None:
    async def work(machine: Machine) -> None:
        copy = await machine.load(ONE, CONTEXT, is_jit=True)
        answer = machine.begin(copy, Work(1, 10, 500))
        await answer.first
        await asyncio.sleep(2.0)
        await machine.load(TWO, CONTEXT, is_jit=True)
        with pytest.raises(NotServed, match="unloaded"):
            await answer.last
        assert machine.cut == 1
        assert 15 <= answer.written() <= 21
        assert [c.model for c in machine.copies.values()] == [TWO]

    on(work)


def test_two_who_ask_for_one_model_just_in_time_share_its_load() -> None:
    async def work(machine: Machine) -> None:
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(machine.load(ONE, CONTEXT, is_jit=True)) for _ in range(2)]
        assert both[0].result() is both[1].result()
        assert machine.loads == 1

    on(work)


def test_the_time_to_live_counts_from_the_end_of_work() -> None:
    async def work(machine: Machine) -> None:
        copy = await machine.load(ONE, CONTEXT, ttl_s=60.0)
        await asyncio.sleep(50.0)
        answer = machine.begin(copy, Work(1, 10, 301))
        await answer.last
        assert now() > 75.0
        await asyncio.sleep(59.0)
        assert machine.resident(ONE.key)
        await asyncio.sleep(2.0)
        assert not machine.copies
        # The timer of one that has left takes nothing out that came after it.
        await machine.load(ONE, CONTEXT)
        machine.leave(answer)
        await asyncio.sleep(100.0)
        assert machine.resident(ONE.key)

    on(work)


def test_an_outage_loses_what_is_in_memory_in_line_and_loading() -> None:
    async def work(machine: Machine) -> None:
        copy = await machine.load(ONE, CONTEXT)
        answer = machine.begin(copy, Work(1, 10, 500))
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(_fails(machine.load(TWO, CONTEXT)))
            await answer.first
            machine.goes()
            assert await load == "down"
        with pytest.raises(NotServed, match="down"):
            await answer.last
        with pytest.raises(NotServed, match="down"):
            machine.begin(copy, Work(2, 10, 5))
        machine.returns()
        assert not machine.copies
        assert machine.cut == 0
        await machine.load(TWO, CONTEXT)

    on(work)


async def _fails(load: Awaitable[object]) -> str:
    with pytest.raises(NotServed) as failed:
        await load
    return failed.value.cause


def test_watchers_hear_of_changes_when_they_are_over() -> None:
    async def work(machine: Machine) -> None:
        free: list[int] = []
        copy = await machine.load(ONE, CONTEXT)
        machine.watchers.append(lambda: free.append(copy.free))
        await machine.begin(copy, Work(1, 10, 5)).last
        await asyncio.sleep(0)
        assert free[-1] == SLOTS

    on(work)
