"""Tells systemd and PM2 that Lantern is ready, alive or stopping; silent where neither started it.

Wire rules: sd_notify(3) for ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``; PM2's ``wait_ready`` over the
Node IPC descriptor ``NODE_CHANNEL_FD`` was measured with PM2 7.0.4 (one JSON string a line).
"""

import os
import socket
from collections.abc import Mapping

import structlog

_log = structlog.get_logger(__name__)


class Supervisor:
    """The process manager above us, as its environment variables describe it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._notify_address = environ.get("NOTIFY_SOCKET", "")
        self._pm2_descriptor = _descriptor(environ.get("NODE_CHANNEL_FD", ""))
        self._watchdog_s = _watchdog_s(environ)
        if self._pm2_descriptor is not None:
            # PM2 leaves it inheritable: a child process would hold the channel open.
            os.set_inheritable(self._pm2_descriptor, False)

    @property
    def watchdog_every_s(self) -> float | None:
        """How often ``alive`` must be said; None when nobody watches."""
        return self._watchdog_s

    def ready(self, status: str) -> None:
        """Lantern serves."""
        self._notify(f"READY=1\nSTATUS={status}")
        if self._pm2_descriptor is not None:
            try:
                os.write(self._pm2_descriptor, b'"ready"\n')
            except OSError as error:
                _log.warning("PM2 was not told", error=str(error))

    def alive(self) -> None:
        """The event loop and what it depends on still turn."""
        self._notify("WATCHDOG=1")

    def stopping(self, drain_s: float) -> None:
        """Lantern drains; asks for the time it needs."""
        self._notify(f"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={int(drain_s * 1e6)}")

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


def _descriptor(text: str) -> int | None:
    if not text.isdigit():
        return None
    descriptor = int(text)
    try:
        os.fstat(descriptor)
    except OSError:
        return None
    return descriptor


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """A third of what systemd allows, if it is this process that it watches."""
    text = environ.get("WATCHDOG_USEC", "")
    pid = environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 1e6 / 3
