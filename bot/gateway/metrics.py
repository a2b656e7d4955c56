"""``GET /metrics``: what happened, counted, in Prometheus' text form.

Labels are bounded: hosts, providers and paths of our own, and models that the fleet or a provider
is known to have. Anything else a client may write is ``unknown``.
"""

from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
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


class Metrics(Collector):
    """Counts the news; what stands now is read at each scrape."""

    def __init__(self, built: Lantern) -> None:
        # One more series each, for when a series began: nobody asks.
        disable_created_metrics()
        self._built = built
        self._registry = registry = CollectorRegistry()
        self._accounts: tuple[Account, ...] = ()

        # Each series is kept here by its labels, which are few: the library looks one up under a
        # lock, and each request adds to nine.
        def counter(name: str, words: str, *labels: str) -> Callable[..., Counter]:
            return cache(Counter(f"lantern_{name}", words, labels, registry=registry).labels)

        def seconds(
            name: str, words: str, *labels: str, buckets: tuple[float, ...] = TTFT_BUCKETS
        ) -> Callable[..., Histogram]:
            named = f"lantern_{name}"
            made = Histogram(named, words, labels, registry=registry, buckets=buckets)
            return cache(made.labels) if labels else lambda: made

        place = ("model", "host")
        self._requests = counter(
            "requests_total", "Requests of clients, ended.", "endpoint", *place, "outcome"
        )
        self._duration = seconds("request_duration_seconds", "Whole requests.", "endpoint")
        self._first = seconds(
            "time_to_first_token_seconds", "From arrival to the first word.", *place, "state"
        )
        self._per_token = seconds(
            "time_per_output_token_seconds",
            "Between tokens after the first.",
            *place,
            buckets=TOKEN_BUCKETS,
        )
        self._queue = seconds("queue_seconds", "Waited for a slot.", "host")
        self._overhead = seconds(
            "overhead_seconds",
            "Spent by Lantern itself, neither waiting nor generating.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1),
        )
        self._tokens = counter("tokens_total", "Tokens of answers.", *place, "type")
        self._fallbacks = counter("fallbacks_total", "Candidates that failed a request.", "reason")
        self._wrong = counter(
            "wrong_model_total", "Answers by another model, none of it passed on.", "host"
        )
        self._cost = counter("cost_usd_total", "Paid for requests.", "provider", "model")
        self._loads = counter("model_loads_total", "Loads ended.", "host", "model", "outcome")
        self._load = seconds("model_load_seconds", "Loads that succeeded.", "host", "model")
        self._unloads = counter("model_unloads_total", "Instances that left memory.", "cause")
        self.turned_away = counter("auth_failures_total", "Not let in.", "reason")
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
                self._loads(host, model, "loaded").inc()
                self._load(host, model).observe(seconds or 0.0)
            case FleetEvent(what="load failed", host=host, model=model):
                self._loads(host, model, "failed").inc()
            case FleetEvent(what="model unloaded", cause=cause):
                self._unloads(cause).inc()
            case _:
                return

    def _count(self, flight: Flight) -> None:
        by, used = flight.by, flight.receipt
        key = flight.model if by is None else by.model
        # Whoever was asked has it; what a client wrote is only ever a known key.
        is_known = by is not None or key in self._built.catalog.all_model_keys()
        model, where = str(key) if is_known else UNKNOWN, UNKNOWN if by is None else by.where
        self._requests(flight.form, model, where, flight.outcome).inc()
        for host in flight.mistaken:
            self._wrong(host).inc()
        for attempt in flight.attempts:
            self._fallbacks(attempt.kind or UNKNOWN).inc()
        if flight.ended_at is not None:
            self._duration(flight.form).observe(flight.ended_at - flight.began_at)
        # Where nobody was sent it nothing was used, and nobody knows how long it stood in a line.
        if used is not None and flight.sent_at is not None:
            self._count_used(flight, used, model, where)

    def _count_used(self, flight: Flight, used: Receipt, model: str, where: str) -> None:
        usage, timing = used.usage, used.timing
        if flight.first_at is not None:
            state = "cold" if timing.load_s else "warm"
            self._first(model, where, state).observe(flight.first_at - flight.began_at)
        if timing.generation_s and usage.completion_tokens > 1:
            apart_s = timing.generation_s / (usage.completion_tokens - 1)
            self._per_token(model, where).observe(apart_s)
        self._queue(where).observe(timing.queue_s)
        # What failed before is no work of Lantern's own, and a silence before a cut is not either.
        if flight.outcome == "done" and not flight.attempts:
            own_s = timing.total_s - timing.wait_s - timing.generation_s
            self._overhead().observe(max(0.0, own_s))
        counts = {
            "input": usage.prompt_tokens,
            "output": usage.completion_tokens,
            "reasoning": usage.reasoning_tokens,
            "cached": usage.cached_tokens,
        }
        for kind, count in counts.items():
            tokens = self._tokens(model, where, kind)
            # Shown all the same: a series begins with its labels.
            if count:
                tokens.inc(count)
        if used.provider is not None:
            self._cost(where, model).inc(used.cost_micro_usd / 1e6)

    def collect(self) -> Iterator[Metric]:
        """What stands now."""
        # Read at the scrape: counted up and down, one missed event would leave them wrong for good.
        hosts = self._built.fleet.snapshot().hosts.values()
        up = _gauge("host_up", "Whether a host may serve.", "host")
        loaded = _gauge("model_loaded", "Instances in memory.", "host", "model")
        memory = _gauge("host_memory_bytes", "Memory for models.", "host", "kind")
        running = _gauge("requests_running", "Leases in use, Discord's too.", "host")
        waiting = _gauge("requests_waiting", "In a host's line, Discord's too.", "host")
        for host in hosts:
            up.add_metric([host.name], float(host.state in ("up", "draining")))
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
