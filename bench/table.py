"""The rows every benchmark gives and the one table they make."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

_HEADINGS = ("what", "measured", "figure to reach", "ok")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what was measured and, where there is one, the figure to reach."""

    what: str
    measured: float
    unit: str
    target: str = ""
    """The figure to reach, as text; empty for a row that is only told."""
    holds: bool | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The row as the table shows it."""
        verdict = {True: "yes", False: "NO", None: ""}[self.holds]
        return self.what, _amount(self.measured, self.unit), self.target, verdict


def at_most(what: str, measured: float, unit: str, limit: float) -> Row:
    """A figure that holds when it is not above the limit."""
    return Row(what, measured, unit, f"<= {_amount(limit, unit)}", measured <= limit)


def at_least(what: str, measured: float, unit: str, limit: float) -> Row:
    """A figure that holds when it is not below the limit."""
    return Row(what, measured, unit, f">= {_amount(limit, unit)}", measured >= limit)


def exactly(what: str, measured: float, unit: str, wanted: float) -> Row:
    """A count that holds only when it is the wanted one."""
    return Row(what, measured, unit, _amount(wanted, unit), measured == wanted)


def told(what: str, measured: float, unit: str) -> Row:
    """A figure without one to reach."""
    return Row(what, measured, unit)


Section = tuple[str, Sequence[Row]]


def print_table(sections: Iterable[Section], console: Console) -> None:
    """Show all sections as one table."""
    table = Table(*_HEADINGS)
    for title, rows in sections:
        table.add_row(f"[bold]{title}[/bold]")
        for row in rows:
            table.add_row(*row.cells, style="red" if row.holds is False else None)
        table.add_section()
    console.print(table)


def markdown(sections: Iterable[Section]) -> str:
    """The same table for a file: nothing in it names the machine it was measured on."""
    lines = [
        "# Figures",
        "",
        "Written by `make bench`; ratios compare two things in the same run.",
        "",
    ]
    return "\n".join(lines + [line for section in sections for line in _part(section)])


def renewed(text: str, section: Section) -> str:
    """A file of ``markdown`` with one section as it is now; at its end where it had none."""
    before, mark, after = text.partition(f"## {section[0]}\n")
    _, following, rest = after.partition("\n## ")
    part = "\n".join(_part(section))
    if not mark:
        return f"{before.rstrip()}\n\n{part}"
    return f"{before}{part}{following}{rest}"


def _part(section: Section) -> list[str]:
    title, rows = section
    head = [f"## {title}", "", _line(_HEADINGS), _line(["---"] * len(_HEADINGS))]
    return [*head, *(_line(row.cells) for row in rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _amount(value: float, unit: str) -> str:
    # Three digits that mean something, without an exponent.
    digits = f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{digits} {unit}".strip()
