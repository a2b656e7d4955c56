"""What ``config show`` and ``config schema`` print."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from settings_files import DISCORD_TOKEN, ROOT, load

from bot.settings import masked, schema, tree


def test_show_lists_every_value_with_its_origin(tmp_path: Path) -> None:
    environ = {"DISCORD_TOKEN": DISCORD_TOKEN, "LANTERN_HOSTS": "a,b"}
    lines = masked(load(tmp_path, "\nlog:\n  level: debug", environ))
    shown = {line["key"]: (line["value"], line["origin"]) for line in lines}
    assert shown["log.level"] == ("debug", "config.yaml line 3")
    assert shown["log.format"] == ("auto", "default")
    assert shown["hosts.1.address"] == ("b:1234", "environment variable LANTERN_HOSTS")
    assert shown["hosts.1.weight"] == ("1.0", "default")
    assert shown["discord.token"] == ("**********", "environment variable DISCORD_TOKEN")
    assert shown["providers.zai.model"] == ("glm-4.6", "default")
    assert shown["routing.max_local_wait"][0] == "2m"
    assert shown["gateway.max_body"][0] == "32MiB"


@pytest.mark.parametrize(
    ("said", "shown"),
    [("1GiB", "1GiB"), ("1536 KiB", "1536KiB"), ("2MB", "2MB"), ("5kb", "5KB"), ("1025", "1025")],
)
def test_a_size_is_shown_as_the_file_takes_it(said: str, shown: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, f"gateway: {{max_body: {said}}}")
    told = {line["key"]: line["value"] for line in masked(loaded)}
    assert told["gateway.max_body"] == shown
    again = load(tmp_path, f"gateway: {{max_body: {shown}}}")
    assert again.settings.gateway.max_body == loaded.settings.gateway.max_body


def test_the_schema_describes_the_file_and_no_secret() -> None:
    found = schema()
    assert json.loads(json.dumps(found)) == found
    assert found["additionalProperties"] is False
    names = {name for section in _sections(found) for name in section["properties"]}
    assert {"hosts", "token_env", "api_key_env", "idle_ttl", "secrets_dir"} <= names
    assert not {"token", "api_key"} & names
    undescribed = [
        name
        for section in found["$defs"].values()
        for name, field in section["properties"].items()
        if "description" not in field
    ]
    assert undescribed == []


def test_every_key_stands_in_the_shipped_example() -> None:
    example = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
    keys = {key for section in _sections(schema()) for key in section["properties"]}
    assert [key for key in sorted(keys) if f"{key}:" not in example] == []


def test_no_key_is_taken_that_nobody_reads() -> None:
    readers = [*(ROOT / "bot" / "commands").glob("*.py"), ROOT / "bot" / "app.py"]
    readers += [ROOT / "bot" / "cli.py", *(ROOT / "bot" / "settings").glob("*.py")]
    read = "".join(path.read_text(encoding="utf-8") for path in readers if path.stem != "tree")
    kept = {
        (kind.__name__, name)
        for kind in vars(tree).values()
        if isinstance(kind, type)
        and issubclass(kind, BaseModel)
        and kind.__module__ == tree.__name__
        for name in kind.model_fields
        if f".{name}" not in read and f'"{name}"' not in read
    }
    # It has one value, so that no other is taken for one that is followed.
    assert kept == {("DiscordSettings", "edit_style")}
    assert get_args(tree.DiscordSettings.model_fields["edit_style"].annotation) == ("adaptive",)


@pytest.mark.ops
def test_importing_settings_brings_no_heavy_package() -> None:
    code = "import sys, bot.settings; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"discord", "aiohttp", "lmstudio", "structlog", "rich", "httpx"}


def _sections(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in (found, *found["$defs"].values()) if "properties" in part]
