"""All hosts of the LAN: their life, their state, and what comes round for all of them.

It never chooses which host answers a turn; it says what is, and hands out each host by its name.
"""

import asyncio
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from bot.domain.errors import Unavailable, UnknownName
from bot.domain.events import FleetEvent, Loading
from bot.domain.hosts import (
    Drain,
    FleetMemory,
    FleetSnapshot,
    HostConfig,
    HostSnapshot,
    HostState,
    Model,
    OwnInstance,
)
from bot.domain.ids import HostName, ModelKey
from bot.fleet.binding import Binding
from bot.fleet.change import NextChange
from bot.fleet.connection import Connect, connect
from bot.fleet.demand import Demands
from bot.fleet.host import Host
from bot.fleet.lan import lan_http
from bot.fleet.remembered import Remembered
from bot.fleet.residents import reference_of
from bot.fleet.rules import FleetRules, Recorder, SoleLoad, always_sole
from bot.fleet.scheduler import Scheduler
from bot.fleet.speeds import History, Yardstick
from bot.policy.ahead import AHEAD, plan_ahead
from bot.policy.names import nearest

LOOK_AFTER_S, LOOK_EVERY_S = 1.0, 15.0
"""Loads ahead are thought of so long after a change, since a conversation whose model was evicted
mostly goes on within the minute, and at the latest so often, since what is asked for fades."""
AHEAD_S = 60.0
"""A load that nobody asked for waits no longer for its turn."""

_log = structlog.get_logger(__name__)

__all__ = ["Fleet", "FleetRules", "Recorder"]


class Fleet:
    """Use as ``async with Fleet(...) as fleet:``; hosts are probed from the start.

    Leaving it closes the connections. Models stay in memory: they are shared with others on the
    LAN, and the TTL given to LM Studio takes them out when nobody comes back.

    Whoever runs it gives the clock: all times, deadlines and pauses are those of the running loop.
    ``bench/fleet`` runs whole days of it in minutes on a loop whose clock jumps.
    """

    def __init__(
        self,
        hosts: Sequence[HostConfig],
        *,
        memory: FleetMemory | None = None,
        recorder: Recorder,
        observe: Callable[[FleetEvent], None] = lambda _: None,
        observe_load: Callable[[Loading], None] = lambda _: None,
        rules: FleetRules | None = None,
        connect: Connect = connect,
        sole_load: SoleLoad = always_sole,
    ) -> None:
        memory, rules = memory or FleetMemory(), rules or FleetRules()
        self._http = lan_http()
        self._loop = asyncio.get_running_loop()
        # Hosts with the same models on disk share the records of them: a hundred hosts with a
        # thousand models each would hold a hundred thousand.
        pool: dict[Model, Model] = {}
        self._hosts: dict[HostName, Host] = {}
        self.binding = Binding()
        self._seen: dict[HostName, HostSnapshot] | None = None
        """What is known of the hosts; None since one of them changed."""
        self._turned = NextChange()
        yardstick, self._demands = Yardstick(), Demands()
        for config in hosts:
            name = config.name
            speeds = {key: speed for (host, key), speed in memory.speeds.items() if host == name}
            answers = {key: rates for (host, key), rates in memory.answers.items() if host == name}
            self._hosts[name] = Host(
                config,
                history=History(speeds, memory.rates.get(name), name, yardstick, answers),
                demands=self._demands,
                on_change=self._changed,
                remembered=Remembered(name, memory, recorder),
                observe=observe,
                observe_load=observe_load,
                rules=rules,
                http=self._http,
                connect=connect,
                sole_load=sole_load,
                pool=pool,
            )
        self._tasks: asyncio.TaskGroup | None = None
        self._running: list[asyncio.Task[None]] = []
        self._rules = rules
        self._news = asyncio.Event()
        """A host changed since loads ahead were thought of last."""

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._running = [
            self._tasks.create_task(host.run(), name=f"host {name}")
            for name, host in self._hosts.items()
        ]
        if self._rules.loads_ahead:
            self._running.append(self._tasks.create_task(self._look_ahead(), name="loads ahead"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._running:
            task.cancel()
        try:
            if self._tasks is not None:
                # Not told of the error: it would come out wrapped in a group.
                await self._tasks.__aexit__(None, None, None)
        finally:
            await self._http.aclose()

    def snapshot(self) -> FleetSnapshot:
        """Everything known now; cheap."""
        # One request looks ten times, and mostly nothing has changed in between.
        if (hosts := self._seen) is None:
            hosts = {name: host.snapshot() for name, host in self._hosts.items()}
            self._seen = hosts
        return FleetSnapshot(hosts, self._loop.time())

    def _changed(self) -> None:
        self._seen = None
        self._turned.tell()
        self.binding.changed()
        self._news.set()

    def host(self, name: HostName) -> Host:
        """One host, and all that can be asked of it.

        Raises:
            UnknownName: no such host.
        """
        if name not in self._hosts:
            raise UnknownName("host", name, nearest(name, list(self._hosts)))
        return self._hosts[name]

    async def probe_all(self) -> None:
        """Probes every host; one in its pause after a failure waits for its own time."""
        async with asyncio.TaskGroup() as tasks:
            for host in self._hosts.values():
                tasks.create_task(host.probing.now(only_when_due=True))

    async def look_again(self, *, only_settling: bool = False) -> None:
        """Probes the hosts not known to serve, all at once: nobody else is left to ask.

        Args:
            only_settling: Of these those alone that came a moment ago and may serve more by now.
        """
        states = () if only_settling else ("unknown", "down")
        out = [h for h in self._hosts.values() if h.is_settling or h.snapshot().state in states]
        async with asyncio.TaskGroup() as tasks:
            for host in out:
                tasks.create_task(host.probing.again(partial(host.feed, Scheduler.on_sought)))

    def order_load(self, key: ModelKey) -> None:
        """An admin wants a model loaded: hosts that failed to load it may be asked again."""
        for host in self._hosts.values():
            host.feed(Scheduler.on_load_ordered, key)

    async def settled(self, timeout_s: float, *names: HostName) -> bool:
        """Returns when every host, or those named, was probed once: True; False after the time.

        Args:
            timeout_s: Longest wait.
            names: Whom to wait for; none is everybody.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for name in names or self._hosts:
                    await self._hosts[name].until(lambda seen: seen.state != "unknown")
        except TimeoutError:
            return False
        return True

    async def until(
        self, is_enough: Callable[[], bool], timeout_s: float, but: Container[HostName | None] = ()
    ) -> None:
        """Returns when that holds, when of every host is known whether it serves, or after a time.

        Args:
            is_enough: Asked whenever a host comes or goes: nobody waits for a dead host beside a
                live one. What it said last still holds when this returns.
            timeout_s: Longest wait.
            but: Whose coming and going is no news.
        """

        def seen() -> list[tuple[HostName, HostState, bool]]:
            hosts = self.snapshot().hosts.values()
            return [(h.name, h.state, h.is_undecided) for h in hosts if h.name not in but]

        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not is_enough():
                    before = seen()
                    if not any(is_undecided for *_, is_undecided in before):
                        return
                    while seen() == before:
                        await self._turned.wait()

    async def _look_ahead(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._news.wait()
            await asyncio.sleep(LOOK_AFTER_S)
            self._news.clear()
            try:
                await self.improve()
            except Exception:
                # Whatever is wrong with it, hosts and answers go on without.
                _log.exception("load ahead failed")

    async def improve(self) -> None:
        """Loads what will probably be asked for soon, one model at a time; see ``policy.ahead``."""
        plan = plan_ahead(self.snapshot(), self._demands.of)
        if plan is None:
            return
        wish = replace(
            plan.wish,
            user=AHEAD,
            conversation="",
            since=None,
            max_wait_s=AHEAD_S,
            priority="low",
            purpose="ahead",
        )
        with suppress(Unavailable):
            async with self.host(plan.host).lease(wish) as lease:
                async for _ in lease:
                    pass

    def take_over(self, own: Sequence[OwnInstance]) -> None:
        """Makes ours what commands beside this Lantern loaded, by what they left in its store."""
        for name, host in self._hosts.items():
            foreign = {reference_of(copy) for copy in host.snapshot().loaded if not copy.own}
            ours = [one for one in own if one.host == name and one.reference in foreign]
            if ours:
                host.feed(Scheduler.on_left_to_us, ours)

    def take_drains(self, drains: Sequence[Drain]) -> None:
        """Drains and resumes hosts as the Lantern beside which this one stands has done."""
        told = {drain.host: drain for drain in drains}
        for name, host in self._hosts.items():
            if (name in told) != (host.snapshot().drained_until is not None):
                host.drain(told.get(name, Drain(name, is_on=False)))

    async def evict_idle(self) -> None:
        """Begins to unload own instances that rested longer than their TTL.

        It waits for none of them: one host that hung in an unload held back the next evictions of
        all, because the timer runs no job beside itself.
        """
        for host in self._hosts.values():
            host.feed(Scheduler.on_swept)
