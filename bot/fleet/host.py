"""Drives one host's scheduler: probes, loads and unloads as told, and brings back what happened.

Everything it starts runs in the host's own task group: a load belongs to the host, not to whoever
asked for it first.
"""

import asyncio
import itertools
import math
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar, assert_never

import httpx
import structlog

from bot.domain.errors import BotError, FailureKind, HostUnreachable, NotPermitted, Unavailable
from bot.domain.events import FleetEvent, Loading
from bot.domain.hosts import (
    Drain,
    HostConfig,
    HostSnapshot,
    Instance,
    LoadBegun,
    LoadHolder,
    LoadOrder,
    LoadRecord,
    Model,
    OwnInstance,
    Speed,
    SpeedRecord,
    WakeRecord,
    Wish,
)
from bot.domain.ids import InstanceId, InstanceRef, ModelKey
from bot.fleet.change import NextChange
from bot.fleet.client import HostClient, Stop, not_applied
from bot.fleet.connection import Connect, Connection
from bot.fleet.delivery import Delivery
from bot.fleet.demand import Demands
from bot.fleet.effects import (
    Effect,
    Effects,
    Forget,
    Grant,
    Refuse,
    StartUnload,
    StopLoad,
    Tell,
    Wake,
)
from bot.fleet.lease import Lease
from bot.fleet.probing import Probing
from bot.fleet.progress import HeldLoad, loading_news
from bot.fleet.queue import Ticket
from bot.fleet.reading import HostReader, hangs_text
from bot.fleet.remembered import Remembered
from bot.fleet.residents import LostLoad, reference_of
from bot.fleet.rules import LEAST_TIMER_S, FleetRules, SoleLoad
from bot.fleet.scheduler import Scheduler
from bot.fleet.speeds import History
from bot.fleet.waking import call
from bot.policy import breaker
from bot.policy.breaker import Breaker, BreakerRules
from bot.policy.index import shared_models
from bot.policy.prediction import lead_s
from bot.policy.speeds import UNTOLD

P = ParamSpec("P")
T = TypeVar("T")

RECORDED_WITHIN_S = 5.0
"""Longer nobody waits to hear that a drain is stored; the write goes on."""
SOLE_EVERY_S, SOLE_LOOK_S = 0.1, 2.0
"""So often it is looked whether another process's load is over, and what it made of the host."""
OWNED_WITHIN_S = 2.0
"""Longer nobody waits for a loaded model to be recorded as own; the write goes on."""
CALL_EVERY_S = 2.0
"""Between two calls of a host that sleeps, each with a probe."""
JUST_IN_TIME_S = 0.5
"""A first token that took longer may have come after a load of LM Studio's own."""
REBUILD_RULES = BreakerRules(threshold=1, base_s=1.0, longest_s=60.0)
"""After a fault of our own: built anew after 1 s, then 2, 4 ... until a probe is understood."""
GONE = "gone"
SPARED = "It is answering somebody, or its host keeps it."
BROKEN = "Lantern itself stumbled over this host, and begins with it anew."

_log = structlog.get_logger(__name__)


class Host:
    """One host: connection, scheduler and tasks. ``run`` must be running for it to act."""

    def __init__(
        self,
        config: HostConfig,
        *,
        history: History,
        demands: Demands,
        on_change: Callable[[], None],
        remembered: Remembered,
        observe: Callable[[FleetEvent], None],
        observe_load: Callable[[Loading], None],
        rules: FleetRules,
        http: httpx.AsyncClient,
        connect: Connect,
        sole_load: SoleLoad,
        pool: dict[Model, Model],
    ) -> None:
        self._config = config
        # To ask which loop runs is a call of the system in Python 3.11, and each event would.
        self._loop = asyncio.get_running_loop()
        self._demands = demands
        self._on_change = on_change
        self._observe = observe
        self._observe_load = observe_load
        self._rules = rules
        self._sole_load = sole_load
        self._pool = pool
        self._history = history
        self._remembered = remembered
        self._delivery = Delivery()
        self._scheduler = self._new_scheduler(drained_until=None)
        self._fault: Exception | None = None
        """What came out of the scheduler; None again when the host begins anew."""
        self._faults = Breaker()
        self._link = Connection(config, http, rules.probe_timeout_s, connect)
        self._tasks: asyncio.TaskGroup | None = None
        self._tickets = itertools.count(1)
        self._snapshot: HostSnapshot | None = None
        self.reader = HostReader(
            self._link,
            rules,
            self.snapshot,
            lambda listed: self.feed(Scheduler.on_listed, listed),
            lambda ticket: self.feed(Scheduler.on_spoke, ticket),
            lambda: self.probing.soon(),
        )
        self.probing = Probing(self._probe, lambda now: self._scheduler.health.next_probe_at(now))
        self._changed = NextChange()
        self._broken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        """Of all that is due at the scheduler the soonest."""
        self._rings_at = math.inf
        """When the timer was told to ring."""
        self._is_left = False
        self._stop = Stop()
        """Of the newest load."""
        self._recorded: dict[type, asyncio.Task[str] | None] = {}
        """The newest fact of each kind on its way to the recorder, or how that ended."""
        self._unload_news: dict[InstanceRef, str] = {}
        """Why an unload that was asked for did not happen; or that it came too late, ``GONE``."""

    async def run(self) -> None:
        """Probes and acts until cancelled; then ends its loads and leaves the host.

        A fault of our own costs this host alone: its exception once went on into the task group of
        the fleet, which ended the loads and leases of every host.
        """
        try:
            if self._remembered.drain is not None:
                self.drain(self._remembered.drain)
            # The host may have gone on with them while no Lantern was there.
            self._scheduler.residents.lost += [
                LostLoad(order, self._now() - age_s, may_go_on=True)
                for order, age_s in self._remembered.begun
            ]
            while True:
                try:
                    await self._act()
                except Exception as error:
                    self._break(error)
                # Nothing of what went before is trusted, the connection no more than the rest.
                await self._link.drop()
                await asyncio.sleep((self._faults.open_until or 0.0) - self._now())
                self._scheduler = self._new_scheduler(self._scheduler.drained_until)
                self._fault = self._snapshot = None
                self._broken.clear()
                self._wake()
        finally:
            self._is_left = True
            self._wake()
            stopping = HostUnreachable("Lantern is stopping.", FailureKind.CANCELLED)
            self._delivery.refuse_all(stopping)
            await self._link.drop()

    async def _act(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.probing.run())
            # A drain that was taken up may end before the first probe does.
            self._set_timer()
            try:
                await self._broken.wait()
                assert self._fault is not None, "it is why"
                raise self._fault
            finally:
                self._tasks = None
                self._set_timer()

    def _break(self, error: Exception) -> None:
        """After a fault of our own: the host is out, whoever waits is told, ``run`` does the rest.

        Nobody reads the broken scheduler any more: a new one, never up, stands in until ``run`` has
        ended what was under way.
        """
        if self._fault is not None:
            return
        self._fault = error
        self._broken.set()
        self._faults = breaker.on_failure(self._faults, self._now(), REBUILD_RULES)
        _log.error("host broke", host=self._config.name, exc_info=error)
        self._scheduler = self._new_scheduler(self._scheduler.drained_until)
        self._delivery.refuse_all(HostUnreachable(BROKEN, FailureKind.GARBAGE))
        self.feed(Scheduler.on_probe_failed, BROKEN, FailureKind.GARBAGE)

    def _new_scheduler(self, drained_until: float | None) -> Scheduler:
        """One that knows what must outlive another: own instances, speeds, what is in use."""
        scheduler = Scheduler(
            self._config,
            history=self._history,
            own=self._remembered.own.values(),
            evict_foreign=self._rules.evict_foreign,
            wake_s=self._remembered.wake_s,
            demands=self._demands,
        )
        scheduler.drained_until = drained_until
        for lease in self._delivery.leases.values():
            if lease.grant is not None:
                scheduler.residents.resume(lease.ticket, lease.wish.user, lease.grant.instance)
        return scheduler

    # --- what the fleet asks for ----------------------------------------------------------

    def snapshot(self) -> HostSnapshot:
        """Everything known of the host; made once per change."""
        if self._snapshot is None and self._fault is None:
            try:
                self._snapshot = self._scheduler.snapshot()
            except Exception as error:
                self._break(error)
        if self._snapshot is None:
            name, address = self._config.name, self._config.address
            self._snapshot = HostSnapshot(name, address, "down", BROKEN)
        return self._snapshot

    def lease(self, wish: Wish) -> Lease:
        """To be entered: asks for an instance, and gives it back when the block is left."""
        ticket = Ticket(next(self._tickets))
        return Lease(ticket, self._config, wish, self._asks, self._leaves, self._tick)

    def is_in_line(self, lease: Lease) -> bool:
        """Is it neither granted nor refused what it waits for, told or not?"""
        return self._scheduler.waits(lease.ticket)

    def stay_s(self, lease: Lease) -> float | None:
        """Seconds by which a lease that waits here is before a newcomer; None where none does."""
        ahead = self._scheduler.ahead(lease.ticket)
        return None if ahead is None else lead_s(self.snapshot(), lease.wish, ahead, self._now())

    @property
    def is_settling(self) -> bool:
        """Did it come a moment ago, and may serve more than the newest look found?"""
        return self._scheduler.health.is_settling

    async def probe(self) -> None:
        """Returns when a probe that began after this call is over."""
        await self.probing.now()

    async def until(self, holds: Callable[[HostSnapshot], bool]) -> None:
        """Waits until something holds of the host; over at once when Lantern has left it."""
        while not (self._is_left or holds(self.snapshot())):
            await self._changed.wait()

    def report_failure(self, reason: str) -> None:
        """A request failed there: out at once, probed at once."""
        # One loss breaks every request under way: one probe tells of them all.
        was_down = self._scheduler.health.state == "down"
        self.feed(Scheduler.on_doubted, reason)
        if not was_down:
            self.probing.soon()

    def record_speed(
        self, record: SpeedRecord, most: Speed = UNTOLD, conversation: str = "", tokens: int = 0
    ) -> None:
        """A request was answered there; see ``Scheduler.on_answered``."""
        self.feed(Scheduler.on_answered, record, most, conversation, tokens)
        if record.first_token_s >= JUST_IN_TIME_S:
            self._start(self._look_back(record.model_key))

    async def confirm(self, lease: Lease) -> None:
        """The request by a lease is about to be sent: raises what ``HostReader.confirm`` does."""
        try:
            await self.reader.confirm(lease)
        finally:
            self._delivery.set_out(lease.ticket)

    def cancel_load(self, key: ModelKey) -> bool:
        """Cancels the load unless somebody else waits for it; False when it may not be."""
        try:
            self.feed(Scheduler.on_cancelled, key)
        except NotPermitted:
            return False
        return True

    async def unload(
        self,
        name: str,
        *,
        even_foreign: bool = False,
        theirs: Collection[InstanceRef] | None = None,
    ) -> Mapping[InstanceId, str]:
        """Unloads by identifier or model key.

        Args:
            name: Which.
            even_foreign: Also what others loaded.
            theirs: As in ``Scheduler.on_unload_asked``.

        Returns:
            Every instance meant but what had left by itself: why it stays in memory, empty for one
            that was unloaded.

        Raises:
            UnknownName: nothing of that name is in memory.
            NotPermitted: one of them answers somebody, is kept by another Lantern, or is foreign
                and nobody said so.
            HostUnreachable: Lantern itself broke over the host meanwhile.
        """
        effects = self.feed(Scheduler.on_unload_asked, name, even_foreign, theirs)
        meant = [effect.instance for effect in effects if isinstance(effect, StartUnload)]
        await self.until(lambda _: not self._scheduler.residents.is_unloading())
        if self._fault is not None:
            raise HostUnreachable(BROKEN, FailureKind.GARBAGE)
        there = {reference_of(instance) for instance in self.snapshot().instances}
        # Why is the host's own word; one that says nothing and keeps it is told by its list.
        news = [(each, self._unload_news.pop(reference_of(each), "")) for each in meant]
        return {
            each.identifier: (why or "The host still lists it.")
            if reference_of(each) in there
            else ""
            for each, why in news
            if why != GONE
        }

    def pin(self, name: str, is_pinned: bool) -> None:
        """Pins or unpins by identifier or model key."""
        self.feed(Scheduler.on_pinned, name, is_pinned)

    def drain(self, drain: Drain) -> None:
        """Takes no new turns for a time, or until it is told to take them again."""
        self._recorded.pop(Drain, None)
        self.feed(Scheduler.on_drained, drain)

    async def drained(self, drain: Drain) -> str:
        """Drains as told, whether or not it can be stored.

        Returns:
            Why it does not outlive this process; empty where it does.
        """
        self.drain(drain)
        recorded = self._recorded.get(Drain)
        if recorded is None:
            return BROKEN
        # Whoever asked may leave, and the write goes on.
        await asyncio.wait((recorded,), timeout=RECORDED_WITHIN_S)
        if not recorded.done():
            return "The database is slow; it may be stored yet."
        return "Lantern is stopping." if recorded.cancelled() else recorded.result()

    # --- events in, effects out -----------------------------------------------------------

    def _asks(self, lease: Lease) -> None:
        self._delivery.leases[lease.ticket] = lease
        self.feed(Scheduler.on_asked, lease.ticket, lease.wish)

    def _leaves(self, lease: Lease) -> None:
        del self._delivery.leases[lease.ticket]
        self.feed(Scheduler.on_left, lease.ticket)
        self._delivery.set_out(lease.ticket)

    def feed(
        self,
        on: Callable[Concatenate[Scheduler, float, P], Effects],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Effects:
        """Gives the scheduler there is one event, and carries out what it decides."""
        effects: Effects = ()
        try:
            effects = on(self._scheduler, self._loop.time(), *args, **kwargs)
            for effect in effects:
                self._carry_out(effect)
        except BotError:
            # What was asked for may not be: for the asker to hear.
            raise
        except Exception as error:
            self._break(error)
        self._snapshot = None
        self._set_timer()
        self._wake()
        return effects

    def _set_timer(self) -> None:
        """Has the scheduler told the time when it is due there, where the host is driven at all.

        A probe would tell it only when it comes round. What rings early finds itself due as before.
        """
        due = math.inf if self._tasks is None else self._scheduler.due_at()
        if self._timer is not None and (due < self._rings_at or due == math.inf):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and due < math.inf:
            left_s = max(LEAST_TIMER_S, due - self._now())
            self._timer = self._loop.call_later(left_s, self._ring)
            self._rings_at = due

    def _ring(self) -> None:
        self._timer = None
        self._tick()

    def _tick(self) -> None:
        self.feed(Scheduler.on_tick)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Grant() | Refuse() | Tell():
                if isinstance(effect, Grant):
                    self._note_company()
                self._delivery.tell(effect)
            case LoadOrder():
                self._stop = Stop()
                known = frozenset(self._scheduler.residents.all)
                self._start(self._load(effect, known, self._stop))
            case StopLoad():
                self._stop_load()
            case StartUnload():
                self._start(self._unload(effect))
            case Wake():
                self._start(self._rouse())
            case FleetEvent():
                self._observe(effect)
            case LoadRecord() | SpeedRecord():
                self._remembered.noted(effect)
            case OwnInstance() | Forget() | Drain() | WakeRecord():
                self._recorded[type(effect)] = self._start(self._remembered.record(effect))
            case _:
                assert_never(effect)

    def _stop_load(self) -> None:
        """Where its command is not out yet, it never goes out."""
        self._stop.is_asked = True
        if self._stop.tell is not None:
            self._start(self._stop.tell())

    def _note_company(self) -> None:
        """Somebody was granted an instance: whoever works beside another is slowed by it."""
        held = self._scheduler.residents.held
        if len(held) < 2:
            return
        at_work, now = len({resident.reference for resident in held.values()}), self._now()
        for ticket, resident in held.items():
            lease = self._delivery.leases.get(ticket)
            if lease is not None:
                lease.shared_at = min(lease.shared_at, now)
                # Instances take whole shares, and so do the prompts that one reads.
                lease.shares = max(lease.shares, at_work * len(resident.users))

    def _start(self, work: Coroutine[None, None, T]) -> asyncio.Task[T] | None:
        if self._tasks is None:
            # Left, or not begun: closed, or Python warns of work that was never awaited.
            work.close()
            return None
        return self._tasks.create_task(work)

    # --- loading and unloading ------------------------------------------------------------

    async def _load(self, order: LoadOrder, known: Collection[InstanceRef], stop: Stop) -> None:
        own: OwnInstance | None = None
        try:
            with self._link.understood():
                async with self._solely(order, known, stop) as has_waited:
                    # Between the last probe and now somebody else may have loaded: a second copy
                    # would take the memory of the first again, any other what was reckoned with.
                    # Beside what was known when it was decided: a probe that came in between found
                    # it, and nobody was spared.
                    is_news = has_waited or not (await self._there(order)).issubset(known)
                    if is_news and not stop.is_asked:
                        began = self._now()
                        residents = await self._link.ask(self.reader.residents)
                        self.reader.listed_at = began
                        self.feed(Scheduler.on_listed, residents, is_load_spared=True)
                        return
                    async with self._link.act() as client:
                        made = await self._loaded(client, order, stop)
                        if made is not None:
                            own = await self._owned(made, order)
                        self._start(self._begins(order, is_over=True))
                        began = self._now()
                        residents = await self.reader.residents(client)
                    self.reader.acts += 1
                    self.reader.listed_at = began
                    if own is not None:
                        self.feed(Scheduler.on_loaded, own, residents)
                    else:
                        kind = FailureKind.CANCELLED
                        self.feed(Scheduler.on_load_failed, "cancelled", kind, residents, None)
        except Unavailable as error:
            listed, silent_since = None, self.snapshot().silent_since
            if isinstance(error, HostUnreachable):
                await self._link.drop()
            else:
                self._start(self._begins(order, is_over=True))
                listed = await self.reader.residents_if_there()
            self.reader.acts += 1
            text, kind = error.user_message, error.kind
            if kind is FailureKind.CUT and silent_since is not None:
                # The socket's heartbeat gave it up: nobody there cut anything.
                text, kind = (
                    hangs_text(self._config.name, self._now() - silent_since),
                    FailureKind.TIMEOUT,
                )
            self.feed(Scheduler.on_load_failed, text, kind, listed, own)
            self.probing.soon()

    @asynccontextmanager
    async def _solely(
        self, order: LoadOrder, known: Collection[InstanceRef], stop: Stop
    ) -> AsyncGenerator[bool]:
        """Around a load: no other process loads here. Gives whether one had to be waited for.

        Of its load nothing is known here but what is in memory afterwards: reckoned with what was
        known before, its model was too large beside itself, or loaded twice.
        """
        if await self._awaited_lost(order, known, stop):
            # Nothing is loaded then: all is decided anew, or it was told to stop.
            yield True
            return
        held: HeldLoad | None = None
        look_at = self._now() + SOLE_LOOK_S
        while True:
            with self._sole_load(self._config.address) as holder:
                is_out = held is not None and self._is_waited_out(held, holder)
                if holder is None or is_out or stop.is_asked:
                    if is_out:
                        self.feed(Scheduler.on_load_held, is_held=False)
                    yield held is not None and not is_out
                    return
            if held is None:
                held = HeldLoad(holder, self._now())
                _log.info("waits for another Lantern's load", **self._named(holder))
                self.feed(Scheduler.on_load_held, is_held=True, told_at=held.signed_at)
            await asyncio.sleep(SOLE_EVERY_S)
            # A process that was stopped in its load kept all others waiting for what was there.
            if self._now() >= look_at:
                look_at = self._now() + SOLE_LOOK_S
                self.feed(Scheduler.on_load_held, is_held=True, told_at=held.signed_at)
                if await self._is_news(order, known):
                    yield True
                    return

    async def _awaited_lost(
        self, order: LoadOrder, known: Collection[InstanceRef], stop: Stop
    ) -> bool:
        """Waits while the host may go on with the same load, lost from sight; was there one?

        By a line that broke, or a Lantern that was killed in it: whoever asked again had the model
        loaded once more beside it, or was told that there is no room.
        """
        name, key = self._config.name, order.model_key
        if self._now() >= self._scheduler.lost_until(key):
            return False
        _log.info("waits for a load that was lost from sight", host=name, model=key)
        look_at = self._now()
        while self._now() < self._scheduler.lost_until(key) and not stop.is_asked:
            if self._now() >= look_at:
                look_at = self._now() + SOLE_LOOK_S
                self.feed(Scheduler.on_load_held, is_held=True, told_at=self._now())
                if await self._is_news(order, known):
                    return True
            await asyncio.sleep(SOLE_EVERY_S)
        return True

    def _is_waited_out(self, held: HeldLoad, holder: LoadHolder | None) -> bool:
        """Is another process's load waited for no longer, though it still holds the host?"""
        now, load, rules = self._now(), self.snapshot().load, self._rules
        if holder is None:
            return False
        held.seen(holder, now)
        expected_s = None if load is None else load.expected_s
        if held.silent_s(now) >= max(rules.load_silent_s, expected_s or 0.0):
            _log.warning("another Lantern was stopped in its load", **self._named(holder))
            return True
        return now - held.since >= rules.load_beside_s

    def _named(self, holder: LoadHolder) -> dict[str, object]:
        return {"host": self._config.name, "process": holder.pid}

    async def _is_news(self, order: LoadOrder, known: Collection[InstanceRef]) -> bool:
        # One that is too busy with that load to tell has nothing new to tell.
        with suppress(Unavailable):
            return not (await self._there(order)).issubset(known)
        return False

    async def _there(self, order: LoadOrder) -> set[InstanceRef]:
        there = await self._link.ask(lambda client: self.reader.residents(client, order.kind))
        return set(map(reference_of, there))

    async def _owned(self, made: Instance, order: LoadOrder) -> OwnInstance:
        ref, key, name = reference_of(made), order.model_key, self._config.name
        own = OwnInstance(name, ref, made.identifier, key, order.idle_ttl_s)
        # Before the grant: a crash in between would make it foreign for good. But another program's
        # lock on the database once held it back for 30 s.
        if (owned := self._start(self._remembered.record(own))) is not None:
            await asyncio.wait((owned,), timeout=OWNED_WITHIN_S)
            if not owned.done():
                _log.warning("used before it is recorded", host=name, model=key)
        return own

    async def _look_back(self, key: ModelKey) -> None:
        # Whoever answered was a chat model. A host that is gone is for the next probe to tell.
        with suppress(Unavailable):
            await self.reader.look(key, "llm", self._now())

    async def _loaded(self, client: HostClient, order: LoadOrder, stop: Stop) -> Instance | None:
        if names := not_applied(order.settings, order.kind, client.interface):
            name, key = self._config.name, order.model_key
            _log.warning("load settings not applied", host=name, model=key, settings=names)
        rules = self._rules
        tells = client.interface == "SDK socket"
        async with self._link.within(rules.load_answer_s if tells else rules.load_stall_s) as limit:

            def heard(fraction: float) -> None:
                self.reader.heard_at = self._now()
                limit.reschedule(self.reader.heard_at + rules.load_stall_s)
                self.feed(Scheduler.on_progress, fraction)
                self._tell_of_load()

            # Checked here, where no await lies between the answer and the command.
            if stop.is_asked:
                return None
            self._tell_of_load()
            # Not waited for: a slow disk would hold every load up for a death that seldom comes.
            self._start(self._begins(order, is_over=False))
            try:
                return await client.load(order, heard, stop)
            except asyncio.CancelledError:
                # The host was told to stop: the next Lantern has nothing to wait for.
                with suppress(TimeoutError):
                    async with asyncio.timeout(OWNED_WITHIN_S):
                        await self._begins(order, is_over=True)
                raise

    async def _begins(self, order: LoadOrder, *, is_over: bool) -> None:
        # Without a TTL of ours nothing would tell it from a load by hand afterwards.
        if order.ttl_s is not None:
            name, key = self._config.name, order.model_key
            await self._remembered.record(
                LoadBegun(name, key, order.ttl_s, order.idle_ttl_s, is_over)
            )

    def _tell_of_load(self) -> None:
        """Whoever looks on hears of a load from its command on, whether anybody waits or not."""
        load = self.snapshot().load
        if load is not None:
            self._observe_load(loading_news(self._config.name, load, self._now()))

    async def _unload(self, effect: StartUnload) -> None:
        reference = reference_of(effect.instance)
        # An older refusal says nothing of this try.
        self._unload_news.pop(reference, None)
        residents: tuple[Instance, ...] | None = None
        try:
            with self._link.understood():
                async with asyncio.timeout(self._rules.unload_timeout_s):
                    listed = await self._link.ask(self.reader.residents)
                    # Gone, and perhaps another load answers to its name by now: not ours to touch.
                    if reference not in map(reference_of, listed):
                        self._unload_news[reference] = GONE
                    else:
                        async with self._link.act() as client:
                            # Others on the LAN use our instances by their names, and no lease tells
                            # of them.
                            await client.unload(effect.instance, even_busy=effect.even_busy)
                            listed = await self.reader.residents(client)
                        if not effect.even_busy and reference in map(reference_of, listed):
                            self._unload_news[reference] = SPARED
                    residents = listed
        except TimeoutError:
            self._unload_news[reference] = "It did not answer the unload."
            self.report_failure(self._unload_news[reference])
        except HostUnreachable as error:
            self._unload_news[reference] = error.user_message
            await self._link.drop()
            self.report_failure(error.user_message)
        except Unavailable as error:
            self._unload_news[reference] = error.user_message
            _log.warning("unload refused", host=self._config.name, reason=error.user_message)
            residents = await self.reader.residents_if_there()
        self.reader.acts += 1
        self.feed(Scheduler.on_unload_ended, reference, residents)

    # --- probing --------------------------------------------------------------------------

    async def _rouse(self) -> None:
        """Calls the host until it answers, or nobody wants it woken; a packet may get lost."""
        mac, address = self._config.wake_mac or "", self._config.address
        while self._scheduler.health.woken_at is not None:
            try:
                await call(mac, address, self._rules.wake_port)
            except OSError as error:
                _log.warning("host not called", host=self._config.name, reason=str(error))
            await self.probing.now()
            await asyncio.sleep(CALL_EVERY_S)

    async def _probe(self) -> None:
        asked_at = self._now()
        try:
            with self._link.understood():
                report = await self.reader.report(self._scheduler.is_at_work)
                known = self.snapshot().models
                if report.models != known:
                    known = shared_models(report.models, self._pool)
                self.feed(Scheduler.on_probed, replace(report, models=known))
                if self._fault is None:
                    self._faults = Breaker()
        except Unavailable as error:
            # Slow while at work is not gone.
            if error.kind is not FailureKind.TIMEOUT or not self._scheduler.is_at_work():
                await self._link.drop()
            silent_since = self.reader.silent_since(asked_at)
            self.feed(Scheduler.on_probe_failed, error.user_message, error.kind, silent_since)

    # --- small things ---------------------------------------------------------------------

    def _wake(self) -> None:
        self._changed.tell()
        self._on_change()

    def _now(self) -> float:
        return self._loop.time()
