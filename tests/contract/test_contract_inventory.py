"""What a host has on disk and in memory, by every interface it offers."""

from typing import Any

import aiohttp
import lmstudio as lms
from contract_subject import Subject


async def fetch(http: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with http.get(path) as response:
        return response.status, await response.json()


async def test_a_host_greets(subject: Subject) -> None:
    assert await lms.AsyncClient.is_valid_api_host(subject.address)


async def test_the_disk_is_listed_with_keys_and_sizes(
    subject: Subject, sdk: lms.AsyncClient
) -> None:
    models = {model.model_key: model for model in await sdk.list_downloaded_models()}
    info = models[subject.key].info
    assert info.size_bytes > 0
    assert info.max_context_length > 0
    assert {model.type for model in models.values()} <= {"llm", "embedding"}


async def test_the_wire_tells_more_about_loaded_models_than_the_sdk(
    subject: Subject, sdk: lms.AsyncClient, loaded: lms.AsyncLLM
) -> None:
    listed = await sdk.llm.remote_call("listLoaded")
    wire = next(entry for entry in listed if entry["identifier"] == loaded.identifier)
    assert wire["modelKey"] == subject.key
    assert wire["ttlMs"] == 600_000
    assert wire["contextLength"] == 2048
    assert wire["sizeBytes"] > 0
    assert wire["instanceReference"]
    assert "lastUsedTime" in wire


async def test_every_interface_agrees_on_what_is_loaded(
    subject: Subject, sdk: lms.AsyncClient, loaded: lms.AsyncLLM, http: aiohttp.ClientSession
) -> None:
    assert loaded.identifier in [model.identifier for model in await sdk.list_loaded_models()]
    _, v0 = await fetch(http, "/api/v0/models")
    states = {model["id"]: model["state"] for model in v0["data"]}
    assert states[loaded.identifier] == "loaded"
    _, v1 = await fetch(http, "/api/v1/models")
    if "models" in v1:
        instances = {i["id"] for model in v1["models"] for i in model["loaded_instances"]}
        assert loaded.identifier in instances


async def test_the_openai_list_is_the_disk_with_jit_and_the_memory_without(
    subject: Subject, http: aiohttp.ClientSession
) -> None:
    _, body = await fetch(http, "/v1/models")
    ids = {model["id"] for model in body["data"]}
    if subject.jit is not None:
        assert (subject.key in ids) is subject.jit


async def test_an_unknown_path_answers_200_with_an_error(http: aiohttp.ClientSession) -> None:
    status, body = await fetch(http, "/no/such/path")
    assert status == 200
    assert body["error"].startswith("Unexpected endpoint or method.")


async def test_only_the_newer_generation_has_the_native_v1_list(
    subject: Subject, http: aiohttp.ClientSession
) -> None:
    status, body = await fetch(http, "/api/v1/models")
    assert status == 200
    if subject.generation is not None:
        assert ("models" in body) is (subject.generation == "0.4")


async def test_the_server_tells_its_version(subject: Subject, sdk: lms.AsyncClient) -> None:
    answer = await sdk.system.remote_call("version")
    assert answer["version"].startswith(subject.generation or "0.")
