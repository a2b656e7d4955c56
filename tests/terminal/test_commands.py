"""What was typed, as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import RequestRefused
from bot.terminal.commands import COMMANDS, Command, parse


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("", None),
        ("   ", None),
        ("hello there", Command("chat", ("hello there",))),
        ("it's 5 o'clock", Command("chat", ("it's 5 o'clock",))),
        ("/chat it's fine", Command("chat", ("it's fine",))),
        (
            "/chat hi persona:sage there",
            Command("chat", ("hi there",), (("persona", "sage"),)),
        ),
        ("/chat", Command("chat")),
        ("/model", Command("model")),
        ("/MODEL auto", Command("model", ("auto",))),
        ("/model a/b scope:channel", Command("model", ("a/b",), (("scope", "channel"),))),
        ('/persona "two words"', Command("persona", ("two words",))),
        ("/fleet load a/b host:x", Command("fleet", ("load", "a/b"), (("host", "x"),))),
        ("/chat see http://x.y now", Command("chat", ("see http://x.y now",))),
        ("/exit", Command("quit")),
        ("/new", Command("reset")),
        ("/model a/b --scope channel", Command("model", ("a/b",), (("scope", "channel"),))),
        ("/model a/b --scope=channel", Command("model", ("a/b",), (("scope", "channel"),))),
        ("/model a/b channel", Command("model", ("a/b", "channel"))),
    ],
)
def test_a_line_is_read_as_meant(line: str, command: Command | None) -> None:
    assert parse(line) == command


def test_an_unknown_command_names_the_nearest() -> None:
    with pytest.raises(RequestRefused, match="/model"):
        parse("/modle x")


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("/thread", "`/reset`"),
        ("/THREAD sage hello there", "`/reset`"),
        ("/fleet board", "`/fleet status`"),
        ("/fleet  Board off", "`/fleet status`"),
    ],
)
def test_what_discord_alone_has_is_said_to_be_its(line: str, instead: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(line)
    assert "Discord" in refused.value.user_message
    assert instead in refused.value.user_message


def test_a_word_that_only_sounds_like_discord_s_is_none_of_it() -> None:
    assert parse("/persona board") == Command("persona", ("board",))
    with pytest.raises(RequestRefused, match="no command `/board`"):
        parse("/board")


def test_an_open_quote_is_told() -> None:
    with pytest.raises(RequestRefused, match="quote"):
        parse('/persona "sage')


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("/reset foo", "`foo` is too much. It is written `/reset`."),
        ("/fleet drain a 2h b", "`b` is too much"),
        ("/model a me b c", "`b c` is too much"),
        ("/model a --scope", "`--scope` needs a value"),
    ],
)
def test_words_too_many_are_refused_and_not_passed_over(line: str, part: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(line)
    assert part in refused.value.user_message


def test_extra_commands_are_known() -> None:
    assert parse("/wait 3", ("wait",)) == Command("wait", ("3",))


def test_every_command_is_described_once() -> None:
    names = [usage.name for usage in COMMANDS]
    assert len(names) == len(set(names))


@given(st.text())
def test_any_line_gives_a_command_nothing_or_a_plain_refusal(line: str) -> None:
    try:
        command = parse(line)
    except RequestRefused:
        return
    assert command is None or command.name
