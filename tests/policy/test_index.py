import math
from dataclasses import replace
from random import Random  # noqa: TID251

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import (
    EMBED,
    GEMMA,
    NOW,
    QWEN,
    fleet,
    fleets,
    host,
    instance,
    limits,
    model,
    varied,
)

import bot.policy.index as index_module
from bot.domain.chat import Rejection
from bot.domain.cloud import ProviderSnapshot
from bot.domain.hosts import FleetSnapshot, HostSnapshot, LoadInFlight, LoadLimits, Model
from bot.domain.ids import AUTO, HostName, ModelKey, ProviderName
from bot.domain.personas import LoadSettings
from bot.policy.index import FRESH_S, RoutingIndex, shared_models
from bot.policy.prediction import Outlook, RouteAsk, contexts_alike, outlook
from bot.policy.routing import plan_route

ASK = RouteAsk((QWEN,), prompt_tokens=1000, min_context=2000)
ZAI = ProviderSnapshot(ProviderName("zai"), ModelKey("glm"), is_serving=True)
TWO = fleet(host("a", [model(QWEN)]), host("b", [model(QWEN)], [instance()]))

_CONTEXTS = st.integers(0, 9000) | st.sampled_from(
    [edge + by for edge in (2048, 4096, 8192, 32_768) for by in (-1, 0, 1)]
)
_ASKS = st.builds(
    RouteAsk,
    st.lists(st.sampled_from([QWEN, GEMMA, AUTO]), min_size=1, max_size=2).map(tuple),
    min_context=_CONTEXTS,
    prompt_tokens=st.integers(0, 9000),
    load=st.sampled_from([LoadSettings(), LoadSettings(context_length=6000)]),
    conversation=st.sampled_from(["", "ada"]),
    new_tokens=st.none() | st.integers(0, 500),
    answer_tokens=st.sampled_from([1, 240]),
    is_chat=st.booleans(),
    needs_vision=st.booleans(),
    sticky_host=st.none() | st.just(HostName("0")),
    max_wait_s=st.none() | st.just(20.0),
    local_only=st.booleans(),
    cloud=st.sampled_from([(), (ProviderName("zai"),)]),
)
_PROVIDERS = st.sampled_from([(), (ZAI,), (replace(ZAI, is_serving=False),)])


@pytest.mark.slow
@given(st.lists(st.tuples(fleets(), _ASKS, _PROVIDERS), min_size=1, max_size=4), st.data())
def test_the_index_agrees_with_the_plain_function(
    asked: list[tuple[FleetSnapshot, RouteAsk, tuple[ProviderSnapshot, ...]]], data: st.DataObject
) -> None:
    index = RoutingIndex()
    for _ in range(8):
        snapshot, ask, providers = data.draw(st.sampled_from(asked))
        plain = plan_route(snapshot, ask, providers)
        assert index.route(snapshot, ask, providers) == plain


_SOON = (0.0, 0.4, FRESH_S, 5.0, 30.0)
"""Seconds until something ends by itself."""


def _changing(rng: Random) -> HostSnapshot:
    """A host of which something ends with time alone: a load, a pause, a sparing, a waking."""
    paused = {QWEN: LoadLimits(failure="no", failed_until=NOW + rng.choice(_SOON))}
    # In too little memory, so that it matters who may leave.
    there = [
        replace(instance(key, leases=rng.choice([0, 0, 1])), spared_until=NOW + rng.choice(_SOON))
        for key in rng.sample([GEMMA, EMBED], rng.randint(1, 2))
    ]
    load = LoadInFlight(GEMMA, rng.choice([0.0, 0.5]), NOW - rng.choice(_SOON), 20.0, 1)
    found = replace(
        host("", [model(QWEN), model(GEMMA)], there, memory_gb=9.0),
        load=rng.choice([None, None, load]),
        limits=rng.choice([{}, {}, paused]),
    )
    woken = replace(found, state="waking", instances=(), woken_at=NOW - rng.choice(_SOON))
    return rng.choice([found, found, woken])


_CHANGING = varied(100, _changing)
_WANTED = [ASK, replace(ASK, prompt_tokens=9), *(replace(ASK, models=(k,)) for k in (GEMMA, AUTO))]
_STEPS = st.tuples(
    st.sampled_from(_SOON),
    st.sampled_from(_CHANGING),
    st.integers(0, 9),
    st.sampled_from(_WANTED),
)


@pytest.mark.slow
@given(st.lists(_STEPS, min_size=2, max_size=8))
def test_at_every_decision_of_a_history_what_is_kept_is_as_reckoned_anew(
    steps: list[tuple[float, HostSnapshot, int, RouteAsk]],
) -> None:
    known = {HostName(f"{n}"): replace(_CHANGING[n], name=HostName(f"{n}")) for n in range(3)}
    index, now, moments = RoutingIndex(), NOW, list[float]()
    for passed_s, other, changed, ask in steps:
        now += passed_s
        moments = [at for at in (*moments, now) if now - at < 2 * FRESH_S]
        if (name := HostName(f"{changed}")) in known:
            known = {**known, name: replace(other, name=name)}
        snapshot = FleetSnapshot(known, now)
        told = index.route(snapshot, ask)
        # As old as it may be: a route kept for a second, of outlooks kept for one.
        late = [plan_route(snapshot, ask, now=at) for at in moments]
        for found in (*told.candidates, *told.rejected):
            assert any(found in (*route.candidates, *route.rejected) for route in late)
        assert len(told.candidates) in [len(route.candidates) for route in late]


@pytest.mark.slow
@given(fleets(), st.lists(_ASKS, min_size=2, max_size=6), limits())
def test_questions_of_any_length_in_turn_get_each_its_own_answer(
    snapshot: FleetSnapshot, asked: list[RouteAsk], learnt: LoadLimits
) -> None:
    hosts = (replace(one, limits={QWEN: learnt}) for one in snapshot.hosts.values())
    taught, index = fleet(*hosts), RoutingIndex()
    for ask in (*asked, *asked):
        assert index.route(taught, ask) == plan_route(taught, ask)


@given(fleets(), _ASKS, _CONTEXTS, limits())
def test_what_a_host_could_do_is_the_same_for_contexts_that_are_alike(
    snapshot: FleetSnapshot, ask: RouteAsk, other: int, learnt: LoadLimits
) -> None:
    for one in snapshot.hosts.values():
        taught = replace(one, limits={QWEN: learnt})
        above, up_to = contexts_alike(taught, QWEN, ask)
        assert above < ask.min_context <= up_to
        if above < other <= up_to:
            further = outlook(taught, QWEN, replace(ask, min_context=other), NOW)
            assert further == outlook(taught, QWEN, ask, NOW)


@pytest.mark.parametrize(
    ("needed", "above", "up_to"),
    [
        (0, -math.inf, 1),
        (1, -math.inf, 1),
        (2, 1, 2),
        (3, 2, 4),
        (4500, 4096, 4500),
        (4501, 4500, 5000),
        (5001, 5000, 6000),
        (6001, 6000, 7000),
        (7000, 6000, 7000),
        (7001, 7000, 8192),
        (8193, 8192, 16_384),
        (30_000, 16_384, 30_000),
        (30_001, 30_000, 30_001),
    ],
)
def test_contexts_are_told_apart_by_all_that_a_load_or_a_copy_is_judged_by(
    needed: int, above: float, up_to: float
) -> None:
    limits = {QWEN: LoadLimits(usual_context=5000, most_context=7000)}
    copies = [instance(context=4500), instance(context=None), instance(GEMMA, context=4200)]
    one = replace(host("a", [model(QWEN, context=30_000)], copies), limits=limits)
    ask = replace(ASK, min_context=needed, load=LoadSettings(context_length=6000))
    assert contexts_alike(one, QWEN, ask) == (above, up_to)
    untold = contexts_alike(host("b"), QWEN, replace(ASK, min_context=needed))
    assert untold == (
        -math.inf if needed < 2 else 1 << (needed - 1).bit_length() - 1,
        1 << max(0, needed - 1).bit_length(),
    )


@pytest.mark.slow
@given(fleets(), fleets(), _ASKS)
def test_a_fleet_of_old_and_new_records_is_judged_as_it_is(
    before: FleetSnapshot, after: FleetSnapshot, ask: RouteAsk
) -> None:
    index = RoutingIndex()
    index.route(before, ask)
    mixed = FleetSnapshot({**after.hosts, **dict(list(before.hosts.items())[:2])}, NOW)
    assert index.route(mixed, ask) == plan_route(mixed, ask)


@pytest.mark.parametrize("wanted", [QWEN, AUTO])
def test_the_same_question_of_an_unchanged_fleet_gets_the_same_answer_object(
    wanted: ModelKey,
) -> None:
    index, ask = RoutingIndex(), replace(ASK, models=(wanted,))
    first = index.route(TWO, ask)
    assert index.route(FleetSnapshot(TWO.hosts, NOW + 9), ask) is first
    assert index.route(FleetSnapshot(dict(TWO.hosts), NOW + 9), ask) is first
    assert index.route(TWO, replace(ask, prompt_tokens=1001)) is not first


@pytest.mark.parametrize("wanted", [QWEN, AUTO])
def test_what_ends_at_this_very_moment_changes_nothing_later(wanted: ModelKey) -> None:
    limits = {QWEN: LoadLimits(failure="no", failed_until=NOW)}
    over = fleet(replace(host("a", [model(QWEN)]), limits=limits))
    index, ask = RoutingIndex(), replace(ASK, models=(wanted,))
    first = index.route(over, ask)
    assert first.candidates
    assert index.route(over, ask, now=NOW + 9) is first


@pytest.mark.parametrize(
    "changed",
    [
        fleet(host("a", [model(QWEN)])),
        fleet(TWO.hosts[HostName("a")], host("b", [model(QWEN)])),
        fleet(),
    ],
)
def test_a_changed_fleet_is_judged_anew(changed: FleetSnapshot) -> None:
    index = RoutingIndex()
    index.route(TWO, ASK)
    assert index.route(changed, ASK) == plan_route(changed, ASK)


def test_an_empty_fleet_keeps_its_answer_from_the_clocks_first_second_on() -> None:
    index, empty = RoutingIndex(), fleet()
    first = index.route(empty, ASK, now=FRESH_S / 2)
    assert index.route(empty, ASK, now=FRESH_S * 3) is first


@pytest.mark.parametrize("wanted", [QWEN, AUTO])
def test_the_pause_after_a_failed_load_ends_with_time_alone(wanted: ModelKey) -> None:
    limits = {QWEN: LoadLimits(failure="no", failed_until=NOW + 30), GEMMA: LoadLimits()}
    failed = fleet(replace(host("a", [model(QWEN)]), limits=limits), host("b"))
    index = RoutingIndex()
    for later in (0.0, FRESH_S / 2, 29.9, 29.9, 30.0 + FRESH_S, 90.0, 90.0):
        told = index.route(failed, replace(ASK, models=(wanted,)), now=NOW + later)
        assert bool(told.candidates) is (later >= 30.0), later


def test_what_is_left_in_peace_for_a_while_may_leave_after_it_with_time_alone(
    judged: list[str],
) -> None:
    spared = replace(instance(GEMMA, gb=8.0), spared_until=NOW + 10)
    full = fleet(host("a", [model(QWEN, gb=20.0)], [spared], memory_gb=24.0))
    index = RoutingIndex()
    for later, anew in ((0.0, 1), (8.5, 1), (10.0, 1), (10.0 + FRESH_S, 0)):
        judged.clear()
        told = index.route(full, ASK, now=NOW + later)
        assert told == plan_route(full, ASK, now=NOW + later), later
        assert len(judged) == anew, later


def test_once_the_pause_after_a_failed_load_is_over_nothing_changes_with_time(
    judged: list[str],
) -> None:
    limits = {QWEN: LoadLimits(failed_until=NOW + 30), GEMMA: LoadLimits(failed_until=NOW + 90)}
    failed = fleet(replace(host("a", [model(QWEN)]), limits=limits))
    index = RoutingIndex()
    for later, anew in ((0.0, ["a"]), (30.0, ["a"]), (30.0 + FRESH_S, [])):
        judged.clear()
        # Of another length, so that no route is remembered.
        index.route(failed, replace(ASK, prompt_tokens=int(later)), now=NOW + later)
        assert judged == anew, later


@pytest.mark.parametrize("others", [(), (host("b", [model(QWEN)]),)])
def test_a_load_under_way_is_followed(others: tuple[HostSnapshot, ...]) -> None:
    load = LoadInFlight(QWEN, 0.0, NOW, 60.0)
    loading = fleet(host("a", [model(QWEN)], load=load), *others)
    index = RoutingIndex()
    first = index.route(loading, ASK, now=NOW)
    assert index.route(loading, ASK, now=NOW) is first
    assert index.route(loading, ASK, now=NOW + FRESH_S / 2) is first
    later = NOW + 30.0
    assert index.route(loading, ASK, now=later) == plan_route(loading, ASK, now=later)
    assert index.route(TWO, ASK) == plan_route(TWO, ASK)
    any_model = replace(ASK, models=(AUTO,))
    for at in (NOW, later):
        assert index.route(loading, any_model, now=at) == plan_route(loading, any_model, now=at)


def test_a_transcript_fitted_to_an_odd_window_is_not_turned_away() -> None:
    odd = fleet(host("a", [model(QWEN, context=10_000)], [instance(context=10_000)]))
    route = RoutingIndex().route(odd, replace(ASK, min_context=10_000))
    assert route.candidates[0].reason == "in memory and idle"


def test_an_answer_about_a_load_lasts_less_than_its_second() -> None:
    index = RoutingIndex()
    loading = fleet(host("a", [model(QWEN)], load=LoadInFlight(QWEN, 0.0, NOW, 60.0)))
    first = index.route(loading, ASK, now=NOW)
    assert index.route(loading, ASK, now=NOW + FRESH_S) is not first


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts judged, in turn."""
    names: list[str] = []

    def judge(of: HostSnapshot, key: ModelKey, ask: RouteAsk, now: float) -> Outlook | Rejection:
        names.append(of.name)
        return outlook(of, key, ask, now)

    monkeypatch.setattr(index_module, "outlook", judge)
    return names


def test_a_longer_question_costs_no_judgement_and_a_larger_context_one(judged: list[str]) -> None:
    index = RoutingIndex()
    for context, prompt, said, anew in (
        (2000, 1000, "", ["a", "b"]),
        (1100, 100, "", []),
        (2048, 2047, "ada", []),
        (2049, 2047, "ada", ["a", "b"]),
        (2000, 900, "", []),
        (32_769, 900, "", ["a", "b"]),
        (32_770, 900, "", ["a", "b"]),
        (32_769, 900, "bob", []),
    ):
        judged.clear()
        ask = replace(ASK, min_context=context, prompt_tokens=prompt, conversation=said)
        index.route(TWO, ask)
        assert judged == anew, context


def test_outlooks_hold_for_contexts_that_are_alike_at_every_host(judged: list[str]) -> None:
    small, large = host("a", [model(QWEN, context=5000)]), host("b", [model(QWEN)])
    index, two = RoutingIndex(), fleet(small, large)
    for context, anew in ((4500, 2), (4097, 0), (5000, 0), (6000, 2), (5999, 2), (4096, 2)):
        judged.clear()
        index.route(two, replace(ASK, min_context=context))
        assert len(judged) == anew, context


def test_a_host_being_woken_is_followed(judged: list[str]) -> None:
    waking = host("w", [model(QWEN)], state="waking")
    woken = fleet(replace(waking, wake_s=40.0, woken_at=NOW - 10))
    index = RoutingIndex()
    for at, anew in ((NOW, ["w"]), (NOW + FRESH_S / 2, []), (NOW + FRESH_S, ["w"])):
        judged.clear()
        assert index.route(woken, ASK, now=at).candidates
        assert judged == anew


def test_only_who_changed_is_judged_again_and_a_load_when_its_second_is_over(
    judged: list[str],
) -> None:
    index = RoutingIndex()
    still = host("still", [model(QWEN)])
    loading = host("loading", [model(QWEN)], load=LoadInFlight(QWEN, 0.0, NOW, 60.0))
    for at, anew in (
        (NOW, ["still", "loading", "changed"]),
        (NOW, ["changed"]),
        (NOW + FRESH_S / 2, ["changed"]),
        (NOW + FRESH_S, ["loading", "changed"]),
        (NOW + FRESH_S / 2, ["loading", "changed"]),
        (NOW + 50.0, ["loading", "changed"]),
    ):
        judged.clear()
        index.route(fleet(still, loading, host("changed", [model(QWEN)])), ASK, now=at)
        assert judged == anew


def test_as_many_outlooks_are_kept_as_may_be_and_then_none(
    judged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MOST_ROUTES", 1)
    monkeypatch.setattr(index_module, "MOST_OUTLOOKS", 3)
    index, one = RoutingIndex(), fleet(host("a", [model(QWEN)]))
    counts: list[int] = []
    for power in (4, 5, 4, 5, 6, 4, 5, 4):
        judged.clear()
        index.route(one, replace(ASK, min_context=1024 << power))
        counts.append(len(judged))
    assert counts == [1, 1, 0, 0, 1, 1, 1, 0]


def test_of_one_model_so_many_contexts_are_told_apart_and_the_oldest_forgotten(
    judged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MOST_ROUTES", 1)
    monkeypatch.setattr(index_module, "MOST_TABLES", 2)
    index, one = RoutingIndex(), fleet(host("a", [model(QWEN, context=None)]))
    counts: list[int] = []
    for power in (4, 5, 4, 6, 5, 4):
        judged.clear()
        index.route(one, replace(ASK, min_context=1024 << power))
        counts.append(len(judged))
    assert counts == [1, 1, 0, 1, 0, 1]


def test_as_many_routes_are_kept_as_may_be_and_then_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MOST_ROUTES", 2)
    index = RoutingIndex()
    asks = [replace(ASK, prompt_tokens=n) for n in range(3)]
    first, second = (index.route(TWO, ask) for ask in asks[:2])
    assert index.route(TWO, asks[0]) is first
    assert index.route(TWO, asks[1]) is second
    index.route(TWO, asks[2])
    assert index.route(TWO, asks[0]) is not first


def test_what_it_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MOST_ROUTES", 2)
    monkeypatch.setattr(index_module, "MOST_OUTLOOKS", 3)
    index = RoutingIndex()
    for tokens in (0, 1000, 2000, 3000, 0, 1000):
        ask = replace(ASK, prompt_tokens=tokens)
        assert index.route(TWO, ask) == plan_route(TWO, ask)


def test_hosts_with_the_same_models_share_their_records() -> None:
    pool: dict[Model, Model] = {}
    first = shared_models({QWEN: model(QWEN), GEMMA: model(GEMMA)}, pool)
    second = shared_models({QWEN: model(QWEN), GEMMA: model(GEMMA, 9)}, pool)
    assert second[QWEN] is first[QWEN]
    assert second[GEMMA] == model(GEMMA, 9)


def test_a_pool_keeps_no_more_than_a_lan_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MOST_POOLED", 1)
    pool: dict[Model, Model] = {}
    first = shared_models({QWEN: model(QWEN)}, pool)[QWEN]
    assert shared_models({QWEN: model(QWEN)}, pool)[QWEN] is first
    shared_models({GEMMA: model(GEMMA)}, pool)
    assert shared_models({QWEN: model(QWEN)}, pool)[QWEN] is not first
