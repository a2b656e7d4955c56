"""A fleet over simulated hosts on real sockets, with the real SDK, for the driver's tests."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from brief import brief
from patience import GUARD_S

from bot.domain.events import FleetEvent, Progress
from bot.domain.hosts import (
    Drain,
    FleetMemory,
    HostConfig,
    HostSnapshot,
    Instance,
    LoadBegun,
    LoadRecord,
    OwnInstance,
    SpeedRecord,
    WakeRecord,
    Wish,
)
from bot.domain.ids import HostName, InstanceRef, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.fleet import Fleet, FleetRules, Recorder
from bot.fleet.rules import SoleLoad, always_sole
from bot.sim.host import SimHost
from bot.sim.models import GB, SimHostConfig, SimModel

ONE, TWO = ModelKey("lab/one"), ModelKey("lab/two")
EMBED = ModelKey("lab/embed")
MODELS = (
    SimModel(ONE, 4 * GB),
    SimModel(TWO, 4 * GB),
    SimModel(EMBED, 1 * GB, kind="embedding"),
)
H = HostName("studio")


def sim_config(**changes: object) -> SimHostConfig:
    """A host on which nothing takes time; what is to last is held by its dials."""
    return SimHostConfig(**{"models": MODELS, "time_scale": 0.0, "answer": brief, **changes})  # pyright: ignore[reportArgumentType]  # passed through


@dataclass
class Kept:
    """What the recorder was told."""

    own: dict[InstanceRef, OwnInstance] = field(default_factory=dict[InstanceRef, OwnInstance])
    loads: list[LoadRecord] = field(default_factory=list[LoadRecord])
    speeds: list[SpeedRecord] = field(default_factory=list[SpeedRecord])
    begun: list[LoadBegun] = field(default_factory=list[LoadBegun])
    wakes: dict[HostName, float] = field(default_factory=dict[HostName, float])
    drains: dict[HostName, Drain] = field(default_factory=dict[HostName, Drain])
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    async def own_added(self, own: OwnInstance) -> None:
        self.own[own.reference] = own
        self._told.set()

    async def own_gone(self, _host: HostName, reference: InstanceRef) -> None:
        self.own.pop(reference, None)
        self._told.set()

    async def until(self, holds: Callable[[list[OwnInstance]], bool]) -> None:
        """Waits until the own instances known are such: no host need change for that."""
        async with asyncio.timeout(GUARD_S):
            while not holds(list(self.own.values())):
                self._told.clear()
                await self._told.wait()

    def noted(self, record: LoadRecord | SpeedRecord) -> None:
        if isinstance(record, LoadRecord):
            self.loads.append(record)
        else:
            self.speeds.append(record)

    async def drained(self, drain: Drain) -> None:
        self.drains[drain.host] = drain
        self._told.set()

    async def load_begun(self, load: LoadBegun) -> None:
        self.begun.append(load)
        self._told.set()

    async def woken(self, record: WakeRecord) -> None:
        self.wakes[record.host] = record.seconds
        self._told.set()

    def memory(self) -> FleetMemory:
        """What a restart finds."""
        drains = tuple(drain for drain in self.drains.values() if drain.is_on)
        return FleetMemory(own=tuple(self.own.values()), wakes=self.wakes, drains=drains)

    def recorder(self) -> Recorder:
        return Recorder(
            self.own_added,
            self.own_gone,
            self.noted,
            self.drained,
            self.woken,
            self.load_begun,
        )


@dataclass
class Bench:
    """A running fleet and what was heard of it."""

    fleet: Fleet
    news: list[FleetEvent]
    kept: Kept

    def host(self, name: HostName = H) -> HostSnapshot:
        return self.fleet.snapshot().hosts[name]

    async def until(self, holds: Callable[[HostSnapshot], bool], name: HostName = H) -> None:
        """Waits until a host's snapshot shows something."""
        async with asyncio.timeout(GUARD_S):
            await self.fleet.host(name).until(holds)

    async def until_down(self, name: HostName = H) -> None:
        await self.until(lambda host: host.state == "down", name)

    async def until_up(self, name: HostName = H) -> None:
        await self.until(lambda host: host.state == "up", name)

    async def use(
        self, key: ModelKey = ONE, name: HostName = H, **wish: object
    ) -> tuple[Instance, list[Progress]]:
        """Takes a lease, gives it back; the instance and the way there."""
        async with self.fleet.host(name).lease(a_wish(key, **wish)) as lease:
            steps = [step async for step in lease]
            return lease.granted.instance, steps


def a_wish(key: ModelKey = ONE, **changes: object) -> Wish:
    return Wish(**{"model_key": key, "load": LoadSettings(), **changes})  # pyright: ignore[reportArgumentType]  # passed through


@asynccontextmanager
async def fleet_over(
    *sims: SimHost,
    configs: Sequence[HostConfig] = (),
    memory: FleetMemory | None = None,
    kept: Kept | None = None,
    rules: FleetRules | None = None,
    settled: Sequence[HostName] = (),
    sole_load: SoleLoad = always_sole,
) -> AsyncGenerator[Bench]:
    """A fleet over these hosts, all or some probed once; the first is called ``studio``."""
    names = [H, *(HostName(f"studio-{n}") for n in range(2, 10))]
    configured = configs or [
        HostConfig(name, sim.address) for name, sim in zip(names, sims, strict=False)
    ]
    news: list[FleetEvent] = []
    kept = kept or Kept()
    fleet = Fleet(
        configured,
        memory=memory,
        recorder=kept.recorder(),
        observe=news.append,
        rules=rules or FleetRules(probe_timeout_s=GUARD_S),
        sole_load=sole_load,
    )
    async with fleet:
        await fleet.settled(GUARD_S, *settled)
        yield Bench(fleet, news, kept)
