"""Durations and sizes as people write them, and the pydantic types that read them."""

import math
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

DURATION_WORDS = "a duration such as 30s, 5m or 1h (a bare number is seconds)"
SIZE_WORDS = "a size in GB such as 96"

LONGEST_S = 10 * 365 * 86400.0
"""Ten years; anything longer is a slip of the keyboard."""

_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PART = r"([0-9]+(?:\.[0-9]+)?)\s*(ms|sec|s|min|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART}\s*)+")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:gi?b)?", re.IGNORECASE)
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def parse_seconds(value: object) -> float:
    """Seconds from ``90``, ``"90"``, ``"90s"``, ``"1.5m"``, ``"1h30m"``.

    Raises:
        ValueError: the value is no duration; the message says what is expected.
    """
    seconds = _seconds_of(value)
    if seconds is None or not 0 <= seconds <= LONGEST_S:
        raise ValueError(DURATION_WORDS)
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
    size = _gigabytes_of(value)
    if size is None or not 0 < size < math.inf:
        raise ValueError(SIZE_WORDS)
    return size


def _seconds_of(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    parts = re.findall(_PART, text)
    return round(sum(float(number) * _SECONDS[unit] for number, unit in parts), 6)


def _gigabytes_of(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(found[1]) if found else None


def _above_zero(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError(f"{DURATION_WORDS}, above zero")
    return seconds


_DURATION_SCHEMA = WithJsonSchema(
    {
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}],
        "examples": ["30s", "5m", "1h"],
    }
)

Seconds = Annotated[
    float,
    BeforeValidator(parse_seconds),
    PlainSerializer(format_seconds, when_used="json"),
    _DURATION_SCHEMA,
]
"""A duration of zero or more, kept as float seconds."""

PositiveSeconds = Annotated[
    float,
    BeforeValidator(parse_seconds),
    AfterValidator(_above_zero),
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
