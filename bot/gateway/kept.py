"""Which host keeps the answer that a client goes on from: LM Studio stores it there alone."""

from collections import OrderedDict

from bot.domain.ids import HostName, UserId

KEPT_S = 3600.0
"""So long an answer may be gone on from."""

MOST_KEPT = 10_000
"""Answers that are remembered, the newest."""


class KeptAnswers:
    """Remembers the host of each answer of ``/v1/responses``, for the key that asked for it."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[tuple[UserId, str], tuple[HostName, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hosts)

    def note(self, user: UserId, reply_id: str, host: HostName, now: float) -> None:
        """An answer was given; ``now`` is monotonic seconds."""
        # With the key: whoever learnt another's id could else read on in that conversation.
        self._hosts[user, reply_id] = (host, now)
        while len(self._hosts) > MOST_KEPT or self._is_over(next(iter(self._hosts)), now):
            self._hosts.popitem(last=False)

    def host_of(self, user: UserId, reply_id: str, now: float) -> HostName | None:
        """Where it is kept; None where nobody knows, or it is another key's."""
        key = (user, reply_id)
        if key not in self._hosts or self._is_over(key, now):
            return None
        return self._hosts[key][0]

    def _is_over(self, key: tuple[UserId, str], now: float) -> bool:
        return now - self._hosts[key][1] >= KEPT_S
