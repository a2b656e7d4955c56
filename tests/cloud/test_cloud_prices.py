"""What things cost: by the settings, else by the tables, else by the dearest known price."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cloud_house import cloud_house

from bot.cloud.prices import Prices
from bot.domain.cloud import Price, PriceStep, ProviderConfig
from bot.domain.ids import ModelKey, ProviderName
from bot.policy.pricing import PLAN

NOVEMBER = datetime(2026, 11, 20, tzinfo=UTC)
URLS = {
    "zai": "https://api.z.ai/api/paas/v4",
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
}


def config(name: str, model: str, base_url: str | None = None) -> ProviderConfig:
    return ProviderConfig(ProviderName(name), base_url or URLS[name], ModelKey(model))


@pytest.fixture
async def prices() -> Prices:
    prices = Prices()
    await prices.load()
    return prices


def price_at(prices: Prices, config: ProviderConfig, at: datetime = NOVEMBER) -> Price:
    price = prices.price(config, at)
    assert price is not None
    return price


@pytest.mark.parametrize(
    ("name", "model", "step"),
    [
        ("zai", "glm-4.6", PriceStep(600_000, 2_200_000, 110_000)),
        ("zai", "glm-5.3-flash", PriceStep(150_000, 500_000, 30_000)),
        ("openai", "gpt-6-luna", PriceStep(100_000, 500_000, 10_000)),
        ("anthropic", "claude-haiku-5-5", PriceStep(100_000, 500_000, 10_000)),
        ("openrouter", "z-ai/glm-4.6", PriceStep(600_000, 2_200_000, 110_000)),
    ],
)
def test_the_tables_know_the_usual_models(
    prices: Prices, name: str, model: str, step: PriceStep
) -> None:
    price = price_at(prices, config(name, model))
    assert price.steps[0] == step
    assert price.is_known
    assert price.source.startswith("genai-prices ")
    assert price.as_of == "2026-11-20"


def test_prices_of_large_prompts_are_steps(prices: Prices) -> None:
    price = price_at(prices, config("anthropic", "claude-haiku-5-5"))
    assert price.steps[1] == PriceStep(500_000, 2_500_000, 50_000, above_tokens=100_000)


def test_a_price_is_the_one_of_the_requests_day(prices: Prices) -> None:
    offer = price_at(prices, config("zai", "glm-5.3-flash"), datetime(2026, 9, 1, tzinfo=UTC))
    assert offer.steps[0] == PriceStep(75_000, 250_000, 15_000)


def test_a_mirror_or_a_simulation_is_priced_by_its_name(prices: Prices) -> None:
    price = price_at(prices, config("zai", "glm-4.6", "http://127.0.0.1:4000/api/paas/v4"))
    assert price.is_known


@pytest.mark.parametrize(
    ("asked", "whose"),
    [
        (config("zai", "glm-4.7-flash"), "zai"),
        (config("openai", "gpt-99"), "openai"),
        (config("ollama", "qwen3", "http://10.0.0.2:11434/v1"), "anthropic"),
        (config("mine", "glm-4.6", "http://10.0.0.2:8000/v1"), "anthropic"),
    ],
)
def test_an_unknown_model_is_dear_and_never_free(
    prices: Prices, asked: ProviderConfig, whose: str
) -> None:
    price = price_at(prices, asked)
    assert not price.is_known
    assert price.source.startswith(f"dearest of {whose}, genai-prices")
    assert price.steps[0].output >= 8_900_000


def test_the_settings_come_first_and_only_they_make_anything_free() -> None:
    own = replace(config("ollama", "qwen3", "http://10.0.0.2:11434/v1"), price=Price())
    assert Prices().price(own, NOVEMBER) == Price()
    assert Prices().price(config("zai", "glm-4.6"), NOVEMBER) is None


def test_a_window_is_taken_from_the_settings_else_from_the_tables(prices: Prices) -> None:
    luna = config("openai", "gpt-6-luna")
    assert prices.context_length(luna, NOVEMBER) == 1_050_000
    assert prices.context_length(replace(luna, context_length=9000), NOVEMBER) == 9000
    assert prices.context_length(config("mine", "x", "http://10.0.0.2/v1"), NOVEMBER) is None
    assert Prices().context_length(luna, NOVEMBER) is None


async def test_a_price_nobody_knows_is_charged_dearly_and_marked(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "generic", price=None) as cloud:
        assert cloud.providers.snapshots(10, 10, 0.0)[0].cost_micro_usd is None
        assert (await cloud.serve("generic")).served is not None

        (row,) = await cloud.rows()
        assert row["price_known"] == 0
        assert row["output_price"] == 75_000_000
        snapshot = cloud.providers.snapshots(10, 10, 0.0)[0]
        assert (snapshot.cost_micro_usd, snapshot.likely_micro_usd) == (None, None)


async def test_the_tables_are_loaded_on_first_use_and_prices_are_known_from_then_on(
    tmp_path: Path,
) -> None:
    async with cloud_house(tmp_path, "zai", price=None) as cloud:
        await cloud.providers.prepare()
        await cloud.providers.prepare()
        snapshot = cloud.providers.snapshots(1000, 100, 0.0)[0]
        assert snapshot.cost_micro_usd == 2140
        await cloud.serve()
        (row,) = await cloud.rows()
        assert str(row["price_source"]).startswith("genai-prices")


@pytest.mark.ops
def test_the_tables_are_imported_by_nobody_who_does_not_need_them() -> None:
    lines = "import sys, bot.cloud.providers, bot.cloud.serve; print('genai_prices' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("model", ["glm-4.6", "glm-5.3", "glm-9"])
def test_a_coding_plan_costs_nothing_further_whatever_it_is_asked(
    prices: Prices, model: str
) -> None:
    coding = config("zai", model, "https://api.z.ai/api/coding/paas/v4")
    assert price_at(prices, coding) == Price((PriceStep(),), PLAN, "2026-11-20")
    window = prices.context_length(config("zai", model), NOVEMBER)
    assert prices.context_length(coding, NOVEMBER) == window
