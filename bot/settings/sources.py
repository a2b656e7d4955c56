"""Reads the places settings come from and makes a layer of each.

Variables, ``.env``, secret files, ``config.yaml``, presets.
"""

import io
import json
import os
import re
import stat
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import cast

from dotenv.parser import parse_stream

from bot.documents.yaml import Document, Plain, dotted, read_text, read_yaml
from bot.documents.yaml import Path as KeyPath
from bot.domain.errors import BotError, ConfigError
from bot.domain.values import value
from bot.settings.layers import DEFAULT_ORIGIN, PREFIX, Layer, Variable, Variables

CONFIG_NAME = "config.yaml"
ENV_NAME = ".env"
MAX_FILE_BYTES = 1 << 20
MAX_SECRET_BYTES = 1 << 16

CONFIG_VARIABLE = "LANTERN_CONFIG"
"""Names the config file; the only such variable that is no setting."""

DISCORD_VARIABLE = "DISCORD_TOKEN"

PRESETS: Mapping[str, dict[str, Plain]] = {
    "zai": {
        "kind": "openai",
        # Never the coding plan's address: it bans chat bots.
        "base_url": "https://api.z.ai/api/paas/v4",
        "api_key_env": "Z_AI_API_KEY",
        "model": "glm-4.6",
        # Of its concurrency, told only by refusing, most accounts have no more.
        "max_concurrent": 5,
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

_AROUND = re.compile(
    r"""(?P<before>\s*(?:export[^\S\r\n]+)?)(?:'[^']+'|[^='\s\#]+)[^\S\r\n]*
    (?:=(?:[^\S\r\n]*(?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|[^\r\n]*?))?
    (?P<behind>(?(quoted)[^\S\r\n]*|[^\S\r\n]+)\#[^\r\n]*)?[^\S\r\n]*[\r\n]*""",
    re.VERBOSE | re.DOTALL,
)
"""A line of ``.env`` that the parser took: what stands before its name, and a comment behind."""

_SECRET_KEY = re.compile(r"(?:^|_)(?:token|secret|password|passwd|key|apikey)$", re.IGNORECASE)
_ENV_SUFFIX = "_env"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# STUDIO_TOKEN, MYTOKEN2, studio_token: what a secret hardly ever looks like. Of sixteen signs and
# more a random key may have no digit until its end.
_READS_AS_NAME = re.compile(
    r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z]{2,13}[0-9]{0,2}"
    r"|(?:[a-z]+_)*(?:token|key|secret|password)(?:_[a-z]+)*"
)


@value
class Found:
    """Variables of one place, and what is wrong or doubtful there."""

    variables: Mapping[str, Variable] = field(default_factory=dict[str, Variable])
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


# --- places --------------------------------------------------------------------------------


def read_environ(environ: Mapping[str, str]) -> Found:
    """The process's environment; an empty variable counts as unset."""
    # `.env.example` ships with empty lines to fill in, and compose files pass those on.
    return Found(
        {
            name: Variable(value.strip(), f"environment variable {name}")
            for name, value in environ.items()
            if value.strip()
        }
    )


def read_dotenv(path: Path) -> Found:
    """A ``.env`` file; values are taken literally, ``$NAME`` is not replaced."""
    if not path.exists():
        return Found()
    try:
        text = read_text(path, MAX_FILE_BYTES)
    except ConfigError as error:
        return Found(faults=error.faults)
    variables: dict[str, Variable] = {}
    faults: list[str] = []
    empty: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        # The parser counts from the blank lines before an assignment.
        written = binding.original.string
        blank = written[: len(written) - len(written.lstrip())].count("\n")
        origin = f"{path.name} line {binding.original.line + blank}"
        if binding.error:
            faults.append(f"{origin}: not understood; expected NAME=value")
        elif binding.key and binding.value and binding.value.strip():
            value = binding.value.strip()
            variables[binding.key] = Variable(value, f"{origin}, {binding.key}")
        elif binding.key and binding.value is None:
            # A secret may stand there alone; only a likely name is repeated.
            shown = binding.key if _READS_AS_NAME.fullmatch(binding.key) else "a name"
            words = "has no “=” and says nothing; write NAME=value"
            empty[binding.key] = f"{origin}: {shown} {words}"
    # As shells take it, `export NAME` may stand below NAME=value.
    warnings = tuple(words for name, words in empty.items() if name not in variables)
    is_exposed = os.name == "posix" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    if variables and is_exposed:
        words = "can be read by other users of this machine; run: chmod 600"
        warnings = (*warnings, f"{path} {words} {path}")
    return Found(variables, tuple(faults), warnings)


def write_dotenv(path: Path, values: Mapping[str, str]) -> None:
    """Says these values in a ``.env`` file that only its owner may read; the rest of it stays.

    Raises:
        BotError: the file cannot be written; the old one is unharmed.
    """
    left = {name: f"{name}={_quoted(value)}" for name, value in values.items()}
    said = set(values)
    try:
        # A link stays one: what it leads to is written.
        target = path.resolve()
        pieces = list[str]()
        if target.exists():
            for binding in parse_stream(io.StringIO(read_text(target, MAX_FILE_BYTES))):
                line = binding.original.string
                if binding.key in said:
                    # In its old place, under the words that tell of it; a second would win.
                    line = _around(line, left.pop(binding.key or "", ""))
                pieces.append(line)
        if pieces and not "".join(pieces).endswith("\n"):
            pieces.append("\n")
        text = "".join([*pieces, *(f"{new}\n" for new in left.values())])
        # Beside it and then in its place: a full disk leaves the old file whole. Made 0600.
        with tempfile.NamedTemporaryFile(
            "w", dir=target.parent, prefix=f"{ENV_NAME}.", delete=False, encoding="utf-8"
        ) as file:
            try:
                file.write(text)
                file.close()
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise BotError(f"{path} cannot be written: {error.strerror}.") from error


def _around(old: str, new: str) -> str:
    """A new assignment amid what stood around the old one; nothing where there is none."""
    found = _AROUND.fullmatch(old)
    if not new or found is None:
        return f"{new}\n" if new else ""
    behind = found["behind"] or ""
    # Behind quotes a comment needs no space; right behind a bare value it would be part of it.
    gap = " " if behind.startswith("#") else ""
    return f"{found['before']}{new}{gap}{behind}\n"


def _quoted(value: str) -> str:
    """A value as the parser reads it back."""
    if re.fullmatch(r"[^\s'\"#\\]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def read_secrets(directories: Sequence[Path]) -> Found:
    """Directories with one file per variable, named like it in either case; the first one wins."""
    variables: dict[str, Variable] = {}
    faults: list[str] = []
    # Backwards, so that the first directory's files replace those of the others.
    for directory in reversed(directories):
        try:
            for path in sorted(directory.iterdir()):
                # Kubernetes puts hidden folders beside the files it mounts.
                if not path.is_file() or path.name.startswith("."):
                    continue
                if text := read_text(path, MAX_SECRET_BYTES).strip():
                    variables[path.name.upper()] = Variable(text, f"secrets file {path}")
        except ConfigError as error:
            faults += error.faults
        except OSError as error:
            faults.append(f"{directory}: secrets cannot be read: {error.strerror}")
    return Found(variables, tuple(faults))


def read_config(path: Path, source: str, named_by: str) -> Document:
    """The config file's values; one that cannot be read is a fault of what named it."""
    try:
        return read_yaml(read_text(path, MAX_FILE_BYTES), source)
    except ConfigError as error:
        return Document(
            faults=tuple(f"{named_by}: {fault}" if named_by else fault for fault in error.faults)
        )


# --- layers --------------------------------------------------------------------------------


def variables_layer(variables: Variables, but: Collection[str] = ()) -> Layer:
    """Settings said by ``LANTERN_…`` variables; ``__`` goes one level down. ``but`` are none."""
    values: dict[str, Plain] = {}
    origins: dict[KeyPath, str] = {}
    # Shorter names first: LANTERN_ROUTING={…} is refined by LANTERN_ROUTING__STRATEGY.
    for name in sorted(variables):
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or name in but:
            continue
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        here: Plain = values
        for part in path[:-1]:
            here = here.setdefault(part, {}) if isinstance(here, dict) else None
        # What is above may be said to be a single value already, which has its own fault.
        if isinstance(here, dict):
            here[path[-1]] = _plain_of(variables[name].value)
            origins[path] = variables[name].origin
    return Layer(values, origins, is_variables=True)


def file_layer(document: Document, source: str) -> tuple[Layer, list[str]]:
    """Settings said by the config file, and a fault for each secret written into it."""
    # The file is the one place that people show each other and commit.
    secrets: list[KeyPath] = []
    values = cast(dict[str, Plain], _without_secrets(document.values, (), secrets))
    faults: list[str] = []
    for path in secrets:
        home = "put it in the environment, .env or secrets_dir"
        pointer = {"hosts": "token_env", "providers": "api_key_env"}.get(str(path[0]))
        home += (
            f" and name its variable by {pointer}"
            if pointer
            else f", a Discord token as {DISCORD_VARIABLE}"
        )
        held = f"{dotted(path)} holds a secret, which may not stand in this file; {home}"
        faults.append(f"{source} line {document.lines[path]}: {held}")
    # A heading whose lines are all commented out says nothing.
    for section in (values, values.get("providers")):
        if isinstance(section, dict):
            for key in [key for key, value in section.items() if value is None]:
                del section[key]
    return Layer(
        values, {at: f"{source} line {line}" for at, line in document.lines.items()}
    ), faults


def preset_layer(variables: Variables) -> Layer:
    """What holds when nobody says otherwise: the known providers, and the Discord token."""
    # Each key has a place of its own, or `config show` would name the line of its provider.
    values: dict[str, Plain] = {"providers": dict(PRESETS)}
    origins: dict[KeyPath, str] = {
        ("providers", name, key): DEFAULT_ORIGIN
        for name, preset in PRESETS.items()
        for key in preset
    }
    if token := variables.get(DISCORD_VARIABLE):
        values["discord"] = {"token": token.value}
        origins["discord", "token"] = token.origin
    return Layer(values, origins)


def follow_pointers(layer: Layer, variables: Variables) -> tuple[Layer, list[str]]:
    """The layer with the secrets its ``*_env`` keys name; a fault for each that names nothing."""
    origins = dict(layer.origins)
    faults: list[str] = []
    switches: dict[KeyPath, Plain] = {
        ("providers", name): preset["api_key_env"] for name, preset in PRESETS.items()
    }

    def followed(value: Plain, path: KeyPath) -> Plain:
        if isinstance(value, list):
            return [followed(item, (*path, at)) for at, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        found = {key: followed(item, (*path, key)) for key, item in value.items()}
        for key, name in value.items():
            target = key.removesuffix(_ENV_SUFFIX)
            # An explicit secret beats a named one.
            if target == key or target in found or not isinstance(name, str):
                continue
            # Files in a secrets directory are named in either case.
            if variable := variables.get(name) or variables.get(name.upper()):
                found[target] = variable.value
                origins[*path, target] = variable.origin
            # A known provider's own variable is its switch; what is no name has its own fault.
            elif _VARIABLE.fullmatch(name) and name != switches.get(path):
                here = (*path, key)
                # Somebody may have put the secret itself here; only a likely name is repeated.
                shown = name if _READS_AS_NAME.fullmatch(name) else "a variable"
                words = f"{dotted(here)} names {shown}, which is set nowhere; expected it in"
                faults.append(f"{layer.origin(here)}: {words} the environment, .env or secrets_dir")
        return found

    values = {key: followed(value, (key,)) for key, value in layer.values.items()}
    return replace(layer, values=values, origins=origins), faults


def _plain_of(text: str) -> Plain:
    """A variable's text; lists and mappings may be written as JSON."""
    if text == "null":
        return None
    # Text that only begins so goes on as it is: what it was meant for says what it expected.
    if text.startswith(("[", "{")):
        try:
            return cast(Plain, json.loads(text))
        except (ValueError, RecursionError):
            return text
    return text


def _without_secrets(value: Plain, path: KeyPath, secrets: list[KeyPath]) -> Plain:
    """The value without what stands under a secret's key; the paths of those go to ``secrets``."""
    if isinstance(value, list):
        return [_without_secrets(item, (*path, at), secrets) for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Plain] = {}
    for key, item in value.items():
        here = (*path, key)
        # A heading such as `key: {…}` is no secret, and `token: null` gives nothing away.
        if _SECRET_KEY.search(key) and not isinstance(item, dict | list | None):
            secrets.append(here)
        else:
            kept[key] = _without_secrets(item, here, secrets)
    return kept
