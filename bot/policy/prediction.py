"""How soon one host could say the first word of an answer, in predicted seconds, and why."""

import math
from collections.abc import Sequence
from dataclasses import field, replace
from enum import IntEnum
from typing import Literal

from bot.domain.chat import Rejection
from bot.domain.errors import BRIEFLY, FailureKind
from bot.domain.hosts import HostSnapshot, Instance, LoadInFlight, Model, Speed, Wish
from bot.domain.ids import HostName, InstanceId, ModelKey, ProviderName
from bot.domain.personas import LoadSettings
from bot.domain.values import value
from bot.policy.fitness import sees
from bot.policy.placement import Hopeless, context_needed, place
from bot.policy.speeds import SENT_S, LoadBasis, expected_rates, load_seconds
from bot.policy.waking import wake_left_s

Strategy = Literal["prefer_local", "prefer_cloud", "cost_optimized", "quality_optimized"]

BLIND = "unable to see images"
"""For readers, as after "is"."""
EVICT_S = 0.5
"""Assumed for each unload."""
SHARED = 0.35
"""Assumed: each answer being written on the same instance slows the others by so much of a stream,
since llama.cpp batches them. A prompt being read and another instance take whole shares."""
USUAL_PROMPT = 500
"""Tokens to be read for one question, most of them follow-ups."""
USUAL_ANSWER = 240
"""Tokens; the mean of published chats."""
WRITE_WEIGHT = 0.1
"""A second of writing counts so much beside one before the first word, where hosts are compared:
a long answer is read as it comes."""
PROGRESS_TO_TRUST = 0.1
"""From here on a load's own progress predicts its end better than history does."""

_STATE_WORDS = {
    "unknown": ("not looked at yet", "not heard from yet"),
    "down": ("away", "off"),
    "draining": ("draining: takes no new turns", "draining"),
}
"""In full, and for readers."""
_NOTHING_MEASURED = Speed()


@value
class RouteAsk:
    """What one request needs of a host or provider."""

    models: tuple[ModelKey, ...]
    """In order of preference; ``AUTO`` stands for any."""
    min_context: int = 0
    """Tokens of transcript and answer together; 0 when anything will do."""
    prompt_tokens: int = 0
    answer_tokens: int = USUAL_ANSWER
    """That the answer is expected to have."""
    needs_vision: bool = False
    sticky_host: HostName | None = None
    """The host that served the conversation last: goes before its equals. Whether it still holds
    the words is for its instances to tell."""
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
    conversation: str = ""
    """As in ``Wish``."""
    new_tokens: int | None = None
    """Of the prompt, what comes after the last answer: all there is to read where the conversation
    was read before. None where nothing can have been read, or what was is not sent again."""
    is_chat: bool = True
    """False where the model is only to be loaded: then an embedding model will do too."""


class Standing(IntEnum):
    """How a model stands on a host, best first."""

    IDLE = 0
    BUSY = 1
    LOADING = 2
    COLD = 3


@value
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
    write_s: float = 0.0
    """Writing a usual answer then."""

    @property
    def seconds(self) -> float:
        """From now to the first token."""
        return self.queue_s + self.load_s + self.prefill_s


@value
class Outlook:
    """What a host could do for a model, whatever is asked: the same for prompts of every length.

    Kept while its host does not change, so that a new question costs a sum and no new judgement.
    """

    standing: Standing
    reason: str
    queue_s: float
    load_s: float
    """As in ``Prediction``."""
    read_s: float
    """Each token of the prompt."""
    write_s: float
    """Each token of the answer."""
    evicts: tuple[Instance, ...] = ()
    missed_s: float = 0.0
    """What others will miss by the evictions."""
    conversations: tuple[str, ...] = ()
    """Those its slots have read: of their prompts only what is new counts."""
    reason_read: str = ""
    """The reason for one of them."""

    def of(self, ask: RouteAsk) -> tuple[float, float, str]:
        """Seconds to the first token, what hosts are compared by, and why.

        They are compared also by what others will miss, and some of the writing.
        """
        tokens, reason = ask.prompt_tokens, self.reason
        if ask.conversation and ask.conversation in self.conversations:
            reason = self.reason_read
            tokens = tokens if ask.new_tokens is None else ask.new_tokens
        first_s = self.queue_s + self.load_s + SENT_S + self.read_s * tokens
        write_s = WRITE_WEIGHT * self.write_s * ask.answer_tokens
        return first_s, first_s + self.missed_s + write_s, reason


def predict_seconds(
    host: HostSnapshot, key: ModelKey, ask: RouteAsk, now: float
) -> Prediction | Rejection:
    """When this host could answer with this model, or why it cannot.

    Resident: the wait for a slot and reading the prompt. Cold: also the loads before, room being
    made, and the load itself.
    """
    found = outlook(host, key, ask, now)
    if isinstance(found, Rejection):
        return found
    prefill_s, _, reason = replace(found, queue_s=0.0, load_s=0.0).of(ask)
    write_s = found.write_s * ask.answer_tokens
    standing, queue_s, load_s = found.standing, found.queue_s, found.load_s
    return Prediction(queue_s, load_s, prefill_s, reason, standing, found.evicts, write_s)


def outlook(host: HostSnapshot, key: ModelKey, ask: RouteAsk, now: float) -> Outlook | Rejection:
    """What this host could do for this model, or why it cannot.

    Of the request only ``load``, ``min_context``, ``needs_vision`` and ``is_chat`` decide, and of
    the context no more than what ``contexts_alike`` tells apart.
    """
    if host.state != "up" or host.silent_since is not None:
        return _unheard(host, key, ask, now)
    model, limits = known_model(host, key), host.limits.get(key)
    if model is None:
        return Rejection(host.name, key, "not on this host", brief=BRIEFLY[FailureKind.NOT_THERE])
    if ask.is_chat and model.kind == "embedding":
        return Rejection(host.name, key, "an embedding model cannot chat")
    if ask.needs_vision and not sees(model):
        return Rejection(host.name, key, "cannot see images", brief=BLIND)
    copies = [instance for instance in host.instances if instance.model_key == key]
    most = model.max_context_length
    is_too_long = most is not None and most < ask.min_context
    if is_too_long and not any(_holds(copy, ask.min_context) for copy in copies):
        window = f"its context window of {most:,} tokens is too small"
        words = f"{window}; {ask.min_context:,} are needed"
        return Rejection(host.name, key, words, brief=BRIEFLY[FailureKind.TOO_LONG])
    # As the scheduler has it: a host that gave less than was asked for is taken at its word.
    needed = context_needed(host.models.get(key), limits, ask.min_context)
    usable = [copy for copy in copies if _holds(copy, needed)]
    if usable:
        if all([copy.is_kept_free for copy in usable]):
            return _making_way(host, model, usable, now)
        return _resident(host, model, usable, now)
    if limits is not None and now < limits.failed_until:
        words = f"failed to load it a moment ago: {limits.failure}"
        return Rejection(host.name, key, words, brief=BRIEFLY[FailureKind.LOAD_FAILED])
    # Of one that was cancelled nobody is served: it was told as nearly done to who asked anew.
    if host.load is not None and host.load.model_key == key and not host.load.is_stopping:
        return _joining(host, model, host.load, now)
    return _cold(host, model, copies, ask, now)


def contexts_alike(host: HostSnapshot, key: ModelKey, ask: RouteAsk) -> tuple[float, float]:
    """Above what context needed, and up to which, a host's outlook on a model is as for this one.

    Contexts are loaded in powers of two, of which the usual one is one. Beyond what the model can
    hold each token is told.
    """
    needed, limits, model = ask.min_context, host.limits.get(key), host.models.get(key)
    most = model.max_context_length if model is not None else None
    if most is not None and needed > most:
        return needed - 1, needed
    power = 1 << max(0, needed - 1).bit_length()
    above, up_to = (power >> 1 if power > 1 else -math.inf), power
    steps = [most, ask.load.context_length]
    if limits is not None:
        steps += (limits.most_context, limits.usual_context)
    for instance in host.instances:
        if instance.model_key == key:
            steps.append(instance.context_length)
    for step in steps:
        if step is not None and step < needed:
            above = max(above, step)
        elif step is not None:
            up_to = min(up_to, step)
    return above, up_to


def _unheard(host: HostSnapshot, key: ModelKey, ask: RouteAsk, now: float) -> Outlook | Rejection:
    """Of one that sleeps or is silent: when it could answer. Of any other: why it cannot."""
    if host.state == "up" and host.silent_since is not None:
        return _silent(host, now - host.silent_since, key, ask, now)
    wake_s = wake_left_s(host, now)
    if wake_s is None:
        words, brief = _STATE_WORDS[host.state]
        reason = f"{words}: {host.reason}" if host.reason else words
        return Rejection(host.name, key, reason, brief=brief)
    # What it held before it slept nobody knows.
    found = outlook(replace(host, state="up", instances=(), load=None), key, ask, now)
    if isinstance(found, Rejection):
        return found
    is_called = host.woken_at is not None
    words = f"waking: ~{_seconds(wake_s)} left" if is_called else f"asleep: ~{_seconds(wake_s)}"
    return replace(found, queue_s=found.queue_s + wake_s, reason=f"{words}, {found.reason}")


def _silent(
    host: HostSnapshot, silent_s: float, key: ModelKey, ask: RouteAsk, now: float
) -> Outlook | Rejection:
    """Of a host at work that tells nothing: for as long again as it has told nothing.

    It may read a long prompt, or hang: nobody can tell, and either way who comes now waits for it.
    New questions once went to one that had frozen five minutes before, as "in memory".
    """
    found = outlook(replace(host, silent_since=None), key, ask, now)
    if isinstance(found, Rejection):
        return found
    words = f"silent for {_seconds(silent_s)}, "
    return replace(
        found,
        queue_s=found.queue_s + silent_s,
        reason=words + found.reason,
        reason_read=words + (found.reason_read or found.reason),
    )


def predict_load_s(host: HostSnapshot, model: Model) -> tuple[float, LoadBasis]:
    """Seconds one load takes, and what that rests on."""
    measured_s = _speed(host, model.key).load_s
    return load_seconds(measured_s, host.load_bytes_per_s, model.size_bytes)


def usual_s(rates: tuple[float, float]) -> float:
    """What a usual question costs its asker on a host that reads and writes so, with no other."""
    return USUAL_PROMPT / rates[0] + WRITE_WEIGHT * USUAL_ANSWER / rates[1]


def lead_s(host: HostSnapshot, wish: Wish, ahead: int, now: float) -> float:
    """Seconds by which one who waits behind ``ahead`` others is before whoever asks now."""
    key, load = wish.model_key, host.load
    ask = RouteAsk((key,), wish.min_context, wish.min_context, load=wish.load, is_chat=False)
    if load is not None and load.model_key == key:
        load = replace(load, waiters=min(load.waiters, ahead))
    here = replace(host, waiting={**host.waiting, key: ahead}, load=load)
    new, old = (predict_seconds(one, key, ask, now) for one in (host, here))
    if isinstance(new, Rejection) or isinstance(old, Rejection):
        return 0.0
    return new.seconds - old.seconds


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
    elapsed, fraction = max(0.0, now - load.started_at), load.fraction
    if fraction >= PROGRESS_TO_TRUST:
        told_s = elapsed if load.told_at is None else load.told_at - load.started_at
        if 0.0 < told_s < elapsed:
            # Hosts report a step at a time. Held to the step before, a load seemed to take longer
            # the longer it went on, and all who waited left it for one begun anew elsewhere. Of
            # one that stands still no more than half of the rest is taken to be done.
            fraction = min(fraction * elapsed / told_s, (1.0 + fraction) / 2)
        return elapsed * (1.0 - fraction) / fraction
    expected = guess_s if load.expected_s is None else load.expected_s
    # Overdue without progress: it is not done yet, so never predict "now".
    return max(1.0, expected - (0.0 if load.is_held else elapsed))


def _resident(host: HostSnapshot, model: Model, usable: Sequence[Instance], now: float) -> Outlook:
    leases = slots = reading = 0
    spilled, conversations = math.inf, ()
    for copy in usable:
        leases += copy.leases
        slots += max(1, copy.parallel or host.slots)
        reading += copy.reading
        spilled = min(spilled, copy.slowdown)
        conversations += copy.conversations
    # Those waiting get their slots before whoever is still being routed.
    waiting, read = host.waiting.get(model.key, 0), ""
    if waiting:
        words = f"busy: {waiting} waiting"
    elif leases >= slots:
        words = f"busy: all {slots} slots taken" if slots > 1 else "busy: its one slot is taken"
    else:
        words = f"in memory, {leases} of {slots} slots taken" if leases else "in memory and idle"
        read = ", has read this conversation"
    rates = expected_rates(host, model)
    # Whoever waits for a slot begins beside others who have theirs.
    beside = min(leases, slots - 1)
    reading = min(reading, beside)
    more = f", {spilled:.0f} times slower than usual" if spilled > 1.0 else ""
    slow = spilled * _slowdown(host, model.key, reading, beside - reading)
    standing = Standing.BUSY if leases + waiting else Standing.IDLE
    turn_s = _turn_s(host, model.key, rates)
    since = [at for copy in usable for at in copy.answers_since]
    # Of those that nobody knows the beginning of any may have begun just now.
    ran_s = now - max(since) if len(since) >= leases > 0 else 0.0
    queue_s = _queue_s(leases + waiting, slots, turn_s, ran_s)
    read_s, write_s, told = slow / rates[0], slow / rates[1], (words + more, words + read + more)
    return Outlook(
        standing, told[0], queue_s, 0.0, read_s, write_s, (), 0.0, conversations, told[1]
    )


def _making_way(
    host: HostSnapshot, model: Model, usable: Sequence[Instance], now: float
) -> Outlook:
    """Of a model that leaves once those it answers are done: others' loads, then its own again."""
    own_s = predict_load_s(host, model)[0] + 2 * EVICT_S
    before_s, before = _loads_before(host, model.key, now)
    rests_s = max(_rests_in_s(host, copy) for copy in usable)
    reason = ", ".join(("makes way for another model", *before))
    waiting = host.waiting.get(model.key, 0)
    return _loaded(host, model, waiting, rests_s + before_s, own_s, reason)


def _joining(host: HostSnapshot, model: Model, load: LoadInFlight, now: float) -> Outlook:
    left_s = remaining_s(load, predict_load_s(host, model)[0], now)
    # Not the sum: those the load will serve are among those waiting.
    ahead = max(load.waiters, host.waiting.get(model.key, 0))
    words = f"loading now: ~{_seconds(left_s)} left"
    return replace(_loaded(host, model, ahead, 0.0, left_s, words), standing=Standing.LOADING)


def _loaded(
    host: HostSnapshot,
    model: Model,
    ahead: int,
    queue_s: float,
    load_s: float,
    reason: str,
    evicts: tuple[Instance, ...] = (),
) -> Outlook:
    """A load with what comes after: ``ahead`` others who wait for it too, reading, writing."""
    rates, slots = expected_rates(host, model), max(1, host.slots)
    # All who wait for a load begin at its end, and read side by side.
    slow = _slowdown(host, model.key, min(ahead, slots - 1), 0)
    queue_s += _queue_s(ahead, slots, _turn_s(host, model.key, rates), 0.0)
    missed_s = sum([instance.missed_s for instance in evicts])
    read_s, write_s = slow / rates[0], slow / rates[1]
    return Outlook(Standing.COLD, reason, queue_s, load_s, read_s, write_s, evicts, missed_s)


def _cold(
    host: HostSnapshot, model: Model, copies: Sequence[Instance], ask: RouteAsk, now: float
) -> Outlook | Rejection:
    there = host.instances
    if host.load is not None and not _is_given_up(host.load):
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
    # They work side by side: the slowest decides.
    leases_s = max([0.0, *[_rests_in_s(host, busy) for busy in placed.waits_for]])
    head = "cold: load"
    if copies:
        largest = max(copy.context_length or 0 for copy in copies)
        head = f"in memory with too small a context ({largest:,} tokens): loads again"
    steps = [f"{head} ~{_seconds(own_s)} ({basis})", *before, placed.reason]
    # What is in use now leaves as well, once it has come to rest.
    evicts, waiting = placed.evict + placed.waits_for, host.waiting.get(model.key, 0)
    load_s, reason = own_s + EVICT_S * len(evicts), ", ".join(filter(None, steps))
    return _loaded(host, model, waiting, before_s + leases_s, load_s, reason, evicts)


def _loads_before(host: HostSnapshot, key: ModelKey, now: float) -> tuple[float, list[str]]:
    """Seconds of loads that come first, since a host loads one model at a time, and their names."""
    seconds = 0.0
    before: list[ModelKey] = []
    if host.load is not None and _is_given_up(host.load):
        seconds += EVICT_S
    elif host.load is not None:
        before.append(host.load.model_key)
        seconds += remaining_s(host.load, _guess_s(host, host.load.model_key), now)
    # Who waits for a model in memory needs no load, and who waits for this one shares it.
    here = {instance.model_key for instance in host.instances} | {key, *before}
    for other, waiting in host.waiting.items():
        if waiting and other not in here:
            before.append(other)
            seconds += _guess_s(host, other)
    return seconds, [f"after the load of {', '.join(before)}"] if before else []


def _is_given_up(load: LoadInFlight) -> bool:
    # A guess is given up for whoever asks.
    return load.is_guess or load.is_stopping


def _guess_s(host: HostSnapshot, key: ModelKey) -> float:
    return predict_load_s(host, host.models.get(key) or Model(key))[0]


def _holds(instance: Instance, min_context: int) -> bool:
    """A context the host does not tell counts as large enough; the host refuses if it is not."""
    return instance.context_length is None or instance.context_length >= min_context


def _queue_s(ahead: int, slots: int, turn_s: float, ran_s: float) -> float:
    """Seconds until one of the slots is free for the next after ``ahead`` others.

    ``ran_s`` is how long the newest of the answers there has been running.
    """
    if ahead < slots:
        return 0.0
    return (answer_left_s(turn_s, ran_s) + (ahead - slots) * turn_s) / slots


def answer_left_s(turn_s: float, ran_s: float) -> float:
    """How much longer an answer holds its slot that has held it for so long.

    How long it went on says little of how much is left: half of what it ran is taken off the usual,
    until it has outlasted that; then it goes on for half as long again. One of 33 s was foretold to
    be over in 0.2 s as long as it ran, and who waited for it never went elsewhere.
    """
    return max(turn_s - ran_s / 2, ran_s / 2)


def seconds_in_line(
    position: int, running_s: Sequence[float], slots: int, turn_s: float | None
) -> float | None:
    """Seconds until the slot of a place in the line, from who is really ahead; None when unknown.

    Args:
        position: 1 is next.
        running_s: How long each answer there has been running.
        slots: Answers at once.
        turn_s: How long one answer holds its slot here, when measured.
    """
    if turn_s is None or slots <= 0:
        return None
    # "0.2 s left" was said for 7.9 s because nobody looked at who was answering.
    free_at = sorted(answer_left_s(turn_s, ran_s) for ran_s in running_s)
    free_at = [0.0] * (slots - len(free_at)) + free_at[-slots:]
    for _ in range(position - 1):
        free_at.append(free_at.pop(0) + turn_s)
        free_at.sort()
    # In whole seconds: the pulse tells each change, and no face shows more.
    return float(math.ceil(free_at[0]))


def _slowdown(host: HostSnapshot, key: ModelKey, reading: int, writing: int) -> float:
    """How many times as long reading takes as alone, beside so many others of its model."""
    others = len([1 for i in host.instances if i.leases and i.model_key != key])
    return (1 + others) * (1.0 + reading + SHARED * writing)


def _turn_s(host: HostSnapshot, key: ModelKey, rates: tuple[float, float]) -> float:
    """How long one answer holds its slot; from the rates while none was measured."""
    measured = _speed(host, key).turn_s
    return USUAL_PROMPT / rates[0] + USUAL_ANSWER / rates[1] if measured is None else measured


def _rests_in_s(host: HostSnapshot, instance: Instance) -> float:
    """Seconds until all who use an instance are done: the longest of so many answers.

    However long they have been running: with what is left of them who waited for a swap left it for
    one begun anew elsewhere, and in played evenings all waited longer (1.75 s, not 1.66 s).
    """
    key = instance.model_key
    turn_s = _turn_s(host, key, expected_rates(host, host.models.get(key) or Model(key)))
    return turn_s * sum(1.0 / n for n in range(1, instance.leases + 1))


def _speed(host: HostSnapshot, key: ModelKey) -> Speed:
    return host.speeds.get(key, _NOTHING_MEASURED)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
