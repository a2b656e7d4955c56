"""Values as people write them: names, lists, durations, sizes; and the models that hold them."""

import math
import re
from functools import partial
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from bot.documents.yaml import Plain
from bot.domain.chat import MOST_COUNTED

DURATION_WORDS = "a duration such as 30s, 5m or 1h (a bare number is seconds)"
SIZE_WORDS = "a size in GB such as 96"

# Ten years; anything longer is a slip of the keyboard.
LONGEST_S = 10 * 365 * 86400.0

_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PART = r"([0-9]+(?:\.[0-9]+)?)\s*(ms|sec|s|min|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART}\s*)+")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:gi?b)?", re.IGNORECASE)
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


class Section(BaseModel):
    """What all parts of a document share: nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # A persona may be called 007, and a server's id is a number in YAML.
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        # pydantic would print what was written, a secret in the wrong place included.
        hide_input_in_errors=True,
    )


def check_name(name: str) -> str:
    """The name, when it can be shown on one line.

    Raises:
        ValueError: it cannot.
    """
    if not name.isprintable() or name != name.strip():
        raise ValueError("one line of text, without spaces around it")
    return name


def split_list(value: Plain) -> Plain:
    """A list from ``a, b``; anything but text is left as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def lower(value: Plain) -> Plain:
    """Words of a fixed choice may be written in capitals."""
    return value.strip().lower() if isinstance(value, str) else value


def parse_seconds(value: object, *, may_be_zero: bool = True) -> float:
    """Seconds from ``90``, ``"90"``, ``"90s"``, ``"1.5m"``, ``"1h30m"``.

    Raises:
        ValueError: the value is no duration; the message says what is expected.
    """
    text = value.strip().lower() if isinstance(value, str) else ""
    seconds = -1.0
    # In Python a truth value is a number: `ttl: true` would be one second.
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif _NUMBER.fullmatch(text):
        seconds = float(text)
    elif _DURATION.fullmatch(text):
        parts = re.findall(_PART, text)
        # To the microsecond: 1.1 h in floating point is a hair more than 3,960 s.
        seconds = round(sum(float(number) * _SECONDS[unit] for number, unit in parts), 6)
    if LONGEST_S < seconds < math.inf:
        raise ValueError(f"{DURATION_WORDS}, ten years at most")
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError(DURATION_WORDS)
    if not (seconds or may_be_zero):
        raise ValueError(f"{DURATION_WORDS}, above zero")
    return seconds


def format_seconds(seconds: float) -> str:
    """The shortest exact way to write it, to the millisecond: ``1h``, ``90s``, ``1.5s``."""
    milliseconds = round(seconds * 1000)
    for unit, size in _UNITS:
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return (
        f"{milliseconds / 1000:.3f}".rstrip("0") + "s"
        if milliseconds > 1000
        else f"{milliseconds}ms"
    )


def parse_gigabytes(value: object) -> float:
    """Gigabytes from ``96``, ``"96"`` or ``"96 GB"``.

    Raises:
        ValueError: the value is no size above zero; the message says what is expected.
    """
    # GiB is read as GB: people write either for the number that LM Studio shows.
    size = 0.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        size = float(value)
    elif isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        size = float(found[1])
    if not 0 < size < math.inf:
        raise ValueError(SIZE_WORDS)
    return size


_DURATION_SCHEMA = WithJsonSchema(
    {
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}],
        "examples": ["30s", "5m", "1h"],
    }
)

Count = Annotated[int, Field(ge=1, le=MOST_COUNTED)]
"""A whole number above zero, such as of tokens."""

Seconds = Annotated[
    float,
    BeforeValidator(parse_seconds),
    PlainSerializer(format_seconds, when_used="json"),
    _DURATION_SCHEMA,
]
"""A duration of zero or more, kept as float seconds."""

PositiveSeconds = Annotated[
    float,
    BeforeValidator(partial(parse_seconds, may_be_zero=False)),
    PlainSerializer(format_seconds, when_used="json"),
    _DURATION_SCHEMA,
]
"""A duration above zero, kept as float seconds."""

Gigabytes = Annotated[
    float,
    BeforeValidator(parse_gigabytes),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
"""A size above zero in GB of 1,000,000,000 bytes."""

Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(check_name)]
"""What a host or persona is called."""

Words = Annotated[tuple[str, ...], BeforeValidator(split_list)]
"""A list of words, or one text with commas between them."""
