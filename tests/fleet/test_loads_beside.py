"""Two Lanterns on one database that want one host's memory at the same moment, by the real SDK."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from failures import fails
from fleet_bench import GUARD_S, ONE, TWO, Bench, H, a_wish, fleet_over, sim_config
from structlog.testing import capture_logs

from bot.domain.errors import FailureKind, Unavailable
from bot.domain.events import Loading
from bot.domain.hosts import LoadHolder
from bot.fleet.fleet import FleetRules
from bot.process.lock import sole_load
from bot.sim import journal
from bot.sim.host import SimHost
from bot.sim.models import GB

HOLDER = """
import sys
from pathlib import Path
from bot.fleet.fleet import FleetRules
from bot.process.lock import sole_load
with sole_load(Path(sys.argv[1]), sys.argv[2]) as holder:
    print(holder, flush=True)
    sys.stdin.read()
"""


class Turns:
    """The locks of the hosts beside a database; tells when somebody came while one was held."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.refused = asyncio.Event()

    @contextmanager
    def __call__(self, address: str) -> Generator[LoadHolder | None]:
        with sole_load(self.database, address) as holder:
            if holder is not None:
                self.refused.set()
            yield holder

    async def until_refused(self) -> None:
        async with asyncio.timeout(GUARD_S):
            await self.refused.wait()


@pytest.fixture
def turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Turns:
    monkeypatch.setattr("bot.fleet.host.SOLE_EVERY_S", 0.001)
    return Turns(tmp_path / "lantern.db")


@asynccontextmanager
async def two_over(host: SimHost, turns: Turns) -> AsyncGenerator[tuple[Bench, Bench]]:
    async with fleet_over(host, sole_load=turns) as one, fleet_over(host, sole_load=turns) as other:
        yield one, other


@pytest.mark.parametrize("memory_gb", [6, 24])
async def test_two_lanterns_that_want_one_cold_model_at_once_load_it_once(
    turns: Turns, memory_gb: int
) -> None:
    # The second was told "too full" for the very model that was being loaded, or had it twice.
    host = SimHost(sim_config(memory_bytes=memory_gb * GB))
    async with host, two_over(host, turns) as (one, other):
        host.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(one.use())
            await host.journal.wait_for(journal.LoadStarted)
            second = tasks.create_task(other.use())
            await turns.until_refused()
            host.faults.clear()
        assert [first.result()[0].identifier, second.result()[0].identifier] == [ONE, ONE]
        loading = [step for step in second.result()[1] if isinstance(step, Loading)]
        # A bar that stood at 0% for minutes said nothing of why.
        assert loading[-1].is_held
        assert len(host.journal.of(journal.LoadStarted)) == 1
        # Whose it is only the one knows that loaded it.
        assert [bench.host().instances[0].own for bench in (one, other)] == [True, False]


async def test_who_waited_for_a_load_of_another_model_decides_by_what_is_there_then(
    turns: Turns,
) -> None:
    # Of what fits beside it, it is loaded; of what does not, it is told so, by the host's own list.
    for memory_gb, is_room in ((6, False), (24, True)):
        host = SimHost(sim_config(memory_bytes=memory_gb * GB))
        turns.refused.clear()
        async with host, two_over(host, turns) as (one, other):
            host.faults.stall_load()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(one.use())
                await host.journal.wait_for(journal.LoadStarted)
                second = tasks.create_task(_outcome(other))
                await turns.until_refused()
                host.faults.clear()
            assert second.result() == ("loaded" if is_room else FailureKind.DOES_NOT_FIT)
            assert len(host.resident) == 1 + is_room


async def _outcome(bench: Bench) -> str:
    try:
        await bench.use(TWO)
    except Unavailable as error:
        return error.kind
    return "loaded"


async def test_what_another_lantern_just_loaded_is_reckoned_with_though_no_probe_told_of_it(
    turns: Turns,
) -> None:
    # Each of the two is in memory by a host that lets more in than fits.
    host = SimHost(sim_config(memory_bytes=6 * GB))
    async with host, two_over(host, turns) as (one, other):
        await one.use()
        with fails(FailureKind.DOES_NOT_FIT):
            await other.use(TWO)
        assert [started.key for started in host.journal.of(journal.LoadStarted)] == [ONE]


async def test_a_load_that_waits_for_another_lanterns_is_cancelled_at_once(turns: Turns) -> None:
    host = SimHost(sim_config())
    async with host, fleet_over(host, sole_load=turns) as bench:
        with turns(host.address):
            async with bench.fleet.host(H).lease(a_wish()) as lease:
                await anext(lease)
                await turns.until_refused()
                assert bench.fleet.host(H).cancel_load(ONE)
                with fails(FailureKind.CANCELLED):
                    async for _ in lease:
                        pass
            await bench.until(lambda seen: seen.load is None)
        assert not host.journal.of(journal.LoadStarted)


async def test_whoever_waits_goes_on_when_the_process_that_loads_is_killed(turns: Turns) -> None:
    host = SimHost(sim_config())
    async with host, fleet_over(host, sole_load=turns) as bench:
        holder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HOLDER, str(turns.database), host.address),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(GUARD_S), asyncio.TaskGroup() as tasks:
            assert holder.stdout is not None
            assert await holder.stdout.readline() == b"None\n"
            waiting = tasks.create_task(bench.use())
            await turns.until_refused()
            holder.kill()
            await holder.wait()
        assert waiting.result()[0].identifier == ONE


async def test_what_a_process_that_was_stopped_in_its_load_has_loaded_is_used(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By Ctrl-Z: its load was over after six seconds, and who waited had no answer after 79 more.
    monkeypatch.setattr("bot.fleet.host.SOLE_LOOK_S", 0.001)
    host = SimHost(sim_config())
    async with host, fleet_over(host, sole_load=turns) as bench:
        with turns(host.address):
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(bench.use())
                await turns.until_refused()
                await host.preload(ONE)
            assert waiting.result()[0].identifier == ONE
        assert len(host.resident) == 1


class Held:
    """Another process holds every host: its signs of life, in turn, the last for ever."""

    def __init__(self, *signs: int | None, is_released: bool = False) -> None:
        self.signs, self.is_released = list(signs), is_released

    @contextmanager
    def __call__(self, _address: str) -> Generator[LoadHolder | None]:
        sign = self.signs.pop(0) if len(self.signs) > 1 else self.signs[0]
        # Released with the last of them.
        yield None if self.is_released and len(self.signs) == 1 else LoadHolder(7, sign)


@pytest.mark.parametrize(
    ("held", "is_stopped"),
    [
        (Held(1), True),
        (Held(1, 2, 3, 3), True),
        (Held(1, 2, 3, 4, is_released=True), False),
        # An older Lantern's: nothing is known of it.
        (Held(None, None, None, None, is_released=True), False),
    ],
)
async def test_the_load_of_a_process_that_was_stopped_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, held: Held, is_stopped: bool
) -> None:
    # By Ctrl-Z: every question to that host failed for as long as a service was patient.
    monkeypatch.setattr("bot.fleet.host.SOLE_EVERY_S", 0.001)
    host = SimHost(sim_config())
    rules = FleetRules(probe_timeout_s=GUARD_S, load_silent_s=1e-9)
    with capture_logs() as logs:
        async with host, fleet_over(host, sole_load=held, rules=rules) as bench:
            instance, steps = await bench.use()
    assert instance.identifier == ONE
    assert next(step.is_held for step in steps if isinstance(step, Loading))
    told = [line for line in logs if line["event"] == "another Lantern was stopped in its load"]
    assert [line["process"] for line in told] == [7] * is_stopped


async def test_a_process_that_holds_a_host_for_ever_does_not_keep_it(turns: Turns) -> None:
    host = SimHost(sim_config())
    rules = FleetRules(probe_timeout_s=GUARD_S, load_beside_s=0.0)
    async with host, fleet_over(host, sole_load=turns, rules=rules) as bench:
        with turns(host.address):
            instance, steps = await bench.use()
        assert instance.identifier == ONE
        assert [step for step in steps if isinstance(step, Loading)][-1].fraction == 1.0
