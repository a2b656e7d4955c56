"""What is loaded before anybody asks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import GEMMA, NOW, QWEN, fleet, host, instance, model

from bot.domain.hosts import Demand, HostSnapshot, Instance, LoadInFlight, Speed, Wish
from bot.domain.ids import ModelKey
from bot.policy.ahead import Ahead, plan_ahead

PHI = ModelKey("microsoft/phi-4")
KEYS = {"qwen": QWEN, "gemma": GEMMA, "phi": PHI}
ON_DISK = (model(QWEN), model(GEMMA), model(PHI))
ASKED = Demand(begun=3.0, resting=3.0, at=NOW, wish=Wish(QWEN, min_context=2000))
"""Certain to be asked for again."""

FAST = dict.fromkeys(KEYS.values(), Speed(None, 9000.0, 150.0))
SLOW = dict.fromkeys(KEYS.values(), Speed(None, 100.0, 10.0))


def _plan(*hosts: HostSnapshot, **demands: Demand) -> Ahead | None:
    return plan_ahead(fleet(*hosts), {QWEN: ASKED} | {KEYS[k]: d for k, d in demands.items()})


def test_what_will_be_asked_for_and_is_nowhere_is_loaded_where_it_costs_least() -> None:
    there = {"dear": instance(GEMMA), "cheap": instance(PHI)}
    hosts = [host(n, ON_DISK, [i], max_loaded=1, speeds=FAST) for n, i in there.items()]
    plan = _plan(*hosts, gemma=ASKED)
    assert plan is not None
    assert (plan.host, plan.wish) == ("cheap", ASKED.wish)
    assert _plan(hosts[0], gemma=ASKED) is None
    assert _plan(hosts[0]) is not None, "nobody asks for what leaves"


def test_of_two_as_likely_neither_pushes_the_other_out() -> None:
    for there in (GEMMA, QWEN):
        one = host(models=ON_DISK, instances=[instance(there)], max_loaded=1, speeds=FAST)
        assert _plan(one, gemma=ASKED) is None


def test_two_with_a_copy_each_on_a_slow_host_do_not_take_turns_on_the_fast_one() -> None:
    slow = host("slow", ON_DISK, [instance(), instance(GEMMA)], speeds=SLOW)
    fast = host("fast", ON_DISK, [instance(GEMMA)], max_loaded=1, speeds=FAST)
    assert _plan(slow, replace(fast, instances=(instance(PHI),)), gemma=ASKED) is not None
    assert _plan(slow, fast, gemma=ASKED) is None
    assert _plan(slow, fast, gemma=replace(ASKED, begun=0.1, resting=0.1)) is not None


def test_a_copy_that_leaves_a_host_no_faster_than_where_another_stays_costs_nothing() -> None:
    other = host("other", ON_DISK[1:], [instance(GEMMA)], speeds=FAST)
    there = host("there", ON_DISK, [instance(GEMMA)], max_loaded=1, speeds=FAST)
    assert _plan(there, gemma=ASKED) is None
    plan = _plan(there, other, gemma=ASKED)
    assert plan is not None
    assert plan.host == "there"
    slower = replace(other, speeds=SLOW)
    assert _plan(there, slower, gemma=ASKED) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"waiting": {GEMMA: 1}},
        {"waiting": {GEMMA: 1}, "instances": (instance(GEMMA),)},
        {"load": LoadInFlight(GEMMA, 0.5, NOW, None)},
        {"state": "down"},
        {"models": {}},
    ],
)
def test_nothing_is_loaded_where_anybody_waits_or_loads_or_nobody_can_answer(
    changes: Mapping[str, object],
) -> None:
    one, two = (host(name, models=ON_DISK, speeds=FAST) for name in "ab")
    assert _plan(one) is not None
    assert _plan(replace(one, **changes)) is None
    plan = _plan(replace(one, **changes), two)
    assert plan is not None
    assert plan.host == "b"


def test_what_some_host_loads_already_is_loaded_nowhere_else() -> None:
    one, two = (host(name, models=ON_DISK, speeds=FAST) for name in "ab")
    assert _plan(replace(one, load=LoadInFlight(QWEN, 0.5, NOW - 5, None)), two) is None


@given(
    st.lists(st.floats(0, 20), min_size=3, max_size=3),
    st.lists(st.sampled_from([QWEN, GEMMA, PHI]), min_size=2, max_size=2),
    st.lists(st.floats(100, 9000), min_size=2, max_size=2),
)
def test_loads_ahead_come_to_an_end(
    likely: Sequence[float], there: Sequence[ModelKey], reads: Sequence[float]
) -> None:
    demands = {
        key: Demand(n, n, NOW, Wish(key, min_context=2000))
        for key, n in zip(KEYS.values(), likely, strict=True)
    }
    hosts = {
        name: host(
            name, ON_DISK, [instance(key)], max_loaded=1,
            speeds=dict.fromkeys(KEYS.values(), Speed(None, read, read / 60)),
        )
        for name, key, read in zip("ab", there, reads, strict=True)
    }  # fmt: skip
    for _ in range(9):
        if (plan := plan_ahead(fleet(*hosts.values()), demands)) is None:
            return
        loaded = (instance(plan.wish.model_key),)
        hosts[plan.host] = replace(hosts[plan.host], instances=loaded)
    pytest.fail("the same models are loaded again and again")


@pytest.mark.parametrize(
    "demand", [Demand(at=NOW, wish=ASKED.wish), replace(ASKED, wish=None), replace(ASKED, at=-9e9)]
)
def test_what_nobody_asks_for_is_not_loaded(demand: Demand) -> None:
    assert _plan(host(models=ON_DISK, speeds=FAST), qwen=demand) is None


def test_what_is_in_memory_is_loaded_again_only_where_many_will_be_answered_sooner() -> None:
    slow = host("slow", ON_DISK, [instance()], speeds=SLOW)
    fast = host("fast", ON_DISK, speeds=FAST)
    plan = _plan(slow, fast)
    assert plan is not None
    assert plan.host == "fast"
    assert _plan(slow, fast, qwen=replace(ASKED, begun=0.1, resting=0.1)) is None
    assert _plan(slow, replace(fast, speeds=slow.speeds)) is None


def test_a_host_that_must_first_finish_other_work_is_no_place() -> None:
    busy = host(models=ON_DISK, instances=[instance(GEMMA, leases=1)], speeds=FAST)
    assert _plan(busy) is not None
    assert _plan(replace(busy, max_loaded=1)) is None
    assert plan_ahead(fleet(), dict[ModelKey, Demand]()) is None


@pytest.mark.parametrize("there", [(), (instance(),)])
def test_what_is_worth_no_load_anywhere_is_not_predicted(
    there: Sequence[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("bot.policy.ahead.predict_seconds")
    hosts = [host(n, ON_DISK, there, speeds=FAST) for n in "ab"]
    assert _plan(*hosts, qwen=replace(ASKED, begun=0.5, resting=0.1)) is None
