"""Who asks for which model, over all hosts: what evictions are weighed by."""

import math
from collections.abc import Iterable, Mapping

from bot.domain.hosts import Demand, Wish
from bot.domain.ids import HostName, ModelKey
from bot.policy.demand import GOES_ON, NOBODY, faded, lately_needed, missed_s, resting_since
from bot.policy.prediction import usual_s

LONGEST_REST_S = 1200.0
"""A conversation that rested so long is forgotten; it counts for nothing by then."""
_NEVER = None, 0
_UNHEARD_OF = 0.0, math.inf
"""What no list has told yet: nothing is known to be lost with it."""


class Demands:
    """The whole fleet's; every host's scheduler tells it of answers that begin and end."""

    def __init__(self) -> None:
        self.of: Mapping[ModelKey, Demand] = {}
        """By model; replaced, never changed."""
        self._answered: dict[tuple[ModelKey, str], tuple[float, int]] = {}
        """When each conversation was answered last, oldest first, and its tokens.

        Until the host tells their number they are those that the wish needed, room included: each
        short conversation passed for one of a thousand tokens and more.
        """
        self._held: dict[ModelKey, dict[HostName, tuple[float, float]]] = {}
        """Where each is in memory: the seconds of a usual question there, and tokens read in one.

        As of each host's newest list: asked of every copy in every picture of a host.
        """

    def asked(self, wish: Wish, now: float) -> None:
        """An answer begins."""
        key = wish.model_key
        demand = faded(self.of.get(key, NOBODY), now)
        since, _ = self._answered.pop((key, wish.conversation), _NEVER)
        begun, resting = demand.begun + (since is None), demand.resting
        if since is not None:
            resting = max(0.0, resting - resting_since(since, now))
        most, at = wish.min_context, now
        if most < lately_needed([demand], now):
            most, at = demand.most_context, demand.most_at
        self.of = {**self.of, key: Demand(begun, resting, now, wish, most, at)}

    def answered(self, wish: Wish, now: float) -> None:
        """It ended."""
        key, conversation = wish.model_key, wish.conversation
        demand = faded(self.of.get(key, NOBODY), now)
        since, _ = self._answered.pop((key, conversation), _NEVER)
        resting = demand.resting + 1.0 - (resting_since(since, now) if since is not None else 0.0)
        most, at = demand.most_context, demand.most_at
        self.of = {**self.of, key: Demand(demand.begun, resting, now, demand.wish, most, at)}
        self._answered[key, conversation] = now, wish.min_context
        while now - self._answered[old := next(iter(self._answered))][0] >= LONGEST_REST_S:
            del self._answered[old]

    def told(self, key: ModelKey, conversation: str, tokens: int) -> None:
        """The host told how long a conversation is by now, the answer included."""
        since, _ = self._answered.get((key, conversation), _NEVER)
        if tokens and since is not None:
            self._answered[key, conversation] = since, tokens

    def forget(self, key: ModelKey) -> None:
        """It was taken out by hand or for its rest: it is not loaded before somebody asks."""
        self.of = {other: demand for other, demand in self.of.items() if other != key}

    def holds(self, host: HostName, rates: Mapping[ModelKey, tuple[float, float]]) -> None:
        """What a host has in memory now, with the tokens a second it reads and writes with each."""
        for key, there in rates.items():
            self._held.setdefault(key, {})[host] = usual_s(there), there[0]
        for key, hosts in self._held.items():
            if key not in rates:
                hosts.pop(host, None)

    def missed_s(
        self,
        host: HostName,
        key: ModelKey,
        load_s: float,
        conversations: Iterable[str],
        now: float,
    ) -> float:
        """Seconds that the eviction of a copy is expected to cost those who will ask.

        Args:
            host: Where it is.
            key: Of its model.
            load_s: Loading it there again.
            conversations: Those its slots have read: where they go on they are read again.
            now: Monotonic seconds.
        """
        held = self._held.get(key, {})
        here = held.get(host, _UNHEARD_OF)
        best = min((there for other, there in held.items() if other != host), default=None)
        slower_s = None if best is None else best[0] - here[0]
        lost_s = missed_s(self.of.get(key, NOBODY), now, load_s, slower_s)
        again = 0.0
        for conversation in conversations:
            since, tokens = self._answered.get((key, conversation), _NEVER)
            if since is not None:
                again += tokens * GOES_ON * resting_since(since, now)
        return lost_s + again / (best or here)[1]
