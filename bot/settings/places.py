"""Reads the places settings come from: variables, ``.env``, secret files, ``config.yaml``."""

import io
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from bot.documents.yaml import Document, read_text, read_yaml
from bot.domain.errors import ConfigError
from bot.settings.layers import Variable

CONFIG_NAME = "config.yaml"
ENV_NAME = ".env"
MAX_FILE_BYTES = 1 << 20
MAX_SECRET_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Found:
    """Variables of one place, and what is wrong or doubtful there."""

    variables: Mapping[str, Variable] = field(default_factory=dict[str, Variable])
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_environ(environ: Mapping[str, str]) -> Found:
    """The process's environment; an empty variable counts as unset."""
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
    for binding in parse_stream(io.StringIO(text)):
        origin = f"{path.name} line {_line(binding)}"
        if binding.error:
            faults.append(f"{origin}: not understood; expected NAME=value")
        elif binding.key and binding.value and binding.value.strip():
            value = binding.value.strip()
            variables[binding.key] = Variable(value, f"{origin}, {binding.key}")
    warnings = (_exposed_words(path),) if variables and _is_exposed(path) else ()
    return Found(variables, tuple(faults), warnings)


def read_secrets(directories: Sequence[Path]) -> Found:
    """Directories with one file per variable, named like it in either case; the first one wins."""
    variables: dict[str, Variable] = {}
    faults: list[str] = []
    for directory in reversed(directories):
        try:
            variables |= _secret_files(directory)
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


def _secret_files(directory: Path) -> dict[str, Variable]:
    variables: dict[str, Variable] = {}
    for path in sorted(directory.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            text = read_text(path, MAX_SECRET_BYTES).strip()
            if text:
                variables[path.name.upper()] = Variable(text, f"secrets file {path}")
    return variables


def _line(binding: Binding) -> int:
    """The line of the assignment; the parser counts from the blank lines before it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _is_exposed(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _exposed_words(path: Path) -> str:
    return f"{path} can be read by other users of this machine; run: chmod 600 {path}"
