"""What an evening came to, in one row."""

from dataclasses import dataclass, fields
from statistics import fmean

from bench.fleet.people import Evening

STARVED_S = 120.0
"""``routing.max_local_wait``: nobody should wait longer."""


@dataclass(frozen=True, slots=True)
class EveningFigures:
    """Seconds are those to the first word; who never got one counts with ``PATIENCE_S``."""

    questions: int
    p50: float
    p95: float
    p99: float
    mean: float
    loads: int
    cut: int
    """Answers broken off by an unload; those that an outage broke are nobody's fault."""
    refused: int
    """Times that nobody would answer though a host that can hold the model was up."""
    starved: int
    """Questions that waited longer than ``STARVED_S``."""
    predicted: float | None
    """Share of the questions whose wait was within a factor of two and a second of what was told.
    """


def figures(evening: Evening) -> EveningFigures:
    """The figures of one evening."""
    asked = evening.questions
    waits = sorted(question.waited_s for question in asked)
    told = [(q.predicted_s, q.waited_s) for q in asked if q.predicted_s is not None]
    kept = [w <= 2 * p + 1 and p <= 2 * w + 1 for p, w in told]
    machines = evening.machines.values()
    return EveningFigures(
        questions=len(asked),
        p50=_quantile(waits, 0.5),
        p95=_quantile(waits, 0.95),
        p99=_quantile(waits, 0.99),
        mean=fmean(waits),
        loads=sum(machine.loads for machine in machines),
        cut=sum(machine.cut for machine in machines),
        refused=sum(question.refused for question in asked),
        starved=sum(wait > STARVED_S for wait in waits),
        predicted=fmean(kept) if kept else None,
    )


def mean_of(rows: list[EveningFigures]) -> EveningFigures:
    """Each figure's mean over several evenings."""
    sums: dict[str, float | None] = {}
    for field in fields(EveningFigures):
        values = [getattr(row, field.name) for row in rows]
        sums[field.name] = None if None in values else fmean(values)
    return EveningFigures(**sums)  # pyright: ignore[reportArgumentType]  # means of whole numbers, shown rounded


def _quantile(ordered: list[float], share: float) -> float:
    """Between the two values around it, in proportion."""
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
