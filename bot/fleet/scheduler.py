"""The scheduler of one host: the single writer of its state. Events in, effects out.

It decides who gets an instance, what is loaded, what leaves memory and who is refused. It awaits
nothing, reads no clock and does no input or output; the driver (``host.py``) carries its effects
out and reports back. The host's own list of what is in memory always wins.
"""

from collections.abc import Callable, Iterable
from typing import assert_never

from bot.domain.errors import (
    BotError,
    FailureKind,
    HostUnreachable,
    Unavailable,
)
from bot.domain.events import (
    Evicting,
    FleetEvent,
    Progress,
)
from bot.domain.hosts import (
    HostConfig,
    HostState,
    Instance,
    LoadOrder,
    LoadRecord,
    OwnInstance,
    SpeedRecord,
)
from bot.domain.ids import InstanceId, InstanceRef, ModelKey
from bot.fleet import signals
from bot.fleet.host_state import Books
from bot.fleet.placement import Blocked, Decision, Fits, Hopeless
from bot.fleet.progress import Load, loading_news
from bot.fleet.queue import Waiter
from bot.fleet.residents import Holding, LostLoad, reference_of
from bot.fleet.signals import Effect, Event
from bot.fleet.speeds import History
from bot.policy.eviction import plan_idle_eviction

LOST = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.TIMEOUT,
        FailureKind.CUT,
        FailureKind.GARBAGE,
        FailureKind.SERVER,
        FailureKind.AUTH,
    }
)
"""Ends of a load that say something of the host, not of the model."""


class Scheduler:
    """One host's state. ``on`` takes an event and returns what must be done."""

    def __init__(
        self,
        config: HostConfig,
        *,
        history: History,
        own: Iterable[OwnInstance] = (),
        evict_foreign: bool = False,
    ) -> None:
        self.books = Books(config, history, own, evict_foreign)
        self._out: list[Effect] = []

    def record_speed(self, record: SpeedRecord) -> None:
        """An answer was finished here."""
        self.books.history.answered(record)
        self.books.health.served()

    # --- events ---------------------------------------------------------------------------

    def on(self, event: Event) -> tuple[Effect, ...]:
        """Takes one event and decides.

        Returns:
            What must be done, in this order.
        """
        self._out = []
        if self._take(event):
            self._advance(event.at)
            self._tell()
        return tuple(self._out)

    def _take(self, event: Event) -> bool:
        """Takes an event in. False when nothing else can follow from it."""
        match event:
            case signals.Asked() | signals.Left() | signals.CancelPressed() | signals.Ticked():
                return self._on_asker(event)
            case signals.Probed() | signals.ProbeFailed() | signals.Doubted():
                self._on_host(event)
            case (
                signals.Progressed() | signals.Loaded() | signals.LoadBroke() | signals.LoadSpared()
            ):
                return self._on_load(event)
            case _:
                self._on_keeper(event)
        return True

    def _on_asker(self, event: signals.AskerEvent) -> bool:
        match event:
            case signals.Asked():
                return self._on_asked(event)
            case signals.Left(at=at, ticket=ticket):
                joined = self.books.load.joined if self.books.load else set[signals.Ticket]()
                is_all = ticket in joined
                joined.discard(ticket)
                self.books.queue.remove(ticket)
                self.books.rack.release(ticket, at)
                return not is_all
            case signals.CancelPressed(model_key=key):
                self._on_cancel(key)
            case signals.Ticked(at=at):
                self._tell_joined(at)
        return True

    def _on_host(self, event: signals.HostEvent) -> None:
        match event:
            case signals.Probed(at=at, report=report):
                if report.models != self.books.models:
                    # Kept as it is otherwise: readers may index it by identity.
                    self.books.models = report.models
                self._announce(self.books.health.probed(at, report))
                self._see(report.residents, at)
                if self.books.health.state is HostState.DOWN:
                    self._clear_out()
            case signals.ProbeFailed():
                self._on_probe_failed(event)
            case signals.Doubted(at=at, reason=reason):
                self._announce(self.books.health.doubted(at, reason))

    def _on_load(self, event: signals.LoadEvent) -> bool:
        match event:
            case signals.Progressed(at=at, fraction=fraction):
                if self.books.load is not None:
                    self.books.load.fraction = max(self.books.load.fraction, min(1.0, fraction))
                    self._tell_joined(at)
                return False
            case signals.Loaded():
                self._on_loaded(event)
            case signals.LoadBroke():
                self._on_load_broke(event)
            case signals.LoadSpared(at=at, residents=residents):
                self._end_load(at)
                self._see(residents, at)
        return True

    def _on_keeper(self, event: signals.KeeperEvent) -> None:
        match event:
            case signals.UnloadAsked(references=references):
                for reference in references:
                    self._unload(reference, "asked by an admin", even_busy=True)
            case signals.UnloadEnded(at=at, reference=reference, residents=residents):
                if residents is not None:
                    self._see(residents, at)
                self.books.rack.spare(reference, at)
            case signals.Pinned(references=references, is_pinned=is_pinned):
                for holding in filter(None, map(self.books.rack.holding, references)):
                    self._keep(self.books.rack.pin(holding, is_pinned))
            case signals.Drained(is_draining=is_draining):
                self.books.is_draining = is_draining
            case signals.Swept(at=at):
                self._on_swept(at)
            case _:
                assert_never(event)

    def _on_probe_failed(self, event: signals.ProbeFailed) -> None:
        is_timeout = event.kind is FailureKind.TIMEOUT
        if is_timeout and self.books.health.state is HostState.UP and self.books.is_at_work():
            # A machine reading a long prompt or a big file may miss a probe. What is under way
            # there has its own deadlines, and their failure is reported.
            self.books.health.slow(event.reason)
            return
        self._announce(self.books.health.failed(event.at, event.reason, event.kind))
        self._clear_out()

    def _on_asked(self, event: signals.Asked) -> bool:
        if (error := self.books.turned_away(event.wish)) is not None:
            self._out.append(signals.Refuse(event.ticket, error))
            return False
        waiter = Waiter(event.ticket, event.wish, event.at)
        self.books.queue.add(waiter)
        if self.books.load is None or not self.books.may_join(waiter, self.books.load):
            return True
        # The common case of a hundred at once for one cold model: nothing else can follow.
        self.books.load.joined.add(waiter.ticket)
        waiter.loads += 1
        waiter.begin_load(event.at)
        self._say(waiter, loading_news(self.books.name, self.books.load, event.at))
        return False

    def _on_loaded(self, event: signals.Loaded) -> None:
        load = self._end_load(event.at)
        self.books.rack.adopt(event.own)
        self._see(event.residents, event.at)
        if load is None:
            return
        key = load.order.model_key
        made = self.books.rack.named(event.own.identifier)
        self.books.load_limits.loaded(load.order, made.seen.context_length if made else None)
        model = self.books.models.get(key)
        size = model.size_bytes if model else None
        record = LoadRecord(self.books.name, key, event.at - load.started_at, size)
        self.books.history.loaded(record)
        self._out.append(signals.Remember(record))
        self._announce(
            FleetEvent(
                "model loaded",
                self.books.name,
                key,
                seconds=record.seconds,
                size_bytes=size,
            )
        )
        if load.is_stopping and made is not None and not self.books.queue.of(key):
            self._unload(made.reference, "its load was cancelled")

    def _on_load_broke(self, event: signals.LoadBroke) -> None:
        joined = self.books.joined()
        load = self._end_load(event.at)
        if event.own is not None:
            self.books.rack.adopt(event.own)
        if event.residents is not None:
            self._see(event.residents, event.at)
        if load is None:
            return
        key, is_memory = load.order.model_key, event.kind is FailureKind.DOES_NOT_FIT
        self._announce(FleetEvent("load failed", self.books.name, key, event.reason))
        if event.kind in LOST and event.own is None:
            self._expect(load)
        if load.is_stopping:
            return
        if event.kind in LOST:
            self._announce(self.books.health.doubted(event.at, event.reason))
            self._refuse(joined, lambda: HostUnreachable(event.reason, event.kind))
        elif not (
            is_memory
            and self.books.may_make_room()
            and self.books.load_limits.refused(key, event.reason)
        ):
            self.books.load_limits.forgive(key)
            kind = FailureKind.DOES_NOT_FIT if is_memory else FailureKind.LOAD_FAILED
            self._refuse(joined, lambda: Unavailable(event.reason, kind))

    def _on_cancel(self, key: ModelKey) -> None:
        waiters = self.books.without_instance(key)
        load = self.books.load
        if load is not None and load.order.model_key == key and not load.is_stopping:
            load.is_stopping = True
            self._out.append(signals.StopLoad())
        text = f"Loading `{key}` on {self.books.name} was cancelled."
        self._refuse(waiters, lambda: Unavailable(text, FailureKind.CANCELLED))

    def _on_swept(self, now: float) -> None:
        wanted = [
            h.reference for waiter in self.books.queue for h in self.books.usable(waiter.wish)
        ]
        views = self.books.rack.views(self.books.models, now, wanted)
        for instance in plan_idle_eviction(
            views, now, evict_foreign=self.books.limits.evict_foreign
        ):
            rested_s = now - (instance.idle_since or now)
            self._unload(reference_of(instance), f"at rest for {rested_s:.0f} s")

    # --- decisions ------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Everything that has become possible, or has become too late."""
        is_up = self.books.health.state is HostState.UP
        if is_up:
            self._seat(now)
        if self._give_up_overdue(now) and is_up:
            # Whoever gave up may have been the one that slots were kept free for.
            self._seat(now)
        if is_up:
            self._plan(now)
        self._forget()

    def _give_up_overdue(self, now: float) -> bool:
        overdue = [waiter for waiter in self.books.queue if waiter.is_overdue(now)]
        for waiter in overdue:
            text = f"{self.books.name} stayed busy for {waiter.wish.max_wait_s:.0f} s."
            self._refuse([waiter], lambda text=text: Unavailable(text, FailureKind.BUSY))
        return bool(overdue)

    def _seat(self, now: float) -> None:
        """Grants every free slot there is, in turn."""
        turns = self.books.turns()
        blocked = self.books.impatient(turns, now)
        kept_free: frozenset[InstanceRef] = frozenset()
        for waiter in turns:
            if blocked is not None and waiter is blocked[0]:
                kept_free = blocked[1]
            usable = (h for h in self.books.usable(waiter.wish) if h.reference not in kept_free)
            holding = max(usable, key=self.books.free, default=None)
            if holding is not None and self.books.free(holding) > 0:
                self._grant(waiter, holding, now)

    def _grant(self, waiter: Waiter, holding: Holding, now: float) -> None:
        self.books.queue.served(waiter)
        if self.books.load is not None:
            self.books.load.joined.discard(waiter.ticket)
        self.books.rack.take(waiter.ticket, waiter.wish.user, holding)
        self._keep(self.books.rack.keep_longer(holding, waiter.wish.idle_ttl_s))
        view = holding.view(held=False, now=now)
        total_s = now - waiter.asked_at
        load_s = min(waiter.load_s, total_s)
        self._out.append(signals.Grant(waiter.ticket, view, total_s - load_s, load_s))

    def _plan(self, now: float) -> None:
        """Starts the next load, or makes room for it; one at a time."""
        if self.books.load is not None or self.books.rack.is_unloading():
            return
        self.books.making_room = None
        for waiter in self.books.queue:
            waiter.end_load(now)
        ahead: set[InstanceRef] = set()
        settled: set[ModelKey] = set()
        for waiter in self.books.turns():
            key, usable = waiter.wish.model_key, self.books.usable(waiter.wish)
            ahead.update(h.reference for h in usable)
            if usable or key in settled or waiter.ticket not in self.books.queue:
                continue
            settled.add(key)
            if self._act_on(waiter, self.books.decide(waiter.wish, ahead, now), now):
                return

    def _act_on(self, waiter: Waiter, decision: Decision, now: float) -> bool:
        """Carries a decision out. True when nobody later in line may be served before it."""
        key = waiter.wish.model_key
        match decision:
            case Fits(order=order, evict=()):
                self._start_load(order, now)
                return True
            case Fits(evict=evict):
                self._make_room(key, evict, now)
                return True
            case Blocked():
                return waiter.is_impatient(now)
            case Hopeless(kind=kind, reason=reason):
                self.books.load_limits.forgive(key)
                self._refuse(self.books.without_instance(key), lambda: Unavailable(reason, kind))
                return False

    def _start_load(self, order: LoadOrder, now: float) -> None:
        key = order.model_key
        expected_s = self.books.history.expected_load_s(key, self.books.models.get(key))
        self.books.load = Load(order, now, expected_s)
        for waiter in self.books.without_instance(key):
            if self.books.may_join(waiter, self.books.load):
                self.books.load.joined.add(waiter.ticket)
                waiter.loads += 1
                waiter.begin_load(now)
        self._out.append(signals.StartLoad(order))
        self._tell_joined(now)

    def _end_load(self, now: float) -> Load | None:
        load, self.books.load = self.books.load, None
        for waiter in self.books.queue.of(load.order.model_key) if load else ():
            waiter.end_load(now)
        return load

    def _make_room(self, key: ModelKey, evict: tuple[Instance, ...], now: float) -> None:
        self.books.load_limits.made_room(key)
        for waiter in self.books.without_instance(key):
            waiter.begin_load(now)
        for instance in evict:
            self._unload(reference_of(instance), f"evicted to make room for {key}")
        keys = tuple(instance.model_key for instance in evict)
        self.books.making_room = Evicting(self.books.name, key, keys)

    def _unload(self, reference: InstanceRef, reason: str, *, even_busy: bool = False) -> None:
        holding = self.books.rack.holding(reference)
        if holding is None or holding.leaving or holding.users:
            return
        holding.leaving = reason
        self._out.append(signals.StartUnload(reference, holding.seen, even_busy))

    def _forget(self) -> None:
        """What matters only while somebody waits for it."""
        self.books.queue.forget_strangers(self.books.rack.leases_of())
        for key in self.books.load_limits.refused_keys():
            is_loading = self.books.load is not None and self.books.load.order.model_key == key
            if not is_loading and not self.books.without_instance(key):
                self.books.load_limits.forgive(key)

    # --- words and effects ----------------------------------------------------------------

    def _tell(self) -> None:
        """The place in the queue, to everybody for whom it is news."""
        among: dict[ModelKey, int] = {}
        for number, waiter in enumerate(self.books.turns(), start=1):
            key = waiter.wish.model_key
            among[key] = among.get(key, 0) + 1
            if not self.books.is_joined(waiter):
                self._say(waiter, self.books.queued(waiter.wish, number, among[key]))

    def _tell_joined(self, now: float) -> None:
        """How far the load is, to everybody it will serve."""
        if self.books.load is None:
            return
        news = loading_news(self.books.name, self.books.load, now)
        for waiter in self.books.joined():
            self._say(waiter, news)

    def _say(self, waiter: Waiter, progress: Progress) -> None:
        if progress != waiter.told:
            waiter.told = progress
            self._out.append(signals.Tell(waiter.ticket, progress))

    def _expect(self, load: Load) -> None:
        """The host may finish it all the same, with nobody there."""
        order = load.order
        if order.ttl_s is None:
            # Nothing would tell it from a load by hand.
            return
        own = OwnInstance(
            self.books.name,
            InstanceRef(""),
            InstanceId(order.model_key),
            order.model_key,
            order.idle_ttl_s,
        )
        self.books.rack.expect(LostLoad(own, order.ttl_s, load.started_at))

    def _see(self, residents: tuple[Instance, ...], now: float) -> None:
        for own in self.books.rack.found(residents, now):
            self._keep(own)
        gone, forgotten = self.books.rack.see(residents, now)
        for holding in gone:
            reason = holding.leaving or "it left memory on the host"
            self._announce(
                FleetEvent("model unloaded", self.books.name, holding.seen.model_key, reason)
            )
        self._out.extend(signals.Forget(reference) for reference in forgotten)

    def _refuse(self, waiters: Iterable[Waiter], error: Callable[[], BotError]) -> None:
        for waiter in waiters:
            self.books.queue.remove(waiter.ticket)
            if self.books.load is not None:
                self.books.load.joined.discard(waiter.ticket)
            self._out.append(signals.Refuse(waiter.ticket, error()))

    def _clear_out(self) -> None:
        self._refuse(self.books.queue, self.books.away)

    def _keep(self, own: OwnInstance | None) -> None:
        if own is not None:
            self._out.append(signals.Keep(own))

    def _announce(self, event: FleetEvent | None) -> None:
        if event is not None:
            self._out.append(signals.Announce(event))
