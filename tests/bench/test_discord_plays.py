"""What the plays before a stand-in for Discord hold to without one."""

import sys

import pytest

from bench.discord.__main__ import main
from bench.discord.stage import answer
from bot.sim.answers import Asked, Message


def _asked(*said: tuple[str, str]) -> str:
    messages = tuple(Message(role, text) for role, text in said)
    return "".join(answer(Asked("model", "host", messages)).content)


@pytest.mark.parametrize("arguments", [[], [sys.prefix], ["surface"]])
def test_without_a_stand_in_it_says_in_a_line_what_it_needs(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().out.count("\n") == 1


def test_a_host_counts_so_that_a_lost_or_doubled_word_is_seen() -> None:
    assert _asked(("user", "Go [[count 3 cat]]")) == "catx0. catx1. catx2. "


def test_what_is_gone_on_with_is_counted_on() -> None:
    said = (("user", "Go [[count 3 cat]]"), ("assistant", "catx0. catx1."))
    assert _asked(*said, ("user", "Go on exactly where you stopped.")) == "catx2. "
