"""Who asks for which model, over all hosts: what evictions are weighed by."""

from collections.abc import Mapping
from dataclasses import replace

from bot.domain.hosts import Demand, Wish
from bot.domain.ids import HostName, ModelKey
from bot.policy.demand import NOBODY, chance, faded, lately_needed, resting_since

LONGEST_REST_S = 1200.0
"""A conversation that rested so long is forgotten; it counts for nothing by then."""


class Demands:
    """The whole fleet's; every host's scheduler tells it of answers that begin and end."""

    def __init__(self) -> None:
        self.of: Mapping[ModelKey, Demand] = {}
        """By model; replaced, never changed."""
        self._answered: dict[tuple[ModelKey, str], float] = {}
        """When each conversation was answered last, oldest first."""
        self._held: dict[ModelKey, set[HostName]] = {}

    def asked(self, wish: Wish, now: float) -> None:
        """An answer begins."""
        key = wish.model_key
        demand = faded(self.of.get(key, NOBODY), now)
        since = self._answered.pop((key, wish.conversation), None)
        begun, resting = demand.begun + (since is None), demand.resting
        if since is not None:
            resting = max(0.0, resting - resting_since(since, now))
        most, at = wish.min_context, now
        if most < lately_needed([demand], now):
            most, at = demand.most_context, demand.most_at
        self.of = {**self.of, key: Demand(begun, resting, now, wish, most, at)}

    def answered(self, key: ModelKey, conversation: str, now: float) -> None:
        """It ended."""
        demand = faded(self.of.get(key, NOBODY), now)
        since = self._answered.pop((key, conversation), None)
        resting = demand.resting + 1.0 - (resting_since(since, now) if since is not None else 0.0)
        self.of = {**self.of, key: replace(demand, resting=resting)}
        self._answered[key, conversation] = now
        while now - self._answered[old := next(iter(self._answered))] >= LONGEST_REST_S:
            del self._answered[old]

    def forget(self, key: ModelKey) -> None:
        """It was taken out by hand or for its rest: it is not loaded before somebody asks."""
        self.of = {other: demand for other, demand in self.of.items() if other != key}

    def chance(self, key: ModelKey, now: float) -> float:
        """How likely the model is asked for soon; see ``policy.demand``."""
        return chance(self.of.get(key, NOBODY), now)

    def holds(self, host: HostName, keys: set[ModelKey]) -> None:
        """What a host has in memory now."""
        for key in keys:
            self._held.setdefault(key, set()).add(host)
        for key, hosts in self._held.items():
            if key not in keys:
                hosts.discard(host)

    def elsewhere(self, host: HostName, key: ModelKey) -> bool:
        """Has another host the model in memory?"""
        return bool(self._held.get(key, set()) - {host})
