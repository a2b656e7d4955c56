"""Several keys or addresses of one provider side by side, over real sockets."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from cloud_house import Cloud, cloud_house

from bot.cloud.checkup import check_provider
from bot.cloud.serve import ProviderTries
from bot.domain.cloud import ProviderNews
from bot.domain.errors import FailureKind
from bot.domain.ids import ProviderName
from bot.policy.budget import BudgetRules
from bot.sim.providers.faults import FaultName

K = FailureKind
ZAI = ProviderName("zai")


def chats(cloud: Cloud) -> list[int]:
    return [len(double.journal.chats()) for double in cloud.doubles.values()]


def news(cloud: Cloud) -> list[tuple[str, str]]:
    return [(told.what, told.name) for told in cloud.news if isinstance(told, ProviderNews)]


@pytest.mark.parametrize(
    ("fault", "is_out"),
    [
        ("auth", True),
        ("no_money", True),
        ("plan_limit", True),
        ("rate_limit", False),
        ("overload", False),
        ("server", False),
        ("html", False),
        ("reset", False),
        ("cut", False),
        ("silent_end", False),
    ],
)
async def test_what_one_key_refuses_the_next_takes_and_that_is_no_repeat(
    tmp_path: Path, fault: FaultName, *, is_out: bool
) -> None:
    async with cloud_house(tmp_path, "zai", weights=(1e9, 1.0), retries=0) as cloud:
        cloud.double("zai/1").faults.set(fault, after_tokens=0)
        question = ProviderTries(repeats=2)

        heard = await cloud.serve("zai", question=question)

        assert heard.served is not None
        assert question.asked == {"zai": {1: 1, 2: 1}}
        assert question.repeats == 2
        # Nothing is said of it: it is the same provider and model.
        assert (len(heard.retries), heard.notices) == (1, [])
        await cloud.serve("zai")
        assert chats(cloud) == ([1, 2] if is_out else [2, 2])
        assert news(cloud) == ([("out", "zai/1")] if is_out else [])


@pytest.mark.parametrize("fault", ["too_long", "bad_request", "refused"])
async def test_what_is_the_questions_own_fault_is_not_taken_to_the_next_key(
    tmp_path: Path, fault: FaultName
) -> None:
    async with cloud_house(tmp_path, "zai", weights=(1e9, 1.0)) as cloud:
        cloud.double("zai/1").faults.set(fault)
        assert (await cloud.serve("zai")).served is None
        assert chats(cloud) == [1, 0]


async def test_after_its_first_word_no_other_key_is_asked(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", weights=(1e9, 1.0)) as cloud:
        cloud.double("zai/1").faults.set("cut", after_tokens=3)
        assert (await cloud.serve("zai")).kind is K.CUT
        assert chats(cloud) == [1, 0]


async def test_a_repeat_comes_only_when_every_key_was_asked(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai", weights=(1.0, 1.0), retries=1) as cloud:
        for double in cloud.doubles.values():
            double.faults.set("server")
        question = ProviderTries()
        assert (await cloud.serve("openai", question=question)).kind is K.SERVER
        assert sum(chats(cloud)) == 3
        assert question.repeats == 1
        # While somebody else is fresh, none is repeated here.
        question = ProviderTries()
        await cloud.serve("openai", question=question, is_last=False)
        assert (sum(chats(cloud)), question.repeats) == (5, 0)


async def test_all_out_is_said_of_each_and_one_that_is_well_keeps_its_provider_in(
    tmp_path: Path,
) -> None:
    async with cloud_house(tmp_path, "zai", weights=(1e9, 1.0)) as cloud:
        now = asyncio.get_running_loop().time()
        cloud.double("zai/1").faults.set("auth")
        await cloud.serve("zai")
        (standing,) = await cloud.providers.standings()
        assert (standing.name, standing.reason) == ("zai", "")
        assert [bool(each.reason) for each in standing.deployments] == [True, False]
        assert standing.accounts
        assert not any(each.accounts for each in standing.deployments)
        assert cloud.providers.snapshots(10, 10, now)[0].is_serving

        cloud.double("zai/2").faults.set("no_money")
        await cloud.serve("zai")
        (snapshot,) = cloud.providers.snapshots(10, 10, now)
        assert not snapshot.is_serving
        assert "zai/1: " in snapshot.reason
        assert "zai/2: " in snapshot.reason
        first, second = await check_provider(cloud.providers, ZAI)
        assert (first.name, second.name) == ("zai/1", "zai/2")
        assert (first.kind, second.kind) == (K.AUTH, K.NO_MONEY)
        assert (await cloud.serve("zai")).kind in (K.AUTH, K.NO_MONEY)
        assert chats(cloud) == [1, 2]


async def test_a_changed_key_opens_its_own_deployment_alone(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", weights=(1e9, 1.0)) as cloud:
        providers = cloud.providers
        for name in ("zai/1", "zai/2"):
            cloud.double(name).key = f"new {name}"
        assert (await cloud.serve("zai")).kind is K.AUTH
        first, second = (d.config for d in providers.deployments(ZAI))
        providers.take_keys([first, replace(second, api_key="new zai/2")])
        assert (await cloud.serve("zai")).served is not None
        assert chats(cloud) == [1, 2]
        assert news(cloud) == [("out", "zai/1"), ("out", "zai/2"), ("back", "zai/2")]


async def test_the_budget_is_one_and_no_other_key_gets_round_it(tmp_path: Path) -> None:
    rules = BudgetRules(by_provider={ZAI: (1, None)})
    async with cloud_house(tmp_path, "zai", rules=rules, weights=(1.0, 1.0)) as cloud:
        assert (await cloud.serve("zai")).kind is K.BUDGET
        assert chats(cloud) == [0, 0]


async def test_a_crowd_fills_every_key_before_anybody_waits(tmp_path: Path) -> None:
    async with cloud_house(
        tmp_path, "openai", weights=(1.0, 1.0), max_concurrent=2, timeout_s=600.0
    ) as cloud:
        for double in cloud.doubles.values():
            double.faults.set("no_headers")
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(cloud.serve("openai")) for _ in range(4)]
            for double in cloud.doubles.values():
                await double.journal.until(lambda journal: len(journal.open) == 2)
            (standing,) = await cloud.providers.standings()
            assert (standing.running, standing.waiting) == (4, 0)
            for task in asked:
                task.cancel()


async def test_an_answer_is_booked_for_the_provider_whichever_key_gave_it(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", weights=(1.0, 1e9)) as cloud:
        await cloud.serve("zai")
        assert chats(cloud) == [0, 1]
        (row,) = await cloud.rows()
        assert row["answered_by"] == "zai"
