"""Routing over whole evenings in virtual time: Lantern beside rivals and what could be reached.

The same arguments give the same figures on any machine: nothing here depends on how fast it is.
"""

import logging
import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from statistics import fmean
from typing import cast

import structlog

from bench.fleet.bounds import Clairvoyant, Online
from bench.fleet.clock import play
from bench.fleet.dispatch import dispatched
from bench.fleet.figures import EveningFigures, figures, mean_of
from bench.fleet.lantern import lantern
from bench.fleet.people import Policy, spend
from bench.fleet.rivals import Herd, Swap, bound, just_in_time, least_connections
from bench.fleet.trace import LOADS, SIZES, LoadName, SizeName, make
from bench.table import Row, at_most, exactly, told

POLICIES: Mapping[str, tuple[str, Policy]] = {
    "jit": ("LM Studio JIT, each client bound to a host", just_in_time(bound)),
    "least": ("least connections (Olla)", just_in_time(least_connections)),
    "swap1": ("llama-swap, one model", dispatched(partial(Swap, is_single=True))),
    "swap": ("llama-swap, matrix", dispatched(partial(Swap, is_single=False))),
    "herd": ("a score of signals (ollama-herd)", dispatched(Herd)),
    "lantern": ("**Lantern**", lantern),
    "online": ("late binding, no future", dispatched(Online)),
    "clairvoyant": ("clairvoyant heuristic", dispatched(Clairvoyant)),
}
RIVALS = ("jit", "least", "swap1", "swap", "herd")
TRACES = tuple(f"{size}-{load}-1" for size in SIZES for load in LOADS)
"""Size of the fleet, load, seed."""
HEADINGS = ("policy", "p50 s", "p95", "p99", "mean", "loads", "cut", "refused", "waited > 120 s",
            "mean / clairvoyant", "predicted")  # fmt: skip
WITHIN: Mapping[str, float] = {"light": 1.5, "busy": 1.2, "heavy": 1.2}
"""Of the better of ``online`` and ``clairvoyant``, by load."""

Results = Mapping[tuple[str, str], EveningFigures]
"""By trace and policy."""


def spent(traces: Sequence[str], policies: Sequence[str], workers: int | None = None) -> Results:
    """Plays every trace under every policy, in as many processes as there are processors.

    Raises:
        ValueError: no trace or no policy of such a name.
    """
    for name in policies:
        if name not in POLICIES:
            raise ValueError(f"no policy {name}; there are: {', '.join(POLICIES)}")
    for name in traces:
        parts(name)
    # Lantern's evenings take longest, and what begins last should be over soon.
    jobs = sorted(((t, p) for t in traces for p in policies), key=lambda job: job[1] != "lantern")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), context, initializer=_quiet) as pool:
        running: dict[tuple[str, str], Future[EveningFigures]] = {
            job: pool.submit(evening, *job) for job in jobs
        }
        return {job: future.result() for job, future in running.items()}


def evening(trace: str, policy: str) -> EveningFigures:
    """The figures of one trace under one policy."""
    return figures(play(spend(make(*parts(trace)), POLICIES[policy][1])))


def parts(name: str) -> tuple[SizeName, LoadName, int]:
    """The size, the load and the seed that a trace's name says.

    Raises:
        ValueError: it is no such name.
    """
    size, load, seed = (*name.split("-"), "", "")[:3]
    if size not in SIZES or load not in LOADS or not seed.isdecimal():
        raise ValueError(
            f"no trace {name}; a size ({', '.join(SIZES)}), a load ({', '.join(LOADS)}) and a seed"
            f" make one, such as {TRACES[0]}"
        )
    return size, cast(LoadName, load), int(seed)


def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def lines(results: Results, traces: Sequence[str], policies: Iterable[str]) -> list[str]:
    """A table of the policies, of the means over some traces; in Markdown, read as it is."""
    return _ruled([HEADINGS, *(_cells(results, traces, policy) for policy in policies)])


def kinds(results: Results, traces: Sequence[str], policies: Sequence[str]) -> list[str]:
    """A table of the traces: mean and p95 under each policy."""
    told_rows = [
        (
            trace,
            *(f"{(row := results[trace, p]).mean:.1f} / {row.p95:.0f}" for p in policies),
        )
        for trace in traces
    ]
    return _ruled([("mean / p95, s", *policies), *told_rows])


def _ruled(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    told_rows = [
        " | ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "|".join("-" * (width + 1) + ("-" if not n else ":") for n, width in enumerate(widths))
    return [f"| {told_rows[0]} |", f"|{rule}|", *(f"| {row} |" for row in told_rows[1:])]


def _cells(results: Results, traces: Sequence[str], policy: str) -> tuple[str, ...]:
    row = mean_of([results[trace, policy] for trace in traces])
    over = ""
    if (traces[0], "clairvoyant") in results:
        ours, best = (
            [results[trace, name].mean for trace in traces] for name in (policy, "clairvoyant")
        )
        over = f"{fmean(o / b for o, b in zip(ours, best, strict=True)):.2f}"
    return (
        POLICIES[policy][0], *(f"{value:.2f}" for value in (row.p50, row.p95, row.p99, row.mean)),
        *(f"{value:.0f}" for value in (row.loads, row.cut, row.refused, row.starved)), over,
        "" if row.predicted is None else f"{row.predicted:.0%}",
    )  # fmt: skip


def run() -> list[Row]:
    """The figures to reach, for each kind of load."""
    return section(spent(TRACES, tuple(POLICIES)))[1]


def section(results: Results) -> tuple[str, list[Row]]:
    """How Lantern stands in the results of all policies over ``TRACES``, under its title."""
    found: list[Row] = []
    for trace in TRACES:
        ours = results[trace, "lantern"]
        size, load, _ = parts(trace)
        kind = f"{size} fleet, {load}"
        for column in ("mean", "p95"):
            best, rival = (
                min(getattr(results[trace, p], column) for p in among)
                for among in (("online", "clairvoyant"), RIVALS)
            )
            value = getattr(ours, column)
            words = f"{kind}: {column} / the better of online and clairvoyant"
            found.append(at_most(words, value / best, "x", WITHIN[load]))
            found.append(at_most(f"{kind}: {column} / the best rival's", value / rival, "x", 1.0))
    every = [results[trace, "lantern"] for trace in TRACES]
    found.append(exactly("answers cut, all traces", sum(f.cut for f in every), "", 0))
    found.append(exactly("refused while a host was up", sum(f.refused for f in every), "", 0))
    found.append(told("waited > 120 s", sum(f.starved for f in every), ""))
    return (__doc__ or "").splitlines()[0].rstrip("."), found
