"""What is to be in memory whoever asks, and whom nobody makes way for it."""

from dataclasses import replace

import pytest
from policy_builders import EMBED, GEMMA, NOW, QWEN, host, instance, model

from bot.domain.hosts import FleetSnapshot, HostSnapshot, LoadInFlight, Wish
from bot.domain.ids import AUTO, HostName, ModelKey, PersonaName
from bot.domain.personas import LoadSettings, Persona
from bot.policy.keeping import KEEPER, RESTED_S, Keep, kept_by, plan_keeping

ONE, TWO = HostName("one"), HostName("two")
DISK = (model(QWEN), model(GEMMA), model(EMBED, kind="embedding"))


def kept(key: str = QWEN, at: HostName | None = None, context: int = 0) -> Keep:
    return Keep(Wish(ModelKey(key), min_context=context, idle_ttl_s=None), at)


def planned(*wanted: Keep, hosts: tuple[HostSnapshot, ...]) -> list[tuple[str, HostName]]:
    fleet = FleetSnapshot({h.name: h for h in hosts}, NOW)
    return [(keep.wish.model_key, at) for keep, at in plan_keeping(fleet, wanted)]


def test_what_personas_keep_is_said_once_with_the_firsts_settings() -> None:
    large = LoadSettings(context_length=16_384)
    personas = [
        Persona(PersonaName("a"), model=QWEN, keep_loaded=True, load=large),
        Persona(PersonaName("b"), model=QWEN, keep_loaded=True),
        Persona(PersonaName("c"), model=GEMMA),
        Persona(PersonaName("d"), model=AUTO, keep_loaded=True),
    ]
    wish = Wish(QWEN, large, 16_384, None, KEEPER, priority="low", purpose="order")
    assert kept_by(personas) == [Keep(wish)]
    wish = Wish(QWEN, LoadSettings(), 0, None, KEEPER, priority="low", purpose="order")
    assert kept_by(personas[1:2]) == [Keep(wish)]


def test_a_missing_model_is_loaded_where_it_is_there_soonest_one_a_host() -> None:
    quick = replace(host("two", DISK), load_bytes_per_s=5e9)
    hosts = (host("one", DISK), quick)
    assert planned(kept(), hosts=hosts) == [(QWEN, TWO)]
    assert planned(kept(), kept(GEMMA), hosts=hosts) == [(QWEN, TWO), (GEMMA, ONE)]
    assert planned(kept(), kept(GEMMA), kept(EMBED), hosts=hosts) == [(QWEN, TWO), (GEMMA, ONE)]
    assert planned(kept(at=ONE), hosts=hosts) == [(QWEN, ONE)], "pinned there"
    assert planned(kept("nobody/has-it"), hosts=hosts) == []
    assert planned(kept(EMBED), hosts=hosts) == [(EMBED, TWO)], "no chat is meant"


@pytest.mark.parametrize(("context", "at"), [(None, [(QWEN, ONE)]), (32_768, [])])
def test_it_must_fit_as_it_would_be_loaded(
    context: int | None, at: list[tuple[str, HostName]]
) -> None:
    wish = replace(kept().wish, load=LoadSettings(context_length=context))
    small = host("one", DISK, memory_gb=7.0)
    assert planned(Keep(wish), hosts=(small,)) == at


@pytest.mark.parametrize("state", ["down", "draining", "unknown"])
def test_nothing_is_asked_of_a_host_that_does_not_serve(state: str) -> None:
    away = replace(host("one", DISK), state=state)
    assert planned(kept(), hosts=(away,)) == []


def test_what_is_there_or_coming_is_not_asked_for() -> None:
    forever = instance(ttl_s=None)
    for there in (forever, instance(own=False), replace(forever, leases=2)):
        assert planned(kept(), hosts=(host("one", DISK, [there]), host("two", DISK))) == []
    loading = replace(host("one", DISK), load=LoadInFlight(QWEN, 0.5, NOW, None))
    assert planned(kept(), hosts=(loading, host("two", DISK))) == []
    awaited = replace(host("one", DISK), waiting={QWEN: 1})
    assert planned(kept(), hosts=(awaited, host("two", DISK))) == []
    there = host("one", DISK, [forever])
    assert planned(kept(), kept(GEMMA), hosts=(there,)) == [(GEMMA, ONE)]


def test_a_timer_is_taken_off_once_nobody_uses_it() -> None:
    rests = host("one", DISK, [instance(ttl_s=60.0)])
    assert planned(kept(), hosts=(host("two", DISK), rests)) == [(QWEN, ONE)]
    used = host("one", DISK, [instance(ttl_s=60.0, leases=1)])
    assert planned(kept(), hosts=(host("two", DISK), used)) == []
    both = rests, replace(rests, name=TWO)
    assert planned(kept(), hosts=both) == [(QWEN, ONE)], "one copy is enough"
    other = host("two", DISK)
    assert planned(kept(GEMMA, TWO), kept(), hosts=(rests, other)) == [(GEMMA, TWO), (QWEN, ONE)]


def test_a_host_with_other_work_ahead_is_left_alone() -> None:
    loading = replace(host("one", DISK), load=LoadInFlight(GEMMA, 0.5, NOW, None))
    assert planned(kept(), hosts=(loading,)) == []
    assert planned(kept(), hosts=(replace(host("one", DISK), waiting={GEMMA: 1}),)) == []


@pytest.mark.parametrize(
    ("other", "asked"),
    [
        (instance(GEMMA, idle_s=RESTED_S), True),
        (instance(GEMMA, idle_s=RESTED_S - 1), False),
        (instance(GEMMA, leases=1), False),
        (instance(GEMMA, idle_s=RESTED_S, ttl_s=None), False),
        (instance(GEMMA, idle_s=RESTED_S, own=False), False),
    ],
)
def test_only_what_has_rested_makes_way(other: object, asked: bool) -> None:
    full = replace(host("one", DISK, [other]), max_loaded=1)  # pyright: ignore[reportArgumentType]  # an instance
    assert planned(kept(), hosts=(full,)) == ([(QWEN, ONE)] if asked else [])
