"""``GET /metrics``: what happened, counted, in Prometheus' text form.

Labels are bounded: hosts, providers and paths of our own, and models that the fleet or a provider
is known to have. Anything else a client may write is ``unknown``.
"""

from bisect import bisect_left
from collections.abc import Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry, Info, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bot.chat.flights import Flight, FlightNews, News
from bot.chat.lantern import Lantern
from bot.domain.chat import Receipt
from bot.domain.cloud import Account
from bot.domain.events import FleetEvent
from bot.policy.placement import instance_bytes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

TTFT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 300)
"""OpenTelemetry's for the first token, and those of loads."""

TOKEN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1)

UNKNOWN = "unknown"


class Counts(Collector):
    """One counter. The library's own takes a lock for each of the nine series of a request."""

    def __init__(self, registry: CollectorRegistry, name: str, words: str, *labels: str) -> None:
        self._of = name, words, labels
        self._series: dict[tuple[object, ...], float] = {}
        registry.register(self)

    def add(self, amount: float, *labels: object) -> None:
        """So much more of what has these labels; 0 shows that there is none."""
        self._series[labels] = self._series.get(labels, 0.0) + amount

    def collect(self) -> Iterator[Metric]:
        """Every series, as a scrape reads them."""
        name, words, names = self._of
        told = CounterMetricFamily(f"lantern_{name}", words, labels=names)
        for labels, amount in self._series.items():
            told.add_metric([*map(str, labels)], amount)
        yield told


class Times(Collector):
    """One histogram, of seconds."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        words: str,
        *labels: str,
        bounds: tuple[float, ...] = TTFT_BUCKETS,
    ) -> None:
        self._of = name, words, labels
        self._bounds = bounds
        self._series: dict[tuple[object, ...], list[float]] = {}
        """How many there were up to each bound and behind the one before it; then their sum."""
        if not labels:
            self._series[()] = self._nothing()
        registry.register(self)

    def add(self, seconds: float, *labels: object) -> None:
        """One more of what has these labels."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = self._nothing()
        series[bisect_left(self._bounds, seconds)] += 1.0
        series[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """Every series, as a scrape reads them."""
        name, words, names = self._of
        told = HistogramMetricFamily(f"lantern_{name}", words, labels=names)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, (*counts, total_s) in self._series.items():
            up_to = list(zip(bounds, accumulate(counts), strict=True))
            told.add_metric([*map(str, labels)], up_to, total_s)
        yield told

    def _nothing(self) -> list[float]:
        return [0.0] * (len(self._bounds) + 2)


class Metrics(Collector):
    """Counts the news; what stands now is read at each scrape."""

    def __init__(self, built: Lantern) -> None:
        self._built = built
        self._registry = registry = CollectorRegistry()
        self._accounts: tuple[Account, ...] = ()
        place = ("model", "host")
        self._requests = Counts(
            registry, "requests_total", "Requests of clients, ended.", "endpoint", *place, "outcome"
        )
        self._duration = Times(registry, "request_duration_seconds", "Whole requests.", "endpoint")
        self._first = Times(
            registry,
            "time_to_first_token_seconds",
            "From arrival to the first word.",
            *place,
            "state",
        )
        self._per_token = Times(
            registry,
            "time_per_output_token_seconds",
            "Between tokens after the first.",
            *place,
            bounds=TOKEN_BUCKETS,
        )
        self._queue = Times(registry, "queue_seconds", "Waited for a slot.", "host")
        self._overhead = Times(
            registry,
            "overhead_seconds",
            "Spent by Lantern itself, neither waiting nor generating.",
            bounds=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1),
        )
        self._tokens = Counts(registry, "tokens_total", "Tokens of answers.", *place, "type")
        self._fallbacks = Counts(
            registry, "fallbacks_total", "Candidates that failed a request.", "reason"
        )
        self._wrong = Counts(
            registry, "wrong_model_total", "Answers by another model, none of it passed on.", "host"
        )
        self._cost = Counts(registry, "cost_usd_total", "Paid for requests.", "provider", "model")
        self._loads = Counts(
            registry, "model_loads_total", "Loads ended.", "host", "model", "outcome"
        )
        self._load = Times(registry, "model_load_seconds", "Loads that succeeded.", "host", "model")
        self._unloads = Counts(
            registry, "model_unloads_total", "Instances that left memory.", "cause"
        )
        self.turned_away = Counts(registry, "auth_failures_total", "Not let in.", "reason")
        """By our own code of why: what was tried stays out of the labels."""
        build = Info("lantern_build", "What runs.", registry=registry)
        build.info({"version": version("lantern-bot")})
        registry.register(self)

    def page(self, accounts: tuple[Account, ...]) -> bytes:
        """Everything, as a scrape reads it."""
        self._accounts = accounts
        return generate_latest(self._registry)

    def hear(self, news: News) -> None:
        """One thing happened anywhere."""
        match news:
            case FlightNews(what="ended", flight=flight):
                self._count(flight)
            case FleetEvent(what="model loaded", host=host, model=model, seconds=seconds):
                self._loads.add(1, host, model, "loaded")
                self._load.add(seconds or 0.0, host, model)
            case FleetEvent(what="load failed", host=host, model=model):
                self._loads.add(1, host, model, "failed")
            case FleetEvent(what="model unloaded", cause=cause):
                self._unloads.add(1, cause)
            case _:
                return

    def count_refused(self, endpoint: str, model: str | None, status: int) -> None:
        """A request of a client that was never routed."""
        outcome = "refused" if status < 500 else "failed"
        self._requests.add(1, endpoint, self._known(model), UNKNOWN, outcome)

    def _known(self, model: str | None) -> str:
        """What a client wrote, where it is a known key."""
        return model if model and model in self._built.catalog.all_model_keys() else UNKNOWN

    def _count(self, flight: Flight) -> None:
        by, used = flight.by, flight.receipt
        # Whoever was asked has it.
        model = self._known(flight.model) if by is None else str(by.model)
        where = UNKNOWN if by is None else by.where
        self._requests.add(1, flight.form, model, where, flight.outcome)
        for host in flight.mistaken:
            self._wrong.add(1, host)
        for attempt in flight.attempts:
            self._fallbacks.add(1, attempt.kind or UNKNOWN)
        if flight.ended_at is not None:
            self._duration.add(flight.ended_at - flight.began_at, flight.form)
        # Where nobody was sent it nothing was used, and nobody knows how long it stood in a line.
        if used is not None and flight.sent_at is not None:
            self._count_used(flight, used, model, where)

    def _count_used(self, flight: Flight, used: Receipt, model: str, where: str) -> None:
        usage, timing = used.usage, used.timing
        if flight.first_at is not None:
            state = "cold" if timing.load_s else "warm"
            self._first.add(flight.first_at - flight.began_at, model, where, state)
        if (timed := used.timed).tokens > 1:
            self._per_token.add(timed.seconds / (timed.tokens - 1), model, where)
        self._queue.add(timing.queue_s, where)
        # What failed or was left before is no work of Lantern's own, and a silence before a cut is
        # not either.
        if flight.outcome == "done" and not (flight.attempts or used.left):
            elsewhere_s = timing.queue_s + timing.load_s + timing.answer_s
            self._overhead.add(max(0.0, timing.total_s - elsewhere_s))
        counts = {
            "input": usage.prompt_tokens,
            "output": usage.completion_tokens,
            "reasoning": usage.reasoning_tokens,
            "cached": usage.cached_tokens,
        }
        for kind, count in counts.items():
            # None of them are shown all the same.
            self._tokens.add(count, model, where, kind)
        if used.provider is not None:
            self._cost.add(used.cost_micro_usd / 1e6, where, model)

    def collect(self) -> Iterator[Metric]:
        """What stands now."""
        # Read at the scrape: counted up and down, one missed event would leave them wrong for good.
        hosts = self._built.fleet.snapshot().hosts.values()
        up = _gauge("host_up", "Whether a host is there and tells of itself.", "host")
        loaded = _gauge("model_loaded", "Instances in memory.", "host", "model")
        memory = _gauge("host_memory_bytes", "Memory for models.", "host", "kind")
        running = _gauge("requests_running", "Leases in use, Discord's too.", "host")
        waiting = _gauge("requests_waiting", "In a host's line, Discord's too.", "host")
        for host in hosts:
            up.add_metric([host.name], float(host.tells))
            keys = [str(instance.model_key) for instance in host.loaded]
            for key in sorted(set(keys)):
                loaded.add_metric([host.name, key], keys.count(key))
            memory.add_metric([host.name, "used"], sum(map(instance_bytes, host.loaded)))
            if host.memory_bytes is not None:
                memory.add_metric([host.name, "total"], host.memory_bytes)
            running.add_metric([host.name], sum(i.leases for i in host.instances))
            waiting.add_metric([host.name], sum(host.waiting.values()))
        left = _gauge("budget_remaining_usd", "Of everybody's limits.", "period")
        for account in self._accounts:
            if account.payer == "all" and account.left_micro_usd is not None:
                span = "month" if len(account.period) == len("2026-11") else "day"
                left.add_metric([span], account.left_micro_usd / 1e6)
        yield from (up, loaded, memory, running, waiting, left)


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lantern_{name}", words, labels=labels)
