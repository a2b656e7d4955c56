"""What admins see and do over HTTP, over sockets to simulated hosts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.domain.errors import StoreUnavailable
from bot.domain.ids import HostName
from bot.fleet.inventory import socket_config
from bot.gateway import watching
from bot.sim.journal import LoadStarted, PredictionCancelled, PredictionStarted, Unloaded
from tests.gateway.gate import Gate, chat, gate, viewer
from tests.helpers.house import GEMMA, QWEN, sim

CHAT = "/v1/chat/completions"
LOAD, UNLOAD, ACTIVATE = (f"/admin/models/{act}" for act in ("load", "unload", "activate"))

UNFIT: tuple[tuple[str, object, int, str | None], ...] = (
    (LOAD, {}, 422, "modelKey"),
    (LOAD, {"modelKey": 7}, 422, "modelKey"),
    (LOAD, {"modelKey": QWEN.key, "size": 1}, 422, "size"),
    (LOAD, {"modelKey": QWEN.key, "loadConfig": {"contextLength": 0}}, 422, None),
    (LOAD, {"modelKey": QWEN.key, "loadConfig": {"contextLength": "8k"}}, 422, None),
    (
        LOAD,
        {"modelKey": QWEN.key, "loadConfig": {"gpu": {"ratio": 1.5}}},
        422,
        "loadConfig.gpu.ratio",
    ),
    (LOAD, {"modelKey": QWEN.key, "loadConfig": {"gpu": 1}}, 422, "loadConfig.gpu"),
    (LOAD, {"modelKey": "qwen/qwen3-8c"}, 404, "modelKey"),
    (LOAD, {"modelKey": QWEN.key, "host": "oen"}, 404, "host"),
    (LOAD, {"modelKey": QWEN.key, "host": "two"}, 404, "host"),
    (UNLOAD, {"modelKey": QWEN.key}, 404, "modelKey"),
    (UNLOAD, {"modelKey": "qwen/qwen3-8c"}, 404, "modelKey"),
    (ACTIVATE, {"modelKey": QWEN.key, "defaultInference": {"temperature": 2.1}}, 422, None),
    (ACTIVATE, {"modelKey": QWEN.key, "defaultInference": {"topP": -0.1}}, 422, None),
    (ACTIVATE, {"modelKey": QWEN.key, "defaultInference": {"top_p": 0.1}}, 422, None),
    (ACTIVATE, {"modelKey": QWEN.key, "defaultInference": {"stream": 1}}, 422, None),
    (ACTIVATE, {"modelKey": "qwen"}, 404, "modelKey"),
    (ACTIVATE, [], 400, None),
    ("/admin/hosts/three/drain", {}, 404, "host"),
    ("/admin/requests/none/cancel", {}, 404, None),
)


async def got(it: Gate, path: str) -> Any:
    answer = await it.ask(f"/admin/{path}", method="GET")
    assert answer.status == 200
    return answer.json


async def test_hosts_models_and_status_tell_what_is_there(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two", GEMMA)) as it:
        await it.ask(CHAT, chat(QWEN.key, max_tokens=2))
        one, two = (await got(it, "hosts"))["hosts"]
        assert (one["name"], one["state"], two["instances"]) == ("one", "up", [])
        copy = one["instances"][0]
        assert (copy["instanceId"], copy["owner"], copy["leases"]) == (QWEN.key, "lantern", 0)
        assert one["memory"]["usedBytes"] >= QWEN.size_bytes
        models = {model["modelKey"]: model for model in (await got(it, "models"))["models"]}
        assert models[QWEN.key]["loaded"][0]["host"] == "one"
        assert models[QWEN.key]["secondsUntilWarm"] == 0
        assert models[GEMMA.key]["loaded"] == []
        assert models[GEMMA.key]["secondsUntilWarm"] > 0
        status = await got(it, "status")
        assert status["active"] is None
        assert status["hosts"]["up"] == 2
        assert status["requests"] == {"running": 0, "waiting": 0, "turns": 0}
        assert status["budget"][0]["spentUsd"] == 0


async def test_a_load_is_really_made_with_its_settings(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        config = {
            "contextLength": 16384,
            "gpu": {"ratio": 0.5, "layers": 20},
            "cpuThreads": 8,
            "ropeFrequencyBase": 10000.0,
            "ropeFrequencyScale": 0.5,
        }
        asked = {"modelKey": QWEN.key, "loadConfig": config}
        answer = await it.ask(LOAD, asked)
        assert answer.status == 200
        told: dict[str, Any] = answer.json
        assert (told["status"], told["modelKey"], told["host"]) == ("loaded", QWEN.key, "one")
        assert told["instanceId"] == QWEN.key
        assert told["loadConfig"] == {
            "contextLength": 16384,
            "gpu": {"ratio": 0.5},
            "ropeFrequencyBase": 10000.0,
            "ropeFrequencyScale": 0.5,
        }
        assert sorted(told["ignored"]) == ["cpuThreads", "gpu.layers"]
        assert (told["active"], told["evicted"]) == (False, [])
        # The host's own word on it.
        address = it.house.hosts["one"].address
        async with it.session.get(f"http://{address}/api/v1/models") as listed:
            model = (await listed.json())["models"][0]
        assert model["loaded_instances"][0]["config"]["context_length"] == 16384
        made = it.house.hosts["one"].journal.of(LoadStarted)[0].config
        assert made["llm.load.contextLength"] == 16384
        again: dict[str, Any] = (await it.ask(LOAD, asked)).json
        assert again["status"] == "already_loaded"
        # By the host's own word they hold, whoever loaded it.
        assert (again["loadConfig"], again["ignored"]) == (told["loadConfig"], told["ignored"])
        # What is told can be sent as it is.
        resent = asked | {"loadConfig": told["loadConfig"]}
        assert (await it.ask(LOAD, resent)).json["loadConfig"] == told["loadConfig"]
        other = asked | {"loadConfig": {"ropeFrequencyBase": 20000.0, "flashAttention": True}}
        otherwise: dict[str, Any] = (await it.ask(LOAD, other)).json
        assert otherwise["loadConfig"] == {"contextLength": 16384, "ropeFrequencyBase": 10000.0}
        assert sorted(otherwise["ignored"]) == ["flashAttention", "ropeFrequencyBase"]
        larger = asked | {"loadConfig": {"contextLength": 20000}}
        assert (await it.ask(LOAD, larger)).json["status"] == "loaded"


async def test_a_context_beyond_the_models_own_is_said_to_be_smaller(tmp_path: Path) -> None:
    most = QWEN.max_context_length
    async with gate(tmp_path, sim("one", QWEN)) as it:
        for size in (most, most + 1):
            asked = {"modelKey": QWEN.key, "loadConfig": {"contextLength": size}}
            told: dict[str, Any] = (await it.ask(LOAD, asked)).json
            assert told["loadConfig"] == {"contextLength": most}
            assert told["ignored"] == (["contextLength"] if size > most else [])
            words = f"{most:,} tokens, the most there is, of {size:,} asked for."
            assert (words in told["message"]) == (size > most)


async def test_over_rest_too_what_a_load_holds_is_the_hosts_own_word(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, sockets=False)) as it:
        config = {"contextLength": 8192, "flashAttention": True, "ropeFrequencyBase": 1.5}
        asked = {"modelKey": QWEN.key, "loadConfig": config}
        for status in ("loaded", "already_loaded"):
            told: dict[str, Any] = (await it.ask(LOAD, asked)).json
            assert told["status"] == status
            assert told["loadConfig"] == {"contextLength": 8192, "flashAttention": True}
            assert told["ignored"] == ["ropeFrequencyBase"]


ROPE = {"ropeFrequencyBase": 2.5}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([("llm.load.contextLength", 8192)], {"contextLength": 8192}),
        ([("llm.load.llama.acceleration.offloadRatio", "max")], {"gpu.ratio": "max"}),
        ([("llm.load.numExperts", 2), ("llm.load.llama.unknown", 3)], {"numExperts": 2}),
        ([("llm.load.llama.ropeFrequencyBase", {"checked": True, "value": 2.5})], ROPE),
        ([("llm.load.llama.ropeFrequencyBase", {"checked": False, "value": 2.5})], {}),
        ([("embedding.load.llama.ropeFrequencyBase", 2.5)], ROPE),
        ([("llm.load.llama.flashAttention", None), ("load.gpuSplitConfig", {"a": 1})], {}),
    ],
)
def test_the_sockets_word_on_a_load_is_read_by_its_last_names(
    fields: list[tuple[str, object]], told: dict[str, object]
) -> None:
    wire = {"fields": [{"key": key, "value": value} for key, value in fields]}
    assert socket_config(wire) == told


async def test_what_leaves_for_a_load_is_named(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA), memory_gb=6) as it:
        await it.ask(LOAD, {"modelKey": GEMMA.key})
        told = (await it.ask(LOAD, {"modelKey": QWEN.key})).json
        assert told["evicted"] == [GEMMA.key]


async def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two", GEMMA)) as it:
        for path, body, status, param in UNFIT:
            answer = await it.ask(path, body)
            assert (answer.status, body) == (status, body)
            assert param in (None, answer.error["param"])
        assert it.house.hosts["one"].journal.of(LoadStarted) == []


async def test_an_admin_and_a_chat_that_want_one_model_share_its_load(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        it.house.hosts["one"].faults.stall_load(0.5)
        async with asyncio.TaskGroup() as tasks:
            loads = [tasks.create_task(it.ask(LOAD, {"modelKey": QWEN.key})) for _ in range(2)]
            asking = tasks.create_task(it.ask(CHAT, chat(QWEN.key, max_tokens=2)))
            await it.house.hosts["one"].journal.wait_for(LoadStarted)
            it.house.hosts["one"].faults.clear()
        assert [load.result().json["status"] for load in loads] == ["loaded", "loaded"]
        assert asking.result().status == 200
        assert len(it.house.hosts["one"].journal.of(LoadStarted)) == 1


async def test_a_model_that_answers_is_not_unloaded(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        host = it.house.hosts["one"]
        host.faults.stall_after_tokens(2)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(it.ask(CHAT, chat(QWEN.key, stream=True, max_tokens=5)))
            await host.journal.wait_for(PredictionStarted)
            busy = await it.ask(UNLOAD, {"modelKey": QWEN.key})
            assert (busy.status, busy.error["code"]) == (409, "model_busy")
            host.faults.clear()
        assert asking.result().text
        assert host.journal.of(Unloaded) == []
        done: dict[str, Any] = (await it.ask(UNLOAD, {"modelKey": QWEN.key})).json
        assert (done["status"], done["hosts"]) == ("unloaded", ["one"])
        assert len(host.journal.of(Unloaded)) == 1


async def test_what_others_loaded_stays_until_it_is_said_so(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        host = it.house.hosts["one"]
        # Nobody has looked at the host since: that is done for whoever wants it out.
        await host.preload(QWEN.key)
        kept = await it.ask(UNLOAD, {"modelKey": QWEN.key})
        assert (kept.status, kept.error["code"]) == (409, "foreign_instance")
        gone = await it.ask(UNLOAD, {"modelKey": QWEN.key, "foreign": True})
        assert gone.json["hosts"] == ["one"]


async def test_all_copies_of_a_model_are_unloaded_or_the_one_that_is_named(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        host = it.house.hosts["one"]
        copies = [QWEN.key, f"{QWEN.key}:2", f"{QWEN.key}:3"]
        for _ in copies:
            await host.preload(QWEN.key)
        # The first copy's name is the model's as well: it left, and was said to be all.
        named = {"modelKey": QWEN.key, "instanceId": copies[1], "foreign": True}
        assert (await it.ask(UNLOAD, named)).status == 200
        assert [copy.identifier for copy in host.resident] == [copies[0], copies[2]]
        done = await it.ask(UNLOAD, {"modelKey": QWEN.key, "foreign": True})
        assert (done.json["hosts"], host.resident) == (["one"], ())


async def test_what_others_loaded_stays_beside_what_of_ours_is_unloaded(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        host = it.house.hosts["one"]
        assert (await it.ask(LOAD, {"modelKey": QWEN.key})).status == 200
        await host.preload(QWEN.key)
        await it.house.lantern.fleet.host(HostName("one")).probe()
        assert (await it.ask(UNLOAD, {"modelKey": QWEN.key})).status == 200
        assert [copy.identifier for copy in host.resident] == [f"{QWEN.key}:2"]


async def test_a_model_on_its_way_into_memory_is_said_to_be(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two", GEMMA)) as it:
        host = it.house.hosts["one"]
        host.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(it.ask(CHAT, chat(QWEN.key, max_tokens=1)))
            await host.journal.wait_for(LoadStarted)
            for more in ({}, {"host": "one"}):
                told = await it.ask(UNLOAD, {"modelKey": QWEN.key, **more})
                assert (told.status, told.error["code"]) == (409, "model_loading")
                assert f"`{QWEN.key}` is still being loaded on one." in str(told.error["message"])
            for other in ({"modelKey": QWEN.key, "host": "two"}, {"modelKey": GEMMA.key}):
                told = await it.ask(UNLOAD, other)
                assert (told.status, told.error["code"]) == (404, "model_not_loaded")
            host.faults.clear()
        assert asking.result().status == 200
        assert (await it.ask(UNLOAD, {"modelKey": QWEN.key})).json["status"] == "unloaded"


async def test_what_has_left_by_itself_is_not_said_to_be_unloaded(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        host = it.house.hosts["one"]
        for is_active in (False, True):
            body = {"modelKey": QWEN.key, "activate": is_active}
            assert (await it.ask(LOAD, body)).status == 200
            host.unload(QWEN.key)
            done = await it.ask(UNLOAD, {"modelKey": QWEN.key})
            if is_active:
                assert done.json["hosts"] == []
                assert f"{QWEN.key} was in memory nowhere." in str(done.json["message"])
            else:
                assert (done.status, done.error["code"]) == (404, "model_not_loaded")
        assert len(host.journal.of(LoadStarted)) == 2


async def test_a_load_that_fails_is_told_once_and_not_asked_for_again(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        it.house.hosts["one"].faults.fail_next_load("no graphics card", times=None)
        failed = await it.ask(LOAD, {"modelKey": QWEN.key})
        assert (failed.status, failed.error["code"]) == (503, "model_load_failed")
        assert failed.headers["x-should-retry"] == "false"
        assert "no graphics card" in str(failed.error["message"])


@pytest.mark.parametrize("is_stream", [True, False])
async def test_an_admin_ends_a_request_that_answers(tmp_path: Path, is_stream: bool) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        host = it.house.hosts["one"]
        host.faults.stall_after_tokens(2)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(it.ask(CHAT, chat(QWEN.key, stream=is_stream)))
            number = (await seen.until("request.start"))["id"]
            await host.journal.wait_for(PredictionStarted)
            if is_stream:
                await seen.until("request.first_token")
            path = f"/admin/requests/{number}/cancel"
            at_once = [tasks.create_task(it.ask(path, {})) for _ in range(3)]
        # Whoever comes second is told how it stands by then, and never of a broken Lantern.
        done = [told.result() for told in at_once]
        assert {told.status for told in done} <= {200, 404}
        assert [told.json.get("status") for told in done].count("cancelled") == 1
        end = await seen.until("request.end", id=number)
        assert (end["outcome"], end["status"]) == ("cancelled", 499)
        await host.journal.wait_for(PredictionCancelled)
        answer = asking.result()
        if is_stream:
            error: dict[str, Any] = answer.events[-1]
            assert error["error"]["code"] == "cancelled"
        else:
            assert (answer.status, answer.error["code"]) == (499, "cancelled")
        assert (await it.ask(f"/admin/requests/{number}/cancel", {})).status == 404


async def test_an_admin_ends_a_request_that_waits_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "STATE_S", 0.05)
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as seen:
        host = it.house.hosts["one"]
        host.faults.stall_load(0.5)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(it.ask(CHAT, chat(QWEN.key, "one", max_tokens=1)))
            number = (await seen.until("request.start"))["id"]
            other = tasks.create_task(it.ask(CHAT, chat(QWEN.key, "two", max_tokens=1)))
            await seen.until("request.start")
            await host.journal.wait_for(LoadStarted)
            state: list[dict[str, Any]] = []
            while [r["state"] for r in state] != ["loading", "loading"]:
                state = (await seen.until("state"))["requests"]
            assert state[0]["wait"]["progress"] >= 0
            assert (await got(it, "status"))["requests"]["waiting"] == 2
            await it.ask(f"/admin/requests/{number}/cancel", {})
            await seen.until("request.end", id=number)
            host.faults.clear()
        assert (first.result().status, other.result().status) == (499, 200)
        assert len(host.journal.of(PredictionStarted)) == 1


async def test_an_admin_ends_a_request_in_a_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "STATE_S", 0.05)
    async with gate(tmp_path, sim("one", QWEN, parallel=1)) as it, viewer(it) as seen:
        host = it.house.hosts["one"]
        host.faults.stall_after_tokens(2)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(it.ask(CHAT, chat(QWEN.key, stream=True)))
            await seen.until("request.first_token")
            waits = tasks.create_task(it.ask(CHAT, chat(QWEN.key)))
            number = (await seen.until("request.start"))["id"]
            state: list[dict[str, Any]] = []
            while [r["state"] for r in state] != ["streaming", "queued"]:
                state = (await seen.until("state"))["requests"]
            assert state[1]["wait"]["place"] == 1
            await it.ask(f"/admin/requests/{number}/cancel", {})
            await seen.until("request.end", id=number, outcome="cancelled")
            host.faults.clear()
        assert waits.result().status == 499


async def test_a_drained_host_is_asked_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        drained = await it.ask("/admin/hosts/one/drain", {})
        assert drained.json["status"] == "draining"
        assert (await got(it, "hosts"))["hosts"][0]["state"] == "draining"
        assert (await it.ask(CHAT, chat(QWEN.key))).status == 503
        assert (await it.ask("/admin/hosts/one/resume", {})).json["status"] == "resumed"
        assert (await it.ask(CHAT, chat(QWEN.key, max_tokens=1))).status == 200
        timed = await it.ask("/admin/hosts/one/drain", {"for": "2h"})
        assert timed.json["seconds"] == 7200.0
        assert "at the latest in 2 h 00 min" in str(timed.json["message"])
        told = (await got(it, "hosts"))["hosts"][0]
        assert (told["drained"], 7100 < told["drainSecondsLeft"] <= 7200) == (True, True)
        for never in ("soon", "-1s"):
            refused = await it.ask("/admin/hosts/one/drain", {"for": never})
            assert (refused.status, refused.error["param"]) == (422, "for")
            assert str(refused.error["message"]).startswith("`for`: a duration such as 30s")


async def test_a_load_that_only_drained_hosts_could_make_is_refused_alike_however_it_is_ordered(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two", GEMMA)) as it:
        await it.ask("/admin/hosts/one/drain", {})
        for where in ({"host": "one"}, {}):
            answer = await it.ask(LOAD, {"modelKey": QWEN.key, **where})
            # Nothing failed to load, and no wait of seconds ends a drain.
            assert (answer.status, answer.error["code"]) == (503, "no_host")
            assert answer.headers["x-should-retry"] == "false"
            assert "retry-after" not in answer.headers
            assert "draining" in str(answer.error["message"])


async def test_a_drain_that_cannot_be_stored_holds_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        drained = await it.ask("/admin/hosts/one/drain", {})
        assert (drained.json["stored"], "not stored" in str(drained.json["message"])) == (
            True,
            False,
        )
        database, waits = it.house.lantern.database, asyncio.Event()

        async def is_full(_: object) -> None:
            raise StoreUnavailable("The disk is full.")

        async def hangs(_: object) -> None:
            await waits.wait()

        monkeypatch.setattr(database, "write", is_full)
        for act, state, after in (
            ("resume", "up", "it may drain again. The disk is full."),
            ("drain", "draining", "it is not drained any more. The disk is full."),
        ):
            told = await it.ask(f"/admin/hosts/one/{act}", {})
            assert (told.status, told.json["stored"]) == (200, False)
            assert str(told.json["message"]).endswith(f"after a restart of Lantern {after}")
            assert (await got(it, "hosts"))["hosts"][0]["state"] == state
        drain = it.house.lantern.acts.drain
        for is_draining in (False, True):
            said = await drain("one", is_draining=is_draining)
            assert " This is not stored: after a restart" in said
        # A disk that hangs is waited for so long and no longer; what was asked for holds.
        monkeypatch.setattr("bot.fleet.host.RECORDED_WITHIN_S", 0.0)
        monkeypatch.setattr(database, "write", hangs)
        told = await it.ask("/admin/hosts/one/resume", {})
        assert (told.json["stored"], "is slow" in str(told.json["message"])) == (False, True)
        assert (await got(it, "hosts"))["hosts"][0]["state"] == "up"
        waits.set()


async def test_the_active_model_answers_whoever_names_none_by_its_defaults(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        defaults = {
            "temperature": 0.3,
            "maxTokens": 3,
            "topP": 0.9,
            "topK": 40,
            "repeatPenalty": 1.1,
            "stopStrings": ["END"],
            "stream": True,
        }
        answer = await it.ask(ACTIVATE, {"modelKey": QWEN.key, "defaultInference": defaults})
        told = answer.json
        assert (told["status"], told["loaded"]) == ("activated", False)
        assert told["defaultInference"] == defaults
        streamed = await it.ask(CHAT, chat(None))
        assert streamed.headers["x-lantern-model"] == QWEN.key
        assert streamed.text
        asked = it.house.hosts["one"].journal.of(PredictionStarted)[-1].sampling
        assert asked["temperature"] == 0.3
        assert asked["max_tokens"] == 3
        assert (asked["top_p"], asked["top_k"], asked["repeat_penalty"]) == (0.9, 40, 1.1)
        assert asked["stop"] == ["END"]
        own = await it.ask(CHAT, chat(QWEN.key, temperature=1.0, stream=False))
        assert own.said
        asked = it.house.hosts["one"].journal.of(PredictionStarted)[-1].sampling
        assert (asked["temperature"], asked["max_tokens"]) == (1.0, 3)
        # Another model's answers are its own.
        other = await it.ask(CHAT, chat(GEMMA.key, max_tokens=1))
        assert other.said
        asked = it.house.hosts["one"].journal.of(PredictionStarted)[-1].sampling
        assert "temperature" not in asked


async def test_defaults_sent_with_a_load_are_the_active_models_or_ignored(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        asked = {"modelKey": QWEN.key, "defaultInference": {"maxTokens": 2}}
        told: dict[str, Any] = (await it.ask(LOAD, asked)).json
        assert (told["status"], told["active"]) == ("loaded", False)
        assert told["ignored"] == ["defaultInference"]
        assert "Not applied: defaultInference." in told["message"]
        assert (await got(it, "status"))["active"] is None
        await it.ask(ACTIVATE, {"modelKey": QWEN.key})
        told = (await it.ask(LOAD, asked)).json
        assert (told["status"], told["active"], told["ignored"]) == ("already_loaded", True, [])
        assert (await got(it, "status"))["active"]["defaultInference"] == {"maxTokens": 2}
        # Another model's defaults are nobody's here, and the active one keeps its own.
        other = (await it.ask(LOAD, asked | {"modelKey": GEMMA.key})).json
        assert other["ignored"] == ["defaultInference"]
        active = (await got(it, "status"))["active"]
        assert (active["modelKey"], active["defaultInference"]) == (QWEN.key, {"maxTokens": 2})


async def test_the_active_model_survives_a_restart_until_it_is_unloaded(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        body = {"modelKey": QWEN.key, "activate": True, "defaultInference": {"maxTokens": 2}}
        assert (await it.ask(LOAD, body)).json["active"] is True
    async with gate(tmp_path, sim("one", QWEN)) as it:
        active = (await got(it, "status"))["active"]
        assert active["modelKey"] == QWEN.key
        assert active["defaultInference"] == {"maxTokens": 2}
        assert (await it.ask(CHAT, chat(None))).json["model"] == QWEN.key
        await it.ask(UNLOAD, {"modelKey": QWEN.key})
        assert (await got(it, "status"))["active"] is None
        await it.ask(ACTIVATE, {"modelKey": QWEN.key})
        # In memory nowhere, and yet active: it is not any more.
        assert (await it.ask(UNLOAD, {"modelKey": QWEN.key})).json["hosts"] == []
    async with gate(tmp_path, sim("one", QWEN)) as it:
        assert (await got(it, "status"))["active"] is None


async def test_a_model_activated_meanwhile_changes_no_request_under_way(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        await it.ask(ACTIVATE, {"modelKey": QWEN.key})
        host = it.house.hosts["one"]
        host.faults.stall_load(0.5)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(it.ask(CHAT, chat(None, max_tokens=1)))
            await host.journal.wait_for(LoadStarted)
            changes = [
                tasks.create_task(it.ask(ACTIVATE, {"modelKey": key}))
                for key in (QWEN.key, GEMMA.key)
            ]
            for change in changes:
                await change
            host.faults.clear()
        assert asking.result().json["model"] == QWEN.key
        active = (await got(it, "status"))["active"]["modelKey"]
        assert (await it.ask(CHAT, chat(None, max_tokens=1))).json["model"] == active
