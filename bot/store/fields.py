"""Reads JSON objects that an older or newer Lantern may have written; nothing here raises.

A field that is missing, or not of the type wanted, gives its default; unknown ones are ignored.
"""

import math
from collections.abc import Mapping
from typing import TypeAlias, TypeGuard, cast

Json: TypeAlias = Mapping[str, object]


def mapping(value: object) -> Json:
    """The object, or an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def mappings(data: Json, key: str) -> tuple[Json, ...]:
    """The objects in a list."""
    return tuple(cast("Json", item) for item in _items(data, key) if isinstance(item, dict))


def texts(data: Json, key: str) -> tuple[str, ...]:
    """The texts in a list."""
    return tuple(item for item in _items(data, key) if isinstance(item, str))


def text(data: Json, key: str, default: str = "") -> str:
    """A text."""
    value = data.get(key)
    return value if isinstance(value, str) else default


def text_or_none(data: Json, key: str) -> str | None:
    """A text that may be missing."""
    value = data.get(key)
    return value if isinstance(value, str) else None


def number(data: Json, key: str, default: float = 0.0) -> float:
    """A finite number."""
    value = data.get(key)
    return float(value) if _is_number(value) else default


def number_or_none(data: Json, key: str) -> float | None:
    """A finite number that may be missing."""
    value = data.get(key)
    return float(value) if _is_number(value) else None


def whole(data: Json, key: str, default: int = 0) -> int:
    """A whole number."""
    value = data.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def whole_or_none(data: Json, key: str) -> int | None:
    """A whole number that may be missing."""
    value = data.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(data: Json, key: str) -> bool:
    """True only where the JSON says so."""
    return data.get(key) is True


def finite(value: float | None) -> float | None:
    """The number as JSON may hold it: infinities and NaN have no form there and become None."""
    return value if value is not None and math.isfinite(value) else None


def storable(value: str) -> str:
    """The text as SQLite may hold it.

    A surrogate without its other half (models send emoji in two pieces) is no character in
    UTF-8: halves that found each other become one character, a lone one becomes U+FFFD.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


def _items(data: Json, key: str) -> list[object]:
    value = data.get(key)
    return cast("list[object]", value) if isinstance(value, list) else []


def _is_number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Whole numbers too large for a float would raise in the conversion.
    return abs(value) < _LARGEST if isinstance(value, int) else math.isfinite(value)


_LARGEST = 2**1000
