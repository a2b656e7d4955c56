"""Values as table rows and back: the one place where a column's name meets a field's."""

import json
import sqlite3
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bot.domain.chat import Receipt
from bot.domain.errors import FailureKind

T = TypeVar("T")
Value = str | int | float | bytes | None

_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

_INSTEAD = {"finish": "error", "kind": FailureKind.SERVER.value}
"""What a word this Lantern does not know is taken for, by its field."""


def storable(text: str) -> str:
    """The text as SQLite may hold it.

    A surrogate without its other half (models send emoji in two pieces) is no character in
    UTF-8: halves that found each other become one character, a lone one becomes U+FFFD.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def insert(
    connection: sqlite3.Connection,
    table: str,
    columns: Mapping[str, Value],
    *,
    verb: str = "INSERT",
) -> sqlite3.Cursor:
    """Insert one row; columns that are not named get the table's defaults.

    Args:
        connection: Inside a write's transaction.
        table: Its name.
        columns: The values, by column.
        verb: ``INSERT OR REPLACE`` or ``INSERT OR IGNORE``, where the row may be there already.
    """
    values = [storable(v) if isinstance(v, str) else v for v in columns.values()]
    return connection.execute(_insertion(verb, table, *columns), values)


@cache
def _insertion(verb: str, table: str, *columns: str) -> str:
    places = ", ".join("?" * len(columns))
    return f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({places})"


def value_of(kind: type[T], row: sqlite3.Row) -> T:
    """The dataclass whose fields are named as the row's columns; further columns are left out."""
    found: T = _adapter(kind).validate_python(dict(row))
    return found


def receipt_json(receipt: Receipt) -> str:
    """The receipt as JSON, without what is as by default; numbers JSON cannot hold become null."""
    fields = _adapter(Receipt).dump_python(receipt, exclude_defaults=True)
    # Always said: an older Lantern, gone back to, takes an ending that is missing for an error.
    fields["finish"] = receipt.finish
    # Not dump_json: it raises at half a character, and reasons hold whatever a host answered.
    try:
        return _JSON.encode(fields)
    except ValueError:
        # The table's json_valid() refuses a row with Infinity. Hardly any has one: looked for in
        # each by reading it again, that was two thirds of what a receipt took.
        return _JSON.encode(json.loads(json.dumps(fields), parse_constant=lambda _: None))


def receipt_of(stored: str) -> Receipt:
    """The receipt of JSON that this, an older or a newer Lantern wrote; any JSON gives one.

    What is missing or not of the type wanted gets its default, what is unknown is left out.
    """
    data: Any = json.loads(stored)
    while True:
        try:
            return _adapter(Receipt).validate_python(data)
        except ValidationError as err:
            # From the last to the first, so that no place in a list moves before its turn.
            for fault in reversed(err.errors()):
                data = _mended(data, fault["loc"], is_missing=fault["type"] == "missing")


def _mended(data: Any, loc: tuple[int | str, ...], *, is_missing: bool) -> Any:
    """The JSON without the value at a place, or with the default of one that must be there."""
    if not loc:
        return {}
    *way, last = loc
    holder = data
    for step in way:
        holder = holder[step]
    if last in _INSTEAD:
        holder[last] = _INSTEAD[last]
    elif is_missing:
        holder[last] = ""
    else:
        del holder[last]
    return data


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    # Made at first use: 4 ms for a receipt, which a Lantern that only starts never needs.
    return TypeAdapter(kind)
