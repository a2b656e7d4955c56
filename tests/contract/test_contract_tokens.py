"""Hosts that want a token, and native loading over REST."""

import httpx
import lmstudio as lms
import pytest
from contract_subject import Subject, sdk_client


async def test_rest_refuses_a_wrong_token(subject: Subject) -> None:
    if subject.token is None:
        pytest.skip("this host lets everybody in")
    async with httpx.AsyncClient(base_url=subject.url(""), trust_env=False) as client:
        for headers in ({}, {"Authorization": "Bearer sk-lm-wrong000:00000000000000000000"}):
            response = await client.get("/v1/models", headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
        assert (await client.get("/lmstudio-greeting")).status_code == 200


async def test_a_socket_refuses_a_wrong_token(subject: Subject) -> None:
    if subject.token is None:
        pytest.skip("this host lets everybody in")
    with pytest.raises((ValueError, lms.LMStudioError)):
        async with sdk_client(subject.address, "sk-lm-wrong000:00000000000000000000"):
            pass


async def test_rest_of_the_newer_generation_loads_and_unloads(
    subject: Subject, sdk: lms.AsyncClient
) -> None:
    async with httpx.AsyncClient(
        base_url=subject.url(""), headers=subject.headers, trust_env=False, timeout=600
    ) as client:
        if "models" not in (await client.get("/api/v1/models")).json():
            pytest.skip("LM Studio before 0.4 has no native v1 paths")
        load = {"model": subject.key, "context_length": 2048}
        reply = (await client.post("/api/v1/models/load", json=load)).json()
        assert reply["status"] == "loaded"
        name = reply["instance_id"]
        assert name in [model.identifier for model in await sdk.llm.list_loaded()]
        gone = await client.post("/api/v1/models/unload", json={"instance_id": name})
        assert gone.json() == {"instance_id": name}
        assert name not in [model.identifier for model in await sdk.llm.list_loaded()]
