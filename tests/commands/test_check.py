"""The check-up: what it finds, when it says so, and what it leaves alone."""

import asyncio
import json
import os
import socket
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from discord.http import Route
from discord_double import DiscordDouble
from discord_shapes import TOKEN
from hosting import beside, hosts_beside
from house import QWEN, sim

from bot.app import utcnow
from bot.cli import main
from bot.commands import check
from bot.commands.check import NEEDED_BY_RUN, WITHOUT_A_BOT, Findings
from bot.domain.errors import FailureKind, HostUnreachable
from bot.domain.hosts import Report
from bot.fleet.reading import HostReader
from bot.process.lock import instance_lock
from bot.settings.loaded import DISCORD_MISSING, HOSTS_MISSING
from bot.sim.host import SimHost
from bot.store import database
from bot.store.database import Database
from bot.store.migrate import migrations
from bot.terminal.checkup import Finding

pytestmark = pytest.mark.slow

Lines = dict[str, list[tuple[str, str]]]


@pytest.fixture(autouse=True)
def _clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DISCORD_TOKEN", "LANTERN_HOSTS", "LANTERN_CONFIG", "Z_AI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Generator[SimHost]:
    with hosts_beside(sim("studio", QWEN)) as (host,):
        monkeypatch.setenv("LANTERN_HOSTS", host.address)
        yield host


@pytest.fixture
def discord(monkeypatch: pytest.MonkeyPatch) -> Generator[DiscordDouble]:
    with beside(DiscordDouble()) as (double,):
        monkeypatch.setattr(Route, "BASE", f"{double.url}/api/v10")
        monkeypatch.setenv("DISCORD_TOKEN", TOKEN)
        yield double


def exit_code(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code if isinstance(ended.value.code, int) else 0


def checked(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, Lines]:
    """The exit code, and the findings' marks and texts by subject."""
    code = exit_code("check", *command, "--json")
    lines: Lines = {}
    for line in json.loads(capsys.readouterr().out):
        lines.setdefault(line["subject"], []).append((line["mark"], line["text"]))
    return code, lines


async def _made(path: Path) -> None:
    async with Database(path, utcnow=utcnow):
        pass


def damaged(path: Path) -> None:
    path.write_bytes(b"not a database " * 100)


def newer(path: Path) -> None:
    asyncio.run(_made(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")


def torn(path: Path) -> None:
    asyncio.run(_made(path))
    # A page in the middle: the head still says a sound database of ours.
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"x" * 4096
    path.write_bytes(content)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged, "not a database"),
        (newer, "used by a newer Lantern"),
        (foreign, "another program"),
    ],
)
def test_a_database_that_run_refuses_is_a_fault_and_is_left_as_it_is(
    studio: SimHost,
    discord: DiscordDouble,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    words: str,
) -> None:
    path = tmp_path / "lantern.db"
    spoil(path)
    before = path.read_bytes()
    code, lines = checked(capsys)
    assert code == 78, "as `run` ends"
    ((mark, text),) = lines["database"]
    assert mark == "fault"
    assert words in text
    assert path.read_bytes() == before
    assert lines[studio.address][0][0] == "ok", "the rest is looked at all the same"
    # What uses it refuses it with the code that no supervisor answers by a new start.
    assert exit_code("usage") == 78
    refused = " ".join(capsys.readouterr().err.split())
    assert " ".join(text.split()) in refused, "in the same words"


def test_an_older_database_is_not_migrated_under_the_lantern_that_uses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lantern.db"
    older = migrations()[:-1]
    with monkeypatch.context() as before:
        before.setattr(database, "migrations", lambda: older)
        asyncio.run(_made(path))
    found = checked(capsys)[1]["database"]
    assert [mark for mark, _ in found] == ["ok", "advice"]
    assert "after a backup" in found[1][1]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(older),)


def test_a_damaged_page_is_found_before_it_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn(tmp_path / "lantern.db")
    ((mark, text),) = checked(capsys)[1]["database"]
    assert (mark, "damaged" in text) == ("fault", True)


def test_a_folder_that_cannot_be_made_is_a_fault(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").touch()
    monkeypatch.setenv("LANTERN_STORAGE__URL", "sqlite:///blocked/lantern.db")
    ((mark, text),) = checked(capsys)[1]["database"]
    assert (mark, "is no folder" in text) == ("fault", True)


def test_a_folder_that_may_not_be_written_is_a_fault(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere, and so may the tests in a container.
    def may(place: Path, mode: int) -> bool:
        return place != tmp_path or not mode & os.W_OK

    monkeypatch.setattr(os, "access", may)
    ((mark, text),) = checked(capsys)[1]["database"]
    assert (mark, f"{tmp_path} may not be written" in text) == ("fault", True)


def test_a_sound_database_and_one_that_is_yet_to_be_made_are_fine(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = str(tmp_path / "lantern.db")
    assert checked(capsys)[1]["database"] == [("ok", f"{made} (made at the first start)")]
    assert list(tmp_path.iterdir()) == []
    asyncio.run(_made(Path(made)))
    assert checked(capsys)[1]["database"] == [("ok", made)]


def test_a_bot_in_no_server_is_told_the_link_that_adds_it(
    studio: SimHost, discord: DiscordDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = checked(capsys)
    assert code == 0
    assert lines["Discord"] == [("ok", "logged in as lantern; in 1 server: Home")]
    discord.servers = ()
    discord.gateway.grants_content = False
    code, lines = checked(capsys)
    (_, (mark, link), (other, intent)) = lines["Discord"]
    assert (code, mark, other) == (0, "warning", "advice")
    assert "https://discord.com/oauth2/authorize?client_id=" in link
    assert "Message Content Intent" in intent


def test_a_hanging_discord_holds_up_no_line_and_is_given_up(
    studio: SimHost,
    discord: DiscordDouble,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[asyncio.Timeout] = []
    timeout, tell = asyncio.timeout, Findings.tell

    def noted(seconds: float | None) -> asyncio.Timeout:
        made = timeout(seconds)
        if seconds == check.DISCORD_S:
            given.append(made)
        return made

    def told(findings: Findings, *lines: Finding) -> None:
        tell(findings, *lines)
        # Discord's time is over when the host's line stands there, however long that took.
        if any("1 model on disk" in line.text for line in lines):
            given[0].reschedule(asyncio.get_running_loop().time())

    monkeypatch.setattr(check, "DISCORD_S", 3600.0)
    monkeypatch.setattr(asyncio, "timeout", noted)
    monkeypatch.setattr(Findings, "tell", told)
    discord.hang()
    assert exit_code("check") == 1
    shown = capsys.readouterr().out
    assert shown.index("1 model on disk") < shown.index("no answer within 3600 s")


def test_one_machine_named_twice_is_told(
    studio: SimHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name = studio.address.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("LANTERN_HOSTS", f"{studio.address},{by_name},127.0.0.1:9")
    lines = checked(capsys)[1]
    ((mark, text),) = lines["hosts"]
    assert mark == "warning"
    assert f"{studio.address} and {by_name} are the same machine and port (127.0.0.1)" in text
    assert [lines[name][0][0] for name in (studio.address, by_name)] == ["ok", "ok"]


@asynccontextmanager
async def ollama() -> AsyncGenerator[str]:
    """The address of a server that answers as Ollama does."""

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "llama3"}]})

    async def version(request: web.Request) -> web.Response:
        return web.json_response({"version": "0.12.6"})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_get("/api/version", version)
    async with TestServer(app) as server:
        yield server.make_url("/").authority


def test_an_ollama_alone_is_no_host_that_can_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with beside(ollama()) as (address,):
        monkeypatch.setenv("LANTERN_HOSTS", address)
        lines = checked(capsys)[1]
    ((mark, text),) = lines[address]
    assert (mark, text.split(":")[0]) == ("warning", "Ollama 0.12.6")
    assert lines["hosts and providers"] == [("fault", "none of them can answer now")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission bits")
def test_a_database_that_others_may_read_is_told_until_it_is_closed_to_them(
    studio: SimHost, discord: DiscordDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_made(Path("lantern.db")))
    Path("lantern.db").chmod(0o644)
    whole = Path("lantern.db").absolute()
    (fine, _), (mark, text) = checked(capsys)[1]["database"]
    assert (mark, fine) == ("warning", "ok")
    assert "other users" in text
    assert text.endswith(f"chmod 600 {whole}")
    assert [mark for mark, _ in checked(capsys)[1]["database"]] == ["ok"]


def test_where_only_the_gateway_is_wanted_no_token_is_missed(
    studio: SimHost,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unused_tcp_port: int,
) -> None:
    code, lines = checked(capsys)
    # Who forgot it reads that, and who wants no bot how to say so.
    told = [("fault", DISCORD_MISSING), ("advice", WITHOUT_A_BOT)]
    assert (code, lines["configuration"][-2:]) == (78, told)
    # Enabled, or with a key made for it.
    with monkeypatch.context() as enabled:
        enabled.setenv("LANTERN_GATEWAY__ENABLED", "true")
        enabled.setenv("LANTERN_GATEWAY__LISTEN", f"127.0.0.1:{unused_tcp_port}")
        code, lines = checked(capsys)
        assert (code, lines["configuration"][-1]) == (0, ("advice", NEEDED_BY_RUN))
        # Where others could reach it `serve` would not start without a key.
        enabled.setenv("LANTERN_GATEWAY__LISTEN", f"0.0.0.0:{unused_tcp_port}")
        code, lines = checked(capsys)
        assert code == 78
        ((mark, text),) = lines["gateway"]
        assert mark == "fault"
        assert "lantern keys add NAME" in text
        assert exit_code("keys", "add", "editor") == 0
        capsys.readouterr()
        code, lines = checked(capsys)
        assert (code, "gateway" in lines) == (0, False)
    code, lines = checked(capsys)
    assert (code, lines["configuration"][-1]) == (0, ("advice", NEEDED_BY_RUN))


def test_what_is_to_be_run_may_be_said_and_is_then_what_is_looked_at(
    studio: SimHost,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unused_tcp_port: int,
) -> None:
    monkeypatch.setenv("LANTERN_GATEWAY__LISTEN", f"127.0.0.1:{unused_tcp_port}")
    code, lines = checked(capsys, "serve")
    assert (code, [mark for mark, _ in lines["configuration"]]) == (0, ["ok"])
    with monkeypatch.context() as enabled:
        # The unit of a bot that lost its token: the start would end with 78.
        enabled.setenv("LANTERN_GATEWAY__ENABLED", "true")
        code, lines = checked(capsys, "run")
        assert (code, lines["configuration"][-1]) == (78, ("fault", DISCORD_MISSING))
    with closing(socket.create_server(("127.0.0.1", unused_tcp_port))):
        code, lines = checked(capsys, "serve")
        assert (code, [mark for mark, _ in lines["gateway"]]) == (78, ["fault"])
    monkeypatch.setenv("LANTERN_GATEWAY__LISTEN", f"0.0.0.0:{unused_tcp_port}")
    code, lines = checked(capsys, "serve")
    assert (code, [mark for mark, _ in lines["gateway"]]) == (78, ["fault"])
    monkeypatch.delenv("LANTERN_HOSTS")
    monkeypatch.setenv("Z_AI_API_KEY", "key")
    # With a provider alone `run` starts, `serve` does not.
    code, lines = checked(capsys, "serve")
    assert ("fault", HOSTS_MISSING) in lines["configuration"]


def test_serve_asks_discord_nothing(
    studio: SimHost, discord: DiscordDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines = checked(capsys, "serve")
    assert "Discord" not in lines


def test_a_port_that_another_program_has_is_told_but_not_that_of_the_lantern_running_here(
    studio: SimHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANTERN_GATEWAY__ENABLED", "true")
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        monkeypatch.setenv("LANTERN_GATEWAY__LISTEN", f"127.0.0.1:{other.getsockname()[1]}")
        # `serve` would end with 78, and the check-up found all well.
        code, lines = checked(capsys)
        assert code == 78
        ((mark, text),) = lines["gateway"]
        assert (mark, "cannot be listened on" in text) == ("fault", True)
        with instance_lock(Path("lantern.db")):
            code, lines = checked(capsys)
        assert (code, "gateway" in lines) == (0, False)
        # Where a key alone says that `serve` is what is wanted the port was not looked at.
        monkeypatch.delenv("LANTERN_GATEWAY__ENABLED")
        assert exit_code("keys", "add", "editor") == 0
        capsys.readouterr()
        code, lines = checked(capsys)
        assert (code, [mark for mark, _ in lines["gateway"]]) == (78, ["fault"])


def test_a_host_that_the_lantern_running_here_was_started_without_is_told_of(
    studio: SimHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # All was well, and what was loaded there from here neither of the two could unload.
    monkeypatch.setenv("LANTERN_HOSTS", "127.0.0.1:9")
    assert exit_code("load", QWEN.key) == 1
    with instance_lock(Path("lantern.db")):
        _, lines = checked(capsys)
        assert "hosts" not in lines
        monkeypatch.setenv("LANTERN_HOSTS", f"127.0.0.1:9,{studio.address}")
        _, lines = checked(capsys)
        ((mark, text),) = lines["hosts"]
        assert (mark, f"{studio.address} (unknown to it): restart it" in text) == ("warning", True)
        assert exit_code("load", QWEN.key) == 0
        assert "(unknown to it): restart it" in " ".join(capsys.readouterr().err.split())
        assert exit_code("unload", QWEN.key, "--foreign") == 0


def test_a_host_that_missed_one_probe_is_looked_at_again_before_it_is_called_away(
    studio: SimHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("load", QWEN.key) == 0
    report, late = HostReader.report, list[str]()

    async def once_late(self: HostReader, is_at_work: Callable[[], bool]) -> Report:
        if not late:
            late.append("late")
            raise HostUnreachable("No answer.", FailureKind.TIMEOUT)
        return await report(self, is_at_work)

    monkeypatch.setattr(HostReader, "report", once_late)
    for words in (("hosts",), ("check",), ("unload", QWEN.key)):
        late.clear()
        exit_code(*words)
        shown = capsys.readouterr()
        assert late
        assert "No answer." not in shown.out + shown.err
        assert "could not be asked" not in shown.err
    assert "Unloaded" in shown.out
