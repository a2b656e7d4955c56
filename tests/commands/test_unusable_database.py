"""Whatever keeps a database from being used: every command says of it what ``check`` says."""

import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
from databases import new_database
from logs import logs_put_back

from bot.cli import main
from bot.domain.errors import BotError
from bot.store.faults import translated
from bot.store.files import look_at

try:
    import resource
except ImportError:  # Windows
    resource = None


@pytest.fixture(autouse=True)
def _logs_put_back() -> Generator[None]:
    with logs_put_back():
        yield


COMMANDS = ("hosts", "models", "usage", "personas", "keys list", "keys add ada", "keys revoke ada")
ACTS = ("load qwen", "unload qwen", "serve")
Trouble = Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[None]]


def a_folder(path: Path, _: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    path.mkdir()
    return nullcontext()


def denied(*places: Path) -> Callable[[Path, int], bool]:
    # Root may read and write everything, and so may the tests in a container.
    return lambda place, mode: place not in places


def of_somebody_else(path: Path, patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    patch.setattr(os, "access", denied(new_database(path)))
    return nullcontext()


def in_a_folder_of_others(path: Path, patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    new_database(path)
    patch.setattr(os, "access", denied(path.parent))
    return nullcontext()


def in_a_folder_not_to_be_entered(
    path: Path, patch: pytest.MonkeyPatch
) -> AbstractContextManager[None]:
    new_database(path)
    exists = os.path.exists

    def may_be_seen(place: Path) -> bool:
        return place.parent != path.parent and exists(place)

    patch.setattr(os, "access", denied(path.parent))
    patch.setattr(os.path, "exists", may_be_seen)
    return nullcontext()


@contextmanager
def on_a_full_disk(path: Path, _: pytest.MonkeyPatch) -> Generator[None]:
    if resource is None:
        pytest.skip("only POSIX can limit the size of files")
    new_database(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("command", [*COMMANDS, *ACTS])
@pytest.mark.parametrize(
    ("trouble", "words", "code"),
    [
        (a_folder, "is a folder, which Docker makes", 78),
        (of_somebody_else, "belongs to", 78),
        (in_a_folder_of_others, "may not be written. Let Lantern write it", 78),
        (in_a_folder_not_to_be_entered, "may not be entered and belongs to", 78),
        (on_a_full_disk, "its disk is full. Make room", 1),
    ],
)
def test_every_command_says_what_a_look_says(
    trouble: Trouble,
    words: str,
    code: int,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if os.name == "nt" and trouble is of_somebody_else:
        pytest.skip("Windows has no such owners")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANTERN_HOSTS", "127.0.0.1:9")
    path = Path.cwd() / "lantern.db"
    with trouble(path, monkeypatch):
        with pytest.raises(BotError) as told:
            look_at(path)
        with pytest.raises(SystemExit) as ended:
            main(command.split())
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    # Of a disk without room the limit of a test is another error than the disk's own.
    assert told.value.user_message in said or trouble is on_a_full_disk
    assert ended.value.code == code


def test_health_of_what_may_not_be_looked_at_is_not_that_nobody_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    trouble = in_a_folder_not_to_be_entered(tmp_path / "lantern.db", monkeypatch)
    with trouble, pytest.raises(SystemExit) as ended:
        main(["health"])
    assert "may not be entered" in capsys.readouterr().err
    assert ended.value.code == 78


def test_no_room_for_the_logs_index_is_a_full_disk_and_another_error_is_not() -> None:
    told: list[str] = []
    for code in (sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_FULL):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        with pytest.raises(BotError) as failed, translated("lantern.db"):
            raise error
        told.append(failed.value.user_message)
    full, broken, also_full = told
    assert "cables" in broken
    assert full == also_full
    assert "its disk is full" in full
