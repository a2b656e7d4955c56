"""Hosts that break, lie or forget: unseen before the first word, told after it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from clocks import LoopClock

from bot.domain.ids import HostName
from bot.fleet import health
from bot.policy.breaker import BreakerRules
from bot.sim.journal import LoadStarted, PredictionStarted
from bot.sim.models import SimHostConfig
from tests.gateway.gate import CHATS, PATHS, Answer, Gate, any_form, chat, gate
from tests.helpers.house import GEMMA, QWEN, sim

FAULTS = ("drop", "silent end", "status", "garbage", "wrong model")


@asynccontextmanager
async def warm(folder: Path, *configs: SimHostConfig) -> AsyncGenerator[Gate]:
    """Every host has the model in memory, and the first is the one asked."""
    async with gate(folder, *configs) as it:
        for name, host in it.house.hosts.items():
            await host.preload(QWEN.key)
            await it.house.lantern.fleet.host(HostName(name)).probe()
        yield it


def break_before_a_word(it: Gate, how: str, path: str) -> None:
    faults = it.house.hosts["one"].faults
    match how:
        case "drop":
            faults.drop_after_tokens(0)
        case "silent end":
            faults.silent_end(0)
        case "status":
            faults.status_500(path=path)
        case "garbage":
            faults.garbage(path=path)
        case _:
            # Twice: asked again after it was looked at, it lies again.
            faults.wrong_model("another/model", times=2)


def told(answer: Answer) -> list[dict[str, object]]:
    """The data of every event but the end mark of OpenAI's older forms."""
    lines = [x[5:] for x in answer.body.decode().splitlines() if x.startswith("data:")]
    return [json.loads(line) for line in lines if line.strip() != "[DONE]"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("how", "path"), [*((how, CHATS) for how in FAULTS), *(("drop", path) for path in PATHS[1:])]
)
async def test_before_the_first_word_another_answers_unseen(
    tmp_path: Path, how: str, path: str, stream: bool
) -> None:
    async with warm(tmp_path, sim("one", QWEN), sim("two", QWEN)) as it:
        break_before_a_word(it, how, path)
        answer = await it.ask(path, any_form("[[say seven]]", stream=stream, max_tokens=5))
        assert answer.status == 200
        assert b"seven" in answer.body
        assert b"event: error" not in answer.body
        assert b'"error": {' not in answer.body
        assert b"another/model" not in answer.body
        assert "host=two" in answer.headers["x-lantern-route"]
        assert len(it.house.hosts["two"].journal.of(PredictionStarted)) == 1


@pytest.mark.parametrize(
    ("how", "path"),
    [("drop", CHATS), ("silent end", CHATS), *(("error event", path) for path in PATHS)],
)
async def test_after_the_first_word_an_error_event_ends_the_stream(
    tmp_path: Path, how: str, path: str
) -> None:
    async with warm(tmp_path, sim("one", QWEN), sim("two", QWEN)) as it:
        one = it.house.hosts["one"]
        match how:
            case "drop":
                one.faults.drop_after_tokens(2)
            case "silent end":
                one.faults.silent_end(2)
            case _:
                one.faults.stall_after_tokens(2)
        body = any_form("[[say one two three]]", stream=True, max_tokens=9)
        async with it.session.post(it.base + path, json=body) as got:
            heard = b""
            while b" two" not in heard and (more := await got.content.readany()):
                heard += more
            if how == "error event":
                one.unload(QWEN.key)
            answer = Answer(got.status, {}, heard + await got.content.read())
        *before, last = told(answer)
        assert before
        assert b"three" not in answer.body
        match path:
            case "/v1/messages":
                assert last["type"] == "error"
                assert answer.body.count(b"event: error") == 1
            case "/v1/responses":
                assert (last["type"], last["code"]) == ("error", "upstream_error")
                assert last["param"] is None
                # By this openai-python knows it for an error, by its number @ai-sdk/openai.
                assert cast(dict[str, object], last["error"])["code"] == "upstream_error"
                numbers = [event["sequence_number"] for event in (*before, last)]
                assert numbers == list(range(len(numbers)))
            case _:
                error = cast(dict[str, object], last["error"])
                assert error["code"] == "upstream_error"
                assert answer.body.endswith(b"data: [DONE]\n\n")
        assert not it.house.hosts["two"].journal.of(PredictionStarted)


@pytest.mark.parametrize("stream", [True, False])
async def test_with_nobody_else_the_error_is_plain_and_comes_before_any_byte(
    tmp_path: Path, stream: bool
) -> None:
    async with warm(tmp_path, sim("one", QWEN)) as it:
        it.house.hosts["one"].faults.wrong_model("another/model", times=None)
        answer = await it.ask(CHATS, chat(QWEN.key, stream=stream))
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")


@pytest.mark.parametrize("stream", [True, False])
async def test_without_jit_another_model_in_memory_never_answers(
    tmp_path: Path, stream: bool
) -> None:
    """LM Studio answers any name by its only model: after somebody swapped it behind our back."""
    async with gate(tmp_path, sim("one", QWEN, GEMMA, jit=False)) as it:
        one, fleet = it.house.hosts["one"], it.house.lantern.fleet
        await one.preload(QWEN.key)
        await fleet.host(HostName("one")).probe()
        one.unload(QWEN.key)
        await one.preload(GEMMA.key)
        answer = await it.ask(CHATS, chat(QWEN.key, max_tokens=3, stream=stream))
        assert answer.status == 200
        assert answer.headers["x-lantern-model"] == QWEN.key
        assert GEMMA.key.encode() not in answer.body
        assert [r.key for r in one.journal.of(PredictionStarted)] == [QWEN.key]


async def test_a_host_with_jit_that_forgot_is_loaded_by_us_and_not_by_itself(
    tmp_path: Path,
) -> None:
    async with warm(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        one.unload(QWEN.key)
        answer = await it.ask(CHATS, chat(QWEN.key, max_tokens=3))
        assert answer.status == 200
        assert [record.via for record in one.journal.of(LoadStarted)] == ["foreign", "socket"]


async def test_a_wrong_model_is_asked_once_more_where_it_was_swapped(tmp_path: Path) -> None:
    async with warm(tmp_path, sim("one", QWEN), sim("two", QWEN)) as it:
        it.house.hosts["one"].faults.wrong_model("another/model")
        answer = await it.ask(CHATS, chat(QWEN.key, max_tokens=3, stream=True))
        assert "host=one" in answer.headers["x-lantern-route"]
        assert b"another/model" not in answer.body


@pytest.mark.parametrize("stream", [True, False])
async def test_a_load_that_is_refused_says_why_and_is_not_to_be_asked_for_again(
    tmp_path: Path, stream: bool
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        it.house.hosts["one"].faults.fail_next_load("the GPU caught fire", times=None)
        answer = await it.ask(CHATS, chat(QWEN.key, stream=stream))
        assert (answer.status, answer.error["code"]) == (503, "model_load_failed")
        assert answer.headers["x-should-retry"] == "false"
        assert "the GPU caught fire" in str(answer.error["message"])
        assert "retry-after" not in answer.headers


async def test_a_model_too_large_for_every_host_is_not_to_be_asked_for_again(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN), memory_gb=1.0) as it:
        answer = await it.ask(CHATS, chat(QWEN.key))
        assert (answer.status, answer.error["code"]) == (503, "model_load_failed")
        assert answer.headers["x-should-retry"] == "false"


async def test_no_host_there_says_when_to_ask_again(tmp_path: Path) -> None:
    async with warm(tmp_path, sim("one", QWEN)) as it:
        await it.house.hosts["one"].stop()
        first = await it.ask(CHATS, chat(QWEN.key))
        assert (first.status, first.error["code"]) == (502, "upstream_error")
        later = await it.ask(CHATS, chat(QWEN.key))
        assert (later.status, later.error["code"]) == (503, "no_host")
        assert 1 <= int(later.headers["retry-after"]) <= 120


async def test_a_host_that_is_away_has_nothing_in_memory_by_any_word(tmp_path: Path) -> None:
    async with warm(tmp_path, sim("one", QWEN)) as it:
        host = it.house.lantern.fleet.host(HostName("one"))
        for is_there in (True, False):
            if not is_there:
                await it.house.hosts["one"].stop()
                await host.probe()
            mine = await it.ask(f"/v1/models/{QWEN.key}", method="GET")
            assert mine.json["state"] == ("loaded" if is_there else "not-loaded")
            assert mine.json["hosts"] == ["one"]
            v0 = await it.ask(f"/api/v0/models/{QWEN.key}", method="GET")
            assert v0.json["state"] == ("loaded" if is_there else "not-loaded")
            v1: Any = (await it.ask("/api/v1/models", method="GET")).json
            assert len(v1["models"][0]["loaded_instances"]) == is_there
            hosts: Any = (await it.ask("/admin/hosts", method="GET")).json
            assert len(hosts["hosts"][0]["instances"]) == is_there
            assert bool(hosts["hosts"][0]["memory"]["usedBytes"]) == is_there
            models: Any = (await it.ask("/admin/models", method="GET")).json
            assert len(models["models"][0]["loaded"]) == is_there
            metrics = (await it.ask("/metrics", method="GET")).body.decode()
            assert ('lantern_model_loaded{host="one"' in metrics) == is_there
            active = await it.ask("/admin/models/activate", {"modelKey": QWEN.key})
            assert active.json["loaded"] == is_there
        # Active no more; that is all there was to undo.
        undone = await it.ask("/admin/models/unload", {"modelKey": QWEN.key})
        assert (undone.status, undone.json["hosts"]) == (200, [])
        for more in ({}, {"host": "one"}):
            gone = await it.ask("/admin/models/unload", {"modelKey": QWEN.key, **more})
            assert (gone.status, gone.error["code"]) == (404, "model_not_loaded")
            assert "no answer from one, which may still hold it" in str(gone.error["message"])


async def test_a_host_that_is_back_answers_a_request_asked_before_its_pause_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PROBE_RULES", BreakerRules(threshold=1, base_s=3600.0))
    async with warm(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        await one.stop()
        await it.house.lantern.fleet.host(HostName("one")).probe()
        await one.start()
        assert (await it.ask(CHATS, chat(QWEN.key))).status == 200


async def test_a_prompt_longer_than_any_window_is_said_so(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        answer = await it.ask(CHATS, chat(QWEN.key, "word " * 60_000))
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert answer.error["param"] == "messages"


async def test_who_waits_for_a_load_goes_back_to_no_host_that_has_just_lied(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two", QWEN)) as it:
        one = it.house.hosts["one"]
        await one.preload(QWEN.key)
        await it.house.lantern.fleet.host(HostName("one")).probe()
        one.faults.wrong_model("another/model", times=None)
        answer = await it.ask(CHATS, chat(QWEN.key, max_tokens=3))
        assert answer.status == 200
        assert "host=two" in answer.headers["x-lantern-route"]
        # It is up, warm and sooner than a load: it would have been asked again, and again.
        assert len(one.journal.of(PredictionStarted)) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_host_that_hung_takes_no_time_from_the_load_at_the_next(
    tmp_path: Path, loop_clock: LoopClock, stream: bool
) -> None:
    # A wait is over after two minutes; that one hung for longer.
    async with gate(tmp_path, sim("one", QWEN), sim("two", QWEN)) as it:
        one, two = it.house.hosts["one"], it.house.hosts["two"]
        await one.preload(QWEN.key)
        await it.house.lantern.fleet.host(HostName("one")).probe()
        one.faults.stall_after_tokens(0)
        async with asyncio.TaskGroup() as tasks:
            body = chat(QWEN.key, "[[say all of it]]", max_tokens=9, stream=stream)
            asking = tasks.create_task(it.ask(CHATS, body))
            await one.journal.wait_for(PredictionStarted)
            loop_clock.passes(200.0)
        answer = asking.result()
        assert answer.status == 200
        assert (answer.text if stream else answer.said) == "all of it"
        assert two.journal.of(LoadStarted)
