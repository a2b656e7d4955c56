"""Walks the settings tree down to its single values."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import BaseModel

from bot.documents.yaml import Path, Plain
from bot.settings.tree import Settings


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value of the tree, as text with secrets masked."""

    path: Path
    text: str
    is_set: bool
    """Somebody or a preset said it; otherwise it is the key's default."""


def leaves(settings: Settings) -> Iterator[Leaf]:
    """Every single value, lists of plain values counting as one, in the tree's order."""
    # In pydantic's JSON mode secrets are masked, durations and rates written as people do.
    dump = cast(Plain, settings.model_dump(mode="json"))
    for path, value in _walk(dump, ()):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield Leaf(path, text, _is_set(settings, path))


def _walk(value: Plain, path: Path) -> Iterator[tuple[Path, Plain]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for at, item in enumerate(value):
            yield from _walk(item, (*path, at))
    else:
        yield path, value


def _is_set(settings: Settings, path: Path) -> bool:
    here: object = settings
    for part in path:
        if isinstance(here, BaseModel):
            if part not in here.model_fields_set:
                return False
            here = getattr(here, str(part))
        elif isinstance(here, Mapping):
            here = cast(Mapping[str, object], here)[str(part)]
        else:
            here = cast(Sequence[object], here)[int(part)]
    return True
