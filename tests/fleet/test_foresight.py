"""Routing predicts what a host will do; its scheduler does it. One decides as the other did."""

from dataclasses import dataclass

import pytest
from histories import examples
from hypothesis import given
from hypothesis import strategies as st
from scheduler_playbook import Playbook, model

from bot.domain.chat import Rejection
from bot.domain.errors import FailureKind
from bot.domain.hosts import Report
from bot.domain.ids import ModelKey
from bot.policy.prediction import Prediction, RouteAsk, Standing, predict_seconds

KEYS = ("one", "two", "three")
_KEY = st.sampled_from(KEYS)
_CONTEXT = st.sampled_from((0, 3000, 9000, 20_000))


@dataclass(frozen=True)
class Step:
    """Something that happened on the host before."""

    what: str
    key: str
    context: int
    number: int


_STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(
            ("use", "hold", "shrink", "refuse", "foreign", "pin", "stay", "vanish", "erase")
        ),
        _KEY,
        _CONTEXT,
        st.integers(0, 30),
    ),
    max_size=8,
)


def settle(play: Playbook, shrink: bool = False, refuse: bool = False, stays: bool = False) -> None:
    """Lets the host finish all it was told."""
    while play.loading is not None or play.leaving:
        if play.leaving:
            play.unloaded(stays=stays)
            stays = False
        elif refuse:
            refuse = False
            play.load_refused()
        else:
            play.loaded(context=2048 if shrink else None, seconds=1)


def happen(play: Playbook, step: Step, who: str) -> None:
    match step.what:
        case "foreign":
            play.appears(step.key)
            play.up()
        case "pin":
            if any(i.model_key == step.key for i in play.scheduler.snapshot().instances):
                play.pin(step.key)
        case "vanish":
            if play.memory:
                play.vanishes(sorted(play.memory)[step.number % len(play.memory)])
            play.up()
        case "erase":
            play.disk = {key: entry for key, entry in play.disk.items() if key != step.key}
            play.up()
        case _:
            play.ask(who, step.key, context=step.context)
            settle(play, step.what == "shrink", step.what == "refuse", step.what == "stay")
            if step.what != "hold":
                play.leave(who)
                settle(play)
    play.after(step.number)


def predicted(play: Playbook, key: str, context: int) -> tuple[str, ...]:
    """What routing says that the host will do."""
    host = play.scheduler.snapshot()
    found = predict_seconds(host, ModelKey(key), RouteAsk((ModelKey(key),), context), play.now)
    match found:
        case Rejection():
            return ("refuse",)
        case Prediction(standing=Standing.COLD, evicts=evicts):
            if any(i.leases or play.now < i.spared_until for i in evicts):
                return ("wait",)
            return tuple(f"unload {i.identifier}" for i in evicts) or (f"load {key}",)
        case Prediction(queue_s=queue_s):
            return ("wait",) if queue_s else ("grant",)


def done(play: Playbook, key: str, context: int) -> tuple[str, ...]:
    """What the host does."""
    decided = play.ask("asker", key, context=context)
    words = [" ".join(word.split()[:2]) for word in decided]
    return tuple("grant" if w.startswith("grant") else "refuse" if w.startswith("refuse") else w
                 for w in words) or ("wait",)  # fmt: skip


@pytest.mark.slow
@examples(100)
@given(
    _STEPS,
    _KEY,
    _CONTEXT,
    st.sampled_from((None, 12.0, 27.0, 45.0)),
    st.sampled_from((None, 1, 2)),
    st.booleans(),
)
def test_what_routing_predicts_of_a_host_at_rest_is_what_its_scheduler_does(
    steps: list[Step],
    key: str,
    context: int,
    memory_gb: float | None,
    max_loaded: int | None,
    evict_foreign: bool,
) -> None:
    play = Playbook(
        model("one", gb=10), model("two", gb=20, window=16_384), model("three", gb=3, window=None),
        memory_gb=memory_gb, max_loaded=max_loaded, evict_foreign=evict_foreign,
    )  # fmt: skip
    play.up()
    for number, step in enumerate(steps):
        happen(play, step, f"w{number}")
    snapshot = play.scheduler.snapshot()
    if snapshot.waiting or snapshot.load is not None:
        # Somebody waits for an instance in use: not a host at rest.
        return
    window = snapshot.models.get(ModelKey(key))
    most = window.max_context_length if window else None
    if most is not None and most < context:
        # Routing sends a transcript too long for the model elsewhere before it asks for room.
        return
    assert predicted(play, key, context) == done(play, key, context)


def test_an_instance_that_would_not_leave_is_waited_for_by_both() -> None:
    play = Playbook("one", "two", max_loaded=1)
    play.up()
    play.ask("ada", "one")
    play.loaded()
    play.leave("ada")
    play.ask("bob", "two")
    play.unloaded(stays=True)
    play.leave("bob")
    assert predicted(play, "two", 0) == ("wait",) == done(play, "two", 0)
    play.leave("asker")
    play.after(10)
    assert predicted(play, "two", 0) == ("unload one",) == done(play, "two", 0)


def test_a_host_that_gave_less_context_is_taken_at_its_word_by_both() -> None:
    play = Playbook("one")
    play.up()
    play.ask("ada", "one", context=9000)
    play.loaded(context=8192)
    play.leave("ada")
    assert predicted(play, "one", 9000) == ("grant",) == done(play, "one", 9000)


def test_a_model_known_only_from_memory_is_loaded_by_neither() -> None:
    play = Playbook()
    play.appears("one")
    play.read(play.scheduler.on_probed(play.now, Report("SDK socket", residents=play.listed())))
    assert predicted(play, "one", 9000) == ("refuse",) == done(play, "one", 9000)
    assert play.refused["asker"].args == ("studio does not have `one`.",)
    assert getattr(play.refused["asker"], "kind", None) is FailureKind.NOT_THERE
