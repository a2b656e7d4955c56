"""How soon one host could say the first word of an answer, in predicted seconds, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Literal

from bot.domain.chat import Rejection
from bot.domain.errors import BRIEFLY, FailureKind
from bot.domain.hosts import HostSnapshot, Instance, LoadInFlight, Model, Speed, Wish
from bot.domain.ids import HostName, InstanceId, ModelKey, ProviderName
from bot.domain.personas import LoadSettings
from bot.policy.placement import Hopeless, context_needed, place
from bot.policy.waking import wake_left_s

Strategy = Literal["prefer_local", "prefer_cloud", "cost_optimized", "quality_optimized"]

BLIND = "unable to see images"
"""For readers, as after "is"."""
LOAD_BYTES_PER_S = 1.2e9
"""Assumed until a host was measured; LM Studio's own example loads 12 GB in 9.1 s."""
LOAD_S = 20.0
"""Assumed where not even the size is known."""
EVICT_S = 1.0
"""Assumed for each unload."""
PREFILL_TOKENS_PER_S = 500.0
"""Assumed until measured."""
TURN_S = 15.0
"""How long one answer is assumed to hold its slot until measured."""
SHARED_PREFILL = 0.5
"""Assumed: each answer running beside slows reading by half its own time."""
STICKY_PREFILL = 0.15
"""Part of the prompt still to be read where the host holds the prefix: the newest messages."""
PROGRESS_TO_TRUST = 0.1
"""From here on a load's own progress predicts its end better than history does."""

_STATE_WORDS = {
    "unknown": ("not probed yet", "not heard from yet"),
    "down": ("away", "off"),
    "draining": ("draining: takes no new turns", "resting"),
}
"""In full, and for readers."""
_NOTHING_MEASURED = Speed()


@dataclass(frozen=True, slots=True)
class RouteAsk:
    """What one request needs of a host or provider."""

    models: tuple[ModelKey, ...]
    """In order of preference; ``AUTO`` stands for any."""
    min_context: int = 0
    """Tokens of transcript and answer together; 0 when anything will do."""
    prompt_tokens: int = 0
    needs_vision: bool = False
    sticky_host: HostName | None = None
    """The host that served the conversation last and may hold its prefix."""
    max_wait_s: float | None = None
    """A longer predicted wait counts as "cannot serve" where a provider may step in."""
    local_only: bool = False
    cloud: tuple[ProviderName, ...] = ()
    """Providers that may be used, in order."""
    strategy: Strategy = "prefer_local"
    first: ProviderName | None = None
    """Was chosen by name: goes before everybody else, whatever the strategy."""
    order: tuple[str, ...] | None = None
    """A request type's own order of provider names and ``local``; overrides the strategy."""
    load: LoadSettings = field(default_factory=LoadSettings)
    is_chat: bool = True
    """False where the model is only to be loaded: then an embedding model will do too."""


class Standing(IntEnum):
    """How a model stands on a host, best first."""

    IDLE = 0
    BUSY = 1
    COLD = 2


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted seconds to the first token on one host, split into what they are spent on."""

    queue_s: float
    load_s: float
    """Loading, with evictions before it; 0 when resident."""
    prefill_s: float
    reason: str
    standing: Standing
    evicts: tuple[Instance, ...] = ()
    """What must leave memory first."""

    @property
    def seconds(self) -> float:
        """From now to the first token."""
        return self.queue_s + self.load_s + self.prefill_s


def predict_seconds(
    host: HostSnapshot, key: ModelKey, ask: RouteAsk, now: float
) -> Prediction | Rejection:
    """When this host could answer with this model, or why it cannot.

    Resident: the wait for a slot and reading the prompt. Cold: also the loads before, room being
    made, and the load itself.
    """
    if not host.is_serving:
        return _not_up(host, key, ask, now)
    model = known_model(host, key)
    if model is None:
        return Rejection(host.name, key, "not on this host", brief=BRIEFLY[FailureKind.NOT_THERE])
    if ask.is_chat and model.kind == "embedding":
        return Rejection(host.name, key, "an embedding model cannot chat")
    if ask.needs_vision and not (model.vision or model.kind == "vlm"):
        return Rejection(host.name, key, "cannot see images", brief=BLIND)
    copies = [instance for instance in host.instances if instance.model_key == key]
    most = model.max_context_length
    is_too_long = most is not None and most < ask.min_context
    if is_too_long and not any(_holds(copy, ask.min_context) for copy in copies):
        window = f"its context window of {most:,} tokens is too small"
        words = f"{window}; {ask.min_context:,} are needed"
        return Rejection(host.name, key, words, brief=BRIEFLY[FailureKind.TOO_LONG])
    # As the scheduler has it: a host that gave less than was asked for is taken at its word.
    needed = context_needed(host.models.get(key), host.limits.get(key), ask.min_context)
    usable = [copy for copy in copies if _holds(copy, needed)]
    if usable:
        return _resident(host, key, usable, ask)
    if host.load is not None and host.load.model_key == key:
        return _joining(host, model, host.load, ask, now)
    return _cold(host, model, copies, ask, now)


def _not_up(host: HostSnapshot, key: ModelKey, ask: RouteAsk, now: float) -> Prediction | Rejection:
    """Of a host that sleeps: when it could answer, woken for this. Of any other: why it cannot."""
    wake_s = wake_left_s(host, now)
    if wake_s is None:
        words, brief = _STATE_WORDS[host.state]
        reason = f"{words}: {host.reason}" if host.reason else words
        return Rejection(host.name, key, reason, brief=brief)
    # What it held before it slept nobody knows.
    awake = replace(host, state="up", instances=(), load=None)
    found = predict_seconds(awake, key, ask, now)
    if isinstance(found, Rejection):
        return found
    is_called = host.woken_at is not None
    words = f"waking: ~{_seconds(wake_s)} left" if is_called else f"asleep: ~{_seconds(wake_s)}"
    return replace(found, queue_s=found.queue_s + wake_s, reason=f"{words}, {found.reason}")


def predict_load_s(host: HostSnapshot, model: Model) -> tuple[float, str]:
    """Seconds one load takes, and what that rests on."""
    measured = _speed(host, model.key).load_s
    if measured is not None:
        return measured, "measured"
    if model.size_bytes is None:
        return LOAD_S, "a guess"
    if host.load_bytes_per_s:
        return model.size_bytes / host.load_bytes_per_s, "by size"
    return model.size_bytes / LOAD_BYTES_PER_S, "a guess by size"


def known_model(host: HostSnapshot, key: ModelKey) -> Model | None:
    """The model as this host knows it, be it only as somebody's instance in memory."""
    if (model := host.models.get(key)) is not None:
        return model
    for instance in host.instances:
        if instance.model_key == key:
            # Some interfaces list nothing but the memory; what is loaded there can answer.
            return Model(key, instance.kind, size_bytes=instance.size_bytes)
    return None


def remaining_s(load: LoadInFlight, guess_s: float, now: float) -> float:
    """Seconds until a load under way is done, from its progress, else from the expectation."""
    elapsed = max(0.0, now - load.started_at)
    if load.fraction >= PROGRESS_TO_TRUST:
        return elapsed * (1.0 - load.fraction) / load.fraction
    expected = guess_s if load.expected_s is None else load.expected_s
    # Overdue without progress: it is not done yet, so never predict "now".
    return max(1.0, expected - elapsed)


def _resident(
    host: HostSnapshot, key: ModelKey, usable: Sequence[Instance], ask: RouteAsk
) -> Prediction:
    leases = sum(instance.leases for instance in usable)
    slots = sum(max(1, instance.parallel or host.slots) for instance in usable)
    # Those waiting get their slots before whoever is still being routed.
    waiting = host.waiting.get(key, 0)
    speed = _speed(host, key)
    is_sticky = ask.sticky_host == host.name
    prefill_s = _prefill_s(speed, ask) * (1.0 + SHARED_PREFILL * min(leases, slots))
    if waiting:
        words = f"busy: {waiting} waiting"
    elif leases >= slots:
        words = f"busy: all {slots} slots taken"
    else:
        words = f"in memory, {leases} of {slots} slots taken" if leases else "in memory and idle"
        words += ", has read this conversation" if is_sticky else ""
    return Prediction(
        queue_s=_queue_s(leases + waiting, slots, speed),
        load_s=0.0,
        prefill_s=prefill_s * (STICKY_PREFILL if is_sticky else 1.0),
        reason=words,
        standing=Standing.BUSY if leases + waiting else Standing.IDLE,
    )


def _joining(
    host: HostSnapshot, model: Model, load: LoadInFlight, ask: RouteAsk, now: float
) -> Prediction:
    left_s = remaining_s(load, predict_load_s(host, model)[0], now)
    speed = _speed(host, model.key)
    # Not the sum: those the load will serve are among those waiting.
    ahead = max(load.waiters, host.waiting.get(model.key, 0))
    return Prediction(
        queue_s=_queue_s(ahead, max(1, host.slots), speed),
        load_s=left_s,
        prefill_s=_prefill_s(speed, ask),
        reason=f"loading now: ~{_seconds(left_s)} left",
        standing=Standing.COLD,
    )


def _cold(
    host: HostSnapshot, model: Model, copies: Sequence[Instance], ask: RouteAsk, now: float
) -> Prediction | Rejection:
    there = host.instances
    if host.load is not None:
        # What is being loaded takes its place in memory, and whoever waits for it uses it first.
        load, identifier = host.load, InstanceId(f"{host.load.model_key} (loading)")
        leases = max(1, load.waiters)
        there = (*there, Instance(identifier, load.model_key, own=True, leases=leases))
    placed = place(host, [Wish(model.key, ask.load, ask.min_context)], there, now)
    if isinstance(placed, Hopeless):
        is_size = placed.kind is FailureKind.DOES_NOT_FIT
        why = f"does not fit: {placed.reason}" if is_size else placed.reason
        return Rejection(host.name, model.key, why, brief=BRIEFLY[placed.kind])
    own_s, basis = predict_load_s(host, model)
    before_s, before = _loads_before(host, model.key, now)
    speed = _speed(host, model.key)
    waiting = host.waiting.get(model.key, 0)
    # They work side by side: the slowest decides.
    busy = (_speed(host, instance.model_key) for instance in placed.waits_for)
    leases_s = max(map(_turn_s, busy), default=0.0)
    head = "cold: load"
    if copies:
        largest = max(copy.context_length or 0 for copy in copies)
        head = f"in memory with too small a context ({largest:,} tokens): loads again"
    steps = [f"{head} ~{_seconds(own_s)} ({basis})", *before, placed.reason]
    # What is in use now leaves as well, once it has come to rest.
    evicts = placed.evict + placed.waits_for
    return Prediction(
        queue_s=before_s + leases_s + _queue_s(waiting, max(1, host.slots), speed),
        load_s=own_s + EVICT_S * len(evicts),
        prefill_s=_prefill_s(speed, ask),
        reason=", ".join(filter(None, steps)),
        standing=Standing.COLD,
        evicts=evicts,
    )


def _loads_before(host: HostSnapshot, key: ModelKey, now: float) -> tuple[float, list[str]]:
    """Seconds of loads that come first, since a host loads one model at a time, and their names."""
    seconds = 0.0
    before: list[ModelKey] = []
    if host.load is not None:
        before.append(host.load.model_key)
        seconds += remaining_s(host.load, _guess_s(host, host.load.model_key), now)
    # Who waits for a model in memory needs no load, and who waits for this one shares it.
    here = {instance.model_key for instance in host.instances} | {key, *before}
    for other, waiting in host.waiting.items():
        if waiting and other not in here:
            before.append(other)
            seconds += _guess_s(host, other)
    return seconds, [f"after the load of {', '.join(before)}"] if before else []


def _guess_s(host: HostSnapshot, key: ModelKey) -> float:
    return predict_load_s(host, host.models.get(key) or Model(key))[0]


def _holds(instance: Instance, min_context: int) -> bool:
    """A context the host does not tell counts as large enough; the host refuses if it is not."""
    return instance.context_length is None or instance.context_length >= min_context


def _queue_s(ahead: int, slots: int, speed: Speed) -> float:
    """Seconds until one of the slots is free for the next after ``ahead`` others."""
    return max(0, ahead - slots + 1) * _turn_s(speed) / slots


def _prefill_s(speed: Speed, ask: RouteAsk) -> float:
    return ask.prompt_tokens / (speed.prefill_tokens_per_s or PREFILL_TOKENS_PER_S)


def _turn_s(speed: Speed) -> float:
    return TURN_S if speed.turn_s is None else speed.turn_s


def _speed(host: HostSnapshot, key: ModelKey) -> Speed:
    return host.speeds.get(key, _NOTHING_MEASURED)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
