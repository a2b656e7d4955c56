"""What keys used and may spend, what Prometheus reads, and what tells that Lantern lives."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from clocks import LoopClock
from prometheus_client.parser import text_string_to_metric_families

from bot.domain.cloud import Price, PriceStep
from bot.fleet.connection import Connection
from bot.policy.ratelimit import RateRule
from bot.sim.journal import LoadStarted
from bot.store.keys import KeyStore
from tests.gateway.gate import Gate, chat, gate, in_two_reads
from tests.helpers.house import GEMMA, GUARD_S, QWEN, cloud, sim

CHAT = "/v1/chat/completions"

DEAR = Price((PriceStep(input=1_000_000, output=1_000_000),))
"""A dollar a million tokens: one answer of a thousand may cost a tenth of a cent."""


async def got(it: Gate, path: str, **headers: str) -> Any:
    answer = await it.ask(path, method="GET", **headers)
    assert answer.status == 200
    return answer.json


async def scraped(it: Gate, **headers: str) -> dict[str, float]:
    """Every sample, by its name and labels in their order."""
    answer = await it.ask("/metrics", method="GET", **headers)
    assert answer.status == 200
    return {
        " ".join((sample.name.removeprefix("lantern_"), *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def test_usage_is_told_by_key_model_host_and_day(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN), sim("two", GEMMA)) as it:
        await it.house.ask("hi", model=QWEN.key)
        boss = await it.key("boss", "admin")
        ada = await it.key("ada")
        bob = await it.key("bob")
        for who, model in ((ada, QWEN), (ada, GEMMA), (bob, GEMMA)):
            asked = await it.ask(CHAT, chat(model.key, max_tokens=3), Authorization=who)
            assert asked.status == 200
        by_key = await got(it, "/admin/usage?by=key", Authorization=boss)
        lines = {line["name"]: line for line in by_key["lines"]}
        assert {name: line["requests"] for name, line in lines.items()} == {
            "ada": 2,
            "bob": 1,
            "others": 1,
        }
        assert lines["ada"]["outputTokens"] == 6
        assert by_key["total"]["requests"] == 4
        by_model = await got(it, "/admin/usage?by=model&since=1d", Authorization=boss)
        assert {(x["name"], x["requests"]) for x in by_model["lines"]} == {
            (QWEN.key, 2),
            (GEMMA.key, 2),
        }
        by_host = await got(it, "/admin/usage?by=host", Authorization=boss)
        assert {x["name"] for x in by_host["lines"]} == {"one", "two"}
        by_day = await got(it, "/admin/usage?by=day", Authorization=boss)
        assert [x["name"] for x in by_day["lines"]] == [by_day["until"]]
        keys = (await got(it, "/admin/keys", Authorization=boss))["keys"]
        assert [k["name"] for k in keys] == ["ada", "bob", "boss"]
        assert (keys[0]["today"]["name"], keys[0]["today"]["requests"]) == ("ada", 2)
        assert keys[0]["lastUsed"] >= keys[0]["created"]
        assert keys[0].items() >= {"rate": None, "dailyUsd": None, "expires": None}.items()
        assert not any(word in str(keys) for word in (ada.split()[1], "digest"))
        for query in ("by=user", "since=yesterday", "since=2026-13-01", "since=d"):
            refused = await it.ask(f"/admin/usage?{query}", method="GET", Authorization=boss)
            assert (refused.status, query) == (422, query)


async def test_what_answers_at_home_saved_is_told_at_the_providers_price(tmp_path: Path) -> None:
    async with gate(
        tmp_path,
        sim("one", QWEN),
        providers=cloud(zai="openai"),
        provider_changes={"price": DEAR},
    ) as it:
        for _ in range(2):
            answer = await it.ask(CHAT, chat(QWEN.key, max_tokens=3))
            assert "host=one" in answer.headers["x-lantern-route"]
        told = await got(it, "/admin/usage")
        total = told["total"]
        assert total["outputTokens"] == 6
        # A dollar a million, of either kind.
        assert told["savedUsd"] == (total["inputTokens"] + total["outputTokens"]) / 1e6
        assert told["savedBy"] == "zai"


async def test_what_a_revoked_key_used_is_told_by_its_name(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        await it.house.ask("hi", model=QWEN.key)
        boss, leaked = await it.key("boss", "admin"), await it.key("leaked")
        await it.ask(CHAT, chat(QWEN.key, max_tokens=3), Authorization=leaked)
        assert await KeyStore(it.house.lantern.database).revoke("leaked")
        told = await got(it, "/admin/usage?by=key", Authorization=boss)
        lines = {line["name"]: line["requests"] for line in told["lines"]}
        assert lines == {"leaked": 1, "others": 1}
        keys = (await got(it, "/admin/keys", Authorization=boss))["keys"]
        assert [key["name"] for key in keys] == ["boss"]


async def test_a_key_that_is_over_is_told_as_that(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        boss, now_ms = await it.key("boss", "admin"), it.house.lantern.database.now_ms()
        await it.key("late", expires_at_ms=now_ms - 1)
        await it.key("good", expires_at_ms=now_ms + 3_600_000)
        keys = (await got(it, "/admin/keys", Authorization=boss))["keys"]
        assert {key["name"]: key["over"] for key in keys} == {
            "boss": False,
            "good": False,
            "late": True,
        }


async def test_a_keys_daily_limit_stops_providers_and_no_host(tmp_path: Path) -> None:
    # One answer of at most 1,000 tokens fits, and a few more in what it leaves of the day.
    async with gate(
        tmp_path,
        sim("one", QWEN),
        providers=cloud(zai="openai"),
        provider_changes={"price": DEAR},
    ) as it:
        poor = await it.key("poor", daily_micro_usd=1_150)
        rich = await it.key("rich")
        at_home = await it.ask(CHAT, chat(QWEN.key, max_tokens=3), Authorization=poor)
        assert "host=one" in at_home.headers["x-lantern-route"]
        it.house.hosts["one"].faults.refuse()
        name = it.house.lantern.catalog.host("one")
        it.house.lantern.fleet.host(name).report_failure("gone")
        body = chat(QWEN.key, max_tokens=1000)
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(it.ask(CHAT, body, Authorization=poor)) for _ in range(8)]
        statuses = sorted(task.result().status for task in asking)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        refused = next(task.result() for task in asking if task.result().status == 429)
        assert refused.error["type"] == refused.error["code"] == "insufficient_quota"
        assert 0 < int(refused.headers["retry-after"]) <= 25 * 3600
        assert "your own daily budget of $0.00" in str(refused.error["message"])
        assert (await it.ask(CHAT, body, Authorization=rich)).status == 200
        it.house.hosts["one"].faults.clear()
        await it.house.lantern.fleet.host(name).probe()
        free = await it.ask(CHAT, chat(QWEN.key, max_tokens=3), Authorization=poor)
        assert "host=one" in free.headers["x-lantern-route"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_whose_day_is_smaller_than_an_answer_is_told_which_it_pays(
    tmp_path: Path, stream: bool
) -> None:
    async with gate(
        tmp_path, sim("one", QWEN), providers=cloud(zai="openai"), provider_changes={"price": DEAR}
    ) as it:
        poor = await it.key("poor", daily_micro_usd=2_000)
        it.house.hosts["one"].faults.refuse()
        name = it.house.lantern.catalog.host("one")
        it.house.lantern.fleet.host(name).report_failure("gone")
        refused = await it.ask(CHAT, chat(QWEN.key, stream=stream), Authorization=poor)
        assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
        assert "retry-after" not in refused.headers
        words = r"an answer of ([\d,]+) tokens \(`max_tokens`\) can be paid"
        found = re.search(words, str(refused.error["message"]))
        assert found is not None
        fitting = int(found[1].replace(",", ""))
        over = await it.ask(CHAT, chat(QWEN.key, max_tokens=fitting + 1), Authorization=poor)
        assert over.status == 429
        paid = await it.ask(CHAT, chat(QWEN.key, max_tokens=fitting), Authorization=poor)
        assert paid.status == 200
        later = await it.ask(CHAT, chat(QWEN.key, max_tokens=fitting), Authorization=poor)
        assert later.status == 429
        assert 0 < int(later.headers["retry-after"]) <= 25 * 3600


@pytest.mark.parametrize(
    ("limit", "configured", "room"), [(None, None, 4096), (None, 900, 900), (5000, 900, 5000)]
)
async def test_a_route_tells_the_most_for_the_room_that_is_held(
    tmp_path: Path, limit: int | None, configured: int | None, room: int
) -> None:
    changes = {"price": DEAR, "max_tokens": configured}
    async with gate(
        tmp_path, sim("one", QWEN), providers=cloud(zai="openai"), provider_changes=changes
    ) as it:
        poor, rich = await it.key("poor", daily_micro_usd=1), await it.key("rich")
        it.house.hosts["one"].faults.refuse()
        name = it.house.lantern.catalog.host("one")
        it.house.lantern.fleet.host(name).report_failure("gone")
        body = chat(QWEN.key) if limit is None else chat(QWEN.key, max_tokens=limit)
        refused = await it.ask(CHAT, body, Authorization=poor)
        held = re.search(r"may cost up to (\S+),", str(refused.error["message"]))
        answer = await it.ask(CHAT, body, Authorization=rich)
        told = re.search(r"at most (\S+?)[;,]", answer.headers["x-lantern-route"] + ";")
        assert held is not None
        assert told is not None
        # A prompt is counted a little otherwise as it is sent: a few words of difference at most.
        for sum_told in (told[1], held[1]):
            assert float(sum_told.removeprefix("$")) == pytest.approx(room / 1e6, abs=1e-4)


async def test_metrics_count_what_happened_and_show_what_stands(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with gate(tmp_path, sim("one", QWEN, GEMMA)) as it:
        before = await scraped(it)
        assert (before["host_up one"], before["build_info 0.1.0"]) == (1, 1)
        one = it.house.hosts["one"]
        # A load that took no time would be no cold start.
        one.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(in_two_reads(it, QWEN.key, loop_clock, "eins zwei drei vier"))
            await one.journal.wait_for(LoadStarted)
            loop_clock.passes(2.0)
            one.faults.clear("stall_load")
        await it.ask(CHAT, chat(QWEN.key, max_tokens=4, stream=True))
        await it.ask("/admin/models/unload", {"modelKey": QWEN.key})
        it.house.hosts["one"].faults.fail_next_load("no graphics card", times=None)
        await it.ask(CHAT, chat(GEMMA.key))
        await it.ask(CHAT, chat("somebody's secret name"))
        await it.ask(CHAT, {"model": GEMMA.key, "messages": "a secret"})
        await it.ask(CHAT, chat(GEMMA.key, "word " * 60_000))
        await it.ask("/v1/models", method="GET", Host="evil.example")
        seen = await scraped(it)
        told = {
            f"requests_total chat one {QWEN.key} done": 2,
            f"requests_total chat unknown {GEMMA.key} failed": 1,
            # Never routed: a name that nobody has, a body that cannot be read, a prompt too long.
            "requests_total chat unknown unknown refused": 2,
            f"requests_total chat unknown {GEMMA.key} refused": 1,
            f"tokens_total one {QWEN.key} output": 8,
            f"time_to_first_token_seconds_count one {QWEN.key} cold": 1,
            f"time_to_first_token_seconds_count one {QWEN.key} warm": 1,
            f"time_per_output_token_seconds_count one {QWEN.key}": 1,
            "request_duration_seconds_count chat": 3,
            "overhead_seconds_count": 2,
            "queue_seconds_count one": 2,
            f"model_loads_total one {QWEN.key} loaded": 1,
            f"model_loads_total one {GEMMA.key} failed": 1,
            f"model_load_seconds_count one {QWEN.key}": 1,
            "model_unloads_total admin": 1,
            "fallbacks_total load failed": 1,
            "auth_failures_total ip_not_allowed": 1,
            "requests_running one": 0,
            "requests_waiting one": 0,
        }
        assert {name: seen.get(name) for name in told} == told
        assert f"model_loaded one {QWEN.key}" not in seen
        assert not any("secret" in sample for sample in seen)


async def test_an_answer_by_another_model_is_counted_and_never_passed_on(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        it.house.hosts["one"].faults.wrong_model(GEMMA.key)
        answer = await it.ask(CHAT, chat(QWEN.key, max_tokens=2, stream=True))
        assert {event["model"] for event in answer.events} == {QWEN.key}
        assert (await scraped(it))["wrong_model_total one"] == 1


async def test_metrics_need_their_own_scope(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        scraper = await it.key("prometheus", "metrics")
        asker = await it.key("ada")
        assert await scraped(it, Authorization=scraper)
        for path, who in (("/metrics", asker), ("/admin/status", scraper), ("/admin/keys", asker)):
            refused = await it.ask(path, method="GET", Authorization=who)
            assert refused.error["code"] == "insufficient_permissions"
        assert (await it.ask("/metrics", method="GET")).status == 401


async def test_health_tells_nothing_of_the_fleet_and_needs_no_key(tmp_path: Path) -> None:
    async with gate(tmp_path, sim("one", QWEN)) as it:
        await it.key("ada", rate=RateRule(1, 60.0))
        assert await got(it, "/healthz") == {"status": "ok"}
        assert await got(it, "/readyz") == {"status": "ok"}


async def test_it_is_not_ready_before_every_host_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = asyncio.Event()
    ask = Connection.ask

    async def late(self: Connection, *args: Any) -> object:
        await answers.wait()
        return await ask(self, *args)

    monkeypatch.setattr(Connection, "ask", late)
    async with gate(tmp_path, sim("one", QWEN), is_settled=False) as it:
        first = await it.ask("/readyz", method="GET")
        assert (first.status, first.json) == (503, {"status": "starting"})
        assert (await it.ask("/healthz", method="GET")).status == 200
        answers.set()
        await it.house.lantern.fleet.settled(GUARD_S)
        assert (await it.ask("/readyz", method="GET")).status == 200
