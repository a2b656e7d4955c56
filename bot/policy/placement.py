"""Does a load fit on a host, and what leaves memory? The one place where an eviction is decided.

``place`` is asked by routing, to predict, and by the host's scheduler, to act: both give it the
host's snapshot and what is in memory, so that a host is never refused for what it would have done.

0. Nothing is loaded where Lantern has no word for it, whatever leaves.
1. Own idle copies of the same model leave first: they were outgrown, or nobody would load another.
2. The load fits beside the rest: it may start.
3. It fits once the idle instances that will be missed least have left: those, and no more than
   needed; of equals the least recently used. Within a tenth of the memory the host decides; what it
   was seen to hold together fits, and what it refused together does not.
4. It would fit if those in use were at rest: it waits for them.
5. Neither: it never fits, and says what is in the way.
6. Where the host itself refused what should have fitted, so much more leaves as the model takes.
   Where those at rest free neither that nor as much as those in use hold, it waits for the latter.
   What it refused to hold together is remembered and not tried again while anything can leave, nor
   while a pin is what stays.
7. Where nothing more has to leave for it, it is loaded with as much context as anybody needed of
   any model of late (``place_roomy``): conversations grow, and each that outgrew its copy had it
   loaded again.

``plan_idle_eviction`` names what rested longer than its TTL. In both, leased, pinned and spared
instances stay, and foreign ones unless the host may evict them.

Hosts tell file sizes, not memory use, so memory is estimated: well enough to choose a host and to
make room; the host's own refusal has the last word.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from bot.domain.errors import FailureKind
from bot.domain.hosts import (
    GUESSES,
    HostSnapshot,
    Instance,
    Interface,
    LoadLimits,
    LoadOrder,
    Model,
    Together,
    Wish,
)
from bot.domain.ids import ModelKey
from bot.domain.personas import LoadSettings
from bot.domain.values import value

CANNOT_LOAD: Mapping[Interface | None, str] = {
    "/api/v0": "LM Studio 0.3 with its WebSocket closed to Lantern: nothing can be loaded there",
    "/v1": "not LM Studio 0.3 or newer: Lantern can neither load models there nor see what is "
    "loaded, and sends nothing there",
}
"""Why nothing can be loaded by an interface: what such a host is."""

GRACE = 1.1
"""A model so much over the memory is for the host to decide: refused by a formula, one that would
have fitted was never loaded at all."""
WEIGHTS_OVERHEAD = 1.05
"""Compute buffers beside the weights themselves."""
DEFAULT_CONTEXT = 4096
"""What LM Studio commonly loads with when nothing was asked for."""
KV_BYTES_PER_TOKEN_AT_1_GB = 48 * 1024
"""Keys and values of one token in f16 for a model of 1 GB; grows with the square root of the size.

Against published shapes at 4-bit weights: 8B 128 KiB (estimated 106), 70B 320 KiB (311),
30B-A3B 96 KiB (203: mixtures of experts are over-estimated, which is the safe side).
"""
DOUBTED_CONTEXT = 32_768
"""The longest that anybody is likely to load with: what fits with it needs no estimate."""
_ROUND_CONTEXT = 1024
"""The largest context that fits is named in such steps: it is an estimate."""
_MANY = 1 << 20
"""Tokens by which a model's growth with its context is read off."""
_KV_SHARE = {"f32": 2.0, "f16": 1.0, "q8_0": 0.54, "q5_1": 0.38, "q5_0": 0.35, "q4_1": 0.32}
_SMALLEST_KV_SHARE = 0.29
"""Four-bit keys and values with their scales."""


@value
class Placement:
    """A load that fits, now or later."""

    order: LoadOrder
    evict: tuple[Instance, ...]
    """Unloaded first, in this order."""
    waits_for: tuple[Instance, ...] = ()
    """In use, and must come to rest before it can be decided; empty: the load may start."""
    reason: str = ""
    """Who else leaves or is waited for, in words; empty where nobody but outgrown copies."""


@value
class Hopeless:
    """A load for which waiting is of no use."""

    kind: FailureKind
    reason: str


def left_alone(instances: Iterable[Instance], now: float) -> tuple[Instance, ...]:
    """What is in memory as a guess must take it: what is awaited by somebody stays, as if pinned.

    A load that nobody waited for pushed out what an admin had ordered 0.4 s before.
    """
    return tuple(replace(i, pinned=True) if now < i.awaited_until else i for i in instances)


def place(
    host: HostSnapshot, wishes: Sequence[Wish], instances: Sequence[Instance], now: float
) -> Placement | Hopeless:
    """One load that serves all these wishes for one model, and what must leave memory for it.

    Args:
        host: Its disk, its limits and what it taught.
        wishes: At least one; the first one's load settings lead.
        instances: What is in memory, or about to be; what somebody waits for counts as leased.
        now: Monotonic seconds.
    """
    key, models = wishes[0].model_key, host.models
    model = models.get(key)
    # 0.
    if (words := CANNOT_LOAD.get(host.interface)) is not None:
        return Hopeless(FailureKind.LOAD_FAILED, words)
    if model is None:
        words = "in memory with too small a context, and not on the disk to be loaded again"
        return Hopeless(FailureKind.NOT_THERE, words)
    order = order_for(host, model, wishes)
    needed = load_bytes(model, order)
    if all(wish.purpose in GUESSES for wish in wishes):
        instances = left_alone(instances, now)
    # 1. Never foreign ones, even where those may be evicted: they are in nobody's way here. Two
    # settings may order one model otherwise: the second takes nothing from the first unless it
    # must. Who orders by hand means the newest, and had the oldest answer.
    is_asked = any(wish.purpose == "question" or wish.replaces for wish in wishes)
    mine = [i for i in instances if i.model_key == key and (is_asked or now >= i.awaited_until)]
    outgrown = tuple([i for i in mine if _may_leave(i, now, False)])
    staying = [
        i if i.size_bytes is not None else replace(i, size_bytes=size_of(i, models))
        for i in instances
        if i not in outgrown
    ]
    refusal = host.limits[key].refusal if key in host.limits else ""
    for by, memory_bytes in _measures(host, order, staying, refusal):
        # 2. and 3.
        beside = partial(fits, by, order, memory_bytes, needed)
        evict = _fewest(beside, staying, now, evict_foreign=host.evict_foreign)
        if evict is not None:
            break
        # 4. The same question with everybody at rest: is it only a matter of waiting?
        rested = [replace(i, leases=0, spared_until=0.0) for i in staying]
        all_rested = _fewest(beside, rested, now, evict_foreign=host.evict_foreign)
        later = {i.identifier for i in all_rested or ()}
        busy = tuple(i for i in staying if i.identifier in later and _is_busy(i, now))
        if busy:
            return Placement(order, outgrown, busy, f"waits for {names(busy)} to finish")
    else:
        # 5.
        rested = [replace(i, leases=0) for i in staying]
        words = _what_stays(host, model, order, rested)
        return Hopeless(FailureKind.DOES_NOT_FIT, words)
    if refusal:
        # 6.
        evict = _evicted_after_a_refusal(evict, staying, needed, now, host.evict_foreign)
        busy, freed = will_rest(staying, now), sum(map(instance_bytes, evict))
        # A small one at rest left for nothing where only the end of a large one's work makes room.
        lacks = freed < min(needed or 0, sum(map(instance_bytes, busy)))
        if busy and (lacks or not evict):
            return Placement(order, outgrown, busy, f"waits for {names(busy)} to finish")
        if not evict:
            words = refused_words(refusal, staying, host.evict_foreign)
            return Hopeless(FailureKind.DOES_NOT_FIT, words)
    reason = f"after evicting {names(evict)}" if evict else ""
    return Placement(order, outgrown + evict, (), reason)


def _measures(
    host: HostSnapshot, order: LoadOrder, staying: Sequence[Instance], refusal: str
) -> Iterator[tuple[HostSnapshot, int | None]]:
    """By what it may fit, the strictest first: what the host taught, and its memory in bytes."""
    # Right after a refusal rule 6 makes the room; the ceiling is for those who come later.
    most = host.memory_bytes and round(host.memory_bytes * GRACE)
    ceiling = None if refusal else host.ceiling_bytes
    yield host, most if ceiling is None else min(ceiling, most or ceiling)
    # With nothing else to be done it is tried against what was learnt: other programs may have had
    # their part in that, and gone.
    may_try = host.refused and not is_pinned_out(host, order, staying)
    yield replace(host, refused=()) if may_try else host, most


def _evicted_after_a_refusal(
    evict: tuple[Instance, ...],
    staying: Iterable[Instance],
    needed: int | None,
    now: float,
    evict_foreign: bool,
) -> tuple[Instance, ...]:
    """What leaves, and as much more as the model needs: the estimate by which it fitted was wrong.

    By how much only the host knows. Empty where nothing may leave.
    """
    freed, rest = sum(map(instance_bytes, evict)), [i for i in staying if i not in evict]
    for instance in _least_missed_first(rest, now, evict_foreign):
        # One at the least, also where no size is known.
        if not evict or freed < (needed or 0):
            evict, freed = (*evict, instance), freed + instance_bytes(instance)
    return evict


def place_roomy(
    host: HostSnapshot, wishes: Sequence[Wish], instances: Sequence[Instance], now: float, most: int
) -> Placement | Hopeless:
    """As ``place``, with a context of ``most`` tokens where that changes nothing else."""
    placed, first = place(host, wishes, instances, now), wishes[0]
    limits = host.limits.get(first.model_key)
    # Whoever says a context said what its hosts' memory was planned by.
    is_said = first.load.context_length is not None
    if is_said or isinstance(placed, Hopeless) or (limits and limits.refusal):
        return placed
    # 7.
    roomy = place(host, [*wishes, replace(first, min_context=most)], instances, now)
    if isinstance(roomy, Hopeless) or roomy.evict != placed.evict:
        return placed
    return roomy if roomy.waits_for == placed.waits_for else placed


def plan_idle_eviction(
    instances: Iterable[Instance], now: float, *, evict_foreign: bool
) -> tuple[Instance, ...]:
    """Instances idle for their whole TTL, counted from the end of work; longest idle first."""
    return tuple(
        i
        for i in _least_missed_first(instances, now, evict_foreign)
        if i.idle_ttl_s is not None
        and i.idle_since is not None
        and now - i.idle_since >= i.idle_ttl_s
    )


def order_for(host: HostSnapshot, model: Model, wishes: Sequence[Wish]) -> LoadOrder:
    """How the model is loaded so that it serves all these wishes, as far as the host can."""
    settings = wishes[0].load
    limits = host.limits.get(model.key)
    usual = limits and limits.usual_context
    asked = settings.context_length
    context = usual if asked is None else asked
    need = context_needed(model, limits, max([wish.min_context for wish in wishes]))
    if need > (context or DEFAULT_CONTEXT):
        # To a power of two, so that a growing conversation does not load its model at every turn.
        context = 1 << (need - 1).bit_length()
    if context is not None and model.max_context_length is not None:
        context = min(context, model.max_context_length)
    if asked is None and context == usual:
        # The host's own default will do: it is left to the host.
        context = None
    rests = [wish.idle_ttl_s for wish in wishes if wish.idle_ttl_s is not None]
    # One wish to keep it loaded is longer than any rest.
    idle_ttl_s = max(rests) if len(rests) == len(wishes) else None
    net_s = None if idle_ttl_s is None else max(1, math.ceil(2 * idle_ttl_s))
    if context != settings.context_length:
        settings = replace(settings, context_length=context)
    return LoadOrder(model.key, model.kind, settings, net_s, idle_ttl_s)


def context_needed(model: Model | None, limits: LoadLimits | None, min_context: int) -> int:
    """The tokens a wish needs of this model, as far as the host can give them.

    A host may give less than was asked for. Its answer is taken: asking again for what it will not
    give would load the model at every turn.
    """
    if model is not None and model.max_context_length is not None:
        min_context = min(min_context, model.max_context_length)
    if limits is not None and limits.most_context is not None:
        min_context = min(min_context, limits.most_context)
    return min_context


def load_bytes(model: Model, order: LoadOrder) -> int | None:
    """Estimated memory of a model once loaded so; None when its size is not known."""
    if model.size_bytes is None:
        return None
    context = order.settings.context_length or min(
        DEFAULT_CONTEXT, model.max_context_length or DEFAULT_CONTEXT
    )
    return _bytes(model, model.size_bytes, context, order.settings.kv_cache_quant)


def is_in_doubt(model: Model, memory_bytes: int | None) -> bool:
    """May it be refused by our formula alone, while the host has told nothing of it?"""
    if model.weights_bytes is not None or memory_bytes is None:
        return False
    context = min(DOUBTED_CONTEXT, model.max_context_length or DOUBTED_CONTEXT)
    settings = LoadSettings(context_length=context)
    needed = load_bytes(model, LoadOrder(model.key, model.kind, settings, None, None))
    return needed is not None and needed > memory_bytes


def instance_bytes(instance: Instance) -> int:
    """Estimated memory an instance holds; 0 when its size is not known."""
    if instance.size_bytes is None:
        return 0
    context = instance.context_length or DEFAULT_CONTEXT
    return _bytes(instance, instance.size_bytes, context, None)


def together(
    instances: Iterable[Instance], order: LoadOrder | None = None, limits: LoadLimits | None = None
) -> Together:
    """What these are at once in memory, and a load beside them; ``limits`` of the load's model."""
    loaded = [(i.model_key, i.context_length) for i in instances]
    if order is not None:
        usual = limits.usual_context if limits is not None else None
        loaded.append((order.model_key, order.settings.context_length or usual))
    return frozenset((*one, loaded[:n].count(one)) for n, one in enumerate(loaded))


def takes_as_much(more: Together, less: Together) -> bool:
    """Has ``more`` a copy for each of ``less``, of the same model and with no smaller context?

    One whose context is not known counts with the usual. What was refused so is refused with a
    longer context too; by equality alone a growing conversation had each of its lengths tried. With
    a shorter one it may fit.
    """
    many, few = ([(k, c or DEFAULT_CONTEXT) for k, c, _ in one] for one in (more, less))
    for key, context in few:
        there, needed = (sum(k == key and c >= context for k, c in one) for one in (many, few))
        if there < needed:
            return False
    return True


def fits(
    host: HostSnapshot,
    order: LoadOrder,
    memory_bytes: int | None,
    needed_bytes: int | None,
    instances: Sequence[Instance],
) -> bool:
    """Does a load fit while these stay? What is not known (a size, a limit) is no obstacle."""
    if host.max_loaded is not None and len(instances) >= host.max_loaded:
        return False
    # The host's own word beats any estimate.
    if host.held or host.refused:
        wanted = together(instances, order, host.limits.get(order.model_key))
        if any(wanted <= held for held in host.held):
            return True
        if any(takes_as_much(wanted, refused) for refused in host.refused):
            return False
    if needed_bytes is None or memory_bytes is None:
        return True
    return sum(map(instance_bytes, instances)) + needed_bytes <= memory_bytes


def is_pinned_out(host: HostSnapshot, order: LoadOrder, instances: Iterable[Instance]) -> bool:
    """Did the host refuse this load beside what stays for good, a pinned instance among it?

    Other programs come and go without a word; a pin does not. Each question had such a load tried
    and refused anew.
    """
    stays = [i for i in instances if i.pinned or not (i.own or host.evict_foreign)]
    return any(i.pinned for i in stays) and not fits(host, order, None, None, stays)


def will_rest(instances: Iterable[Instance], now: float) -> tuple[Instance, ...]:
    """Those in use that may leave once they are at rest: their room is worth waiting for.

    Not what others loaded: its work has no end that we would hear of.
    """
    return tuple(i for i in instances if i.own and not i.pinned and _is_busy(i, now))


def names(instances: Iterable[Instance]) -> str:
    """The instances' model keys as a list for people."""
    return ", ".join(instance.model_key for instance in instances)


def refused_words(refusal: str, instances: Iterable[Instance], evict_foreign: bool) -> str:
    """A host's own words for a load it has no room for, and what stays in its memory, and why."""
    # It only says how much it lacks, and to loosen its guardrail: a pin of ours was never named.
    stays = _stays(instances, evict_foreign)
    return f"what is in memory must stay ({stays}); the host says: {refusal}" if stays else refusal


def _fewest(
    fits: Callable[[Sequence[Instance]], bool],
    instances: Sequence[Instance],
    now: float,
    *,
    evict_foreign: bool,
) -> tuple[Instance, ...] | None:
    """Those least missed until the load fits, without those that turn out not to be needed."""
    if fits(instances):
        return ()
    staying, leaving = list(instances), list[Instance]()
    for instance in _least_missed_first(instances, now, evict_foreign):
        staying.remove(instance)
        leaving.append(instance)
        if fits(staying):
            break
    else:
        return None
    # A small one may have gone before a large one that was enough: the most missed are kept first.
    for instance in tuple(reversed(leaving)):
        if fits([*staying, instance]):
            staying.append(instance)
            leaving.remove(instance)
    return tuple(leaving)


def _least_missed_first(
    instances: Iterable[Instance], now: float, evict_foreign: bool
) -> tuple[Instance, ...]:
    """What may leave memory; one whose idle time is unknown counts as used just now."""
    idle = [
        (i.missed_s, now if i.idle_since is None else i.idle_since, i.identifier, i)
        for i in instances
        if _may_leave(i, now, evict_foreign)
    ]
    return tuple(instance for *_, instance in sorted(idle, key=lambda entry: entry[:3]))


def _may_leave(instance: Instance, now: float, evict_foreign: bool) -> bool:
    is_ours_to_take = instance.own or evict_foreign
    return is_ours_to_take and not instance.pinned and not _is_busy(instance, now)


def _is_busy(instance: Instance, now: float) -> bool:
    return instance.leases > 0 or now < instance.spared_until


def size_of(instance: Instance, models: Mapping[ModelKey, Model]) -> int | None:
    """An instance's size; one that the host does not tell is taken from its disk."""
    model = models.get(instance.model_key)
    if instance.size_bytes is not None or model is None:
        return instance.size_bytes
    return model.size_bytes


def _stays(instances: Iterable[Instance], evict_foreign: bool) -> str:
    """What may not leave memory, by its reason; empty where all may."""
    parts: dict[str, list[Instance]] = {}
    for instance in instances:
        if instance.pinned:
            parts.setdefault("pinned until `/fleet unpin`", []).append(instance)
        elif not (instance.own or evict_foreign):
            parts.setdefault("loaded by others", []).append(instance)
        elif instance.leases:
            parts.setdefault("in use", []).append(instance)
    return "; ".join(f"{why}: {names(those)}" for why, those in parts.items())


def _what_stays(
    host: HostSnapshot, model: Model, order: LoadOrder, instances: Sequence[Instance]
) -> str:
    needed_bytes, limits = load_bytes(model, order), host.limits.get(model.key)
    if limits is not None and limits.refusal:
        return refused_words(limits.refusal, instances, host.evict_foreign)
    if host.memory_bytes is not None and (needed_bytes or 0) > host.memory_bytes:
        needed_gb, memory_gb = (needed_bytes or 0) / 1e9, host.memory_bytes / 1e9
        words = f"needs about {needed_gb:.1f} GB, the host has {memory_gb:.1f} GB"
        # Memory grows evenly with the context.
        least, more = (
            load_bytes(model, replace(order, settings=replace(order.settings, context_length=n)))
            or 0
            for n in (1, 1 + _MANY)
        )
        most = _MANY * (host.memory_bytes - least) / max(1, more - least)
        most = int(most) // _ROUND_CONTEXT * _ROUND_CONTEXT
        return f"{words}; with {most:,} tokens of context it fits" if most > 0 else words
    stays = _stays(instances, host.evict_foreign) or "no room at all"
    return f"what is in memory must stay ({stays})"


def _bytes(of: Model | Instance, size_bytes: int, context: int, kv_quant: str | None) -> int:
    # What the host says of this model beats what is so for most models of its size.
    if of.weights_bytes is not None and kv_quant is None:
        return round(of.weights_bytes + (of.token_bytes or 0.0) * context)
    weights = size_bytes * WEIGHTS_OVERHEAD
    if of.kind == "embedding":
        return round(weights)
    share = _KV_SHARE.get(kv_quant or "f16", _SMALLEST_KV_SHARE)
    per_token = KV_BYTES_PER_TOKEN_AT_1_GB * math.sqrt(size_bytes / 1e9) * share
    return round(weights + per_token * context)
