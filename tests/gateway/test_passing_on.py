"""A client's own request passed on to a provider, and the provider's own chunks back."""

import json
from pathlib import Path
from typing import Any

import pytest

from bot.gateway.outbound import outbound
from bot.gateway.whole import WholeChat
from bot.sim.models import GB, SimModel
from tests.gateway.gate import CHATS, Gate, chat, gate
from tests.gateway.test_cloud import power_off
from tests.helpers.house import QWEN, cloud, sim

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CALL = '[[call weather {"city": "Ulm"}]]'
EYES = SimModel("sim/eyes-4b", 2 * GB, kind="vlm")
FORM = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}


def sent(it: Gate, provider: str = "openai") -> dict[str, Any]:
    return it.house.doubles[provider].journal.chats()[-1].arrival.payload


@pytest.mark.parametrize("wire", ["openai", "zai", "generic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_tools_go_to_a_provider_and_its_calls_come_back(
    tmp_path: Path, wire: Any, stream: bool
) -> None:
    async with gate(tmp_path, sim("one", QWEN), providers=cloud(**{wire: wire})) as it:
        await power_off(it)
        body = chat(QWEN.key, CALL, tools=[TOOL], tool_choice="auto", stream=stream)
        answer = await it.ask(CHATS, body)
        assert answer.status == 200, answer.body
        assert f"provider={wire}" in answer.headers["x-lantern-route"]
        calls: list[Any] = []
        if stream:
            events: Any = answer.events
            for event in events:
                for choice in event["choices"]:
                    calls += choice["delta"].get("tool_calls") or []
            last = [e["choices"][0] for e in events if e["choices"]][-1]
            arguments = "".join(call["function"]["arguments"] for call in calls)
            assert len(calls) > 2
            assert not any(event.get("usage") for event in events if not event["choices"])
        else:
            whole: Any = answer.json
            last = whole["choices"][0]
            (call,) = calls = last["message"]["tool_calls"]
            arguments = call["function"]["arguments"]
            assert whole["object"] == "chat.completion"
            assert whole["usage"]["completion_tokens"] > 0
        assert last["finish_reason"] == "tool_calls"
        assert (calls[0]["function"]["name"], calls[0]["type"]) == ("weather", "function")
        assert calls[0]["id"]
        assert json.loads(arguments) == {"city": "Ulm"}
        assert sent(it, wire)["tools"] == [TOOL]


async def test_a_provider_is_sent_what_it_takes_and_nothing_that_names_the_asker(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN), providers=cloud(openai="openai")) as it:
        await power_off(it)
        body = chat(
            QWEN.key,
            "hi",
            response_format=FORM,
            seed=5,
            top_k=3,
            ttl=60,
            user="ada@example.org",
            max_completion_tokens=77,
            stream_options={"include_usage": False},
        )
        answer = await it.ask(CHATS, body)
        assert json.loads(answer.said) == {"city": "lantern"}
        payload = sent(it)
        assert str(answer.json["model"]).startswith(payload["model"])
        assert (payload["seed"], payload["response_format"]) == (5, FORM)
        # Thinking counts in the limit there, and gets room of its own.
        assert payload["max_completion_tokens"] >= 77
        assert payload["stream"] is True
        assert payload["stream_options"] == {"include_usage": True}
        assert not payload.keys() & {"top_k", "ttl", "user", "max_tokens"}
        assert "ada@example.org" not in json.dumps(payload)


async def test_the_client_asks_a_provider_for_json_by_the_name_it_knows(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), providers=cloud(zai="zai")) as it:
        await power_off(it)
        await it.ask(CHATS, chat(QWEN.key, response_format={"type": "json_object"}))
        assert sent(it, "zai")["response_format"] == {"type": "json_object"}


async def test_pictures_go_to_a_provider_that_sees(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [{"type": "text", "text": "what is it?"}, picture]
    body = {"model": EYES.key, "messages": [{"role": "user", "content": content}]}
    for sees in (True, False):
        folder = tmp_path / str(sees)
        folder.mkdir()
        async with gate(
            folder,
            sim("one", EYES),
            providers=cloud(openai="openai"),
            provider_changes={"vision": sees},
        ) as it:
            await power_off(it)
            answer = await it.ask(CHATS, body)
            assert answer.status == (200 if sees else 503)
            if sees:
                assert sent(it)["messages"][0]["content"] == content


async def test_what_is_passed_on_is_booked_and_paid(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), providers=cloud(openai="openai")) as it:
        await power_off(it)
        for stream in (False, True):
            body = chat(QWEN.key, CALL, tools=[TOOL], stream=stream)
            assert (await it.ask(CHATS, body)).status == 200
        key = it.house.lantern.providers
        (standing,) = await key.standings()
        assert sum(account.spent_micro_usd for account in standing.accounts) > 0
        assert not any(account.reserved_micro_usd for account in standing.accounts)


async def test_another_wire_is_given_words_alone_and_skipped_for_tools(tmp_path: Path) -> None:
    providers = cloud(anthropic="anthropic")
    async with gate(tmp_path, sim("one", QWEN), providers=providers) as it:
        await power_off(it)
        body = chat(QWEN.key, "[[say seven]]", max_tokens=55, stop=["x"])
        plain = await it.ask(CHATS, body)
        assert plain.said == "seven"
        assert sent(it, "anthropic")["stop_sequences"] == ["x"]
        before = len(it.house.doubles["anthropic"].journal.chats())
        tools = await it.ask(CHATS, chat(QWEN.key, CALL, tools=[TOOL]))
        assert tools.status == 503
        assert "not translated" in str(tools.error["message"])
        assert len(it.house.doubles["anthropic"].journal.chats()) == before


async def test_a_provider_that_breaks_after_its_first_chunk_ends_the_stream_with_an_error(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN), providers=cloud(openai="openai")) as it:
        await power_off(it)
        it.house.doubles["openai"].faults.set("cut", after_tokens=2)
        answer = await it.ask(CHATS, chat(QWEN.key, "[[tokens 9]]", stream=True))
        assert answer.status == 200
        assert "error" in answer.events[-1]


def test_chunks_add_up_to_one_answer() -> None:
    whole = WholeChat()
    assert not whole.has_begun
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": "a"},
        {"content": "b"},
        {"tool_calls": [{"index": 1, "id": "2", "function": {"name": "g", "arguments": "{"}}]},
        {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "1"}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]},
    ]
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        whole.take(json.dumps({"id": "x", "model": "m", "choices": [choice]}))
    end: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    whole.take(json.dumps({"id": "x", "choices": [end], "usage": None}))
    whole.take(json.dumps({"id": "x", "choices": [], "usage": {"total_tokens": 9}}))
    body = json.loads(whole.body())
    assert (body["id"], body["model"], body["usage"]) == ("x", "m", {"total_tokens": 9})
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "ab"
    assert choice["message"]["reasoning_content"] == "hm"
    calls = {call["id"]: call["function"] for call in choice["message"]["tool_calls"]}
    assert calls["1"] == {"name": "f", "arguments": "1"}
    assert calls["2"] == {"name": "g", "arguments": "{}"}


def test_all_that_is_said_is_judged_and_counted() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [{"type": "text", "text": "look"}, picture]
    fields: dict[str, object] = {
        "model": "m",
        "messages": [{"role": "user", "content": content}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "secret"}}],
        "metadata": {"who": "ada"},
    }
    made = outbound(fields, None, None)
    for word in ("look", "secret", "ada", "who"):
        assert word in made.words.text.split("\n")
    assert len(made.words.images) == 1
    assert "AAAA" not in made.words.text
    assert made.messages == ()
    assert made.why_not
