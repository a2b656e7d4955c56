"""Nothing that only POSIX has is needed: Lantern starts with all of it taken away."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lantern_child import ROOT

POSIX_MODULES = frozenset({
    "crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline", "resource",
    "spwd", "syslog", "termios", "tty", "uvloop",
})  # fmt: skip
POSIX_NAMES = {
    "os": (
        "fork", "forkpty", "fchown", "chown", "getuid", "geteuid", "getgid", "getegid",
        "getpgid", "getpgrp", "setsid", "setuid", "killpg", "mkfifo", "nice", "sched_setaffinity",
        "sched_getaffinity", "statvfs", "uname", "wait3", "wait4", "WNOHANG", "register_at_fork",
        "set_blocking", "sysconf", "pread", "pwrite",
    ),
    "signal": (
        "SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGCHLD", "SIGPIPE", "SIGALRM",
        "SIGSTOP", "SIGCONT", "alarm", "setitimer", "pthread_sigmask", "pause",
    ),
    "socket": ("AF_UNIX", "SO_REUSEPORT", "MSG_NOSIGNAL", "MSG_DONTWAIT"),
}  # fmt: skip

UNKNOWN_TO_WINDOWS = ("add_signal_handler", "remove_signal_handler", "add_child_handler")
"""Loops of Windows have these methods and refuse to do what they say."""

STRIPPED = f"""
import importlib, os, pkgutil, signal, socket, sys
import asyncio, asyncio.subprocess, multiprocessing, subprocess, tempfile, shutil  # Python's own
import aiohttp, aiosqlite, anyio, apscheduler.schedulers.asyncio, discord.ext.commands, filelock
import httpx, lmstudio, prompt_toolkit, pydantic_settings, rich.console, structlog, typer
import concurrent.futures.process, uuid, webbrowser, getpass

pair, unix = socket.socketpair, socket.AF_UNIX
socket.socketpair = lambda *_, **__: pair(unix)  # on Windows Python makes one of AF_INET
os.process_cpu_count = os.cpu_count  # which it is where nobody knows sched_getaffinity

for name in {sorted(POSIX_MODULES)!r}:
    sys.modules[name] = None
for module, names in {POSIX_NAMES!r}.items():
    for name in names:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)

import bot, cogs
for package in (bot, cogs):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name != "bot.__main__":
            importlib.import_module(module.name)

from bot.cli import main
main(sys.argv[1:])
"""


needs_posix = pytest.mark.skipif(os.name != "posix", reason="there is nothing to take away here")


def sources() -> Iterator[Path]:
    for package in ("bot", "cogs"):
        yield from (ROOT / package).rglob("*.py")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module.partition(".")[0]


def stripped(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of Lantern run by a Python without anything of POSIX."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LANTERN_HOSTS": "127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STRIPPED, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.slow
def test_only_the_event_loop_and_the_echo_of_keys_are_chosen_by_platform() -> None:
    chosen = {"cli.py": {"uvloop"}, "keyboard.py": {"termios"}}
    for path in sources():
        text = path.read_text(encoding="utf-8")
        if not re.search(rf"\b(?:{'|'.join(POSIX_MODULES)})\b", text):
            continue  # parsing every file took a second
        found = POSIX_MODULES.intersection(imported(ast.parse(text)))
        assert found <= chosen.get(path.name, set()), path


def test_nothing_is_asked_of_the_event_loop_that_windows_refuses() -> None:
    for path in sources():
        text = path.read_text(encoding="utf-8")
        assert not any(name in text for name in UNKNOWN_TO_WINDOWS), path


@needs_posix
@pytest.mark.ops
@pytest.mark.slow
def test_every_module_imports_and_a_command_runs_without_posix(tmp_path: Path) -> None:
    ran = stripped(tmp_path, "personas", "--json")

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("[")


@needs_posix
@pytest.mark.ops
@pytest.mark.slow
def test_the_hosts_are_asked_without_posix(tmp_path: Path) -> None:
    ran = stripped(tmp_path, "hosts", "--json")

    assert (ran.returncode, ran.stderr.strip()) == (1, "No host answers now.")
    assert '"127.0.0.1:9"' in ran.stdout
