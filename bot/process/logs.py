"""Sends every log line, ours and the libraries', through structlog to a stream, without secrets."""

import json
import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bot.process.redaction import Redactor

LogFormat = Literal["auto", "json", "console"]

QUIET_LOGGERS: Mapping[str, int] = {
    # DEBUG of these writes whole payloads, people's words and tokens among them.
    "discord.http": logging.INFO,
    "discord.gateway": logging.INFO,
    "discord.webhook": logging.INFO,
    "discord.state": logging.INFO,
    "pydantic_settings": logging.INFO,
    "asyncio": logging.INFO,
    # INFO of these is a line for every probe, job run or request.
    "apscheduler": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx_ws": logging.WARNING,
    "aiosqlite": logging.WARNING,
}
"""The least each of these may say, however low the level is set."""

_SDK_FOLDER = "/lmstudio/"
"""In the path of the SDK's modules; its loggers are named by class, so a name cannot tell."""

_KEPT_LINES = ("exception", "stack")
"""Fields that hold several lines on purpose."""


_JSON = json.JSONEncoder()
_LEVELS = logging.getLevelNamesMapping()

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.StackInfoRenderer(),
)
"""What every line gets, ours and the libraries'."""


def configure_logging(
    level: str = "info",
    format: LogFormat = "auto",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the process; calling it again replaces what it set up before.

    Args:
        level: the least that is logged: ``debug`` to ``critical``.
        format: ``auto`` is colours on a terminal and JSON lines otherwise.
        secrets: values never to be written, whatever their shape.
        stream: where lines go; standard error when None.
    """
    out = stream or sys.stderr
    least = logging.getLevelNamesMapping()[level.upper()]
    is_terminal = out.isatty()
    rendering: list[Processor] = [_as_json]
    if format == "console" or (format == "auto" and is_terminal):
        console = structlog.dev.ConsoleRenderer(
            colors=is_terminal,
            # The pretty one prints local variables, and after redaction it is only text anyway.
            exception_formatter=structlog.dev.plain_traceback,
        )
        rendering = [_visible_controls, console]
    handler = _Handler(out)
    handler.secrets = frozenset(secrets)
    handler.redactor = Redactor(handler.secrets)
    handler.hides_sdk = least > logging.DEBUG
    handler.steps = (
        structlog.processors.format_exc_info,
        # After the traceback became text: secrets stand in its messages too.
        partial(_redacted, handler),
        # Behind that: of all that stands in a line this alone looked as if it might hold a key.
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *rendering,
    )
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED, processors=[meta, *handler.steps]
        )
    )
    root = logging.getLogger()
    # Others' handlers stay: a test's capture, for one.
    root.handlers[:] = [old for old in root.handlers if not isinstance(old, _Handler)]
    root.addHandler(handler)
    root.setLevel(least)
    for name, floor in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(max(floor, least))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[partial(_loud, least), *_SHARED],
        logger_factory=partial(_Logger, handler),
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=False,
    )


def hide_also(secrets: Iterable[str]) -> None:
    """Keep these out of the log as well from now on; to be called before they are used.

    Those known before stay hidden: whoever was refused an old key may still say which it was.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.secrets = handler.secrets.union(secrets)
            handler.redactor = Redactor(handler.secrets)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, to be told from others' when logging is set up again."""

    hides_sdk = True
    secrets = frozenset[str]()
    redactor = Redactor()
    steps: tuple[Processor, ...] = ()
    """From what is said to the line that is written."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out the LM Studio SDK's own lines: five for each lost host, named by class.

        The fleet says once what they mean. At DEBUG they are written like everything else.
        """
        is_sdk = _SDK_FOLDER in record.pathname.replace("\\", "/")
        return bool(super().filter(record)) and not (is_sdk and self.hides_sdk)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say that a line was lost; the standard way prints its arguments, secrets included."""
        self.lost(record.name)

    def lost(self, name: str) -> None:
        """Say that a line of one logger could not be written, and nothing of it."""
        # The reader of the log may be gone, a dead PM2 for one: nothing but the line is lost then.
        with suppress(OSError, ValueError):
            self.stream.write(f"a log line of {name} could not be written\n")


class _Logger:
    """One of our own: what is said is written here and now.

    As a record of the standard library a line looked for its caller, was made, copied and made a
    text once more: that took as long as all else that is done for a line.
    """

    def __init__(self, handler: _Handler, name: str = "") -> None:
        self._handler = handler
        self.name = name

    def _say(self, /, **event: object) -> None:
        said: Any = event
        try:
            for step in self._handler.steps:
                said = step(self, "", said)
            with self._handler.lock or nullcontext():
                self._handler.stream.write(f"{said}\n")
                self._handler.flush()
        # Whatever is wrong with what was said: nobody's work breaks over a line.
        except Exception:
            self._handler.lost(self.name)

    debug = info = warning = error = critical = _say


def _loud(least: int, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Drops what is not to be written.

    By a step: a test that captures lines takes all steps away, and so hears each.
    """
    if _LEVELS[name.upper()] < least:
        raise structlog.DropEvent
    return event


def _redacted(handler: _Handler, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Takes secrets out of all fields, tracebacks and nested values included."""
    return cast(MutableMapping[str, Any], handler.redactor.value(dict(event)))


def _as_json(logger: WrappedLogger, name: str, event: EventDict) -> str:
    return _JSON.encode(event)


def _visible_controls(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Keep text of hosts and people from moving the cursor or faking lines of the log."""
    for key, value in event.items():
        if isinstance(value, str) and key not in _KEPT_LINES:
            event[key] = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return event
