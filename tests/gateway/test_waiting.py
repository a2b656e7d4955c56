"""While an answer waits a stream is shown life, and a whole answer waits in silence."""

import asyncio
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from clocks import LoopClock

from bot.chat.planning import ChatRules
from bot.domain.events import Evicting, Loading, Progress, Queued, Waking
from bot.domain.hosts import Drain
from bot.domain.ids import HostName, ModelKey, PersonaName
from bot.fleet import host as host_module
from bot.gateway import errors
from bot.gateway.sinks import LIFE, LifePace, state_of
from bot.sim.journal import LoadFinished, LoadStarted, PredictionStarted
from tests.gateway.gate import CHATS, PATHS, any_form, chat, gate
from tests.helpers.house import QWEN, sim

ONE = HostName("one")
QUICK = LifePace(headers_s=0.01, every_s=0.01)
LONGEST_S = 7.0
HASTY = ChatRules(default_persona=PersonaName("default"), max_local_wait_s=LONGEST_S)


async def test_sixteen_mixed_askers_of_a_cold_model_and_one_who_leaves(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two"), pace=QUICK) as it:
        one = it.house.hosts["one"]
        one.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(
                    it.ask(CHATS, chat(QWEN.key, f"asker {n}", max_tokens=4, stream=n % 2 == 0))
                )
                for n in range(17)
            ]
            await one.journal.wait_for(LoadStarted)
            host = it.house.lantern.fleet.host(ONE)
            await host.until(lambda seen: seen.waiting.get(ModelKey(QWEN.key)) == 17)
            asking[8].cancel()
            await host.until(lambda seen: seen.waiting.get(ModelKey(QWEN.key)) == 16)
            one.faults.clear("stall_load")
        answers = [task.result() for task in asking if not task.cancelled()]
        assert [answer.status for answer in answers] == [200] * 16
        assert len(one.journal.of(LoadStarted)) == 1
        heard = {record.messages[-1].text for record in one.journal.of(PredictionStarted)}
        assert heard == {f"asker {n}" for n in range(17)} - {"asker 8"}
        loaded = next(iter(one.journal.of(LoadFinished))).at
        assert all(record.at >= loaded for record in one.journal.of(PredictionStarted))


@pytest.mark.parametrize("is_asked", [False, True])
async def test_nobody_is_named_as_the_writer_before_a_word_of_it_came(
    tmp_path: Path, is_asked: bool
) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two", QWEN), pace=QUICK) as it:
        one, two = it.house.hosts["one"], it.house.hosts["two"]
        if is_asked:
            # It is asked, reads, and fails before its first word.
            await one.preload(QWEN.key)
            await it.house.lantern.fleet.probe_all()
            one.faults.stall_after_tokens(0)
        else:
            one.faults.stall_load()
            two.faults.stall_load()
        body = chat(None, "[[say seven]]", stream=True)
        async with it.session.post(it.base + CHATS, json=body) as got:
            assert got.headers["x-lantern-route"].endswith("; forecast=yes")
            assert "x-lantern-model" not in got.headers
            one.faults.clear()
            two.faults.clear()
            whole = (await got.content.read()).decode()
    chunks = [json.loads(x[5:]) for x in whole.splitlines() if x.startswith("data: {")]
    signs = {chunk["model"] for chunk in chunks if "lantern" in chunk}
    assert signs == {"auto"}
    assert {chunk["model"] for chunk in chunks if "lantern" not in chunk} == {QWEN.key}


@pytest.mark.parametrize("path", PATHS)
async def test_a_cold_stream_has_headers_and_signs_of_life_with_progress(
    tmp_path: Path, path: str
) -> None:
    async with gate(tmp_path, sim("one", QWEN), pace=QUICK) as it:
        one = it.house.hosts["one"]
        one.faults.stall_load(at=0.4)
        body = any_form("[[say seven]]", stream=True, max_tokens=9)
        async with it.session.post(it.base + path, json=body) as got:
            assert got.status == 200
            assert "host=one" in got.headers["x-lantern-route"]
            assert got.headers["x-lantern-route"].endswith("; forecast=yes")
            assert "x-lantern-model" not in got.headers
            heard = b""
            while heard.count(b'"progress": 0.4') < 2 and (more := await got.content.readany()):
                heard += more
            assert b'"state": "loading"' in heard
            one.faults.clear("stall_load")
            whole = (heard + await got.content.read()).decode()
        assert "seven" in whole
        if path in PATHS[2:]:
            # A comment, which every reader of these two forms passes over.
            assert whole.startswith(": {")
            # Its own id, by which a client goes on from it.
            assert "chatcmpl-" not in whole
            return
        assert all(line.startswith("data: ") for line in whole.splitlines() if line)
        chunks = [json.loads(x[5:]) for x in whole.splitlines() if x.startswith("data: {")]
        assert whole.endswith("data: [DONE]\n\n")
        assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
        assert {chunk["model"] for chunk in chunks} == {QWEN.key}
        assert sum(chunk["choices"][0]["finish_reason"] is not None for chunk in chunks) == 1
        assert not any("usage" in chunk for chunk in chunks)
        signs = [chunk for chunk in chunks if "lantern" in chunk]
        if path == CHATS:
            roles = [sign["choices"][0]["delta"].get("role") for sign in signs]
            assert roles == ["assistant", *[None] * (len(signs) - 1)]
            assert {sign["choices"][0]["delta"]["content"] for sign in signs} == {""}
        else:
            assert {sign["choices"][0]["text"] for sign in signs} == {""}


async def test_signs_of_life_come_in_the_first_second_and_each_ten_after_it(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with gate(tmp_path, sim("one", QWEN), pace=LIFE) as it:
        one = it.house.hosts["one"]
        one.faults.stall_load(at=0.4)
        one.faults.stall_after_tokens(1)
        body = chat(QWEN.key, "[[say seven eight]]", stream=True)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(it.session.post(it.base + CHATS, json=body))
            await one.journal.wait_for(LoadStarted)
            await loop_clock.armed(1.0)
            loop_clock.passes(1.0)
            async with await asking as got:
                for _ in range(3):
                    assert b'"lantern": {"state": ' in await got.content.readline()
                    assert await got.content.readline() == b"\n"
                    await loop_clock.armed(10.0)
                    loop_clock.passes(10.0)
                one.faults.clear("stall_load")
                while b"seven" not in (line := await got.content.readline()):
                    assert line
                # None is among the words of the answer.
                loop_clock.passes(10.0)
                one.faults.clear("stall_after_tokens")
                rest = await got.content.read()
                assert rest.endswith(b"data: [DONE]\n\n")
                assert b'"lantern"' not in rest


KEY = ModelKey(QWEN.key)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (
            Queued(ONE, KEY, 2, 7.5),
            {"state": "queued", "host": ONE, "place": 2, "seconds_left": 7.5},
        ),
        (Evicting(ONE, KEY, ()), {"state": "evicting", "host": ONE}),
        (Waking(ONE, KEY, 30.0), {"state": "waking", "host": ONE, "seconds_left": 30.0}),
        (
            Loading(ONE, KEY, 0.12345, 12.0),
            {"state": "loading", "host": ONE, "progress": 0.123, "seconds_left": 12.0},
        ),
    ],
)
def test_a_sign_of_life_says_how_far_it_is(step: Progress, told: dict[str, object]) -> None:
    assert state_of(step) == told


async def test_a_long_prompt_is_read_under_signs_of_life(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), pace=QUICK) as it:
        one = it.house.hosts["one"]
        await one.preload(QWEN.key)
        await it.house.lantern.fleet.host(ONE).probe()
        one.faults.stall_prefill()
        body = chat(QWEN.key, stream=True, max_tokens=3)
        async with it.session.post(it.base + CHATS, json=body) as got:
            while b'"lantern": {"state": "reading", "host": "one"}' not in (
                line := await got.content.readline()
            ):
                assert line
            one.faults.clear("stall_prefill")
            assert (await got.content.read()).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [True, False])
async def test_who_waits_in_a_line_goes_to_a_host_that_is_sooner_by_now(
    tmp_path: Path, stream: bool
) -> None:
    async with gate(tmp_path, sim("one", QWEN, parallel=1), sim("two", QWEN)) as it:
        one, two = (it.house.lantern.fleet.host(HostName(name)) for name in ("one", "two"))
        for name in ("one", "two"):
            await it.house.hosts[name].preload(QWEN.key)
        await it.house.lantern.fleet.probe_all()
        two.drain(Drain(HostName("two")))
        it.house.hosts["one"].faults.stall_after_tokens(2)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(it.ask(CHATS, chat(QWEN.key, "first", stream=True)))
            await it.house.hosts["one"].journal.wait_for(PredictionStarted)
            body = chat(QWEN.key, "second", stream=stream, max_tokens=3)
            second = tasks.create_task(it.ask(CHATS, body))
            await one.until(lambda seen: bool(seen.waiting))
            two.drain(Drain(HostName("two"), is_on=False))
            answer = await second
            it.house.hosts["one"].faults.clear("stall_after_tokens")
        assert answer.status == first.result().status == 200
        assert "host=two" in answer.headers["x-lantern-route"]
        heard = it.house.hosts["two"].journal.of(PredictionStarted)
        assert [record.messages[-1].text for record in heard] == ["second"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_queue_longer_than_the_longest_wait_says_when_to_ask_again(
    tmp_path: Path, loop_clock: LoopClock, stream: bool
) -> None:
    # Refused after its headers were sent, a stream would hear of it in an event.
    config, pace = sim("one", QWEN, parallel=1), LifePace(headers_s=60.0)
    async with gate(tmp_path, config, chat_rules=HASTY, pace=pace) as it:
        one = it.house.hosts["one"]
        await one.preload(QWEN.key)
        await it.house.lantern.fleet.host(ONE).probe()
        one.faults.stall_after_tokens(2)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(it.ask(CHATS, chat(QWEN.key, max_tokens=3)))
            await one.journal.wait_for(PredictionStarted)
            second = chat(QWEN.key, "second", stream=stream)
            asking = tasks.create_task(it.ask(CHATS, second))
            await loop_clock.armed(LONGEST_S)
            loop_clock.passes(LONGEST_S)
            answer = await asking
            assert (answer.status, answer.error["code"]) == (503, "overloaded")
            assert 1 <= int(answer.headers["retry-after"]) <= 120
            one.faults.clear("stall_after_tokens")
        assert first.result().status == 200
        assert len(one.journal.of(PredictionStarted)) == 1


async def test_a_whole_answer_waits_for_a_load_only_so_long_and_the_load_goes_on(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with gate(tmp_path, sim("one", QWEN), chat_rules=HASTY) as it:
        one = it.house.hosts["one"]
        one.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(it.ask(CHATS, chat(QWEN.key)))
            await one.journal.wait_for(LoadStarted)
            loop_clock.passes(LONGEST_S)
        answer = asking.result()
        assert (answer.status, answer.error["code"]) == (503, "model_loading")
        assert "its load goes on" in str(answer.error["message"])
        assert 1 <= int(answer.headers["retry-after"]) <= 120
        one.faults.clear("stall_load")
        await one.journal.wait_for(LoadFinished)
        again = await it.ask(CHATS, chat(QWEN.key, max_tokens=2))
        assert again.status == 200
        assert len(one.journal.of(LoadStarted)) == 1


async def test_a_stream_is_shown_its_load_however_long_it_takes(tmp_path: Path) -> None:
    rules = replace(HASTY, max_local_wait_s=0.05)
    async with gate(tmp_path, sim("one", QWEN), chat_rules=rules, pace=QUICK) as it:
        one = it.house.hosts["one"]
        one.faults.stall_load()
        body = chat(QWEN.key, stream=True, max_tokens=2)
        async with it.session.post(it.base + CHATS, json=body) as got:
            heard = b""
            while heard.count(b'"lantern"') < 10 and (more := await got.content.readany()):
                heard += more
            one.faults.clear("stall_load")
            heard += await got.content.read()
        assert heard.endswith(b"data: [DONE]\n\n")
        assert b'"error"' not in heard


@pytest.mark.parametrize("stream", [True, False])
async def test_what_runs_at_a_stop_ends_with_a_word(tmp_path: Path, stream: bool) -> None:
    async with gate(tmp_path, sim("one", QWEN), pace=QUICK) as it:
        one, relaying = it.house.hosts["one"], it.house.lantern.relaying
        one.faults.stall_after_tokens(2)
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(it.ask(CHATS, chat(QWEN.key, stream=stream)))
            await one.journal.wait_for(PredictionStarted)
            await relaying.drain(0.05)
        answer = asked.result()
        if stream:
            assert answer.status == 200
            assert b"restarting" in answer.body
            assert answer.body.endswith(b"data: [DONE]\n\n")
        else:
            assert (answer.status, answer.error["code"]) == (503, "overloaded")
        refused = await it.ask(CHATS, chat(QWEN.key))
        assert (refused.status, refused.error["code"]) == (503, "overloaded")


MAC = "00:1a:2b:3c:4d:5e"


async def test_whoever_asks_a_host_that_sleeps_is_told_when_to_come_again_or_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    async def call(mac: str, *_: object) -> None:
        called.append(mac)

    monkeypatch.setattr(host_module, "call", call)
    monkeypatch.setattr(host_module, "CALL_EVERY_S", 0.01)
    rules = replace(HASTY, max_local_wait_s=0.1)
    house = partial(gate, wakeable={"one": MAC}, chat_rules=rules, pace=QUICK)
    async with house(tmp_path, sim("one", QWEN)) as it:
        one, host = it.house.hosts["one"], it.house.lantern.fleet.host(ONE)
        await one.stop()
        await host.probe()
        assert host.snapshot().state == "asleep"
        # What is predicted is told, and not what is told of hosts nobody knows.
        monkeypatch.setattr(errors, "RETRY_S", 77)
        refused = await it.ask(CHATS, chat(QWEN.key))
        assert (refused.status, refused.error["type"]) == (503, "server_error")
        assert refused.error["code"] == "model_loading"
        assert int(refused.headers["retry-after"]) in {*range(1, 121)} - {77}
        assert "x-should-retry" not in refused.headers
        # A stream is shown that its host wakes, and is answered once it does.
        body = chat(QWEN.key, "[[say seven]]", stream=True, max_tokens=5)
        async with it.session.post(it.base + CHATS, json=body) as got:
            assert got.status == 200
            while b'"state": "waking"' not in (line := await got.content.readline()):
                assert not line.startswith(b'data: {"error"'), line
            await one.start()
            assert b"seven" in await got.content.read()
    assert set(called) == {MAC}
