"""JSON from outside, read without trust."""

import json
from typing import TypeGuard

from bot.inference.faults import garbage


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Tell whether a JSON value is an object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[object]]:
    """Tell whether a JSON value is an array."""
    return isinstance(value, list)


def parse_object(payload: str) -> dict[str, object]:
    """Return the object a payload holds.

    Raises:
        WireFault: it is not JSON, or not an object.
    """
    try:
        value: object = json.loads(payload)
    except (ValueError, RecursionError) as err:
        raise garbage("broken JSON in the stream") from err
    if not is_object(value):
        raise garbage("the stream holds no JSON objects")
    return value


def text_of(value: object) -> str:
    """Return a JSON string, or nothing."""
    return value if isinstance(value, str) else ""


def count_of(value: object) -> int:
    """Return a JSON count, or 0 for anything that is none."""
    return value if isinstance(value, int) and value > 0 else 0
