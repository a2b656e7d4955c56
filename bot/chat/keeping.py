"""Keeps in memory what personas and pins want there: at the start, and again when it was lost.

Where its owner wants that, it also loads what is usually asked for at this time of day.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import structlog

from bot.chat.flights import News
from bot.domain.errors import UnknownName
from bot.domain.events import FleetEvent
from bot.domain.hosts import HostSnapshot, Wish
from bot.domain.ids import HostName, ModelKey
from bot.domain.personas import LoadSettings, Persona
from bot.fleet.fleet import Fleet
from bot.policy.breaker import Breaker, on_failure, state
from bot.policy.keeping import KEEP_RULES, KEEPER, Keep, kept_by, plan_keeping
from bot.policy.usual_hours import (
    DAYS,
    GUESS_EVERY_S,
    SOON,
    USUAL_HOURS,
    plan_preload,
    usually_asked,
)

Pin = tuple[HostName, ModelKey]

_log = structlog.get_logger(__name__)


class Keeper:
    """Owns the list of pins; loads by leases that it leaves at once, which cancel nothing."""

    def __init__(
        self,
        fleet: Fleet,
        personas: Callable[[], Iterable[Persona]],
        pins: Callable[[], Awaitable[Iterable[Pin]]],
        record: Callable[[HostName, ModelKey, bool], Awaitable[None]],
        asked: Callable[[int], Awaitable[Iterable[tuple[ModelKey, datetime]]]],
        now: Callable[[], datetime],
    ) -> None:
        """Nothing is read before it is first needed.

        Args:
            fleet: The hosts that load.
            personas: Gives all there are now.
            pins: Reads those the last Lantern left.
            record: Stores that a model is pinned on a host, or is no longer.
            asked: Reads which models hosts answered with in so many days, and when.
            now: The wall clock, in the zone by which people live.
        """
        self._fleet = fleet
        self._personas = personas
        self._remembered = pins
        self._record = record
        self._pins: set[Pin] | None = None
        """None until they were read."""
        self._unloaded: set[Pin] = set()
        """Taken out by hand, and not told to the store yet."""
        self._let_go: set[ModelKey] = set()
        """Taken out by hand: not loaded again before somebody has asked for it."""
        self._asked = asked
        self._now = now
        self._guessed: dict[ModelKey, float] = {}
        """When each was loaded last for its usual hours."""
        self._tries: dict[tuple[HostName | None, ModelKey], Breaker] = {}

    async def pin(self, host: HostName, key: ModelKey, is_pinned: bool) -> None:
        """A model is pinned on a host from now on, or no more.

        Raises:
            StoreUnavailable: it counts all the same, until the next start.
        """
        pins = await self.pins()
        if is_pinned:
            pins.add((host, key))
            self._let_go.discard(key)
        else:
            pins.discard((host, key))
        await self._record(host, key, is_pinned)

    def hear(self, news: News) -> None:
        """What an admin unloads stays out; what anybody loads may be kept again."""
        if not isinstance(news, FleetEvent) or news.model is None:
            return
        if news.what == "model loaded":
            self._let_go.discard(news.model)
        elif news.what == "model unloaded" and news.cause == "admin":
            self._let_go.add(news.model)
            self._unloaded.add((news.host, news.model))

    async def keep(self) -> None:
        """Asks for what is missing; returns before it is there."""
        pins = await self.pins()
        for gone in pins & self._unloaded:
            pins.discard(gone)
            await self._record(*gone, False)
        self._unloaded.clear()
        snapshot = self._fleet.snapshot()
        hosts, now = snapshot.hosts, snapshot.taken_at
        for name, key in pins:
            if name in hosts:
                self._pin_copies(hosts[name], key)
        pinned = Wish(ModelKey(""), idle_ttl_s=None, user=KEEPER, priority="low", purpose="order")
        wishes = [(replace(pinned, model_key=key), n) for n, key in pins]
        wanted = [*(Keep(wish, name) for wish, name in wishes), *kept_by(self._personas())]
        due: list[Keep] = []
        for keep in wanted:
            key, at = keep.wish.model_key, (keep.host, keep.wish.model_key)
            near = [h for h in hosts.values() if keep.host in (None, h.name) and h.is_serving]
            if any(host.has_loaded(key) for host in near):
                self._tries.pop(at, None)
            if key not in self._let_go and state(self._tries.get(at, Breaker()), now) != "open":
                due.append(keep)
        for keep, name in plan_keeping(snapshot, due):
            at = (keep.host, keep.wish.model_key)
            # As if it had failed: what comes into memory forgives it.
            self._tries[at] = on_failure(self._tries.get(at, Breaker()), now, KEEP_RULES)
            _log.info("model kept loaded", host=name, model=keep.wish.model_key)
            async with self._fleet.host(name).lease(keep.wish):
                pass

    async def preload(self) -> None:
        """Loads what will be asked for soon if today is as usual, into memory that is free."""
        usual = usually_asked(await self._asked(DAYS), self._now())
        of_personas = {persona.model: persona for persona in reversed([*self._personas()])}
        snapshot = self._fleet.snapshot()
        now, wishes = snapshot.taken_at, list[Wish]()
        for key in usual:
            is_due = now - self._guessed.get(key, -GUESS_EVERY_S) >= GUESS_EVERY_S
            if is_due and key not in self._let_go:
                persona = of_personas.get(key)
                load = LoadSettings() if persona is None else persona.load
                # Past the time it is loaded for, should they come late.
                rest_s = 2 * SOON.total_seconds()
                context = load.context_length or 0
                wishes.append(
                    Wish(key, load, context, rest_s, USUAL_HOURS, priority="low", purpose="hint")
                )
        for wish, name in plan_preload(snapshot, wishes):
            self._guessed[wish.model_key] = now
            _log.info("model loaded for its usual hours", host=name, model=wish.model_key)
            async with self._fleet.host(name).lease(wish):
                pass

    async def pins(self) -> set[Pin]:
        """What is pinned, in memory or not."""
        if self._pins is None:
            self._pins = set(await self._remembered())
        return self._pins

    def _pin_copies(self, host: HostSnapshot, key: ModelKey) -> None:
        """A copy loaded anew, or by others, is pinned as the one before was."""
        copies = [instance for instance in host.instances if instance.model_key == key]
        if copies and not any(copy.pinned for copy in copies):
            # It may have left since the snapshot.
            with suppress(UnknownName):
                self._fleet.host(host.name).pin(key, True)
