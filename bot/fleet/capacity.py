"""What one host can hold in memory, as its loads, its refusals and its own lists taught."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bot.domain.hosts import Instance, LoadLimits, LoadOrder, Model, Together
from bot.domain.ids import ModelKey
from bot.policy.breaker import Breaker, BreakerRules, on_failure
from bot.policy.placement import instance_bytes, load_bytes, takes_as_much, together

REFUSED_S = 1800.0
"""What a host refused to hold is tried again after so long: other programs may have left since."""
LOAD_RULES = BreakerRules(threshold=1, base_s=5.0, longest_s=300.0)
"""After a load that failed for everybody: not again for 5, 10, 20 ... seconds."""
MOST_HELD = 100
"""Of what was seen together in memory so many are remembered, the newest."""


class Capacity:
    """Learnt by one host's scheduler alone; ``policy.placement`` decides by it.

    Formulas know file sizes, not what a driver, a display and other programs take: what the host
    itself did is believed before them.
    """

    def __init__(self, memory_bytes: int | None) -> None:
        """``memory_bytes``: what its owner says it may use; None for no limit."""
        self._memory_bytes = memory_bytes
        self.limits: Mapping[ModelKey, LoadLimits] = {}
        """By model; replaced, never changed: snapshots handed out keep theirs."""
        self.ceiling_bytes: int | None = None
        """What it refused to hold together, as reckoned; None while it never did."""
        self.held: tuple[Together, ...] = ()
        """What was seen together in memory; nothing of it is part of another."""
        self._refused: dict[Together, float] = {}
        """What it refused to hold together, and when."""
        self._failed: dict[ModelKey, Breaker] = {}
        """Models whose newest load failed, until one is seen in memory."""
        self._crowded: set[ModelKey] = set()
        """Those of them that failed for lack of memory."""

    def refused(self, now: float) -> tuple[Together, ...]:
        """What it refused to hold together, and is not asked for again yet."""
        return tuple(tried for tried, at in self._refused.items() if now - at < REFUSED_S)

    def saw(self, instances: Sequence[Instance]) -> None:
        """These are in memory together: proof that it holds them, whatever it once refused."""
        there = together(instances)
        self.forgive(self._failed.keys() & {instance.model_key for instance in instances})
        if not any(there <= held for held in self.held):
            self.held = (*(h for h in self.held if not h <= there), there)[-MOST_HELD:]
            refused = self._refused.items()
            self._refused = {r: at for r, at in refused if not takes_as_much(there, r)}

    def loaded(self, order: LoadOrder, context: int | None, instances: Sequence[Instance]) -> None:
        """A load ended well: with this context, None where the host does not tell; beside these."""
        key, asked = order.model_key, order.settings.context_length
        limits = replace(self.limits.get(key, LoadLimits()), is_retried=False)
        if context is not None and asked is None:
            limits = replace(limits, usual_context=context)
        elif context is not None and asked is not None and context < asked:
            limits = replace(limits, most_context=context)
        self.limits = {**self.limits, key: limits}
        if sum(map(instance_bytes, instances)) > (self.ceiling_bytes or 0):
            # It holds more than it once refused: something of somebody else's has left.
            self.ceiling_bytes = None

    def did_not_fit(
        self, order: LoadOrder, model: Model, instances: Sequence[Instance], now: float
    ) -> None:
        """The host refused to hold this load beside these."""
        needed_bytes, limits = load_bytes(model, order), self.limits.get(order.model_key)
        if needed_bytes is not None:
            refused = sum(map(instance_bytes, instances)) + needed_bytes - 1
            # What was only tried beyond the limit says nothing of the limit.
            if self._memory_bytes is None or refused < self._memory_bytes:
                self.ceiling_bytes = min(refused, self.ceiling_bytes or refused)
        tried = together(instances, order, limits)
        self.held = tuple(held for held in self.held if not takes_as_much(held, tried))
        self._refused[tried] = now

    def tries(self, key: ModelKey, refusal: str = "", *, is_retried: bool = False) -> None:
        """How the newest load of a model stands with those who wait; as in ``LoadLimits``."""
        known = self.limits.get(key, LoadLimits())
        told = replace(known, refusal=refusal, is_retried=is_retried)
        self.limits = {**self.limits, key: told}

    def failed(self, key: ModelKey, reason: str, now: float, *, is_memory: bool = False) -> None:
        """A load failed for all who waited for it: whoever asks next is not to see it fail again.

        Each question once loaded a broken file anew, minutes each, before it heard the same words.
        """
        self._failed[key] = paused = on_failure(self._failed.get(key, Breaker()), now, LOAD_RULES)
        if is_memory:
            self._crowded.add(key)
        limits, until = self.limits.get(key, LoadLimits()), paused.open_until or now
        self.limits = {**self.limits, key: replace(limits, failure=reason, failed_until=until)}

    def freed(self) -> None:
        """Something left memory: what found no room is tried again."""
        self.forgive(self._crowded)

    def forgive(self, keys: Iterable[ModelKey]) -> None:
        """Whatever failed with these before is no reason not to load them."""
        for key in self._failed.keys() & set(keys):
            del self._failed[key]
            self._crowded.discard(key)
            told = replace(self.limits[key], failure="", failed_until=-math.inf)
            self.limits = {**self.limits, key: told}
