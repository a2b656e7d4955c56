import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from policy_builders import EMBED, GB, GEMMA, NOW, QWEN, fleet, fleets, host, instance, model

from bot.domain.chat import Rejection
from bot.domain.errors import BRIEFLY, FailureKind
from bot.domain.hosts import (
    FleetSnapshot,
    HostSnapshot,
    HostState,
    LoadInFlight,
    LoadLimits,
    Speed,
    Wish,
)
from bot.domain.ids import ModelKey
from bot.domain.personas import LoadSettings
from bot.policy.prediction import (
    BLIND,
    EVICT_S,
    SENT_S,
    SHARED,
    USUAL_PROMPT,
    WRITE_WEIGHT,
    Prediction,
    RouteAsk,
    Standing,
    contexts_alike,
    lead_s,
    predict_seconds,
    remaining_s,
)
from bot.policy.routing import plan_route
from bot.policy.speeds import LOAD_BYTES_PER_S, LOAD_S

ASK = RouteAsk((QWEN,), prompt_tokens=1000)
READ_S = 1000 / 500 + SENT_S
"""A model of 5 GB where nothing was measured: 500 tokens are read in a second, 40 written."""
TURN_S = USUAL_PROMPT / 500 + 240 / 40
"""What others ask has nothing to do with the length of what is asked now."""
ON_DISK = (model(QWEN), model(GEMMA, 8))


def _predict(of: HostSnapshot, ask: RouteAsk = ASK, key: ModelKey = QWEN) -> Prediction:
    verdict = predict_seconds(of, key, ask, NOW)
    assert isinstance(verdict, Prediction), verdict
    return verdict


def _burden_s(of: HostSnapshot) -> float:
    """What it is compared by to other hosts."""
    return plan_route(fleet(of), ASK).candidates[0].burden_s


def _refusal(of: HostSnapshot, ask: RouteAsk = ASK, key: ModelKey = QWEN) -> str:
    verdict = predict_seconds(of, key, ask, NOW)
    assert isinstance(verdict, Rejection), verdict
    assert verdict.where == of.name
    return verdict.reason


def test_a_host_whose_load_failed_is_left_out_till_its_pause_is_over() -> None:
    failed = {QWEN: LoadLimits(failure="exit code 7", failed_until=NOW + 5)}
    cold = replace(host(models=ON_DISK), limits=failed)
    assert _refusal(cold) == "failed to load it a moment ago: exit code 7"
    assert isinstance(predict_seconds(cold, GEMMA, ASK, NOW + 4.9), Prediction)
    assert isinstance(predict_seconds(cold, QWEN, ASK, NOW + 4.9), Rejection)
    assert isinstance(predict_seconds(cold, QWEN, ASK, NOW + 5), Prediction)
    loading = replace(cold, load=LoadInFlight(QWEN, 0.5, NOW, None))
    assert isinstance(predict_seconds(loading, QWEN, ASK, NOW), Rejection)
    there = replace(cold, instances=(instance(),))
    assert _predict(there).reason == "in memory and idle"


# --- resident --------------------


def test_an_idle_resident_model_only_has_to_read_the_prompt() -> None:
    idle = host(models=ON_DISK, instances=[instance()])
    found = _predict(idle)
    assert found.seconds == found.prefill_s == READ_S
    assert _burden_s(idle) == READ_S + WRITE_WEIGHT * 240 / 40
    assert found.standing is Standing.IDLE
    assert found.reason == "in memory and idle"


def test_measured_reading_speed_counts() -> None:
    measured = {QWEN: Speed(prefill_tokens_per_s=2000.0)}
    assert _predict(host(instances=[instance()], speeds=measured)).prefill_s == 0.5 + SENT_S


@pytest.mark.parametrize(
    ("held", "said", "new_tokens", "tokens"),
    [
        (("ada", "bob"), "ada", 100, 100),
        (("bob",), "ada", 100, 1000),
        # Trimmed since: nothing of what the slot holds is sent again.
        (("ada",), "ada", None, 1000),
        # Of nobody known, as of most clients over HTTP.
        (("",), "", 100, 1000),
    ],
)
def test_only_new_words_are_read_where_the_conversation_was_read_before(
    held: tuple[str, ...], said: str, new_tokens: int | None, tokens: int
) -> None:
    there = replace(instance(), conversations=held)
    ask = replace(ASK, conversation=said, new_tokens=new_tokens)
    found = _predict(host(instances=[there]), ask)
    assert found.prefill_s == pytest.approx(tokens / 500 + SENT_S)
    has_read = said in held and said != ""
    assert found.reason == "in memory and idle" + ", has read this conversation" * has_read


@pytest.mark.parametrize(
    ("leases", "reading", "others", "times"),
    [
        (0, 0, 0, 1.0),
        (1, 0, 0, 1.0 + SHARED),
        (1, 1, 0, 2.0),
        (3, 1, 0, 2.0 + 2 * SHARED),
        # The fourth slot is taken: whoever waits for it begins beside three.
        (4, 4, 0, 4.0),
        (1, 0, 2, 3.0 * (1.0 + SHARED)),
    ],
)
def test_work_beside_slows_reading_and_another_prompt_more_than_an_answer(
    leases: int, reading: int, others: int, times: float
) -> None:
    there = [replace(instance(leases=leases), reading=reading)]
    there += [instance(GEMMA, leases=2, identifier=f"g:{n}") for n in range(others)]
    there += [instance(EMBED)]
    found = _predict(host(instances=there, slots=4))
    assert found.prefill_s == pytest.approx(2.0 * times + SENT_S)
    assert found.write_s == pytest.approx(6.0 * times)


def test_a_busy_model_with_a_free_slot_waits_for_nobody() -> None:
    found = _predict(host(instances=[instance(leases=1, parallel=2)]))
    assert found.queue_s == 0
    assert found.standing is Standing.BUSY
    assert found.reason == "in memory, 1 of 2 slots taken"


def test_what_evictions_cost_others_counts_among_hosts_and_is_not_waited_for() -> None:
    missed = replace(instance(GEMMA), missed_s=7.5)
    full = host(models=ON_DISK, instances=[missed], max_loaded=1, rate=1e9)
    found = _predict(full)
    assert found.seconds == pytest.approx(5.0 + EVICT_S + READ_S)
    assert _burden_s(full) == pytest.approx(found.seconds + 7.5 + WRITE_WEIGHT * found.write_s)


def test_full_slots_are_waited_for() -> None:
    busy = host(instances=[instance(leases=2, parallel=2)], speeds={QWEN: Speed(turn_s=10.0)})
    found = _predict(busy)
    assert found.queue_s == 5.0
    assert found.reason == "busy: all 2 slots taken"


def test_every_turn_waiting_before_counts() -> None:
    crowded = host(instances=[instance(leases=2)], slots=2, waiting={QWEN: 3})
    found = _predict(crowded)
    assert found.queue_s == 4 * TURN_S / 2
    assert found.reason == "busy: 3 waiting"


def test_an_instance_with_one_slot_has_one_even_where_the_host_has_four() -> None:
    found = _predict(host(instances=[instance(leases=1, parallel=1)]))
    assert found.queue_s == TURN_S
    assert found.reason == "busy: its one slot is taken"


def test_as_many_waiting_as_at_work_are_no_idle_model() -> None:
    found = _predict(host(instances=[instance(leases=1)], waiting={QWEN: 1}))
    assert found.standing is Standing.BUSY


def test_two_copies_share_their_slots() -> None:
    copies = [instance(leases=1, parallel=1), instance(identifier="q:2", parallel=1)]
    assert _predict(host(instances=copies)).queue_s == 0


def test_somebody_elses_instance_is_used_when_it_fits() -> None:
    found = _predict(host(instances=[instance(own=False)]), replace(ASK, min_context=8192))
    assert found.standing is Standing.IDLE


def test_a_context_the_host_does_not_tell_is_taken_to_be_enough() -> None:
    found = _predict(host(instances=[instance(context=None)]), replace(ASK, min_context=8192))
    assert found.load_s == 0


# --- cold --------------------


def gb_of(cold: HostSnapshot) -> float:
    """Of its one model; 5 where nobody tells."""
    return (cold.models[QWEN].size_bytes or 5 * GB) / GB


@pytest.mark.parametrize(
    ("cold", "load_s", "reason"),
    [
        (
            host(models=ON_DISK, speeds={QWEN: Speed(load_s=12.0)}, rate=1e9),
            12.0,
            "cold: load ~12 s (measured)",
        ),
        (host(models=ON_DISK, rate=1e9), 5.0, "cold: load ~5 s (by size)"),
        (host(models=ON_DISK), 5 * GB / LOAD_BYTES_PER_S, "cold: load ~4 s (a guess by size)"),
        (host(models=[model(QWEN, None)]), LOAD_S, "cold: load ~20 s (a guess)"),
        (host(models=[model(QWEN, 0.1)], rate=1e9), 0.1, "cold: load ~1 s (by size)"),
        (host(models=[model(QWEN, 1.0)], rate=1e9), 1.0, "cold: load ~1 s (by size)"),
        (host(models=[model(QWEN, 1.6)], rate=1e9), 1.6, "cold: load ~2 s (by size)"),
    ],
)
def test_a_load_is_predicted_from_the_best_that_is_known(
    cold: HostSnapshot, load_s: float, reason: str
) -> None:
    found = _predict(cold)
    assert found.load_s == pytest.approx(load_s)
    assert found.reason == reason
    assert found.standing is Standing.COLD
    assert found.seconds == pytest.approx(load_s + 2.0 * gb_of(cold) / 5 + SENT_S)


def test_evicting_takes_time_and_is_said() -> None:
    full = host(models=ON_DISK, instances=[instance(GEMMA)], max_loaded=1, rate=1e9)
    found = _predict(full)
    assert found.load_s == 5.0 + EVICT_S
    assert [one.model_key for one in found.evicts] == [GEMMA]
    assert found.reason == f"cold: load ~5 s (by size), after evicting {GEMMA}"


def test_a_model_in_use_is_waited_for_not_evicted() -> None:
    speeds = {GEMMA: Speed(turn_s=30.0)}
    full = host(models=ON_DISK, instances=[instance(GEMMA, leases=1)], max_loaded=1, speeds=speeds)
    found = _predict(full)
    assert found.queue_s == 30.0
    assert f"waits for {GEMMA} to finish" in found.reason


def test_of_several_in_use_the_slowest_decides() -> None:
    speeds = {GEMMA: Speed(turn_s=10.0), EMBED: Speed(turn_s=30.0)}
    held = [instance(GEMMA, leases=1), instance(EMBED, leases=1)]
    full = host(models=ON_DISK, instances=held, max_loaded=1, speeds=speeds)
    assert _predict(full).queue_s == 30.0


def test_of_several_answers_under_way_the_last_decides() -> None:
    speeds = {GEMMA: Speed(turn_s=12.0)}
    full = host(models=ON_DISK, instances=[instance(GEMMA, leases=3)], max_loaded=1, speeds=speeds)
    assert _predict(full).queue_s == pytest.approx(12.0 * (1 + 1 / 2 + 1 / 3))


@pytest.mark.parametrize(
    ("ran_s", "slot_s"),
    [
        # How long an answer went on says little of how much of it is left.
        ((0.0, 0.0), 5.0),
        ((9.0, 8.0), 3.0),
        # All have outlasted the usual: they go on for half as long again.
        ((13.0, 12.0), 3.0),
        ((60.0, 40.0), 10.0),
        # One has not, and may be the first to end.
        ((60.0, 0.0), 5.0),
        # Nobody knows since when the other runs.
        ((60.0,), 5.0),
        ((), 5.0),
    ],
)
def test_answers_hold_their_slots_for_less_and_then_for_longer_the_longer_they_ran(
    ran_s: tuple[float, ...], slot_s: float
) -> None:
    speeds = {QWEN: Speed(turn_s=10.0)}
    since = tuple(NOW - ran for ran in ran_s)
    held = replace(instance(leases=2, parallel=2), answers_since=since)
    there = host(models=ON_DISK, instances=[held], speeds=speeds)
    assert _predict(there).queue_s == slot_s
    # Whoever waits behind others waits for usual answers beside.
    behind = replace(there, waiting={QWEN: 3})
    assert _predict(behind).queue_s == slot_s + 3 * 10.0 / 2


@pytest.mark.parametrize(
    ("held", "words"),
    [(instance(GEMMA, own=False), "loaded by others"), (instance(GEMMA, pinned=True), "pinned")],
)
def test_what_must_stay_makes_a_load_impossible(held: object, words: str) -> None:
    assert isinstance(held, type(instance()))
    full = host(models=ON_DISK, instances=[held], max_loaded=1)
    refusal = _refusal(full)
    assert refusal.startswith("does not fit: ")
    assert words in refusal


def test_a_model_larger_than_the_host_does_not_fit() -> None:
    assert "needs about 6.2 GB" in _refusal(
        host(models=ON_DISK, memory_gb=4), replace(ASK, min_context=7000)
    )


def test_a_longer_transcript_needs_more_memory() -> None:
    tight = host(models=ON_DISK, memory_gb=6)
    assert _predict(tight, replace(ASK, min_context=4096)).standing is Standing.COLD
    assert "does not fit" in _refusal(tight, replace(ASK, min_context=32_768))


def test_sizes_of_instances_are_taken_from_the_disk_when_not_told() -> None:
    full = host(models=ON_DISK, instances=[instance(GEMMA, gb=None)], memory_gb=10)
    assert [one.model_key for one in _predict(full).evicts] == [GEMMA]


def test_an_instance_with_too_small_a_context_is_loaded_again() -> None:
    small = host(models=ON_DISK, instances=[instance(context=4096)], rate=1e9)
    found = _predict(small, replace(ASK, min_context=6000))
    assert found.load_s == 5.0 + EVICT_S
    assert found.evicts == small.instances
    assert found.reason == (
        "in memory with too small a context (4,096 tokens): loads again ~5 s (by size)"
    )


@pytest.mark.parametrize(
    ("contexts", "words"),
    [((2048, 4096), "(4,096 tokens)"), ((4096, 0), "(4,096"), ((0,), "(0 tok")],
)
def test_of_copies_with_too_small_a_context_the_largest_is_said(
    contexts: tuple[int, ...], words: str
) -> None:
    held = [instance(context=tokens, identifier=f"q:{tokens}") for tokens in contexts]
    found = _predict(host(models=ON_DISK, instances=held), replace(ASK, min_context=6000))
    assert words in found.reason


def test_a_model_only_in_memory_cannot_be_loaded_again_and_nobody_says_it_does_not_fit() -> None:
    small = host(instances=[instance(context=4096)])
    words = "in memory with too small a context, and not on the disk to be loaded again"
    assert _refusal(small, replace(ASK, min_context=6000)) == words


def test_somebody_elses_instance_with_too_small_a_context_stays_beside_the_new_one() -> None:
    held = [instance(GEMMA, idle_s=99), instance(own=False, context=4096)]
    small = host(models=ON_DISK, instances=held, max_loaded=2)
    found = _predict(small, replace(ASK, min_context=6000))
    assert [one.model_key for one in found.evicts] == [GEMMA]
    assert found.reason.startswith("in memory with too small a context (4,096 tokens)")
    assert found.reason.endswith(f"after evicting {GEMMA}")


def test_somebody_elses_instance_leaves_only_where_that_was_allowed() -> None:
    full = host(models=ON_DISK, instances=[instance(GEMMA, own=False)], max_loaded=1)
    assert "loaded by others" in _refusal(full)
    assert _predict(replace(full, evict_foreign=True)).evicts == full.instances


def test_turns_waiting_for_the_same_load_share_its_slots() -> None:
    found = _predict(host(models=ON_DISK, waiting={QWEN: 4}, slots=4))
    assert found.queue_s == TURN_S / 4


@pytest.mark.parametrize(("waiting", "times"), [(0, 1), (2, 3), (3, 4), (5, 4)])
def test_all_who_wait_for_a_load_read_and_write_side_by_side_in_its_slots(
    waiting: int, times: int
) -> None:
    found = _predict(host(models=ON_DISK, waiting={QWEN: waiting}, slots=4))
    assert found.prefill_s - SENT_S == pytest.approx(times * (READ_S - SENT_S))
    assert found.write_s == pytest.approx(times * ASK.answer_tokens / 40)


@pytest.mark.parametrize(("waiting", "queue_s"), [({}, 0.0), ({QWEN: 1}, TURN_S)])
def test_a_single_slot_is_waited_for_behind_one_turn(
    waiting: dict[ModelKey, int], queue_s: float
) -> None:
    assert _predict(host(models=ON_DISK, waiting=waiting, slots=1)).queue_s == queue_s


# --- loads under way --------------------


def test_a_load_under_way_of_this_model_is_joined() -> None:
    load = LoadInFlight(QWEN, 0.75, NOW - 9.0, None, waiters=2)
    found = _predict(host(models=ON_DISK, load=load))
    assert found.load_s == pytest.approx(3.0)
    assert found.queue_s == 0
    assert found.reason == "loading now: ~3 s left"


@pytest.mark.parametrize(
    ("waiters", "waiting", "slots", "queue_s"),
    [
        (9, 0, 4, 6 * TURN_S / 4),
        (1, 9, 4, 6 * TURN_S / 4),
        (1, 0, 1, TURN_S),
        # Loaded by hand: nobody waits for it.
        (0, 0, 1, 0.0),
    ],
)
def test_who_waits_for_the_load_is_served_first(
    waiters: int, waiting: int, slots: int, queue_s: float
) -> None:
    load = LoadInFlight(QWEN, 0.75, NOW - 9.0, None, waiters)
    queue = {QWEN: waiting} if waiting else {}
    assert _predict(host(models=ON_DISK, load=load, waiting=queue, slots=slots)).queue_s == queue_s


def test_a_joined_load_without_progress_is_guessed_by_the_size_of_what_is_in_memory() -> None:
    held = instance(gb=6.0, context=4096)
    again = host(instances=[held], load=LoadInFlight(QWEN, 0.0, NOW, None))
    found = _predict(again, replace(ASK, min_context=6000))
    assert found.load_s == pytest.approx(6 * GB / LOAD_BYTES_PER_S)


def test_a_load_under_way_of_another_model_comes_first() -> None:
    load = LoadInFlight(GEMMA, 0.5, NOW - 10.0, None)
    found = _predict(host(models=ON_DISK, load=load, rate=1e9))
    assert found.queue_s == pytest.approx(10.0)
    assert found.load_s == 5.0
    assert found.reason == f"cold: load ~5 s (by size), after the load of {GEMMA}"


def test_loads_others_wait_for_come_first_too() -> None:
    waiting = {GEMMA: 2, ModelKey("gone"): 0, ModelKey("new"): 1}
    found = _predict(host(models=ON_DISK, waiting=waiting, rate=1e9))
    assert found.queue_s == pytest.approx(8.0 + LOAD_S)
    assert "after the load of google/gemma-3-12b, new" in found.reason


@pytest.mark.parametrize("waiters", [0, 1])
def test_a_load_under_way_takes_its_place_in_memory(waiters: int) -> None:
    load = LoadInFlight(GEMMA, 0.5, NOW - 10.0, None, waiters)
    found = _predict(host(models=ON_DISK, load=load, max_loaded=1, rate=1e9))
    # Of a model of 8 GB.
    assert found.queue_s == pytest.approx(10.0 + TURN_S * 8 / 5)
    assert [one.model_key for one in found.evicts] == [GEMMA]


@pytest.mark.parametrize(
    ("key", "more"),
    [(QWEN, {"is_stopping": True}), (GEMMA, {"is_stopping": True}), (GEMMA, {"is_guess": True})],
)
def test_a_load_that_is_given_up_is_neither_joined_nor_waited_for(
    key: ModelKey, more: dict[str, bool]
) -> None:
    load = LoadInFlight(key, 0.5, NOW - 10.0, None, **more)
    found = _predict(host(models=ON_DISK, load=load, max_loaded=1, rate=1e9))
    assert (found.queue_s, found.load_s, found.evicts) == (EVICT_S, 5.0, ())
    assert found.reason == "cold: load ~5 s (by size)"


@pytest.mark.parametrize(
    ("load", "left"),
    [
        # Between two reports it goes on as before; at most half of the rest, should it stand still.
        (LoadInFlight(QWEN, 0.2, NOW - 2.0, 99.0, told_at=NOW - 1.0), 3.0),
        (LoadInFlight(QWEN, 0.2, NOW - 3.0, 99.0, told_at=NOW - 2.0), 2.0),
        (LoadInFlight(QWEN, 0.2, NOW - 6.0, 99.0, told_at=NOW - 5.0), 4.0),
        (LoadInFlight(QWEN, 0.2, NOW - 5.0, 99.0, told_at=NOW - 1.0), 15.0),
        (LoadInFlight(QWEN, 0.2, NOW - 2.0, 99.0, told_at=NOW), 8.0),
        (LoadInFlight(QWEN, 0.2, NOW - 2.0, 99.0, told_at=NOW - 2.0), 8.0),
        (LoadInFlight(QWEN, 1.0, NOW - 2.0, 99.0, told_at=NOW - 1.0), 0.0),
        (LoadInFlight(QWEN, 0.5, NOW - 6.0, 99.0), 6.0),
        (LoadInFlight(QWEN, 0.1, NOW - 6.0, 99.0), 54.0),
        (LoadInFlight(QWEN, 0.01, NOW - 6.0, 10.0), 4.0),
        (LoadInFlight(QWEN, 0.0, NOW - 6.0, None), 14.0),
        (LoadInFlight(QWEN, 0.0, NOW - 60.0, 10.0), 1.0),
        (LoadInFlight(QWEN, 0.0, NOW - 60.0, 10.0, is_held=True), 10.0),
        (LoadInFlight(QWEN, 0.0, NOW + 5.0, 10.0), 10.0),
        (LoadInFlight(QWEN, 1.0, NOW - 6.0, 10.0), 0.0),
    ],
)
def test_the_rest_of_a_load_is_told_by_its_progress_or_else_by_history(
    load: LoadInFlight, left: float
) -> None:
    assert remaining_s(load, 20.0, NOW) == pytest.approx(left)


# --- contexts that are all the same --------------------


@pytest.mark.parametrize(
    ("needed", "at", "above", "up_to"),
    [
        (0, {}, -math.inf, 1),
        (1, {}, -math.inf, 1),
        (2, {}, 1, 2),
        (3, {}, 2, 4),
        (4096, {}, 2048, 4096),
        (5000, {}, 4096, 8192),
        (32_768, {}, 16_384, 32_768),
        # Beyond what the model can hold each token is told.
        (32_769, {}, 32_768, 32_769),
        (5000, {"limits": {QWEN: LoadLimits(most_context=6000)}}, 4096, 6000),
        (5000, {"limits": {QWEN: LoadLimits(usual_context=5000)}}, 4096, 5000),
        (6500, {"limits": {QWEN: LoadLimits(6800, 6000)}}, 6000, 6800),
        (5000, {"limits": {GEMMA: LoadLimits(6800, 6000)}}, 4096, 8192),
        (5000, {"instances": (instance(context=5500),)}, 4096, 5500),
        (5000, {"instances": (instance(context=4500), instance(GEMMA, context=5500))}, 4500, 8192),
        (5000, {"instances": (instance(context=None),)}, 4096, 8192),
    ],
)
def test_contexts_are_alike_between_two_steps_of_what_a_host_can_give(
    needed: int, at: Mapping[str, object], above: float, up_to: float
) -> None:
    found = contexts_alike(
        replace(host(models=ON_DISK), **at), QWEN, replace(ASK, min_context=needed)
    )
    assert found == (above, up_to)


def test_the_context_of_a_persona_is_a_step_too() -> None:
    ask = replace(ASK, min_context=5000, load=LoadSettings(context_length=4500))
    assert contexts_alike(host(models=ON_DISK), QWEN, ask) == (4500, 8192)


def test_of_a_host_that_sleeps_no_load_is_joined() -> None:
    load = LoadInFlight(QWEN, 0.75, NOW - 9.0, None)
    asleep = host(models=ON_DISK, state="asleep", load=load, rate=1e9)
    assert _predict(asleep).load_s == 5.0


# --- behind others --------------------


def test_a_model_that_makes_way_is_back_after_the_load_it_makes_way_for() -> None:
    copies = [
        replace(instance(leases=leases, identifier=f"q:{leases}"), is_kept_free=True)
        for leases in (1, 2, 0)
    ]
    load = LoadInFlight(GEMMA, 0.5, NOW - 10.0, None)
    found = _predict(
        host(models=ON_DISK, instances=copies, load=load, rate=1e9, speeds={QWEN: Speed(turn_s=6)})
    )
    # The second of two answers side by side takes half as long again.
    assert found.queue_s == pytest.approx(9.0 + 10.0)
    assert found.load_s == 5.0 + 2 * EVICT_S
    assert found.prefill_s == READ_S
    assert found.reason == f"makes way for another model, after the load of {GEMMA}"
    free = [*copies[:2], replace(copies[2], is_kept_free=False)]
    assert _predict(host(models=ON_DISK, instances=free)).load_s == 0.0


@pytest.mark.parametrize(
    ("where", "ahead", "turns"),
    [
        # Three wait for the one slot; who is behind one of them is two turns before the next.
        (host(models=ON_DISK, instances=[instance(leases=1)], waiting={QWEN: 3}, slots=1), 1, 2),
        (host(models=ON_DISK, waiting={QWEN: 3}, slots=1), 1, 2),
        (
            host(
                models=ON_DISK,
                waiting={QWEN: 3},
                load=LoadInFlight(QWEN, 0.5, NOW - 10.0, None, waiters=3),
                slots=1,
            ),
            1,
            2,
        ),
        # Whoever waits for another model's load is none of those before.
        (
            host(
                models=ON_DISK,
                waiting={QWEN: 3},
                load=LoadInFlight(GEMMA, 0.5, NOW - 10.0, None, waiters=9),
                slots=1,
            ),
            1,
            2,
        ),
        (host(models=ON_DISK, state="down", waiting={QWEN: 3}), 1, 0),
        # Larger than the host, with the context that was wished for.
        (host(models=ON_DISK, waiting={QWEN: 3}, slots=1, memory_gb=6), 1, 0),
    ],
)
def test_who_waits_is_ahead_of_whoever_asks_now_by_those_between(
    where: HostSnapshot, ahead: int, turns: float
) -> None:
    wish = Wish(QWEN, LoadSettings(context_length=32_768))
    measured = replace(where, speeds={QWEN: Speed(turn_s=6.0)})
    assert lead_s(measured, wish, ahead, NOW) == pytest.approx(turns * 6.0)


@given(fleets())
def test_nobody_who_waits_is_behind_whoever_asks_now(drawn: FleetSnapshot) -> None:
    for where in drawn.hosts.values():
        for key, waiting in where.waiting.items():
            # To go elsewhere is looked at closely only where a newcomer would go there.
            assert all(lead_s(where, Wish(key), ahead, NOW) >= 0 for ahead in range(waiting))


def test_who_waits_for_an_embedding_model_is_ahead_too() -> None:
    asked = host(
        models=[model(EMBED, 1, kind="embedding")],
        waiting={EMBED: 2},
        slots=1,
        speeds={EMBED: Speed(turn_s=6.0)},
    )
    assert lead_s(asked, Wish(EMBED), 0, NOW) == pytest.approx(12.0)


# --- refusals --------------------


@pytest.mark.parametrize(
    ("state", "reason", "words", "brief"),
    [
        ("down", "connection refused", "away: connection refused", "off"),
        ("down", "", "away", "off"),
        ("unknown", "", "not looked at yet", "not heard from yet"),
        ("draining", "", "draining: takes no new turns", "draining"),
    ],
)
def test_a_host_that_may_not_serve_says_why(
    state: HostState, reason: str, words: str, brief: str
) -> None:
    out = host("a", models=ON_DISK, state=state, reason=reason)
    verdict = predict_seconds(out, QWEN, ASK, NOW)
    assert verdict == Rejection(out.name, QWEN, words, brief=brief)


def test_a_model_the_host_does_not_have_is_said() -> None:
    assert _refusal(host(models=[model(GEMMA)], instances=[instance(GEMMA)])) == "not on this host"


def test_a_context_no_load_can_give_is_said() -> None:
    words = "its context window of 32,768 tokens is too small; 40,000 are needed"
    assert _refusal(host(models=ON_DISK), replace(ASK, min_context=40_000)) == words


@pytest.mark.parametrize(
    ("of", "ask", "brief"),
    [
        (host(models=[model(GEMMA)]), ASK, BRIEFLY[FailureKind.NOT_THERE]),
        (host(models=ON_DISK), replace(ASK, needs_vision=True), BLIND),
        (host(models=ON_DISK), replace(ASK, min_context=40_000), BRIEFLY[FailureKind.TOO_LONG]),
        (host(models=ON_DISK, memory_gb=1), ASK, BRIEFLY[FailureKind.DOES_NOT_FIT]),
        (
            replace(host(models=ON_DISK), limits={QWEN: LoadLimits(failed_until=NOW + 5)}),
            ASK,
            BRIEFLY[FailureKind.LOAD_FAILED],
        ),
    ],
)
def test_readers_are_told_briefly_why_a_host_is_out(
    of: HostSnapshot, ask: RouteAsk, brief: str
) -> None:
    verdict = predict_seconds(of, QWEN, ask, NOW)
    assert isinstance(verdict, Rejection)
    assert verdict.brief == brief


def test_images_need_a_model_that_sees() -> None:
    looking = replace(ASK, needs_vision=True)
    assert _refusal(host(models=ON_DISK), looking) == "cannot see images"
    assert _predict(host(models=[model(QWEN, vision=True)]), looking)
    assert _predict(host(models=[model(QWEN, kind="vlm")]), looking)


def test_an_embedding_model_cannot_chat_and_may_be_loaded_all_the_same() -> None:
    both = host(models=[model(EMBED, 1, kind="embedding"), model(QWEN)])
    by_hand = replace(ASK, is_chat=False)
    assert _refusal(both, key=EMBED) == "an embedding model cannot chat"
    assert _predict(both, by_hand, EMBED).standing is Standing.COLD
    assert _predict(both, by_hand, QWEN).standing is Standing.COLD


# --- properties --------------------


@given(fleets())
def test_predictions_are_never_negative_and_always_say_why(snapshot: FleetSnapshot) -> None:
    for one in snapshot.hosts.values():
        for key in (QWEN, GEMMA, EMBED):
            verdict = predict_seconds(one, key, ASK, NOW)
            assert verdict.reason
            if isinstance(verdict, Prediction):
                assert one.state in ("up", "asleep", "waking")
                assert min(verdict.queue_s, verdict.load_s, verdict.prefill_s) >= 0


@given(fleets())
def test_one_more_waiting_never_makes_an_answer_sooner(snapshot: FleetSnapshot) -> None:
    for one in snapshot.hosts.values():
        more = replace(one, waiting={**one.waiting, QWEN: one.waiting.get(QWEN, 0) + 1})
        before, after = (predict_seconds(h, QWEN, ASK, NOW) for h in (one, more))
        if isinstance(before, Prediction):
            assert isinstance(after, Prediction)
            assert after.seconds >= before.seconds


def test_a_copy_that_spilled_is_slower_by_as_much_and_says_so() -> None:
    as_usual = host("studio-1", [model(QWEN)], [instance(QWEN)])
    copy = replace(instance(QWEN), slowdown=6.0)
    ask = RouteAsk((QWEN,), prompt_tokens=2000)
    usual = predict_seconds(as_usual, QWEN, ask, NOW)
    spilled = predict_seconds(replace(as_usual, instances=(copy,)), QWEN, ask, NOW)
    assert isinstance(usual, Prediction)
    assert isinstance(spilled, Prediction)
    assert spilled.prefill_s - SENT_S == pytest.approx(6 * (usual.prefill_s - SENT_S))
    assert spilled.write_s == pytest.approx(6 * usual.write_s)
    assert spilled.reason == f"{usual.reason}, 6 times slower than usual"
    slower = replace(instance(QWEN), slowdown=2.0)
    found = predict_seconds(replace(as_usual, instances=(slower,)), QWEN, ask, NOW)
    assert isinstance(found, Prediction)
    assert found.reason == f"{usual.reason}, 2 times slower than usual"
    # Another copy that is as usual serves as usual.
    both = replace(as_usual, instances=(copy, instance(QWEN, identifier="other")))
    found = predict_seconds(both, QWEN, ask, NOW)
    assert isinstance(found, Prediction)
    assert found.prefill_s == usual.prefill_s


def test_a_host_that_tells_nothing_is_taken_to_do_so_for_as_long_again() -> None:
    busy = host(models=ON_DISK, instances=(instance(QWEN, leases=1),))
    silent = replace(busy, silent_since=NOW - 90.0)
    there, hushed = _predict(busy), _predict(silent)
    assert hushed.seconds == pytest.approx(there.seconds + 90.0)
    assert hushed.reason == f"silent for 90 s, {there.reason}"
    assert _refusal(silent, replace(ASK, needs_vision=True)) == "cannot see images"


def test_who_asks_now_is_sent_to_a_host_that_tells_of_itself() -> None:
    silent = host("one", models=ON_DISK, instances=(instance(QWEN, leases=1),))
    silent = replace(silent, silent_since=NOW - 60.0)
    cold = host("two", models=ON_DISK)
    assert [c.host for c in plan_route(fleet(silent, cold), ASK).candidates] == ["two", "one"]


def test_a_conversation_that_a_silent_host_has_read_is_told_with_its_silence() -> None:
    read = host(models=ON_DISK, instances=(replace(instance(QWEN), conversations=("here",)),))
    ask = replace(ASK, conversation="here", new_tokens=10)
    told = _predict(replace(read, silent_since=NOW - 7.0), ask).reason
    assert told == "silent for 7 s, in memory and idle, has read this conversation"
