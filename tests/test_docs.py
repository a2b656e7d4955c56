"""What a newcomer reads first names only what is there."""

import ast
import os
import re
import shutil
import sqlite3
import subprocess
import tomllib
from collections import Counter
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest

from bench.faults import TABLE

HOUSE = Path(__file__).parent.parent
SOURCES = [path for top in ("bot", "cogs") for path in sorted((HOUSE / top).rglob("*.py"))]
OF_OTHERS = {"TaskGroup", "create_task", "gather", "wait_for", "config.yaml"}
"""Python's own names, and the file that its owner writes."""
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def words_in(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text_of(path))) | {path.stem}


@cache
def names_in(path: Path) -> frozenset[str]:
    """Whatever a file defines or sets, its own name included."""
    found = {path.stem}
    for node in ast.walk(ast.parse(text_of(path))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
            case _:
                pass
    return frozenset(found)


def claims() -> list[tuple[str, str]]:
    """Each word that the two documents set in code, beside the file it is said to stand in."""
    found: dict[tuple[str, str], None] = {}
    for document in ("docs/design.md", "CONTRIBUTING.md"):
        text = (HOUSE / document).read_text(encoding="utf-8")
        found |= dict.fromkeys((word, "") for word in re.findall(r"^    (make \w+)", text, re.M))
        prose = re.sub(r"^    .*$", "", text, flags=re.M)
        words = re.findall(r"`([^`\n]+)`", prose) + re.findall(r"\]\(([^)]+)\)", prose)
        found |= dict.fromkeys((word, "") for word in words)
        found |= dict.fromkeys(
            (name, file) for file, name in re.findall(r"`([\w/]+\.py)` `([\w.]+)`", prose)
        )
        found |= dict.fromkeys(re.findall(r"`([\w.]+)` in `([\w/]+\.py)`", prose))
    return sorted(found)


def is_there(word: str, file: str) -> bool:
    if word.startswith("make "):
        makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
        return re.search(rf"^{word.removeprefix('make ')}\b.*:", makefile, re.M) is not None
    if "/" in word and not word.startswith("/"):
        return any(next(top.glob(word.rstrip("/")), None) for top in (HOUSE, HOUSE / "bot"))
    if word in OF_OTHERS or (HOUSE / word).exists() or not NAME.fullmatch(word):
        return True
    if word.endswith(".py"):
        return any(path.name == word for path in SOURCES)
    parts = set(word.split("."))
    within = [path for path in SOURCES if not file or f"/{path}".endswith(f"/{file}")]
    # Few files hold a word at all, and only those are parsed.
    holding = [path for path in within if parts <= words_in(path)]
    return any(parts <= names_in(path) for path in holding)


@pytest.mark.skipif(os.name != "posix", reason="they are a shell's")
@pytest.mark.parametrize("was_killed", [False, True])
def test_the_lines_for_going_back_keep_what_was_stored_last_each_time(
    tmp_path: Path, *, was_killed: bool
) -> None:
    text = text_of(HOUSE / "docs/running.md")
    under_pm2, under_systemd = re.findall(r"^    newer=(?:.*\\\n)*.*", text, re.M)
    assert under_systemd == under_pm2.replace("pm2 restart", "systemctl start")
    lines = under_pm2.replace("THAT", "old").replace("pm2 restart lantern", "true")
    backup = tmp_path / "lantern.db.old.backup"
    backup.write_text("the backup")
    backup.chmod(0o640)

    for time in ("first", "second"):
        (tmp_path / "lantern.db.lock").touch()
        with closing(sqlite3.connect(tmp_path / f"{time}.db", isolation_level=None)) as live:
            live.execute("PRAGMA journal_mode = WAL")
            live.execute("CREATE TABLE said (words)")
            live.execute("INSERT INTO said VALUES (?)", (time,))
            if not was_killed:
                live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for end in ("", "-wal", "-shm") if was_killed else ("",):
                shutil.copy(tmp_path / f"{time}.db{end}", tmp_path / f"lantern.db{end}")

        clock = f"date() {{ echo {time}; }}; "
        subprocess.run(["bash", "-ec", clock + lines], cwd=tmp_path, check=True)

        with closing(sqlite3.connect(tmp_path / f"newer-{time}" / "lantern.db")) as newer:
            assert newer.execute("SELECT words FROM said").fetchall() == [(time,)]
        assert (tmp_path / "lantern.db").read_text() == "the backup"
        there = {file.name for file in tmp_path.glob("lantern.db*")}
        assert there == {"lantern.db", "lantern.db.old.backup"}
        # Root, who goes back for a service, leaves it what is the service's.
        assert (tmp_path / "lantern.db").stat().st_mode == backup.stat().st_mode


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_lines_for_updating_work_after_going_back(tmp_path: Path) -> None:
    text = text_of(HOUSE / "docs/running.md")
    updates = re.findall(r"^    git checkout main && git pull\b", text, re.M)
    assert len(updates) == 2

    def git(folder: str, words: str) -> str:
        own = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        command = ["git", *own, *words.split()]
        return subprocess.check_output(command, cwd=tmp_path / folder, text=True).strip()

    git(".", "init -q -b main origin")
    git("origin", "commit -q --allow-empty -m one")
    git(".", "clone -q origin mine")
    git("origin", "commit -q --allow-empty -m two")
    for _ in range(2):
        # Going back leaves no branch checked out.
        git("mine", "checkout -q HEAD~0")
        subprocess.run(["bash", "-ec", updates[0]], cwd=tmp_path / "mine", check=True)
        assert git("mine", "rev-parse HEAD") == git("origin", "rev-parse HEAD")


@pytest.mark.parametrize(("word", "file"), claims())
def test_every_file_and_name_a_newcomer_is_led_to_is_there(word: str, file: str) -> None:
    assert is_there(word, file)


@pytest.mark.parametrize(
    ("word", "file"),
    [
        ("bot/fleet/planner.py", ""),
        ("planner.py", ""),
        ("walk", "bot/chat/words.py"),
        ("Scheduler._put_away", ""),
        ("bot/cloudy", ""),
        ("make coffee", ""),
    ],
)
def test_what_is_not_there_is_noticed(word: str, file: str) -> None:
    assert not is_there(word, file)


def test_every_row_of_the_fault_matrix_names_tests_there_are() -> None:
    matrix = tomllib.loads((HOUSE / "tests/fault_matrix.toml").read_text(encoding="utf-8"))
    tests = [test.partition("::") for row in matrix["row"] for test in row["tests"]]
    # A row whose test was renamed would be told as held by the others of its row.
    assert len(tests) >= 70
    gone = [
        (file, name)
        for file, _, name in tests
        if not (HOUSE / file).exists() or not ({name} - {""} <= names_in(HOUSE / file))
    ]
    assert gone == []
    # What is published is the matrix as it stands, and held.
    lines = text_of(HOUSE / "docs/reliability.md").partition(TABLE)[2].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert [row[:2] for row in rows] == [[row["fault"], row["holds"]] for row in matrix["row"]]
    assert all(tries == held != "0" for *_, tries, held in rows)


def mutants() -> dict[str, dict[str, list[str]]]:
    """The files and tests of each room, by ``pyproject.toml``; what its files' patterns mean."""
    rooms = tomllib.loads(text_of(HOUSE / "pyproject.toml"))["tool"]["lantern"]["mutants"]
    for room in rooms.values():
        found = {pattern: sorted(HOUSE.glob(pattern)) for pattern in room["files"]}
        assert all(found.values()), found
        room["files"] = [str(path.relative_to(HOUSE)) for paths in found.values() for path in paths]
    return rooms


def test_what_mutates_a_room_names_files_and_tests_there_are() -> None:
    # A list that names a test that is gone stops the whole room before its first mutant.
    gone = [test for room in mutants().values() for test in room["tests"]]
    assert [test for test in gone if not (HOUSE / test).exists()] == []


def test_each_file_of_the_rooms_that_decide_is_mutated_or_said_not_to_be() -> None:
    told = tomllib.loads(text_of(HOUSE / "pyproject.toml"))["tool"]["lantern"]["unmutated"]
    left = [path for paths in told.values() for path in paths]
    mutated = [path for room in mutants().values() for path in room["files"]]
    rooms = [HOUSE / "bot" / room for room in ("policy", "fleet", "cloud", "chat")]
    there = [p for room in rooms for p in room.glob("*.py") if p.name != "__init__.py"]
    listed = [path for path in [*left, *mutated] if (HOUSE / path).parent in rooms]
    listed.remove("bot/policy/__init__.py")
    assert sorted(listed) == sorted(str(path.relative_to(HOUSE)) for path in there)


def test_every_mutant_known_to_be_equivalent_is_one_of_a_line_there_is() -> None:
    # What a line was before it was rewritten says nothing of what it is.
    path, found = "", list[str]()
    mutated = {path for room in mutants().values() for path in room["files"]}
    for line in text_of(HOUSE / "docs/mutants.md").splitlines():
        if line.startswith("## "):
            path = line.removeprefix("## ")
            assert path in mutated
        elif line.startswith("- `"):
            function, _, change = line.removeprefix("- `").partition("`: `")
            gone = change.partition("` → `")[0]
            lines = {line.strip() for line in text_of(HOUSE / path).splitlines()}
            if gone not in lines or not set(function.split(".")) <= names_in(HOUSE / path):
                found.append(f"{path}: {line}")
    assert found == []


def test_each_decision_has_a_number_of_its_own_and_stands_in_the_index_by_its_title() -> None:
    index, numbers = text_of(HOUSE / "docs/adr/README.md"), list[str]()
    for path in sorted((HOUSE / "docs/adr").glob("0*.md")):
        number, _, title = text_of(path).partition("\n")[0].removeprefix("# ").partition(". ")
        numbers.append(number)
        assert int(path.name[:4]) == int(number)
        assert f"| [{number}]({path.name}) | {title} |" in index
    assert len(numbers) == len(set(numbers)) == index.count("\n| [")


def test_no_public_class_of_the_house_is_called_as_another_one() -> None:
    # The simulated machines are no part of what a reader of a face or a decision meets.
    found = Counter(
        name
        for path in SOURCES
        if "sim" not in path.parts
        for name in re.findall(r"^class ([A-Za-z]\w*)", text_of(path), re.M)
    )
    assert [name for name, count in found.items() if count > 1] == []


def test_no_change_is_told_twice() -> None:
    # Resolving a conflict brought three back under the heading they had left.
    told = re.split(r"^(?=- |### )", text_of(HOUSE / "CHANGELOG.md"), flags=re.M)
    found = Counter(line.strip() for line in told if line.startswith("- "))
    assert [line for line, count in found.items() if count > 1] == []


def test_each_row_of_a_table_has_the_columns_of_its_head() -> None:
    # Rows of one table were once overwritten with those of another that begin alike.
    found: list[str] = []
    for path in (*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md")):
        text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text_of(path), flags=re.M | re.S)
        for rows in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
            head, *rest = rows.splitlines()
            found += [f"{path.name}: {row}" for row in rest if row.count("|") != head.count("|")]
    assert found == []
