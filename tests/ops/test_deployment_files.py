"""The files that PM2 and systemd read fit each other, the program, and a hardened machine."""

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lantern_child import ROOT

from bot.commands.run import CLOSE_S, GOODBYE_S
from bot.process.stopping import DRAIN_S, FORCE_S, STOP_S
from bot.settings import load_settings, missing_for_run

UNIT = ROOT / "deploy" / "lantern.service"
ECOSYSTEM = ROOT / "ecosystem.config.js"

WORST_SCORE = 2.0

has_analyze = shutil.which("systemd-analyze") is not None
has_node = shutil.which("node") is not None


def service() -> configparser.SectionProxy:
    """The unit's [Service]; of a key that stands twice, the last."""
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]  # keeps the capitals
    unit.read(UNIT)
    return unit["Service"]


def test_the_times_to_stop_are_each_longer_than_the_one_inside() -> None:
    inside = DRAIN_S + CLOSE_S + GOODBYE_S
    assert inside < STOP_S
    assert float(service()["TimeoutStopSec"]) > STOP_S + FORCE_S


def test_systemd_starts_it_again_but_never_with_a_wrong_configuration() -> None:
    assert service()["Type"] == "notify"
    assert service()["Restart"] == "on-failure"
    assert service()["RestartPreventExitStatus"] == "78"
    assert float(service()["WatchdogSec"]) >= 10


def test_the_credential_systemd_hands_over_is_the_token_lantern_reads(tmp_path: Path) -> None:
    name, _, source = service()["LoadCredential"].partition(":")
    assert Path(source).is_absolute()
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / name).write_text("token-from-systemd\n")
    environ = {
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
        "LANTERN_HOSTS": "10.0.0.2:1234",
    }

    loaded = load_settings(None, environ, tmp_path)

    assert missing_for_run(loaded) == ()
    token = loaded.settings.discord.token
    assert token is not None
    assert token.get_secret_value() == "token-from-systemd"
    assert loaded.secrets == ("token-from-systemd",)


def test_the_service_and_a_command_beside_it_find_one_database(tmp_path: Path) -> None:
    """The steps of docs/running.md put the place into the config file that both read."""
    steps = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    (edit,) = re.findall(r"sudo sed -i 's\|(\S+)\|(\S+)\|' /etc/lantern/config.yaml", steps)
    example = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
    assert example.count(edit[0]) == 1
    config = tmp_path / "config.yaml"
    config.write_text(example.replace(*edit), encoding="utf-8")

    loaded = load_settings(config, {}, tmp_path)

    assert loaded.database_path == Path(f"/var/lib/{service()['StateDirectory']}/lantern.db")
    assert "--config /etc/lantern/config.yaml" in service()["ExecStart"]
    # What the environment says beats the file, and a command in a shell has not that environment.
    assert not re.search(r"^Environment=LANTERN_", UNIT.read_text(), flags=re.MULTILINE)


@pytest.mark.skipif(os.name != "posix", reason="systemd is Linux's")
@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_check_up_is_the_services_own_with_its_command_user_and_credentials(
    command: str, tmp_path: Path
) -> None:
    # As root `lantern check` called the token missing, though it was where the page wants it; and
    # it missed one where the unit runs `serve`.
    further = "LoadCredential=OPENAI_API_KEY:/etc/lantern/openai_api_key"
    unit = UNIT.read_text().replace("bot run", f"bot {command}")
    (tmp_path / "unit").write_text(f"{unit}[Service]\n{further}\n")
    for name, script in {"systemctl": f"cat {tmp_path}/unit", "systemd-run": "echo $@"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    asked = subprocess.check_output(
        ["sh", str(ROOT / "deploy" / "check.sh")],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        text=True,
    )
    options, _, asked = asked.strip().partition(" /")
    given = {each.removeprefix("--property=") for each in options.split()}
    wanted = ("DynamicUser", "StateDirectory", "StateDirectoryMode", "UMask", "LoadCredential")
    assert {further, "User=lantern", *(f"{key}={service()[key]}" for key in wanted)} <= given
    program, _, arguments = service()["ExecStart"].partition(" ")
    config = arguments.partition("run ")[2]
    assert f"/{asked}" == f"{Path(program).with_name('lantern')} check {command} {config}"


@pytest.mark.ops
@pytest.mark.slow
@pytest.mark.skipif(not has_analyze, reason="systemd-analyze is not installed")
def test_the_unit_is_hardened() -> None:
    analysed = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", analysed.stdout)
    assert found is not None, analysed.stderr
    assert float(found[1]) < WORST_SCORE
    assert "Unknown" not in analysed.stderr


@pytest.mark.ops
@pytest.mark.slow
@pytest.mark.skipif(not has_node, reason="node is not installed")
def test_pm2s_file_waits_for_ready_and_gives_time_to_stop() -> None:
    read = f"console.log(JSON.stringify(require({json.dumps(str(ECOSYSTEM))}).apps))"
    written = subprocess.run(
        ["node", "-e", read], capture_output=True, text=True, check=True, timeout=30
    )
    (app,) = json.loads(written.stdout)

    assert app["kill_timeout"] / 1000 > STOP_S + FORCE_S
    assert app["wait_ready"] is True
    assert app["stop_exit_codes"] == [78]
    assert app["exec_mode"] == "fork"
    assert app["instances"] == 1
    assert "env" not in app


def test_a_first_set_up_of_a_minute_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("$(RUN_STAMP): ")[2].partition("\n\n")[0].splitlines()
    assert 'echo "Installing' in recipe[1]
    # pip tells each package; asked to be quiet it said nothing for forty seconds.
    assert "$(PIP_TOLD) install" in recipe[2]
    assert "--quiet" not in re.findall(r"^PIP_TOLD :=(.*)$", makefile, re.MULTILINE)[0]
