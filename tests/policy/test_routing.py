from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import EMBED, GEMMA, NOW, QWEN, fleet, fleets, host, instance, model

from bot.domain.chat import Candidate, Route
from bot.domain.cloud import ProviderSnapshot
from bot.domain.hosts import FleetSnapshot, HostSnapshot, LoadInFlight, Speed
from bot.domain.ids import AUTO, HostName, ModelKey, ProviderName
from bot.policy import routing
from bot.policy.prediction import (
    BLIND,
    Prediction,
    RouteAsk,
    Strategy,
    outlook,
    predict_seconds,
)
from bot.policy.routing import (
    MOVE_S,
    MOVE_SHARE,
    plan_route,
    sooner_elsewhere,
    without_guesses,
)

ZAI, OPENAI, ANTHROPIC = (ProviderName(name) for name in ("zai", "openai", "anthropic"))
ASK = RouteAsk((QWEN,), prompt_tokens=1000, answer_tokens=0)
EVERYWHERE = replace(ASK, cloud=(ZAI, OPENAI, ANTHROPIC))
ON_DISK = (model(QWEN), model(GEMMA, 8))


def _provider(
    name: ProviderName,
    *,
    is_serving: bool = True,
    reason: str = "",
    quality: int = 5,
    first_token_s: float | None = None,
    cost_micro_usd: int | None = 4000,
    context_length: int | None = None,
) -> ProviderSnapshot:
    return ProviderSnapshot(
        name,
        ModelKey(f"{name}-model"),
        is_serving,
        reason,
        quality,
        first_token_s,
        cost_micro_usd,
        context_length,
    )


PROVIDERS = (
    _provider(OPENAI, cost_micro_usd=1000, quality=9, first_token_s=0.7),
    _provider(ZAI, quality=5),
    _provider(ANTHROPIC, cost_micro_usd=None, quality=2),
)


def _where(route: Route) -> list[str]:
    return [candidate.where for candidate in route.candidates]


def _models(route: Route) -> list[tuple[str, str]]:
    return [(candidate.where, candidate.model) for candidate in route.candidates]


def _reasons(route: Route) -> dict[str, str]:
    return {rejection.where: rejection.reason for rejection in route.rejected}


# --- hosts --------------------


def test_resident_beats_cold_and_idle_beats_busy() -> None:
    route = plan_route(
        fleet(
            host("cold", ON_DISK),
            host("busy", ON_DISK, [instance(leases=1)]),
            host("full", ON_DISK, [instance(leases=9)]),
            host("idle", ON_DISK, [instance()]),
        ),
        ASK,
    )
    assert _where(route) == ["idle", "busy", "cold", "full"]
    assert route.reason == "idle: in memory and idle"
    assert [c.seconds for c in route.candidates] == sorted(c.seconds or 0 for c in route.candidates)
    assert all(candidate.cost_micro_usd == 0 for candidate in route.candidates)


def test_a_follow_up_prefers_the_instance_that_has_read_it_wherever_it_was_answered_last() -> None:
    has_read = replace(instance(), conversations=("ada",))
    hosts = fleet(host("a", instances=[instance()]), host("b", instances=[has_read]))
    ask = replace(ASK, sticky_host=HostName("a"), conversation="ada", new_tokens=100)
    assert _where(plan_route(hosts, ask)) == ["b", "a"]


def test_of_equals_the_host_that_answered_last_goes_on() -> None:
    hosts = fleet(host("a", instances=[instance()]), host("b", instances=[instance()]))
    assert _where(plan_route(hosts, ASK)) == ["a", "b"]
    assert _where(plan_route(hosts, replace(ASK, sticky_host=HostName("b")))) == ["b", "a"]


def test_the_host_whose_evictions_cost_others_least_goes_first() -> None:
    held = [replace(instance(GEMMA), missed_s=missed_s) for missed_s in (9.0, 0.5)]
    hosts = fleet(*(host(n, ON_DISK, [i], max_loaded=1) for n, i in zip("ab", held, strict=True)))
    first, second = plan_route(hosts, ASK).candidates
    assert (first.host, second.host) == ("b", "a")
    assert first.seconds == second.seconds
    assert first.burden_s == pytest.approx(second.burden_s - 8.5)


def test_a_long_queue_makes_a_cold_host_sooner() -> None:
    hosts = fleet(
        host("crowded", ON_DISK, [instance(leases=4)], waiting={QWEN: 20}),
        host("cold", ON_DISK, speeds={QWEN: Speed(load_s=8.0)}),
    )
    assert _where(plan_route(hosts, ASK)) == ["cold", "crowded"]


@pytest.mark.parametrize(
    ("load_s", "goes"),
    # The one under way takes ten seconds more, and its asker's reading stands beside one's own.
    [(10.0, "loading"), (9.0, "loading"), (7.0, "free"), (11.0, "loading")],
)
def test_a_load_under_way_is_joined_unless_one_elsewhere_is_clearly_sooner(
    load_s: float, goes: str
) -> None:
    load = LoadInFlight(QWEN, 0.0, NOW, 10.0)
    hosts = fleet(
        host("free", ON_DISK, speeds={QWEN: Speed(load_s=load_s)}),
        host("loading", ON_DISK, load=load, speeds={QWEN: Speed(load_s=10.0)}),
    )
    assert _where(plan_route(hosts, replace(ASK, prompt_tokens=50)))[0] == goes


def test_a_load_under_way_does_not_keep_from_what_is_in_memory() -> None:
    load = LoadInFlight(QWEN, 0.0, NOW, 1.0)
    hosts = fleet(
        host("idle", ON_DISK, [instance()]),
        host("cold", ON_DISK, speeds={QWEN: Speed(load_s=1.0)}),
        host("loading", ON_DISK, load=load, speeds={QWEN: Speed(load_s=1.0)}),
    )
    assert _where(plan_route(hosts, ASK))[0] == "idle"


def test_weight_decides_between_equals_and_then_the_name() -> None:
    hosts = fleet(host("b", ON_DISK), host("a", ON_DISK), host("c", ON_DISK, weight=2.0))
    assert _where(plan_route(hosts, ASK)) == ["c", "a", "b"]


def test_beyond_a_day_all_waits_are_alike() -> None:
    days = {name: {QWEN: Speed(load_s=n * routing.LONGEST_S)} for name, n in (("a", 3), ("b", 2))}
    slow = [host(name, ON_DISK, speeds=speeds) for name, speeds in days.items()]
    assert _where(plan_route(fleet(*slow), ASK)) == ["b", "a"]
    heavy = fleet(replace(slow[0], weight=2.0), slow[1])
    assert _where(plan_route(heavy, ASK)) == ["a", "b"]


def test_weight_never_makes_a_slower_state_win() -> None:
    hosts = fleet(
        host("heavy", instances=[instance(leases=1)], weight=9.0),
        host("idle", ON_DISK, [instance()]),
    )
    assert _where(plan_route(hosts, replace(ASK, prompt_tokens=0))) == ["idle", "heavy"]


def test_every_host_that_cannot_serve_has_one_line() -> None:
    route = plan_route(
        fleet(
            host("asleep", ON_DISK, state="down", reason="no answer"),
            host("without"),
            host("small", ON_DISK, memory_gb=2),
            host("fine", ON_DISK),
        ),
        ASK,
    )
    assert _where(route) == ["fine"]
    reasons = _reasons(route)
    assert list(reasons) == ["asleep", "without", "small"]
    assert reasons["asleep"] == "away: no answer"
    assert reasons["without"] == "not on this host"
    assert reasons["small"].startswith("does not fit: ")


def test_nobody_and_nothing_are_said_in_words() -> None:
    assert plan_route(fleet(), ASK) == Route(reason="no hosts are configured")
    assert plan_route(fleet(host()), ASK).reason == "nobody can serve this now"


def test_alternatives_come_after_the_wanted_model_however_cold_it_is() -> None:
    hosts = fleet(host("a", ON_DISK, [instance(GEMMA)]), host("b", [model(QWEN, 60)]))
    route = plan_route(hosts, replace(ASK, models=(QWEN, GEMMA, QWEN)))
    assert _models(route) == [("a", QWEN), ("b", QWEN), ("a", GEMMA)]


def test_a_wait_over_the_limit_comes_last_where_no_provider_may_step_in() -> None:
    hosts = fleet(host("slow", [model(QWEN, 500)]), host("warm", instances=[instance(GEMMA)]))
    patient = replace(ASK, models=(QWEN, GEMMA), max_wait_s=120.0)
    assert _where(plan_route(hosts, patient)) == ["warm", "slow"]
    assert _where(
        plan_route(hosts, replace(patient, local_only=True, cloud=(ZAI,)), PROVIDERS)
    ) == [
        "warm",
        "slow",
    ]


def test_a_wait_over_the_limit_is_the_last_resort_where_a_provider_may_step_in() -> None:
    hosts = fleet(host("slow", [model(QWEN, 500)]))
    route = plan_route(hosts, replace(EVERYWHERE, max_wait_s=120.0), PROVIDERS)
    assert _where(route) == ["zai", "openai", "anthropic", "slow"]


@pytest.mark.parametrize(
    ("tokens", "limit_s", "where"),
    [
        (1000, 2.05, ["home", "zai"]),
        (1000, 2.0, ["zai", "home"]),
        (0, 0.05, ["home", "zai"]),
    ],
)
def test_a_wait_of_just_the_limit_is_not_over_it(
    tokens: int, limit_s: float, where: list[str]
) -> None:
    warm = fleet(host("home", instances=[instance()]))
    ask = replace(ASK, cloud=(ZAI,), prompt_tokens=tokens, max_wait_s=limit_s)
    assert _where(plan_route(warm, ask, PROVIDERS)) == where


@pytest.mark.parametrize(
    ("tokens_per_s", "where"), [(460.0, ["heavy", "light"]), (400.0, ["light", "heavy"])]
)
def test_weight_decides_within_a_quarter_of_a_second_only(
    tokens_per_s: float, where: list[str]
) -> None:
    slower = {QWEN: Speed(prefill_tokens_per_s=tokens_per_s)}
    hosts = fleet(
        host("light", instances=[instance()]),
        host("heavy", instances=[instance()], weight=9.0, speeds=slower),
    )
    assert _where(plan_route(hosts, ASK)) == where


def test_time_counts_from_the_given_moment() -> None:
    load = LoadInFlight(QWEN, 0.0, NOW, 20.0)
    hosts = fleet(host("a", ON_DISK, load=load))
    assert plan_route(hosts, ASK).candidates[0].seconds == pytest.approx(22.05 + 2.0)
    assert plan_route(hosts, ASK, now=NOW + 15).candidates[0].seconds == pytest.approx(7.05 + 2.0)


# --- auto --------------------

ANY = replace(ASK, models=(AUTO,))


def test_auto_takes_what_is_in_memory_and_one_model_of_each_host() -> None:
    hosts = fleet(
        host("cold", [model("tiny/1b", 4), *ON_DISK]),
        host("warm", ON_DISK, [instance(GEMMA)]),
        host("vectors", [model(EMBED, 1, kind="embedding")]),
        host("empty"),
        host("asleep", ON_DISK, state="down"),
    )
    route = plan_route(hosts, ANY)
    assert _models(route) == [("warm", GEMMA), ("cold", "tiny/1b")]
    assert _reasons(route) == {
        "vectors": f"no model can serve: `{EMBED}`: an embedding model cannot chat",
        "empty": "no models on this host",
        "asleep": "away",
    }
    briefly = {rejection.where: rejection.brief for rejection in route.rejected}
    without = "without a model"
    assert briefly == {"vectors": without, "empty": without, "asleep": "off"}


def test_auto_tells_why_no_chat_model_can_serve_rather_than_that_an_embedding_model_cannot() -> (
    None
):
    # "No machine here is set up" was said of one whose owner gave its models too little memory.
    models = [model(EMBED, 1, kind="embedding"), model(QWEN, 8), model(GEMMA, 9)]
    (out,) = plan_route(fleet(host("a", models, memory_gb=4)), ANY).rejected
    assert out.reason.startswith(f"no model can serve: `{QWEN}`: does not fit")
    assert (out.reason.endswith(", and 1 more"), out.brief) == (True, "too full for it")


def test_auto_says_how_many_models_were_of_no_use() -> None:
    blind = plan_route(fleet(host("a", ON_DISK)), replace(ANY, needs_vision=True))
    assert _reasons(blind)["a"] == f"no model can serve: `{QWEN}`: cannot see images, and 1 more"
    assert blind.rejected[0].brief == BLIND


def test_auto_waits_for_a_load_that_is_nearly_done() -> None:
    load = LoadInFlight(GEMMA, 0.95, NOW - 19.0, None)
    hosts = fleet(host("a", [model("tiny/1b", 6), model(GEMMA, 8)], load=load))
    assert _models(plan_route(hosts, ANY)) == [("a", GEMMA)]


def test_auto_may_stand_behind_a_wanted_model() -> None:
    hosts = fleet(host("a", ON_DISK, [instance(GEMMA)]), host("b", instances=[instance()]))
    route = plan_route(hosts, replace(ASK, models=(QWEN, AUTO)))
    assert _models(route) == [("b", QWEN), ("a", QWEN), ("a", GEMMA)]


def test_why_a_wanted_model_is_out_is_said_also_where_any_other_serves() -> None:
    route = plan_route(fleet(host("a", [model(GEMMA)])), replace(ANY, models=(QWEN, AUTO)))
    assert _models(route) == [("a", GEMMA)]
    assert [(out.model, out.reason) for out in route.rejected] == [(QWEN, "not on this host")]


def test_auto_waits_for_a_load_about_to_end_rather_than_for_a_quick_one_after_it() -> None:
    load = LoadInFlight(GEMMA, 0.99, NOW - 9.9, None)
    one = host("a", ON_DISK, load=load, speeds={QWEN: Speed(load_s=0.5)})
    assert _models(plan_route(fleet(one), replace(ANY, prompt_tokens=0))) == [("a", GEMMA)]


def test_auto_takes_the_soonest_of_those_in_memory() -> None:
    speeds = {QWEN: Speed(prefill_tokens_per_s=200.0), GEMMA: Speed(prefill_tokens_per_s=1e4)}
    one = host("a", ON_DISK, [instance(QWEN), instance(GEMMA)], speeds=speeds)
    assert _models(plan_route(fleet(one), replace(ANY, prompt_tokens=100))) == [("a", GEMMA)]


def test_auto_says_the_same_of_a_model_in_memory_and_on_the_disk_once() -> None:
    vectors = [model(EMBED, 1, kind="embedding")]
    one = host("a", vectors, [instance(EMBED, kind="embedding")])
    words = f"no model can serve: `{EMBED}`: an embedding model cannot chat"
    assert _reasons(plan_route(fleet(one), ANY)) == {"a": words}


@pytest.mark.parametrize(
    ("loads_sooner", "loads_later"),
    [
        # Reading decides: 0.2 s of it make the first the later one, within the same quarter.
        (
            Speed(load_s=1.0, prefill_tokens_per_s=500.0),
            Speed(load_s=1.05, prefill_tokens_per_s=1e9),
        ),
        (Speed(load_s=1.0, prefill_tokens_per_s=10.0), Speed(load_s=2.0, prefill_tokens_per_s=1e9)),
    ],
)
def test_auto_takes_the_cold_model_that_answers_first_not_the_one_that_loads_first(
    loads_sooner: Speed, loads_later: Speed
) -> None:
    one = host("a", ON_DISK, speeds={QWEN: loads_sooner, GEMMA: loads_later})
    assert _models(plan_route(fleet(one), replace(ANY, prompt_tokens=100))) == [("a", GEMMA)]


def test_auto_judges_a_cold_model_that_may_be_as_soon_as_the_best() -> None:
    # Between 1 and 1.25 s to the first word both; the second is loaded later and reads faster.
    speeds = {
        QWEN: Speed(load_s=1.0, prefill_tokens_per_s=1e4),
        GEMMA: Speed(load_s=1.01, prefill_tokens_per_s=1e6),
    }
    one = host("a", ON_DISK, speeds=speeds)
    assert _models(plan_route(fleet(one), ANY)) == [("a", GEMMA)]


def test_auto_judges_no_cold_model_that_cannot_be_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []

    def predict(of: HostSnapshot, key: ModelKey, ask: RouteAsk, now: float) -> object:
        judged.append(key)
        return outlook(of, key, ask, now)

    monkeypatch.setattr(routing, "outlook", predict)
    many = [model(f"m/{gb}", gb) for gb in range(1, 100)]
    assert _models(plan_route(fleet(host("a", many)), replace(ANY, prompt_tokens=0))) == [
        ("a", "m/1")
    ]
    assert judged == ["m/1"]


# --- providers --------------------

HOME = fleet(host("home", ON_DISK))


@pytest.mark.parametrize(
    ("strategy", "order", "where"),
    [
        ("prefer_local", None, ["home", "zai", "openai", "anthropic"]),
        ("prefer_cloud", None, ["zai", "openai", "anthropic", "home"]),
        ("cost_optimized", None, ["home", "openai", "zai", "anthropic"]),
        ("quality_optimized", None, ["openai", "home", "zai", "anthropic"]),
        ("prefer_local", ("zai", "local", "anthropic"), ["zai", "home", "anthropic"]),
        ("prefer_cloud", ("local", "openai", "zai"), ["home", "openai", "zai"]),
        ("prefer_local", ("openai", "groq", "openai"), ["openai", "home"]),
    ],
)
def test_the_strategy_or_the_request_type_places_the_providers(
    strategy: Strategy, order: tuple[str, ...] | None, where: list[str]
) -> None:
    ask = replace(EVERYWHERE, strategy=strategy, order=order)
    assert _where(plan_route(HOME, ask, PROVIDERS)) == where


def test_equal_costs_are_ordered_by_seconds_and_an_unmeasured_provider_is_no_dead_one() -> None:
    providers = (_provider(ZAI), _provider(OPENAI, first_token_s=9.0), PROVIDERS[2])
    ask = replace(EVERYWHERE, strategy="cost_optimized")
    assert _where(plan_route(HOME, ask, providers)) == ["home", "zai", "openai", "anthropic"]


def test_at_equal_costs_one_measured_slow_comes_after_one_never_measured() -> None:
    providers = (_provider(ZAI, first_token_s=9.0), _provider(OPENAI))
    ask = replace(EVERYWHERE, strategy="cost_optimized", cloud=(ZAI, OPENAI))
    assert _where(plan_route(HOME, ask, providers)) == ["home", "openai", "zai"]


def test_of_the_better_providers_the_best_comes_first_whatever_it_costs() -> None:
    providers = (
        _provider(ZAI, quality=6, cost_micro_usd=1),
        _provider(OPENAI, quality=9, cost_micro_usd=9),
    )
    ask = replace(EVERYWHERE, strategy="quality_optimized", cloud=(ZAI, OPENAI))
    assert _where(plan_route(HOME, ask, providers)) == ["openai", "zai", "home"]


def test_a_provider_not_named_by_the_request_type_is_left_out() -> None:
    route = plan_route(HOME, replace(EVERYWHERE, order=("zai", "local")), PROVIDERS)
    assert _reasons(route) == dict.fromkeys(
        ("openai", "anthropic"), "not in the order of this request type"
    )


def test_local_only_never_leaves_the_lan() -> None:
    ask = replace(
        EVERYWHERE, local_only=True, strategy="prefer_cloud", order=("zai", "openai"),
        cloud=(ZAI, OPENAI, ProviderName("gone")),
    )  # fmt: skip
    route = plan_route(HOME, ask, PROVIDERS)
    assert _where(route) == ["home"]
    assert _reasons(route) == dict.fromkeys(("zai", "openai", "gone"), "local only")


@pytest.mark.parametrize("strategy", get_args(Strategy))
@pytest.mark.parametrize("order", [None, ("local", "openai"), ("local",)])
def test_a_provider_chosen_by_name_goes_first_whatever_else_decides(
    strategy: Strategy, order: tuple[str, ...] | None
) -> None:
    ask = replace(EVERYWHERE, first=OPENAI, strategy=strategy, order=order)
    route = plan_route(HOME, ask, PROVIDERS)
    others = _where(plan_route(HOME, replace(ask, first=None), PROVIDERS))
    assert _where(route) == [OPENAI, *(where for where in others if where != OPENAI)]
    assert route.chosen == OPENAI
    assert route.prefers_cloud


@pytest.mark.parametrize(
    ("changes", "is_preferred"),
    [
        ({}, False),
        ({"strategy": "prefer_cloud"}, True),
        ({"strategy": "cost_optimized"}, False),
        ({"strategy": "quality_optimized"}, True),
        ({"strategy": "quality_optimized", "cloud": (ZAI, ANTHROPIC)}, False),
        ({"order": ("zai", "local")}, True),
        ({"order": ("local", "zai"), "strategy": "prefer_cloud"}, False),
        ({"order": (), "strategy": "prefer_cloud"}, False),
        ({"first": ZAI}, True),
        ({"first": ZAI, "cloud": (OPENAI,)}, False),
    ],
)
def test_a_route_says_whether_a_provider_goes_before_hosts_that_are_as_soon(
    changes: Mapping[str, object], is_preferred: bool
) -> None:
    route = plan_route(HOME, replace(EVERYWHERE, **changes), PROVIDERS)
    assert route.prefers_cloud is is_preferred


def test_a_provider_that_was_chosen_and_is_not_the_personas_is_not_asked() -> None:
    route = plan_route(fleet(), replace(ASK, cloud=(ZAI,), first=OPENAI), PROVIDERS)
    assert _where(route) == [ZAI]
    assert _reasons(route) == {OPENAI: "chosen, but this persona does not ask it"}


def test_a_provider_the_persona_does_not_allow_is_never_asked() -> None:
    route = plan_route(HOME, replace(ASK, order=("zai", "local")), PROVIDERS)
    assert _where(route) == ["home"]


@pytest.mark.parametrize(
    ("provider", "ask", "reason"),
    [
        (_provider(ZAI, is_serving=False, reason="breaker open"), EVERYWHERE, "breaker open"),
        (_provider(ZAI, is_serving=False), EVERYWHERE, "out of service"),
        (_provider(ZAI), replace(EVERYWHERE, needs_vision=True), "cannot see images"),
        (
            _provider(ZAI, context_length=4096),
            replace(EVERYWHERE, min_context=5000),
            "its context window of 4,096 tokens is too small",
        ),
    ],
)
def test_a_provider_that_cannot_serve_says_why(
    provider: ProviderSnapshot, ask: RouteAsk, reason: str
) -> None:
    route = plan_route(HOME, replace(ask, cloud=(ZAI,)), [provider])
    out = route.rejected[-1]
    assert (out.where, out.model, out.reason, out.is_cloud) == ("zai", provider.model, reason, True)
    assert out.brief == (BLIND if "images" in reason else "not available")


def test_a_window_of_just_the_needed_size_will_do() -> None:
    ask = replace(EVERYWHERE, min_context=4096, cloud=(ZAI,))
    assert "zai" in _where(plan_route(HOME, ask, [_provider(ZAI, context_length=4096)]))


def test_a_provider_nobody_configured_is_said() -> None:
    route = plan_route(HOME, EVERYWHERE, PROVIDERS[:1])
    assert _reasons(route)["zai"] == "no such provider is configured"


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        (30, "cloud, at most $0.000030"),
        (4000, "cloud, at most $0.0040"),
        (100_000_000, "cloud, at most $100.00"),
        (0, "cloud, free"),
        (None, "cloud, price unknown"),
    ],
)
def test_a_provider_says_what_it_may_cost(cost: int | None, reason: str) -> None:
    asked = _provider(ZAI, cost_micro_usd=cost, first_token_s=0.7)
    route = plan_route(fleet(), EVERYWHERE, [replace(asked, likely_micro_usd=7)])
    (candidate,) = route.candidates
    assert candidate.reason == reason
    assert candidate.seconds == 0.7
    assert candidate.likely_micro_usd == 7
    assert candidate.cost_micro_usd == cost
    assert candidate.model == "zai-model"


# --- properties --------------------

_ASKS = st.builds(
    RouteAsk,
    st.lists(st.sampled_from([QWEN, GEMMA, EMBED, AUTO]), min_size=1, max_size=3).map(tuple),
    min_context=st.sampled_from([0, 3000, 8000]),
    prompt_tokens=st.integers(0, 8000),
    needs_vision=st.booleans(),
    sticky_host=st.none() | st.sampled_from([HostName("0"), HostName("1")]),
    max_wait_s=st.none() | st.floats(1.0, 100.0),
    local_only=st.booleans(),
    cloud=st.lists(st.sampled_from([ZAI, OPENAI, ANTHROPIC]), unique=True).map(tuple),
    strategy=st.sampled_from(
        ["prefer_local", "prefer_cloud", "cost_optimized", "quality_optimized"]
    ),
    order=st.none() | st.lists(st.sampled_from(["local", "zai", "openai"])).map(tuple),
)


@pytest.mark.slow
@given(fleets(), _ASKS, st.permutations(PROVIDERS))
def test_a_route_holds_only_who_can_serve_each_once_and_with_a_reason(
    snapshot: FleetSnapshot, ask: RouteAsk, providers: Sequence[ProviderSnapshot]
) -> None:
    route = plan_route(snapshot, ask, providers)
    assert len(set(_models(route))) == len(route.candidates)
    assert all(c.reason for c in route.candidates)
    assert all(r.reason for r in route.rejected)
    for candidate in route.candidates:
        if candidate.host is None:
            assert not ask.local_only
            assert candidate.provider in ask.cloud
        else:
            verdict = predict_seconds(snapshot.hosts[candidate.host], candidate.model, ask, NOW)
            assert isinstance(verdict, Prediction)
            assert candidate.seconds == pytest.approx(verdict.seconds)


@pytest.mark.slow
@given(fleets(), _ASKS)
def test_the_order_in_which_hosts_are_known_does_not_matter(
    snapshot: FleetSnapshot, ask: RouteAsk
) -> None:
    turned = fleet(*reversed(list(snapshot.hosts.values())))
    assert plan_route(snapshot, ask, PROVIDERS).candidates == (
        plan_route(turned, ask, PROVIDERS).candidates
    )


@pytest.mark.slow
@given(fleets())
def test_auto_finds_the_soonest_model_of_each_host_and_swaps_none_in(
    snapshot: FleetSnapshot,
) -> None:
    soonest = {c.where: c.seconds for c in plan_route(snapshot, ANY).candidates}
    for one in snapshot.hosts.values():
        in_memory = _seconds_of(one, [i.model_key for i in one.instances])
        seconds = in_memory or _seconds_of(one, list(one.models))
        if one.name in soonest:
            assert soonest[one.name] == pytest.approx(min(seconds), abs=0.25)
        else:
            assert not seconds


def _seconds_of(one: HostSnapshot, keys: Sequence[ModelKey]) -> list[float]:
    verdicts = [predict_seconds(one, key, ANY, NOW) for key in keys]
    return [verdict.seconds for verdict in verdicts if isinstance(verdict, Prediction)]


# --- late binding --------------------


@pytest.mark.parametrize(
    ("here_s", "lead_s", "there_s", "goes"),
    [
        (10.0, 0.0, 10.0 * (1 - MOVE_SHARE) - MOVE_S - 0.01, True),
        (10.0, 0.0, 10.0 * (1 - MOVE_SHARE) - MOVE_S, False),
        # Its place in the line is worth more than being the newest elsewhere.
        (30.0, 25.0, 10.0, False),
        (30.0, 5.0, 10.0, True),
        # All but served.
        (3.0, 9.0, 0.0, False),
    ],
)
def test_who_waits_goes_where_it_is_clearly_sooner(
    here_s: float, lead_s: float, there_s: float, goes: bool
) -> None:
    here, there = (
        Candidate(QWEN, HostName(n), burden_s=s) for n, s in (("a", here_s), ("b", there_s))
    )
    for order in ((there, here), (here, there)):
        assert sooner_elsewhere(order, here, lead_s) == (there if goes else None)


def test_who_waits_goes_to_no_other_model_nor_to_a_provider_and_leaves_a_host_that_is_out() -> None:
    here = Candidate(QWEN, HostName("a"), burden_s=99.0)
    other, cloud = Candidate(GEMMA, HostName("b")), Candidate(QWEN, provider=ZAI)
    assert sooner_elsewhere((other, cloud, here), here, 0.0) is None
    slow = Candidate(QWEN, HostName("c"), burden_s=500.0)
    assert sooner_elsewhere((slow,), here, 0.0) == slow


@pytest.mark.parametrize("rate", [None, 1e9])
def test_a_load_under_way_is_not_left_for_a_guess_until_any_was_measured(
    rate: float | None,
) -> None:
    loading = LoadInFlight(QWEN, 0.5, NOW, None)
    hosts = (
        host("cold", ON_DISK),
        host("loads", ON_DISK, load=loading),
        host("warm", ON_DISK, [instance(QWEN)], rate=rate),
    )
    asked = [Candidate(QWEN, each.name) for each in hosts] + [Candidate(QWEN, provider=ZAI)]
    kept = without_guesses(asked, {each.name: each for each in hosts})
    assert [c.where for c in kept] == [c.where for c in asked if rate or c.where != "cold"]
