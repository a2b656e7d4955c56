"""What is told of all that happens: the news of every room as events, and what is going on now."""

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.metadata import version

import structlog
from aiohttp import web

from bot.chat.flights import Flight, FlightNews, News
from bot.chat.lantern import Lantern
from bot.domain.cloud import Account, BudgetNews, ProviderNews
from bot.domain.errors import StoreUnavailable
from bot.domain.events import FleetEvent, Loading
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, UserId
from bot.gateway.active import ActiveModel
from bot.gateway.edge import Object
from bot.gateway.errors import Problem, problem_of
from bot.gateway.events import Feed
from bot.gateway.metrics import CONTENT_TYPE, Metrics
from bot.gateway.picture import (
    ended_object,
    fleet_objects,
    flight_object,
    host_object,
    model_objects,
    route_object,
)
from bot.policy.foresight import foretold

PROGRESS_S = 0.2
"""Of one load, progress is told this often at most."""

STATE_S = 1.0
"""How requests under way and changed hosts stand is shown this often to those who look on."""

SOON_S = 0.05
"""So soon after news of a host it is shown how it stands; several come at once."""

RECENT = 50
"""Ended requests in a snapshot."""

_log = structlog.get_logger(__name__)


class Watching:
    """Hears everything, keeps the newest ended requests, and feeds the viewers."""

    def __init__(self, built: Lantern, active: ActiveModel, utcnow: Callable[[], datetime]) -> None:
        self._built = built
        self._active = active
        self._utcnow = utcnow
        self._began = utcnow()
        self._recent: deque[Object] = deque(maxlen=RECENT)
        self._loads: dict[HostName, float] = {}
        """Loads under way, and when their progress was last told."""
        self.metrics = Metrics(built)
        self._shown: dict[HostName, HostSnapshot] = {}
        """The hosts as all who look on were shown them last."""
        self._arrivals = 0
        """Of the feed, when they were shown."""
        self._had_flights = False
        self.feed = Feed(self._snapshot, utcnow)

    @contextmanager
    def running(self) -> Generator[None]:
        """Listens while the block runs."""
        self._ticking = asyncio.get_running_loop().call_later(STATE_S, self._show_state)
        try:
            with self._built.newsroom.heard_by(self._hear):
                yield
        finally:
            self._ticking.cancel()

    async def scrape(self, request: web.Request) -> web.Response:
        """``GET /metrics``."""
        page = self.metrics.page(await self.accounts())
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})

    async def health(self, request: web.Request) -> web.Response:
        """``/healthz``: it answers. ``/readyz``: every host was looked at once, whatever was found.

        Both are open to everybody, and so tell nothing of the fleet.
        """
        hosts = self._built.fleet.snapshot().hosts.values()
        if request.path == "/readyz" and any(host.state == "unknown" for host in hosts):
            return web.json_response({"status": "starting"}, status=503)
        return web.json_response({"status": "ok"})

    def refused(
        self, number: str, key: str, endpoint: str, model: str | None, problem: Problem
    ) -> None:
        """A request that never flew, and so is in no other news; its own words are not told."""
        self.metrics.count_refused(endpoint, model, problem.status)
        told = {"status": problem.status, "code": problem.code, "param": problem.param}
        self.feed.publish("error", request=number, key=key, endpoint=endpoint, **told)

    def flights(self) -> list[Object]:
        """The requests under way."""
        now = asyncio.get_running_loop().time()
        flights = self._built.relaying.flights
        return [flight_object(flight, self._moment(flight, now), now) for flight in flights]

    async def _snapshot(self) -> Callable[[], Object]:
        accounts = await self.accounts()

        def whole() -> Object:
            return {
                "status": self.status(accounts),
                "hosts": fleet_objects(self._built.fleet.snapshot()),
                "models": model_objects(self._built.catalog, self._active.key),
                "requests": self.flights(),
                "recent": list(self._recent),
            }

        return whole

    def status(self, accounts: tuple[Account, ...]) -> Object:
        """How Lantern does as a whole, with what was read of everybody's limits."""
        hosts = self._built.fleet.snapshot().hosts.values()
        flights = tuple(self._built.relaying.flights)
        waiting = sum(flight.is_waiting for flight in flights)
        active = self._active.told()
        return {
            "version": version("lantern-bot"),
            "uptimeSeconds": round((self._utcnow() - self._began).total_seconds()),
            "active": active,
            "requests": {
                "running": len(flights) - waiting,
                "waiting": waiting,
                # Of Discord and terminals: counted, for they are nobody's but their askers'.
                "turns": len(self._built.turns.running()),
            },
            "hosts": {
                state: sum(host.state == state for host in hosts)
                for state in ("up", "draining", "asleep", "waking", "down", "unknown")
            }
            | {"silent": sum(host.silent_since is not None for host in hosts)},
            "providers": list(self._built.providers.names),
            "personas": sorted(self._built.shelf.for_clients()),
            "budget": [account_object(account) for account in accounts if account.payer == "all"],
        }

    async def accounts(self) -> tuple[Account, ...]:
        """Everybody's limits and what is spent of them; none while the disk cannot tell."""
        try:
            report = await self._built.usage.report("today", "all", UserId(""), None)
        # A disk in trouble must not blind whoever looks for the trouble.
        except StoreUnavailable:
            return ()
        return report.limits

    def _show_state(self) -> None:
        """Shows what no event tells: tokens so far, queues, leases; and comes round."""
        self._ticking = asyncio.get_running_loop().call_later(STATE_S, self._show_state)
        if not self.feed.viewers:
            return
        if self._arrivals != self.feed.arrivals:
            # Who came since was shown another moment, in which a host may have stood otherwise.
            self._shown.clear()
        snapshot, self._arrivals = self._built.fleet.snapshot(), self.feed.arrivals
        changed = [host for name, host in snapshot.hosts.items() if self._shown.get(name) != host]
        flights = self.flights()
        if changed or flights or self._had_flights:
            hosts = [host_object(host, snapshot.taken_at) for host in changed]
            self.feed.show("state", requests=flights, hosts=hosts)
        self._shown, self._had_flights = dict(snapshot.hosts), bool(flights)

    def _show_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self._ticking.when() > (soon := loop.time() + SOON_S):
            self._ticking.cancel()
            self._ticking = loop.call_at(soon, self._show_state)

    def _moment(self, flight: Flight, now: float) -> str:
        began = self._utcnow() - timedelta(seconds=now - flight.began_at)
        return began.isoformat(timespec="milliseconds")

    # --- news into events -------------------------------------------------------------------

    def _hear(self, news: News) -> None:
        # Four of each request: with nobody to hear they were a tenth of a short answer's cost.
        is_end = not isinstance(news, FlightNews) or news.what == "ended"
        if not (is_end or self.feed.is_heard()):
            return
        self.metrics.hear(news)
        match news:
            case FlightNews():
                self._hear_of_flight(news)
            case Loading():
                self._hear_of_load(news)
            case FleetEvent():
                self._hear_of_host(news)
                self._show_soon()
            case ProviderNews(what=what, name=name, kind=kind):
                if what != "passed":
                    self.feed.publish("provider", provider=name, what=what, failure=kind)
            case BudgetNews(what=what, account=account):
                self.feed.publish("budget", what=what, **account_object(account))

    def _hear_of_flight(self, news: FlightNews) -> None:
        flight, publish = news.flight, self.feed.publish
        now = asyncio.get_running_loop().time()
        moment = self._moment(flight, now)
        match news.what:
            case "began":
                publish("request.start", **flight_object(flight, moment, now))
            case "routed":
                publish("route", request=flight.id, **route_object(flight.route))
            case "first word":
                publish("request.first_token", **flight_object(flight, moment, now))
            case "ended":
                problem = None if flight.error is None else problem_of(flight.error)
                status = 200 if problem is None else problem.status
                # nginx's number for a client that left: for the log, nobody is there to be told.
                status = 499 if flight.outcome == "left" else status
                ended = ended_object(flight, moment, status)
                self._recent.append(ended)
                self._log(flight, ended)
                publish("request.end", **ended)
                if problem is not None and flight.outcome in ("failed", "cut"):
                    publish("error", request=flight.id, status=status, code=problem.code)

    def _log(self, flight: Flight, ended: Object) -> None:
        """One line for each request, with LM Studio's own figures; never a word of it."""
        key = flight.by.model if flight.by is not None else flight.model
        known = None if flight.seen is None else flight.seen.models.get(key)
        told = None if flight.receipt is None else foretold(flight.receipt)
        _log.info(
            "request",
            request=flight.id,
            key=ended["key"],
            endpoint=flight.form,
            model=key,
            arch="" if known is None else known.architecture,
            where=flight.by.where if flight.by is not None else None,
            status=ended["status"],
            outcome=flight.outcome,
            input_tokens=ended["inputTokens"],
            output_tokens=ended["outputTokens"],
            first_token_s=ended["firstTokenSeconds"],
            tokens_per_s=ended["tokensPerSecond"],
            predicted_s=told and round(told[0], 3),
            waited_s=told and round(told[1], 3),
            seconds=ended["seconds"],
        )

    def _hear_of_load(self, news: Loading) -> None:
        now = asyncio.get_running_loop().time()
        told_at = self._loads.get(news.host)
        # A host tells its progress as often as it likes.
        if told_at is not None and now - told_at < PROGRESS_S:
            return
        self._loads[news.host] = now
        # Whoever reads this sees the host load; one that fails within the second must be seen to.
        self._shown.pop(news.host, None)
        left_s = news.seconds_left
        self.feed.publish(
            "model_load.start" if told_at is None else "model_load.progress",
            host=news.host,
            modelKey=news.model,
            # The host names it once it is in memory.
            instanceId=None,
            progress=round(news.fraction, 3),
            secondsLeft=None if left_s is None else round(left_s, 1),
            waiters=news.waiters,
        )

    def _hear_of_host(self, event: FleetEvent) -> None:
        common: Object = {"host": event.host, "modelKey": event.model}
        publish = self.feed.publish
        match event.what:
            case "host found":
                publish("host.up", host=event.host, version=event.version)
            case "host lost" | "host asleep":
                publish("host.down", host=event.host, reason=event.reason)
            case "host drained":
                publish("host.drained", host=event.host, seconds=event.seconds)
            case "model slow" | "model quick":
                kind = "model.slow" if event.what == "model slow" else "model.quick"
                publish(kind, **common, instanceId=event.instance, reason=event.reason)
            case "host resumed":
                publish("host.resumed", host=event.host, reason=event.reason)
            case "model loaded":
                self._loads.pop(event.host, None)
                publish(
                    "model_load.end",
                    **common,
                    instanceId=event.instance,
                    progress=1.0,
                    secondsLeft=0.0,
                    seconds=round(event.seconds or 0.0, 3),
                )
            case "load failed":
                self._loads.pop(event.host, None)
                publish("model_load.failed", **common, reason=event.reason)
            case "model unloaded":
                words = {"cause": event.cause, "reason": event.reason}
                publish("model_unload", **common, instanceId=event.instance, **words)


def account_object(account: Account) -> Object:
    """A day's or a month's account against its limit."""
    cap, left = account.cap_micro_usd, account.left_micro_usd
    return {
        "period": account.period,
        "of": account.name or "all",
        "spentUsd": account.spent_micro_usd / 1e6,
        "reservedUsd": account.reserved_micro_usd / 1e6,
        "capUsd": None if cap is None else cap / 1e6,
        "leftUsd": None if left is None else left / 1e6,
    }
