"""The settings as people may see them: merged, masked, with origins; and the file's JSON Schema."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from bot.documents.yaml import dotted
from bot.process.redaction import Redactor
from bot.settings.leaves import leaves
from bot.settings.loaded import Loaded
from bot.settings.tree import Settings

_SECRET_FIELDS = ("token", "api_key")
"""Never written into the file, so the file's schema does not know them."""


class Shown(NamedTuple):
    """One line of ``config show``."""

    key: str
    value: str
    origin: str


def masked(loaded: Loaded) -> list[Shown]:
    """Every value with its dotted key and origin; secrets are masked."""
    redactor = Redactor(loaded.secrets)
    return [
        Shown(key := dotted(leaf.path), redactor.text(leaf.text), loaded.origins[key])
        for leaf in leaves(loaded.settings)
    ]


def schema() -> dict[str, Any]:
    """The JSON Schema of ``config.yaml``, for editors."""
    found = Settings.model_json_schema()
    for model in _models(found):
        for name in _SECRET_FIELDS:
            model["properties"].pop(name, None)
        # Presets, or the address for a host's name, fill in what the file leaves out.
        model.pop("required", None)
    found["properties"]["hosts"]["items"] = {
        "anyOf": [{"type": "string"}, found["properties"]["hosts"]["items"]]
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _models(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    parts = [found, *cast(dict[str, dict[str, Any]], found["$defs"]).values()]
    return (part for part in parts if "properties" in part)
