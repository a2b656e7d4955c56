"""What is loaded before anybody asks."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from policy_builders import GEMMA, NOW, QWEN, fleet, host, instance, model

from bot.domain.hosts import Demand, HostSnapshot, LoadInFlight, Speed, Wish
from bot.domain.ids import ModelKey
from bot.policy.ahead import Ahead, plan_ahead

ON_DISK = (model(QWEN), model(GEMMA, 8))
ASKED = Demand(begun=3.0, resting=3.0, at=NOW, wish=Wish(QWEN, min_context=2000))
"""Certain to be asked for again."""

FAST = {QWEN: Speed(None, 9000.0, 150.0)}


def _plan(*hosts: HostSnapshot, demand: Demand = ASKED) -> Ahead | None:
    return plan_ahead(fleet(*hosts), {QWEN: demand})


def test_what_will_be_asked_for_and_is_nowhere_is_loaded_where_it_costs_least() -> None:
    dear, cheap = (replace(instance(GEMMA), missed_s=s) for s in (9.0, 0.1))
    hosts = [
        host(n, ON_DISK, [i], max_loaded=1, speeds=FAST)
        for n, i in (("dear", dear), ("cheap", cheap))
    ]
    plan = _plan(*hosts)
    assert plan is not None
    assert (plan.host, plan.wish) == ("cheap", ASKED.wish)
    assert _plan(hosts[0]) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"waiting": {GEMMA: 1}},
        {"load": LoadInFlight(GEMMA, 0.5, NOW, None)},
        {"state": "down"},
        {"models": {}},
    ],
)
def test_nothing_is_loaded_while_anybody_waits_or_loads_or_nobody_can(
    changes: Mapping[str, object],
) -> None:
    one = host(models=ON_DISK, speeds=FAST)
    assert _plan(one) is not None
    assert _plan(replace(one, **changes)) is None


@pytest.mark.parametrize(
    "demand", [Demand(at=NOW, wish=ASKED.wish), replace(ASKED, wish=None), replace(ASKED, at=-9e9)]
)
def test_what_nobody_asks_for_is_not_loaded(demand: Demand) -> None:
    assert _plan(host(models=ON_DISK, speeds=FAST), demand=demand) is None


def test_what_is_in_memory_is_loaded_again_only_where_many_will_be_answered_sooner() -> None:
    slow = host("slow", ON_DISK, [instance()], speeds={QWEN: Speed(None, 100.0, 10.0)})
    fast = host("fast", ON_DISK, speeds=FAST)
    plan = _plan(slow, fast)
    assert plan is not None
    assert plan.host == "fast"
    assert _plan(slow, fast, demand=replace(ASKED, begun=0.1, resting=0.1)) is None
    assert _plan(slow, replace(fast, speeds=slow.speeds)) is None


def test_a_host_that_must_first_finish_other_work_is_no_place() -> None:
    busy = host(models=ON_DISK, instances=[instance(GEMMA, leases=1)], speeds=FAST)
    assert _plan(busy) is not None
    assert _plan(replace(busy, max_loaded=1)) is None
    assert plan_ahead(fleet(), dict[ModelKey, Demand]()) is None
