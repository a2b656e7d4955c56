"""The command line: what it prints and how it exits."""

import asyncio
import errno
import inspect
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
import typer.main
from hosting import hosts_beside
from house import GEMMA, QWEN, sim
from logs import logs_put_back

from bot.__main__ import lantern as start
from bot.app import utcnow
from bot.chat.walk import LoadSteps, Readiness
from bot.cli import main
from bot.commands import once
from bot.domain.events import Loading
from bot.process.lock import instance_lock
from bot.process.logs import configure_logging
from bot.process.supervisor import Supervisor, life_sign_of
from bot.settings import load_settings
from bot.sim.host import SimHost
from bot.sim.journal import LoadStarted, Unloaded
from bot.sim.models import SimModel
from bot.store.database import Database
from bot.store.migrate import migrate, migrations
from bot.terminal.screen import Screen

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """An empty working directory and environment; logging put back afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISCORD_TOKEN", "LANTERN_CONFIG", "Z_AI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with logs_put_back():
        yield


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Generator[SimHost]:
    with hosts_beside(sim("studio", QWEN, GEMMA)) as (host,):
        monkeypatch.setenv("LANTERN_HOSTS", host.address)
        yield host


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_ctrl_c_while_it_still_loads_ends_it_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(name: str) -> Any:
        raise KeyboardInterrupt(name)

    loading = ModuleType("bot.cli")
    loading.__getattr__ = interrupted
    monkeypatch.setitem(sys.modules, "bot.cli", loading)
    with pytest.raises(SystemExit) as ended:
        start(["hosts"])
    assert ended.value.code == 130


@pytest.mark.ops
def test_a_lantern_that_runs_loads_nothing_for_terminals_pictures_files_or_the_gateway() -> None:
    lines = """
import sys
from bot.__main__ import lantern
try:
    lantern(["--version"])
except SystemExit:
    import bot.commands.run, bot.fleet.lan
bot.fleet.lan.lan_http()
print(*sys.modules)
import bot.fleet.lmstudio
print(*sys.modules)
import rich.console
"""
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=True
    )
    late = {"rich", "click", "pygments", "aiohttp.web", "pypdf", "genai_prices", "PIL", "bot.sim"}
    assert not set(done.stdout.split()) & {*late, "bot.gateway", "bot.terminal.screen"}
    # Before it logs in.
    assert not set(done.stdout.splitlines()[-2].split()) & {"httpcore", "lmstudio"}


def json_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_hosts_as_a_table_and_as_json(studio: SimHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("hosts") == 0
    assert studio.address in capsys.readouterr().out
    assert run("hosts", "--json") == 0
    (record,) = json_of(capsys)
    assert (record["state"], record["models_on_disk"], record["loaded"]) == ("up", 2, [])


@pytest.mark.slow
def test_stats_tell_how_well_hosts_were_foreseen(
    studio: SimHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("load", "qwen3-8b", "--json") == 0
    capsys.readouterr()
    assert run("hosts", "--stats", "--json") == 0
    (nothing,) = json_of(capsys)
    assert (nothing["answers"], nothing["median_factor"]) == (0, None)
    with closing(sqlite3.connect("lantern.db", isolation_level=None)) as database:
        add = "INSERT INTO speed_record VALUES (NULL, ?, 'm', 1, 1, 1, 1, 1, 2.0, ?)"
        for waited_s in (1.0, 5.0, 9.0):
            database.execute(add, (nothing["name"], waited_s))
    assert run("hosts", "--stats", "--json") == 0
    (found,) = json_of(capsys)
    assert found == {**nothing, "answers": 3, "median_factor": 2.5, "near_share": 2 / 3}
    assert run("hosts", "--stats") == 0
    assert "2.50" in (shown := capsys.readouterr().out)
    assert "67%" in shown


@pytest.mark.slow
def test_models_say_size_and_standing(studio: SimHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    assert "qwen/qwen3-8b" in capsys.readouterr().out
    assert run("models", "--json") == 0
    records = json_of(capsys)
    assert {record["model"] for record in records} == {QWEN.key, GEMMA.key}
    assert all(record["now"].startswith("cold · ~") and record["seconds"] for record in records)


@pytest.mark.slow
def test_load_and_unload_really_happen(studio: SimHost, capsys: pytest.CaptureFixture[str]) -> None:
    # As its help promises: a part from the middle, where it means one model.
    assert run("load", "wen3", "--json") == 0
    assert json_of(capsys)["model"] == QWEN.key
    assert [load.key for load in studio.journal.of(LoadStarted)] == [QWEN.key]
    assert run("load", "qwen3-8b") == 0
    assert "in memory already" in capsys.readouterr().out
    # A new process knows from the database that the instance is its own.
    assert run("load", "qwen3-8b", "--json") == 0
    assert json_of(capsys)["host"] == studio.address
    assert run("unload", "qwen3-8b") == 0
    assert "Unloaded" in capsys.readouterr().out
    assert len(studio.journal.of(Unloaded)) == 1


@pytest.mark.slow
def test_unloading_what_is_not_loaded_fails_in_words(
    studio: SimHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("unload", "nothing") == 1
    assert "There is no loaded model `nothing`" in capsys.readouterr().err


@pytest.mark.slow
def test_beside_a_running_lantern_nothing_is_owned(
    studio: SimHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("load", "qwen3-8b") == 0
    with instance_lock(tmp_path / "lantern.db"):
        assert run("unload", "qwen/qwen3-8b") == 1
        # Not even so: it may be answering just now, and only that one knows.
        assert run("unload", "qwen/qwen3-8b", "--foreign") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "Another Lantern is running on this database" in told
    assert told.count("kept by the Lantern that runs on this database") == 2
    assert "--foreign" not in told
    assert not studio.journal.of(Unloaded)


@pytest.mark.slow
def test_until_a_new_version_is_started_looking_leaves_the_database_as_the_old_one_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANTERN_HOSTS", "127.0.0.1:9")
    path = tmp_path / "lantern.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        migrate(made, migrations()[:-1], 0)
    old = schema_of(path)
    for runs in (False, True):
        with instance_lock(path) if runs else nullcontext():
            for words in ("usage",), ("personas",), ("hosts", "--stats"), ("keys", "list"):
                assert (run(*words), schema_of(path)) == (0, old), words
    capsys.readouterr()
    with instance_lock(path):
        for words in ("keys", "add", "me"), ("keys", "revoke", "me"), ("load", "qwen3-8b"):
            assert (run(*words), schema_of(path)) == (1, old), words
            told = capsys.readouterr().err
            assert f"An older Lantern is running on {path}" in told.replace("\n", " ")
    assert not list(tmp_path.glob("*.backup"))
    # With nobody on it, the command is the start that brings it on.
    assert (run("keys", "add", "me"), schema_of(path)) == (0, old + 1)


@pytest.mark.slow
def test_a_load_that_is_given_up_says_what_becomes_of_it(
    studio: SimHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def given_up(screen: Screen, load: LoadSteps) -> Readiness:
        async with load as steps:
            async for step in steps:
                if isinstance(step, Loading):
                    raise asyncio.CancelledError
        raise AssertionError("it never began")

    monkeypatch.setattr(Screen, "waited", given_up)
    with pytest.raises(asyncio.CancelledError):
        main(["load", "qwen3-8b"])
    assert "Given up: the host is told to end the load" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "No space left on device"), (errno.EPIPE, "")]
)
def test_output_that_nobody_takes_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    words: str,
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(code, os.strerror(code))

        def fileno(self) -> int:
            return taken.fileno()

    with (tmp_path / "taken").open("w") as taken:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Full())
            assert run("config", "schema") == 1
        # Python's own last words go nowhere, instead of failing once more.
        taken.write("rest")
    assert (tmp_path / "taken").read_text() == ""
    said = capsys.readouterr().err
    assert said == (f"Standard output takes nothing more: {words}.\n" if words else "")


def test_an_error_of_a_file_is_not_called_one_of_the_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for failed in (OSError(errno.ENOSPC, "full", "x.db"), OSError(errno.ENOENT, "gone")):
        monkeypatch.setattr("bot.cli.schema", Mock(side_effect=failed))
        with pytest.raises(OSError, match=failed.strerror):
            main(["config", "schema"])


@pytest.mark.slow
@pytest.mark.ops
@pytest.mark.skipif(os.name != "posix", reason="only a shell closes them")
@pytest.mark.parametrize(("closed", "code"), [("<&-", 0), (">&-", 1), ("2>&-", 0)])
def test_a_closed_standard_stream_is_no_number_for_another_file(closed: str, code: int) -> None:
    # Its loop ended the process where a socket had the number of a standard stream.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LANTERN_HOSTS": "127.0.0.1:9"}
    line = f'"{sys.executable}" -m bot hosts --stats {closed}'
    done = subprocess.run(["sh", "-c", line], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code
    words = "Standard output takes nothing more: Bad file descriptor.\n"
    assert done.stderr == (words if code else "")


def test_what_of_dotenv_is_not_read_is_told_beside_what_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("lantern_hosts=10.0.0.9:1234\n")
    (tmp_path / ".env").chmod(0o600)
    assert run("config", "show") == 0
    shown = capsys.readouterr()
    assert "lantern_hosts is not read; write LANTERN_HOSTS" in " ".join(shown.err.split())
    assert "lantern_hosts" not in shown.out


def schema_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


@pytest.mark.slow
def test_beside_a_running_lantern_what_others_loaded_is_unloaded_as_before(
    studio: SimHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("LANTERN_STORAGE__URL", "sqlite:///another.db")
        assert run("load", "qwen3-8b") == 0
    with instance_lock(tmp_path / "lantern.db"):
        assert run("unload", "qwen3-8b") == 1
        assert "Add --foreign" in capsys.readouterr().err
        assert run("unload", "qwen3-8b", "--foreign") == 0
    assert len(studio.journal.of(Unloaded)) == 1


@pytest.mark.slow
def test_check_finds_the_host_and_says_what_is_missing(
    studio: SimHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check") == 78
    shown = capsys.readouterr().out
    assert "✘ configuration: DISCORD_TOKEN is not set" in shown
    assert "• configuration: environment and .env" in shown
    assert "✔ configuration" not in shown
    assert "2 models on disk" in shown
    assert "persona default" in shown


@pytest.mark.slow
def test_check_of_a_dead_host_says_what_to_look_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hosts_beside(sim("studio", QWEN)) as (host,):
        address = host.address
    monkeypatch.setenv("LANTERN_HOSTS", address)
    assert run("check", "--json") == 78
    lines = json_of(capsys)
    (line,) = [line for line in lines if address in line["subject"]]
    assert line["mark"] == "warning"
    assert any(
        line["mark"] == "fault" and line["subject"] == "hosts and providers" for line in lines
    )
    assert "Serve on Local Network" in line["text"]


def test_a_wrong_configuration_exits_78_and_lists_every_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("hots: [a]\nrouting: {strategy: fastest}\n")
    assert run("hosts") == 78
    shown = capsys.readouterr().err
    assert "hots" in shown
    assert "strategy" in shown


@pytest.mark.parametrize("command", ["hosts", "models", "chat"])
def test_no_hosts_is_a_wrong_configuration(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 78
    assert "LANTERN_HOSTS" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="variables have no small letters there")
def test_a_variable_in_small_letters_is_told_where_hosts_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("lantern_hosts", "10.0.0.2:1234")
    assert run("hosts") == 78
    assert "write LANTERN_HOSTS" in capsys.readouterr().err


def test_run_without_a_token_exits_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run") == 78
    assert "DISCORD_TOKEN" in capsys.readouterr().err


def test_bad_usage_exits_2() -> None:
    assert run("hosts", "--nonsense") == 2
    assert run("nonsense") == 2


def test_help_is_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["run", "--help"], ["config", "--help"], ["load", "--help"]):
        assert run(*words) == 0
        assert "Usage" in capsys.readouterr().out


def test_help_is_asked_for_in_short_and_calls_no_switch_a_bool(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("unload", "-h") == 0
    shown = capsys.readouterr().out
    assert "Usage: lantern unload" in shown
    assert "bool" not in shown


def test_the_shell_completes_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Typer looks which shell started it, and under make that is one it completes nothing for. It
    # does so as it makes the commands, which were made before.
    monkeypatch.setattr(typer.main, "get_command", inspect.unwrap(typer.main.get_command))
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert run("--show-completion", "bash") == 0
    assert "_LANTERN_COMPLETE=complete_bash" in capsys.readouterr().out
    for name, value in (("_LANTERN_COMPLETE", "complete_bash"), ("COMP_WORDS", "lantern un")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run() == 0
    assert capsys.readouterr().out.split() == ["unload"]


@pytest.mark.slow
def test_an_unload_is_told_to_programs_without_prose(
    studio: SimHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("load", "gemma", "--json") == 0
    assert json_of(capsys)["model"] == GEMMA.key
    assert run("hosts", "--json") == 0
    assert json_of(capsys)[0]["memory_used_bytes"] == GEMMA.size_bytes
    assert run("unload", "gemma", "--json") == 0
    assert json_of(capsys)["unloaded"] == [{"host": studio.address, "identifier": GEMMA.key}]


def test_config_show_masks_secrets_and_names_origins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "a-secret-nobody-may-read")
    monkeypatch.setenv("LANTERN_HOSTS", "10.0.0.2:1234")
    assert run("config", "show", "--json") == 0
    shown = capsys.readouterr().out
    assert "a-secret-nobody-may-read" not in shown
    assert "10.0.0.2:1234" in shown
    assert "LANTERN_HOSTS" in shown


def test_config_schema_is_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "schema") == 0
    assert json_of(capsys)["type"] == "object"


def test_personas_lists_the_built_in_and_tells_of_broken_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("personas", "--json") == 0
    assert [record["name"] for record in json_of(capsys)] == ["default"]
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas" / "bad.yaml").write_text("name: bad\nmodle: x\n")
    assert run("personas") == 1
    assert "modle" in capsys.readouterr().err


def test_other_peoples_words_are_no_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "[/] :smile: [bold]x[/bold] [fd00::5]:1234:"
    (tmp_path / "personas").mkdir()
    for name, text in (("good", f'description: "{words}"'), ("bad", f'model: x\n"{words}": 1')):
        (tmp_path / "personas" / f"{name}.yaml").write_text(f"name: {name}\n{text}\n")
    assert run("personas") == 1
    shown = capsys.readouterr()
    assert words in shown.out
    assert words in shown.err
    monkeypatch.setenv("LANTERN_HOSTS", "[fd00::5]:1234")
    assert run("config", "show") == 0
    assert "[fd00::5]:1234" in capsys.readouterr().out
    monkeypatch.setenv("LANTERN_LOG__LEVEL", words)
    assert run("check") == 78
    assert words.casefold() in capsys.readouterr().err.casefold()
    assert run("usage", words) == 2
    assert "[/]" in capsys.readouterr().err


@pytest.mark.ops
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_redirected_output_survives_any_encoding(tmp_path: Path, encoding: str) -> None:
    with hosts_beside(sim("studio", QWEN)) as (host,):
        done = subprocess.run(
            [sys.executable, "-m", "bot", "chat"],
            input="\ufeffhéllo 🙂\n/fleet status\n".encode(),
            capture_output=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "LANTERN_HOSTS": host.address, "PYTHONIOENCODING": encoding},
        )
    assert done.returncode == 0, done.stderr.decode()
    assert "🟢" in done.stdout.decode("utf-8")
    assert "> héllo 🙂" in done.stdout.decode("utf-8")


@pytest.mark.ops
@pytest.mark.skipif(sys.platform == "win32", reason="no signal ends a program kindly there")
def test_the_request_to_end_leaves_the_chat(tmp_path: Path) -> None:
    with (
        hosts_beside(sim("studio", QWEN)) as (host,),
        subprocess.Popen(
            [sys.executable, "-m", "bot", "chat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "LANTERN_HOSTS": host.address},
        ) as chat,
    ):
        assert chat.stdin is not None
        assert chat.stdout is not None
        chat.stdin.write(b"/help\n")
        chat.stdin.flush()
        assert chat.stdout.readline().strip() == b"> /help"
        chat.terminate()
        assert chat.wait(30) == 143


@pytest.mark.slow
def test_looking_leaves_nothing_behind(studio: SimHost, tmp_path: Path) -> None:
    for command in ("hosts", "models", "check", "usage", "personas"):
        run(command)
    assert list(tmp_path.iterdir()) == []
    # As touch or a copy that failed leaves it: no database yet.
    empty = tmp_path / "lantern.db"
    empty.touch()
    for command in ("hosts", "usage"):
        run(command)
    assert (list(tmp_path.iterdir()), empty.stat().st_size) == ([empty], 0)


@pytest.mark.slow
def test_models_of_hosts_that_are_away_are_no_empty_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANTERN_HOSTS", "127.0.0.1:9")
    assert run("models") == 1
    assert "• 127.0.0.1:9: " in capsys.readouterr().err


@pytest.mark.slow
def test_who_keeps_the_table_waiting_and_who_is_named_twice_is_said(
    studio: SimHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = studio.address.rpartition(":")[2]
    monkeypatch.setenv("LANTERN_HOSTS", f"127.0.0.1:{port},localhost:{port}")
    monkeypatch.setattr(once, "SOON_S", 0.0)
    for words in ("hosts", "--json"), ("models",):
        assert run(*words) == 0
        told = capsys.readouterr().err
        assert f"Waiting up to 8 s more for 127.0.0.1:{port}, localhost:{port} …" in told
        assert told.count("are the same machine and port") == 1


class _Told(io.StringIO):
    """Standard output; calls once a text stands in it."""

    def __init__(self, text: str, then: Callable[[], None]) -> None:
        super().__init__()
        self._text, self._then = text, then

    def write(self, words: str) -> int:
        written = super().write(words)
        if self._text in self.getvalue():
            self._then()
        return written


@pytest.mark.slow
async def test_a_host_that_hangs_keeps_no_other_ones_row_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(once, "SETTLE_S", 60.0)
    async with SimHost(sim("studio", QWEN)) as up, SimHost(sim("a", QWEN)) as hanging:
        hanging.faults.hang()
        told = _Told(up.address, hanging.faults.clear)
        monkeypatch.setattr(sys, "stdout", told)
        environ = {
            "LANTERN_HOSTS": f"{hanging.address},{up.address}",
            "LANTERN_HEALTH__TIMEOUT": "30s",
        }
        configure_logging("error", "console", ())
        await once.show_hosts(load_settings(None, environ, tmp_path), as_json=False)
    names, *rows = told.getvalue().splitlines()
    assert [row.split()[:2] for row in rows] == [[up.address, "up"], [hanging.address, "up"]]
    assert {row.index(" up ") + 1 for row in rows} == {names.index("state")}


async def test_a_look_calls_own_what_the_lantern_that_runs_has_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of everything that one kept it was told to be somebody else's.
    async with SimHost(sim("studio", QWEN)) as host:
        configure_logging("error", "console", ())
        loaded = load_settings(None, {"LANTERN_HOSTS": host.address}, tmp_path)
        async with once.built_from(loaded) as built:
            async with built.acts.load(None, QWEN.key) as steps:
                async for _ in steps:
                    pass
            await host.preload(QWEN.key)
            await once.show_hosts(loaded, as_json=True)
            [told] = json.loads(capsys.readouterr().out)
            assert [copy["own"] for copy in told["loaded"]] == [True, False]
            await once.show_hosts(loaded, as_json=False)
            assert "(own)" in capsys.readouterr().out


@pytest.mark.slow
def test_hosts_that_are_all_away_are_listed_and_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANTERN_HOSTS", "127.0.0.1:9")
    assert run("hosts", "--json") == 1
    shown = capsys.readouterr()
    assert [host["state"] for host in json.loads(shown.out)] == ["down"]
    assert shown.err.strip().endswith("No host answers now.")
    assert run("load", "qwen") == 1
    assert "nothing is known of a model `qwen`" in capsys.readouterr().err


@pytest.mark.slow
def test_a_host_that_could_not_be_asked_is_named_beside_what_the_others_have(
    studio: SimHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANTERN_HOSTS", f"127.0.0.1:9,{studio.address}")
    assert run("models", "--json") == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 2
    assert "! 127.0.0.1:9 could not be asked, and may have more:" in shown.err
    for command, what in (("load", "model"), ("unload", "loaded model")):
        assert run(command, "only/alpha") == 1
        told = " ".join(capsys.readouterr().err.split())
        assert f"There is no {what} `only/alpha` on the hosts that answer." in told
        assert "127.0.0.1:9 could not be asked, and may have it." in told


@pytest.mark.slow
def test_embedding_models_stand_in_the_table_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    embed = SimModel("text-embedding-nomic", 10**8, kind="embedding")
    with hosts_beside(sim("studio", embed)) as (host,):
        monkeypatch.setenv("LANTERN_HOSTS", host.address)
        assert run("models") == 0
    assert "text-embedding-nomic" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("lantern 0.")


def test_usage_without_a_database_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("usage") == 1
    assert f"There is no database at {tmp_path / 'lantern.db'}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


async def _made(path: Path) -> None:
    async with Database(path, utcnow=utcnow):
        pass


def test_usage_of_an_empty_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(_made(tmp_path / "lantern.db"))
    assert run("usage") == 0
    assert "no answers" in capsys.readouterr().out
    assert run("usage", "month", "--json") == 0
    assert json_of(capsys)["total"]["local_turns"] == 0
    assert run("usage", "year", "--by", "month") == 0
    assert run("usage", "ever") == 2
    assert run("usage", "--by", "moon") == 2


def test_health_tells_a_lantern_that_lives_from_one_that_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("health") == 1
    assert "No Lantern runs" in capsys.readouterr().err
    sign = life_sign_of(tmp_path / "lantern.db")
    Supervisor({}, life_sign=sign).alive("serving")
    assert run("health") == 0
    assert "Lantern lives" in capsys.readouterr().out
    os.utime(sign, (1_000_000_000, 1_000_000_000))
    assert run("health") == 1
    assert "no sign of life for" in capsys.readouterr().err


@pytest.mark.slow
def test_a_command_leaves_no_sign_of_life_for_the_lantern_that_runs_or_hangs(
    studio: SimHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("load", "qwen3-8b") == 0
    assert run("health") == 1  # nobody runs: the command has ended
    sign = life_sign_of(tmp_path / "lantern.db")
    sign.touch()
    os.utime(sign, (1_000_000_000, 1_000_000_000))
    with instance_lock(tmp_path / "lantern.db"):
        assert run("hosts") == 0
        assert run("health") == 1
    assert "no sign of life for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rate", "often"), "60/min"),
        (("--scope", "root"), "There is no scope `root`"),
        (("--daily-usd", "1e20"), "number of dollars"),
    ],
)
def test_a_key_that_is_asked_for_wrongly_is_bad_usage_and_none_is_made(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keys", "add", "editor", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_keys_need_no_secret_of_providers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    provider = "{base_url: http://cloudy/v1, model: big, api_key_env: CLOUDY_KEY}"
    (tmp_path / "config.yaml").write_text(f"providers: {{cloudy: {provider}}}\n")
    # In another shell than the service's a leaked key could not be revoked.
    for words in (("add", "editor"), ("list",), ("revoke", "editor")):
        assert run("keys", *words) == 0
    capsys.readouterr()
    assert run("usage") == 78
    assert "CLOUDY_KEY, which is set nowhere" in " ".join(capsys.readouterr().err.split())


def test_a_second_key_of_one_name_is_a_failure_and_no_bad_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("keys", "add", "editor") == 0
    assert run("keys", "add", "editor") == 1
    assert "editor" in capsys.readouterr().err
