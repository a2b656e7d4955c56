"""Answers of a loaded model, by the SDK and by REST."""

import json
from typing import Any

import aiohttp
import lmstudio as lms
import pytest
from contract_subject import Subject

ASK = [{"role": "user", "content": "Say hello in five words."}]


async def post(http: aiohttp.ClientSession, path: str, **body: Any) -> tuple[int, Any]:
    async with http.post(path, json=body) as response:
        return response.status, await response.json()


async def stream(http: aiohttp.ClientSession, path: str, **body: Any) -> tuple[list[Any], bool]:
    """Return the chunks of a stream and whether it ended with its mark."""
    async with http.post(path, json=body | {"stream": True}) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        lines = (await response.text()).split("\n")
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    chunks = [json.loads(line) for line in data if line != "[DONE]"]
    return chunks, data[-1] == "[DONE]"


async def test_the_sdk_streams_an_answer_with_statistics(loaded: lms.AsyncLLM) -> None:
    fragments: list[str] = []
    answer = await loaded.respond_stream("Say hello.", config={"maxTokens": 24})
    async for fragment in answer:
        fragments.append(fragment.content)
        assert fragment.reasoning_type in (
            "none",
            "reasoning",
            "reasoningStartTag",
            "reasoningEndTag",
        )
    result = answer.result()
    assert "".join(fragments) == result.content
    assert result.stats.stop_reason in ("eosFound", "maxPredictedTokensReached")
    assert result.stats.predicted_tokens_count
    assert result.stats.prompt_tokens_count


async def test_cancelling_while_iterating_ends_the_answer(loaded: lms.AsyncLLM) -> None:
    answer = await loaded.respond_stream("Count to one thousand, in words.")
    async for _ in answer:
        await answer.cancel()
    assert answer.result().stats.stop_reason in ("userStopped", "eosFound")


async def test_prompts_can_be_formatted_and_counted(loaded: lms.AsyncLLM) -> None:
    chat = lms.Chat("Be kind.")
    chat.add_user_message("Hello there.")
    prompt = await loaded.apply_prompt_template(chat)
    assert "Hello there." in prompt
    assert await loaded.count_tokens(prompt) >= 3
    assert len(await loaded.tokenize("Hello there.")) == await loaded.count_tokens("Hello there.")


async def test_a_whole_answer_names_the_model_and_counts_tokens(
    loaded: lms.AsyncLLM, http: aiohttp.ClientSession
) -> None:
    status, body = await post(
        http, "/v1/chat/completions", model=loaded.identifier, messages=ASK, max_tokens=24
    )
    assert status == 200
    assert body["model"] == loaded.identifier
    assert body["choices"][0]["finish_reason"] in ("stop", "length")
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_stream_ends_with_a_finish_reason_usage_and_its_mark(
    loaded: lms.AsyncLLM, http: aiohttp.ClientSession
) -> None:
    chunks, is_marked = await stream(
        http,
        "/v1/chat/completions",
        model=loaded.identifier,
        messages=ASK,
        max_tokens=24,
        stream_options={"include_usage": True},
    )
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert {chunk["model"] for chunk in chunks} == {loaded.identifier}
    assert choices[-1]["finish_reason"] in ("stop", "length")
    assert all(choice["finish_reason"] is None for choice in choices[:-1])
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert is_marked


async def test_plain_prompts_are_continued(
    loaded: lms.AsyncLLM, http: aiohttp.ClientSession
) -> None:
    status, body = await post(
        http, "/v1/completions", model=loaded.identifier, prompt="Once upon", max_tokens=8
    )
    assert status == 200
    assert isinstance(body["choices"][0]["text"], str)
    chunks, is_marked = await stream(
        http, "/v1/completions", model=loaded.identifier, prompt="Once upon", max_tokens=8
    )
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks)
    assert is_marked


async def test_the_native_path_adds_statistics(
    loaded: lms.AsyncLLM, http: aiohttp.ClientSession
) -> None:
    status, body = await post(
        http, "/api/v0/chat/completions", model=loaded.identifier, messages=ASK, max_tokens=8
    )
    assert status == 200
    assert body["stats"]["tokens_per_second"] > 0
    assert "stop_reason" in body["stats"]


async def test_a_prompt_longer_than_the_context_is_refused(loaded: lms.AsyncLLM) -> None:
    with pytest.raises(lms.LMStudioServerError, match="context length"):
        await loaded.respond("word and word " * 3000)


async def test_nothing_that_can_be_loaded_is_served_by_name_without_jit(
    subject: Subject, http: aiohttp.ClientSession
) -> None:
    if subject.jit is None:
        pytest.skip("a real host may have other models loaded")
    status, body = await post(http, "/v1/chat/completions", model=subject.key, messages=ASK)
    assert status == (200 if subject.jit else 404)
    assert ("choices" in body) is subject.jit


async def test_embedding_models_give_vectors(
    subject: Subject, sdk: lms.AsyncClient, http: aiohttp.ClientSession
) -> None:
    models = await sdk.embedding.list_downloaded()
    if not models:
        pytest.skip("no embedding model on this host")
    model = await models[0].load_new_instance(ttl=60, instance_identifier="lantern-vectors")
    vector = await model.embed("hello")
    tokens = len(await model.tokenize("hello"))
    assert tokens == await model.count_tokens("hello") + 2
    status, body = await post(http, "/v1/embeddings", model="lantern-vectors", input=["hello", "x"])
    await model.unload()
    assert status == 200
    assert len(body["data"]) == 2
    assert len(body["data"][0]["embedding"]) == len(vector)
    assert subject.key != "lantern-vectors"
