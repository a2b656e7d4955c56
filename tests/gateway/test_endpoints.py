"""Responses, messages, vectors and plain texts through the gateway, over simulated hosts."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.domain.ids import HostName, UserId
from bot.gateway.edge import PICTURE_TOKENS
from bot.gateway.kept import KEPT_S, MOST_KEPT, KeptAnswers
from bot.sim.journal import LoadStarted, PredictionStarted, Request
from bot.sim.models import GB, SimModel
from tests.gateway.gate import Gate, chat, gate
from tests.helpers.house import GEMMA, QWEN, sim

EYES = SimModel("sim/eyes-4b", 2 * GB, kind="vlm")
VECTORS = SimModel("sim/vectors", GB, kind="embedding", max_context_length=2048)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"


def said(text: str = "hi", **more: object) -> dict[str, Any]:
    body: dict[str, Any] = {"model": QWEN.key, "max_tokens": 9, **more}
    return body | {"messages": [{"role": "user", "content": text}]}


def asked(it: Gate, host: str = "one") -> PredictionStarted:
    return it.house.hosts[host].journal.of(PredictionStarted)[-1]


async def test_a_response_goes_on_where_its_answer_is_kept(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two", QWEN)) as it:
        for is_stream in (False, True):
            body = {"model": QWEN.key, "input": "first", "max_output_tokens": 4}
            first = await it.ask(RESPONSES, body | {"stream": is_stream})
            assert first.status == 200
            where = first.headers["x-lantern-route"].split(";")[0]
            lines = [x[6:] for x in first.body.decode().splitlines() if x.startswith("data: ")]
            whole = json.loads(lines[-1])["response"] if is_stream else first.json
            for _ in range(3):
                body = {**body, "input": "more", "previous_response_id": whole["id"]}
                second = await it.ask(RESPONSES, body)
                assert second.status == 200
                assert second.headers["x-lantern-route"].split(";")[0] == where
        host = where.removeprefix("host=")
        assert [m.text for m in asked(it, host).messages][::2] == ["first", "more"]
        for name in it.house.hosts:
            if name == host:
                await it.house.hosts[name].stop()
        gone = await it.ask(RESPONSES, body)
        assert (gone.status, gone.error["code"]) == (404, "previous_response_not_found")
        assert gone.error["param"] == "previous_response_id"


async def test_an_answer_is_gone_on_from_by_its_own_key_alone(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        mine, other = await it.key("mine"), await it.key("other")
        body = {"model": QWEN.key, "input": "a secret", "max_output_tokens": 4}
        first = await it.ask(RESPONSES, body, Authorization=mine)
        more = body | {"previous_response_id": first.json["id"]}
        assert (await it.ask(RESPONSES, more, Authorization=mine)).status == 200
        stolen = await it.ask(RESPONSES, more, Authorization=other)
        assert (stolen.status, stolen.error["code"]) == (404, "previous_response_not_found")


async def test_a_host_that_was_restarted_has_no_answers_left(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        body = {"model": QWEN.key, "input": "hi", "max_output_tokens": 4}
        first = await it.ask(RESPONSES, body)
        await it.house.hosts["one"].stop()
        await it.house.hosts["one"].start()
        more = body | {"previous_response_id": first.json["id"]}
        gone = await it.ask(RESPONSES, more)
        assert (gone.status, gone.error["code"]) == (404, "previous_response_not_found")


def test_answers_are_kept_in_mind_for_an_hour_and_not_without_bound() -> None:
    kept, ada, host = KeptAnswers(), UserId("ada"), HostName("one")
    kept.note(ada, "a", host, 100.0)
    assert kept.host_of(ada, "a", 100.0 + KEPT_S - 1) == host
    assert kept.host_of(UserId("bob"), "a", 100.0) is None
    assert kept.host_of(ada, "a", 100.0 + KEPT_S) is None
    kept.note(ada, "b", host, 100.0 + KEPT_S)
    assert len(kept) == 1
    for n in range(MOST_KEPT):
        kept.note(ada, str(n), host, 100.0 + KEPT_S)
    assert len(kept) == MOST_KEPT
    assert kept.host_of(ada, "b", 100.0 + KEPT_S) is None
    assert kept.host_of(ada, "0", 100.0 + KEPT_S) == host


async def test_codex_may_bring_tools_that_no_host_has(tmp_path: Path) -> None:
    function = {"type": "function", "name": "shell", "parameters": {"type": "object"}}
    body: dict[str, Any] = {
        "model": QWEN.key,
        "instructions": "You are Codex.",
        "input": [
            {
                "type": "message",
                "role": "developer",
                "content": [{"type": "input_text", "text": "p"}],
            },
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]},
        ],
        "tools": [function, {"type": "web_search"}, {"type": "custom", "name": "patch"}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199",
        "text": {"verbosity": "medium"},
        "client_metadata": {"session": "1"},
    }
    async with gate(tmp_path, sim("one", QWEN)) as it:
        answer = await it.ask(RESPONSES, body, Accept="text/event-stream")
        assert answer.status == 200
        events = [x for x in answer.body.decode().split("\n\n") if x]
        assert events[0].startswith("event: response.created\n")
        assert events[-1].startswith("event: response.completed\n")
        assert asked(it).sampling["tools"] == [function]
        assert [m.role for m in asked(it).messages] == ["system", "system", "user"]
        alone = await it.ask(RESPONSES, body | {"tools": [{"type": "web_search"}]})
        assert alone.status == 200
        assert "tools" not in asked(it).sampling
        assert "tool_choice" not in asked(it).sampling


async def test_claude_code_is_answered_and_its_tokens_counted(tmp_path: Path) -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    body: dict[str, Any] = {
        "model": QWEN.key,
        "max_tokens": 32000,
        "system": [{"type": "text", "text": "You are Claude Code.", **cached}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", **cached}]}],
        "tools": [{"name": "Bash", "description": "…", "input_schema": {"type": "object"}}],
        "metadata": {"user_id": "user_1"},
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "temperature": 1,
        "stream": True,
    }
    async with gate(tmp_path, sim("one", QWEN)) as it:
        known = await it.key("claude")
        headers = {
            "x_api_key": known.removeprefix("Bearer "),
            "anthropic_version": "2023-06-01",
            "anthropic_beta": "claude-code-20250219",
        }
        answer = await it.ask(f"{MESSAGES}?beta=true", body, **headers)
        assert answer.status == 200
        events = [x.split("\n")[0] for x in answer.body.decode().split("\n\n") if x]
        assert events[0] == "event: message_start"
        assert events[-1] == "event: message_stop"
        # A limit that high is no wish for a window that large.
        assert len(it.house.hosts["one"].journal.of(LoadStarted)) == 1
        counted = await it.ask(f"{MESSAGES}/count_tokens?beta=true", body, **headers)
        assert counted.status == 200
        assert 10 < int(str(counted.json["input_tokens"])) < 100


async def test_tokens_are_counted_as_the_host_that_has_the_model_in_memory_reads_them(
    tmp_path: Path,
) -> None:
    prompt = "You are calm. " * 40
    persona = f"model: {QWEN.key}\nsystem_prompt: {prompt}\nsampling: {{temperature: 0.1}}"
    blocks = [{"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}]
    bodies = (
        said("x"),
        said("word " * 500, system="You are brief."),
        said("x", model="sage"),
        said("x", model="sage", system=blocks),
        said("x") | {"messages": [{"role": "user", "content": blocks}]},
    )
    async with gate(tmp_path, sim("one", QWEN), personas={"sage": persona}) as it:
        one = it.house.hosts["one"]

        async def counted(body: dict[str, Any]) -> int:
            answer = await it.ask(f"{MESSAGES}/count_tokens", body)
            assert answer.status == 200
            return int(str(answer.json["input_tokens"]))

        plain, long, sage, *_ = estimated = [await counted(body) for body in bodies]
        assert len(prompt) / 5 < sage - plain < long
        # Nothing is loaded to count.
        assert not one.journal.of(LoadStarted)
        for body, about in zip(bodies, estimated, strict=True):
            answer = await it.ask(MESSAGES, body)
            usage: Any = answer.json["usage"]
            assert await counted(body) == usage["input_tokens"], body
            assert abs(about - usage["input_tokens"]) < 20 + usage["input_tokens"]
        pictured = said("x") | {"messages": [{"role": "user", "content": [*blocks, IMAGE]}]}
        assert await counted(pictured) > PICTURE_TOKENS
        tools = [{"name": "weather", "description": "d " * 50, "input_schema": {"type": "object"}}]
        assert await counted(said("x", tools=tools)) > await counted(said("x")) + 50
        assert len(one.journal.of(LoadStarted)) == 1


async def test_tokens_are_counted_by_the_next_host_when_one_has_lost_the_model(
    tmp_path: Path,
) -> None:
    body = said("Antidisestablishmentarianism!? " * 30)
    async with gate(tmp_path, sim("one", QWEN), sim("two", QWEN)) as it:
        one, fleet = it.house.hosts["one"], it.house.lantern.fleet

        async def counted() -> object:
            return (await it.ask(f"{MESSAGES}/count_tokens", body)).json["input_tokens"]

        estimated = await counted()
        for name, host in it.house.hosts.items():
            await host.preload(QWEN.key)
            await fleet.host(HostName(name)).probe()
        exact = await counted()
        assert exact != estimated
        one.unload(QWEN.key)
        assert await counted() == exact


async def test_errors_of_messages_are_anthropics(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        cases: list[tuple[str, object, int, str]] = [
            (MESSAGES, said(model="sim/none"), 404, "not_found_error"),
            (MESSAGES, b"{", 400, "invalid_request_error"),
            (MESSAGES, said(max_tokens=0), 400, "invalid_request_error"),
            (f"{MESSAGES}/count_tokens", {}, 400, "invalid_request_error"),
            (f"{MESSAGES}/nothing", {}, 404, "not_found_error"),
            (MESSAGES, said("word " * 60_000), 400, "invalid_request_error"),
        ]
        for path, body, status, kind in cases:
            answer = await it.ask(path, body)
            assert answer.status == status, answer.body
            assert answer.json["type"] == "error"
            assert answer.json["error"]["type"] == kind  # pyright: ignore[reportIndexIssue]
            # The name by which Anthropic's own clients read it.
            assert answer.headers["request-id"] == answer.headers["x-request-id"]
        for is_stream in (False, True):
            answer = await it.ask(MESSAGES, said(stream=is_stream))
            assert answer.headers["request-id"] == answer.headers["x-request-id"]


async def test_a_prompt_beyond_any_window_is_refused_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN, VECTORS)) as it:
        answer = await it.ask("/v1/chat/completions", chat(QWEN.key, "word " * 60_000))
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert answer.error["param"] == "messages"
        many = {"model": VECTORS.key, "input": ["word " * 500] * 50}
        assert (await it.ask("/v1/embeddings", many)).status == 200
        one = {"model": VECTORS.key, "input": ["word " * 5000]}
        long = await it.ask("/v1/embeddings", one)
        assert (long.status, long.error["code"]) == (400, "context_length_exceeded")
        assert [x.key for x in it.house.hosts["one"].journal.of(LoadStarted)] == [VECTORS.key]


@pytest.mark.parametrize("name", ["metadata", "user"])
async def test_what_no_model_reads_is_no_prompt(tmp_path: Path, name: str) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        much = "word " * 60_000
        label = {name: {"of": much} if name == "metadata" else much}
        answer = await it.ask("/v1/chat/completions", chat(QWEN.key, max_tokens=2) | label)
        assert answer.status == 200


async def test_a_model_that_cannot_see_names_those_that_can(tmp_path: Path) -> None:
    content = [{"type": "text", "text": "what is it?"}, PICTURE]
    picture: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
    async with gate(tmp_path, sim("one", QWEN, EYES)) as it:
        answer = await it.ask("/v1/chat/completions", picture | {"model": QWEN.key})
        assert (answer.status, answer.error["param"]) == (400, "messages")
        assert EYES.key in str(answer.error["message"])
        seen = await it.ask("/v1/chat/completions", picture | {"model": EYES.key})
        assert "1 picture" in seen.said
        unnamed = await it.ask("/v1/chat/completions", picture)
        assert unnamed.json["model"] == EYES.key
        item = {"role": "user", "content": [{"type": "input_image", "image_url": "data:…"}]}
        answer = await it.ask(RESPONSES, {"model": QWEN.key, "input": [item]})
        assert (answer.status, answer.error["param"]) == (400, "input")


async def test_vectors_come_as_they_were_asked_for(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, VECTORS)) as it:
        body: dict[str, Any] = {"model": VECTORS.key, "input": ["a", "b"]}
        plain = await it.ask("/v1/embeddings", body)
        packed = await it.ask("/v1/embeddings", body | {"encoding_format": "base64"})
        short = await it.ask("/v1/embeddings", body | {"dimensions": 8})
        rows: Any = [answer.json["data"] for answer in (plain, packed, short)]
        assert len(rows[0][1]["embedding"]) == 64
        assert isinstance(rows[1][0]["embedding"], str)
        assert len(rows[2][0]["embedding"]) == 8
        assert len(it.house.hosts["one"].journal.of(LoadStarted)) == 1
        unnamed = await it.ask("/v1/embeddings", {"input": "a"})
        assert unnamed.json["model"] == VECTORS.key


async def test_a_model_of_the_wrong_kind_is_said_to_be_one(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN, VECTORS), sim("two", GEMMA)) as it:
        wrong = await it.ask("/v1/embeddings", {"model": QWEN.key, "input": "a"})
        assert (wrong.status, wrong.error["param"]) == (400, "model")
        assert VECTORS.key in str(wrong.error["message"])
        for path, body in (
            ("/v1/chat/completions", chat(VECTORS.key)),
            ("/v1/completions", {"model": VECTORS.key, "prompt": "a"}),
            (RESPONSES, {"model": VECTORS.key, "input": "a"}),
        ):
            wrong = await it.ask(path, body)
            assert (wrong.status, wrong.error["param"]) == (400, "model")
        assert not it.house.hosts["one"].journal.of(LoadStarted)


async def test_no_embedding_model_at_all_is_said_too(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        none = await it.ask("/v1/embeddings", {"input": "a"})
        assert (none.status, none.error["param"]) == (400, "model")


async def test_a_plain_text_may_come_in_a_list(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        for prompt in ("once", ["once"]):
            body = {"model": QWEN.key, "prompt": prompt, "max_tokens": 4}
            answer = await it.ask("/v1/completions", body)
            assert answer.json["object"] == "text_completion"
            assert asked(it).messages[0].text == "once"
        two = await it.ask("/v1/completions", {"model": QWEN.key, "prompt": ["a", "b"]})
        assert (two.status, two.error["param"]) == (400, "prompt")


async def test_a_model_is_not_too_large_while_the_host_that_holds_it_is_away(
    tmp_path: Path,
) -> None:
    large = replace(QWEN, size_bytes=30 * GB)
    small = sim("small", large, memory_bytes=8 * GB)
    async with gate(tmp_path, small, sim("large", large, memory_bytes=64 * GB)) as it:
        host = it.house.lantern.fleet.host(HostName("large"))
        await it.house.lantern.fleet.settled(5)
        await it.house.hosts["large"].stop()
        await host.probe()
        away = await it.ask("/v1/chat/completions", chat(QWEN.key, max_tokens=2))
        assert (away.status, away.error["code"]) == (503, "no_host")
        assert int(away.headers["retry-after"]) > 0
        assert "x-should-retry" not in away.headers


async def test_a_prompt_is_not_too_long_while_the_host_that_reads_it_is_away(
    tmp_path: Path,
) -> None:
    # Clients answer that code by cutting their conversation; and it was back in seconds.
    small = sim("small", replace(QWEN, max_context_length=2048))
    body = chat(QWEN.key, "word " * 4000, max_tokens=2)
    async with gate(tmp_path, small, sim("large", QWEN)) as it:
        large, host = it.house.hosts["large"], it.house.lantern.fleet.host(HostName("large"))
        await it.house.lantern.fleet.settled(5)
        await large.stop()
        await host.probe()
        away = await it.ask("/v1/chat/completions", body)
        assert (away.status, away.error["code"]) == (503, "no_host")
        assert int(away.headers["retry-after"]) > 0
        await large.start()
        await host.probe()
        assert (await it.ask("/v1/chat/completions", body)).status == 200


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
async def test_a_host_that_is_too_old_loads_nothing_and_another_is_asked(
    tmp_path: Path, path: str
) -> None:
    body = said() if path == MESSAGES else {"model": QWEN.key, "input": "hi"}
    old = sim("old", QWEN, generation="0.3", responses=False)
    async with gate(tmp_path, old, sim("new", QWEN)) as it:
        await it.house.hosts["old"].preload(QWEN.key)
        await it.house.lantern.fleet.settled(5)
        answer = await it.ask(path, body)
        assert answer.status == 200
        assert "host=new" in answer.headers["x-lantern-route"]
        # Official clients never repeat a 400, and the one that has the path was back in seconds.
        await it.house.hosts["new"].stop()
        await it.house.lantern.fleet.host(HostName("new")).probe()
        away = await it.ask(path, body)
        assert away.status == 503
        assert int(away.headers["retry-after"]) > 0
        assert b"too old" in away.body or b"has no /" in away.body or b"does not offer" in away.body
        await it.house.hosts["new"].start()
        await it.house.lantern.fleet.host(HostName("new")).probe()
        assert (await it.ask(path, body)).status == 200
    alone = tmp_path / "alone"
    alone.mkdir()
    async with gate(alone, old) as it:
        refused = await it.ask(path, body)
        assert refused.status == 400
        assert b"LM Studio" in refused.body
        requests = it.house.hosts["old"].journal.of(Request)
        loads = it.house.hosts["old"].journal.of(LoadStarted)
        # 0.3.39 has responses by its version: it is asked, and says itself that it does not.
        assert bool(loads) == any(r.path == path for r in requests) == (path == RESPONSES)


async def test_lm_studios_statistics_stand_beside_a_whole_answer(tmp_path: Path) -> None:
    # Some milliseconds of it: answered within one, no time had passed by the loop's clock.
    host = sim("one", replace(QWEN, architecture="qwen3"), time_scale=0.1, load_bytes_per_s=1e15)
    async with gate(tmp_path, host) as it:
        for path, body in (
            ("/v1/chat/completions", chat(QWEN.key, max_tokens=9)),
            ("/v1/completions", {"model": QWEN.key, "prompt": "a", "max_tokens": 9}),
        ):
            whole: Any = (await it.ask(path, body)).json
            assert whole["stats"]["tokens_per_second"] > 0
            # Its first token came with its last, and the host told of no other moment.
            assert whole["stats"]["time_to_first_token"] is None
            assert whole["stats"]["generation_time"] > 0
            assert whole["model_info"]["arch"] == "qwen3"
            assert whole["model_info"]["context_length"] > 0
            assert whole["choices"]
            assert whole["usage"]["completion_tokens"] == 9


async def test_they_stand_in_the_chunk_of_a_stream_that_tells_its_usage(tmp_path: Path) -> None:
    host = sim("one", replace(QWEN, architecture="qwen3"), time_scale=0.1, load_bytes_per_s=1e15)
    async with gate(tmp_path, host) as it:
        for path, body in (
            ("/v1/chat/completions", chat(QWEN.key, max_tokens=9)),
            ("/v1/completions", {"model": QWEN.key, "prompt": "a", "max_tokens": 9}),
        ):
            body |= {"stream": True}
            told = await it.ask(path, body | {"stream_options": {"include_usage": True}})
            last: Any = told.events[-1]
            assert last["usage"]["completion_tokens"] == 9
            assert last["stats"]["tokens_per_second"] > 0
            assert last["stats"]["time_to_first_token"] > 0
            assert last["stats"]["generation_time"] > 0
            assert last["model_info"]["arch"] == "qwen3"
            assert not any("stats" in event for event in told.events[:-1])
            # Nobody who did not ask for it has one chunk more.
            plain = await it.ask(path, body)
            assert len(plain.events) == len(told.events) - 1
            assert not any("stats" in event for event in plain.events)


async def test_a_second_copy_answers_by_its_models_name(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        one = it.house.hosts["one"]
        for _ in range(2):
            await one.preload(QWEN.key)
        await it.house.lantern.fleet.host(HostName("one")).probe()
        one.unload(QWEN.key)
        assert [copy.identifier for copy in one.resident] == [f"{QWEN.key}:2"]
        for stream in (False, True):
            for path in ("/v1/chat/completions", RESPONSES, MESSAGES):
                body = said(stream=stream) if path == MESSAGES else chat(QWEN.key, stream=stream)
                if path == RESPONSES:
                    body = {"model": QWEN.key, "input": "hi", "stream": stream}
                answer = await it.ask(path, body)
                assert answer.status == 200
                named = re.findall(rb'"model": ?"([^"]*)"', answer.body)
                assert {*named} == {QWEN.key.encode()}


async def test_fields_that_nobody_knows_reach_the_host(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        more: dict[str, Any] = {
            "top_k": 5,
            "min_p": 0.1,
            "x_own": {"a": [1]},
            "max_completion_tokens": 3,
        }
        await it.ask("/v1/chat/completions", chat(QWEN.key, max_tokens=7, **more))
        sampling = asked(it).sampling
        assert sampling["max_tokens"] == 3
        assert (sampling["top_k"], sampling["x_own"]) == (5, {"a": [1]})
        form = {"type": "json_object"}
        answer = await it.ask("/v1/chat/completions", chat(QWEN.key, response_format=form))
        assert json.loads(answer.said) == {}
        developer = {"model": QWEN.key, "messages": [{"role": "developer", "content": "be brief"}]}
        await it.ask("/v1/chat/completions", developer)
        assert asked(it).messages[0].role == "system"


async def test_a_persona_stops_a_message_by_its_own_name_for_it(tmp_path: Path) -> None:
    persona = (
        f"model: {QWEN.key}\nsystem_prompt: You are calm.\nsampling: {{stop: [x], top_p: 0.5}}"
    )
    async with gate(tmp_path, sim("one", QWEN), personas={"sage": persona}) as it:
        await it.ask(MESSAGES, said(model="sage", system="Own."))
        assert asked(it).sampling["stop_sequences"] == ["x"]
        assert "stop" not in asked(it).sampling
        assert asked(it).messages[0].text == "You are calm.Own."
        await it.ask(RESPONSES, {"model": "sage", "input": "hi"})
        assert asked(it).sampling["top_p"] == 0.5
        assert "stop" not in asked(it).sampling


async def test_what_its_model_does_not_take_is_refused_in_the_hosts_words_alone(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", VECTORS), sim("two", QWEN)) as it:
        # LangChain's default. That the other host has no such model is no way out of it.
        answer = await it.ask("/v1/embeddings", {"model": VECTORS.key, "input": [[1, 2], [3]]})
        assert answer.status == 400
        reason = "'input' field must be a string or an array of strings"
        assert answer.error["message"] == f"one does not take the request: {reason}."
