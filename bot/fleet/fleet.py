"""All hosts of the LAN: their state, the way to an instance, and the acts of admins and jobs.

It never chooses which host answers a turn; it says what is, and does what it is told.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from bot.domain.errors import UnknownName
from bot.domain.events import FleetEvent
from bot.domain.hosts import (
    FleetMemory,
    FleetSnapshot,
    HostConfig,
    Model,
    SpeedRecord,
    Wish,
)
from bot.domain.ids import HostName, InstanceId, ModelKey
from bot.fleet.host import FleetRules, Host, Recorder
from bot.fleet.lease import Lease
from bot.fleet.rest import lan_http
from bot.fleet.speeds import History
from bot.policy.names import nearest

__all__ = ["Fleet", "FleetRules", "Lease", "Recorder"]


class Fleet:
    """Use as ``async with Fleet(...) as fleet:``; hosts are probed from the start.

    Leaving it closes the connections. Models stay in memory: they are shared with others on the
    LAN, and the TTL given to LM Studio takes them out when nobody comes back.
    """

    def __init__(
        self,
        hosts: Sequence[HostConfig],
        *,
        memory: FleetMemory | None = None,
        recorder: Recorder | None = None,
        observe: Callable[[FleetEvent], None] = lambda _: None,
        rules: FleetRules | None = None,
    ) -> None:
        self._rules = rules or FleetRules()
        self._http = lan_http()
        # One record for a model that many hosts have on disk, however many they are.
        pool: dict[Model, Model] = {}
        self._hosts = {
            config.name: Host(
                config,
                history=_history(config.name, memory or FleetMemory()),
                own=[own for own in (memory or FleetMemory()).own if own.host == config.name],
                recorder=recorder or Recorder(),
                observe=observe,
                rules=self._rules,
                http=self._http,
                pool=pool,
            )
            for config in hosts
        }
        self._tasks: asyncio.TaskGroup | None = None
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._running = [
            self._tasks.create_task(host.run(), name=f"host {name}")
            for name, host in self._hosts.items()
        ]
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
        hosts = {name: host.snapshot() for name, host in self._hosts.items()}
        return FleetSnapshot(hosts, asyncio.get_running_loop().time())

    async def changed(self, host: HostName) -> None:
        """Returns at the next change of anything known of a host.

        Raises:
            UnknownName: no such host.
        """
        await self._host(host).changed()

    async def probe_all(self) -> None:
        """Probes every host; one in its pause after a failure waits for its own time."""
        async with asyncio.TaskGroup() as tasks:
            for host in self._hosts.values():
                tasks.create_task(host.probe_when_due())

    async def probe(self, host: HostName) -> None:
        """Probes one host now.

        Raises:
            UnknownName: no such host.
        """
        await self._host(host).probe()

    async def settled(self, timeout_s: float) -> None:
        """Returns when every host was probed once, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as tasks:
                for host in self._hosts.values():
                    tasks.create_task(host.settled())
        except TimeoutError:
            return

    def lease(self, host: HostName, wish: Wish) -> AbstractAsyncContextManager[Lease]:
        """The way to an instance on this host: enter it, iterate its progress, use its endpoint.

        Raises:
            UnknownName: no such host.
        """
        return self._host(host).lease(wish)

    async def cancel_load(self, host: HostName, model: ModelKey) -> bool:
        """Cancels a load at the host, unless more than one asker waits for it.

        Returns:
            Whether it was cancelled.
        """
        return self._host(host).cancel_load(model)

    async def unload(
        self, host: HostName, name: str, *, even_foreign: bool = False
    ) -> Mapping[InstanceId, str]:
        """Unloads by identifier or model key.

        Returns:
            Every instance meant: why it stays in memory, empty for one that left.

        Raises:
            UnknownName: nothing of that name is in memory there.
            NotPermitted: it is answering somebody, or foreign and ``even_foreign`` is not set.
        """
        return await self._host(host).unload(name, even_foreign)

    def pin(self, host: HostName, name: str) -> None:
        """Keeps instances in memory for good, by identifier or model key."""
        self._host(host).pin(name, True)

    def unpin(self, host: HostName, name: str) -> None:
        """Lets pinned instances go when idle, again."""
        self._host(host).pin(name, False)

    def drain(self, host: HostName) -> None:
        """No new turns go there; running ones finish."""
        self._host(host).drain(True)

    def resume(self, host: HostName) -> None:
        """New turns go there again."""
        self._host(host).drain(False)

    def report_failure(self, host: HostName, reason: str) -> None:
        """A request failed there: out at once, and probed back in."""
        self._host(host).report_failure(reason)

    def record_speed(self, record: SpeedRecord) -> None:
        """An answer was finished: its speed feeds the predictions and the history."""
        self._host(record.host).record_speed(record)

    async def evict_idle(self) -> None:
        """Begins to unload own instances that rested longer than their TTL.

        It waits for none of them: one host that hung in an unload held back the next evictions of
        all, because the timer runs no job beside itself.
        """
        for host in self._hosts.values():
            host.evict_idle()

    def _host(self, name: HostName) -> Host:
        if name not in self._hosts:
            raise UnknownName("host", name, nearest(name, list(self._hosts)))
        return self._hosts[name]


def _history(name: HostName, memory: FleetMemory) -> History:
    speeds = {key: speed for (host, key), speed in memory.speeds.items() if host == name}
    return History(speeds, memory.rates.get(name))
