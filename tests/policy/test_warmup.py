"""A guess takes nothing of anybody: what keeps a model from being loaded before it is asked for."""

from dataclasses import replace

import pytest
from policy_builders import GEMMA, NOW, QWEN, host, instance, model

from bot.domain.hosts import HostSnapshot, LoadInFlight, Wish
from bot.domain.personas import LoadSettings
from bot.policy.warmup import may_warm_up

GB = 10**9
DISK = (model(QWEN), model(GEMMA))
ROOMY = replace(host("one", DISK), memory_bytes=500 * GB)
RESTING = instance(GEMMA)


def test_a_host_at_rest_with_room_is_warmed_up() -> None:
    assert may_warm_up(ROOMY, Wish(QWEN), NOW)
    assert may_warm_up(replace(ROOMY, instances=(RESTING,)), Wish(QWEN), NOW)
    assert may_warm_up(replace(ROOMY, waiting={GEMMA: 0}), Wish(QWEN), NOW)


@pytest.mark.parametrize(
    "other",
    [
        replace(ROOMY, state="down"),
        replace(ROOMY, state="draining"),
        replace(ROOMY, state="asleep"),
        replace(ROOMY, load=LoadInFlight(GEMMA, 0.5, NOW, None)),
        replace(ROOMY, load=LoadInFlight(QWEN, 0.5, NOW, None)),
        replace(ROOMY, waiting={GEMMA: 1}),
        replace(ROOMY, instances=(instance(QWEN),)),
        replace(ROOMY, instances=(replace(RESTING, leases=1),)),
        # Even what has rested for long stays.
        replace(ROOMY, instances=(RESTING,), max_loaded=1),
        replace(ROOMY, memory_bytes=1 * GB),
        replace(ROOMY, models={GEMMA: model(GEMMA)}),
    ],
    ids=["down", "drains", "asleep", "loads", "loads it", "somebody waits", "has it", "answers",
         "must evict", "too small", "has it not"],
)  # fmt: skip
def test_in_anybodys_way_nothing_is_loaded(other: HostSnapshot) -> None:
    assert not may_warm_up(other, Wish(QWEN), NOW)


@pytest.mark.parametrize(("context", "has_room"), [(None, True), (32_768, False)])
def test_there_is_room_as_it_would_be_loaded(context: int | None, has_room: bool) -> None:
    wish = Wish(QWEN, LoadSettings(context_length=context))
    assert may_warm_up(replace(ROOMY, memory_bytes=7 * GB), wish, NOW) is has_room
