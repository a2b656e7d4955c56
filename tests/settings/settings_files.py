"""Writes settings into a directory and loads them, for every test of settings."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.domain.errors import ConfigError
from bot.settings import Loaded, Settings, load_settings

ROOT = Path(__file__).parents[2]
DISCORD_TOKEN = "MTA0NzI5ODg4ODg4ODg4ODg4OA.GaBcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"
LM_TOKEN = "sk-lm-abcdefgh:ABCDEFGHIJKLMNOPQRST"


def load(
    directory: Path,
    config: str | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: str | None = None,
) -> Loaded:
    if config is not None:
        (directory / "config.yaml").write_text(config, encoding="utf-8")
    if dotenv is not None:
        (directory / ".env").write_text(dotenv, encoding="utf-8")
        (directory / ".env").chmod(0o600)
    return load_settings(None, environ or {}, directory)


def faults(
    directory: Path,
    config: str | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: str | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory, config, environ, dotenv)
    return list(caught.value.faults)


def plain(settings: Settings) -> object:
    return json.loads(settings.model_dump_json())
