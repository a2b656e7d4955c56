"""Counters and histograms of our own, beside those of the library that they stand for."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from bot.gateway.metrics import Counts, Times

BOUNDS = (0.05, 0.5, 1, 300)
LABELS = st.tuples(st.sampled_from(["one", 'two "\\ \n']), st.sampled_from(["ü", ""]))
SECONDS = st.floats(0.0, 1000.0) | st.sampled_from(BOUNDS)


@given(st.lists(st.tuples(LABELS, st.integers(0, 5), SECONDS)))
def test_a_scrape_reads_what_the_librarys_own_would_tell(
    added: list[tuple[tuple[str, str], int, float]],
) -> None:
    disable_created_metrics()
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    count = Counts(ours, "asked_total", "Asked.", "model", "host")
    times = Times(ours, "wait_seconds", "Waited.", "model", "host", bounds=BOUNDS)
    alone = Times(ours, "own_seconds", "Its own.", bounds=BOUNDS)
    names = ("model", "host")
    their_count = Counter("lantern_asked_total", "Asked.", names, registry=theirs)
    their_times = Histogram(
        "lantern_wait_seconds", "Waited.", names, registry=theirs, buckets=BOUNDS
    )
    their_own = Histogram("lantern_own_seconds", "Its own.", registry=theirs, buckets=BOUNDS)
    for labels, amount, seconds in added:
        count.add(amount, *labels)
        times.add(seconds, *labels)
        alone.add(seconds)
        their_count.labels(*labels).inc(amount)
        their_times.labels(*labels).observe(seconds)
        their_own.observe(seconds)
    assert sorted(generate_latest(ours).splitlines()) == sorted(
        generate_latest(theirs).splitlines()
    )
