"""Bringing models into memory and out of it by the SDK."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import lmstudio as lms
import pytest
from contract_subject import Subject


@dataclass(frozen=True)
class Parameter:
    """Raw parameters for `remote_call`, which only asks for `to_dict`."""

    content: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return self.content


async def call(session: Any, endpoint: str, **content: Any) -> Any:
    return await session.remote_call(endpoint, Parameter(content))


async def test_a_load_reports_its_progress_up_to_one(
    subject: Subject, sdk: lms.AsyncClient
) -> None:
    seen: list[float] = []
    model = await sdk.llm.load_new_instance(
        subject.key, "lantern-contract", ttl=60, on_load_progress=seen.append
    )
    await model.unload()
    assert seen[-1] == 1.0
    assert all(before < after for before, after in pairwise(seen))


async def test_load_settings_are_applied_and_can_be_read_back(loaded: lms.AsyncLLM) -> None:
    assert await loaded.get_context_length() == 2048
    config = await loaded.get_load_config()
    assert config.context_length == 2048
    info = await loaded.get_info()
    assert info.identifier == "lantern-contract"
    assert info.instance_reference


async def test_an_identifier_can_be_used_once(
    subject: Subject, sdk: lms.AsyncClient, loaded: lms.AsyncLLM
) -> None:
    with pytest.raises(lms.LMStudioServerError, match="already exists"):
        await sdk.llm.load_new_instance(subject.key, loaded.identifier, ttl=60)


async def test_an_instance_without_a_name_gets_the_key_and_a_number(
    subject: Subject, sdk: lms.AsyncClient
) -> None:
    before = {model.identifier for model in await sdk.llm.list_loaded()}
    first = await sdk.llm.load_new_instance(subject.key, ttl=60)
    second = await sdk.llm.load_new_instance(subject.key, ttl=60)
    await first.unload()
    await second.unload()
    assert first.identifier.startswith(subject.key)
    assert second.identifier.startswith(f"{subject.key}:")
    assert len(before | {first.identifier, second.identifier}) == len(before) + 2


async def test_a_loaded_model_is_got_rather_than_loaded_again(
    sdk: lms.AsyncClient, loaded: lms.AsyncLLM
) -> None:
    before = len(await sdk.llm.list_loaded())
    again = await sdk.llm.model(loaded.identifier)
    assert again.identifier == loaded.identifier
    assert len(await sdk.llm.list_loaded()) == before


async def test_an_unloaded_instance_is_not_found_any_more(
    sdk: lms.AsyncClient, loaded: lms.AsyncLLM
) -> None:
    await loaded.unload()
    assert loaded.identifier not in [model.identifier for model in await sdk.llm.list_loaded()]
    with pytest.raises(lms.LMStudioModelNotFoundError):
        await loaded.get_info()


async def test_a_key_that_is_not_on_disk_cannot_be_loaded(sdk: lms.AsyncClient) -> None:
    with pytest.raises(lms.LMStudioServerError):
        await sdk.llm.load_new_instance("lantern/no-such-model", ttl=60)


async def test_memory_can_be_estimated_before_a_load(
    subject: Subject, sdk: lms.AsyncClient
) -> None:
    field = {"key": "llm.load.contextLength", "value": 2048}
    layer = {"layerName": "apiOverride", "config": {"fields": [field]}}
    answer = await call(
        sdk.llm, "estimateModelUsage", modelKey=subject.key, loadConfigStack={"layers": [layer]}
    )
    assert answer["memory"]["totalBytes"] >= answer["memory"]["modelBytes"] > 0
    assert isinstance(answer["passesGuardrails"], bool)


async def test_an_instance_tells_what_it_does(sdk: lms.AsyncClient, loaded: lms.AsyncLLM) -> None:
    answer = await call(
        sdk.llm,
        "getInstanceProcessingState",
        specifier={"type": "query", "query": {"identifier": loaded.identifier}},
        throwIfNotFound=True,
    )
    assert answer == {"status": "idle", "queued": 0}
