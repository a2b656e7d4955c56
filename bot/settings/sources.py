"""Makes layers of variables, the config file and presets; follows pointers to secrets."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from bot.documents.yaml import Document, Path, Plain, dotted
from bot.settings.layers import PREFIX, Layer, Variables, find

CONFIG_VARIABLE = "LANTERN_CONFIG"
"""Names the config file; the only such variable that is no setting."""

PRESETS: Mapping[str, Plain] = {
    "zai": {
        "kind": "openai",
        # Never the coding plan's address: it bans chat bots.
        "base_url": "https://api.z.ai/api/paas/v4",
        "api_key_env": "Z_AI_API_KEY",
        "model": "glm-4.6",
        "quality": 8,
    },
    "openai": {
        "kind": "openai",
        "base_url": "https://api.openai.com/v1",
        "api_key_env": "OPENAI_API_KEY",
        "model": "gpt-6-luna",
    },
    "anthropic": {
        "kind": "anthropic",
        "base_url": "https://api.anthropic.com/v1",
        "api_key_env": "ANTHROPIC_API_KEY",
        "model": "claude-haiku-5-5",
    },
}
"""Providers known by name; each is on when its variable is set."""

DISCORD_VARIABLE = "DISCORD_TOKEN"

_SECRET_KEY = re.compile(r"(?:^|_)(?:token|secret|password|passwd|key|apikey)$", re.IGNORECASE)
_ENV_SUFFIX = "_env"
_READS_AS_NAME = re.compile(
    r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z]{2,24}[0-9]{0,2}"
    r"|(?:[a-z]+_)*(?:token|key|secret|password)(?:_[a-z]+)*"
)
"""``STUDIO_TOKEN``, ``MYTOKEN2``, ``studio_token``; what a secret hardly ever looks like."""


def variables_layer(variables: Variables) -> Layer:
    """Settings said by ``LANTERN_…`` variables; ``__`` goes one level down."""
    values: dict[str, Plain] = {}
    origins: dict[Path, str] = {}
    # Shorter names first: LANTERN_ROUTING={…} is refined by LANTERN_ROUTING__STRATEGY.
    for name in sorted(variables):
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE:
            path = tuple(name.removeprefix(PREFIX).lower().split("__"))
            if _put(values, path, _plain_of(variables[name].value)):
                origins[path] = variables[name].origin
    return Layer(values, origins, is_variables=True)


def file_layer(document: Document, source: str) -> tuple[Layer, list[str]]:
    """Settings said by the config file, and a fault for each secret written into it."""
    values, secrets = _without_secrets(document.values, ())
    faults = [
        f"{source} line {document.lines[path]}: {dotted(path)} holds a secret,"
        f" which may not stand in this file; {_home(path)}"
        for path in secrets
    ]
    origins = {path: f"{source} line {line}" for path, line in document.lines.items()}
    return Layer(_without_empty_sections(values), origins), faults


def preset_layer(variables: Variables) -> Layer:
    """What holds when nobody says otherwise: the known providers, and the Discord token."""
    values: dict[str, Plain] = {"providers": dict(PRESETS)}
    origins: dict[Path, str] = {}
    if token := find(variables, DISCORD_VARIABLE):
        values["discord"] = {"token": token.value}
        origins["discord", "token"] = token.origin
    return Layer(values, origins, is_preset=True)


def follow_pointers(layer: Layer, variables: Variables) -> tuple[Layer, dict[Path, str]]:
    """The layer with the secrets its ``*_env`` keys name; a fault for each that names nothing."""
    origins = dict(layer.origins)
    faults: dict[Path, str] = {}

    def followed(value: Plain, path: Path) -> Plain:
        if isinstance(value, list):
            return [followed(item, (*path, at)) for at, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        found = {key: followed(item, (*path, key)) for key, item in value.items()}
        for key, name in value.items():
            target = key.removesuffix(_ENV_SUFFIX)
            if target == key or target in found or not isinstance(name, str):
                continue
            if variable := find(variables, name):
                found[target] = variable.value
                origins[*path, target] = variable.origin
            elif _must_exist(path, name):
                here = (*path, key)
                faults[here] = f"{layer.origin(here)}: {_dead_pointer(here, name)}"
        return found

    values = {key: followed(value, (key,)) for key, value in layer.values.items()}
    return replace(layer, values=values, origins=origins), faults


def _put(values: dict[str, Plain], path: tuple[str, ...], value: Plain) -> bool:
    here = values
    for part in path[:-1]:
        below = here.setdefault(part, {})
        if not isinstance(below, dict):
            return False  # said to be a single value already, which has its own fault
        here = below
    here[path[-1]] = value
    return True


def _plain_of(text: str) -> Plain:
    """A variable's text; lists and mappings may be written as JSON."""
    if text == "null":
        return None
    if text.startswith(("[", "{")):
        try:
            return cast(Plain, json.loads(text))
        except (ValueError, RecursionError):
            return text
    return text


def _without_secrets(values: dict[str, Plain], path: Path) -> tuple[dict[str, Plain], list[Path]]:
    kept: dict[str, Plain] = {}
    secrets: list[Path] = []
    for key, value in values.items():
        here = (*path, key)
        if _SECRET_KEY.search(key) and not isinstance(value, dict | list | None):
            secrets.append(here)
        elif isinstance(value, dict):
            kept[key], below = _without_secrets(value, here)
            secrets += below
        elif isinstance(value, list):
            kept[key], below = _list_without_secrets(value, here)
            secrets += below
        else:
            kept[key] = value
    return kept, secrets


def _list_without_secrets(items: list[Plain], path: Path) -> tuple[list[Plain], list[Path]]:
    kept: list[Plain] = []
    secrets: list[Path] = []
    for at, item in enumerate(items):
        if isinstance(item, dict):
            item, below = _without_secrets(item, (*path, at))
            secrets += below
        kept.append(item)
    return kept, secrets


def _without_empty_sections(values: dict[str, Plain]) -> dict[str, Plain]:
    """A heading whose lines are all commented out says nothing."""
    kept: dict[str, Plain] = {key: value for key, value in values.items() if value is not None}
    if isinstance(providers := kept.get("providers"), dict):
        kept["providers"] = {k: v for k, v in providers.items() if v is not None}
    return kept


def _home(path: Path) -> str:
    """Where a secret belongs."""
    pointer = {"hosts": "token_env", "providers": "api_key_env"}.get(str(path[0]))
    if pointer:
        return f"put it in the environment, .env or secrets_dir and name its variable by {pointer}"
    return f"put it in the environment, .env or secrets_dir, a Discord token as {DISCORD_VARIABLE}"


def _must_exist(path: Path, name: str) -> bool:
    """Not a known provider's own variable, which is its switch, nor what is no name at all."""
    preset = PRESETS.get(str(path[-1])) if path[:1] == ("providers",) else None
    if isinstance(preset, dict) and preset["api_key_env"] == name:
        return False
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) is not None


def _dead_pointer(path: Path, name: str) -> str:
    # Somebody may have put the secret itself here; only what reads like a name is repeated.
    shown = name if _READS_AS_NAME.fullmatch(name) else "a variable"
    places = "the environment, .env or secrets_dir"
    return f"{dotted(path)} names {shown}, which is set nowhere; expected it in {places}"
