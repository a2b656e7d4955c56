"""What is loaded before anybody asks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import GEMMA, NOW, QWEN, fleet, host, instance, model

from bot.domain.hosts import Demand, HostSnapshot, Instance, LoadInFlight, Model, Speed, Wish
from bot.domain.ids import ModelKey
from bot.domain.personas import LoadSettings
from bot.policy import ahead
from bot.policy.ahead import DOUBT, LOAD_SHARE, Ahead, plan_ahead
from bot.policy.demand import COPY_HORIZON_S, COPY_SHARE, HORIZON_S, chance, expected_asks
from bot.policy.prediction import predict_seconds

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


LARGE = (model(QWEN, 10), model(GEMMA, 10), model(PHI, 10))
SELDOM = Demand(begun=0.1, resting=0.1, at=NOW, wish=Wish(GEMMA))
LIKELY, SOON = chance(ASKED, NOW), expected_asks(ASKED, NOW, HORIZON_S)
LATER = COPY_SHARE * expected_asks(ASKED, NOW, COPY_HORIZON_S)
LOST = COPY_SHARE * expected_asks(SELDOM, NOW, COPY_HORIZON_S)
QUICK, MIDDLE, LONG = (
    500 / read + 24 / write for read, write in ((9000, 150), (500, 40), (100, 10))
)
"""Seconds that a question costs its asker on hosts that read and write so fast."""
COLD = 10 * LIKELY - 2 - SOON * QUICK
"""Gained by a load of 10 s where nothing must leave."""
SWAP = 10.5 * LIKELY - 2.1 - SOON * QUICK
"""And where something must."""


def _timed(
    name: str, *there: ModelKey, load_s: float | None = 10.0, read: float = 9000.0,
    write: float = 150.0, models: Sequence[Model] = LARGE, most: int | None = None,
) -> HostSnapshot:  # fmt: skip
    speeds = dict.fromkeys(KEYS.values(), Speed(load_s, read, write))
    return host(name, models, map(instance, there), max_loaded=most, speeds=speeds, rate=1e9)


@pytest.mark.parametrize(
    ("hosts", "gain_s"),
    [
        ([_timed("a")], COLD),
        ([_timed("a"), _timed("b", load_s=30.0)], COLD),
        ([_timed("a"), replace(_timed("b", QWEN), state="down")], COLD),
        ([_timed("a", PHI, most=1)], SWAP),
        ([_timed("a", GEMMA, most=1)], SWAP - DOUBT * 10 * chance(SELDOM, NOW)),
        # By its size, where no load of it was measured.
        ([_timed("a", GEMMA, most=1, load_s=None)], SWAP - DOUBT * 10 * chance(SELDOM, NOW)),
        ([replace(_timed("a"), speeds={})], 10 * LIKELY - 2 - SOON * (500 / 250 + 24 / 20)),
        # Another copy stays, on hosts as fast, or slower.
        ([_timed("a", GEMMA, most=1), _timed("b", GEMMA, models=LARGE[1:])], SWAP),
        (
            [_timed("a", GEMMA, most=1), _timed("b", GEMMA, models=LARGE[1:], read=500, write=40),
             _timed("c", GEMMA, models=LARGE[1:], read=100, write=10)],
            SWAP - DOUBT * LOST * (MIDDLE - QUICK),
        ),
        # In memory elsewhere with too small a context, it answers nobody.
        ([_timed("a"), replace(_timed("b", read=100, write=10),
                               instances=(instance(QWEN, context=1000),))], COLD),
        # The one that gains most after its costs is looked at first.
        ([_timed("a", load_s=20.0), _timed("c", load_s=30.0, read=8000),
          _timed("d", load_s=1.0, read=5000), _timed("b", QWEN, read=100, write=10)],
         LATER * (LONG - 500 / 5000 - 24 / 150) - 0.2),
        # In memory elsewhere: the quicker of the copies is what it is compared to.
        ([_timed("a", load_s=1.0), _timed("b", QWEN, read=100, write=10),
          _timed("c", QWEN, read=500, write=40)], LATER * (MIDDLE - QUICK) - 0.2),
    ],
)  # fmt: skip
def test_what_a_load_is_worth(hosts: Sequence[HostSnapshot], gain_s: float) -> None:
    plan = _plan(*hosts, gemma=SELDOM)
    assert (plan and plan.gain_s) == pytest.approx(gain_s)


MOVED, CRAWLING = LATER * (LONG - QUICK), _timed("b", QWEN, read=100, write=10)


@pytest.mark.parametrize(
    ("hosts", "is_worth"),
    [
        ([_timed("a", load_s=2.0, read=1e9, write=1e9)], True),
        ([_timed("a", load_s=1.99, read=1e9, write=1e9)], False),
        ([_timed("a", load_s=MOVED * 4.9), CRAWLING], True),
        ([_timed("a", load_s=MOVED * 5.1), CRAWLING], False),
    ],
)  # fmt: skip
def test_a_load_is_worth_it_from_two_seconds_on_and_while_it_gains_more_than_it_costs(
    hosts: Sequence[HostSnapshot], is_worth: bool
) -> None:
    # Of the first two the chance is exactly 1.
    demand = ASKED if CRAWLING in hosts else replace(ASKED, begun=600.0)
    assert (_plan(*hosts, qwen=demand) is not None) is is_worth


def test_a_quicker_host_is_worth_it_for_what_is_seldom_but_slowly_answered() -> None:
    seldom = Demand(begun=2.0, at=NOW, wish=ASKED.wish)
    assert chance(seldom, NOW) < LOAD_SHARE
    assert _plan(_timed("a", load_s=1.0), CRAWLING, qwen=seldom) is not None


@pytest.mark.parametrize("leaves", [(), (PHI,)])
def test_of_hosts_alike_the_first_loads(leaves: Sequence[ModelKey]) -> None:
    plan = _plan(*(_timed(name, *leaves, most=1) for name in "ab"))
    assert plan is not None
    assert plan.host == "a"


@pytest.mark.parametrize(("awaited_until", "makes_way"), [(NOW, True), (NOW + 0.1, False)])
def test_what_somebody_awaits_makes_way_for_no_load_ahead(
    awaited_until: float, makes_way: bool
) -> None:
    awaited = replace(instance(GEMMA), awaited_until=awaited_until)
    one = host(models=ON_DISK, instances=[awaited], max_loaded=1, speeds=FAST)
    assert (_plan(one) is not None) is makes_way


@pytest.mark.parametrize(("context", "fits"), [(None, True), (32_768, False)])
def test_it_must_fit_as_it_would_be_loaded(context: int | None, fits: bool) -> None:
    wish = Wish(QWEN, LoadSettings(context_length=context))
    small = host(models=ON_DISK, speeds=FAST, memory_gb=7.0)
    assert (_plan(small, qwen=replace(ASKED, wish=wish)) is not None) is fits


def test_a_host_that_would_spare_most_and_has_no_room_is_passed_over() -> None:
    foreign = replace(instance(GEMMA), own=False)
    full = host("full", ON_DISK, [foreign], max_loaded=1, speeds=FAST)
    roomy = host("roomy", ON_DISK, speeds=dict.fromkeys(KEYS.values(), Speed(None, 900.0, 50.0)))
    slow = host("slow", ON_DISK, [instance()], speeds=SLOW)
    for others in ((), (slow,)):
        plan = _plan(full, roomy, *others)
        assert plan is not None
        assert plan.host == "roomy"
        assert _plan(full, *others) is None


@pytest.mark.parametrize("is_there", [False, True])
def test_of_a_hundred_hosts_only_those_are_predicted_that_could_be_best(
    is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(of: HostSnapshot, *rest: object) -> object:
        asked.append(of.name)
        return predict_seconds(of, *rest)  # pyright: ignore[reportArgumentType]  # passed through

    monkeypatch.setattr(ahead, "predict_seconds", counted)
    speeds = [dict.fromkeys(KEYS.values(), Speed(5.0 + n, 900.0 - n, 50.0)) for n in range(100)]
    hosts = [host(f"h{n:02}", ON_DISK, speeds=speed) for n, speed in enumerate(speeds)]
    slow = host("slow", ON_DISK, [instance()], speeds=SLOW)
    plan = _plan(*hosts, *([slow] if is_there else ()))
    assert plan is not None
    assert plan.host == "h00"
    assert len(asked) <= 3


def test_of_several_loads_the_one_that_spares_most_after_its_own_seconds_is_found() -> None:
    reads = {"quick": (9000.0, 60.0), "quicker": (9500.0, 70.0), "best": (8000.0, 2.0)}
    hosts = [
        host(name, ON_DISK, speeds=dict.fromkeys(KEYS.values(), Speed(load_s, read, 150.0)))
        for name, (read, load_s) in reads.items()
    ]
    plan = _plan(*hosts, host("slow", ON_DISK, [instance()], speeds=SLOW))
    assert plan is not None
    assert plan.host == "best"
