"""What somebody at a keyboard sees: completions with marks, and no key in an answer."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

if sys.platform == "win32":
    pytest.skip("terminals have no echo to switch there", allow_module_level=True)

import pty
import signal
import termios

from house import GEMMA, QWEN, House, house, sim

from bot.terminal.commands import complete
from bot.terminal.session import PLACE, USER


@pytest.mark.slow
async def completed(home: House, typed: str) -> dict[str, str]:
    options = partial(home.lantern.switch.options, PLACE, USER)
    return dict(await complete(home.lantern.catalog, options, ("wait",), USER, typed))


async def test_completions_say_how_each_model_stands(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        await home.ask("hello", model=QWEN.key)
        marks = await completed(home, "/model ")
        loads = await completed(home, "/fleet load ")
        says = (await completed(home, "/w"))["/why"]
    assert marks[f"/model {QWEN.key}"].startswith("warm")
    assert marks[f"/model {GEMMA.key}"].startswith("cold")
    assert loads[f"/fleet load {GEMMA.key}"] == marks[f"/model {GEMMA.key}"]
    assert says


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


async def test_ctrl_z_at_the_prompt_stops_the_program_and_stands_in_no_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bot.terminal.keyboard import Keyboard

    stops: list[tuple[int, int]] = []

    def kill(process: int, what: int) -> None:
        stops.append((process, what))

    monkeypatch.setattr(os, "kill", kill)

    async def nothing(_: str) -> list[tuple[str, str]]:
        return []

    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("one \x1atwo\r\x04")
        typed = [line async for line in Keyboard("you> ", nothing).lines()]
    assert (typed, stops) == (["one two"], [(0, signal.SIGTSTP)])
