"""What docs/gateway.md says to type, typed: curl lines word for word, settings, its table."""

import asyncio
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from bot.settings import load_settings
from bot.sim.journal import LoadStarted, PredictionStarted
from tests.gateway.gate import Gate, gate
from tests.helpers.house import GEMMA, QWEN, sim

GUIDE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8400"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def lines_under(heading: str, kind: str = "sh") -> list[str]:
    """The lines of the first block of this kind under a heading."""
    _, _, below = GUIDE.partition(f" {heading}\n")
    found = re.search(rf"```{kind}\n(.*?)```", below, re.S)
    assert found is not None
    return found[1].strip().splitlines()


async def typed(it: Gate, line: str) -> str:
    """What the shell prints."""
    assert line.startswith(f"curl -s {ADDRESS}/")
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", line.replace(ADDRESS, it.base)), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


async def all_typed(it: Gate, heading: str) -> list[Any]:
    return [json.loads(await typed(it, line)) for line in lines_under(heading)]


def asked(it: Gate) -> list[PredictionStarted]:
    return it.house.hosts["one"].journal.of(PredictionStarted)


def test_the_page_and_the_guide_suggest_the_same_key_for_oneself() -> None:
    # A playground stands on the page that the one without `inference` opens.
    page = Path(__file__).parents[2] / "bot" / "gateway" / "page" / "app.js"
    told = re.findall(r"lantern keys add me[a-z -]*", page.read_text(encoding="utf-8"))
    (line,) = [line for line in lines_under("Keys") if "add me" in line]
    assert told == [line, line] == ["lantern keys add me --scope admin --scope inference"] * 2


@pytest.mark.ops
@needs_curl
async def test_one_model_with_parameters_filled_in(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        loaded, first, second = await all_typed(it, "One model, with parameters filled in")
        assert (loaded["status"], loaded["active"], loaded["host"]) == ("loaded", True, "one")
        assert loaded["loadConfig"]["contextLength"] == 8192
        assert loaded["ignored"] == []
        # The host's own word for what it was told.
        [load] = it.house.hosts["one"].journal.of(LoadStarted)
        assert load.key == QWEN.key
        assert 8192 in load.config.values()
        [host] = it.house.lantern.fleet.snapshot().hosts.values()
        [instance] = host.instances
        assert instance.context_length == 8192
        assert {first["model"], second["model"]} == {QWEN.key}
        filled, given = (dict(prediction.sampling) for prediction in asked(it))
        assert filled["temperature"] == 0.3
        assert (filled["max_tokens"], filled["top_p"], filled["top_k"]) == (40, 0.9, 20)
        assert (filled["repeat_penalty"], filled["stop"]) == (1.1, ["END"])
        assert given == filled | {"temperature": 0.9, "max_tokens": 10}


@pytest.mark.ops
@needs_curl
async def test_several_models_one_per_request(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        loaded, qwen, gemma, active, unnamed, unloaded = await all_typed(
            it, "Several models, one per request"
        )
        assert loaded["status"] == "loaded"
        assert [qwen["model"], gemma["model"]] == [QWEN.key, GEMMA.key]
        assert (active["status"], active["loaded"]) == ("activated", True)
        assert unnamed["model"] == GEMMA.key
        assert (unloaded["status"], unloaded["hosts"]) == ("unloaded", ["one"])
        loads = it.house.hosts["one"].journal.of(LoadStarted)
        assert [load.key for load in loads] == [GEMMA.key, QWEN.key]
        assert [prediction.key for prediction in asked(it)] == [QWEN.key, GEMMA.key, GEMMA.key]


@pytest.mark.ops
@needs_curl
async def test_in_place_of_lm_studio(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        listed, native, stream, text = [
            await typed(it, line) for line in lines_under("In place of LM Studio")
        ]
        for told in (listed, native):
            ids = {entry["id"] for entry in json.loads(told)["data"]}
            assert {QWEN.key, GEMMA.key} <= ids
        events = [line for line in stream.splitlines() if line]
        assert all(line.startswith("data: ") for line in events)
        assert json.loads(events[0].removeprefix("data: "))["model"] == QWEN.key
        assert events[-1] == "data: [DONE]"
        assert json.loads(text)["object"] == "text_completion"


def test_a_proxy_that_passes_on_bodies_of_any_size_keeps_none_of_them() -> None:
    # Of 300 MB without a key nginx wrote 300 MB to its disk, and asked Lantern after that.
    lines = [
        line.partition("#")[0].strip() for line in lines_under("Behind a reverse proxy", "nginx")
    ]
    assert {"client_max_body_size 0;", "proxy_request_buffering off;"} <= set(lines)


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(gateway:.*?)```", GUIDE, re.S))
def test_the_settings_it_shows_can_be_set(tmp_path: Path, block: str) -> None:
    (tmp_path / "config.yaml").write_text(block, encoding="utf-8")
    settings = load_settings(None, {"LANTERN_HOSTS": "10.0.0.2"}, tmp_path).settings
    shown = cast(Mapping[str, Mapping[str, object]], yaml.safe_load(block))["gateway"]
    assert settings.gateway.enabled is True
    assert list(settings.gateway.host_names) == shown["host_names"]


def test_every_code_it_explains_is_one_that_is_sent() -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for room in ("gateway", "chat")
        for path in (Path(__file__).parents[2] / "bot" / room).glob("*.py")
    )
    table = GUIDE.partition("## When it says no")[2].partition("## ")[0]
    codes = re.findall(r"^\| \d.*? \| ([^|]+) \|", table, re.M)
    named = {code for cell in codes for code in re.findall(r"`(\w+)`", cell)}
    assert len(named) > 15
    assert {code for code in named if f'"{code}"' not in sources} == set()
