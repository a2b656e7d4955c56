"""Drives one host's scheduler: probes, loads and unloads as told, and brings back what happened.

Everything it starts runs in the host's own task group: a load belongs to the host, not to whoever
asked for it first.
"""

import asyncio
import itertools
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Concatenate, ParamSpec, assert_never

import httpx
import structlog

from bot.domain.errors import BotError, FailureKind, HostUnreachable, Unavailable
from bot.domain.events import FleetEvent, Loading
from bot.domain.hosts import (
    HostConfig,
    HostSnapshot,
    Instance,
    LoadOrder,
    LoadRecord,
    Model,
    ModelKind,
    OwnInstance,
    Report,
    SpeedRecord,
    Wish,
)
from bot.domain.ids import HostName, InstanceId, InstanceRef, ModelKey
from bot.fleet.client import HostClient, Stop, not_applied
from bot.fleet.connection import Connection
from bot.fleet.effects import Effect, Effects, Forget, Grant, Refuse, StartUnload, StopLoad, Tell
from bot.fleet.lease import Lease
from bot.fleet.progress import loading_news
from bot.fleet.queue import Ticket
from bot.fleet.residents import reference_of
from bot.fleet.scheduler import Scheduler
from bot.fleet.speeds import History
from bot.policy import breaker
from bot.policy.breaker import Breaker, BreakerRules
from bot.policy.index import shared_models

P = ParamSpec("P")

PULSE_S = 1.0
"""How often the scheduler looks again on its own while anybody waits."""
LOOK_S = 2.0
"""How long a turn about to be sent waits to hear whether its instance is still there."""
LOOK_AGAIN_S, LOOK_AGAIN_SHARE = 15.0, 0.75
"""Before this, or this share of the pause after a failed probe, no turn has a host probed anew."""
JUST_IN_TIME_S = 0.5
"""A first token that took longer may have come after a load of LM Studio's own."""
VOUCHED_S = 1.0
"""A list, or a word of an answer under way, tells for so long that an instance is in memory."""
SETTING_OUT = 4
"""Granted turns that may prepare their requests at once."""
SET_OUT_S = 0.1
"""After so long without a request sent, a granted turn holds up no other."""
REBUILD_RULES = BreakerRules(threshold=1, base_s=1.0, longest_s=60.0)
"""After a fault of our own: built anew after 1 s, then 2, 4 ... until a probe is understood."""
BROKEN = "Lantern itself stumbled over this host, and begins with it anew."

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FleetRules:
    """How the fleet goes about its work; plain values from the settings, times in seconds."""

    probe_every_s: float = 30.0
    probe_timeout_s: float = 5.0
    sweep_every_s: float = 30.0
    evict_foreign: bool = False
    call_timeout_s: float = 10.0
    """Longest a host that is at work may take to list what it has loaded."""
    unload_timeout_s: float = 60.0
    """Longest an unload may take."""
    load_answer_s: float = 180.0
    """Longest a host may leave a load command without any word, where it gives words (sockets).

    Well above a cold load of two minutes: a loader may have no word to say before it is done.
    """
    load_stall_s: float = 600.0
    """Longest a load may go without progress; REST reports none, so this bounds it whole."""


async def _nothing(*_: object) -> None:
    """Keeps nothing."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Where facts go that must outlive the process; each may raise ``StoreUnavailable``."""

    own_added: Callable[[OwnInstance], Awaitable[None]] = _nothing
    """Awaited before the first grant; also when a known one changes."""
    own_gone: Callable[[HostName, InstanceRef], Awaitable[None]] = _nothing
    loaded: Callable[[LoadRecord], Awaitable[None]] = _nothing
    spoke: Callable[[SpeedRecord], Awaitable[None]] = _nothing


class Host:
    """One host: connection, scheduler and tasks. ``run`` must be running for it to act."""

    def __init__(
        self,
        config: HostConfig,
        *,
        history: History,
        own: Iterable[OwnInstance],
        recorder: Recorder,
        observe: Callable[[FleetEvent], None],
        observe_load: Callable[[Loading], None],
        rules: FleetRules,
        http: httpx.AsyncClient,
        pool: dict[Model, Model],
    ) -> None:
        self._config = config
        self._recorder = recorder
        self._observe = observe
        self._observe_load = observe_load
        self._rules = rules
        self._pool = pool
        self._history = history
        self._kept = {record.reference: record for record in own}
        """The own instances as the recorder was told: what a new scheduler begins with."""
        self._leases: dict[Ticket, Lease] = {}
        self._scheduler = self._new_scheduler(is_draining=False)
        self._fault: Exception | None = None
        """What came out of the scheduler; None again when the host begins anew."""
        self._faults = Breaker()
        self._link = Connection(config, http, rules.probe_timeout_s)
        self._tasks: asyncio.TaskGroup | None = None
        self._tickets = itertools.count(1)
        self._snapshot: HostSnapshot | None = None
        self._acts = 0
        """Loads and unloads ended; a list read before the newest of them is out of date."""
        self._tells: deque[Tell] = deque()
        """Those not passed on yet."""
        self._telling: asyncio.Handle | None = None
        self._granted: deque[Grant] = deque()
        """Those not told yet, in turn."""
        self._setting_out: set[Ticket] = set()
        """Told of their grant, and no request sent so far."""
        self._heard_at = -math.inf
        """When it last said anything in an answer or of a load."""
        self._spoke: dict[Ticket, tuple[InstanceRef, float]] = {}
        """Each answer under way: by which instance, and when its newest word came."""
        self._listed_at = -math.inf
        """When the newest list that the scheduler was told was asked for."""
        self._looks: dict[ModelKey, tuple[asyncio.Lock, float]] = {}
        """Who looks for copies of a model now, and when the newest look began."""
        self._kick = asyncio.Event()
        self._changed = asyncio.Event()
        self._probes_begun = 0
        self._probes_done = 0
        self._probed_at = -math.inf
        """When the newest probe ended."""
        self._is_left = False
        self._stop = Stop()
        """Of the newest load."""
        self._stays: dict[InstanceRef, str] = {}
        """Why an unload that was asked for did not happen."""

    async def run(self) -> None:
        """Probes and acts until cancelled; then ends its loads and leaves the host.

        A fault of our own costs this host alone: its exception once went on into the task group of
        the fleet, which ended the loads and leases of every host.
        """
        try:
            while True:
                try:
                    await self._act()
                except Exception as error:
                    self._break(error)
                # Nothing of what went before is trusted, the connection no more than the rest.
                await self._link.drop()
                await asyncio.sleep((self._faults.open_until or 0.0) - self._now())
                self._scheduler = self._new_scheduler(self._scheduler.is_draining)
                self._fault = self._snapshot = None
        finally:
            self._is_left = True
            self._wake()
            self._refuse_waiting(HostUnreachable("Lantern is stopping.", FailureKind.CANCELLED))
            await self._link.drop()

    async def _act(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._pulse())
            tasks.create_task(self._end_when_broken())
            try:
                await self._watch()
            finally:
                self._tasks = None

    async def _end_when_broken(self) -> None:
        while self._fault is None:
            await self._changed.wait()
        raise self._fault

    def _break(self, error: Exception) -> None:
        """After a fault of our own: the host is out, whoever waits is told, ``run`` does the rest.

        Nobody reads the broken scheduler any more: a new one, never up, stands in until ``run`` has
        ended what was under way.
        """
        if self._fault is not None:
            return
        self._fault = error
        self._faults = breaker.on_failure(self._faults, self._now(), REBUILD_RULES)
        _log.error("host broke", host=self._config.name, exc_info=error)
        self._scheduler = self._new_scheduler(self._scheduler.is_draining)
        self._refuse_waiting(HostUnreachable(BROKEN, FailureKind.GARBAGE))
        self._feed(self._scheduler.on_probe_failed, BROKEN, FailureKind.GARBAGE)

    def _new_scheduler(self, is_draining: bool) -> Scheduler:
        """One that knows what must outlive another: own instances, speeds, what is in use."""
        scheduler = Scheduler(
            self._config,
            history=self._history,
            own=self._kept.values(),
            evict_foreign=self._rules.evict_foreign,
        )
        scheduler.is_draining = is_draining
        for lease in self._leases.values():
            if lease.grant is not None:
                scheduler.residents.resume(lease.ticket, lease.wish.user, lease.grant.instance)
        return scheduler

    def _refuse_waiting(self, error: HostUnreachable) -> None:
        # Granted by a scheduler that is no more, and not told: no other knows that they hold it.
        self._granted.clear()
        for lease in self._leases.values():
            lease.heard(Refuse(lease.ticket, error))

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

    @asynccontextmanager
    async def lease(self, wish: Wish) -> AsyncGenerator[Lease]:
        """Asks for an instance, and gives it back when the block is left.

        Leaving awaits nothing, so that a turn cancelled while it leaves holds nothing either.
        """
        ticket = Ticket(next(self._tickets))
        lease = Lease(ticket, self._config, wish, lambda: self._feed(self._scheduler.on_tick))
        self._leases[ticket] = lease
        self._feed(self._scheduler.on_asked, ticket, wish)
        try:
            yield lease
        finally:
            del self._leases[ticket]
            self._feed(self._scheduler.on_left, ticket)
            self._set_out(ticket)

    async def probe(self) -> None:
        """Returns when a probe that began after this call is over."""
        target = self._probes_begun + 1
        self._kick.set()
        await self._until(lambda: self._probes_done >= target)

    async def look_again(self) -> None:
        """A probe for whoever found nobody to answer; one serves all who ask meanwhile.

        Each of many such turns once waited for a probe of its own: 1,168 requests to dead hosts in
        36 s. So soon after a probe its word stands.
        """
        begun, due = self._probes_begun, self._scheduler.health.next_probe_at(self._now())
        if self._probes_done < begun:
            await self._until(lambda: self._probes_done >= begun)
            return
        pause_s = min(LOOK_AGAIN_S, LOOK_AGAIN_SHARE * ((due or 0.0) - self._probed_at))
        if self._now() - self._probed_at >= pause_s:
            await self.probe()

    async def probe_when_due(self) -> None:
        """A probe, unless the pause after a failure is still going on."""
        # The timer comes round for all hosts alike; one that is away has pauses of its own.
        due = self._scheduler.health.next_probe_at(self._now())
        if due is None or due <= self._now():
            await self.probe()

    async def changed(self) -> None:
        """Returns at the next change of anything known of the host."""
        await self._changed.wait()

    async def settled(self) -> None:
        """Returns when the first probe is over."""
        await self._until(lambda: self._probes_done >= 1)

    def report_failure(self, reason: str) -> None:
        """A request failed there: out at once, probed at once."""
        # One loss breaks every request under way: one probe tells of them all.
        was_down = self._scheduler.health.state == "down"
        self._feed(self._scheduler.on_doubted, reason)
        if not was_down:
            self._kick.set()

    def record_speed(self, record: SpeedRecord) -> None:
        """A request was answered there."""
        self._feed(self._scheduler.on_answered, record)
        if record.first_token_s >= JUST_IN_TIME_S:
            self._start(self._look_back(record.model_key))

    @asynccontextmanager
    async def first_word_within(
        self, seconds: float, lease: Lease
    ) -> AsyncGenerator[Callable[[], None]]:
        """Around one request by a lease; whoever sends it calls what this gives at each delta.

        Until its first delta the host may say nothing for so long. Words of other answers there
        and the progress of a load are signs of life: the time counts from the newest of them.

        Raises:
            TimeoutError: it said nothing at all.
        """
        loop = asyncio.get_running_loop()
        sent_at, ticket, reference = loop.time(), lease.ticket, reference_of(lease.instance)

        def heard() -> None:
            self._heard_at = loop.time()
            self._spoke[ticket] = (reference, self._heard_at)

        def look() -> None:
            due = max(sent_at, self._heard_at) + seconds
            if ticket in self._spoke:
                return
            if due > loop.time():
                handles.append(loop.call_at(due, look))
            else:
                limit.reschedule(loop.time())

        async with asyncio.timeout(None) as limit:
            handles = [loop.call_later(seconds, look)]
            try:
                yield heard
            finally:
                handles[-1].cancel()
                self._spoke.pop(ticket, None)

    async def confirm(self, lease: Lease) -> None:
        """Makes sure, right before a request is sent, that what was granted is still in memory.

        With JIT on LM Studio loads whatever it is asked for and has not: a host that restarted, or
        whose model somebody else unloaded, did so for each of many turns at once, with none of our
        settings. Looking costs a question at the host, so that it is left out where a list read
        since the asker came, or another answer that the instance is giving now, vouches for it.

        Raises:
            Unavailable: it left memory (``NOT_THERE``).
            HostUnreachable: the host is lost.
        """
        granted, now = lease.instance, self._now()
        key, reference = granted.model_key, reference_of(granted)
        try:
            if not any(r == reference and now - at < VOUCHED_S for r, at in self._spoke.values()):
                await self._look(key, granted.kind, max(lease.asked_at, now - VOUCHED_S))
        except HostUnreachable as error:
            # A machine that reads a long prompt may have no time to answer, and is there.
            if error.kind is not FailureKind.TIMEOUT:
                raise
        finally:
            self._set_out(lease.ticket)
        # One interface tells references and another none: then the name has to do.
        is_there = any(
            copy.identifier == granted.identifier
            and (None in (copy.reference, granted.reference) or copy.reference == granted.reference)
            for copy in self.snapshot().instances
        )
        if not is_there:
            text = f"`{key}` is not in memory on {self._config.name} any more."
            raise Unavailable(text, FailureKind.NOT_THERE)

    def cancel_load(self, key: ModelKey) -> bool:
        """Cancels the load unless somebody else waits for it; False when it may not be."""
        if not self._scheduler.may_cancel(key):
            return False
        self._feed(self._scheduler.on_cancelled, key)
        return True

    async def unload(self, name: str, *, even_foreign: bool = False) -> Mapping[InstanceId, str]:
        """Unloads by identifier or model key.

        Returns:
            Every instance meant: why it stays in memory, empty for one that left.

        Raises:
            UnknownName: nothing of that name is in memory.
            NotPermitted: one of them answers somebody, or is foreign and nobody said so.
            HostUnreachable: Lantern itself broke over the host meanwhile.
        """
        effects = self._feed(self._scheduler.on_unload_asked, name, even_foreign)
        meant = [effect.instance for effect in effects if isinstance(effect, StartUnload)]
        await self._until(lambda: not self._scheduler.residents.is_unloading())
        if self._fault is not None:
            raise HostUnreachable(BROKEN, FailureKind.GARBAGE)
        there = {reference_of(instance) for instance in self.snapshot().instances}
        # Why is the host's own word; one that says nothing and keeps it is told by its list.
        return {
            instance.identifier: self._stays.pop(reference, "The host still lists it.")
            if (reference := reference_of(instance)) in there
            else ""
            for instance in meant
        }

    def pin(self, name: str, is_pinned: bool) -> None:
        """Pins or unpins by identifier or model key."""
        self._feed(self._scheduler.on_pinned, name, is_pinned)

    def drain(self, is_draining: bool) -> None:
        """Takes no new turns, or takes them again."""
        self._feed(self._scheduler.on_drained, is_draining)

    def evict_idle(self) -> None:
        """Begins to unload what rested long enough."""
        self._feed(self._scheduler.on_swept)

    # --- events in, effects out -----------------------------------------------------------

    def _feed(
        self, on: Callable[Concatenate[float, P], Effects], *args: P.args, **kwargs: P.kwargs
    ) -> Effects:
        """Gives the scheduler one event, and carries out what it decides."""
        effects: Effects = ()
        try:
            effects = on(self._now(), *args, **kwargs)
            for effect in effects:
                self._carry_out(effect)
        except BotError:
            # What was asked for may not be: for the asker to hear.
            raise
        except Exception as error:
            self._break(error)
        if self._tells and self._telling is None:
            self._telling = asyncio.get_running_loop().call_soon(self._pass_on)
        self._snapshot = None
        self._wake()
        return effects

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Refuse():
                self._leases[effect.ticket].heard(effect)
            case Tell():
                self._tells.append(effect)
            case Grant():
                self._granted.append(effect)
                self._let_through()
            case LoadOrder():
                self._stop = Stop()
                self._start(self._load(effect, self._stop))
            case StopLoad():
                self._stop.is_asked = True
                if self._stop.tell is not None:
                    self._start(self._stop.tell())
            case StartUnload():
                self._start(self._unload(effect))
            case FleetEvent():
                self._observe(effect)
            case OwnInstance() | Forget() | LoadRecord() | SpeedRecord():
                self._start(self._record(effect))
            case _:
                assert_never(effect)

    def _let_through(self) -> None:
        """Tells granted turns of it, a few at a time.

        A load's end grants to all who waited. They prepared their requests side by side, so that
        the first of a hundred was sent when the last was ready.
        """
        while self._granted and len(self._setting_out) < SETTING_OUT:
            grant = self._granted.popleft()
            lease = self._leases.get(grant.ticket)
            # One that left before it was told has given its instance back.
            if lease is not None:
                self._setting_out.add(grant.ticket)
                # Whoever never sends a request must not hold up those who would.
                asyncio.get_running_loop().call_later(SET_OUT_S, self._set_out, grant.ticket)
                lease.heard(grant)

    def _pass_on(self) -> None:
        """Passes news on to one of those who wait, and to the next in the loop's next step.

        All at once they kept the loop busy right when the load was done, so that neither the host's
        list nor the first grant got through.
        """
        tell = self._tells.popleft()
        loop = asyncio.get_running_loop()
        self._telling = loop.call_soon(self._pass_on) if self._tells else None
        lease = self._leases.get(tell.ticket)
        # News of the way are none for whoever has left or arrived.
        if lease is not None and lease.grant is None:
            lease.heard(tell)

    def _set_out(self, ticket: Ticket) -> None:
        """A granted turn sends its request now, or never will."""
        self._setting_out.discard(ticket)
        self._let_through()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        if self._tasks is None:
            # Left, or not begun: closed, or Python warns of work that was never awaited.
            work.close()
            return
        self._tasks.create_task(work)

    # --- loading and unloading ------------------------------------------------------------

    async def _load(self, order: LoadOrder, stop: Stop) -> None:
        own: OwnInstance | None = None
        try:
            with self._link.understood():
                # Between the last probe and now somebody at the machine may have loaded it: a
                # second copy would take the memory of the first again.
                if await self._link.ask(lambda client: self._is_new_here(client, order)):
                    began = self._now()
                    residents = await self._link.ask(self._residents)
                    self._listed_at = began
                    self._feed(self._scheduler.on_load_spared, residents)
                    return
                async with self._link.act() as client:
                    made = await self._loaded(client, order, stop)
                    if made is not None:
                        ref, key, ttl_s = reference_of(made), order.model_key, order.idle_ttl_s
                        own = OwnInstance(self._config.name, ref, made.identifier, key, ttl_s)
                        # Before the grant: a crash in between would make it foreign for good.
                        await self._record(own)
                    began = self._now()
                    residents = await self._residents(client)
                self._acts += 1
                self._listed_at = began
                if own is not None:
                    self._feed(self._scheduler.on_loaded, own, residents)
                else:
                    kind = FailureKind.CANCELLED
                    self._feed(self._scheduler.on_load_failed, "cancelled", kind, residents, None)
        except Unavailable as error:
            listed = None
            if isinstance(error, HostUnreachable):
                await self._link.drop()
            else:
                listed = await self._residents_if_there()
            self._acts += 1
            text, kind = error.user_message, error.kind
            self._feed(self._scheduler.on_load_failed, text, kind, listed, own)
            self._kick.set()

    async def _look(self, key: ModelKey, kind: ModelKind, since: float) -> None:
        """Reads the host's whole list when its copies of a model are not those we know.

        Not where that was done at a time after ``since``: those who come while one looks share the
        next look.
        """
        lock, looked_at = self._looks.setdefault(key, (asyncio.Lock(), -math.inf))
        if max(looked_at, self._listed_at) >= since:
            return
        async with lock, self._link.within(LOOK_S):
            health, began = self._scheduler.health, self._now()
            if health.state == "down":
                # Whoever looked first has told: nobody else need knock at a dead host.
                raise HostUnreachable(f"{self._config.name} is away: {health.reason}")
            if max(self._looks[key][1], self._listed_at) < since:
                await self._compare(key, kind)
                self._looks[key] = (lock, began)

    async def _compare(self, key: ModelKey, kind: ModelKind) -> None:
        with self._link.understood():
            copies = await self._link.ask(lambda client: client.copies(key, kind))
            known = {reference_of(i) for i in self.snapshot().instances if i.model_key == key}
            while {reference_of(copy) for copy in copies} != known:
                acts, began = self._acts, self._now()
                residents = await self._link.ask(self._residents)
                # What was read before a load or an unload ended says nothing after it.
                if acts == self._acts:
                    self._listed_at = began
                    self._feed(self._scheduler.on_listed, residents)
                    return

    async def _look_back(self, key: ModelKey) -> None:
        # Whoever answered was a chat model. A host that is gone is for the next probe to tell.
        with suppress(Unavailable):
            await self._look(key, "llm", self._now())

    async def _is_new_here(self, client: HostClient, order: LoadOrder) -> bool:
        """Have others loaded this model since the host was last looked at?"""
        async with self._link.within(self._rules.probe_timeout_s):
            copies = await client.copies(order.model_key, order.kind)
        known = {reference_of(instance) for instance in self.snapshot().instances}
        return any(reference_of(copy) not in known for copy in copies)

    async def _loaded(self, client: HostClient, order: LoadOrder, stop: Stop) -> Instance | None:
        if names := not_applied(order.settings, order.kind, client.interface):
            name, key = self._config.name, order.model_key
            _log.warning("load settings not applied", host=name, model=key, settings=names)
        rules = self._rules
        tells = client.interface == "SDK socket"
        async with self._link.within(rules.load_answer_s if tells else rules.load_stall_s) as limit:

            def heard(fraction: float) -> None:
                self._heard_at = self._now()
                limit.reschedule(self._heard_at + rules.load_stall_s)
                self._feed(self._scheduler.on_progress, fraction)
                self._tell_of_load()

            # Checked here, where no await lies between the answer and the command.
            if stop.is_asked:
                return None
            self._tell_of_load()
            return await client.load(order, heard, stop)

    def _tell_of_load(self) -> None:
        """Whoever looks on hears of a load from its command on, whether anybody waits or not."""
        load, waiting = self._scheduler.load, self.snapshot().load
        if load is not None and waiting is not None:
            name, now = self._config.name, self._now()
            self._observe_load(loading_news(name, load, waiting.waiters, now))

    async def _unload(self, effect: StartUnload) -> None:
        reference = reference_of(effect.instance)
        # An older refusal says nothing of this try.
        self._stays.pop(reference, None)
        residents: tuple[Instance, ...] | None = None
        try:
            with self._link.understood():
                async with asyncio.timeout(self._rules.unload_timeout_s):
                    residents = await self._unloaded(effect)
        except TimeoutError:
            self._stays[reference] = "It did not answer to an unload."
            self.report_failure(self._stays[reference])
        except HostUnreachable as error:
            self._stays[reference] = error.user_message
            await self._link.drop()
            self.report_failure(error.user_message)
        except Unavailable as error:
            self._stays[reference] = error.user_message
            _log.warning("unload refused", host=self._config.name, reason=error.user_message)
            residents = await self._residents_if_there()
        self._acts += 1
        self._feed(self._scheduler.on_unload_ended, reference, residents)

    async def _unloaded(self, effect: StartUnload) -> tuple[Instance, ...]:
        """What is in memory afterwards."""
        residents = await self._link.ask(self._residents)
        if reference_of(effect.instance) not in map(reference_of, residents):
            # Gone, and perhaps another load answers to its name by now: not ours to touch.
            return residents
        async with self._link.act() as client:
            # Others on the LAN use our instances by their names, and no lease tells of them.
            if not effect.even_busy and await client.is_working(effect.instance):
                return residents
            await client.unload(effect.instance)
            return await self._residents(client)

    async def _pulse(self) -> None:
        """Lets time pass at the scheduler while anybody waits: news, patience, second tries."""
        while True:
            await self._until(lambda: bool(self.snapshot().waiting))
            await asyncio.sleep(PULSE_S)
            self._feed(self._scheduler.on_tick)

    # --- probing --------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            self._kick.clear()
            self._probes_begun += 1
            await self._probe_once()
            self._probes_done, self._probed_at = self._probes_begun, self._now()
            self._wake()
            # Until the next probe is asked for, or due after a failure.
            due = self._scheduler.health.next_probe_at(self._now())
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._kick.wait()

    async def _probe_once(self) -> None:
        try:
            with self._link.understood():
                report = await self._survey()
                known = self.snapshot().models
                if report.models != known:
                    known = shared_models(report.models, self._pool)
                self._feed(self._scheduler.on_probed, replace(report, models=known))
                if self._fault is None:
                    self._faults = Breaker()
        except Unavailable as error:
            # Slow while at work is not gone.
            if error.kind is not FailureKind.TIMEOUT or not self._scheduler.is_at_work():
                await self._link.drop()
            self._feed(self._scheduler.on_probe_failed, error.user_message, error.kind)

    async def _survey(self) -> Report:
        """A report no older than the newest act."""
        async with self._link.within(self._rules.probe_timeout_s):
            while True:
                acts = self._acts
                if not self._scheduler.is_at_work():
                    await self._link.seek_better()
                report = await self._link.ask(lambda client: client.inventory())
                if acts == self._acts:
                    return report

    async def _residents(self, client: HostClient) -> tuple[Instance, ...]:
        async with self._link.within(self._rules.call_timeout_s):
            return await client.resident()

    async def _residents_if_there(self) -> tuple[Instance, ...] | None:
        try:
            with self._link.understood():
                return await self._link.ask(self._residents)
        except Unavailable:
            return None

    # --- small things ---------------------------------------------------------------------

    async def _record(self, fact: OwnInstance | Forget | LoadRecord | SpeedRecord) -> None:
        """Tells the recorder; what it cannot keep costs a restart its memory, and nobody else."""
        try:
            match fact:
                case OwnInstance(reference=reference):
                    self._kept[reference] = fact
                    await self._recorder.own_added(fact)
                case Forget(reference=reference):
                    self._kept.pop(reference, None)
                    await self._recorder.own_gone(self._config.name, reference)
                case LoadRecord():
                    await self._recorder.loaded(fact)
                case SpeedRecord():
                    await self._recorder.spoke(fact)
        except BotError as error:
            _log.warning("not recorded", host=self._config.name, reason=error.user_message)

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Waits until something holds, the host is left, or it broke."""
        while not (self._is_left or self._fault is not None or holds()):
            await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
