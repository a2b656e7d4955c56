import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from provider_help import KEY, WIRES, ask, endpoint_of, payload_of, post, provider

from bot.domain.chat import InferenceRequest, Message
from bot.inference.streams import Inference
from bot.sim.providers.config import SimPrice, SimProviderModel
from bot.sim.providers.demo import demo_providers
from bot.sim.providers.journal import ProviderJournal
from bot.sim.providers.provider import SimProvider

PRICED = SimProviderModel("priced", SimPrice(3_000_000, 7_000_000))


async def test_every_request_is_a_line_of_the_file_with_all_that_a_ledger_is_compared_with(
    tmp_path: Path, inference: Inference
) -> None:
    path = tmp_path / "journal.jsonl"
    async with provider("zai", journal_path=path) as double:
        await ask(inference, endpoint_of(double), "[[say a b c]]", user_hash="0f" * 16)
        double.faults.set("no_money", times=1)
        await ask(inference, endpoint_of(double))
        calls = double.journal.calls
        lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert lines == [call.as_line() for call in calls]
    assert [row["outcome"] for row in rows] == ["finished", "error"]
    assert rows[0]["cost_micro_usd"] == calls[0].cost_micro_usd > 0
    assert rows[0]["user"] == rows[0]["payload"]["user_id"] == "0f" * 16
    assert rows[1]["reason"] == "1113"
    assert KEY not in "".join(lines)
    assert {"number", "at", "ended_at", "path", "model", "status"} <= rows[0].keys()


async def test_a_second_provider_appends_to_the_file(tmp_path: Path, inference: Inference) -> None:
    path = tmp_path / "journal.jsonl"
    for _ in range(2):
        async with provider("zai", journal_path=path) as double:
            await ask(inference, endpoint_of(double))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


async def test_leaving_costs_the_prompt_and_what_was_generated_so_far(inference: Inference) -> None:
    async with provider("generic", models=(PRICED,)) as double:
        double.faults.set("stall", after_tokens=4)
        request = InferenceRequest((Message("user", "[[say a b c d e f]]"),))
        async with inference.open(endpoint_of(double, "priced"), request) as deltas:
            await anext(deltas)
            await double.journal.until(lambda journal: len(journal.open) == 1)
        await double.journal.until(lambda journal: not journal.open)
        [call] = double.journal.calls
    assert (call.outcome, call.reason, call.status) == ("cut", "asker left", 200)
    assert call.bill.completion_tokens == 4
    assert call.cost_micro_usd == call.bill.prompt_tokens * 3 + 4 * 7


async def test_many_askers_at_once_are_charged_apart(inference: Inference) -> None:
    async with provider("openai") as double:
        async with asyncio.TaskGroup() as group:
            for number in range(30):
                say = " ".join(["word"] * (number + 1))
                group.create_task(ask(inference, endpoint_of(double), f"[[say {say}]]"))
        await double.journal.until(lambda journal: len(journal.calls) == 30)
        counts = sorted(call.bill.completion_tokens for call in double.journal.calls)
    assert counts == list(range(1, 31))
    assert double.journal.cost_micro_usd == sum(c.cost_micro_usd for c in double.journal.calls)


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_in_one_piece_is_charged_like_a_stream(
    double: SimProvider, inference: Inference
) -> None:
    await ask(inference, endpoint_of(double), "[[say a b c]]", max_tokens=200)
    content = "[[say a b c]]"
    asked = payload_of(double.config.wire, messages=[{"role": "user", "content": content}])
    await post(double, asked)
    streamed, whole = double.journal.calls
    assert streamed.bill == whole.bill
    assert (whole.outcome, whole.reason) == ("finished", "stop")


async def test_a_clear_journal_goes_on_counting(inference: Inference) -> None:
    async with provider("zai") as double:
        await ask(inference, endpoint_of(double))
        double.journal.clear()
        await ask(inference, endpoint_of(double))
    assert [call.arrival.number for call in double.journal.calls] == [2]


async def test_waiting_for_what_never_comes_ends() -> None:
    with pytest.raises(TimeoutError):
        await ProviderJournal().until(lambda journal: bool(journal.calls), timeout_s=0.01)


async def test_dates_are_those_of_the_clock_it_is_given() -> None:
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    double = provider("zai")
    async with SimProvider(double.config, utcnow=lambda: at) as told:
        got = await post(told, payload_of("zai"))
    assert got.headers["date"] == "Fri, 20 Nov 2026 12:00:00 GMT"
    assert got.body["created"] == int(at.timestamp())


async def test_killing_the_connections_leaves_the_provider_running(inference: Inference) -> None:
    async with provider("zai") as double:
        double.faults.set("stall", after_tokens=1, times=1)
        request = InferenceRequest((Message("user", "[[say a b]]"),))
        async with inference.open(endpoint_of(double), request) as deltas:
            await anext(deltas)
            double.kill()
            await double.journal.until(lambda journal: not journal.open)
        assert double.is_up
        assert (await ask(inference, endpoint_of(double))).end.finish == "stop"


async def test_the_demo_has_the_three_vendors() -> None:
    async with demo_providers() as providers:
        assert [double.config.wire for double in providers] == ["zai", "openai", "anthropic"]
        assert all(double.is_up for double in providers)
    assert not any(double.is_up for double in providers)


async def test_a_slow_provider_is_still_thinking_when_a_fast_one_has_answered(
    inference: Inference,
) -> None:
    async with provider("zai", first_token_s=1000.0, time_scale=1.0) as slow:
        async with provider("zai", first_token_s=1000.0) as fast, asyncio.TaskGroup() as group:
            asked = group.create_task(ask(inference, endpoint_of(slow)))
            await slow.journal.until(lambda journal: bool(journal.open))
            assert (await ask(inference, endpoint_of(fast))).end.finish == "stop"
            assert not asked.done()
            asked.cancel()
        await slow.journal.until(lambda journal: not journal.open)
        assert slow.journal.cost_micro_usd == 0
