"""Every line that a person can meet, in one file that is read in one sitting.

``tests/words.txt`` holds them all: whoever changes a word changes it there too, by
``pytest tests/test_every_word.py --rewrite``, and reads what stands around it.
"""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
FILE = Path(__file__).with_name("words.txt")
ROOMS = ("bot/chat", "bot/terminal", "bot/commands", "bot/cli.py", "bot/documents", "bot/settings",
         "bot/policy", "bot/fleet", "bot/cloud", "bot/inference", "bot/store", "bot/process",
         "bot/gateway", "cogs")  # fmt: skip
LOGGERS = frozenset({"debug", "info", "warning", "exception", "error"})
NO_WORDS = re.compile(
    r"^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA|ALTER|WITH|BEGIN|VACUUM)\b"
    r"|\(\?:|\| None|^data: |^event: |^[a-z_0-9 ]*_[a-z_0-9 ]+$"
)
"""SQL, patterns, types, frames of a wire, lists of codes."""
WORDS = re.compile(r"[a-z]{2,}[,.:;]? +[\w`{(“\"]")


def told_in(tree: ast.Module) -> Iterator[str]:
    """The texts of a file that are sentences, with what is filled in by name."""
    passed, nodes = set[int](), list(ast.walk(tree))
    for node in nodes:
        match node:
            case ast.Expr(value=ast.Constant() as docstring):
                passed.add(id(docstring))
            case ast.Call(func=ast.Attribute(attr=name)) if name in LOGGERS:
                passed |= set(map(id, ast.walk(node)))
            case ast.JoinedStr(values=parts):
                passed |= set(map(id, parts))
            case _:
                pass
    for node in nodes:
        text = "" if id(node) in passed else text_of(node)
        if WORDS.search(text) and not NO_WORDS.search(text):
            yield text


def text_of(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{…}" for part in parts
            )
        case _:
            return ""


def every_word() -> str:
    lines: list[str] = []
    for room in ROOMS:
        top = HOUSE / room
        for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            texts = dict.fromkeys(told_in(ast.parse(path.read_text(encoding="utf-8"))))
            if texts:
                lines += ["", f"# {path.relative_to(HOUSE).as_posix()}"]
                lines += sorted(" ⏎ ".join(text.splitlines()) for text in texts)
    return "\n".join(lines).strip() + "\n"


@pytest.mark.slow
def test_every_line_a_person_can_meet_was_read(request: pytest.FixtureRequest) -> None:
    found = every_word()
    if request.config.getoption("rewrite"):
        FILE.write_text(found, encoding="utf-8")
    kept = FILE.read_text(encoding="utf-8")
    new = sorted(set(found.splitlines()) - set(kept.splitlines()))
    gone = sorted(set(kept.splitlines()) - set(found.splitlines()))
    assert (new, gone) == ([], []), (
        "pytest tests/test_every_word.py --rewrite, then read the difference"
    )


def test_nobody_is_told_of_an_exclamation_or_an_apology() -> None:
    """One voice: short, warm, exact."""
    lines = [x for x in FILE.read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    loud = [x for x in lines if re.search(r"[a-z]!(\s|$)|\b(sorry|oops|please wait)\b", x, re.I)]
    assert loud == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('"""A sentence of the file."""', []),
        ('x = "Say this to people."', ["Say this to people."]),
        ('x = f"{host} is away."', ["{…} is away."]),
        ('x = f"{host} is {a} here."', ["{…} is {…} here."]),
        ('log.info("this is written down")', []),
        ('x = "SELECT name FROM turn"', []),
        ('x = "key"', []),
        ('x = "not_found rate_limit gone"', []),
        ('x = "may (?:be|is) away"', []),
    ],
)
def test_what_counts_as_told(source: str, told: list[str]) -> None:
    assert list(told_in(ast.parse(source))) == told


def test_the_file_is_in_the_order_of_the_rooms() -> None:
    heads = [x for x in FILE.read_text(encoding="utf-8").splitlines() if x.startswith("# ")]
    places = [next(i for i, room in enumerate(ROOMS) if x[2:].startswith(room)) for x in heads]
    assert all(a <= b for a, b in pairwise(places))
