"""Everything known of one host, and the questions its scheduler asks; changes nothing."""

from collections.abc import Iterable, Mapping

from bot.domain.errors import (
    BotError,
    FailureKind,
    ForeignInstance,
    HostUnreachable,
    NotPermitted,
    Unavailable,
    UnknownName,
)
from bot.domain.events import Evicting, Progress
from bot.domain.hosts import HostConfig, HostSnapshot, HostState, Model, OwnInstance, Wish
from bot.domain.ids import InstanceRef, ModelKey
from bot.fleet.health import HostHealth
from bot.fleet.load_limits import LoadLimits
from bot.fleet.placement import Blocked, Decision, Fits, Hopeless, Limits, decide_load, order_for
from bot.fleet.progress import Load, queued_news
from bot.fleet.queue import Queue, Waiter
from bot.fleet.residents import Holding, Residents, reference_of
from bot.fleet.speeds import History
from bot.policy.names import nearest

MOST_LOADS = 3
"""Loads begun for one wish: the first, one after an eviction, one with a larger context."""


class Books:
    """One host's books. The scheduler alone writes them; everybody else asks."""

    def __init__(
        self,
        config: HostConfig,
        history: History,
        own: Iterable[OwnInstance],
        evict_foreign: bool,
    ) -> None:
        self.config = config
        self.name = config.name
        self.limits = Limits.of(config, evict_foreign)
        self.history = history
        self.load_limits = LoadLimits()
        self.health = HostHealth(config.name)
        self.rack = Residents(own)
        self.queue = Queue()
        self.models: Mapping[ModelKey, Model] = {}
        self.load: Load | None = None
        self.making_room: Evicting | None = None
        self.is_draining = False

    # --- for everybody ----------------------------------------------------------------------

    def snapshot(self) -> HostSnapshot:
        """Everything known, frozen."""
        config, history, report = self.config, self.history, self.health.report
        return HostSnapshot(
            name=config.name,
            address=config.address,
            state=self.state(),
            reason=self.health.reason,
            interface=report.interface if report else None,
            version=report.version if report else "",
            lists_only_loaded=report.lists_only_loaded if report else None,
            needs_token=self.health.needs_token,
            has_token=config.token is not None,
            models=self.models,
            instances=self.rack.views(self.models, float("inf")),
            load=self.load.picture() if self.load else None,
            waiting=self.queue.counts(),
            memory_bytes=config.memory_bytes,
            max_loaded=config.max_loaded,
            slots=config.slots,
            weight=config.weight,
            load_bytes_per_s=history.load_bytes_per_s,
            speeds=history.speeds,
            failures=self.health.failures,
        )

    def next_probe_at(self, now: float) -> float | None:
        """When to probe again unasked; None when the schedule will do."""
        return self.health.next_probe_at(now)

    def is_at_work(self) -> bool:
        """Is a load under way or an instance in use?"""
        return self.load is not None or self.rack.has_leases()

    def is_loading(self) -> bool:
        """Is a load under way?"""
        return self.load is not None

    def is_unloading(self) -> bool:
        """Is anything on its way out of memory?"""
        return self.rack.is_unloading()

    def find(self, name: str) -> tuple[InstanceRef, ...]:
        """Instances by identifier, else all of a model key.

        Raises:
            UnknownName: nothing of that name is in memory.
        """
        staying = self.rack.staying()
        found = [h for h in staying if h.seen.identifier == name]
        found = found or [h for h in staying if h.seen.model_key == name]
        if found:
            return tuple(h.reference for h in found)
        known = sorted({str(h.seen.identifier) for h in staying})
        raise UnknownName("loaded model", name, nearest(name, known))

    def unloadable(self, name: str, even_foreign: bool) -> tuple[InstanceRef, ...]:
        """What an admin may unload by this name.

        Raises:
            UnknownName: nothing of that name is in memory.
            NotPermitted: one of them answers somebody, or is foreign and nobody said so.
        """
        references = self.find(name)
        for holding in filter(None, map(self.rack.holding, references)):
            what = f"`{holding.seen.identifier}` on {self.name}"
            if holding.users:
                raise NotPermitted(f"{what} is answering somebody.")
            if holding.own is None and not even_foreign:
                raise ForeignInstance(f"{what} was loaded by somebody else.")
        return references

    def may_cancel(self, key: ModelKey) -> bool:
        """Is there a load to cancel that at most one asker waits for?"""
        waiters = len(self.without_instance(key))
        is_loading = self.load is not None and self.load.order.model_key == key
        return waiters <= 1 and (is_loading or waiters == 1)

    # --- for the scheduler -----------------------------------------------------------------------

    def turned_away(self, wish: Wish) -> BotError | None:
        """Why a new wish is not even queued; None when it is."""
        match self.state():
            case HostState.DOWN:
                return self.away()
            case HostState.DRAINING:
                text = f"{self.name} is draining and takes no new turns."
                return HostUnreachable(text, FailureKind.BUSY)
            case HostState.UP if not self.is_known(wish.model_key):
                text = f"{self.name} does not have `{wish.model_key}`."
                return Unavailable(text, FailureKind.NOT_THERE)
            case _:
                return None

    def impatient(
        self, turns: Iterable[Waiter], now: float
    ) -> tuple[Waiter, frozenset[InstanceRef]] | None:
        """The first who waited long enough for others to finish, and what is kept free for it.

        Turns for a resident model may go first, but not for ever.
        """
        ahead: set[InstanceRef] = set()
        for waiter in turns:
            usable = self.usable(waiter.wish)
            ahead.update(h.reference for h in usable)
            if usable or not waiter.is_impatient(now) or self.is_joined(waiter):
                continue
            match self.decide(waiter.wish, ahead, now):
                case Blocked(waits_for=needed) | Fits(evict=needed):
                    return waiter, frozenset(map(reference_of, needed))
                case Hopeless():
                    continue
        return None

    def decide(self, wish: Wish, ahead: Iterable[InstanceRef], now: float) -> Decision:
        """Whether a load for this wish may start; ``ahead`` are instances held by earlier turns."""
        key = wish.model_key
        model = self.models.get(key)
        if model is None:
            return Hopeless(FailureKind.NOT_THERE, f"{self.name} does not have `{key}`.")
        waiters = self.without_instance(key)
        if any(waiter.loads >= MOST_LOADS for waiter in waiters):
            reason = f"{self.name} loaded `{key}` {MOST_LOADS} times and never had it in memory."
            return Hopeless(FailureKind.LOAD_FAILED, reason)
        wishes = [wish, *(waiter.wish for waiter in waiters)]
        need = max(map(self.need, wishes))
        order = order_for(wishes, model, need, self.load_limits.usual_context(key))
        views = self.rack.views(self.models, now, frozenset(ahead))
        return decide_load(order, model, views, self.limits, now, self.load_limits.refusal(key))

    def turns(self) -> list[Waiter]:
        """Everybody waiting, in the order of their turns."""
        return self.queue.turns(self.rack.leases_of()) if len(self.queue) else []

    def need(self, wish: Wish) -> int:
        """The context a wish needs, as far as this host can give it."""
        return self.load_limits.need(wish, self.models)

    def usable(self, wish: Wish) -> list[Holding]:
        """Instances that serve the wish: of its model, large enough, and staying."""
        serving = self.rack.serving(wish.model_key, self.need(wish))
        return [holding for holding in serving if not self._is_arriving(holding)]

    def _is_arriving(self, holding: Holding) -> bool:
        """Is it what the load under way is making? Nobody gets it before it is known as ours."""
        load = self.load
        is_same = load is not None and holding.seen.model_key == load.order.model_key
        return load is not None and is_same and holding.since >= load.started_at

    def without_instance(self, key: ModelKey) -> list[Waiter]:
        """Those who need a model that nothing in memory serves."""
        return [waiter for waiter in self.queue.of(key) if not self.usable(waiter.wish)]

    def free(self, holding: Holding) -> int:
        """Slots an instance has left; the host's own word on them beats the configured."""
        return max(1, holding.seen.parallel or self.config.slots) - len(holding.users)

    def is_joined(self, waiter: Waiter) -> bool:
        """Will the load under way serve them?"""
        return self.load is not None and waiter.ticket in self.load.joined

    def joined(self) -> list[Waiter]:
        """Those the load under way will serve."""
        return [waiter for waiter in self.queue if self.is_joined(waiter)]

    def may_join(self, waiter: Waiter, load: Load) -> bool:
        """Would this load serve them?"""
        order, wish = load.order, waiter.wish
        if load.is_stopping or order.model_key != wish.model_key or self.usable(wish):
            return False
        context = order.settings.context_length
        return context is None or self.need(wish) <= context

    def is_known(self, key: ModelKey) -> bool:
        """Is the model on disk, or at least in memory?"""
        return key in self.models or bool(self.rack.serving(key, 0))

    def state(self) -> HostState:
        """Whether the host may serve."""
        state = self.health.state
        return HostState.DRAINING if state is HostState.UP and self.is_draining else state

    def may_make_room(self) -> bool:
        """Is anything here that could ever leave for a load?"""
        return any(h.own is not None or self.limits.evict_foreign for h in self.rack.staying())

    def queued(self, wish: Wish, number: int, among_same: int) -> Progress:
        """What somebody in the queue is told; ``number`` counts all, ``among_same`` their model."""
        if self.making_room is not None and self.making_room.model == wish.model_key:
            return self.making_room
        usable = self.usable(wish)
        slots = [self.free(h) + len(h.users) for h in usable]
        turn_s = self.history.turn_s(wish.model_key)
        return queued_news(self.name, wish, among_same if usable else number, slots, turn_s)

    def away(self) -> BotError:
        """What everybody is told while the host is down."""
        return HostUnreachable(f"{self.name} is away: {self.health.reason}")
