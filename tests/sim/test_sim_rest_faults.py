"""A simulated host over plain HTTP: leaving, stalling, breaking."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from sim_http import CHAT, JIT, Client

from bot.sim.faults import Faults
from bot.sim.host import SimHost
from bot.sim.journal import (
    LoadFinished,
    PredictionCancelled,
    PredictionCut,
    PredictionEnded,
    PredictionStarted,
    Request,
)


async def test_closing_the_response_stops_the_generation(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.stall_after_tokens(5)
        async with Client(host, session).stream("[[tokens 50]]") as response:
            await response.content.readline()
        ended = await host.journal.wait_for(PredictionEnded)
        assert isinstance(ended, PredictionCancelled)
        assert ended.tokens <= 5
        assert host.resident[0].running == 0


async def test_a_stalled_answer_goes_on_when_the_dial_is_cleared(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(JIT) as host:
        host.faults.stall_after_tokens(2)
        async with Client(host, session).stream("[[say one two three]]") as response:
            first = await response.content.readline()
            host.faults.clear()
            rest = await response.read()
        assert b"one" in first
        assert b"three" in rest
        assert b"[DONE]" in rest


async def test_prefill_is_finished_before_a_left_prediction_gives_its_slot_back(
    session: aiohttp.ClientSession,
) -> None:
    async with SimHost(JIT) as host:
        await host.preload("small")
        host.faults.stall_prefill()
        host.faults.stall_after_tokens(0)
        client = Client(host, session)

        async def ask() -> None:
            await client.chat("hello there")

        async with asyncio.TaskGroup() as tasks:
            asker = tasks.create_task(ask())
            await host.journal.wait_for(PredictionStarted)
            asker.cancel()
        assert host.resident[0].running == 1
        host.faults.clear("stall_prefill")
        assert (await host.journal.wait_for(PredictionEnded)).tokens == 0
        assert host.resident[0].running == 0


async def test_the_connection_can_be_cut_after_some_tokens(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.drop_after_tokens(3)
        client = Client(host, session)
        async with client.stream("hello") as response:
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        assert host.journal.of(PredictionCut)[0].tokens == 3
        assert (await client.chat("again"))[0] == 200


@pytest.mark.parametrize("after", [None, 2])
async def test_a_stream_can_end_in_silence(
    session: aiohttp.ClientSession, after: int | None
) -> None:
    async with SimHost(JIT) as host:
        host.faults.silent_end(after)
        async with Client(host, session).stream("[[say one two three]]") as response:
            text = await response.text()
        assert "[DONE]" not in text
        assert '"finish_reason": "stop"' not in text
        assert host.journal.of(PredictionCut)[0].tokens == (3 if after is None else after)


async def test_an_answer_can_ask_for_a_silent_end(session: aiohttp.ClientSession) -> None:
    async with (
        SimHost(JIT) as host,
        Client(host, session).stream("[[stop-without-end]]") as response,
    ):
        assert "[DONE]" not in await response.text()


async def test_a_reply_can_name_another_model(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.wrong_model("somebody-else")
        client = Client(host, session)
        assert (await client.chat("hi"))[1]["model"] == "somebody-else"
        assert (await client.chat("hi"))[1]["model"] == "small"


@pytest.mark.parametrize(("dial", "status"), [(Faults.status_500, 500), (Faults.status_503, 503)])
async def test_a_status_can_be_answered_so_many_times(
    session: aiohttp.ClientSession, dial: Any, status: int
) -> None:
    async with SimHost(JIT) as host:
        dial(host.faults, times=2, path=CHAT)
        client = Client(host, session)
        assert (await client.get("/v1/models"))[0] == 200
        assert [(await client.chat("hi"))[0] for _ in range(3)] == [status, status, 200]


async def test_garbage_is_neither_json_nor_an_event(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.garbage(times=1)
        async with session.get(f"http://{host.address}/v1/models") as response:
            with pytest.raises(ValueError, match=r"Expecting|codec"):
                json.loads(await response.read())


async def test_a_refused_connection_says_nothing(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.refuse(times=1)
        client = Client(host, session)
        with pytest.raises(aiohttp.ClientError):
            await client.chat("hi")
        assert (await client.chat("hi"))[0] == 200


async def test_a_hanging_host_answers_when_it_is_cleared(session: aiohttp.ClientSession) -> None:
    async with SimHost(JIT) as host:
        host.faults.hang()
        client = Client(host, session)
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(client.get("/v1/models"))
            await host.journal.wait_for(Request)
            assert not asked.done()
            host.faults.clear()
        assert asked.result()[0] == 200


@pytest.mark.parametrize("path", ["/api/v1/models/load", CHAT])
async def test_a_load_over_rest_can_lose_its_connection(
    session: aiohttp.ClientSession, path: str
) -> None:
    async with SimHost(JIT) as host:
        host.faults.drop_mid_load(0.4)
        messages = [{"role": "user", "content": "hi"}]
        body = {"model": "small"} | ({"messages": messages} if path == CHAT else {})
        with pytest.raises(aiohttp.ClientError):
            await Client(host, session).post(path, **body)
        assert (await host.journal.wait_for(LoadFinished)).key == "small"
