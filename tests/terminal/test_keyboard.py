"""What somebody at a keyboard sees: completions with marks, and no key in an answer."""

import os
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("terminals have no echo to switch there", allow_module_level=True)

import pty
import termios

from house import GEMMA, QWEN, house, sim

from bot.terminal.commands import complete


@pytest.mark.slow
async def test_completions_say_how_each_model_stands(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        await home.ask("hello", model=QWEN.key)
        marks = dict(complete(home.lantern.catalog, (), "/model "))
        loads = dict(complete(home.lantern.catalog, (), "/fleet load "))
    assert marks[f"/model {QWEN.key}"].startswith("warm")
    assert marks[f"/model {GEMMA.key}"].startswith("cold")
    assert loads[f"/fleet load {GEMMA.key}"] == marks[f"/model {GEMMA.key}"]
    assert dict(complete(home.lantern.catalog, ("wait",), "/w"))["/why"]


def test_keys_are_not_shown_while_nobody_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.terminal.keyboard import unechoed

    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        with unechoed():
            assert not termios.tcgetattr(theirs)[3] & termios.ECHO
            os.write(ours, b"typed ahead\n")
        assert termios.tcgetattr(theirs)[3] & termios.ECHO
        assert keyboard.readline() == "typed ahead\n"
    os.close(ours)
