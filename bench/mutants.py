"""Mutation tests: which small faults would the tests of a room not find?

    python -m bench.mutants [ROOM ...] [--fresh] [--jobs N] [--file NAME]

The rooms, their files and their tests stand in ``pyproject.toml`` under ``[tool.lantern.mutants]``.
A mutant is one changed place of one function; it is killed when a test fails or takes far too long.
Survivors known to be equivalent stand with their reasons in ``docs/mutants.md``. mutmut mutates
and runs, on a copy of the tree below ``.mutants``; what was killed stays so until its function
changes or ``--fresh`` is given.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HOUSE = Path(__file__).parent.parent
WORK = HOUSE / ".mutants"
KNOWN = HOUSE / "docs" / "mutants.md"
COPIED = (
    "bot",
    "cogs",
    "tests",
    "personas",
    "deploy",
    "pyproject.toml",
    "config.example.yaml",
    ".env.example",
)
GOAL = 0.9

PATIENCE = 6
"""By the clock a mutant may take so many times what its tests take, on the processor twice: on a
busy machine slow ones passed for those that never end, and so for killed."""

KILLED = {1, 3}
TIMED_OUT = {-24, 24, 36, 152, 255}


@dataclass(slots=True)
class Survivor:
    """A mutant no test finds, and how it is named in ``docs/mutants.md``."""

    name: str
    key: str
    diff: str


@dataclass(slots=True)
class Score:
    """How the mutants of one file fared."""

    killed: int = 0
    timed_out: int = 0
    """Of the killed; a busy machine may have made them so, and each run tries them again."""
    known: int = 0
    survivors: list[Survivor] = field(default_factory=list[Survivor])

    @property
    def share(self) -> float:
        counted = self.killed + len(self.survivors)
        return self.killed / counted if counted else 1.0


def key_of(diff: str, function: str, seen: Counter[str]) -> str:
    """A name that stays while the function's line stays: function, what went, what came."""
    lines = [line for line in diff.splitlines() if line[:3] not in ("---", "+++")]
    gone = next((line[1:].strip() for line in lines if line.startswith("-")), "")
    came = next((line[1:].strip() for line in lines if line.startswith("+")), "")
    key = f"`{function}`: `{gone}` → `{came or '(gone)'}`"
    seen[key] += 1
    return key if seen[key] == 1 else f"{key} ({seen[key]})"


def known_equivalents() -> dict[str, set[str]]:
    """Keys by file: an item of a list below a heading that is a path; reasons are not read."""
    found: dict[str, set[str]] = {}
    path = ""
    for line in KNOWN.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            path = line[3:].strip().strip("`")
        elif line.startswith("- `"):
            found.setdefault(path, set()).add(line[2:].strip())
    return found


def copy_tree(work: Path) -> None:
    """A copy of the tree as it is now, times kept; of what mutmut copied, only mutants stay."""
    work.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        source, target = HOUSE / name, work / name
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy2(source, target)
    mutants = work / "mutants"
    for name in ("tests", "mutmut-stats.json"):
        stale = mutants / name
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
    for path in [*mutants.glob("bot/**/*.py"), *mutants.glob("cogs/**/*.py")]:
        source = work / path.relative_to(mutants)
        # A plain copy, of a file not asked for last time, mutmut takes for mutated already.
        if not source.exists() or source.read_bytes() == path.read_bytes():
            path.unlink()


def run_room(files: list[str], tests: list[str], jobs: int) -> dict[str, Score]:
    """Mutates the files in the folder we are in and gives how each fared."""
    from mutmut.__main__ import _run
    from mutmut.configuration import config
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.utils.file_utils import walk_mutatable_files
    from mutmut.workers import isolation

    from bench import mutators

    mutators.install()
    soon = isolation.register_timeout
    isolation.register_timeout = lambda pid, timeout_s: soon(pid, timeout_s * PATIENCE)
    config().only_mutate = files
    config().pytest_add_cli_args_test_selection = tests
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            if code not in KILLED:
                data.exit_code_by_key[name] = None
        if data.exit_code_by_key:
            data.save()
    _run((), jobs)
    return {str(path): score_of(path) for path in sorted(walk_mutatable_files())}


def score_of(path: Path) -> Score:
    """Reads what mutmut found out about one file."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    known = known_equivalents().get(str(path), set())
    seen: Counter[str] = Counter()
    score = Score()
    data = SourceFileMutationData(path=path)
    data.load()
    for name, code in data.exit_code_by_key.items():
        if code in KILLED or code in TIMED_OUT:
            score.killed += 1
            score.timed_out += code in TIMED_OUT
            continue
        function, owner = orig_function_and_class_names_from_key(name)
        diff = get_diff_for_mutant(name, path=path)
        key = key_of(diff, f"{owner}.{function}" if owner else function, seen)
        if key in known:
            score.known += 1
        else:
            score.survivors.append(Survivor(name, key, diff))
    return score


def report(room: str, scores: dict[str, Score]) -> bool:
    """Prints a room's survivors and its table; is the goal reached in the whole?"""
    for path, score in scores.items():
        for survivor in score.survivors:
            lines = survivor.diff.splitlines()[2:]
            print(f"\n{path}: {survivor.key}")
            print("\n".join(f"    {line}" for line in lines))
    print(f"\n{room:36}{'killed':>8}{'(late)':>8}{'survived':>10}{'equivalent':>12}{'share':>8}")
    whole = Score()
    for path, score in scores.items():
        whole.killed += score.killed
        whole.timed_out += score.timed_out
        whole.known += score.known
        whole.survivors += score.survivors
        print(_row(path, score))
    print(_row("all", whole))
    return whole.share >= GOAL


def _row(name: str, score: Score) -> str:
    survived = len(score.survivors)
    counts = f"{score.killed:8}{score.timed_out:8}{survived:10}{score.known:12}"
    return f"{name:36}{counts}{score.share:8.1%}"


def main() -> int:
    """Runs the rooms named, or all; 1 when one of them misses the goal."""
    rooms = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
    rooms = rooms["tool"]["lantern"]["mutants"]
    parser = argparse.ArgumentParser(description="Mutation tests.")
    parser.add_argument("rooms", nargs="*", help=", ".join(rooms))
    parser.add_argument(
        "--file", default="", help="only files with one of these in their path: A,B"
    )
    parser.add_argument("--fresh", action="store_true", help="forget what was killed before")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    given = parser.parse_args()
    if unknown := set(given.rooms) - set(rooms):
        parser.error(f"no such room: {', '.join(sorted(unknown))}; there are: {', '.join(rooms)}")
    # mutmut keeps its state in module globals: a process a room.
    if len(given.rooms or rooms) > 1:
        options = [f"--jobs={given.jobs}", f"--file={given.file}", *["--fresh"] * given.fresh]
        command = [sys.executable, "-m", "bench.mutants", *options]
        codes = [
            subprocess.run([*command, room], cwd=HOUSE).returncode for room in given.rooms or rooms
        ]
        return int(any(codes))
    [room] = given.rooms or rooms
    files: list[str] = []
    for pattern in rooms[room]["files"]:
        found = [str(p.relative_to(HOUSE)) for p in sorted(HOUSE.glob(pattern))]
        if not found:
            parser.error(f"pyproject.toml, tool.lantern.mutants.{room}: there is no {pattern}")
        parts = given.file.split(",")
        files += [p for p in found if any(part in p for part in parts) and "__init__" not in p]
    stamp = hashlib.sha256(Path(__file__).with_name("mutators.py").read_bytes()).hexdigest()
    work = WORK / room
    if given.fresh or not (work / stamp).exists():
        shutil.rmtree(work, ignore_errors=True)
    copy_tree(work)
    (work / stamp).touch()
    os.chdir(work)
    return int(not report(room, run_room(files, rooms[room]["tests"], given.jobs)))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The run in which every test must fail leaves databases open, for whose threads Python waits:
    # the ledger's table stood there, and the rooms after it were never begun.
    os._exit(code)
