"""Two things at once: what changes while requests wait, stream, or look on."""

import asyncio
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from bot.domain.ids import HostName, ModelKey
from bot.gateway import doors, key_watch
from bot.gateway.sinks import LifePace
from bot.sim.answers import Answer, Asked
from bot.sim.journal import LoadStarted, PredictionCancelled, PredictionStarted, Unloaded
from bot.store.keys import KeyStore
from tests.gateway.gate import CHATS, chat, gate, viewer
from tests.gateway.raw import at
from tests.helpers.house import GEMMA, QWEN, sim

ONE, TWO = HostName("one"), HostName("two")
KEY = ModelKey(QWEN.key)
UNLOAD = "/admin/models/unload"


async def test_a_key_that_is_revoked_during_its_stream_ends_no_answer_and_opens_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "KEYS_S", 0.0)
    async with gate(tmp_path, sim("one", QWEN)) as it:
        bearer = await it.key("editor")
        await it.key("other")
        one = it.house.hosts["one"]
        one.faults.stall_after_tokens(2)
        async with asyncio.TaskGroup() as tasks:
            body = chat(QWEN.key, "[[say all of it]]", stream=True)
            streaming = tasks.create_task(it.ask(CHATS, body, Authorization=bearer))
            await one.journal.wait_for(PredictionStarted)
            await KeyStore(it.house.lantern.database).revoke("editor")
            refused = await it.ask(CHATS, body, Authorization=bearer)
            assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
            one.faults.clear()
        assert streaming.result().text == "all of it"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_request_that_waits_ends_with_its_key_and_nothing_is_loaded_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, stream: bool
) -> None:
    monkeypatch.setattr(doors, "KEYS_S", 0.0)
    monkeypatch.setattr(key_watch, "LOOK_S", 0.01)
    room = sim("one", QWEN, GEMMA)
    async with gate(tmp_path, room, memory_gb=6, pace=LifePace(headers_s=0.0)) as it:
        one, host = it.house.hosts["one"], it.house.lantern.fleet.host(ONE)
        bearer, other = await it.key("editor"), await it.key("other")
        keys = KeyStore(it.house.lantern.database)
        assert (await it.ask(CHATS, chat(QWEN.key), Authorization=other)).status == 200
        one.faults.stall_after_tokens(1)
        async with asyncio.TaskGroup() as tasks:
            said = chat(QWEN.key, "[[say all of it]]")
            writes = tasks.create_task(it.ask(CHATS, said, Authorization=bearer))
            await one.journal.wait_for(
                PredictionStarted, lambda seen: "all of it" in seen.messages[-1].text
            )
            body = chat(GEMMA.key, "[[say mine]]", stream=stream)
            ended = tasks.create_task(it.ask(CHATS, body, Authorization=bearer))
            stays = tasks.create_task(it.ask(CHATS, chat(QWEN.key, "more"), Authorization=other))
            await host.until(lambda seen: seen.waiting.get(ModelKey(GEMMA.key)) == 1)
            [key] = [key for key in await keys.all() if key.name == "editor"]
            await keys.revoke("editor")
            if how == "expired":
                await keys.add(replace(key, expires_at_ms=1))
            told = await ended
            assert not writes.done()
            one.faults.clear()
        error = told.events[-1]["error"] if stream else told.error
        assert isinstance(error, dict)
        assert (told.status, error["code"]) == (200 if stream else 401, "invalid_api_key")
        assert (writes.result().said, stays.result().status) == ("all of it", 200)
        assert GEMMA.key not in [load.key for load in one.journal.of(LoadStarted)]


async def test_a_request_whose_host_failed_ends_with_its_key_before_another_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "KEYS_S", 0.0)
    monkeypatch.setattr(key_watch, "LOOK_S", 0.01)
    hosts = (sim("one", QWEN), sim("two", QWEN))
    async with gate(tmp_path, *hosts, hanging=["two"], is_settled=False) as it:
        one, two = it.house.hosts["one"], it.house.hosts["two"]
        await one.preload(QWEN.key)
        await it.house.lantern.fleet.host(ONE).probe()
        bearer, _ = await it.key("editor"), await it.key("other")
        one.faults.drop_after_tokens(0)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(it.ask(CHATS, chat(QWEN.key), Authorization=bearer))
            # What may still be asked is looked at now.
            await it.house.lantern.fleet.host(ONE).until(lambda seen: seen.state != "up")
            assert not asking.done()
            await KeyStore(it.house.lantern.database).revoke("editor")
            ended = await asking
            two.faults.clear()
        assert (ended.status, ended.error["code"]) == (401, "invalid_api_key")
        assert not two.journal.of(PredictionStarted)


async def test_sixteen_mixed_askers_whose_leader_leaves_share_the_load_it_began(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two")) as it:
        one, host = it.house.hosts["one"], it.house.lantern.fleet.host(ONE)
        one.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            leader = tasks.create_task(it.ask(CHATS, chat(QWEN.key, "leader", stream=True)))
            await one.journal.wait_for(LoadStarted)
            asking = [
                tasks.create_task(
                    it.ask(CHATS, chat(QWEN.key, f"asker {n}", max_tokens=2, stream=n % 2 == 0))
                )
                for n in range(16)
            ]
            await host.until(lambda seen: seen.waiting.get(KEY) == 17)
            leader.cancel()
            await host.until(lambda seen: seen.waiting.get(KEY) == 16)
            one.faults.clear("stall_load")
        assert [task.result().status for task in asking] == [200] * 16
        assert len(one.journal.of(LoadStarted)) == 1
        heard = {record.messages[-1].text for record in one.journal.of(PredictionStarted)}
        assert heard == {f"asker {n}" for n in range(16)}


async def test_a_model_activated_or_unloaded_while_unnamed_askers_wait_changes_theirs_in_nothing(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        one, host = it.house.hosts["one"], it.house.lantern.fleet.host(ONE)
        await it.ask("/admin/models/activate", {"modelKey": QWEN.key})
        one.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(it.ask(CHATS, chat(None, f"asker {n}", max_tokens=1)))
                for n in range(4)
            ]
            await host.until(lambda seen: seen.waiting.get(KEY) == 4)
            # Not in memory yet, but active: that ends, and nothing else.
            ended = await it.ask(UNLOAD, {"modelKey": QWEN.key})
            assert (ended.status, ended.json["hosts"]) == (200, [])
            await it.ask("/admin/models/activate", {"modelKey": GEMMA.key})
            one.faults.clear()
        assert {task.result().json["model"] for task in asking} == {QWEN.key}
        assert [record.key for record in one.journal.of(LoadStarted)] == [QWEN.key]


@pytest.mark.parametrize("has_twin", [True, False])
async def test_who_waits_at_a_host_that_is_drained_goes_elsewhere_and_who_streams_stays(
    tmp_path: Path, has_twin: bool
) -> None:
    twins = (sim("two", QWEN, parallel=1),) if has_twin else ()
    async with gate(tmp_path, sim("one", QWEN, parallel=1), *twins) as it:
        one = it.house.hosts["one"]
        await one.preload(QWEN.key)
        await it.house.lantern.fleet.probe_all()
        one.faults.stall_after_tokens(1)
        async with asyncio.TaskGroup() as tasks:
            body = chat(QWEN.key, "[[say to the end]]", stream=True)
            first = tasks.create_task(it.ask(CHATS, body))
            await one.journal.wait_for(PredictionStarted)
            if has_twin:
                # The twin is busy, too, so that somebody waits.
                it.house.hosts["two"].faults.stall_load()
            waiting = tasks.create_task(it.ask(CHATS, chat(QWEN.key, "waits", max_tokens=2)))
            host = it.house.lantern.fleet.host(ONE)
            if not has_twin:
                await host.until(lambda seen: bool(seen.waiting))
            assert (await it.ask("/admin/hosts/one/drain", {})).status == 200
            if has_twin:
                it.house.hosts["two"].faults.clear()
            answer = await waiting
            one.faults.clear()
        assert first.result().text == "to the end"
        if has_twin:
            assert "host=two" in answer.headers["x-lantern-route"]
        else:
            assert (answer.status, answer.error["code"]) == (503, "overloaded")


async def test_what_sixteen_wait_for_is_not_unloaded_before_or_after_it_is_there(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN, parallel=2)) as it:
        one, host = it.house.hosts["one"], it.house.lantern.fleet.host(ONE)
        one.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(it.ask(CHATS, chat(QWEN.key, f"asker {n}", max_tokens=2)))
                for n in range(16)
            ]
            await host.until(lambda seen: seen.waiting.get(KEY) == 16)
            unknown = await it.ask(UNLOAD, {"modelKey": QWEN.key})
            assert unknown.status in (404, 409)
            one.faults.stall_after_tokens(1)
            one.faults.clear("stall_load")
            await one.journal.wait_for(PredictionStarted)
            busy = await it.ask(UNLOAD, {"modelKey": QWEN.key})
            assert (busy.status, busy.error["code"]) == (409, "model_busy")
            one.faults.clear()
        assert [task.result().status for task in asking] == [200] * 16
        assert len(one.journal.of(LoadStarted)) == 1
        assert not one.journal.of(Unloaded)


@pytest.mark.parametrize("stream", [True, False])
async def test_many_who_leave_a_line_at_once_leave_the_others_in_it(
    tmp_path: Path, stream: bool
) -> None:
    async with gate(tmp_path, sim("one", QWEN, parallel=1)) as it:
        one, host = it.house.hosts["one"], it.house.lantern.fleet.host(ONE)
        await one.preload(QWEN.key)
        await host.probe()
        one.faults.stall_after_tokens(1)
        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(
                    it.ask(CHATS, chat(QWEN.key, f"asker {n}", max_tokens=2, stream=stream))
                )
                for n in range(12)
            ]
            await host.until(lambda seen: seen.waiting.get(KEY) == 11)
            holder = (await one.journal.wait_for(PredictionStarted)).messages[-1].text
            stays = next(n for n in range(12) if f"asker {n}" != holder)
            for number, task in enumerate(asking):
                if number != stays:
                    task.cancel()
            await one.journal.wait_for(PredictionCancelled)
            one.faults.clear()
        assert asking[stays].result().status == 200
        heard = {record.messages[-1].text for record in one.journal.of(PredictionStarted)}
        assert heard == {holder, f"asker {stays}"}
        await host.until(lambda seen: not any(i.leases for i in seen.instances))


async def test_two_dashboards_see_the_same_and_one_that_closes_takes_nothing_from_the_other(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it, viewer(it) as one:
        async with viewer(it) as two:
            assert (await it.ask(CHATS, chat(QWEN.key, max_tokens=1))).status == 200
            for seen in (one, two):
                await seen.until("request.end", outcome="done")
            assert one.kinds == two.kinds
        assert (await it.ask(CHATS, chat(QWEN.key, max_tokens=1))).status == 200
        await one.until("request.end", outcome="done")


async def test_a_client_that_never_reads_gives_its_place_back(tmp_path: Path) -> None:
    """Over a real socket: what its system and ours hold for it fills up, and nothing moves."""

    def speak_on(_: Asked) -> Answer:
        return Answer(("x" * 20_000,) * 2_000)

    pace = LifePace(unread_s=0.02)
    config = sim("one", QWEN, parallel=1, answer=speak_on)
    async with gate(tmp_path, config, pace=pace) as it:
        one, host = it.house.hosts["one"], it.house.lantern.fleet.host(ONE)
        await one.preload(QWEN.key)
        await host.probe()
        body = json.dumps(chat(QWEN.key, stream=True, max_tokens=2_000)).encode()
        head = f"POST {CHATS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, at(it.base))
            asked = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            await loop.sock_sendall(client, asked)
            await one.journal.wait_for(PredictionCancelled)
            await host.until(lambda seen: not any(i.leases for i in seen.instances))
        # And another is answered meanwhile and after.
        assert (await it.ask(CHATS, chat(QWEN.key, max_tokens=1))).status == 200
