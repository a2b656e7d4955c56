"""Reading JSON that anybody may have sent, without trusting its shape."""

import json
from collections.abc import Mapping
from typing import cast

from bot.sim.answers import Message

JsonObject = dict[str, object]


def parse_object(text: str | bytes) -> JsonObject | None:
    """Return the JSON object of a text, or None for anything else."""
    try:
        value: object = json.loads(text)
    except ValueError:
        return None
    return cast(JsonObject, value) if isinstance(value, dict) else None


def as_object(value: object) -> JsonObject:
    """Return a JSON object, or an empty one."""
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Return a JSON array, or an empty one."""
    return cast(list[object], value) if isinstance(value, list) else []


def text_of(source: Mapping[str, object], key: str) -> str | None:
    """Return a string member."""
    value = source.get(key)
    return value if isinstance(value, str) else None


def int_of(source: Mapping[str, object], key: str) -> int | None:
    """Return an integral number member; booleans are none."""
    value = source.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)


def words_of(value: object) -> tuple[str, ...]:
    """Return a string or an array of strings as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in as_list(value) if isinstance(item, str))


def socket_message(raw: object) -> Message:
    """Read a message of the SDK's history shape."""
    source = as_object(raw)
    parts = [as_object(part) for part in as_list(source.get("content"))]
    text = "".join(text_of(part, "text") or text_of(part, "content") or "" for part in parts)
    return Message(
        text_of(source, "role") or "user", text, sum(p.get("type") == "file" for p in parts)
    )


def config_fields(stack: object) -> JsonObject:
    """Return the fields of an SDK configuration stack, later layers winning."""
    fields: JsonObject = {}
    for layer in as_list(as_object(stack).get("layers")):
        config = as_object(as_object(layer).get("config"))
        for raw in as_list(config.get("fields")):
            entry = as_object(raw)
            key = text_of(entry, "key")
            if key is not None:
                fields[key] = entry.get("value")
    return fields


def fields_list(fields: Mapping[str, object]) -> JsonObject:
    """Return configuration fields in the serialised form the SDK reads."""
    return {"fields": [{"key": key, "value": value} for key, value in fields.items()]}


def checked(fields: Mapping[str, object], key: str) -> object:
    """Return the value of a checkbox field, None when it is off."""
    box = as_object(fields.get(key))
    return box.get("value") if box.get("checked") else None
