"""Turns pydantic's errors into plain words: what stands there and what is expected.

No secret is shown: neither values of secret fields nor anything shaped like a key.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from bot.documents.yaml import Path, dotted, kind_of
from bot.domain.values import value
from bot.policy.names import nearest
from bot.process.redaction import MASK, Redactor

SHOWN_LENGTH = 60
"""Characters of an offending value that are shown."""

_WORDS: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of names to values",
    "mapping_type": "a mapping of names to values",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
}


@value
class Fault:
    """One thing wrong at one place of a document."""

    path: Path
    kind: str
    """pydantic's name of the error: ``extra_forbidden``, ``missing``, ``value_error``…"""
    words: str
    """What stands there and what is expected, without the place."""


def explain(error: ValidationError, model: type[BaseModel], redactor: Redactor) -> list[Fault]:
    """Every fault of a document read as ``model``."""
    faults: list[Fault] = []
    for detail in error.errors(include_url=False):
        # pydantic marks a fault of a mapping's key by one more, made-up part.
        path = tuple(part for part in detail["loc"] if part != "[key]")
        context = cast(Mapping[str, Any], detail.get("ctx") or {})
        # pydantic's own words speak of inputs and extra fields, and repeat the value.
        if detail["type"] == "extra_forbidden":
            words = unknown_key(path, model)
        elif detail["type"] == "missing":
            words = f"{dotted(path)} is missing"
        else:
            # Whoever misreads `*_env` puts the secret itself there.
            hides = str(path[-1]).endswith("_env") or any(
                SecretStr in _types_in(fields.get(str(part)))
                for part, fields in zip(path, _fields_along(path, model), strict=False)
            )
            value = MASK if hides else shown(detail["input"], redactor)
            expected = _expected(detail["type"], detail["msg"], context, detail["input"])
            words = f"{dotted(path)} is {value}; expected {expected}"
        faults.append(Fault(path, detail["type"], words))
    return faults


def unknown_key(path: Path, model: type[BaseModel], spell: Callable[[Path], str] = dotted) -> str:
    """Words for a key that nobody knows, naming the nearest ones as ``spell`` writes them."""
    # A known key in the wrong section is the likelier slip than a misspelt one in the right one.
    name = str(path[-1])
    siblings = tuple(_fields_along(path[:-1], model)[-1])
    near = tuple((*path[:-1], found) for found in nearest(name, siblings, 1))
    # Nobody writes a key of a section into an item of a list.
    is_in_list = len(path) > 1 and isinstance(path[-2], int)
    elsewhere = () if is_in_list else tuple(k for k in known_paths(model) if k[-1] == name)
    hint = ""
    if suggested := elsewhere or near:
        hint = f"; nearest: {', '.join(spell(known) for known in suggested[:3])}"
    elif siblings:
        hint = f"; known here: {', '.join(sorted(siblings))}"
    return f"{spell(path)} is not known{hint}"


def known_paths(model: type[BaseModel], above: Path = ()) -> Iterator[Path]:
    """Every key of the model and of the models in it, mappings of names left aside."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        inner = _model_in(field.annotation)
        if inner is not None and isinstance(field.annotation, type):
            yield from known_paths(inner, (*above, name))


def shown(value: object, redactor: Redactor) -> str:
    """An offending value as it may be shown: short, without secrets, structures by name only."""
    # A structure is never written out: a secret may stand anywhere in it.
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            text = redactor.text(value)
            text = text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "…"
            return json.dumps(text, ensure_ascii=False)
        case _:
            return kind_of(value)


def _expected(kind: str, message: str, context: Mapping[str, Any], value: object) -> str:
    # pydantic gives the choices as one text: 'a', 'b' or 'c'.
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(context["expected"]))
        near = nearest(value, allowed, 1) if isinstance(value, str) else ()
        listed = allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"
        return listed + (f" (nearest: {near[0]})" if near else "")
    if kind == "value_error":
        return str(context["error"])
    return _WORDS[kind].format(**context) if kind in _WORDS else message


def _fields_along(path: Path, model: type[BaseModel]) -> list[Mapping[str, object]]:
    """The fields of the model at the path's start and after each part; none outside the models."""
    here: type[BaseModel] | None = model
    along: list[Mapping[str, object]] = []
    for part in (*path, None):
        fields: Mapping[str, object] = {}
        if here is not None:
            fields = {name: field.annotation for name, field in here.model_fields.items()}
        along.append(fields)
        # A position in a list, or a name in a mapping, stays with the model these hold.
        if part in fields:
            here = _model_in(fields[str(part)])
    return along


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model an annotation holds: itself, or that of a list, mapping or option."""
    return next((found for found in _types_in(annotation) if issubclass(found, BaseModel)), None)


def _types_in(annotation: object) -> Iterator[type]:
    """Every plain type within an annotation."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _types_in(part)
