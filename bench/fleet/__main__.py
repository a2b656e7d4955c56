"""``python -m bench.fleet``: evenings of questions played in virtual time, one table of policies.

Without arguments everything is played, and bench/results.md takes the figures in.
"""

import argparse
import sys

from bench.__main__ import RESULTS
from bench.fleet import table
from bench.table import renewed


def main(arguments: list[str]) -> int:
    """Play and print."""
    parser = argparse.ArgumentParser("python -m bench.fleet", description=__doc__)
    parser.add_argument(
        "traces",
        nargs="*",
        help=f"SIZE-LOAD-SEED, such as {table.TRACES[1]}; without any: {', '.join(table.TRACES)}",
    )
    parser.add_argument(
        "--policies",
        default=",".join(table.POLICIES),
        help="which, with commas between: %(default)s",
    )
    parser.add_argument("--each", action="store_true", help="a table for each trace, too")
    parser.add_argument("--workers", type=int, help="processes; one for each processor otherwise")
    options = parser.parse_args(arguments)
    traces, policies = options.traces or table.TRACES, options.policies.split(",")
    try:
        results = table.spent(traces, policies, options.workers)
    except ValueError as error:
        parser.error(str(error))
    for trace in traces if options.each else ():
        asked = results[trace, policies[0]].questions
        print(f"\n{trace}, {asked} questions\n", *table.lines(results, [trace], policies), sep="\n")
    print(f"\nMeans over {', '.join(traces)}\n")
    print(*table.lines(results, traces, policies), "", sep="\n")
    print(*table.kinds(results, traces, policies), sep="\n")
    if not options.traces and set(policies) == set(table.POLICIES):
        text = renewed(RESULTS.read_text(encoding="utf-8"), table.section(results))
        RESULTS.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
