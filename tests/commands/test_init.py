"""The set-up: what it asks, tries at once, writes and leaves alone; over real sockets."""

import io
import os
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from discord.http import Route
from discord_double import DiscordDouble
from discord_shapes import TOKEN
from hosting import beside, hosts_beside
from house import GEMMA, QWEN, sim
from hypothesis import given
from hypothesis import strategies as st

from bot.app import utcnow
from bot.cli import main
from bot.commands.check import NEEDED_BY_RUN
from bot.domain.errors import BotError
from bot.process.lock import instance_lock, is_locked
from bot.settings.loaded import HOSTS_MISSING
from bot.settings.sources import PRESETS, read_dotenv, write_dotenv
from bot.sim.host import SimHost
from bot.sim.providers.config import SimProviderConfig, WireKind
from bot.sim.providers.provider import SimProvider

HOST_OFF = "127.0.0.1:9"
APART = "LANTERN_GATEWAY__ENABLED=true\n"
"""Written where the token was left out."""
_WIRES: tuple[WireKind, WireKind] = ("zai", "openai")


@pytest.fixture
def discord(monkeypatch: pytest.MonkeyPatch) -> Generator[DiscordDouble]:
    with beside(DiscordDouble()) as (double,):
        monkeypatch.setattr(Route, "BASE", f"{double.url}/api/v10")
        yield double


@pytest.fixture
def studio() -> Generator[SimHost]:
    with hosts_beside(sim("studio", QWEN, GEMMA)) as (host,):
        yield host


@pytest.fixture(autouse=True)
def _clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DISCORD_TOKEN", "LANTERN_HOSTS", "LANTERN_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for preset in PRESETS.values():
        monkeypatch.delenv(str(preset["api_key_env"]), raising=False)


def answered(monkeypatch: pytest.MonkeyPatch, *lines: str) -> int:
    """The exit code of a set-up with these lines piped in."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    with pytest.raises(SystemExit) as ended:
        main(["init"])
    return ended.value.code if isinstance(ended.value.code, int) else 0


def double_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    return terminal


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> int:
    """The exit code of a set-up with these lines typed at a terminal, which then is left."""
    given = iter(lines)

    def said(question: str) -> str:
        line = next(given, None)
        if line is None:
            raise EOFError
        return line

    monkeypatch.setattr(sys, "stdin", double_of_a_terminal(monkeypatch))
    monkeypatch.setattr("bot.commands.init.getpass", said)
    monkeypatch.setattr("builtins.input", said)
    with pytest.raises(SystemExit) as ended:
        main(["init"])
    return ended.value.code if isinstance(ended.value.code, int) else 0


@contextmanager
def providers_beside(folder: Path) -> Generator[tuple[SimProvider, SimProvider]]:
    """Z.AI and OpenAI as doubles, to which the folder's ``config.yaml`` sends their keys."""
    zai, openai = (
        SimProvider(
            SimProviderConfig(wire=wire, key=f"key-of-{wire}", time_scale=0.0), utcnow=utcnow
        )
        for wire in _WIRES
    )
    with beside(zai), beside(openai):
        (folder / "config.yaml").write_text(
            f"providers: {{zai: {{base_url: '{zai.base_url}'}},"
            f" openai: {{base_url: '{openai.base_url}'}}}}"
        )
        yield zai, openai


@pytest.mark.slow
def test_a_set_up_for_serve_alone_is_well_by_check(
    studio: SimHost,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unused_tcp_port: int,
) -> None:
    monkeypatch.setenv("LANTERN_GATEWAY__LISTEN", f"127.0.0.1:{unused_tcp_port}")
    assert answered(monkeypatch, "", studio.address) == 0
    with pytest.raises(SystemExit) as ended:
        main(["check"])
    assert not ended.value.code
    assert NEEDED_BY_RUN in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_first_set_up_tries_everything_and_writes_a_file_of_ones_own(
    discord: DiscordDouble,
    studio: SimHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert answered(monkeypatch, TOKEN, studio.address, "", "", "") == 0
    shown = capsys.readouterr().out
    for words in (
        "logged in as lantern; in 1 server: Home",
        "2 models on disk",
        "https://discord.com/oauth2/authorize?client_id=",
        "Next: lantern run",
    ):
        assert words in shown
    assert TOKEN not in shown
    assert not (tmp_path / "lantern.db.lock").exists()
    with instance_lock(tmp_path / "lantern.db"):
        assert answered(monkeypatch, TOKEN, studio.address, "", "", "") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Next: restart the Lantern that is running here" in shown
    assert "lantern run" not in shown
    # Ended since, its lock stays as a file that nobody holds.
    assert not is_locked(tmp_path / "lantern.db")
    path = tmp_path / ".env"
    assert path.read_text() == f"DISCORD_TOKEN={TOKEN}\nLANTERN_HOSTS={studio.address}\n"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_refused_token_is_asked_for_again_and_never_written(
    discord: DiscordDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert typed(monkeypatch, "wrong", TOKEN, HOST_OFF, "", "", "") == 0
    assert "untried" not in capsys.readouterr().out
    assert (tmp_path / ".env").read_text() == f"DISCORD_TOKEN={TOKEN}\nLANTERN_HOSTS={HOST_OFF}\n"


@pytest.mark.slow
def test_the_line_after_a_refused_one_answers_the_next_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with providers_beside(tmp_path) as (zai, openai):
        lines = ("", HOST_OFF, "zai-key-mistyped", openai.key, "")
        assert answered(monkeypatch, *lines) == 1
        assert [len(each.journal.calls) for each in (zai, openai)] == [1, 1]
    shown = capsys.readouterr().out
    assert "! Refused, and so not written: Z_AI_API_KEY\n" in shown
    assert "Next: lantern init, once more" in shown
    assert "lantern run" not in shown
    kept = f"LANTERN_HOSTS={HOST_OFF}\nOPENAI_API_KEY={openai.key}\n"
    assert (tmp_path / ".env").read_text() == kept


@pytest.mark.slow
def test_a_key_is_never_taken_for_the_hosts_that_were_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with providers_beside(tmp_path) as (zai, openai):
        lines = ("", "127.0.0.1:9/foo", zai.key, openai.key, "")
        assert answered(monkeypatch, *lines) == 1
        assert [len(each.journal.calls) for each in (zai, openai)] == [1, 1]
    shown = capsys.readouterr().out
    assert "✘ your answer: hosts.0.address is" in shown
    assert "environment variable" not in shown
    assert "! Refused, and so not written: LANTERN_HOSTS\n" in shown
    assert zai.key not in shown
    assert (
        tmp_path / ".env"
    ).read_text() == f"Z_AI_API_KEY={zai.key}\nOPENAI_API_KEY={openai.key}\n"


def test_a_piped_answer_that_is_refused_leaves_what_was_set_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text(f"LANTERN_HOSTS={HOST_OFF}\n")
    assert answered(monkeypatch, "", "no address!") == 1
    assert "! Refused, and so not written: LANTERN_HOSTS\n" in capsys.readouterr().out
    assert (tmp_path / ".env").read_text() == f"LANTERN_HOSTS={HOST_OFF}\n"


@pytest.mark.slow
def test_a_key_that_was_set_and_is_refused_now_stays_and_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with providers_beside(tmp_path) as (zai, _):
        zai.faults.set("no_money")
        (tmp_path / ".env").write_text(f"Z_AI_API_KEY={zai.key}\n")
        assert answered(monkeypatch) == 1
        assert len(zai.journal.calls) == 1
    assert "! Refused, and so not written: Z_AI_API_KEY\n" in capsys.readouterr().out
    assert (tmp_path / ".env").read_text() == f"Z_AI_API_KEY={zai.key}\n"


@pytest.mark.slow
@pytest.mark.parametrize("given", [answered, typed])
def test_a_key_that_cannot_be_tried_is_kept_and_told_so(
    given: Callable[..., int],
    discord: DiscordDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "config.yaml").write_text("providers: {zai: {base_url: 'http://127.0.0.1:9/v4'}}")
    assert given(monkeypatch, TOKEN, "", "zai-key", "", "") == 0
    shown = capsys.readouterr().out
    assert "the endpoint cannot be reached" in shown
    assert "! The key is kept untried; lantern check tries it." in shown
    assert "Next: lantern run" in shown
    assert (tmp_path / ".env").read_text() == f"DISCORD_TOKEN={TOKEN}\nZ_AI_API_KEY=zai-key\n"


@pytest.mark.slow
def test_a_token_that_could_not_be_tried_is_kept_and_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Route, "BASE", "http://127.0.0.1:9/api/v10")
    assert answered(monkeypatch, TOKEN, HOST_OFF) == 0
    told = capsys.readouterr().out
    assert "Discord cannot be reached" in told
    assert "kept untried" in told
    assert "lantern check" in told
    assert (tmp_path / ".env").read_text() == f"DISCORD_TOKEN={TOKEN}\nLANTERN_HOSTS={HOST_OFF}\n"


def test_where_nothing_is_answered_no_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answered(monkeypatch) == 1
    told = capsys.readouterr().out
    assert "nothing was written" in told
    assert "DISCORD_TOKEN is not set" in told
    assert list(tmp_path.iterdir()) == []


def test_who_leaves_the_token_out_has_set_up_the_gateway_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answered(monkeypatch, "", HOST_OFF) == 0
    told = capsys.readouterr().out
    assert NEEDED_BY_RUN in " ".join(told.split())
    assert "Next: lantern serve" in told
    # By this `lantern check` knows what was set up, which it called broken.
    assert (tmp_path / ".env").read_text() == f"LANTERN_HOSTS={HOST_OFF}\n{APART}"
    # Whose lines end before there is a token has left nothing out.
    (tmp_path / ".env").write_text(f"LANTERN_HOSTS={HOST_OFF}\n")
    assert answered(monkeypatch) == 1
    assert "Next: lantern init" in capsys.readouterr().out
    (tmp_path / "config.yaml").write_text("gateway: {enabled: true}\n")
    assert answered(monkeypatch) == 0
    assert "Next: lantern serve" in capsys.readouterr().out
    (tmp_path / ".env").unlink()
    assert answered(monkeypatch, "") == 1, "nobody could answer there"


@pytest.mark.slow
def test_who_adds_a_token_to_a_set_up_of_the_gateway_alone_is_told_that_it_stays_enabled(
    discord: DiscordDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / ".env").write_text(f"LANTERN_HOSTS={HOST_OFF}\n{APART}")
    assert answered(monkeypatch, TOKEN) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"{APART.strip()} stays in .env, and counts for lantern run" in told
    assert answered(monkeypatch) == 0
    assert "stays in" not in capsys.readouterr().out, "told once"


def test_a_gateway_that_the_configuration_switches_off_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("gateway: {enabled: false}\n")
    assert answered(monkeypatch, "", HOST_OFF) == 0
    assert (tmp_path / ".env").read_text() == f"LANTERN_HOSTS={HOST_OFF}\n"


@pytest.mark.slow
def test_what_is_copied_along_with_a_token_is_taken_off(
    discord: DiscordDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answered(monkeypatch, f'DISCORD_TOKEN="Bot {TOKEN}"', f"'{HOST_OFF}'") == 0
    assert (tmp_path / ".env").read_text() == f"DISCORD_TOKEN={TOKEN}\nLANTERN_HOSTS={HOST_OFF}\n"


def test_more_lines_than_questions_are_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ("", HOST_OFF, *[""] * len(PRESETS))
    assert answered(monkeypatch, *lines, "", " ") == 0
    assert "Not read" not in capsys.readouterr().out
    assert answered(monkeypatch, *lines, "", "10.0.0.3:1234", "x") == 1
    assert "Not read: 2 more lines than there are questions" in capsys.readouterr().out


@pytest.mark.slow
def test_where_no_good_answer_comes_nothing_is_written(
    discord: DiscordDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert typed(monkeypatch, *["wrong"] * 9) == 1
    assert "Nothing was written" in capsys.readouterr().err
    assert not (tmp_path / ".env").exists()


@pytest.mark.slow
def test_what_is_there_is_kept_in_its_place(
    discord: DiscordDouble,
    studio: SimHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / ".env"
    path.write_text(f"# mine\nDISCORD_TOKEN={TOKEN}\nLANTERN_HOSTS=10.9.9.9:1\nOTHER='a b'\n")
    assert answered(monkeypatch, "", studio.address) == 0
    shown = capsys.readouterr().out
    assert "Enter keeps 10.9.9.9:1" in shown
    assert "LANTERN_HOSTS (replaced), DISCORD_TOKEN (as it was), OTHER (as it was)" in shown
    lines = ["# mine", f"DISCORD_TOKEN={TOKEN}", f"LANTERN_HOSTS={studio.address}", "OTHER='a b'"]
    assert path.read_text().splitlines() == lines


@pytest.mark.slow
def test_a_host_that_is_off_is_kept_and_one_that_is_no_address_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "", "no address!", HOST_OFF, "", "", "") == 0
    shown = capsys.readouterr().out
    assert "address:port" in shown
    assert "Serve on Local Network" in shown
    assert "! 1 host kept that cannot be used now" in shown
    assert "DISCORD_TOKEN is not set" in shown
    assert (tmp_path / ".env").read_text() == f"LANTERN_HOSTS={HOST_OFF}\n{APART}"


@pytest.mark.slow
def test_who_ends_the_questions_is_asked_no_more_and_keeps_what_was_answered(
    discord: DiscordDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    def said(question: str) -> str:
        asked.append(question)
        if len(asked) == 3:
            raise EOFError
        return "" if len(asked) == 1 else HOST_OFF

    monkeypatch.setattr(sys, "stdin", double_of_a_terminal(monkeypatch))
    monkeypatch.setattr("bot.commands.init.getpass", said)
    monkeypatch.setattr("builtins.input", said)
    with pytest.raises(SystemExit):
        main(["init"])
    assert len(asked) == 3
    assert (tmp_path / ".env").read_text() == f"LANTERN_HOSTS={HOST_OFF}\n{APART}"
    # Nor is what is set already tried by a login.
    (tmp_path / ".env").write_text(f"DISCORD_TOKEN={TOKEN}\nLANTERN_HOSTS={HOST_OFF}\n")
    capsys.readouterr()
    assert typed(monkeypatch) == 0
    assert "logged in" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_key_is_tried_and_one_that_is_refused_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with providers_beside(tmp_path) as (double, _):
        assert typed(monkeypatch, "", "", "wrong", double.key, "", "") == 1
    shown = capsys.readouterr().out
    # Without hosts neither `run` nor `serve` starts.
    assert f"! {HOSTS_MISSING}" in shown
    assert "Next: lantern init" in shown
    assert "the key is wrong" in shown
    assert "glm-4.6 answers" in shown
    assert "untried" not in shown
    assert (tmp_path / ".env").read_text() == f"Z_AI_API_KEY={double.key}\n"


@given(
    old=st.sampled_from(
        ["", "# c\n", "A=1\nB=2", "export A='x'\n\nA=3\n", "A=\n", "A='x'#c\nB=2 # d\n"]
    ),
    value=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
)
def test_what_was_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, old: str, value: str
) -> None:
    path = tmp_path_factory.mktemp("dotenv") / ".env"
    path.write_text(old)
    kept = {name: said.value for name, said in read_dotenv(path).variables.items()}
    write_dotenv(path, {"A": value})
    found = read_dotenv(path)
    assert found.faults == ()
    assert {name: said.value for name, said in found.variables.items()} == {**kept, "A": value}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("A=1 # hers, until May\nB=2\n", "A='x y' # hers, until May\nB=2\n"),
        ("A='1 # 2'#hers\n", "A='x y' #hers\n"),
        ('A="1\n2"\t# hers\n', "A='x y'\t# hers\n"),
        ("A= # still to come\n", "A='x y' # still to come\n"),
        ("export A = 1#2 # hers\n", "export A='x y' # hers\n"),
        ("export A # hers\n", "export A='x y' # hers\n"),
        ("# The first.\n\n  A=1", "# The first.\n\n  A='x y'\n"),
        ("A=#1'#2\n", "A='x y'\n"),
    ],
)
def test_what_stands_around_a_value_stays_as_it_is_replaced(
    old: str, new: str, tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    path.write_text(old)
    write_dotenv(path, {"A": "x y"})
    assert path.read_text() == new


def test_a_folder_that_may_not_be_written_is_told_before_the_first_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def may(place: Path, mode: int) -> bool:
        return place != tmp_path

    monkeypatch.setattr(os, "access", may)
    assert answered(monkeypatch, TOKEN) == 1
    shown = capsys.readouterr()
    assert "is not yours to write" in shown.err
    assert "Discord bot token" not in shown.out


def test_a_variable_that_beats_the_file_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANTERN_HOSTS", "127.0.0.1:8")
    assert answered(monkeypatch, "", HOST_OFF) == 0
    assert "variable LANTERN_HOSTS says something else, and beats .env" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="links are for admins there")
def test_a_link_stays_one_and_a_last_line_without_an_end_is_ended(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / ".env"
    real.write_text("B=2")
    link.symlink_to(real)
    write_dotenv(link, {"A": "1"})
    assert link.is_symlink()
    assert real.read_text() == "B=2\nA=1\n"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BotError, match="No space left"):
        write_dotenv(path, {"A": "2"})
    assert path.read_text() == "A=1\n"
    assert list(tmp_path.iterdir()) == [path]
