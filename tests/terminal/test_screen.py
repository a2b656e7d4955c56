"""What stands on the screen: other people's words exactly as they are."""

import io
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bot.domain.chat import Candidate
from bot.domain.events import Evicting, Loading, Queued, Reading, ReasoningDelta
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, ModelKey, PlaceId, UserId
from bot.domain.personas import Persona
from bot.policy.place_rules import SetValue, Stored
from bot.policy.privacy import OPEN_OWN
from bot.terminal import facts
from bot.terminal.screen import Screen, Steps

HOSTILE = [
    "[fd00::5]:1234",
    "a:1234:b",
    ":1234: :smile:",
    "[/]",
    "[bold]loud[/bold]",
    "[link=https://evil.example]here[/link]",
    "[red",
    r"back\slash \[x]",
    "{task.description} {0}",
    "# no heading",
    "1. no list",
    "- nor this",
    "_under_ *star*",
    "<b>tag</b>",
]


def screen(*, is_live: bool) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=240, force_terminal=is_live, color_system=None)
    return Screen(console), out


@pytest.mark.parametrize("is_live", [True, False])
def test_no_words_move_the_cursor_clear_the_screen_or_change_the_title(is_live: bool) -> None:
    where, out = screen(is_live=is_live)
    words = "a\x1b[2Jb\x1b]0;owned\x07c\x9b2Jd\x00e\x7ff\u202e\u2066\tg"
    where.line(words)
    where.markdown(f"**{words}** `{words}`")
    where.piece(f"{words}\n")
    where.table(["key"], [[words], ["one\nrow"]])
    assert "one row" in out.getvalue()
    steps = Steps(where)
    steps.show(Loading(HostName(words), ModelKey(words), 0.5, None))
    steps.close()
    lines = re.sub(r"\x1b\[[\d;?]*[A-Zhlm]", "", out.getvalue()).splitlines()
    said = [line for line in lines if "owned" in line]
    assert len(said) >= 5
    for line in said:
        assert "␛[2Jb␛]0;ownedc2Jdef" in line.replace("\n", "")
        assert all(c.isprintable() or c in "\t\r" for c in line), line


def test_a_way_out_is_told_as_it_is_typed_here() -> None:
    shown, out = screen(is_live=False)
    shown.line(f"Kept here; {OPEN_OWN} opens them.")
    shown.markdown(f"Kept here; {OPEN_OWN} opens them.")
    said = ["Kept here; `/private off` opens them.", "Kept here; /private off opens them."]
    assert out.getvalue().splitlines() == said


@pytest.mark.parametrize("is_live", [True, False])
@pytest.mark.parametrize("words", HOSTILE)
def test_foreign_words_are_shown_as_they_are(words: str, is_live: bool) -> None:
    where, out = screen(is_live=is_live)
    where.line(words)
    where.line(words, "dim")
    where.markdown(f"**Persona** {words}")
    where.markdown(words)
    where.piece(words)
    where.line()
    where.table(("name", "words"), [("x", words), (words, "")])
    assert out.getvalue().count(words) == 7


@pytest.mark.parametrize("is_live", [True, False])
@pytest.mark.parametrize("words", HOSTILE)
def test_a_load_names_host_and_model_as_they_are(words: str, is_live: bool) -> None:
    where, out = screen(is_live=is_live)
    steps = Steps(where)
    steps.show(Loading(HostName(words), ModelKey("m"), 0.5, seconds_left=3.0))
    steps.show(Loading(HostName("h"), ModelKey(words), 1.0, seconds_left=None))
    steps.close()
    steps.show(Loading(HostName("h"), ModelKey(words), 0.5, seconds_left=None))
    steps.close()
    assert f"Loading m on {words}" in out.getvalue()
    assert f"Loading {words} on h" in out.getvalue()


@pytest.mark.parametrize("is_live", [True, False])
def test_a_clock_runs_on_a_terminal_while_there_is_no_word(*, is_live: bool) -> None:
    where, out = screen(is_live=is_live)
    steps = Steps(where)
    asked = Candidate(ModelKey("m"), HostName(HOSTILE[1]))
    steps.show(Reading(asked, 70, expected_s=9.0))
    for _ in range(2):
        steps.show(ReasoningDelta("Hm"))
    steps.show(Loading(HostName("h"), ModelKey("m"), 1.0, seconds_left=None))
    steps.show(Reading(asked, 4321, expected_s=None))
    steps.close()
    shown = out.getvalue()
    told = (f"{HOSTILE[1]} is reading 70 tokens", "thinking", "4,321", "0:00:00")
    assert [words in shown for words in told] == [is_live] * 4
    # What was waited for is wiped away; the load stays.
    assert shown.count("\x1b[1A\x1b[2K") == (3 if is_live else 0), shown
    assert "Loading m on h" in shown


def test_a_clock_that_runs_for_too_long_to_be_reading_tells_of_the_silence() -> None:
    where, out = screen(is_live=True)
    steps = Steps(where)
    steps.show(Reading(Candidate(ModelKey("m"), HostName("h")), 70, 0.1, doubt_s=0.0))
    steps.close()
    assert "h has not begun its answer after 0 s" in out.getvalue()
    assert "0:00:00" not in out.getvalue()


@pytest.mark.parametrize("words", HOSTILE)
def test_rows_of_facts_are_shown_as_they_are(words: str) -> None:
    host = HostSnapshot(HostName(words), "10.0.0.2:1234", state="down", reason=words)
    persona = Persona("sage", description=words, source=words)  # pyright: ignore[reportArgumentType]  # a plain text will do
    where, out = screen(is_live=True)
    where.table(facts.HOST_COLUMNS, [facts.host_row(host, 0.0)])
    where.table(facts.PERSONA_COLUMNS, [facts.persona_row(persona)])
    assert out.getvalue().count(words) == 4


def test_marks_of_our_own_words_are_taken_out_and_drawn() -> None:
    out = io.StringIO()
    Screen(Console(file=out, force_terminal=True, color_system="standard", width=80)).markdown(
        "**bold** and `code` and 2 ** 3 and a lone ` stay"
    )
    shown = out.getvalue()
    assert "\x1b[1mbold\x1b[0m" in shown
    assert "code" in shown
    assert "`code`" not in shown
    assert "2 ** 3 and a lone ` stay" in shown


@pytest.mark.parametrize(("is_live", "lines"), [(True, 3), (False, 1)])
def test_our_own_words_break_between_words_on_a_terminal_alone(is_live: bool, lines: int) -> None:
    out = io.StringIO()
    Screen(Console(file=out, force_terminal=is_live, color_system=None, width=24)).markdown(
        "studio is up and has **qwen/qwen3-8b** in its memory"
    )
    assert len(out.getvalue().splitlines()) == lines
    assert "studio is up and has qwen/qwen3-8b in its memory" in " ".join(out.getvalue().split())


def test_without_a_terminal_a_table_is_as_wide_as_its_content() -> None:
    where, out = screen(is_live=False)
    where.table(("a", "b"), [("x" * 270, "y" * 270)])
    assert f"{'x' * 270} {'y' * 270}" in " ".join(out.getvalue().split())


def test_without_a_terminal_a_load_is_told_at_each_quarter_and_the_rest_once() -> None:
    where, out = screen(is_live=False)
    steps = Steps(where)
    host, model = HostName("h"), ModelKey("m")
    steps.show(Queued(host, model, 1))
    steps.show(Queued(host, model, 1))
    steps.show(Evicting(host, model, (ModelKey("old"),)))
    for percent in (0, 1, 24, 25, 26, 49, 50, 74, 75, 99, 100):
        steps.show(Loading(host, model, percent / 100, seconds_left=None))
    lines = out.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == [
        "⏳ Waiting for m on h",
        "📤 Making room for m on h",
    ]
    assert [line.split()[-1] for line in lines[2:]] == ["0%", "25%", "50%", "75%", "100%"]


def test_a_bar_is_ended_before_a_line_is_printed() -> None:
    where, out = screen(is_live=True)
    steps = Steps(where)
    steps.show(Loading(HostName("h"), ModelKey("m"), 0.5, seconds_left=None))
    steps.show(Queued(HostName("h"), ModelKey("m"), 1))
    assert out.getvalue().rstrip().endswith("place 1 in the queue")
    where.line("after")
    assert out.getvalue().endswith("after\n")


def narrow(width: int) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(Console(file=out, width=width, force_terminal=True, color_system=None)), out


def test_a_table_stays_readable_in_a_narrow_terminal() -> None:
    where, out = narrow(60)
    up = HostSnapshot(HostName("studio-with-a-name"), "10.0.0.2:1234", state="up")
    row = facts.host_row(up, 0.0)
    where.table(facts.HOST_COLUMNS, [row])
    lines = out.getvalue().splitlines()
    assert lines[:3] == ["studio-with-a-name", "  address: 10.0.0.2:1234", "  state: up"]
    assert max(map(len, lines)) <= 60
    where.table(("a", "b"), [("1", "2")])
    assert out.getvalue().splitlines()[-2:] == ["a  b", "1  2"]


def test_a_terminal_that_cannot_draw_twice_is_as_wide_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "60")
    where, out = narrow(60)
    up = HostSnapshot(HostName("studio-with-a-name"), "10.0.0.2:1234", state="up")
    where.table(facts.HOST_COLUMNS, [facts.host_row(up, 0.0)])
    where.line("words " * 30)
    assert out.getvalue().startswith("studio-with-a-name\n  address: 10.0.0.2:1234\n")
    assert 50 < max(map(len, out.getvalue().splitlines())) <= 60


def test_lines_break_between_words_and_an_address_stays_whole() -> None:
    where, out = narrow(30)
    url = "https://discord.com/oauth2/authorize?client_id=100000000000000001"
    where.line(f"To add the bot to a server, open {url} now")
    assert url in out.getvalue().splitlines()
    assert "To add the bot to a server," in out.getvalue().splitlines()


def streamed(width: int, *pieces: str) -> str:
    where, out = narrow(width)
    for piece in pieces:
        where.piece(piece)
    where.line()
    return out.getvalue()


@given(st.text("ab cd\n漢字-`", max_size=80), st.lists(st.integers(0, 80), max_size=8))
def test_streamed_text_is_the_same_however_it_was_torn(text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    assert streamed(20, *pieces) == streamed(20, text)
    # Nothing is lost, and only line ends and the spaces before them are put in or left out.
    assert "".join(streamed(20, *pieces).split()) == "".join(text.split())


def test_streamed_text_breaks_between_words() -> None:
    words = "one two three fo", "ur five sixsixsix seven"
    assert streamed(15, *words).splitlines() == ["one two three ", "four five ", "sixsixsix seven"]
    # So does the last word, which waited for what never came.
    assert streamed(15, "one two three ", "four").splitlines() == ["one two three ", "four"]
    long = "x" * 40
    assert streamed(15, "a ", long[:20], long[20:], " b").split() == ["a", long, "b"]


def test_code_keeps_its_lines() -> None:
    code = "```py\nreturn some_name + another_name\n```\n"
    assert streamed(15, *code) == code + "\n"


def test_a_terminal_that_cannot_draw_twice_is_told_of_a_load_in_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    where, out = screen(is_live=True)
    steps = Steps(where)
    for fraction in (0.0, 0.3, 0.6, 1.0):
        steps.show(Loading(HostName("h"), ModelKey("m"), fraction, seconds_left=None))
    steps.close()
    assert len(out.getvalue().splitlines()) == 4


@pytest.mark.parametrize("is_live", [True, False])
def test_news_in_the_middle_of_an_answer_wait_for_its_end(is_live: bool) -> None:
    where, out = screen(is_live=is_live)
    where.news("🟢 studio is here", "dim")
    where.piece("Small pieces tell ")
    where.news("🔴 studio is gone", "dim")
    where.news("🟢 laptop is here", "dim")
    where.piece("more.")
    where.line()
    where.line("footer")
    where.news("🟢 studio is here", "dim")
    assert out.getvalue().splitlines() == [
        "🟢 studio is here",
        "Small pieces tell more.",
        "🔴 studio is gone",
        "🟢 laptop is here",
        "footer",
        "🟢 studio is here",
    ]


def test_whoever_is_asked_for_a_line_reads_news_at_once() -> None:
    where, out = screen(is_live=False)
    where.piece("you> ", is_answer=False)
    where.news("🔴 studio is gone")
    assert out.getvalue() == "you> \n🔴 studio is gone\n"


def test_a_bar_says_that_a_load_takes_longer_than_usual() -> None:
    where, out = screen(is_live=True)
    steps = Steps(where)
    steps.show(Loading(HostName("h"), ModelKey("m"), 0.58, 54.0, 75.0, usual_s=15.0))
    steps.close()
    assert "54 s left · longer than usual (~15 s)" in out.getvalue()


@pytest.mark.parametrize(("width", "has_bar"), [(60, False), (79, False), (80, True)])
def test_how_long_a_load_still_takes_is_read_in_a_narrow_terminal(
    width: int, *, has_bar: bool
) -> None:
    where, out = narrow(width)
    steps = Steps(where)
    steps.show(Loading(HostName("studio-1"), ModelKey("qwen/qwen3-30b-a3b-2507"), 0.45, 72.0))
    steps.close()
    (*_, last) = [line for line in re.split(r"[\r\n]", out.getvalue()) if "qwen" in line]
    assert "72 s left" in last
    assert ("━" in last) is has_bar


@pytest.mark.parametrize("width", [40, 60, 80])
def test_why_a_load_stands_is_read_in_a_narrow_terminal(width: int) -> None:
    where, out = narrow(width)
    steps, key = Steps(where), ModelKey("qwen/qwen3-30b-a3b-2507")
    held = Loading(HostName("127.0.0.1:1234"), key, 0.0, None, 12.0, is_held=True)
    steps.show(held)
    steps.close()
    assert "an earlier load ends first (12 s)" in out.getvalue()


def test_an_answer_that_ends_its_line_itself_is_followed_by_the_blank_line_asked_for() -> None:
    where, out = screen(is_live=False)
    where.piece("done\n")
    where.line()
    where.line("footer")
    assert out.getvalue() == "done\n\nfooter\n"


def test_what_admins_set_stands_in_a_table_with_its_place() -> None:
    stored: Stored = {
        (PlaceId("discord:5"), "switch"): SetValue(("role:3", "user:8"), UserId("discord:8"), 7),
        (PlaceId(""), "dms"): SetValue(("off",), UserId("discord:42"), 7),
    }
    assert facts.setting_rows(stored) == [
        ("everywhere", "May write to me directly", "off", "discord:42"),
        ("discord:5", "May choose for everybody", "role:3, user:8", "discord:8"),
    ]
    assert facts.setting_rows({}) == []
