"""What an answer tells of its machine, alone and beside others; leases in virtual time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from virtual_time import play

from bench.fleet.host import Machine
from bench.fleet.lantern import VirtualClient
from bench.fleet.trace import GB, HostSpec, ModelSpec
from bot.chat.host_serving import HostServing
from bot.domain.chat import Candidate, Receipt, Timing, Usage
from bot.domain.hosts import HostConfig, Pace, Speed, Wish
from bot.domain.ids import HostName, ModelKey, PersonaName
from bot.fleet.client import HostClient
from bot.fleet.fleet import Fleet, FleetRules, Recorder
from bot.fleet.lease import Lease
from bot.policy.demand import GOES_ON
from bot.policy.speeds import SENT_S

ONE, TWO = ModelKey("lab/one"), ModelKey("lab/two")
MODELS = {key: ModelSpec(key, 8 * GB, active=8.0, kv_bytes=100_000) for key in (ONE, TWO)}
STUDIO = HostName("studio")


async def _kept(*_: object) -> None: ...


def _noted(*_: object) -> None: ...


@asynccontextmanager
async def studio() -> AsyncGenerator[tuple[Fleet, AsyncExitStack]]:
    """A host with both models in memory; what is taken is given back with the stack."""
    machine = Machine(HostSpec(STUDIO, 24 * GB, 200 * GB, 900.0, GB, 0.0, MODELS), 1)

    async def connect(_config: HostConfig, _http: httpx.AsyncClient, _s: float) -> HostClient:
        return VirtualClient(machine)

    for model in MODELS.values():
        await machine.load(model, 4096)
    config = HostConfig(STUDIO, "studio:1", slots=4)
    recorder = Recorder(_kept, _kept, _noted, _kept, _kept, _kept)
    # The machine's own copies may leave, too: what each is missed by is reckoned of no others.
    rules = FleetRules(loads_ahead=False, evict_foreign=True)
    async with (
        Fleet([config], recorder=recorder, rules=rules, connect=connect) as fleet,
        AsyncExitStack() as stack,
    ):
        await fleet.settled(5.0)
        yield fleet, stack


async def taken(
    fleet: Fleet, stack: AsyncExitStack, key: ModelKey, conversation: str = ""
) -> Lease:
    wish = Wish(key, conversation=conversation)
    lease = await stack.enter_async_context(fleet.host(STUDIO).lease(wish))
    async for _ in lease:
        pass
    return lease


async def _shares() -> None:
    async with studio() as (fleet, stack), AsyncExitStack() as brief:
        first = await taken(fleet, stack, ONE)
        assert first.shares == 1
        second = await taken(fleet, brief, ONE)
        third = await taken(fleet, stack, TWO)
        assert (first.shares, second.shares, third.shares) == (4, 4, 2)
        await brief.aclose()
        fourth = await taken(fleet, stack, TWO)
        assert (first.shares, third.shares, fourth.shares) == (4, 4, 4)


def test_a_host_divides_its_work_among_instances_and_these_theirs_and_the_most_counts() -> None:
    play(_shares())


def answered(fleet: Fleet, lease: Lease, *, is_first: bool = True) -> None:
    """1,000 tokens read in two seconds, 101 written in ten."""
    usage, timing = Usage(1000, 101), Timing(first_token_s=2.0, generation_s=10.0)
    receipt = Receipt(PersonaName("sage"), ONE, STUDIO, usage=usage, timing=timing)
    hosting = HostServing(fleet, None)  # pyright: ignore[reportArgumentType]  # sends nothing
    hosting.remember(Candidate(ONE, STUDIO), receipt, lease, is_first=is_first)


async def _measured(shared_after_s: float | None, *, is_first: bool) -> tuple[Speed, Pace]:
    async with studio() as (fleet, stack):
        lease = await taken(fleet, stack, ONE)
        lease.spoke_at = asyncio.get_running_loop().time() + 2.0
        if shared_after_s is not None:
            await asyncio.sleep(shared_after_s)
            await taken(fleet, stack, ONE)
        answered(fleet, lease, is_first=is_first)
        host = fleet.snapshot().hosts[STUDIO]
        return host.speeds[ONE], host.pace


READ, WRITTEN = 1000 / (2.0 - SENT_S), 10.0
HALF_READ = 1000 / (1.0 - SENT_S)


@pytest.mark.parametrize(
    ("shared_after_s", "is_first", "read", "written", "pace"),
    [
        (None, True, READ, WRITTEN, (READ, WRITTEN)),
        (None, False, None, WRITTEN, (None, WRITTEN)),
        (3.0, True, READ, None, (READ, 2 * WRITTEN)),
        (2.0, True, READ, None, (READ, 2 * WRITTEN)),
        (1.0, True, None, None, (HALF_READ, 2 * WRITTEN)),
        (1.0, False, None, None, (None, 2 * WRITTEN)),
    ],
)
def test_beside_others_an_answer_tells_how_fast_its_host_is_at_the_most(
    shared_after_s: float | None,
    is_first: bool,
    read: float | None,
    written: float | None,
    pace: tuple[float | None, float],
) -> None:
    speed, paced = play(_measured(shared_after_s, is_first=is_first))
    assert (speed.prefill_tokens_per_s, speed.tokens_per_s) == (read, written)
    found = [None if p is None else p / (8 * GB) for p in (paced.prefill, paced.decode)]
    assert found == [None if p is None else pytest.approx(p) for p in pace]


async def _said() -> None:
    async with studio() as (fleet, _):
        async with AsyncExitStack() as brief:
            lease = await taken(fleet, brief, ONE, "ada")

        def missed_s() -> float:
            host = fleet.snapshot().hosts[STUDIO]
            return next(i.missed_s for i in host.instances if i.model_key == ONE)

        unheard_s = missed_s()
        answered(fleet, lease)
        # 1,000 tokens of question and 101 of answer, at what was just measured.
        await fleet.host(STUDIO).probe()
        read_s = GOES_ON * 1101 * (2.0 - SENT_S) / 1000
        assert missed_s() - unheard_s == pytest.approx(read_s, rel=1e-3)


def test_how_long_a_conversation_is_by_now_is_part_of_what_its_copy_is_missed_by() -> None:
    play(_said())
