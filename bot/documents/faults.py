"""Turns pydantic's errors into plain words: what stands there and what is expected.

No secret is shown: neither values of secret fields nor anything shaped like a key.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from bot.documents.yaml import Path, dotted, kind_of
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


@dataclass(frozen=True, slots=True)
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
        if detail["type"] == "extra_forbidden":
            words = unknown_key(path, model)
        elif detail["type"] == "missing":
            words = f"{dotted(path)} is missing"
        else:
            value = MASK if is_secret(path, model) else shown(detail["input"], redactor)
            expected = _expected(detail["type"], detail["msg"], context, detail["input"])
            words = f"{dotted(path)} is {value}; expected {expected}"
        faults.append(Fault(path, detail["type"], words))
    return faults


def unknown_key(path: Path, model: type[BaseModel], spell: Callable[[Path], str] = dotted) -> str:
    """Words for a key that nobody knows, naming the nearest ones as ``spell`` writes them."""
    name = str(path[-1])
    siblings = tuple(_fields_at(model, path[:-1]))
    near = tuple((*path[:-1], found) for found in nearest(name, siblings, 1))
    elsewhere = tuple(known for known in known_paths(model) if known[-1] == name)
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


def is_secret(path: Path, model: type[BaseModel]) -> bool:
    """Is there a secret field at the path or above it, or one that should name a secret?"""
    if str(path[-1]).endswith("_env"):
        return True  # people put the secret itself there
    for end in range(1, len(path) + 1):
        field = _fields_at(model, path[: end - 1]).get(str(path[end - 1]))
        if field is not None and _holds_secret(field):
            return True
    return False


def shown(value: object, redactor: Redactor) -> str:
    """An offending value as it may be shown: short, without secrets, structures by name only."""
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
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(context["expected"]))
        near = nearest(value, allowed, 1) if isinstance(value, str) else ()
        listed = allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"
        return listed + (f" (nearest: {near[0]})" if near else "")
    if kind == "value_error":
        return str(context["error"])
    return _WORDS[kind].format(**context) if kind in _WORDS else message


def _fields_at(model: type[BaseModel], path: Path) -> Mapping[str, object]:
    """The fields of the model found by walking the path; none where it leaves the models."""
    here: type[BaseModel] | None = model
    for part in path:
        fields = here.model_fields if here is not None else {}
        if part in fields:
            here = _model_in(fields[str(part)].annotation)
    return {name: field.annotation for name, field in here.model_fields.items()} if here else {}


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model an annotation holds: itself, or that of a list, mapping or option."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    parts = (_model_in(part) for part in get_args(annotation))
    return next((found for found in parts if found is not None), None)


def _holds_secret(annotation: object) -> bool:
    if get_origin(annotation) is Annotated:
        return _holds_secret(get_args(annotation)[0])
    return annotation is SecretStr or any(_holds_secret(part) for part in get_args(annotation))
