"""Every line comes out alike, ours and the libraries', and without secrets."""

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from logs import logs_put_back

from bot.process.logs import LogFormat, configure_logging, hide_also

SECRET = "hunter2hunter2"
DISCORD_TOKEN = "MTA0NzI5ODg4ODg4ODg4ODg4OA.GaBcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with logs_put_back():
        yield


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def configured(
    level: str = "info", format: LogFormat = "json", out: io.StringIO | None = None
) -> io.StringIO:
    out = out or io.StringIO()
    configure_logging(level, format, [SECRET], out)
    return out


def test_our_lines_and_the_libraries_come_out_alike() -> None:
    out = configured()
    structlog.contextvars.bind_contextvars(turn_id="t1")
    structlog.get_logger("bot.fleet").info("model loaded", host="studio-1", seconds=1.5)
    logging.getLogger("discord.client").info("logged in as %s", "Lantern")
    ours, theirs = lines(out)
    assert ours["event"] == "model loaded"
    assert theirs["event"] == "logged in as Lantern"
    assert ours["host"] == "studio-1"
    assert ours["seconds"] == 1.5
    for line, logger in ((ours, "bot.fleet"), (theirs, "discord.client")):
        assert line["logger"] == logger
        assert line["level"] == "info"
        assert line["turn_id"] == "t1"
        assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    ("level", "said"),
    [("debug", ["debug", "info", "error"]), ("info", ["info", "error"]), ("error", ["error"])],
)
def test_the_level_holds_for_everybody(level: str, said: list[str]) -> None:
    out = configured(level)
    for logger in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        for name in ("debug", "info", "error"):
            getattr(logger, name)("x")
    assert [line["level"] for line in lines(out)] == said * 2


def test_libraries_that_log_payloads_or_every_job_are_kept_quiet() -> None:
    out = configured("debug")
    logging.getLogger("discord.http").debug("a person's words")
    logging.getLogger("apscheduler.executors.default").info("Running job")
    logging.getLogger("httpx").info("HTTP Request")
    logging.getLogger("apscheduler.executors.default").error("Job failed")
    assert [line["event"] for line in lines(out)] == ["Job failed"]
    configured("error")
    assert not logging.getLogger("httpx").isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_secret_is_written(format: LogFormat) -> None:
    out = configured("debug", format)
    ours, theirs = structlog.get_logger("ours"), logging.getLogger("theirs")
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"with {DISCORD_TOKEN}") from error
    except ValueError as error:
        ours.exception("failed", error=error)
        theirs.exception("failed with %s", SECRET)
        ours.warning("grouped", exc_info=ExceptionGroup(SECRET, [error]))
    ours.info(SECRET, nested={"a": [{"b": SECRET}], "Authorization": "x y"}, raw=SECRET.encode())
    ours.info("positional %s", SECRET)
    theirs.info("headers %r", {"Authorization": f"Bot {DISCORD_TOKEN}"})
    theirs.info("stack", stack_info=True)
    structlog.contextvars.bind_contextvars(who=SECRET)
    ours.info("bound")
    text = out.getvalue()
    assert text.count("Traceback") >= 3
    assert SECRET not in text
    assert DISCORD_TOKEN not in text


@given(secret=st.text(min_size=4, max_size=30).map(lambda text: f"§{text}§"))
def test_a_known_secret_of_any_kind_never_reaches_the_log(secret: str) -> None:
    out = io.StringIO()
    configure_logging("info", "json", [secret], out)
    try:
        raise RuntimeError(secret)
    except RuntimeError:
        structlog.get_logger("ours").exception("failed", value=secret, deep=[(secret,)])
    (line,) = lines(out)
    assert line["value"] == "[redacted]"
    assert line["deep"] == [["[redacted]"]]
    assert str(line["exception"]).endswith("RuntimeError: [redacted]")


def test_a_secret_that_is_taken_later_is_hidden_like_the_first() -> None:
    out = configured()
    log, later = structlog.get_logger("ours"), "letmein-letmein"
    # Said before it was one: remembered as clean, it would have stayed so.
    log.info(later)
    hide_also([later])
    hide_also([])
    log.info(later, deep=[later, SECRET])
    assert [line["event"] for line in lines(out)] == [later, "[redacted]"]
    assert lines(out)[1]["deep"] == ["[redacted]"] * 2


def test_a_line_that_cannot_be_written_is_told_without_its_words() -> None:
    out = configured()
    record = logging.makeLogRecord({"name": "theirs", "msg": "%d", "args": (SECRET,)})
    for handler in logging.getLogger().handlers:
        if getattr(handler, "stream", None) is out:
            handler.handle(record)
    assert out.getvalue() == "a log line of theirs could not be written\n"


def test_a_reader_of_the_log_that_is_gone_disturbs_nobody() -> None:
    class Broken(io.StringIO):
        def write(self, s: str, /) -> int:
            raise BrokenPipeError

    configured(out=Broken())

    structlog.get_logger("ours").info("said")
    logging.getLogger("theirs").warning("said")


def test_warnings_become_lines(recwarn: pytest.WarningsRecorder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        out = configured()
        warnings.warn(f"old {SECRET}", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines(out)
    assert line["logger"] == "py.warnings"
    assert "old [redacted]" in str(line["event"])


def test_auto_is_colours_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = configured(format="auto", out=Terminal()), io.StringIO()
    structlog.get_logger("ours").info("model loaded", host="a")
    assert "\x1b[" in terminal.getvalue()
    assert "model loaded" in terminal.getvalue()
    configured(format="auto", out=pipe)
    structlog.get_logger("ours").info("model loaded", host="a")
    assert lines(pipe)[0]["host"] == "a"


def test_nobodys_text_can_fake_a_line_of_the_console() -> None:
    out = configured(format="console")
    structlog.get_logger("ours").info("said", reason="\x1b[2J\n2026 [error] fake")
    assert len(out.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in out.getvalue()


def test_setting_up_again_replaces_and_does_not_add() -> None:
    first, second = configured(), configured()
    structlog.get_logger("ours").info("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("ours").info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "here"


@pytest.mark.parametrize(("level", "is_written"), [("info", False), ("debug", True)])
def test_the_sdks_own_lines_are_left_out_above_debug(level: str, is_written: bool) -> None:
    out = io.StringIO()
    configure_logging(level, "json", stream=out)
    record = logging.LogRecord(
        "AsyncWebsocketHandler",
        logging.ERROR,
        "/site-packages/lmstudio/_ws_impl.py",
        1,
        "Websocket failed, terminating session.",
        None,
        None,
    )
    logging.getLogger().handle(record)
    assert ("Websocket failed" in out.getvalue()) is is_written
