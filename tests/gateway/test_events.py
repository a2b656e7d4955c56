"""What those who look on are told, over sockets to simulated hosts."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clocks import LoopClock, WallClock
from structlog.testing import capture_logs

from bot.chat.flights import Flight, FlightNews
from bot.domain.chat import Candidate, Receipt, Timing, Usage
from bot.domain.errors import StoreUnavailable
from bot.domain.hosts import Speed
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName, TurnId, UserId
from bot.gateway import doors, watching
from bot.gateway.metrics import Metrics
from bot.gateway.picture import flight_object
from bot.gateway.watching import PROGRESS_S
from bot.policy.keys import ApiKey
from bot.policy.ratelimit import RateRule
from bot.sim.journal import PredictionStarted
from bot.store.fleet_memory import FleetStore
from bot.store.keys import KeyStore
from tests.gateway.gate import Gate, Viewer, chat, gate, viewer
from tests.helpers.house import GEMMA, QWEN, house, sim

CHAT = "/v1/chat/completions"


async def test_a_viewer_gets_everything_at_once_and_then_what_happens(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two", GEMMA)) as it, viewer(it) as seen:
        first = seen.seen[0]
        assert [host["name"] for host in first["hosts"]] == ["one", "two"]
        assert {model["modelKey"] for model in first["models"]} == {QWEN.key, GEMMA.key}
        assert (first["requests"], first["recent"], first["status"]["active"]) == ([], [], None)
        await it.ask(CHAT, chat(QWEN.key, "a secret", max_tokens=3, stream=True))
        end = await seen.until("request.end")
        loads = ("model_load.start", "model_load.end")
        told = [kind for kind in seen.kinds if kind != "model_load.progress"]
        assert told == [
            "snapshot",
            "request.start",
            "route",
            *loads,
            "request.first_token",
            "request.end",
        ]
        assert (end["outcome"], end["status"], end["host"]) == ("done", 200, "one")
        assert (end["key"], end["endpoint"], end["model"]) == ("loopback", "chat", QWEN.key)
        assert end["inputTokens"] > 0
        assert end["outputTokens"] == 3
        assert end["loadSeconds"] is not None
        assert all(datetime.fromisoformat(e["at"]).tzinfo == UTC for e in seen.seen)
        assert "secret" not in json.dumps(seen.seen)
        loaded = next(e for e in seen.seen if e["type"] == "model_load.end")
        assert (loaded["host"], loaded["instanceId"]) == ("one", QWEN.key)
        assert loaded["seconds"] is not None


async def test_a_broken_line_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        async with viewer(it) as seen:
            await it.ask(CHAT, chat(QWEN.key, max_tokens=1))
            await seen.until("request.start")
        all_of_it: list[str] = []
        async with viewer(it, seen.last_id) as again:
            await again.until("request.end")
            all_of_it = seen.kinds + again.kinds
        assert all_of_it.count("snapshot") == 1
        assert all_of_it[1] == "request.start"
        assert all_of_it[-1] == "request.end"
        async with viewer(it, again.last_id) as once_more:
            await it.ask("/admin/hosts/one/drain", {})
            await it.ask(CHAT, chat(QWEN.key, max_tokens=1))
            assert (await once_more.next())["type"] == "host.drained"
            # What is ours there may leave memory before the next request comes.
            await once_more.until("request.start")
            assert "snapshot" not in once_more.kinds


@pytest.mark.parametrize("last", ["1", "99999999999999", "x", "-5", "1" * 5000])
async def test_a_number_of_another_process_brings_a_snapshot(tmp_path: Path, last: str) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        headers = {"Last-Event-ID": last}
        async with it.session.get(f"{it.base}/admin/events", headers=headers) as got:
            assert (await got.content.readline()).startswith(b"id: ")
            line = await got.content.readline()
            assert json.loads(line.removeprefix(b"data: "))["type"] == "snapshot"


@asynccontextmanager
async def loading_half_way(folder: Path) -> AsyncGenerator[tuple[Gate, Viewer, asyncio.TaskGroup]]:
    """One host whose loads stop half way until told, a viewer, and what asks meanwhile."""
    async with (
        gate(folder, sim("one", QWEN)) as it,
        viewer(it) as seen,
        asyncio.TaskGroup() as tasks,
    ):
        it.house.hosts["one"].faults.stall_load(at=0.5)
        yield it, seen, tasks


async def half_loaded(it: Gate) -> None:
    host = it.house.lantern.fleet.host(HostName("one"))
    await host.until(lambda now: now.load is not None and now.load.fraction >= 0.5)


async def test_the_line_of_events_has_a_requests_id_as_every_answer(tmp_path: Path) -> None:
    async with (
        gate(tmp_path, sim("one", QWEN)) as it,
        it.session.get(f"{it.base}/admin/events") as got,
    ):
        assert len(got.headers["x-request-id"]) == 16


async def test_a_load_moves_at_most_five_times_a_second(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with loading_half_way(tmp_path) as (it, seen, tasks):
        tasks.create_task(it.ask("/admin/models/load", {"modelKey": QWEN.key}))
        await half_loaded(it)
        # Its host tells twenty steps: ten before this moment, and ten after it.
        loop_clock.passes(PROGRESS_S + 0.01)
        it.house.hosts["one"].faults.clear("stall_load")
        await seen.until("model_load.end")
        steps = [e for e in seen.seen if e["type"] in ("model_load.start", "model_load.progress")]
        assert [step["type"] for step in steps] == ["model_load.start", "model_load.progress"]
        assert steps[1]["progress"] > 0.5


async def test_unloads_and_lost_hosts_are_told_with_their_cause(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        await it.ask("/admin/models/load", {"modelKey": QWEN.key})
        await it.ask("/admin/models/unload", {"modelKey": QWEN.key})
        unload = await seen.until("model_unload")
        assert (unload["cause"], unload["host"], unload["modelKey"]) == ("admin", "one", QWEN.key)
        it.house.hosts["one"].faults.refuse()
        it.house.lantern.fleet.host(it.house.lantern.catalog.host("one")).report_failure("gone")
        assert (await seen.until("host.down", host="one"))["reason"] == "gone"
        it.house.hosts["one"].faults.clear()
        await seen.until("host.up", host="one")


async def test_a_failed_request_is_an_error_without_its_words(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        it.house.hosts["one"].faults.fail_next_load("no graphics card", times=None)
        answer = await it.ask(CHAT, chat(QWEN.key, "a secret"))
        assert answer.status == 503
        failed = await seen.until("model_load.failed", host="one")
        assert "no graphics card" in failed["reason"]
        error = await seen.until("error")
        assert (error["status"], error["code"]) == (503, "model_load_failed")
        assert "secret" not in json.dumps(seen.seen)


async def test_requests_under_way_are_shown_with_their_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "STATE_S", 0.05)
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        it.house.hosts["one"].faults.stall_after_tokens(8)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(it.ask(CHAT, chat(QWEN.key, stream=True)))
            first = await seen.until("request.first_token")
            flight: dict[str, Any] = {"outputTokens": 0}
            while flight["outputTokens"] < 8 or flight["tokensPerSecond"] is None:
                flight = (await seen.until("state"))["requests"][0]
            assert (flight["id"], flight["state"]) == (first["id"], "streaming")
            assert (flight["host"], flight["outputTokens"]) == ("one", 8)
            assert flight["tokensPerSecond"] > 0
            it.house.hosts["one"].faults.clear()
        await seen.until("request.end")
        while (await seen.until("state"))["requests"]:
            pass


@pytest.mark.parametrize("outcome", ["done", "left", "cut"])
async def test_what_its_client_waited_is_told_however_its_answer_ended(
    tmp_path: Path, loop_clock: LoopClock, outcome: str
) -> None:
    async with loading_half_way(tmp_path) as (it, seen, tasks):
        one = it.house.hosts["one"]
        one.faults.stall_after_tokens(8)
        with capture_logs() as logs:
            asking = tasks.create_task(it.ask(CHAT, chat(QWEN.key, stream=True)))
            await half_loaded(it)
            loop_clock.passes(4.0)
            one.faults.clear("stall_load")
            first = await seen.until("request.first_token")
            loop_clock.passes(2.0)
            if outcome == "left":
                asking.cancel()
            elif outcome == "cut":
                one.kill()
            one.faults.clear("stall_after_tokens")
            end = await seen.until("request.end")
        assert end["outcome"] == outcome
        # From its arrival, as the metric of that name has it.
        assert (first["firstTokenSeconds"], end["firstTokenSeconds"]) == (4.0, 4.0)
        assert (end["queueSeconds"], end["loadSeconds"]) == (0.0, 4.0)
        [line] = [line for line in logs if line["event"] == "request"]
        assert (line["first_token_s"], line["waited_s"]) == (4.0, 4.0)
        # Of a stream that broke off nobody told what was read.
        assert (end["inputTokens"] is None) == (outcome != "done")
        samples = (await it.ask("/metrics", method="GET")).body.decode()
        labels = f'host="one",model="{QWEN.key}",state="cold"'
        assert f"lantern_time_to_first_token_seconds_sum{{{labels}}} 4.0" in samples


async def test_a_whole_answer_under_way_is_told_as_one_of_which_nothing_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "STATE_S", 0.05)
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        it.house.hosts["one"].faults.stall_after_tokens(8)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(it.ask(CHAT, chat(QWEN.key)))
            await it.house.hosts["one"].journal.wait_for(PredictionStarted)
            flight: dict[str, Any] = {"host": None, "state": "loading"}
            while flight["state"] not in ("reading", "answering"):
                flight = next(iter((await seen.until("state"))["requests"]), flight)
            # It was called reading, with no token, to its last word.
            assert (flight["state"], flight["outputTokens"]) == ("answering", None)
            it.house.hosts["one"].faults.clear()
        assert (await seen.until("request.end"))["outputTokens"] > 8


async def test_the_seconds_of_a_whole_answer_are_nowhere_told_as_those_of_its_first_word(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        one, lantern = it.house.hosts["one"], it.house.lantern
        await one.preload(QWEN.key)
        one.faults.stall_after_tokens(4)
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(it.ask(CHAT, chat(QWEN.key, max_tokens=8)))
                await one.journal.wait_for(PredictionStarted)
                loop_clock.passes(4.0)
                one.faults.clear("stall_after_tokens")
            end = await seen.until("request.end")
        stats: Any = asking.result().json
        assert stats["stats"] == {
            "tokens_per_second": 2.0,
            "time_to_first_token": None,
            "generation_time": 4.0,
        }
        assert "request.first_token" not in seen.kinds
        assert (end["firstTokenSeconds"], end["tokensPerSecond"]) == (None, None)
        [line] = [line for line in logs if line["event"] == "request"]
        assert (line["first_token_s"], line["waited_s"], line["seconds"]) == (None, None, 4.0)
        samples = (await it.ask("/metrics", method="GET")).body.decode()
        assert "lantern_time_to_first_token_seconds_count{" not in samples
        # It was the host that worked.
        assert "lantern_overhead_seconds_sum 0.0" in samples
        assert await FleetStore(lantern.database).foretold() == {}
        [row] = await lantern.database.fetch("SELECT first_token_ms, generation_ms FROM ledger")
        assert tuple(row) == (None, 0)
        speed = lantern.fleet.snapshot().hosts[HostName("one")].speeds[ModelKey(QWEN.key)]
        assert speed == Speed(turn_s=4.0)


@pytest.mark.parametrize(
    ("tokens", "seconds", "told"),
    [(1, 0.001, None), (7, 2.0, None), (8, 0.049, None), (8, 0.05, 140.0), (8, 2.0, 3.5)],
)
async def test_a_speed_is_told_once_there_is_something_to_time(
    tokens: int, seconds: float, told: float | None
) -> None:
    flight = Flight(
        TurnId("one"), UserId("gateway:me"), "chat", ModelKey("m"), True, 0.0, lambda _: None
    )
    assert flight_object(flight, "", 0.0)["tokensPerSecond"] is None
    flight.first_at, flight.count = 0.0, lambda: tokens
    assert flight_object(flight, "", seconds)["tokensPerSecond"] == told


@pytest.mark.parametrize(("estimated", "speed", "timed"), [(False, 3.5, 1), (True, None, 0)])
async def test_no_speed_is_told_by_what_a_provider_did_not_count(
    tmp_path: Path, estimated: bool, speed: float | None, timed: int
) -> None:
    flight = Flight(
        TurnId("one"), UserId("gateway:me"), "chat", ModelKey("m"), True, 0.0, lambda _: None
    )
    flight.by = Candidate(ModelKey("m"), provider=ProviderName("zai"))
    flight.sent_at, flight.first_at, flight.ended_at, flight.outcome = 0.0, 1.0, 3.0, "cut"
    flight.receipt = Receipt(
        PersonaName("default"),
        provider=ProviderName("zai"),
        usage=Usage(9, 8, estimated=estimated),
        timing=Timing(generation_s=2.0),
    )
    assert flight_object(flight, "", 0.0)["tokensPerSecond"] == speed
    async with house(tmp_path) as home:
        metrics = Metrics(home.lantern)
        metrics.hear(FlightNews("ended", flight))
        page = metrics.page(()).decode()
    counted = re.findall(r"^lantern_time_per_output_token_seconds_count.* (\S+)$", page, re.M)
    assert counted == ["1.0"] * timed


async def test_a_fleet_that_stands_still_is_shown_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "STATE_S", 0.01)
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        # Looked at anew for many ticks, and nothing new found.
        for _ in range(10):
            await it.house.lantern.fleet.host(it.house.lantern.catalog.host("one")).probe()
        await it.ask("/admin/hosts/one/drain", {})
        shown: list[list[str]] = []
        while ["draining"] not in shown:
            hosts = (await seen.until("state"))["hosts"]
            shown.append([host["state"] for host in hosts])
        # Once as it was, where no snapshot had shown it yet, and once drained.
        assert len(shown) <= 2


async def test_what_changes_a_host_is_shown_before_the_next_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "STATE_S", 3600.0)
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        for act, state in (("drain", "draining"), ("resume", "up")):
            await it.ask(f"/admin/hosts/one/{act}", {})
            (host,) = (await seen.until("state"))["hosts"]
            assert host["state"] == state


@pytest.mark.parametrize("came_back", [False, True])
async def test_who_came_between_two_looks_is_told_what_was_undone_before_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, came_back: bool
) -> None:
    monkeypatch.setattr(watching, "STATE_S", 0.3)
    monkeypatch.setattr(watching, "SOON_S", 3600.0)
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as first:
        while not (await first.until("state"))["hosts"]:
            pass
        await it.ask("/admin/hosts/one/drain", {})
        drained = await first.until("host.drained")
        assert drained["host"] == "one"
        async with viewer(it, first.last_id if came_back else None) as second:
            await it.ask("/admin/hosts/one/resume", {})
            hosts: list[dict[str, Any]] = []
            while [host["state"] for host in hosts] != ["up"]:
                hosts = (await second.until("state"))["hosts"]


async def test_what_is_refused_before_it_is_routed_is_an_event_without_its_words(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        refused = {
            "invalid_type": {"model": 7, "messages": "secret"},
            "model_not_found": chat("secret/model"),
            "unsupported_value": chat(QWEN.key, "secret", n=2),
        }
        for code, body in refused.items():
            answer = await it.ask(CHAT, body)
            event = await seen.until("error", code=code, status=answer.status)
            assert event["request"] == answer.headers["x-request-id"]
            assert event["endpoint"] == "chat"
            assert "secret" not in str(event)
        assert "request.start" not in seen.kinds


@pytest.mark.parametrize("what", ["revoked", "over", "needed at last"])
async def test_a_line_ends_with_the_key_that_opened_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    clock = WallClock()
    monkeypatch.setattr("tests.gateway.gate.utcnow", clock)
    monkeypatch.setattr(doors, "KEYS_S", 0.0)
    async with gate(tmp_path, sim("one", QWEN)) as it:
        mine: dict[str, Any] = {}
        if what != "needed at last":
            # Of one request a minute the line takes that one, and no more for each frame.
            rate = RateRule(1, 60.0)
            end_ms = int(clock().timestamp() * 1000) + 1000
            ends: dict[str, Any] = {"expires_at_ms": end_ms} if what == "over" else {}
            mine["Authorization"] = await it.key("mine", "admin", rate=rate, **ends)
        async with viewer(it, **mine) as seen:
            boss = await it.key("boss", "admin")
            if what == "revoked":
                assert await KeyStore(it.house.lantern.database).revoke("mine")
            clock.advance(1)
            await it.ask("/admin/hosts/one/drain", {}, Authorization=boss)
            last = await seen.until("closed")
            assert (last["status"], last["code"]) == (401, "invalid_api_key")
            assert seen.kinds == ["snapshot", "closed"]
            with pytest.raises(EOFError):
                await seen.next()


async def test_a_line_goes_on_while_keys_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "KEYS_S", 0.0)
    async with gate(tmp_path, sim("one", QWEN)) as it:
        mine = await it.key("mine", "admin")
        async with viewer(it, Authorization=mine) as seen:

            async def broken(_: KeyStore) -> list[ApiKey]:
                raise StoreUnavailable("The disk is full.")

            monkeypatch.setattr(KeyStore, "all", broken)
            it.house.lantern.fleet.host(it.house.lantern.catalog.host("one")).report_failure("gone")
            await seen.until("host.down", host="one")
