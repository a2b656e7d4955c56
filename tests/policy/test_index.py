from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import GEMMA, NOW, QWEN, fleet, fleets, host, instance, model

import bot.policy.index as index_module
from bot.domain.chat import Rejection
from bot.domain.cloud import ProviderSnapshot
from bot.domain.hosts import FleetSnapshot, HostSnapshot, LoadInFlight, Model
from bot.domain.ids import AUTO, HostName, ModelKey, ProviderName
from bot.policy.index import BUCKET_TOKENS, FRESH_S, RoutingIndex, rounded, shared_models
from bot.policy.prediction import RouteAsk
from bot.policy.routing import Ranked, judge_host, plan_route

ASK = RouteAsk((QWEN,), prompt_tokens=1000, min_context=2000)
ZAI = ProviderSnapshot(ProviderName("zai"), ModelKey("glm"), is_serving=True)
TWO = fleet(host("a", [model(QWEN)]), host("b", [model(QWEN)], [instance()]))

_ASKS = st.builds(
    RouteAsk,
    st.lists(st.sampled_from([QWEN, GEMMA, AUTO]), min_size=1, max_size=2).map(tuple),
    min_context=st.integers(0, 9000),
    prompt_tokens=st.integers(0, 9000),
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
        plain = plan_route(snapshot, rounded(ask), providers)
        assert index.route(snapshot, ask, providers) == plain


@pytest.mark.slow
@given(fleets(), fleets(), _ASKS)
def test_a_fleet_of_old_and_new_records_is_judged_as_it_is(
    before: FleetSnapshot, after: FleetSnapshot, ask: RouteAsk
) -> None:
    index = RoutingIndex()
    index.route(before, ask)
    mixed = FleetSnapshot({**after.hosts, **dict(list(before.hosts.items())[:2])}, NOW)
    assert index.route(mixed, ask) == plan_route(mixed, rounded(ask))


def test_the_same_question_of_an_unchanged_fleet_gets_the_same_answer_object() -> None:
    index = RoutingIndex()
    first = index.route(TWO, ASK)
    assert index.route(TWO, replace(ASK, prompt_tokens=1024, min_context=1800)) is first
    assert index.route(FleetSnapshot(TWO.hosts, NOW + 9), ASK) is first
    assert index.route(FleetSnapshot(dict(TWO.hosts), NOW + 9), ASK) is first
    assert index.route(TWO, replace(ASK, prompt_tokens=1025)) is not first


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
    assert index.route(changed, ASK) == plan_route(changed, rounded(ASK))


def test_an_empty_fleet_keeps_its_answer_from_the_clocks_first_second_on() -> None:
    index, empty = RoutingIndex(), fleet()
    first = index.route(empty, ASK, now=FRESH_S / 2)
    assert index.route(empty, ASK, now=FRESH_S * 3) is first


@pytest.mark.parametrize("others", [(), (host("b", [model(QWEN)]),)])
def test_a_load_under_way_is_followed(others: tuple[HostSnapshot, ...]) -> None:
    load = LoadInFlight(QWEN, 0.0, NOW, 60.0)
    loading = fleet(host("a", [model(QWEN)], load=load), *others)
    index = RoutingIndex()
    first = index.route(loading, ASK, now=NOW)
    assert index.route(loading, ASK, now=NOW) is first
    assert index.route(loading, ASK, now=NOW + FRESH_S / 2) is first
    later = NOW + 30.0
    assert index.route(loading, ASK, now=later) == plan_route(loading, rounded(ASK), now=later)
    assert index.route(TWO, ASK) == plan_route(TWO, rounded(ASK))


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

    def judge(of: HostSnapshot, key: ModelKey, ask: RouteAsk, now: float) -> Ranked | Rejection:
        names.append(of.name)
        return judge_host(of, key, ask, now)

    monkeypatch.setattr(index_module, "judge_host", judge)
    return names


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


def test_as_many_verdicts_are_kept_as_may_be_and_then_none(
    judged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MOST_ROUTES", 1)
    monkeypatch.setattr(index_module, "MOST_VERDICTS", 3)
    index, one = RoutingIndex(), fleet(host("a", [model(QWEN)]))
    counts: list[int] = []
    for buckets in (0, 1, 0, 1, 2, 0, 1, 0):
        judged.clear()
        index.route(one, replace(ASK, prompt_tokens=buckets * BUCKET_TOKENS))
        counts.append(len(judged))
    assert counts == [1, 1, 0, 0, 1, 1, 1, 0]


def test_as_many_routes_are_kept_as_may_be_and_then_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MOST_ROUTES", 2)
    index = RoutingIndex()
    asks = [replace(ASK, prompt_tokens=n * BUCKET_TOKENS) for n in range(3)]
    first, second = (index.route(TWO, ask) for ask in asks[:2])
    assert index.route(TWO, asks[0]) is first
    assert index.route(TWO, asks[1]) is second
    index.route(TWO, asks[2])
    assert index.route(TWO, asks[0]) is not first


@pytest.mark.parametrize(
    ("context", "prompt", "becomes"),
    [(0, 0, (0, 0)), (256, 256, (256, 256)), (255, 257, (0, 512)), (2000, 1000, (1792, 1024))],
)
def test_prompts_are_rounded_up_and_contexts_down(
    context: int, prompt: int, becomes: tuple[int, int]
) -> None:
    ask = rounded(replace(ASK, min_context=context, prompt_tokens=prompt))
    assert (ask.min_context, ask.prompt_tokens) == becomes


def test_what_it_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MOST_ROUTES", 2)
    monkeypatch.setattr(index_module, "MOST_VERDICTS", 3)
    index = RoutingIndex()
    for tokens in (0, 1000, 2000, 3000, 0, 1000):
        ask = replace(ASK, prompt_tokens=tokens)
        assert index.route(TWO, ask) == plan_route(TWO, rounded(ask))


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
