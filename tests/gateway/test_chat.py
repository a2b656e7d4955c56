"""Chats through the gateway, over sockets to simulated hosts."""

from pathlib import Path
from typing import cast

from bot.domain.ids import UserId
from bot.policy.personas import Editor
from bot.sim.journal import PredictionStarted
from bot.sim.models import GB, SimModel
from tests.gateway.gate import chat, gate
from tests.helpers.house import PLACE, QWEN, sim


async def test_who_answers_stands_in_the_headers(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        for is_stream in (False, True):
            answer = await it.ask(
                "/v1/chat/completions", chat(QWEN.key, max_tokens=2, stream=is_stream)
            )
            assert "host=one" in answer.headers["x-lantern-route"]
            assert answer.headers["x-lantern-model"] == QWEN.key
            assert len(answer.headers["x-request-id"]) == 16


async def test_no_name_of_a_model_breaks_the_headers(tmp_path: Path) -> None:
    # A host calls its models what it likes; a header takes no control character of any kind.
    model = SimModel("odd\r\nSet-Cookie: a=b\x00\x0b\x7f ☃", GB)
    async with gate(tmp_path, sim("one", model)) as it:
        for is_stream in (False, True):
            answer = await it.ask(
                "/v1/chat/completions", chat(model.key, max_tokens=2, stream=is_stream)
            )
            assert answer.status == 200
            assert answer.text if is_stream else answer.said
            assert answer.headers["x-lantern-model"] == "odd??Set-Cookie: a=b??? ?"
            assert "model=odd??Set-Cookie: a=b??? ?;" in answer.headers["x-lantern-route"]
            assert "set-cookie" not in answer.headers


async def test_usage_is_told_only_to_whoever_asks_for_it(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        body = chat(QWEN.key, max_tokens=2, stream=True)
        plain = await it.ask("/v1/chat/completions", body)
        asked = body | {"stream_options": {"include_usage": True}}
        told = await it.ask("/v1/chat/completions", asked)
        assert not any("usage" in event for event in plain.events)
        assert [e for e in told.events if e.get("usage")] == [told.events[-1]]
        assert plain.text == told.text


async def test_a_persona_answers_with_its_prompt_first(tmp_path: Path) -> None:
    persona = f"model: {QWEN.key}\nsystem_prompt: You are calm.\nsampling: {{temperature: 0.1}}"
    async with gate(tmp_path, sim("one", QWEN), personas={"sage": persona}) as it:
        answer = await it.ask("/v1/chat/completions", chat("sage", max_tokens=2))
        assert answer.json["model"] == QWEN.key
        asked = it.house.hosts["one"].journal.of(PredictionStarted)[-1]
        assert next((m.role, m.text) for m in asked.messages) == ("system", "You are calm.")
        assert asked.sampling["temperature"] == 0.1


async def test_unknown_models_paths_and_methods_are_said_alike(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        unknown = await it.ask("/v1/chat/completions", chat("qwen/qwen3-8c"))
        assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
        assert unknown.error["param"] == "model"
        assert QWEN.key in str(unknown.error["message"])
        # Nothing is near it: where to look.
        for path, body, where in (
            ("/v1/chat/completions", chat("foreign"), "GET /v1/models"),
            ("/v1/models/foreign", None, "GET /v1/models"),
            ("/api/v0/models/foreign", None, "GET /v1/models"),
            ("/admin/models/load", {"modelKey": "foreign"}, "GET /admin/models"),
        ):
            answer = await it.ask(path, body, method="POST" if body else "GET")
            words = f"There is no model `foreign`. `{where}` lists them."
            assert (answer.status, answer.error["message"]) == (404, words)
        nowhere = await it.ask("/v1/nothing", method="GET")
        assert (nowhere.status, nowhere.error["code"]) == (404, "unknown_url")
        wrong = await it.ask("/v1/chat/completions", method="GET")
        assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
        assert wrong.error["code"] == "unknown_url"
        for answer in (unknown, nowhere, wrong):
            assert len(answer.headers["x-request-id"]) == 16


async def test_a_character_made_for_everybody_answers_clients_with_its_book(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        acts = it.house.lantern.personas
        owner, guest = Editor(UserId("a"), is_owner=True), Editor(UserId("b"))
        text = (
            f"model: {QWEN.key}\ncharacter: {{description: '{{{{char}}}} waits.', "
            "book: {entries: [{keys: [wolf], content: Wolves fear it.}]}}"
        )
        for scope, editor in (("all", owner), ("me", guest)):
            name = {"all": "muse", "me": "mine"}[scope]
            sheet = await acts.brought("x.yaml", f"name: {name}\n{text}".encode(), editor)
            await acts.keep(sheet, "all" if scope == "all" else "me", editor, PLACE)
        listed = await it.ask("/v1/models", method="GET")
        ids = {row["id"] for row in cast("list[dict[str, str]]", listed.json["data"])}
        # What somebody made for themselves is nobody else's.
        assert ("muse" in ids, "mine" in ids) == (True, False)
        body = {"model": "MUSE", "messages": [{"role": "user", "content": "A wolf!"}]}
        answer = await it.ask("/v1/chat/completions", body)
        assert answer.status == 200
        sent = it.house.hosts["one"].journal.of(PredictionStarted)[-1].messages
        prompt = "You are muse, in a chat with the user. Write muse's next message."
        assert sent[0].text == f"{prompt}\n\nWolves fear it.\n\nmuse waits."
        other = await it.ask("/v1/chat/completions", {**body, "model": "mine"})
        assert (other.status, other.error["code"]) == (404, "model_not_found")
