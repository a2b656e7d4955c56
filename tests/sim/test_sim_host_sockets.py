"""The simulated host through the real SDK: loads, time, faults, journal."""

import asyncio
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import aiohttp
import httpx
import lmstudio as lms
import pytest

from bot.sim.errors import ModelNotOnDisk
from bot.sim.faults import Faults
from bot.sim.host import SimHost
from bot.sim.journal import (
    Called,
    LoadCancelled,
    LoadFailed,
    LoadFinished,
    LoadStarted,
    PredictionCancelled,
    PredictionCut,
    PredictionEnded,
    PredictionFailed,
    PredictionFinished,
    PredictionStarted,
    Unloaded,
)
from bot.sim.models import GB, SimHostConfig, SimModel

FAST = SimHostConfig(
    models=(
        SimModel("small", 4 * GB),
        SimModel("large", 9 * GB),
        SimModel("vectors", 1 * GB, kind="embedding"),
    ),
    memory_bytes=16 * GB,
    time_scale=0,
)
LONG_AGO_S = 24 * 3600.0


@dataclass(frozen=True)
class Parameter:
    """Raw parameters for `remote_call`, which only asks for `to_dict`."""

    content: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return self.content


async def call(session: Any, endpoint: str, **content: Any) -> Any:
    return await session.remote_call(endpoint, Parameter(content))


async def test_a_load_is_journalled_with_its_configuration_and_ttl() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        config: lms.LlmLoadModelConfigDict = {
            "contextLength": 2048,
            "flashAttention": True,
            "gpu": {"ratio": 0.5},
        }
        await client.llm.load_new_instance("small", "mine", ttl=60, config=config)
        started = host.journal.of(LoadStarted)[0]
        assert (started.key, started.identifier, started.ttl_s) == ("small", "mine", 60)
        assert started.config["llm.load.contextLength"] == 2048
        assert started.config["llm.load.llama.acceleration.offloadRatio"] == 0.5
        assert host.resident[0].context_length == 2048
        assert host.journal.of(LoadFinished)[0].reference == host.resident[0].reference


async def test_leaving_the_await_does_not_stop_a_load() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        host.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            asker = tasks.create_task(client.llm.load_new_instance("small"))
            await host.journal.wait_for(LoadStarted)
            asker.cancel()
        host.faults.clear()
        assert (await host.journal.wait_for(LoadFinished)).key == "small"


async def test_leaving_the_connection_does_not_stop_a_load() -> None:
    async with SimHost(FAST) as host:
        host.faults.stall_load()
        async with lms.AsyncClient(host.address) as client, asyncio.TaskGroup() as tasks:
            asker = tasks.create_task(client.llm.load_new_instance("small"))
            await host.journal.wait_for(LoadStarted)
            asker.cancel()
        host.faults.clear()
        assert (await host.journal.wait_for(LoadFinished)).key == "small"


async def test_a_cancel_message_stops_a_load() -> None:
    async with (
        SimHost(FAST) as host,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{host.address}/llm") as socket,
    ):
        await socket.send_json(
            {"authVersion": 1, "clientIdentifier": "someone", "clientPasskey": "anything"}
        )
        assert (await socket.receive_json())["success"] is True
        host.faults.stall_load()
        await socket.send_json(
            {
                "type": "channelCreate",
                "endpoint": "loadModel",
                "channelId": 7,
                "creationParameter": {"modelKey": "small", "loadConfigStack": {"layers": []}},
            }
        )
        await host.journal.wait_for(LoadStarted)
        await socket.send_json(
            {"type": "channelSend", "channelId": 7, "message": {"type": "cancel"}}
        )
        await host.journal.wait_for(LoadCancelled)
        assert host.resident == ()


async def test_the_guardrail_refuses_what_does_not_fit_and_says_the_size() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        await host.preload("large")
        with pytest.raises(
            lms.LMStudioServerError, match=r"insufficient system resources.*9\.00 GB"
        ):
            await client.llm.load_new_instance("large")
        assert "insufficient" in host.journal.of(LoadFailed)[0].reason


async def test_a_load_can_be_told_to_fail_once() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        host.faults.fail_next_load("Exit code: 139")
        with pytest.raises(lms.LMStudioServerError, match="Exit code: 139"):
            await client.llm.load_new_instance("small")
        assert host.journal.of(LoadFailed)[0].identifier == "small"
        await client.llm.load_new_instance("small")
        assert [instance.identifier for instance in host.resident] == ["small"]


async def test_the_connection_can_be_cut_in_the_middle_of_a_load() -> None:
    async with SimHost(FAST) as host:
        host.faults.drop_mid_load(at=0.4)
        host.faults.stall_load(at=0.4)
        seen: list[float] = []
        async with lms.AsyncClient(host.address) as client:
            with pytest.raises(lms.LMStudioWebsocketError):
                await client.llm.load_new_instance("small", on_load_progress=seen.append)
        assert seen[-1] == 0.4
        host.faults.clear()
        assert (await host.journal.wait_for(LoadFinished)).key == "small"


async def test_a_load_can_be_held_and_let_go() -> None:
    seen: list[float] = []
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        host.faults.stall_load(at=0.5)
        async with asyncio.TaskGroup() as tasks:
            loading = tasks.create_task(
                client.llm.load_new_instance("small", on_load_progress=seen.append)
            )
            await host.journal.wait_for(LoadStarted)
            assert await client.llm.list_loaded() == []
            with pytest.raises(lms.LMStudioServerError):
                await client.llm.unload("small")
            assert max(seen) <= 0.5
            host.faults.clear()
        assert loading.result().identifier == "small"


async def test_progress_is_smooth() -> None:
    seen: list[float] = []
    passing = replace(FAST, time_scale=1e-6)
    async with SimHost(passing) as host, lms.AsyncClient(host.address) as client:
        await client.llm.load_new_instance("small", on_load_progress=seen.append)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    assert max(after - before for before, after in pairwise(seen)) <= 0.1


async def test_an_idle_instance_leaves_after_its_ttl_and_not_before() -> None:
    async with SimHost(FAST) as host:
        await host.preload("small", ttl_s=600)
        await host.preload("large")
        host.skip_time(599)
        assert len(host.resident) == 2
        host.skip_time(2)
        assert [instance.key for instance in host.resident] == ["large"]
        assert host.journal.of(Unloaded)[0].reason == "ttl"


async def test_the_ttl_passes_by_itself_when_time_runs() -> None:
    async with SimHost(replace(FAST, time_scale=0.001)) as host:
        await host.preload("small", ttl_s=5)
        assert (await host.journal.wait_for(Unloaded)).reason == "ttl"


async def test_the_ttl_counts_from_the_end_of_work() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        await host.preload("small", ttl_s=600)
        host.faults.stall_after_tokens(2)
        model = await client.llm.model("small")
        stream = await model.respond_stream("hello")
        async for fragment in stream:
            assert fragment.content
            host.skip_time(LONG_AGO_S)
            assert len(host.resident) == 1
            if host.resident[0].running and not host.faults.is_set("stall_after_tokens"):
                await stream.cancel()
        await host.journal.wait_for(PredictionEnded)
        host.skip_time(599)
        assert len(host.resident) == 1
        host.skip_time(2)
        assert host.resident == ()


async def test_get_or_load_evicts_what_came_just_in_time_and_nothing_else() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        await host.preload("small", "kept")
        await host.preload("small", "jit", is_jit=True)
        await client.embedding.model("vectors")
        assert [instance.identifier for instance in host.resident] == ["kept", "vectors"]
        assert host.journal.of(Unloaded)[0].reason == "jit evicted"


async def test_unloading_kills_running_and_waiting_predictions() -> None:
    config = replace(FAST, generation="0.3")
    async with SimHost(config) as host, lms.AsyncClient(host.address) as client:
        await host.preload("small")
        host.faults.stall_after_tokens(1, times=None)
        model = await client.llm.model("small")

        async def ask() -> None:
            with pytest.raises(lms.LMStudioServerError, match="Model unloaded"):
                await model.respond("hello")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask())
            tasks.create_task(ask())
            await host.journal.wait_for(PredictionStarted, lambda record: record.number == 2)
            host.unload("small")
        assert len(host.journal.of(PredictionFailed)) == 2


async def test_cancelling_stops_the_generation_and_reports_user_stopped() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        await host.preload("small")
        host.faults.stall_after_tokens(3)
        model = await client.llm.model("small")
        stream = await model.respond_stream("[[tokens 50]]")
        count = 0
        async for _ in stream:
            count += 1
            if count == 3:
                await stream.cancel()
        assert stream.result().stats.stop_reason == "userStopped"
        ended = await host.journal.wait_for(PredictionCancelled)
        assert ended.tokens == 3
        assert host.resident[0].running == 0


async def test_a_waiting_prediction_can_be_cancelled() -> None:
    config = replace(FAST, generation="0.3")
    async with SimHost(config) as host, lms.AsyncClient(host.address) as client:
        await host.preload("small")
        host.faults.stall_after_tokens(1)
        model = await client.llm.model("small")
        first = await model.respond_stream("one")
        second = await model.respond_stream("two")
        await first.start()
        await host.journal.wait_for(PredictionStarted)
        await second.start()
        await host.journal.wait_for(PredictionStarted, lambda record: record.number == 2)
        state = await call(
            client.llm,
            "getInstanceProcessingState",
            specifier={"type": "query", "query": {"identifier": "small"}},
            throwIfNotFound=True,
        )
        assert state["queued"] == 2
        await second.cancel()
        ended = await host.journal.wait_for(PredictionCancelled)
        assert (ended.number, ended.tokens) == (2, 0)


async def test_leaving_the_client_ends_its_predictions() -> None:
    async with SimHost(FAST) as host:
        await host.preload("small")
        host.faults.stall_after_tokens(1)
        async with lms.AsyncClient(host.address) as client:
            model = await client.llm.model("small")
            stream = await model.respond_stream("hello")
            await stream.start()
            await host.journal.wait_for(PredictionStarted)
        assert (await host.journal.wait_for(PredictionEnded)).number == 1
        assert host.resident[0].running == 0


async def test_a_prediction_can_be_cut_after_some_tokens() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        await host.preload("small")
        host.faults.drop_after_tokens(4)
        model = await client.llm.model("small")
        with pytest.raises(lms.LMStudioWebsocketError):
            await model.respond("hello")
        assert host.journal.of(PredictionCut)[0].tokens == 4


async def test_sampling_parameters_reach_the_journal() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        await host.preload("small")
        model = await client.llm.model("small")
        await model.respond("[[tokens 30]]", config={"temperature": 0.3, "maxTokens": 5})
        sampling = host.journal.of(PredictionStarted)[0].sampling
        assert sampling["llm.prediction.temperature"] == 0.3
        finished = host.journal.of(PredictionFinished)[0]
        assert (finished.tokens, finished.reason) == (5, "maxPredictedTokensReached")


async def test_an_unknown_call_is_never_answered_only_warned_about() -> None:
    async with (
        SimHost(FAST) as host,
        lms.AsyncClient(host.address) as client,
        asyncio.TaskGroup() as tasks,
    ):
        asking = tasks.create_task(client.system.remote_call("inventedYesterday"))
        await host.journal.wait_for(Called, lambda call: call.endpoint == "inventedYesterday")
        assert await client.system.remote_call("version")
        assert not asking.done()
        asking.cancel()


async def test_a_host_that_went_and_came_back_listens_on_the_same_port_with_empty_memory() -> None:
    async with SimHost(FAST) as host:
        address = host.address
        await host.preload("small")
        async with lms.AsyncClient(address) as client:
            await host.stop()
            assert not host.is_up
            assert not await lms.AsyncClient.is_valid_api_host(address)
            with pytest.raises(lms.LMStudioWebsocketError):
                await client.llm.list_loaded()
            await host.start()
        async with lms.AsyncClient(address) as client:
            assert host.address == address
            assert await client.llm.list_loaded() == []
        assert host.journal.of(Unloaded)[0].reason == "host stopped"


async def test_stopping_ends_loads_in_flight() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        host.faults.stall_load()

        async def load() -> None:
            with pytest.raises(lms.LMStudioError):
                await client.llm.load_new_instance("small")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load())
            await host.journal.wait_for(LoadStarted)
            await host.stop()
        assert host.journal.of(LoadCancelled)[0].key == "small"


async def test_killing_the_connections_leaves_the_host_and_its_memory() -> None:
    async with SimHost(FAST) as host:
        await host.preload("small")
        async with lms.AsyncClient(host.address) as client:
            host.kill()
            with pytest.raises(lms.LMStudioWebsocketError):
                await client.llm.list_loaded()
        async with lms.AsyncClient(host.address) as client:
            assert [model.identifier for model in await client.llm.list_loaded()] == ["small"]


async def test_a_host_without_sockets_still_greets() -> None:
    async with SimHost(replace(FAST, sockets=False)) as host:
        assert await lms.AsyncClient.is_valid_api_host(host.address)
        with pytest.raises(lms.LMStudioWebsocketError):
            async with lms.AsyncClient(host.address):
                pass


async def test_a_hanging_host_swallows_a_call_and_serves_the_others() -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        host.faults.hang(path="/llm", times=1)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(client.llm.list_loaded())
            # Behind it on the same socket, and so heard after it.
            assert await tasks.create_task(client.llm.list_loaded()) == []
            assert await client.embedding.list_loaded() == []
            assert not asking.done()
            asking.cancel()


@pytest.mark.parametrize("dial", [Faults.refuse, Faults.garbage])
async def test_sockets_share_the_connection_faults(dial: Any) -> None:
    async with SimHost(FAST) as host, lms.AsyncClient(host.address) as client:
        dial(host.faults, path="/llm")
        with pytest.raises(lms.LMStudioError):
            async with asyncio.timeout(60):
                await client.llm.list_loaded()


async def test_a_refusing_host_is_no_valid_host() -> None:
    async with SimHost(FAST) as host:
        host.faults.refuse()
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await lms.AsyncClient.is_valid_api_host(host.address)


async def test_preloading_what_is_not_on_disk_is_refused() -> None:
    async with SimHost(FAST) as host:
        with pytest.raises(ModelNotOnDisk):
            await host.preload("unheard-of")


async def test_an_error_inside_the_block_comes_out_as_it_is() -> None:
    async def fail() -> None:
        async with SimHost(FAST):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
