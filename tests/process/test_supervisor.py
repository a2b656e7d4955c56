import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.domain.errors import StoreUnavailable
from bot.process.supervisor import (
    BEAT_EVERY_S,
    Supervisor,
    keep_alive,
    last_sign_s,
    life_sign_of,
)
from bot.store.database import Database

needs_unix_sockets = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets here"
)


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(os.path.relpath(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def environ(ear: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(ear.getsockname()), **more}


def heard(ear: socket.socket) -> list[str]:
    messages: list[str] = []
    while True:
        try:
            messages.append(ear.recv(4096).decode())
        except BlockingIOError:
            return messages


async def next_heard(ear: socket.socket) -> str:
    async with asyncio.timeout(60):
        return (await asyncio.get_running_loop().sock_recv(ear, 4096)).decode()


def test_without_a_supervisor_nothing_is_said() -> None:
    supervisor = Supervisor({})

    supervisor.ready("serving")
    supervisor.alive("serving")
    supervisor.stopping(5.0)

    assert supervisor.watchdog_every_s is None


def test_a_sign_of_life_is_left_where_no_watchdog_asks(tmp_path: Path) -> None:
    sign = life_sign_of(tmp_path / "data" / "lantern.db")
    now = datetime.now(UTC)  # noqa: TID251  # beside the file system's own clock
    supervisor = Supervisor({}, life_sign=sign)
    assert supervisor.beat_every_s == BEAT_EVERY_S
    assert last_sign_s(sign, now) is None

    supervisor.alive("serving")  # its folder may be gone: no reason to die
    assert last_sign_s(sign, now) is None
    sign.parent.mkdir()
    supervisor.alive("serving")
    os.utime(sign, (1_000_000_000, 1_000_000_000))
    assert last_sign_s(sign, now) == pytest.approx(now.timestamp() - 1_000_000_000)
    supervisor.alive("serving")
    assert last_sign_s(sign, now) == pytest.approx(0, abs=60)


@pytest.mark.skipif(os.name != "posix", reason="processes are not looked for")
def test_a_sign_of_life_of_who_was_killed_is_none_but_of_another_machine_s_time_tells(
    tmp_path: Path,
) -> None:
    sign = life_sign_of(tmp_path / "lantern.db")
    Supervisor({}, life_sign=sign).alive("serving")
    now = datetime.now(UTC)  # noqa: TID251  # beside the file system's own clock
    own, _, processes = sign.read_text().partition(" ")
    assert own == str(os.getpid())
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    for text, lives in (
        (f"{killed.pid} {processes}", False),
        (f"{killed.pid} another machine", True),
        (f"{os.getppid()} {processes}", True),
        ("", True),
        ("1.5", True),
    ):
        sign.write_text(text)
        assert (last_sign_s(sign, now) is not None) is lives, text
    # Who starts after a kill signs anew.
    sign.write_text(f"{killed.pid} {processes}")
    Supervisor({}, life_sign=sign).alive("serving")
    assert last_sign_s(sign, now) is not None


async def test_who_stops_takes_its_sign_of_life_along(tmp_path: Path) -> None:
    sign, asked = life_sign_of(tmp_path / "lantern.db"), asyncio.Event()

    async def ask() -> None:
        asked.set()

    supervisor = Supervisor({}, life_sign=sign)
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(keep_alive(supervisor, ask, lambda: "serving"))
        await asked.wait()
        assert sign.exists()
        beating.cancel()
    assert not sign.exists()
    supervisor.gone()  # somebody took it before
    sign.mkdir()
    supervisor.gone()  # it cannot be taken: no reason to die


@needs_unix_sockets
def test_systemd_is_told_in_its_own_words(ear: socket.socket) -> None:
    supervisor = Supervisor(environ(ear, WATCHDOG_USEC="30000000"))

    supervisor.waiting("waiting for a chat", 30.0)
    supervisor.alive("serving; 0 of 2 hosts up")
    supervisor.ready("serving; 1 of 2 hosts up")
    supervisor.alive("serving; 2 of 2 hosts up")
    supervisor.stopping(18.0)
    supervisor.alive("serving; 2 of 2 hosts up")

    assert heard(ear) == [
        "STATUS=waiting for a chat\nEXTEND_TIMEOUT_USEC=30000000",
        "WATCHDOG=1\nSTATUS=connecting to Discord\nEXTEND_TIMEOUT_USEC=30000000",
        "READY=1\nSTATUS=serving; 1 of 2 hosts up",
        "WATCHDOG=1\nSTATUS=serving; 2 of 2 hosts up",
        "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=18000000",
        "WATCHDOG=1",
    ]


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="abstract sockets are Linux's own")
def test_an_address_without_a_file_is_found() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.setblocking(False)
        listening.bind("\0lantern-test-" + str(os.getpid()))
        name = listening.getsockname().decode().replace("\0", "@", 1)

        Supervisor({"NOTIFY_SOCKET": name}).ready("serving")

        assert heard(listening) == ["READY=1\nSTATUS=serving"]


@needs_unix_sockets
def test_a_systemd_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("serving")


def test_where_there_are_no_unix_sockets_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)

    Supervisor({"NOTIFY_SOCKET": "/run/notify"}).ready("serving")


@pytest.mark.parametrize(
    ("environ", "every_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
    ],
)
def test_life_is_said_three_times_as_often_as_this_process_must(
    environ: dict[str, str], every_s: float | None
) -> None:
    assert Supervisor(environ).watchdog_every_s == every_s


@needs_unix_sockets
def test_pm2_is_told_over_its_channel_which_no_child_inherits() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.set_inheritable(ours.fileno(), True)

        Supervisor({"NODE_CHANNEL_FD": str(ours.fileno())}).ready("serving")

        assert theirs.recv(100) == b'"ready"\n'
        assert not os.get_inheritable(ours.fileno())


def test_a_descriptor_that_is_no_channel_is_never_written_to(tmp_path: Path) -> None:
    with (tmp_path / "notes.txt").open("wb") as notes:
        for name in (str(notes.fileno()), "987", "99999999999999999999", "three", "-1", ""):
            Supervisor({"NODE_CHANNEL_FD": name}).ready("serving")

    assert (tmp_path / "notes.txt").read_bytes() == b""


@needs_unix_sockets
def test_a_pm2_that_is_gone_is_no_trouble() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()

        Supervisor({"NODE_CHANNEL_FD": str(ours.fileno())}).ready("serving")


# --- alive -----------------------------------------------------------------------------------

ALIVE = "WATCHDOG=1\nSTATUS=fine"
EVERY_50_MS = {"WATCHDOG_USEC": "150000"}


async def test_where_nobody_watches_nothing_is_asked() -> None:
    async def ask() -> None:
        raise AssertionError

    await keep_alive(Supervisor({}), ask, str)


@needs_unix_sockets
@pytest.mark.slow
async def test_a_database_whose_thread_hangs_is_not_called_alive(
    ear: socket.socket, tmp_path: Path
) -> None:
    supervisor = Supervisor(environ(ear, **EVERY_50_MS))
    supervisor.ready("serving")
    release = threading.Event()
    asked: asyncio.Queue[None] = asyncio.Queue()
    async with Database(tmp_path / "a.db", utcnow=lambda: datetime.now(UTC)) as database:  # noqa: TID251  # any time will do

        async def ask() -> None:
            asked.put_nowait(None)
            await database.write(lambda _: None)

        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(keep_alive(supervisor, ask, lambda: "fine"))
            assert (await next_heard(ear)).startswith("READY=1")
            assert await next_heard(ear) == ALIVE

            hanging = tasks.create_task(database.write(lambda _: release.wait()))
            await asyncio.sleep(0)
            heard(ear)
            while not asked.empty():
                asked.get_nowait()
            for _ in range(3):  # the time of the first two is over once the third one asks
                await asked.get()
            assert heard(ear) in ([], [ALIVE])

            release.set()
            await hanging
            assert await next_heard(ear) == ALIVE
            asking.cancel()


@needs_unix_sockets
async def test_an_error_of_the_database_is_an_answer_too(ear: socket.socket) -> None:
    async def ask() -> None:
        raise StoreUnavailable("The database a.db cannot be used: its disk is full.")

    supervisor = Supervisor(environ(ear, **EVERY_50_MS))
    supervisor.ready("serving")
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(keep_alive(supervisor, ask, lambda: "fine"))
        assert (await next_heard(ear)).startswith("READY=1")
        assert await next_heard(ear) == ALIVE
        asking.cancel()
