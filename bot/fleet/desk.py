"""The desk of one host: the single writer of its state. Events in, effects out.

It decides who gets an instance, what is loaded, what leaves memory and who is refused. It awaits
nothing, reads no clock and does no input or output; the driver (``host.py``) carries its effects
out and reports back. The host's own list of what is in memory always wins.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from bot.domain.errors import (
    BotError,
    DoesNotFit,
    FailureKind,
    HostUnreachable,
    LoadCancelled,
    LoadFailed,
    ModelNotOnHost,
    NotPermitted,
    QueueFull,
    UnknownName,
)
from bot.domain.events import (
    Evicting,
    FleetEvent,
    Loading,
    LoadProblem,
    ModelLoaded,
    ModelUnloaded,
    Progress,
    Queued,
)
from bot.domain.hosts import (
    HostConfig,
    HostSnapshot,
    HostState,
    Instance,
    LoadInFlight,
    LoadRecord,
    Model,
    OwnInstance,
    SpeedRecord,
    Wish,
)
from bot.domain.ids import ModelKey
from bot.fleet import signals
from bot.fleet.history import History
from bot.fleet.presence import Presence
from bot.fleet.rack import SPARED_S, Holding, Rack
from bot.fleet.room import Blocked, Decision, Fits, Hopeless, Limits, decide_load, order_for
from bot.fleet.signals import Effect, Event, Handle, LoadOrder, Sighting, Ticket, handle_of
from bot.fleet.waiting import TurnOrder, Waiter
from bot.policy.eviction import plan_idle_eviction
from bot.policy.names import nearest
from bot.policy.prediction import remaining_s

MOST_LOADS = 3
"""Loads begun for one wish: the first, one after an eviction, one with a larger context."""
_LOST = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.CUT,
        FailureKind.GARBAGE,
        FailureKind.SERVER,
        FailureKind.AUTH,
    }
)
"""Ends of a load that say something of the host, not of the model."""


@dataclass(slots=True)
class _Load:
    """The load under way."""

    order: LoadOrder
    started_at: float
    expected_s: float | None
    fraction: float = 0.0
    is_stopping: bool = False


class Desk:
    """One host's state. ``on`` takes an event and returns what must be done."""

    def __init__(
        self,
        config: HostConfig,
        *,
        history: History,
        own: Iterable[OwnInstance] = (),
        evict_foreign: bool = False,
    ) -> None:
        self._config = config
        self._limits = Limits.of(config, evict_foreign)
        self._history = history
        self._presence = Presence(config.name)
        self._rack = Rack(own)
        self._models: Mapping[ModelKey, Model] = {}
        self._waiting: dict[Ticket, Waiter] = {}
        self._turn_order = TurnOrder()
        self._load: _Load | None = None
        self._making_room: tuple[ModelKey, tuple[ModelKey, ...]] | None = None
        self._is_draining = False
        self._refusals: dict[ModelKey, str] = {}
        """Loads the host refused once for lack of memory; one more must leave before the retry."""
        self._retried: set[ModelKey] = set()
        self._usual_context: dict[ModelKey, int] = {}
        """What the host loaded a model with when nothing was said."""
        self._most_context: dict[ModelKey, int] = {}
        """What the host gave when more was asked for."""
        self._out: list[Effect] = []

    # --- questions ------------------------------------------------------------------------

    def snapshot(self) -> HostSnapshot:
        """Everything known, frozen."""
        report, load = self._presence.report, self._load
        waiting: dict[ModelKey, int] = {}
        for waiter in self._waiting.values():
            waiting[waiter.wish.model_key] = waiting.get(waiter.wish.model_key, 0) + 1
        config, history = self._config, self._history
        return HostSnapshot(
            name=config.name,
            address=config.address,
            state=self._state(),
            reason=self._presence.reason,
            interface=report.interface if report else None,
            version=report.version if report else "",
            lists_only_loaded=report.lists_only_loaded if report else None,
            needs_token=self._presence.needs_token,
            models=self._models,
            instances=self._rack.views(self._models, 0.0),
            load=self._in_flight(load) if load else None,
            waiting=waiting,
            memory_bytes=config.memory_bytes,
            max_loaded=config.max_loaded,
            slots=config.slots,
            weight=config.weight,
            load_bytes_per_s=history.load_bytes_per_s,
            speeds=history.speeds,
            failures=self._presence.failures,
        )

    def next_probe_at(self, now: float) -> float | None:
        """When to probe again unasked; None when the schedule will do."""
        return self._presence.next_probe_at(now)

    def is_at_work(self) -> bool:
        """Is a load under way or an instance in use?"""
        return self._load is not None or self._rack.has_leases()

    def is_loading(self) -> bool:
        """Is a load under way?"""
        return self._load is not None

    def is_unloading(self) -> bool:
        """Is anything on its way out of memory?"""
        return self._rack.is_unloading()

    def find(self, name: str) -> tuple[Handle, ...]:
        """Instances by identifier, else all of a model key.

        Raises:
            UnknownName: nothing of that name is in memory.
        """
        staying = self._rack.staying()
        found = [h for h in staying if h.seen.identifier == name]
        found = found or [h for h in staying if h.seen.model_key == name]
        if found:
            return tuple(h.handle for h in found)
        known = sorted({str(h.seen.identifier) for h in staying})
        raise UnknownName("loaded model", name, nearest(name, known))

    def unloadable(self, name: str, even_foreign: bool) -> tuple[Handle, ...]:
        """What an admin may unload by this name.

        Raises:
            UnknownName: nothing of that name is in memory.
            NotPermitted: one of them answers somebody, or is foreign and nobody said so.
        """
        handles = self.find(name)
        for handle in handles:
            holding = self._rack.holding(handle)
            if holding is None:
                continue
            if holding.users:
                text = f"`{holding.seen.identifier}` on {self._config.name} is answering somebody."
                raise NotPermitted(text)
            if holding.own is None and not even_foreign:
                what = f"`{holding.seen.identifier}` on {self._config.name}"
                raise NotPermitted(
                    f"{what} was loaded by somebody else; say so if it should go all the same."
                )
        return handles

    def may_cancel(self, key: ModelKey) -> bool:
        """Is there a load to cancel that at most one asker waits for?"""
        waiters = sum(1 for w in self._waiting.values() if self._needs_load(w, key))
        is_loading = self._load is not None and self._load.order.model_key == key
        return waiters <= 1 and (is_loading or waiters == 1)

    def record_speed(self, record: SpeedRecord) -> None:
        """An answer was finished here."""
        self._history.answered(record)
        self._presence.served()

    # --- events ---------------------------------------------------------------------------

    def on(self, event: Event) -> tuple[Effect, ...]:
        """Takes one event and decides.

        Returns:
            What must be done, in this order.
        """
        self._out = []
        self._take(event)
        if not isinstance(event, signals.Progressed):
            self._advance(event.at)
        self._tell(event.at)
        return tuple(self._out)

    def _take(self, event: Event) -> None:  # noqa: C901  # one branch per kind of event
        match event:
            case signals.Probed():
                self._on_probed(event)
            case signals.ProbeFailed():
                self._on_probe_failed(event)
            case signals.Doubted(at=at, reason=reason):
                self._announce(self._presence.doubted(at, reason))
            case signals.Asked():
                self._on_asked(event)
            case signals.Left(at=at, ticket=ticket):
                self._waiting.pop(ticket, None)
                self._rack.release(ticket, at)
            case signals.Ticked():
                pass
            case signals.Progressed(fraction=fraction):
                if self._load is not None:
                    self._load.fraction = max(self._load.fraction, min(1.0, fraction))
            case signals.Loaded():
                self._on_loaded(event)
            case signals.LoadBroke():
                self._on_load_broke(event)
            case signals.LoadSpared(at=at, residents=residents):
                load, self._load = self._load, None
                self._see(residents, at)
                if load is not None:
                    self._end_loading(load.order.model_key, at)
            case signals.UnloadAsked(handles=handles):
                for handle in handles:
                    self._unload(handle, "asked by an admin", even_busy=True)
            case signals.UnloadEnded():
                self._on_unload_ended(event)
            case signals.CancelPressed(model_key=key):
                self._on_cancel(key)
            case signals.Pinned(handles=handles, is_pinned=is_pinned):
                self._on_pinned(handles, is_pinned)
            case signals.Drained(is_draining=is_draining):
                self._is_draining = is_draining
            case signals.Swept(at=at):
                self._on_swept(at)
            case _:
                assert_never(event)

    def _on_probed(self, event: signals.Probed) -> None:
        self._models = event.report.models
        self._announce(self._presence.probed(event.at, event.report))
        self._see(event.report.residents, event.at)
        if self._presence.state is HostState.DOWN:
            self._clear_out()

    def _on_probe_failed(self, event: signals.ProbeFailed) -> None:
        is_timeout = event.kind is FailureKind.TIMEOUT
        is_up = self._presence.state is HostState.UP
        if is_timeout and is_up and self.is_at_work():
            # A machine reading a long prompt or a big file may miss a probe. What is under way
            # there has its own deadlines, and their failure is reported.
            self._presence.slow(event.reason)
            return
        self._announce(self._presence.failed(event.at, event.reason, event.kind))
        self._clear_out()

    def _on_asked(self, event: signals.Asked) -> None:
        if (error := self._turned_away(event.wish)) is not None:
            self._out.append(signals.Refuse(event.ticket, error))
            return
        self._waiting[event.ticket] = Waiter(event.ticket, event.wish, event.at)

    def _turned_away(self, wish: Wish) -> BotError | None:
        name = self._config.name
        match self._state():
            case HostState.DOWN:
                return self._away()
            case HostState.DRAINING:
                text = f"{name} is draining and takes no new turns."
                return HostUnreachable(text, FailureKind.BUSY)
            case HostState.UP if not self._is_known(wish.model_key):
                return ModelNotOnHost(f"{name} does not have `{wish.model_key}`.")
            case _:
                return None

    def _on_loaded(self, event: signals.Loaded) -> None:
        load, self._load = self._load, None
        self._rack.adopt(event.own)
        self._see(event.residents, event.at)
        if load is None:
            return
        key = load.order.model_key
        self._refusals.pop(key, None)
        self._retried.discard(key)
        self._learn_context(load.order, event.own)
        self._end_loading(key, event.at)
        model = self._models.get(key)
        size = model.size_bytes if model else None
        record = LoadRecord(self._config.name, key, event.at - load.started_at, size)
        self._history.loaded(record)
        self._out.append(signals.Remember(record))
        self._announce(ModelLoaded(self._config.name, key, record.seconds, size))

    def _on_load_broke(self, event: signals.LoadBroke) -> None:
        load, self._load = self._load, None
        if event.own is not None:
            self._rack.adopt(event.own)
        if event.residents is not None:
            self._see(event.residents, event.at)
        if load is None:
            return
        key, joined = load.order.model_key, self._joined(load)
        self._end_loading(key, event.at)
        self._announce(LoadProblem(self._config.name, key, event.reason))
        if load.is_stopping:
            return
        if event.kind in _LOST:
            self._announce(self._presence.doubted(event.at, event.reason))
            self._refuse(joined, lambda: HostUnreachable(event.reason, event.kind))
        elif event.kind is FailureKind.DOES_NOT_FIT and self._may_retry(key):
            self._refusals[key] = event.reason
        else:
            self._forgive(key)
            is_memory = event.kind is FailureKind.DOES_NOT_FIT
            kind = DoesNotFit if is_memory else LoadFailed
            self._refuse(joined, lambda: kind(event.reason))

    def _on_unload_ended(self, event: signals.UnloadEnded) -> None:
        if event.residents is not None:
            self._see(event.residents, event.at)
        holding = self._rack.holding(event.handle)
        if holding is not None and holding.leaving:
            self._spare(event.handle, event.at)

    def _on_cancel(self, key: ModelKey) -> None:
        waiters = [w for w in self._waiting.values() if self._needs_load(w, key)]
        load = self._load
        if load is not None and load.order.model_key == key and not load.is_stopping:
            load.is_stopping = True
            self._out.append(signals.StopLoad())
        text = f"Loading `{key}` on {self._config.name} was cancelled."
        self._refuse(waiters, lambda: LoadCancelled(text))

    def _on_pinned(self, handles: Iterable[Handle], is_pinned: bool) -> None:
        for handle in handles:
            if (holding := self._rack.holding(handle)) is not None:
                self._keep(self._rack.pin(holding, is_pinned))

    def _on_swept(self, now: float) -> None:
        wanted = [h.handle for w in self._waiting.values() for h in self._usable(w.wish)]
        views = self._rack.views(self._models, now, wanted)
        for instance in plan_idle_eviction(views, now, evict_foreign=self._limits.evict_foreign):
            rested = f"at rest for {now - (instance.idle_since or now):.0f} s"
            self._unload(handle_of(instance), rested)

    # --- decisions ------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Everything that has become possible, or has become too late."""
        is_up = self._presence.state is HostState.UP
        if is_up:
            self._seat(now)
        self._give_up_overdue(now)
        if is_up:
            # Again: whoever gave up may have been the one that slots were kept free for.
            self._seat(now)
            self._plan(now)
        self._forget_refusals()
        self._turn_order.forget_all_but({*self._users_waiting(), *self._rack.leases_of()})

    def _give_up_overdue(self, now: float) -> None:
        """A wait for one's own load under way is not cut: its end is in sight."""
        overdue = [w for w in self._waiting.values() if w.is_overdue(now) and w.load_began is None]
        for waiter in overdue:
            text = f"{self._config.name} stayed busy for {waiter.wish.max_wait_s:.0f} s."
            self._refuse([waiter], lambda text=text: QueueFull(text))

    def _seat(self, now: float) -> None:
        """Grants every free slot there is, in turn."""
        while (pick := self._next_seat(now)) is not None:
            waiter, holding = pick
            del self._waiting[waiter.ticket]
            self._rack.take(waiter.ticket, waiter.wish.user, holding)
            self._turn_order.served(waiter.wish.user)
            self._keep(self._rack.keep_longer(holding, waiter.wish.idle_ttl_s))
            view = holding.view(held=False, now=now)
            total_s = now - waiter.asked_at
            load_s = min(waiter.load_s, total_s)
            self._out.append(signals.Grant(waiter.ticket, view, total_s - load_s, load_s))

    def _next_seat(self, now: float) -> tuple[Waiter, Holding] | None:
        turns = self._turns()
        if not turns:
            return None
        blocked = self._impatient(turns, now)
        kept_free: frozenset[Handle] = frozenset()
        for waiter in turns:
            if blocked is not None and waiter is blocked[0]:
                kept_free = blocked[1]
            seats = [h for h in self._usable(waiter.wish) if self._free(h) > 0]
            seats = [h for h in seats if h.handle not in kept_free]
            if seats:
                return waiter, max(seats, key=self._free)
        return None

    def _impatient(
        self, turns: list[Waiter], now: float
    ) -> tuple[Waiter, frozenset[Handle]] | None:
        """The first who waited long enough for others to finish, and what is kept free for it.

        Turns for a resident model may go first, but not for ever.
        """
        ahead: set[Handle] = set()
        for waiter in turns:
            usable = self._usable(waiter.wish)
            ahead.update(h.handle for h in usable)
            if usable or not waiter.is_impatient(now) or self._is_joined(waiter):
                continue
            match self._decide(waiter.wish, ahead, now):
                case Blocked(waits_for=needed) | Fits(evict=needed):
                    return waiter, frozenset(map(handle_of, needed))
                case Hopeless():
                    continue
        return None

    def _plan(self, now: float) -> None:
        """Starts the next load, or makes room for it; one at a time."""
        if self._load is not None or self._rack.is_unloading():
            return
        self._making_room = None
        ahead: set[Handle] = set()
        settled: set[ModelKey] = set()
        for waiter in self._turns():
            key, usable = waiter.wish.model_key, self._usable(waiter.wish)
            ahead.update(h.handle for h in usable)
            if usable or key in settled or waiter.ticket not in self._waiting:
                continue
            settled.add(key)
            if self._act_on(waiter, self._decide(waiter.wish, ahead, now), now):
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
                self._forgive(key)
                hopeless = [w for w in self._waiting.values() if self._needs_load(w, key)]
                self._refuse(hopeless, lambda: kind(reason))
                return False

    def _decide(self, wish: Wish, ahead: Iterable[Handle], now: float) -> Decision:
        key = wish.model_key
        model = self._models.get(key)
        name = self._config.name
        if model is None:
            return Hopeless(ModelNotOnHost, f"{name} does not have `{key}`.")
        waiters = [w for w in self._waiting.values() if self._needs_load(w, key)]
        if any(w.loads >= MOST_LOADS for w in waiters):
            reason = f"{name} loaded `{key}` {MOST_LOADS} times and never had it in memory."
            return Hopeless(LoadFailed, reason)
        wishes = [wish, *(w.wish for w in waiters)]
        need = max(map(self._need, wishes))
        order = order_for(wishes, model, need, self._usual_context.get(key))
        views = self._rack.views(self._models, now, frozenset(ahead))
        return decide_load(order, model, views, self._limits, now, self._refusals.get(key))

    def _start_load(self, order: LoadOrder, now: float) -> None:
        key = order.model_key
        expected_s = self._history.expected_load_s(key, self._models.get(key))
        self._load = _Load(order, now, expected_s)
        for waiter in self._joined(self._load):
            waiter.loads += 1
            waiter.begin_load(now)
        self._out.append(signals.StartLoad(order))

    def _make_room(self, key: ModelKey, evict: tuple[Instance, ...], now: float) -> None:
        if self._refusals.pop(key, None) is not None:
            self._retried.add(key)
        for waiter in self._waiting.values():
            if self._needs_load(waiter, key):
                waiter.begin_load(now)
        for instance in evict:
            self._unload(handle_of(instance), f"evicted to make room for {key}")
        self._making_room = (key, tuple(instance.model_key for instance in evict))

    def _unload(self, handle: Handle, reason: str, *, even_busy: bool = False) -> None:
        holding = self._rack.holding(handle)
        if holding is None or holding.leaving or holding.users:
            return
        holding.leaving = reason
        self._out.append(signals.StartUnload(handle, holding.seen, even_busy))

    def _spare(self, handle: Handle, now: float) -> None:
        """It did not leave, or works for somebody else: left in peace for a while."""
        if (holding := self._rack.holding(handle)) is not None:
            holding.leaving = ""
            holding.idle_since, holding.spared_until = now, now + SPARED_S

    def _may_retry(self, key: ModelKey) -> bool:
        """Once, and only when something of ours could make room."""
        evictable = (h.own is not None or self._limits.evict_foreign for h in self._rack.staying())
        return key not in self._retried and any(evictable)

    def _learn_context(self, order: LoadOrder, own: OwnInstance) -> None:
        seen = [h.seen for h in self._rack.staying() if h.seen.identifier == own.identifier]
        context = seen[0].context_length if seen else None
        asked = order.settings.context_length
        if context is None:
            return
        if asked is None:
            self._usual_context[order.model_key] = context
        elif context < asked:
            self._most_context[order.model_key] = context

    # --- who is who -----------------------------------------------------------------------

    def _turns(self) -> list[Waiter]:
        return self._turn_order.of(self._waiting.values(), self._rack.leases_of())

    def _users_waiting(self) -> Iterable[str]:
        return (waiter.wish.user for waiter in self._waiting.values())

    def _need(self, wish: Wish) -> int:
        """The context a wish needs, as far as this host can give it."""
        key, need = wish.model_key, wish.min_context
        model = self._models.get(key)
        if model is not None and model.max_context_length is not None:
            need = min(need, model.max_context_length)
        return min(need, self._most_context.get(key, need))

    def _usable(self, wish: Wish) -> list[Holding]:
        """Instances that serve the wish: of its model, large enough, and staying."""
        need = self._need(wish)
        return [
            h
            for h in self._rack.staying()
            if h.seen.model_key == wish.model_key
            and (h.seen.context_length is None or h.seen.context_length >= need)
        ]

    def _free(self, holding: Holding) -> int:
        return max(1, holding.seen.parallel or self._config.slots) - len(holding.users)

    def _needs_load(self, waiter: Waiter, key: ModelKey) -> bool:
        return waiter.wish.model_key == key and not self._usable(waiter.wish)

    def _is_joined(self, waiter: Waiter) -> bool:
        return self._load is not None and waiter in self._joined(self._load)

    def _joined(self, load: _Load) -> list[Waiter]:
        """Those the load under way will serve."""
        if load.is_stopping:
            return []
        key, context = load.order.model_key, load.order.settings.context_length
        return [
            w
            for w in self._waiting.values()
            if self._needs_load(w, key) and (context is None or self._need(w.wish) <= context)
        ]

    def _is_known(self, key: ModelKey) -> bool:
        return key in self._models or any(h.seen.model_key == key for h in self._rack.staying())

    def _state(self) -> HostState:
        state = self._presence.state
        return HostState.DRAINING if state is HostState.UP and self._is_draining else state

    # --- words and effects ----------------------------------------------------------------

    def _tell(self, now: float) -> None:
        """News to everybody still waiting, where it is news."""
        joined = self._joined(self._load) if self._load is not None else []
        tickets = {waiter.ticket for waiter in joined}
        ahead: dict[ModelKey, int] = {}
        for number, waiter in enumerate(self._turns(), start=1):
            key = waiter.wish.model_key
            ahead[key] = ahead.get(key, 0) + 1
            if self._load is not None and waiter.ticket in tickets:
                progress = self._loading(self._load, len(joined), now)
            else:
                progress = self._queued(waiter, number, ahead[key])
            if progress != waiter.told:
                waiter.told = progress
                self._out.append(signals.Tell(waiter.ticket, progress))

    def _queued(self, waiter: Waiter, number: int, among_same: int) -> Progress:
        key, name = waiter.wish.model_key, self._config.name
        if self._making_room is not None and self._making_room[0] == key:
            return Evicting(name, key, self._making_room[1])
        usable = self._usable(waiter.wish)
        if not usable:
            return Queued(name, key, number)
        slots = sum(self._free(h) + len(h.users) for h in usable)
        turn_s = self._history.turn_s(key)
        return Queued(name, key, among_same, turn_s and turn_s * -(-among_same // slots))

    def _loading(self, load: _Load, waiters: int, now: float) -> Loading:
        key = load.order.model_key
        left_s = None
        if load.expected_s is not None:
            left_s = remaining_s(self._in_flight(load), load.expected_s, now)
        elapsed_s = now - load.started_at
        return Loading(self._config.name, key, load.fraction, left_s, elapsed_s, waiters)

    def _in_flight(self, load: _Load) -> LoadInFlight:
        return LoadInFlight(
            load.order.model_key,
            load.fraction,
            load.started_at,
            load.expected_s,
            len(self._joined(load)),
        )

    def _see(self, residents: tuple[Sighting, ...], now: float) -> None:
        gone, forgotten = self._rack.see(residents, now)
        for holding in gone:
            reason = holding.leaving or "it left memory on the host"
            name, key = self._config.name, holding.seen.model_key
            self._announce(ModelUnloaded(name, key, reason))
        self._out.extend(signals.Forget(reference) for reference in forgotten)

    def _end_loading(self, key: ModelKey, now: float) -> None:
        for waiter in self._waiting.values():
            if waiter.wish.model_key == key:
                waiter.end_load(now)

    def _forgive(self, key: ModelKey) -> None:
        self._refusals.pop(key, None)
        self._retried.discard(key)

    def _forget_refusals(self) -> None:
        """A refusal is remembered only while somebody waits for that model."""
        for key in {*self._refusals, *self._retried}:
            is_loading = self._load is not None and self._load.order.model_key == key
            if not is_loading and not any(self._needs_load(w, key) for w in self._waiting.values()):
                self._forgive(key)

    def _refuse(self, waiters: Iterable[Waiter], error: Callable[[], BotError]) -> None:
        for waiter in list(waiters):
            del self._waiting[waiter.ticket]
            self._out.append(signals.Refuse(waiter.ticket, error()))

    def _clear_out(self) -> None:
        self._refuse(self._waiting.values(), self._away)

    def _away(self) -> BotError:
        return HostUnreachable(f"{self._config.name} is away: {self._presence.reason}")

    def _keep(self, own: OwnInstance | None) -> None:
        if own is not None:
            self._out.append(signals.Keep(own))

    def _announce(self, event: FleetEvent | None) -> None:
        if event is not None:
            self._out.append(signals.Announce(event))
