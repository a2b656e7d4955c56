from pathlib import Path

import pytest
from cloud_house import cloud_house

from bot.cloud.checkup import CHECK, check_provider
from bot.domain.errors import FailureKind, StoreUnavailable
from bot.domain.ids import ProviderName
from bot.policy.budget import BudgetRules
from bot.policy.privacy import PROBE_TEXT
from bot.sim.providers.config import WireKind
from bot.sim.providers.faults import FaultName

K = FailureKind


@pytest.mark.parametrize("wire", ["zai", "openai", "anthropic", "generic"])
async def test_a_provider_that_answers_is_fine(tmp_path: Path, wire: WireKind) -> None:
    async with cloud_house(tmp_path, wire) as cloud:
        (checked,) = await check_provider(cloud.providers, ProviderName(wire))

        assert checked.is_fine
        assert "answers, first word after" in checked.words
        assert "price: config" in checked.words
        (call,) = cloud.double(wire).journal.chats()
        assert PROBE_TEXT in str(call.arrival.payload)
        assert call.bill.completion_tokens <= 16
        assert [row["turn"] for row in await cloud.rows()] == [CHECK]


@pytest.mark.parametrize(
    ("wire", "fault", "words"),
    [
        ("zai", "auth", "the key is wrong"),
        ("zai", "no_money", "no balance is left, or the key belongs to another endpoint"),
        ("openai", "no_money", "no balance is left"),
        ("anthropic", "unknown_model", "the model's name or the endpoint is wrong"),
        ("openai", "html", "failed"),
        ("generic", "auth", "the key is wrong"),
        ("openai", "no_headers", "does not answer in time"),
    ],
)
async def test_what_is_wrong_is_named(
    tmp_path: Path, wire: WireKind, fault: FaultName, words: str
) -> None:
    timeout_s = 0.05 if fault == "no_headers" else 30.0
    async with cloud_house(tmp_path, wire, timeout_s=timeout_s) as cloud:
        cloud.double(wire).faults.set(fault)
        (checked,) = await check_provider(cloud.providers, ProviderName(wire))

        assert not checked.is_fine
        assert words in checked.words
        assert len(cloud.double(wire).journal.calls) + len(cloud.double(wire).journal.open) == 1


async def test_an_endpoint_nobody_listens_at_is_named(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        await cloud.double().stop()
        (checked,) = await check_provider(cloud.providers, ProviderName("zai"))
        assert checked.kind is K.CONNECT
        assert "cannot be reached" in checked.words


async def test_a_refusal_is_an_answer_too(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        cloud.double().faults.set("refused")
        assert (await check_provider(cloud.providers, ProviderName("zai")))[0].is_fine


async def test_a_budget_that_is_spent_is_our_own_doing(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", rules=BudgetRules(daily_micro_usd=0)) as cloud:
        (checked,) = await check_provider(cloud.providers, ProviderName("zai"))
        assert "our own budget" in checked.words
        assert cloud.double().journal.calls == ()


async def test_without_totals_routing_just_knows_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreadable(*_: object) -> object:
        raise StoreUnavailable("its disk answered with an error")

    async with cloud_house(tmp_path, "zai", rules=BudgetRules(daily_micro_usd=0)) as cloud:
        with monkeypatch.context() as broken:
            broken.setattr(cloud.database, "read", unreadable)
            await cloud.providers.prepare()
            assert cloud.providers.snapshots(10, 10, 0.0)[0].is_serving
        await cloud.providers.prepare()
        assert not cloud.providers.snapshots(10, 10, 0.0)[0].is_serving
