"""``python -m bench [name ...]``: all benchmarks, or only those named, as one table."""

import sys
from importlib import import_module
from pathlib import Path

from rich.console import Console

from bench.table import Row, markdown, print_table

BENCHMARKS = (
    "startup",
    "first_text",
    "pacing",
    "splitting",
    "loads",
    "routing",
    "fleet.table",
    "autocomplete",
    "client_cost",
    "turns",
    "process",
    "gateway",
)
"""Modules of this folder with a docstring, its first line the title, and ``run() -> list[Row]``."""

RESULTS = Path(__file__).with_name("results.md")


def main(names: list[str]) -> int:
    """Run and print; write the results file only when everything was run."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
        return 2
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    sections: list[tuple[str, list[Row]]] = []
    for name in names or BENCHMARKS:
        with console.status(f"{name} …"):
            module = import_module(f"bench.{name}")
            sections.append(((module.__doc__ or name).splitlines()[0].rstrip("."), module.run()))
    print_table(sections, console)
    missed = sum(row.holds is False for _, rows in sections for row in rows)
    console.print(f"{missed} figures missed" if missed else "every figure reached")
    if not names:
        RESULTS.write_text(markdown(sections), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
