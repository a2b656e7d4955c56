"""The files Docker reads, as far as they can be tried without it."""

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from lantern_child import ROOT

from bot.documents.values import parse_seconds
from bot.process.stopping import STOP_S
from bot.settings import load_settings

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
LANTERN = COMPOSE["services"]["lantern"]


def copied() -> list[str]:
    """What the build stage takes from this folder."""
    lines = re.findall(r"^COPY (?!--from)(.+) (?:\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return [name for line in lines for name in line.split()]


def ignored(name: str) -> bool:
    """Does .dockerignore keep this name away from the build? The last line that fits decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#") and fnmatch.fnmatch(name, line.lstrip("!")):
            verdict = not line.startswith("!")
    return verdict


def test_no_secret_and_no_database_reaches_the_build() -> None:
    for name in (".env", "lantern.db", "config.yaml", ".git", ".venv"):
        assert ignored(name)
    assert [name for name in copied() if ignored(name)] == []


@pytest.mark.ops
@pytest.mark.slow
def test_what_is_copied_is_enough_to_install_lantern(tmp_path: Path) -> None:
    for name in copied():
        source = ROOT / name
        take = shutil.copytree if source.is_dir() else shutil.copy
        take(source, tmp_path / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    here = {
        path.relative_to(ROOT).as_posix()
        for room in ("bot", "cogs")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here <= names


def test_it_runs_without_root_on_a_file_system_it_cannot_write() -> None:
    assert re.search(r"^USER (?!0\b|root\b)\d+$", DOCKERFILE, flags=re.MULTILINE)
    assert LANTERN["read_only"] is True
    assert LANTERN["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in LANTERN["security_opt"]


def test_what_it_writes_lies_in_the_volume(tmp_path: Path) -> None:
    (volume,) = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    environ = dict(re.findall(r"\b(LANTERN_\w+)=(\S+)", DOCKERFILE))
    loaded = load_settings(None, {**environ, "LANTERN_HOSTS": "10.0.0.2:1234"}, tmp_path)
    assert loaded.database_path.parent == Path(volume)
    assert f"data:{volume}" in LANTERN["volumes"]
    assert "data" in COMPOSE["volumes"]


def test_the_config_folder_is_where_lantern_looks() -> None:
    (folder,) = set(re.findall(r"^WORKDIR (/config)$", DOCKERFILE, flags=re.MULTILINE))
    assert f"./config:{folder}:ro" in LANTERN["volumes"]


def test_a_drain_is_never_cut_short() -> None:
    assert parse_seconds(LANTERN["stop_grace_period"]) > STOP_S
    assert re.search(r"^STOPSIGNAL SIGTERM$", DOCKERFILE, flags=re.MULTILINE)


def test_its_commands_exist() -> None:
    from typer.main import get_command

    from bot.cli import cli

    commands = [json.loads(text) for text in re.findall(r"CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)]
    known = getattr(get_command(cli), "commands", {})
    assert [command[0] for command in commands] == ["lantern", "lantern"]
    assert {command[1] for command in commands} == {"health", "run"}
    assert all(command[1] in known for command in commands)
