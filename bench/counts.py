"""The size of the house: rooms, floors, arrows, and how dense its files are.

    python -m bench.counts

A room is a package below ``bot``, a module beside ``app.py``, or ``cogs``. A floor is a layer of
import-linter's first contract in ``pyproject.toml``. An arrow is one room importing another. The
simulator is left out of the densities: it stands in for somebody else's program. A comment of why
is a line that holds nothing but a comment, pragmas and rules aside. Exit 1 when the house is beyond
what it may be; arrows have no bound.
"""

import ast
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path

HOUSE = Path(__file__).parent.parent
PRAGMA = re.compile(r"#\s*(---|noqa|pyright|type:)")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
ROOMS, FLOORS = 20, 8
CLASSES, MOST_FUNCTIONS, WHY = 11, 50, 30
"""For each 1,000 lines; of comments of why at least so many."""


def room_of(module: str) -> str:
    """``bot.fleet.host`` is of the room ``bot.fleet``; everything in ``cogs`` is of ``cogs``."""
    return ".".join(module.split(".")[: 2 if module.startswith("bot.") else 1])


def sources() -> dict[str, str]:
    """The text of every module, by its dotted name."""
    found: dict[str, str] = {}
    for top in ("bot", "cogs"):
        for path in sorted((HOUSE / top).rglob("*.py")):
            module = ".".join(path.relative_to(HOUSE).with_suffix("").parts)
            found[module.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return {module: text for module, text in found.items() if module not in ("bot", "bot.__main__")}


def arrows(modules: dict[str, str]) -> set[tuple[str, str]]:
    """Every pair of rooms of which the first imports the second."""
    found: set[tuple[str, str]] = set()
    for module, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            ours = {room_of(name) for name in names if name.split(".")[0] in ("bot", "cogs")}
            found.update((room_of(module), room) for room in ours - {room_of(module), "bot"})
    return found


def densities(modules: dict[str, str]) -> dict[str, Counter[str]]:
    """Lines, classes, functions and comments of why by room, the simulator left out."""
    found: dict[str, Counter[str]] = {}
    for module, text in modules.items():
        if room_of(module) == "bot.sim":
            continue
        nodes = list(ast.walk(ast.parse(text)))
        comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
        found.setdefault(room_of(module), Counter()).update(
            lines=len(text.splitlines()),
            classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
            functions=sum(isinstance(node, FUNCTIONS) for node in nodes),
            comments=sum(not PRAGMA.search(comment) for comment in comments),
        )
    return found


def beyond(rooms: int, floors: int, whole: Counter[str]) -> list[str]:
    """What is more, or less, than it may be; in words."""
    lines = whole["lines"]
    found = {
        f"more than {ROOMS} rooms": rooms > ROOMS,
        f"more than {FLOORS} floors": floors > FLOORS,
        f"more than {CLASSES} classes a 1,000 lines": whole["classes"] * 1000 > CLASSES * lines,
        f"more than {MOST_FUNCTIONS} functions a 1,000 lines": (
            whole["functions"] * 1000 > MOST_FUNCTIONS * lines
        ),
        f"fewer than {WHY} comments of why a 1,000 lines": whole["comments"] * 1000 < WHY * lines,
    }
    return [words for words, is_so in found.items() if is_so]


def main() -> int:
    """Prints the counts, a room a line; gives the exit code."""
    modules = sources()
    settings = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))
    floors = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = {room_of(module) for module in modules}
    print(
        f"rooms {len(rooms)} (<= {ROOMS})  floors {len(floors)} (<= {FLOORS})  "
        f"arrows {len(arrows(modules))}"
    )
    print(
        f"{'room':16}{'lines':>7}{'classes':>9}{'/1000':>6}{'functions':>11}{'/1000':>6}{'why':>7}"
    )
    found = densities(modules)
    whole = sum(found.values(), Counter[str]())
    for room, n in [*sorted(found.items()), (f"all (<= {CLASSES}, {MOST_FUNCTIONS})", whole)]:
        per = 1000 / n["lines"]
        print(
            f"{room:16}{n['lines']:7}{n['classes']:9}{n['classes'] * per:6.1f}"
            f"{n['functions']:11}{n['functions'] * per:6.1f}{n['comments'] * per / 10:6.1f}%"
        )
    faults = beyond(len(rooms), len(floors), whole)
    for words in faults:
        print(f"beyond what it may be: {words}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
