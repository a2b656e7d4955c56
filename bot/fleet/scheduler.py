"""The scheduler of one host, and the only writer of its state. Events are methods, effects values.

It awaits nothing, reads no clock and does no input or output. The driver (``host.py``) tells it
what happened, carries out what each method returns, in that order, and tells what came of it. The
host's own list of what is in memory always wins.

What has rules of its own stands beside it: who waits (``queue.py``), what is in memory
(``residents.py``), what fits there (``capacity.py``), whether the host is there (``health.py``),
how fast it is (``speeds.py``). The rest is one state, and stays in one file: each event ends in
the same decision over all of it, and divided into what is known and what is decided every step of
the tree led through both halves.

The tree; each number stands again where its step is taken.

1. Somebody asks. The host is away, drains, has no such model, failed to load it a moment ago or has
   too many waiting: refused at once.
   Where it may only sleep it is woken, and they wait for it. Refused is also whoever waits, once a
   probe has found it away or an admin drains it; then its load is given up, and what is ours leaves
   as soon as nobody uses it.
2. The load under way will serve them: they join it, hear of it, and nothing else is decided.
3. Every event decides everything anew from here, but for those that free nothing: an asker joins a
   load or leaves one, a load makes progress or waits for another's end, an answer begins or was
   measured, a probe is sought, an admin's order forgives a failed load. Free slots are granted,
   user by user.
   Once those who wait for a load have waited together as long as a swap costs, beside what it would
   swap out, what the first of them needs is kept free from all who come after it.
4. Whoever waited as long as they may is refused, and slots are granted again. The load that they
   joined is waited for to its end, while that is in sight.
5. While a load or an unload is under way, and while the host is not up, step 6 is left out: no
   load and no eviction begins. Admins, the sweep and strays may unload beside a load all the same.
   A load under way that is a mere guess is given up, though, for whoever needs another that may
   ever fit.
6. The first in turn whom nothing in memory serves is next; ``policy.placement`` decides the load:
   a. it never fits: all who wait for it are refused, and the next in turn is looked at;
   b. it fits once those in use are at rest: the next in turn may go first, till a swap is worth it;
   c. it fits now: it is loaded;
   d. it fits once others have left: they are evicted, and 6 comes round when they are gone.
   Guesses come last, wait for nobody's end, and evict nothing that is awaited.
7. Everybody waiting for anything but the load under way hears of their place, and how long it is
   until then where that is known.

Out of memory leads one way, ``_unload``, and nothing leased goes it. Six may: an eviction for a
load (6d), the sweep of what rested too long (``on_swept``), an admin (``on_unload_asked``), a drain
(``_give_back``), a load that was cancelled and finished all the same (``on_loaded``), and what LM
Studio loaded by itself for a turn of ours (``_clear_strays``).
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from bot.domain.errors import (
    FailureKind,
    ForeignInstance,
    HostUnreachable,
    NotPermitted,
    Unavailable,
)
from bot.domain.events import Evicting, FleetEvent, Progress, Queued, UnloadCause, Waking
from bot.domain.hosts import (
    GUESSES,
    Drain,
    HostConfig,
    HostSnapshot,
    HostState,
    Instance,
    LoadInFlight,
    LoadOrder,
    LoadRecord,
    Model,
    OwnInstance,
    Report,
    Speed,
    SpeedRecord,
    Wish,
)
from bot.domain.ids import InstanceRef, ModelKey
from bot.fleet.capacity import Capacity
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
from bot.fleet.health import HostHealth
from bot.fleet.progress import (
    Load,
    at_rest_in_s,
    latest_s,
    loading_news,
    stuck_text,
)
from bot.fleet.queue import Queue, Ticket, Waiter, counted
from bot.fleet.residents import NAMED, SPARED_S, LostLoad, Resident, Residents, reference_of
from bot.fleet.speeds import History
from bot.policy.breaker import Breaker
from bot.policy.deadlines import WORDLESS_S
from bot.policy.demand import lately_needed
from bot.policy.fairness import swap_due_s
from bot.policy.placement import (
    Hopeless,
    Placement,
    context_needed,
    is_pinned_out,
    place_roomy,
    plan_idle_eviction,
    refused_words,
    will_rest,
)
from bot.policy.prediction import seconds_in_line
from bot.policy.speeds import UNTOLD, speed_of_answer
from bot.policy.waking import WAKE_S

DRAINS = "{} is draining and takes no new turns."
DRAINING = "draining"
"""For readers, as after "is": "busy" was said of a machine that its owner has taken back."""
NO_ROOM = "{} does not fit on {}: {}."
KEPT_BESIDE = (
    "{} is kept by the Lantern that runs on this database and may be answering with it. Unload it "
    "there: by `/fleet unload`, the page of its gateway or `POST /admin/models/unload`; or stop it."
)
MOST_LOADS = 3
"""Loads begun for one wish: the first, one after an eviction, one with a larger context."""
UNMEASURED_LOST_S = 60.0
"""How long a load lost from sight may go on, of a model whose loads nobody measured."""
PULSE_S = 1.0
"""How often it decides anew while anybody waits, whatever else happens."""
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
"""Failures of a load that say something of the host, not of the model: it may yet finish it.

A stall or an overload takes a host out for a request (``HOST_AT_FAULT`` in ``bot/chat/walk.py``). A
load has no stream that could stall, and who refuses one for being busy is there and began nothing.
"""


class Scheduler:
    """One host's state. Each ``on_`` method takes one event in and returns what must be done.

    ``now`` is monotonic seconds everywhere, and ``listed`` what the host says it has in memory.
    """

    def __init__(
        self,
        config: HostConfig,
        *,
        history: History,
        own: Iterable[OwnInstance],
        evict_foreign: bool,
        wake_s: float | None,
        demands: Demands,
    ) -> None:
        self.config = config
        self._demands = demands
        can_wake = config.wake_mac is not None
        self.health = HostHealth(config.name, can_wake=can_wake, wake_s=wake_s)
        self.residents = Residents(config.name, own)
        self.load: Load | None = None
        self._queue = Queue()
        self._history = history
        self._evict_foreign = evict_foreign
        self._models: Mapping[ModelKey, Model] = {}
        self._capacity = Capacity(config.memory_bytes)
        self._making_room: Evicting | None = None
        self.drained_until: float | None = None
        """As in ``HostSnapshot``."""
        self._answered: dict[Ticket, Wish] = {}
        """What each lease answers; none of a load ahead."""
        self._kept_free: frozenset[InstanceRef] = frozenset()
        """What a turn that was passed over for too long waits for."""
        self._dues: dict[ModelKey, float] = {}
        """Of models waited for that need others to make way: in how many seconds they will."""
        self._decided_at = 0.0
        self._out: list[Effect] = []

    def snapshot(self) -> HostSnapshot:
        """Everything known, frozen, as of the newest event."""
        now = self._decided_at
        config, history, report = self.config, self._history, self.health.report
        load = self.load
        state: HostState = self.health.state
        models = self._models
        if state == "up" and self.drained_until is not None:
            state = "draining"
        elif state == "down" and (self.health.woken_at is not None or self.health.may_sleep):
            state = "asleep" if self.health.woken_at is None else "waking"
            # Asleep since before Lantern began: what it was once asked for it has.
            models = models or {key: Model(key) for key in history.speeds}
        return HostSnapshot(
            name=config.name,
            address=config.address,
            state=state,
            reason=self.health.reason,
            interface=report.interface if report else None,
            version=report.version if report else "",
            lists_only_loaded=report.lists_only_loaded if report else None,
            is_in_doubt=self.health.is_in_doubt,
            away_since=self.health.away_since if self.health.state == "down" else None,
            silent_since=self.health.silent_since,
            next_probe_at=self.health.next_probe_at(now),
            needs_token=self.health.needs_token,
            has_token=config.token is not None,
            models=models,
            instances=self._views(now),
            load=self._in_flight(load) if load else None,
            waiting=counted(
                w.wish.model_key
                for w in self._queue.waiters.values()
                if w.wish.purpose not in GUESSES
            ),
            memory_bytes=config.memory_bytes,
            ceiling_bytes=self._capacity.ceiling_bytes,
            held=self._capacity.held,
            refused=self._capacity.refused(now),
            max_loaded=config.max_loaded,
            evict_foreign=self._evict_foreign,
            limits=self._capacity.limits,
            slots=config.slots,
            weight=config.weight,
            wake_s=self.health.wake_s,
            woken_at=self.health.woken_at,
            drained_until=self.drained_until,
            load_bytes_per_s=history.load_bytes_per_s,
            speeds=history.speeds,
            pace=history.yardstick.pace(config.name),
            efforts=history.yardstick.efforts,
            failures=round(self.health.probes.failures + self.health.requests.failures),
        )

    def ahead(self, ticket: Ticket) -> int | None:
        """How many come before somebody who waits, of those who want the same; None: no wait."""
        waiter = self._queue.waiters.get(ticket)
        if waiter is None:
            return None
        same = [w for w in self._turns() if w.wish.model_key == waiter.wish.model_key]
        return same.index(waiter)

    def waits(self, ticket: Ticket) -> bool:
        """Is somebody still waiting?"""
        return ticket in self._queue.waiters

    def is_at_work(self) -> bool:
        """Is a load under way or an instance in use?"""
        return self.load is not None or bool(self.residents.held)

    def lost_until(self, key: ModelKey) -> float:
        """Until when a host may go on with a load of a model lost from sight; 0.0: with none."""
        there = (lost for lost in self.residents.lost if lost.may_go_on)
        began = [lost.began_at for lost in there if lost.order.model_key == key]
        return max(began) + self._lost_s(key) if began else 0.0

    def due_at(self) -> float:
        """When ``on_tick`` is due, since time alone changes something; infinity for never.

        Reckoned from the newest decision: where that came a moment too early it is due as before.
        """
        due = math.inf if self.drained_until is None else self.drained_until
        if self._queue.waiters:
            # News, patience, second tries.
            due = min(due, self._decided_at + PULSE_S)
        for one in self._capacity.limits.values():
            # A pause that ends is a change: a route that leaves the host out is remembered till it.
            if self._decided_at < one.failed_until < due:
                due = one.failed_until
        return due

    # --- the tree -------------------------------------------------------------------------

    def on_asked(self, now: float, ticket: Ticket, wish: Wish) -> Effects:
        """Somebody wishes for an instance."""
        key, name, state = wish.model_key, self.config.name, self.health.state
        is_asleep = state == "down" and self.health.may_sleep
        # 1. Before the first probe nothing is known of the host, so that they wait for it.
        if state == "down" and not is_asleep:
            return (Refuse(ticket, HostUnreachable(self.health.away())),)
        if self.drained_until is not None and now < self.drained_until:
            text = DRAINS.format(name)
            return (Refuse(ticket, Unavailable(text, FailureKind.BUSY, brief=DRAINING)),)
        is_here = key in self._models or self.residents.of(key)
        # Nobody is woken for what it is known not to have.
        if not is_here and (state == "up" or (is_asleep and self._models)):
            text = f"{name} does not have `{key}`."
            return (Refuse(ticket, Unavailable(text, FailureKind.NOT_THERE)),)
        limits = self._capacity.limits.get(key)
        if limits is not None and now < limits.failed_until and not self._usable(wish):
            left_s = math.ceil(limits.failed_until - now)
            text = f"{name} failed to load `{key}`, and tries again in {left_s} s: {limits.failure}"
            return (Refuse(ticket, Unavailable(text, FailureKind.LOAD_FAILED)),)
        if (waiting := len(self._queue.waiters)) >= self.config.max_waiting:
            text = f"{name} has {waiting} waiting already and takes no more for now."
            return (Refuse(ticket, Unavailable(text, FailureKind.BUSY)),)
        waiter = Waiter(ticket, wish, min(now, wish.since or now), now)
        self._queue.waiters[ticket] = waiter
        # 2. The common case of a hundred at once for one cold model: the others, who hear the
        # number of waiters with the next progress, need not be looked at for each of them.
        if self.load is not None and self._joins(waiter, self.load, now):
            self._tell(waiter, loading_news(name, self._in_flight(self.load), now))
            return self._effects()
        return self._decide(now)

    def _decide(self, now: float) -> Effects:
        """Everything that has become possible, or has become too late."""
        self._decided_at = now
        is_up = self.health.state == "up"
        # 1. A mere doubt is for the next probe to settle, which may find the host as it was.
        if self.health.state == "down" and not self.health.is_doubted:
            self._wake_or_refuse(now)
        self._give_back(now)
        # 3.
        if is_up:
            self._grant_slots(now)
        if self._queue.waiters:
            # 4. They may have been the ones that slots were kept free for.
            if self._refuse_late(now) and is_up:
                self._grant_slots(now)
            self._drop_guess(now)
        # 5. Racing loads of one model make two copies of it, and what is still on its way out
        # still takes its memory.
        if is_up and self.load is None and not self.residents.is_unloading():
            self._begin_next(now)
        for key, limits in self._capacity.limits.items():
            is_refused = limits.refusal or limits.is_retried
            if is_refused and not self._without_instance(key):
                # A refusal counts for those who waited when it fell, not for whoever asks later.
                self._capacity.tries(key)
        # 7.
        if self._queue.waiters:
            self._tell_places(now)
        return self._effects()

    def _refuse_late(self, now: float) -> bool:
        """Step 4: whoever waited as long as they may; was there anybody?"""
        stuck, waiting = self._stuck(now), self._queue.waiters.values()
        overdue = [w for w in waiting if w.is_overdue(now, is_stuck=bool(stuck))]
        for waiter in overdue:
            name, limit_s = self.config.name, waiter.wish.max_wait_s or 0.0
            text = f"{name} stayed busy for {limit_s:.0f} s."
            # "Busy for 0 s" was said of an idle host, to which one who had waited elsewhere came.
            if limit_s < 1:
                text = f"{name} had nothing ready, and no time to wait for it was left."
            self._refuse([waiter], stuck if waiter.is_joined else text, FailureKind.BUSY)
        return bool(overdue)

    def _stuck(self, now: float) -> str:
        """That of the load under way no end is in sight, in words; empty where one is."""
        if self.load is None:
            return ""
        news = loading_news(self.config.name, self._in_flight(self.load), now)
        if news.stands_s is None and (news.seconds_left or news.elapsed_s < WORDLESS_S):
            return ""
        return stuck_text(news)

    def _wake_or_refuse(self, now: float) -> None:
        """Step 1 of a host that is away: it is called for those who wait, for so long as it may."""
        waiting = tuple(self._queue.waiters.values())
        if self.health.is_to_be_called(now, bool(waiting)):
            self._out.append(Wake())
        if not self.health.may_sleep:
            self._refuse(waiting, self.health.away(), FailureKind.CONNECT)
            return
        for waiter in waiting:
            # As with a load of one's own, the end is in sight.
            waiter.begin_load(now)

    def _give_back(self, now: float) -> None:
        """Step 1 of a host that drains: nobody waits here, and what is ours leaves with its use."""
        name = self.config.name
        if self.drained_until is None:
            return
        if now >= self.drained_until:
            self.drained_until = None
            ended = FleetEvent("host resumed", name, reason="its time was over")
            self._out += [Drain(name, is_on=False), ended]
            return
        # A turn that waits can wait elsewhere, and would else be answered here after all.
        self._refuse(self._queue.waiters.values(), DRAINS.format(name), FailureKind.BUSY, DRAINING)
        if self.load is not None and not self.load.is_stopping:
            self.load.is_stopping = True
            self._out.append(StopLoad())
        for resident in self.residents:
            is_at_rest = not resident.users and now >= resident.spared_until
            if resident.own is not None and is_at_rest and self.health.state == "up":
                self._unload(resident, "drained", f"{name} drains")

    def _grant_slots(self, now: float) -> None:
        """Step 3: every free slot there is, in turn."""
        turns = self._served_by(self._turns())
        self._dues.clear()
        passed_over, needed = self._passed_over(turns, now)
        self._kept_free = needed
        kept_free: frozenset[InstanceRef] = frozenset()
        for waiter, able in turns:
            if waiter is passed_over:
                kept_free = needed
            if able and waiter.wish.purpose != "question":
                # In memory is all that it wants: it takes no slot, and nobody waits for its end.
                self._grant(waiter, able[0], now)
                continue
            usable = [r for r in able if r.reference not in kept_free]
            said = waiter.wish.conversation
            free = [
                (said in r.conversations, self._slots(r) - len(r.users), -n)
                for n, r in enumerate(usable)
            ]
            best = max((place for place in free if place[1] > 0), default=None)
            if best is not None:
                self._grant(waiter, usable[-best[2]], now)

    def _passed_over(
        self, turns: Iterable[tuple[Waiter, Sequence[Resident]]], now: float
    ) -> tuple[Waiter | None, frozenset[InstanceRef]]:
        """The first who waited long enough for others to finish, and what is kept free for it.

        Turns for a resident model may go first, since a swap costs everybody a load. Without an
        end to that, a model in steady use would never leave, and whoever wants another never load.
        """
        ahead: set[InstanceRef] = set()
        for waiter, usable in turns:
            ahead.update(resident.reference for resident in usable)
            if usable or waiter.is_joined or waiter.wish.purpose in GUESSES:
                continue
            placed, key = self._placed(waiter.wish, ahead, now), waiter.wish.model_key
            if not isinstance(placed, Placement):
                continue
            due_s = self._swap_due_s([waiter], placed, now)
            self._dues[key] = min(due_s, self._dues.get(key, due_s))
            if not due_s:
                needed = placed.waits_for or placed.evict
                return waiter, frozenset(map(reference_of, needed))
        return None, frozenset()

    def _swap_due_s(self, waiters: Iterable[Waiter], placed: Placement, now: float) -> float:
        """As ``policy.fairness.swap_due_s``, for any of these who wait for one model."""
        key, leaving = placed.order.model_key, (*placed.evict, *placed.waits_for)
        # Since what is to leave has come: while it was loaded it let nobody pass, and who stood in
        # line for it meanwhile would each have had a load of their own, one answer to a swap.
        came_at = max((self.residents.all[reference_of(i)].since for i in leaving), default=0.0)
        waited_s = [now - max(w.asked_at, came_at) for w in self._without_instance(key)]
        together_s, waiting = sum(waited_s), len(waited_s)
        swap_s = self._load_s(key) + sum(self._load_s(i.model_key) for i in leaving)
        return min(
            swap_due_s(
                now - max(w.asked_at, came_at), together_s, waiting, swap_s, w.wish.max_wait_s
            )
            for w in waiters
        )

    def _grant(self, waiter: Waiter, resident: Resident, now: float) -> None:
        self._queue.served(waiter)
        wish, said = waiter.wish, waiter.wish.conversation
        is_question = wish.purpose == "question"
        # A window of a million that somebody ordered was needed by nobody, and yet other models
        # were loaded with as much.
        if (most := self._context_needed(wish)) < wish.min_context:
            wish = replace(wish, min_context=most)
        if wish.purpose not in GUESSES:
            self._demands.asked(wish, now)
        if is_question:
            self._answered[waiter.ticket] = wish
            self.residents.take(waiter.ticket, wish.user, resident, now)
            resident.is_awaited = False
        elif wish.purpose != "ahead":
            resident.is_awaited, resident.idle_since = True, now
        if wish.purpose == "order":
            # As likely to be used soon as a conversation that was just answered is to go on.
            self._demands.answered(wish, now)
        own, ttl_s = resident.own, wish.idle_ttl_s
        if own and own.idle_ttl_s is not None and (ttl_s is None or ttl_s > own.idle_ttl_s):
            # It rests as long as its most patient user wished.
            own = replace(own, idle_ttl_s=ttl_s)
            self.residents.adopt(own)
            self._out.append(own)
        # Not what it waited elsewhere: a host that had hung there was told as a queue here.
        total_s = now - waiter.came_at
        load_s = min(waiter.load_s, total_s)
        # As it was: what its slots held before tells what is to be read.
        instance = resident.view(is_wanted=False, models=self._models)
        self._out.append(Grant(waiter.ticket, instance, total_s - load_s, load_s))
        if said and is_question:
            held = (*(c for c in resident.conversations if c != said), said)
            resident.conversations = held[-self._slots(resident) :]

    def _begin_next(self, now: float) -> None:
        """Step 6: the next load, or room for it."""
        self._making_room = None
        for waiter in self._queue.waiters.values():
            waiter.end_load(now)
        seen: set[ModelKey] = set()
        # Of equal turns a guess would be next after five others: it is, when nobody else is.
        for waiter in sorted(self._turns(), key=lambda one: one.wish.purpose in GUESSES):
            key = waiter.wish.model_key
            # Whoever waits for an instance all the same waits for its users, which keep it here.
            if key in seen or self._usable(waiter.wish):
                continue
            seen.add(key)
            match self._placed(waiter.wish, (), now):
                case Hopeless(kind=kind, reason=reason):
                    # 6a.
                    self._refuse(self._without_instance(key), reason, kind)
                case Placement(waits_for=busy) if busy and waiter.wish.purpose in GUESSES:
                    # It was to cost nobody anything.
                    text = f"{self.config.name} is in use."
                    self._refuse(self._without_instance(key), text, FailureKind.BUSY)
                case Placement(waits_for=busy) as placed if busy:
                    # 6b. Beyond the patience of any who wait for it nobody else's load may take the
                    # room: the first of them may have more than those behind.
                    if not self._swap_due_s(self._without_instance(key), placed, now):
                        return
                case Placement(order=order, evict=()):
                    # 6c.
                    self._begin_load(order, now)
                    return
                case Placement(evict=evict):
                    # 6d.
                    self._make_room(key, evict, now)
                    return

    def _drop_guess(self, now: float) -> None:
        """Step 5: a load that nobody asked for is given up for whoever needs another."""
        load, waiters = self.load, self._queue.waiters.values()
        if load is None or load.is_stopping or not load.is_guess:
            return
        asked = [w.wish for w in waiters if w.wish.purpose not in GUESSES]
        needed = [wish for wish in asked if not self._usable(wish)]
        # For what can never fit it was given up for nothing.
        if not any(isinstance(self._placed(wish, (), now), Placement) for wish in needed):
            return
        load.is_stopping = True
        self._out.append(StopLoad())
        guesses = [w for w in waiters if w.wish.purpose in GUESSES]
        self._refuse(guesses, f"{self.config.name} is asked for more.", FailureKind.CANCELLED)

    def _placed(
        self, wish: Wish, ahead: Collection[InstanceRef], now: float
    ) -> Placement | Hopeless:
        """The load for a wish and all others of its model; ``ahead`` is held by earlier turns."""
        key, name = wish.model_key, self.config.name
        waiters = self._without_instance(key)
        wishes = [wish, *(waiter.wish for waiter in waiters)]
        most = lately_needed(self._demands.of.values(), now)
        placed = place_roomy(self.snapshot(), wishes, self._views(now, ahead), now, most)
        match placed:
            case Hopeless(kind=FailureKind.DOES_NOT_FIT, reason=reason):
                # A host's own words may be a sentence already.
                return replace(placed, reason=NO_ROOM.format(key, name, reason.rstrip(".")))
            case Hopeless(kind=FailureKind.LOAD_FAILED, reason=reason):
                return replace(placed, reason=f"{name} is {reason}.")
            case Hopeless():
                return replace(placed, reason=f"{name} does not have `{key}`.")
            case _:
                return placed

    def _begin_load(self, order: LoadOrder, now: float) -> None:
        seconds, basis = self._history.load_s(order.model_key, self._models.get(order.model_key))
        # Nobody who waits is told a guess.
        expected_s = seconds if basis in ("measured", "by size") else None
        self.load = Load(order, now, expected_s)
        for waiter in self._queue.of(order.model_key):
            self._joins(waiter, self.load, now)
        self._out.append(order)
        self._tell_joined(now)

    def _make_room(self, key: ModelKey, evict: tuple[Instance, ...], now: float) -> None:
        limits = self._capacity.limits.get(key)
        if limits is not None and limits.refusal:
            # The one more leaves now: should the host refuse again, it is not for want of trying.
            self._capacity.tries(key, is_retried=True)
        for waiter in self._without_instance(key):
            waiter.begin_load(now)
        for instance in evict:
            leaving = self.residents.all[reference_of(instance)]
            # Of its own smaller copy it read as if a model were evicted for itself.
            why = f"evicted to make room for {key}"
            if instance.model_key == key:
                why = f"reloading {key} with room for a longer text"
            self._unload(leaving, "evicted", why)
        keys = tuple(instance.model_key for instance in evict)
        self._making_room = Evicting(self.config.name, key, keys)

    # --- askers ---------------------------------------------------------------------------

    def on_left(self, now: float, ticket: Ticket) -> Effects:
        """An asker went away, whether waiting or holding."""
        waiter = self._queue.waiters.pop(ticket, None)
        self.residents.give_back(ticket, now)
        if (wish := self._answered.pop(ticket, None)) is not None:
            self._demands.answered(wish, now)
        self._clear_strays(now)
        # A leaver cancels nothing: whoever comes back finds the load further on.
        return self._effects() if waiter and waiter.is_joined else self._decide(now)

    def on_spoke(self, _now: float, ticket: Ticket) -> Effects:
        """The first word of an answer came: its prompt is read."""
        if (resident := self.residents.held.get(ticket)) is not None:
            resident.reading.discard(ticket)
        return ()

    def on_cancelled(self, now: float, key: ModelKey) -> Effects:
        """Somebody pressed Cancel.

        Raises:
            NotPermitted: there is no load to cancel, or more than one asker waits for it.
        """
        waiters = self._without_instance(key)
        load = self.load if self.load and self.load.order.model_key == key else None
        if len(waiters) > 1 or not (waiters or load):
            text = f"Loading `{key}` on {self.config.name} is not for one person to cancel."
            raise NotPermitted(text)
        if load and not load.is_stopping:
            load.is_stopping = True
            self._out.append(StopLoad())
        text = f"Loading `{key}` on {self.config.name} was cancelled."
        self._refuse(waiters, text, FailureKind.CANCELLED)
        return self._decide(now)

    def on_tick(self, now: float) -> Effects:
        """Time passed: somebody's patience may be over."""
        self._tell_joined(now)
        return self._decide(now)

    def on_answered(
        self,
        _now: float,
        record: SpeedRecord,
        most: Speed = UNTOLD,
        conversation: str = "",
        tokens: int = 0,
    ) -> Effects:
        """A request was answered here.

        Args:
            record: How fast.
            most: As in ``policy.speeds.learnt``.
            conversation: Whose.
            tokens: Its whole length by now; 0 where the host does not tell.
        """
        key, rate = record.model_key, speed_of_answer(record).tokens_per_s
        self._demands.told(key, conversation, tokens)
        copies = self.residents.of(key)
        # Of several copies nobody says which one answered.
        if rate is not None and len(copies) == 1:
            self._out += self.residents.timed(copies[0], rate, self._history.rates[key])
        # What a spilled copy does says nothing of the next, which is loaded anew.
        if all(copy.slowdown == 1.0 for copy in copies):
            self._history.learn(record, self._models.get(key), most)
        self.health.requests = Breaker()
        return (*self._effects(), record)

    # --- the host -------------------------------------------------------------------------

    def on_probed(self, now: float, report: Report) -> Effects:
        """The host answered a probe."""
        if report.models != self._models:
            # Kept as it is otherwise: readers may index it by identity.
            self._models = report.models
            self._history.found(report.models)
        self._out.extend(self.health.probed(now, report))
        self._see(report.residents, now)
        return self._decide(now)

    def on_probe_failed(
        self, now: float, reason: str, kind: FailureKind, silent_since: float | None = None
    ) -> Effects:
        """The host did not answer a probe, or not sensibly; ``silent_since`` as in ``missed``."""
        is_up = self.health.state == "up"
        if kind is FailureKind.TIMEOUT and is_up and self.is_at_work():
            # A machine reading a long prompt or a big file may miss a probe. What is under way
            # there has its own deadlines, and their failure is reported.
            self.health.missed(now, reason, silent_since)
            return self._decide(now)
        if kind is FailureKind.CONNECT:
            self.residents.went_away()
        self._out.extend(self.health.failed(now, reason, kind))
        return self._decide(now)

    def on_doubted(self, now: float, reason: str) -> Effects:
        """A request failed on the host; the next probe decides."""
        self._out.extend(self.health.doubted(now, reason))
        return self._decide(now)

    def on_load_ordered(self, _now: float, key: ModelKey) -> Effects:
        """An admin wants a model loaded, somewhere: it is tried however it failed before."""
        self._capacity.forgive([key])
        return self._effects()

    def on_sought(self, now: float) -> Effects:
        """Somebody found no host that can serve: the next probe decides, whatever the pause."""
        self.health.sought(now)
        return self._effects()

    # --- loads ----------------------------------------------------------------------------

    def on_progress(self, now: float, fraction: float) -> Effects:
        """The load under way got further."""
        # Faces draw it as a bar, and their seconds left follow from it: never back.
        if self.load is not None and fraction > self.load.fraction:
            load = self.load
            load.gap_s = max(load.gap_s, now - (load.told_at or load.started_at))
            load.fraction, load.told_at, load.is_held = min(1.0, fraction), now, False
        self._tell_joined(now)
        return self._effects()

    def on_load_held(self, now: float, *, is_held: bool, told_at: float | None = None) -> Effects:
        """The load under way waits for that of another Lantern, or does not any more.

        Args:
            now: As ever.
            is_held: Which of the two.
            told_at: When that one last gave a sign of life; one lost from sight always does.
        """
        load = self.load
        if load is not None:
            # What it waited is no part of how long it takes.
            load.started_at = load.started_at if load.is_held and is_held else now
            load.is_held, load.told_at = is_held, told_at
        self._tell_joined(now)
        return self._effects()

    def on_loaded(self, now: float, own: OwnInstance, listed: Iterable[Instance]) -> Effects:
        """The load under way is done; the host's list was read afterwards."""
        load, joined = self._end_load(now)
        self.residents.adopt(own)
        self._see(listed, now)
        if load is None:
            return self._decide(now)
        key, name = own.model_key, self.config.name
        made = next((r for r in self.residents if r.instance.identifier == own.identifier), None)
        context = made.instance.context_length if made else None
        if made is not None:
            # Also where whoever ordered it has left: what was done at their word stands.
            made.is_awaited = made.is_awaited or load.is_awaited
        for waiter in joined:
            # Only what was to serve them and did not counts: of eight long conversations, each
            # outgrowing the others' copy, four were refused for three good loads of the others.
            waiter.loads = 0 if self._usable(waiter.wish) else waiter.loads + 1
        # A host that unloads at once what it loaded would be loaded for ever. Whoever joined later
        # has their own tries: refused with the first, they never saw a load fail.
        if spent := [waiter for waiter in joined if waiter.loads >= MOST_LOADS]:
            text = f"{name} loaded `{key}` {MOST_LOADS} times and never had it in memory."
            self._capacity.failed(key, text, now)
            self._refuse(spent, text, FailureKind.LOAD_FAILED)
        self._capacity.loaded(load.order, context, self.residents.views(self._models))
        model, seconds = self._models.get(key), now - load.started_at
        size = model.size_bytes if model else None
        record = LoadRecord(name, key, seconds, size)
        self._history.learn(record)
        self._out.append(record)
        self._out.append(
            FleetEvent(
                "model loaded", name, key, "", own.identifier, seconds=seconds, size_bytes=size
            )
        )
        # The cancel came too late. Whoever asked for the model meanwhile keeps it there.
        is_unwanted = load.is_stopping and not load.is_guess
        if is_unwanted and made is not None and not self._queue.of(key):
            self._unload(made, "cancelled", "its load was cancelled")
        return self._decide(now)

    def on_load_failed(
        self,
        now: float,
        reason: str,
        kind: FailureKind,
        listed: Iterable[Instance] | None,
        own: OwnInstance | None,
    ) -> Effects:
        """The load under way is over without an instance.

        Args:
            now: Monotonic seconds.
            reason: The host's own, or what became of the host.
            kind: ``DOES_NOT_FIT``, ``CANCELLED``, one of ``LOST``, or anything else.
            listed: None when the list could not be read again.
            own: What the load made all the same, before the host was lost.
        """
        load, joined = self._end_load(now)
        if own is not None:
            self.residents.adopt(own)
        if listed is not None:
            self._see(listed, now)
        if load is None:
            return self._decide(now)
        # Made, and the line broke before it was listed: refused was who it was made for.
        key, is_lost, waits_on = load.order.model_key, kind in LOST, own is not None
        self._out.append(FleetEvent("load failed", self.config.name, key, reason))
        if is_lost and own is None and load.order.ttl_s is not None:
            # The host may finish it all the same, with nobody there. Without a TTL of ours nothing
            # would tell it from a load by hand.
            may_go_on = kind is FailureKind.CUT
            waits_on = may_go_on and not self.lost_until(key)
            self.residents.lost.append(LostLoad(load.order, load.started_at, may_go_on))
        if load.is_stopping:
            return self._decide(now)
        # Where nothing of ours is in memory, one more cannot leave, and the refusal is final.
        limits, model = self._capacity.limits.get(key), self._models.get(key)
        is_memory = kind is FailureKind.DOES_NOT_FIT
        beside = self.residents.views(self._models)
        if is_memory and model is not None:
            self._capacity.did_not_fit(load.order, model, beside, now)
        may_evict = any(r.own is not None or self._evict_foreign for r in self.residents)
        # What is in use ends: its room was then there, and refused to whoever asked for it.
        is_last = limits is not None and limits.is_retried and not will_rest(beside, now)
        if is_lost:
            self._out.extend(self.health.doubted(now, reason))
            # Where the line alone broke the host goes on, and the next probe finds it. Refused,
            # they came again while it did, and were told that there is no room, or had it twice.
            self._refuse([] if waits_on else joined, reason, kind)
        elif is_memory and may_evict and not is_last:
            self._capacity.tries(key, refusal=reason)
        else:
            self._give_up(load.order, joined, reason, beside, now, is_memory=is_memory)
        return self._decide(now)

    def _give_up(
        self,
        order: LoadOrder,
        joined: Iterable[Waiter],
        reason: str,
        beside: Iterable[Instance],
        now: float,
        *,
        is_memory: bool,
    ) -> None:
        """A load is not tried again: it would only fail the same way.

        Whoever waits for another load of the model has both tries before them still.
        """
        key = order.model_key
        self._capacity.tries(key)
        words = refused_words(reason, beside, self._evict_foreign) if is_memory else reason
        if words != reason:
            reason = NO_ROOM.format(key, self.config.name, words.rstrip("."))
        # Beside a pin nothing is tried again at a set time, so that none is told.
        if not (is_memory and is_pinned_out(self.snapshot(), order, beside)):
            self._capacity.failed(key, reason, now, is_memory=is_memory)
        kind = FailureKind.DOES_NOT_FIT if is_memory else FailureKind.LOAD_FAILED
        self._refuse(joined, reason, kind)

    def on_listed(
        self, now: float, listed: Iterable[Instance], *, is_load_spared: bool = False
    ) -> Effects:
        """The host's list was read for another reason, such as a turn about to be sent.

        A load is spared when others have loaded its model since the host was last looked at.
        """
        if is_load_spared:
            self._end_load(now)
        self._see(listed, now)
        return self._decide(now)

    # --- unloads, by hand and by rest -----------------------------------------------------

    def on_unload_asked(
        self,
        now: float,
        name: str,
        even_foreign: bool,
        theirs: Collection[InstanceRef] | None = None,
    ) -> Effects:
        """An admin wants these out, by identifier or model key.

        Args:
            now: Monotonic seconds.
            name: Which.
            even_foreign: Also what others loaded.
            theirs: Beside a running Lantern, what that one keeps: who waits for it or is answered
                by it only that one knows. None where this one is alone.

        Raises:
            UnknownName: nothing of that name is in memory.
            NotPermitted: one of them answers somebody, is kept by another Lantern, or is foreign
                and nobody said so.
        """
        # All or none: half of what was asked for is more than anybody would look for.
        found = self.residents.find(name)
        if not even_foreign:
            # What others loaded beside ours stays, and is no reason to keep ours.
            found = [resident for resident in found if resident.own is not None] or found
        for resident in found:
            what = f"`{resident.instance.identifier}` on {self.config.name}"
            if resident.users:
                raise NotPermitted(f"{what} is answering somebody.")
            # Or as it is known where the host tells no references.
            known_as = {resident.reference, f"{NAMED}{resident.instance.identifier}"}
            if resident.own is None and known_as.intersection(theirs or ()):
                raise NotPermitted(KEPT_BESIDE.format(what))
            if resident.own is None and not even_foreign:
                raise ForeignInstance(f"{what} was loaded by somebody else.")
        for resident in found:
            self._demands.forget(resident.instance.model_key)
            # What others loaded may answer for that Lantern, too.
            self._unload(resident, "admin", "asked by an admin", even_busy=theirs is None)
        return self._decide(now)

    def on_unload_ended(
        self, now: float, reference: InstanceRef, listed: Iterable[Instance] | None
    ) -> Effects:
        """An unload returned; whether the instance is gone is for the host's list to tell.

        It may still be there: the host refused, or another program was using it. ``listed`` is None
        when the list could not be read.
        """
        # The list first: one that is gone needs no sparing.
        if listed is not None:
            self._see(listed, now)
        resident = self.residents.all.get(reference)
        if resident is not None and resident.leaving:
            # Without a pause the same host would be asked the same again, several times a second
            # while anybody waits for the room.
            resident.leaving = ""
            resident.idle_since, resident.spared_until = now, now + SPARED_S
        return self._decide(now)

    def on_swept(self, now: float) -> Effects:
        """The eviction job came round."""
        # What somebody waits for is as good as in use.
        waiters = self._queue.waiters.values()
        wanted = {r.reference for waiter in waiters for r in self._usable(waiter.wish)}
        for instance in plan_idle_eviction(
            self.residents.views(self._models, wanted), now, evict_foreign=self._evict_foreign
        ):
            rested_s = now - (instance.idle_since or now)
            resident = self.residents.all[reference_of(instance)]
            self._demands.forget(instance.model_key)
            self._unload(resident, "idle", f"at rest for {rested_s:.0f} s")
        return self._decide(now)

    def on_pinned(self, now: float, name: str, is_pinned: bool) -> Effects:
        """An admin pinned or unpinned these, by identifier or model key.

        Raises:
            UnknownName: nothing of that name is in memory.
        """
        if not is_pinned:
            self._capacity.freed()
        for resident in self.residents.find(name):
            resident.is_pinned = is_pinned
            if resident.own is not None:
                own = replace(resident.own, pinned=is_pinned)
                self.residents.adopt(own)
                self._out.append(own)
        return self._decide(now)

    def on_left_to_us(self, now: float, own: Iterable[OwnInstance]) -> Effects:
        """Commands beside this Lantern loaded these: what is here of them is ours."""
        foreign = {r.reference for r in self.residents.all.values() if r.own is None}
        for record in own:
            if record.reference in foreign:
                self.residents.adopt(record)
                self._out.append(record)
        return self._decide(now)

    def on_drained(self, now: float, drain: Drain) -> Effects:
        """An admin wants no new turns here, or wants them again."""
        self._out.append(drain)
        if drain.is_on:
            left_s = math.inf if drain.left_s is None else drain.left_s
            self.drained_until = now + left_s
            news = FleetEvent("host drained", self.config.name, seconds=drain.left_s)
            self._out.append(news)
        elif self.drained_until is not None:
            self.drained_until = None
            self._out.append(FleetEvent("host resumed", self.config.name))
        return self._decide(now)

    # --- what is known --------------------------------------------------------------------

    def _usable(self, wish: Wish) -> list[Resident]:
        """Instances that serve the wish: of its model, large enough, and staying."""
        key, load = wish.model_key, self.load
        copies = self.residents.of(key)
        if not copies:
            # Of whoever waits for a load, and each of them is asked about at every event.
            return copies
        need = self._context_needed(wish)
        # What the load under way is making is listed before it is known as ours: nobody gets it.
        is_loading = load is not None and load.order.model_key == key
        until = load.started_at if load is not None and is_loading else float("inf")
        return [
            r
            for r in copies
            if r.since < until
            # It has neither our settings nor our timer: one turn ends on it, and no other begins.
            and not r.is_stray
            # Untold counts as enough: a host that cannot hold the transcript says so itself.
            and (r.instance.context_length is None or r.instance.context_length >= need)
        ]

    def _context_needed(self, wish: Wish) -> int:
        key = wish.model_key
        limits = self._capacity.limits.get(key)
        return context_needed(self._models.get(key), limits, wish.min_context)

    def _views(self, now: float, ahead: Collection[InstanceRef] = ()) -> tuple[Instance, ...]:
        """What is in memory, each with what its eviction would cost those who ask for it next."""
        return self.residents.views(
            self._models, ahead, lambda copy: self._missed_s(copy, now), self._kept_free
        )

    def _missed_s(self, copy: Resident, now: float) -> float:
        # Of what is never evicted nobody asks, and each picture of a host asked for it.
        if copy.is_pinned or not (copy.own or self._evict_foreign):
            return 0.0
        name, key = self.config.name, copy.instance.model_key
        return self._demands.missed_s(name, key, self._load_s(key), copy.conversations, now)

    def _load_s(self, key: ModelKey) -> float:
        return self._history.load_s(key, self._models.get(key))[0]

    def _lost_s(self, key: ModelKey) -> float:
        seconds, basis = self._history.load_s(key, self._models.get(key))
        # Of what was never measured a guess would be over too soon, and the model loaded twice.
        is_known = basis in ("measured", "by size")
        return latest_s(seconds) if is_known else max(UNMEASURED_LOST_S, latest_s(seconds))

    def _without_instance(self, key: ModelKey) -> list[Waiter]:
        """Those who need a model that nothing in memory serves."""
        return [waiter for waiter, able in self._served_by(self._queue.of(key)) if not able]

    def _served_by(self, waiters: Iterable[Waiter]) -> list[tuple[Waiter, list[Resident]]]:
        """Each with what serves it, looked for once for all who wish for as much of one model."""
        found: dict[tuple[ModelKey, int], list[Resident]] = {}
        served: list[tuple[Waiter, list[Resident]]] = []
        for waiter in waiters:
            wish = waiter.wish
            asked = wish.model_key, wish.min_context
            able = found.get(asked)
            if able is None:
                able = found[asked] = self._usable(wish)
            served.append((waiter, able))
        return served

    def _slots(self, resident: Resident) -> int:
        """The host's own word on its slots beats the configured."""
        return max(1, resident.instance.parallel or self.config.slots)

    def _turns(self) -> list[Waiter]:
        # Most events find nobody waiting, and each looked for turns several times.
        if not self._queue.waiters:
            return []
        residents = self.residents.all.values()
        return self._queue.turns(counted(user for r in residents for user in r.users.values()))

    def _in_flight(self, load: Load) -> LoadInFlight:
        """The frozen picture of a load, with how many it will serve."""
        waiters = self._queue.waiters.values()
        joined = sum(w.is_joined and w.wish.purpose not in GUESSES for w in waiters)
        return LoadInFlight(
            load.order.model_key,
            load.fraction,
            load.started_at,
            load.expected_s,
            joined,
            load.told_at,
            load.gap_s,
            is_guess=load.is_guess,
            is_stopping=load.is_stopping,
            is_held=load.is_held,
        )

    # --- what changes ---------------------------------------------------------------------

    def _joins(self, waiter: Waiter, load: Load, now: float) -> bool:
        """Will the load under way serve them? Then they join it."""
        wish, limit = waiter.wish, load.order.settings.context_length
        if load.is_stopping or load.order.model_key != wish.model_key or self._usable(wish):
            return False
        if limit is not None and self._context_needed(wish) > limit:
            return False
        waiter.is_joined = True
        waiter.begin_load(now)
        load.is_guess = load.is_guess and wish.purpose in GUESSES
        load.is_awaited = load.is_awaited or wish.purpose in ("order", "hint")
        return True

    def _end_load(self, now: float) -> tuple[Load | None, list[Waiter]]:
        """The load that was under way, and who had joined it."""
        load, self.load = self.load, None
        waiters = self._queue.of(load.order.model_key) if load else []
        joined = [waiter for waiter in waiters if waiter.is_joined]
        for waiter in waiters:
            waiter.is_joined = False
            waiter.end_load(now)
        return load, joined

    def _unload(
        self, resident: Resident, cause: UnloadCause, reason: str, *, even_busy: bool = False
    ) -> None:
        resident.cause, resident.leaving = cause, reason
        self._out.append(StartUnload(resident.instance, even_busy))

    def _see(self, listed: Iterable[Instance], now: float) -> None:
        loading = self.load.order.model_key if self.load is not None else None
        claimed, gone, forgotten = self.residents.see(listed, now, loading)
        self._out.extend(claimed)
        if gone:
            self._capacity.freed()
        self._capacity.saw(self.residents.views(self._models))
        rates, models = self._history.expected_rates, self._models
        keys = {r.instance.model_key for r in self.residents}
        there = {key: rates(models.get(key) or Model(key)) for key in keys}
        self._demands.holds(self.config.name, there)
        for resident in gone:
            key, name = resident.instance.model_key, resident.instance.identifier
            why = resident.leaving or "on the host, not by Lantern"
            # One that stayed when it was told to leave may go later by another hand.
            cause = resident.cause if resident.leaving else "elsewhere"
            self._out.append(FleetEvent("model unloaded", self.config.name, key, why, name, cause))
        self._out.extend(Forget(reference) for reference in forgotten)
        self._clear_strays(now)

    def _clear_strays(self, now: float) -> None:
        for resident in self.residents:
            if resident.is_stray and not resident.users and now >= resident.spared_until:
                self._unload(resident, "stray", "LM Studio loaded it by itself for one turn")

    def _refuse(
        self, waiters: Iterable[Waiter], text: str, kind: FailureKind, brief: str = ""
    ) -> None:
        refusal = HostUnreachable if kind in LOST else partial(Unavailable, brief=brief)
        for waiter in tuple(waiters):
            del self._queue.waiters[waiter.ticket]
            # An error of their own for each: raising it writes the way it took into it.
            self._out.append(Refuse(waiter.ticket, refusal(text, kind)))

    # --- words for those who wait ---------------------------------------------------------

    def _tell_places(self, now: float) -> None:
        """Step 7."""
        if (load := self.load) is None:
            # For whoever is at work there: beside them it would have begun.
            left_s = at_rest_in_s(self.residents, self._history.speeds, now)
        else:
            news = loading_news(self.config.name, self._in_flight(load), now)
            left_s = None if load.is_stopping else news.seconds_left
        among: dict[ModelKey, int] = {}
        begins: dict[ModelKey, float | None] = {}
        due_s = math.inf
        for number, (waiter, usable) in enumerate(self._served_by(self._turns()), start=1):
            key = waiter.wish.model_key
            among[key] = place = among.get(key, 0) + 1
            if waiter.is_joined:
                continue
            if usable:
                turn_s = self._history.speeds.get(key, UNTOLD).turn_s
                running_s = [ran_s for r in usable for ran_s in r.run_s(now)]
                slots = sum(map(self._slots, usable))
                seconds = seconds_in_line(place, running_s, slots, turn_s)
                # Whoever has its place before a load is at work there first.
                if seconds is None or turn_s is None:
                    left_s = None if load is None else left_s
                elif seconds >= due_s:
                    # What it waits for will have left by then: "about 3 s" was told for 38 s.
                    place, seconds = number, None
                elif load is None and left_s is not None:
                    left_s = max(left_s, seconds + turn_s)
            else:
                due_s = min(due_s, self._dues.get(key, math.inf))
                if key not in begins:
                    begins[key] = float(math.ceil(left_s)) if left_s else None
                    takes_s, basis = self._history.load_s(key, self._models.get(key))
                    left_s = None if left_s is None or basis == "a guess" else left_s + takes_s
                # Its load brings slots for so many; how long these take is not known before.
                is_served = place <= self.config.slots
                place, seconds = number, begins[key] if is_served else None
            self._tell(waiter, self._queued(key, usable, place, seconds, now))

    def _queued(
        self,
        key: ModelKey,
        usable: Sequence[Resident],
        place: int,
        seconds: float | None,
        now: float,
    ) -> Progress:
        """The place in the queue, with the seconds until its slot, or until its load begins."""
        name, room = self.config.name, self._making_room
        woken_at, wake_s = self.health.woken_at, self.health.wake_s
        if woken_at is not None:
            left_s = woken_at + (WAKE_S if wake_s is None else wake_s) - now
            return Waking(name, key, float(max(0, math.ceil(left_s))))
        if room is not None and room.model == key:
            return room
        # Who waits for a load waits for all who are at work there.
        finishing = next((r.instance.model_key for r in usable or self.residents if r.users), None)
        return Queued(name, key, place, seconds, finishing)

    def _tell_joined(self, now: float) -> None:
        """How far the load is, to everybody it will serve."""
        if self.load is None:
            return
        news = loading_news(self.config.name, self._in_flight(self.load), now)
        for waiter in self._queue.waiters.values():
            if waiter.is_joined:
                self._tell(waiter, news)

    def _tell(self, waiter: Waiter, progress: Progress) -> None:
        # Said once: a hundred waiters would hear their unchanged place at every event.
        if progress != waiter.told:
            waiter.told = progress
            self._out.append(Tell(waiter.ticket, progress))

    def _effects(self) -> Effects:
        effects, self._out = tuple(self._out), []
        return effects
