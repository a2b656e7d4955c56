"""Plays every row of the fault matrix again and again; prints and publishes how many tries held.

    python -m bench.faults [TRIES]

The rows stand in ``tests/fault_matrix.toml``, the figures of the last play in which all of them
held in ``docs/reliability.md``. A try is one run of one test with one of its parameters; Hypothesis
makes its own hundred stories inside each. Exit 1 when any try failed or a row names a test there is
not.
"""

import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

HOUSE = Path(__file__).parent.parent
MATRIX = HOUSE / "tests" / "fault_matrix.toml"
PUBLISHED = HOUSE / "docs" / "reliability.md"
TABLE = "| fault | what holds | tries | held |\n|---|---|---|---|\n"
TRIES = 3


def played(tests: list[str], tries: int) -> tuple[dict[str, Counter[str]], str]:
    """How each test ended, by its dotted name without parameters, and what pytest said last."""
    with tempfile.TemporaryDirectory(prefix="lantern-faults-") as folder:
        report = Path(folder, "report.xml")
        options = [f"--junit-xml={report}", f"--tries={tries}"]
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, *tests],
            cwd=HOUSE,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
        )
        if not report.exists():
            return {}, run.stdout
        cases = ElementTree.parse(report).getroot().iter("testcase")
        found: dict[str, Counter[str]] = {}
        for case in cases:
            # By its class: a story of Hypothesis has the name of its method from a file of
            # Hypothesis's own, and its row was never found played.
            name = f"{case.get('classname')}.{case.get('name', '').partition('[')[0]}"
            bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
            found.setdefault(name, Counter())[bad[0] if bad else "held"] += 1
    return found, run.stdout


def main(arguments: list[str]) -> int:
    """Prints a line a row; gives the exit code."""
    tries = int(arguments[0]) if arguments else TRIES
    rows = tomllib.loads(MATRIX.read_text(encoding="utf-8"))["row"]
    found, said = played(sorted({test for row in rows for test in row["tests"]}), tries)
    table, is_fine, unplayed = TABLE, True, list[str]()
    for row in rows:
        ends: Counter[str] = Counter()
        for test in row["tests"]:
            dotted = test.replace(".py", "").replace("/", ".").replace("::", ".")
            hits = [n for name, n in found.items() if f"{name}.".startswith(f"{dotted}.")]
            unplayed += [] if hits else [test]
            ends.update(sum(hits, Counter[str]()))
        count = ends.total() - ends["skipped"]
        is_fine = is_fine and count == ends["held"] and count > 0
        table += f"| {row['fault']} | {row['holds']} | {count} | {ends['held']} |\n"
    print(table)
    for test in unplayed:
        print(f"not played: {test}")
    is_fine = is_fine and not unplayed
    if is_fine:
        before, _, _ = PUBLISHED.read_text(encoding="utf-8").partition(TABLE)
        PUBLISHED.write_text(before + table, encoding="utf-8")
    else:
        print(said)
    print(said.strip().splitlines()[-1])
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
