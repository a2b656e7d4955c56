"""Bringing models into a simulated host's memory and taking them out: effects over time."""

import asyncio
from collections.abc import Mapping
from functools import partial

from bot.sim.clock import SimClock
from bot.sim.errors import LoadCancelledError, LoadFailedError, SimError
from bot.sim.faults import Faults
from bot.sim.journal import (
    Journal,
    LoadCancelled,
    LoadFailed,
    LoadFinished,
    LoadStarted,
    Unloaded,
    UnloadReason,
)
from bot.sim.memory import Instance, LoadOrder, Memory, Reservation
from bot.sim.models import SimHostConfig
from bot.sim.progress import Progress
from bot.sim.tasks import Spawn, first_of

_STEP_S = 0.05
_MIN_STEPS = 20
_MAX_STEPS = 400
# Nobody watches a load that takes no time grow; each step is a message on the wire all the same,
# and twenty of them took longer than all the rest of the load.
_STILL = (0.25, 0.5, 0.75, 1.0)


class Load:
    """One load in flight; it belongs to the host and outlives whoever asked."""

    def __init__(self, reserved: Reservation) -> None:
        self.reserved = reserved
        self.progress = Progress()
        self.cancelled = asyncio.Event()
        self._outcome: Instance | SimError | None = None

    def settle(self, outcome: Instance | SimError) -> None:
        """Record how it ended; only the loader calls this."""
        self._outcome = outcome
        self.progress.finish()

    async def instance(self) -> Instance:
        """Wait for the end.

        Raises:
            SimError: the load failed or was cancelled.
        """
        async for _ in self.progress.follow():
            pass
        if isinstance(self._outcome, Instance):
            return self._outcome
        raise self._outcome or LoadCancelledError("Load was given up.")


class Loader:
    """Carries loads and unloads out on one host."""

    def __init__(
        self,
        config: SimHostConfig,
        memory: Memory,
        clock: SimClock,
        journal: Journal,
        faults: Faults,
    ) -> None:
        self._config = config
        self._memory = memory
        self._clock = clock
        self._journal = journal
        self._faults = faults
        self._changed = asyncio.Event()

    def start(self, order: LoadOrder, spawn: Spawn) -> Load:
        """Begin a load as a task of the host.

        Raises:
            IdentifierInUse: the identifier is taken.
            DoesNotFit: the guardrail refuses.
        """
        try:
            reserved = self._memory.reserve(order)
        except SimError as refusal:
            key, name = order.model.key, order.identifier or ""
            self._journal.write(LoadFailed(_real_now(), key, name, refusal.cause))
            raise
        self._journal.write(_started(reserved))
        load = Load(reserved)
        task = spawn(self._run(load), f"sim load {reserved.identifier}")
        task.add_done_callback(partial(self._after, load))
        return load

    def place(self, order: LoadOrder) -> Instance:
        """Make an instance resident at once, as if loaded before.

        Raises:
            IdentifierInUse: the identifier is taken.
            DoesNotFit: the guardrail refuses.
        """
        reserved = self._memory.reserve(order)
        self._journal.write(_started(reserved))
        return self._settle(reserved)

    def unload(self, instance: Instance, reason: UnloadReason) -> None:
        """Take an instance out of memory, busy or not."""
        self._memory.remove(instance)
        key, name, reference = instance.model.key, instance.identifier, instance.reference
        self._journal.write(Unloaded(_real_now(), key, name, reference, reason))
        self.touch()

    def evict_jit(self) -> list[Instance]:
        """Unload every JIT-loaded instance, busy ones too, as LM Studio does before a JIT load."""
        evicted = [instance for instance in self._memory if instance.order.is_jit]
        for instance in evicted:
            self.unload(instance, "jit evicted")
        return evicted

    def stop(self) -> None:
        """Empty the memory."""
        for instance in self._memory:
            self.unload(instance, "host stopped")

    def touch(self) -> None:
        """Let the idle watch look again."""
        self._changed.set()

    def expire(self) -> None:
        """Unload what has been idle longer than its TTL."""
        now_s = self._clock.now()
        for instance in self._memory:
            due_s = _due(instance)
            if due_s is not None and due_s <= now_s:
                self.unload(instance, "ttl")

    async def watch_idle(self) -> None:
        """Unload idle instances when their time is up, for as long as the host runs."""
        while True:
            self._changed.clear()
            self.expire()
            dues = [due for due in map(_due, self._memory) if due is not None]
            if not dues or self._clock.stands_still:
                await self._changed.wait()
            else:
                await self._clock.sleep_unless(min(dues) - self._clock.now(), self._changed)

    async def _run(self, load: Load) -> None:
        load.settle(await self._outcome(load))

    def _after(self, load: Load, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # the host stops, perhaps before the task had its first step
            load.settle(self._give_up(load.reserved))

    def _give_up(self, reserved: Reservation) -> SimError:
        self._memory.give_up(reserved)
        key, name = reserved.order.model.key, reserved.identifier
        self._journal.write(LoadCancelled(_real_now(), key, name))
        return LoadCancelledError("The load was cancelled.")

    async def _outcome(self, load: Load) -> Instance | SimError:
        reserved = load.reserved
        key, name = reserved.order.model.key, reserved.identifier
        broken = self._faults.take("fail_next_load")
        stall = self._faults.take("stall_load")
        seconds = reserved.order.model.size_bytes / self._config.load_bytes_per_s
        told = sorted({*_STILL, *(fault.number for fault in (broken, stall) if fault)})
        if not self._clock.stands_still:
            steps = min(_MAX_STEPS, max(_MIN_STEPS, round(seconds / _STEP_S)))
            told = [step / steps for step in range(1, steps + 1)]
        so_far = 0.0
        for fraction in told:
            if await self._clock.sleep_unless(seconds * (fraction - so_far), load.cancelled):
                return self._give_up(reserved)
            if broken is not None and fraction >= broken.number:
                self._memory.give_up(reserved)
                self._journal.write(LoadFailed(_real_now(), key, name, broken.text))
                return LoadFailedError(broken.text)
            load.progress.advance(fraction)
            if stall is not None and fraction >= stall.number:
                await first_of(stall.lifted.wait(), load.cancelled.wait())
            so_far = fraction
        return self._settle(reserved)

    def _settle(self, reserved: Reservation) -> Instance:
        instance = self._memory.settle(reserved, self._clock.now())
        self._journal.write(
            LoadFinished(_real_now(), instance.model.key, instance.identifier, instance.reference)
        )
        self.touch()
        return instance


def _started(reserved: Reservation) -> LoadStarted:
    order = reserved.order
    config: Mapping[str, object] = dict(order.fields)
    return LoadStarted(
        _real_now(), order.model.key, reserved.identifier, config, order.ttl_s, order.via
    )


def _due(instance: Instance) -> float | None:
    if instance.order.ttl_s is None or not instance.is_idle:
        return None
    return instance.idle_since_s + instance.order.ttl_s


def _real_now() -> float:
    return asyncio.get_running_loop().time()
