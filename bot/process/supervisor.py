"""Tells systemd, PM2 and ``lantern health`` that Lantern is ready, alive or stopping.

Wire rules: sd_notify(3) for ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``; PM2's ``wait_ready`` over the
Node IPC descriptor ``NODE_CHANNEL_FD`` was measured with PM2 7.0.4 (one JSON string a line).
"""

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import structlog

from bot.domain.errors import StoreUnavailable

FIRST_LOOK_S = 5.0
"""Ready waits so long for hosts that do not answer."""

BEAT_EVERY_S = 10.0
"""How often a sign of life is left where no watchdog asks for a shorter time."""

LATE_S = 60.0
"""A sign of life older than this is none: a busy disk may well hold up the one or the other."""

_log = structlog.get_logger(__name__)


class Supervisor:
    """The process manager above us, as its environment variables describe it.

    Args:
        environ: the process's environment.
        life_sign: a file that says whose it is, and by its time of change when Lantern last lived;
            gone where it stopped by itself. Docker and others that know no other way ask
            ``lantern health``, which reads it.
    """

    def __init__(self, environ: Mapping[str, str], life_sign: Path | None = None) -> None:
        self._life_sign = life_sign
        self._has_signed = False
        self._notify_address = environ.get("NOTIFY_SOCKET", "")
        self._pm2_descriptor = _descriptor(environ.get("NODE_CHANNEL_FD", ""))
        self.watchdog_every_s: float | None = None
        """How often ``alive`` must be said, in seconds; None when nobody watches."""
        allowed_us, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        # A child inherits the variables: it is the process they name that is watched.
        if allowed_us.isdigit() and pid in ("", str(os.getpid())):
            # Three times as often as asked: a late one or two kill nobody.
            self.watchdog_every_s = int(allowed_us) / 1e6 / 3
        self.beat_every_s = self.watchdog_every_s or (BEAT_EVERY_S if life_sign else None)
        """How often ``keep_alive`` looks whether everything turns; None when nobody asks."""
        self._is_ready = False
        self._is_stopping = False
        if self._pm2_descriptor is not None:
            # PM2 leaves it inheritable: a child process would hold the channel open.
            os.set_inheritable(self._pm2_descriptor, False)

    def ready(self, status: str) -> None:
        """Lantern serves."""
        self._is_ready = True
        self._notify(f"READY=1\nSTATUS={status}")
        if self._pm2_descriptor is not None:
            try:
                os.write(self._pm2_descriptor, b'"ready"\n')
            except OSError as error:
                _log.warning("PM2 was not told", error=str(error))

    def waiting(self, status: str, more_s: float) -> None:
        """Lantern cannot begin yet; asks for so much more time to become ready."""
        self._notify(f"STATUS={status}\nEXTEND_TIMEOUT_USEC={int(more_s * 1e6)}")

    def alive(self, status: str) -> None:
        """The event loop and what it depends on still turn."""
        if self._life_sign is not None:
            try:
                if self._has_signed:
                    self._life_sign.touch()
                else:
                    words = f"{os.getpid()} {_processes()}"
                    self._life_sign.write_text(words, encoding="utf-8")
                    self._has_signed = True
            except OSError as error:
                _log.warning("sign of life not left", error=str(error))
        if self._is_stopping:
            self._notify("WATCHDOG=1")
        elif self._is_ready or self.watchdog_every_s is None:
            self._notify(f"WATCHDOG=1\nSTATUS={status}")
        else:
            # Discord may be away for long: starting again would not bring it back sooner.
            more_us = int(self.watchdog_every_s * 3e6)
            words = "connecting to Discord"
            self._notify(f"WATCHDOG=1\nSTATUS={words}\nEXTEND_TIMEOUT_USEC={more_us}")

    def stopping(self, limit_s: float) -> None:
        """Lantern drains; asks for the time it needs."""
        self._is_stopping = True
        self._notify(f"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={int(limit_s * 1e6)}")

    def gone(self) -> None:
        """Nobody lives here any more; without it ``lantern health`` told for a minute of one."""
        if self._life_sign is not None:
            try:
                self._life_sign.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("sign of life not taken along", error=str(error))

    def _notify(self, message: str) -> None:
        if not self._notify_address or not hasattr(socket, "AF_UNIX"):
            return
        address = self._notify_address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(address)
                sender.sendall(message.encode())
        except OSError as error:
            _log.warning("systemd was not told", error=str(error))


async def keep_alive(
    supervisor: Supervisor, ask: Callable[[], Awaitable[None]], status: Callable[[], str]
) -> None:
    """Says "alive" and how it stands from the event loop, as long as ``ask`` is answered; for ever.

    An error is an answer too: a full disk or a locked database is not cured by a new start,
    a thread that hangs is.
    """
    every_s = supervisor.beat_every_s
    try:
        while every_s is not None:
            try:
                async with asyncio.timeout(every_s):
                    await ask()
                supervisor.alive(status())
            except TimeoutError:
                _log.error("database does not answer", waited_s=every_s)
            except StoreUnavailable as error:
                _log.warning("database in trouble", error=error.user_message)
                supervisor.alive(status())
            await asyncio.sleep(every_s)
    finally:
        supervisor.gone()


def life_sign_of(database_path: Path) -> Path:
    """The sign of life beside a database.

    Not the lock: whoever only tries that one changes its time, so that any command that looked made
    a Lantern that hung, or had stopped, seem alive.
    """
    database_path = database_path.resolve()
    return database_path.with_name(f"{database_path.name}.alive")


def last_sign_s(life_sign: Path, utcnow: datetime) -> float | None:
    """Seconds since the last sign of life; None where there is none, or who left it was killed.

    Below zero after the machine's clock was set back, until the next sign.
    """
    try:
        since_s = utcnow.timestamp() - life_sign.stat().st_mtime
        pid, _, processes = life_sign.read_text(encoding="utf-8").partition(" ")
    except (OSError, UnicodeDecodeError):
        return None
    # Killed with -9 it was told to live for a minute. Of another machine's or container's processes
    # the time alone tells; on Windows a signal of 0 would end the process instead of finding it.
    if processes == _processes() and pid.isdecimal() and os.name == "posix":
        try:
            # Another user's lives as well.
            with suppress(PermissionError):
                os.kill(int(pid), 0)
        except ProcessLookupError:
            return None
    return since_s


def _processes() -> str:
    """Names those among whom a process's number means the same: a machine's, or a container's."""
    namespace = ""
    with suppress(OSError):
        # A container may bear its machine's name.
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {namespace}"


def _descriptor(text: str) -> int | None:
    """The channel to PM2: a socket, so that no other open file is ever written to."""
    if not text.isdigit():
        return None
    descriptor = int(text)
    try:
        is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except (OSError, OverflowError):
        return None
    return descriptor if is_socket else None
