"""What programs on the LAN were promised by name: fields, metrics, headers, codes; over sockets."""

import asyncio
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from clocks import LoopClock
from prometheus_client.parser import text_string_to_metric_families
from rows import each_told
from structlog.testing import capture_logs

from bot.gateway import edge
from bot.gateway.sinks import LIFE
from bot.policy.budget import BudgetRules
from bot.sim.journal import LoadStarted
from bot.sim.models import OverflowAnswer
from tests.gateway.gate import CHATS, PATHS, any_form, chat, gate, in_two_reads, viewer
from tests.helpers.house import GEMMA, QWEN, cloud, sim

LOAD, UNLOAD, ACTIVATE = (f"/admin/models/{act}" for act in ("load", "unload", "activate"))

LOADED = "status message modelKey host instanceId seconds evicted loadConfig ignored active"
ACTIVATED = "status message modelKey loaded defaultInference"

METRICS = {
    "requests": "endpoint model host outcome",
    "request_duration_seconds": "endpoint",
    "time_to_first_token_seconds": "model host state",
    "time_per_output_token_seconds": "model host",
    "queue_seconds": "host",
    "tokens": "model host type",
    "requests_running": "host",
    "requests_waiting": "host",
    "model_loads": "host model outcome",
    "model_load_seconds": "host model",
    "model_unloads": "cause",
    "model_loaded": "host model",
    "host_up": "host",
    "host_memory_bytes": "host kind",
    "fallbacks": "reason",
    "wrong_model": "host",
    "cost_usd": "provider model",
    "budget_remaining_usd": "period",
    "auth_failures": "reason",
    "overhead_seconds": "",
    "build_info": "version",
}
"""Without ``lantern_`` and Prometheus' ``_total``; its labels."""


BOUNDS = [str(float(s)) for s in (0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 300)]
BOUNDS.append("+Inf")
"""OpenTelemetry's of the first token, and those that a load reaches."""


async def test_every_metric_has_its_name_and_labels(tmp_path: Path, loop_clock: LoopClock) -> None:
    one = sim("one", QWEN, GEMMA)
    budget, providers = BudgetRules(daily_micro_usd=10**9), cloud(openai="openai")
    async with gate(tmp_path, one, providers=providers, budget=budget) as it:
        host = it.house.hosts["one"]
        host.faults.wrong_model(GEMMA.key)
        for stream in (True, False):
            await it.ask(CHATS, chat(QWEN.key, max_tokens=3, stream=stream))
        await in_two_reads(it, QWEN.key, loop_clock, "eins zwei drei")
        await it.ask(UNLOAD, {"modelKey": QWEN.key})
        host.faults.fail_next_load("no", times=None)
        assert (await it.ask(CHATS, chat(GEMMA.key, max_tokens=3))).status == 200
        host.faults.clear()
        await it.ask(LOAD, {"modelKey": QWEN.key})
        await it.ask("/v1/models", method="GET", Host="evil.example")
        page = (await it.ask("/metrics", method="GET")).body.decode()
        told: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(page):
            labels = {name for sample in family.samples for name in sample.labels} - {"le"}
            told[family.name.removeprefix("lantern_")] = labels
        assert {name: labels for name, labels in told.items() if name in METRICS} == {
            name: set(labels.split()) for name, labels in METRICS.items()
        }
        first = [line for line in page.splitlines() if "_to_first_token_seconds_bucket" in line]
        bounds = list(dict.fromkeys(line.split('le="')[1].split('"')[0] for line in first))
        assert bounds == BOUNDS


async def test_admin_answers_hold_exactly_what_was_promised(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        ask = {"modelKey": QWEN.key}
        for status in ("loaded", "already_loaded"):
            loaded: dict[str, Any] = (await it.ask(LOAD, ask)).json
            assert (" ".join(loaded), loaded["status"]) == (LOADED, status)
            assert isinstance(loaded["seconds"], float)
        activated = (await it.ask(ACTIVATE, ask)).json
        assert (" ".join(activated), activated["status"]) == (ACTIVATED, "activated")
        unloaded = (await it.ask(UNLOAD, ask)).json
        assert " ".join(unloaded) == "status message modelKey hosts"
        status = (await it.ask("/admin/status", method="GET")).json
        assert {"version", "active", "uptimeSeconds", "budget"} <= status.keys()
        models: Any = (await it.ask("/admin/models", method="GET")).json["models"]
        wanted = {"modelKey", "hosts", "loaded", "maxContextLength", "secondsUntilWarm"}
        assert all(wanted <= model.keys() for model in models)
        hosts: Any = (await it.ask("/admin/hosts", method="GET")).json["hosts"]
        assert {"name", "state", "memory", "instances", "queue", "load"} <= hosts[0].keys()


async def test_events_hold_exactly_what_was_promised(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        await it.ask(CHATS, chat(QWEN.key, max_tokens=2, stream=True))
        await seen.until("request.end")
        await it.ask(UNLOAD, {"modelKey": QWEN.key})
        await seen.until("model_unload")
        load = "host modelKey instanceId progress secondsLeft"
        request = "id key endpoint model host status inputTokens outputTokens seconds outcome"
        for kind, fields in {
            "model_load.start": load,
            "model_load.end": load,
            "model_unload": "host modelKey instanceId cause",
            "route": "request host reason rejected predicted",
            "request.start": request,
            "request.first_token": request,
            "request.end": request,
        }.items():
            (event,) = (e for e in seen.seen if e["type"] == kind)
            assert set(f"type at {fields}".split()) <= event.keys(), kind


@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_asks_proxies_to_hold_nothing_back(tmp_path: Path, path: str) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        body = any_form("[[say seven]]", stream=True, max_tokens=9)
        answer = await it.ask(path, body, Accept_Encoding="gzip, deflate, br, zstd")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in answer.headers
        # Ours is in it only where a chunk of ours came first.
        assert answer.headers["x-request-id"] not in answer.body.decode()
        lines = answer.body.decode().splitlines()
        # After a line with an id openai-python crashes on whatever has no data.
        assert not any(line.startswith(("id:", "retry:")) for line in lines)
        if path in PATHS[:2]:
            assert not any(line.startswith("event:") for line in lines)
            assert lines[-2:] == ["data: [DONE]", ""]


def test_life_is_shown_before_any_client_gives_up() -> None:
    assert (LIFE.headers_s, LIFE.every_s) == (1.0, 10.0)


@pytest.mark.parametrize("overflow", ["status", "event"])
async def test_a_prompt_that_its_host_finds_too_long_is_no_fault_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overflow: OverflowAnswer
) -> None:
    # Ours is a guess; a host with another tokenizer may count more.
    monkeypatch.setattr(edge, "estimate_tokens", bool)
    config = sim("one", replace(QWEN, max_context_length=512), overflow=overflow)
    params = dict(zip(PATHS, ("messages", "prompt", "input", "messages"), strict=True))
    async with gate(tmp_path, config) as it:
        with each_told() as row:
            for path, stream in product(PATHS, (True, False)):
                with row(path=path, stream=stream):
                    asked = any_form("word " * 4000, stream=stream, max_tokens=5)
                    answer = await it.ask(path, asked)
                    error: Any = answer.json["error"]
                    assert answer.status == 400
                    assert "x-should-retry" not in answer.headers
                    assert "retry-after" not in answer.headers
                    if path == "/v1/messages":
                        assert error["type"] == "invalid_request_error"
                    else:
                        told = ("context_length_exceeded", params[path])
                        assert (error["code"], error["param"]) == told
                    # And the next one is answered by the same host.
                    assert (await it.ask(path, any_form(max_tokens=2))).status == 200


async def test_a_client_that_leaves_is_one_line_of_the_log_by_nginxs_number(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        it.house.hosts["one"].faults.stall_after_tokens(1)
        with capture_logs() as logs:
            body = chat(QWEN.key, "secret", stream=True)
            async with it.session.post(it.base + CHATS, json=body) as got:
                await got.content.readany()
            await it.house.lantern.relaying.drain(5.0)
        (line,) = (line for line in logs if line["event"] == "request")
        assert (line["status"], line["outcome"]) == (499, "left")
        assert "secret" not in str(logs)


async def test_two_who_load_one_model_otherwise_are_each_told_the_truth(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        one.faults.stall_load()
        sizes = (4096, 16384)
        async with asyncio.TaskGroup() as tasks:
            loads = [
                tasks.create_task(
                    it.ask(LOAD, {"modelKey": QWEN.key, "loadConfig": {"contextLength": size}})
                )
                for size in sizes
            ]
            await one.journal.wait_for(LoadStarted)
            one.faults.clear()
        small, large = (load.result() for load in loads)
        assert (small.status, large.status) == (200, 200)
        # The larger takes the smaller one's place, or serves both.
        assert large.json["loadConfig"] == {"contextLength": 16384}
        told: Any = small.json["loadConfig"]
        assert told["contextLength"] in sizes
        assert [copy.context_length for copy in one.resident] == [16384]
