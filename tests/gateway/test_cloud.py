"""Requests that no host can answer: a provider does, by the rules of Discord."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast
from unicodedata import normalize

import pytest

from bot.chat.planning import ChatRules
from bot.domain.events import Failed
from bot.domain.ids import HostName, PersonaName, UserId
from bot.policy.budget import BudgetRules
from bot.policy.pricing import flat_price
from bot.sim.providers.config import WireKind
from tests.gateway.gate import CHATS, Gate, any_form, chat, gate
from tests.helpers.house import QWEN, cloud, sim

HOME = "model: qwen/qwen3-8b\nsystem_prompt: You are calm."


async def power_off(it: Gate) -> None:
    await it.house.hosts["one"].stop()
    await it.house.lantern.fleet.host(HostName("one")).probe()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_provider_answers_when_every_host_is_down(tmp_path: Path, stream: bool) -> None:
    async with gate(tmp_path, sim("one", QWEN), providers=cloud(zai="zai")) as it:
        await power_off(it)
        body = chat(QWEN.key, "[[say seven]]", stream=stream)
        options = {"stream_options": {"include_usage": True}} if stream else {}
        answer = await it.ask(CHATS, body | options)
        assert answer.status == 200
        assert "provider=zai" in answer.headers["x-lantern-route"]
        if not stream:
            assert answer.said == "seven"
            return
        assert answer.text == "seven"
        *chunks, last = answer.events
        assert last["usage"]
        assert not any(chunk.get("usage") for chunk in chunks)
        assert len({chunk["id"] for chunk in answer.events}) == 1


@pytest.mark.parametrize("wants_usage", [True, False])
@pytest.mark.parametrize("provider", ["openai", "zai", "anthropic"])
async def test_an_answer_without_a_word_has_no_end_before_the_next(
    tmp_path: Path, provider: WireKind, wants_usage: bool
) -> None:
    # Its client read an end, cut by length, and its usage; then the second answer and both again.
    wires: dict[str, WireKind] = {str(provider): provider}
    async with gate(tmp_path, sim("one", QWEN), providers=cloud(**wires)) as it:
        await power_off(it)
        double = it.house.doubles[provider]
        double.faults.set("empty", times=1)
        options = {"stream_options": {"include_usage": wants_usage}}
        answer = await it.ask(CHATS, chat(QWEN.key, "[[say seven]]", stream=True) | options)
        assert len(double.journal.chats()) == 2
    assert answer.text == "seven"
    choices: list[Any] = [c for event in answer.events for c in cast(list[Any], event["choices"])]
    assert [c["finish_reason"] for c in choices if c.get("finish_reason")] == ["stop"]
    assert [bool(event.get("usage")) for event in answer.events].count(True) == wants_usage
    assert len({(event["id"], event["created"]) for event in answer.events}) == 1


@pytest.mark.parametrize(
    ("rule", "is_private"),
    [
        ("local_only: true", True),
        ("cloud: []", True),
        ("cloud: [openai]", True),
        ("cloud: [zai]", False),
        ("local_only: false", False),
    ],
)
async def test_a_model_of_a_personas_name_is_as_private_as_that_persona(
    tmp_path: Path, rule: str, is_private: bool
) -> None:
    personas = {"twin": f"model: {QWEN.key}\n{rule}"}
    model = replace(QWEN, key="twin")
    async with gate(
        tmp_path, sim("one", model), providers=cloud(zai="zai"), personas=personas
    ) as it:
        assert (await it.ask(CHATS, chat("twin", "Private."))).json["model"] == "twin"
        await power_off(it)
        assert (await it.ask(CHATS, chat("twin", "Private."))).status == (
            503 if is_private else 200
        )
        assert len(it.house.doubles["zai"].journal.chats()) == (not is_private)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses", "/v1/messages"])
async def test_what_no_provider_is_passed_says_so_when_no_host_can(
    tmp_path: Path, path: str
) -> None:
    async with gate(tmp_path, sim("one", QWEN), providers=cloud(zai="zai")) as it:
        await power_off(it)
        answer = await it.ask(path, any_form(max_tokens=3))
        error = cast(dict[str, str], answer.json["error"])
        assert answer.status == 503
        assert (
            "No provider was asked: providers are passed `/v1/chat/completions` alone."
            in (error["message"])
        )
        assert not it.house.doubles["zai"].journal.chats()


@pytest.mark.parametrize(("written", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
async def test_a_name_means_the_same_persona_however_its_letters_are_put_together(
    tmp_path: Path, written: Literal["NFC", "NFD"], asked: Literal["NFC", "NFD"]
) -> None:
    personas = {normalize(written, "zoë"): f"model: {QWEN.key}"}
    async with gate(tmp_path, sim("one", QWEN), personas=personas) as it:
        name = normalize(asked, "zoë")
        assert (await it.ask(CHATS, chat(name))).status == 200
        assert it.house.lantern.shelf.find(name).name == normalize(written, "zoë")


async def test_a_persona_whose_model_no_host_has_is_no_model_here(tmp_path: Path) -> None:
    personas = {
        "lost": "model: qwen/qwen3-9b\ncloud: []",
        "stray": "model: qwen/qwen3-9b\nalternatives: [qwen/qwen3-9c]",
    }
    async with gate(
        tmp_path, sim("one", QWEN), providers=cloud(zai="zai"), personas=personas
    ) as it:
        answer = await it.ask(CHATS, chat("lost"))
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert "`qwen/qwen3-8b`" in str(answer.error["message"])
        # Where a provider may answer, it does.
        assert (await it.ask(CHATS, chat("stray"))).status == 200
        # Of a host that is away nobody need say more than that it may have it.
        await power_off(it)
        assert (await it.ask(CHATS, chat("lost"))).status == 404


@pytest.mark.parametrize("is_private", [True, False])
async def test_what_stands_in_for_a_deleted_private_persona_stays_private_over_a_restart(
    tmp_path: Path, is_private: bool
) -> None:
    personas = {"default": f"model: {QWEN.key}\nlocal_only: {is_private}"}
    providers = cloud(zai="zai")
    async with gate(tmp_path, sim("one", QWEN), providers=providers, personas=personas):
        """Read once, as it was."""
    for file in (tmp_path / "personas").glob("*"):
        file.unlink()
    async with gate(tmp_path, sim("one", QWEN), providers=providers) as it:
        await power_off(it)
        answer = await it.ask(CHATS, chat("default", "Private."))
        assert (answer.status == 200) is not is_private
        assert len(it.house.doubles["zai"].journal.chats()) == (not is_private)
        (tmp_path / "personas" / "mine.yaml").write_text("name: default\n", encoding="utf-8")
        await it.house.lantern.shelf.refresh()
        assert (await it.ask(CHATS, chat("default", "Not any more."))).status == 200


async def test_words_for_a_private_persona_stay_here_when_its_file_is_broken(
    tmp_path: Path,
) -> None:
    rules = ChatRules(default_persona=PersonaName("sage"))
    broken = {"sage": f"model: {QWEN.key}\nlocal_only: tru"}
    async with gate(
        tmp_path,
        sim("one", QWEN),
        providers=cloud(zai="zai"),
        personas=broken,
        chat_rules=rules,
    ) as it:
        await power_off(it)
        assert (await it.ask(CHATS, chat("sage", "Private."))).status == 503
        for persona in ("sage", None):
            assert isinstance((await it.house.ask("Private.", persona=persona)).last, Failed)
        assert not it.house.doubles["zai"].journal.chats()


@pytest.mark.parametrize(
    ("patterns", "asked", "status"),
    [
        (("qwen/*",), QWEN.key, 503),
        (("qwen/*", "glm-*"), QWEN.key, 200),
        ((), QWEN.key, 200),
        (("sage",), "sage", 200),
        (("qwen/*",), "sage", 503),
    ],
)
async def test_a_key_for_some_models_is_answered_by_no_others(
    tmp_path: Path, patterns: tuple[str, ...], asked: str, status: int
) -> None:
    sage = {"sage": HOME}
    providers = cloud(zai="zai")
    async with gate(tmp_path, sim("one", QWEN), personas=sage, providers=providers) as it:
        await power_off(it)
        key = await it.key("narrow", models=patterns)
        answer = await it.ask(CHATS, chat(asked), Authorization=key)
        assert answer.status == status
        assert len(it.house.doubles["zai"].journal.chats()) == (status == 200)


@pytest.mark.parametrize("stream", [True, False])
async def test_local_words_never_reach_a_provider(tmp_path: Path, stream: bool) -> None:
    personas = {"home": f"{HOME}\nlocal_only: true"}
    async with gate(
        tmp_path, sim("one", QWEN), personas=personas, providers=cloud(zai="zai")
    ) as it:
        await power_off(it)
        answer = await it.ask(CHATS, chat("home", stream=stream))
        assert (answer.status, answer.error["code"]) == (503, "no_host")
        assert not it.house.doubles["zai"].journal.chats()


async def test_a_budget_smaller_than_one_answer_tells_which_it_pays_and_no_time(
    tmp_path: Path,
) -> None:
    async with gate(
        tmp_path,
        sim("one", QWEN),
        providers=cloud(openai="openai"),
        budget=BudgetRules(daily_micro_usd=2_000),
        provider_changes={"price": flat_price(1_000_000, 1_000_000)},
    ) as it:
        await power_off(it)
        answer = await it.ask(CHATS, chat(QWEN.key))
        assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
        assert answer.error["type"] == "insufficient_quota"
        # Tomorrow it would be refused as well.
        assert "retry-after" not in answer.headers
        assert answer.headers["x-should-retry"] == "false"
        found = re.search(
            r"an answer of ([\d,]+) tokens \(`max_tokens`\) can be paid",
            str(answer.error["message"]),
        )
        assert found is not None
        fitting = int(found[1].replace(",", ""))
        assert (await it.ask(CHATS, chat(QWEN.key, max_tokens=fitting))).status == 200
        # Now a little less of the day is left, and tomorrow there is enough again.
        later = await it.ask(CHATS, chat(QWEN.key, max_tokens=fitting))
        assert (later.status, later.error["code"]) == (429, "insufficient_quota")
        assert int(later.headers["retry-after"]) > 120


async def test_what_a_leaver_had_a_provider_write_is_paid_and_nothing_stays_reserved(
    tmp_path: Path,
) -> None:
    async with gate(tmp_path, sim("one", QWEN), providers=cloud(openai="openai")) as it:
        await power_off(it)
        body = chat(QWEN.key, "[[tokens 400]] go on", stream=True)
        it.house.doubles["openai"].faults.set("stall", after_tokens=1, times=1)
        async with it.session.post(it.base + CHATS, json=body) as got:
            await got.content.readany()
        await it.house.lantern.relaying.drain(5.0)
        report = await it.house.lantern.usage.report("today", "all", UserId("me"), None)
        assert report.total.reserved_micro_usd == 0
        assert report.total.cloud_calls == 1
