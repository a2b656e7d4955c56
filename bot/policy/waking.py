"""When a host that sleeps is woken, and how soon it can answer then."""

from bot.domain.errors import FailureKind
from bot.domain.hosts import HostSnapshot
from bot.policy.breaker import BreakerRules

WAKE_S = 45.0
"""Assumed until it was measured: a computer needs some seconds, its network and LM Studio more."""
LONGEST = 3.0
"""After so many times its usual it is taken for switched off, or for deaf to calls."""
WAKE_RULES = BreakerRules(threshold=1, base_s=300.0, longest_s=7200.0)
"""After calling in vain: counted as gone for 5, 10, 20 ... minutes."""
ASLEEP = frozenset({FailureKind.CONNECT, FailureKind.TIMEOUT})
"""How a host fails a probe that may only sleep; whoever answers nonsense is awake."""


def wake_left_s(host: HostSnapshot, now: float) -> float | None:
    """Seconds until a host that is away could answer; None where it cannot be woken."""
    if host.state not in ("asleep", "waking"):
        return None
    whole_s = WAKE_S if host.wake_s is None else host.wake_s
    # One that is overdue is not there yet: never "now".
    return whole_s if host.woken_at is None else max(1.0, host.woken_at + whole_s - now)


def magic_packet(mac: str) -> bytes:
    """What a sleeping network card listens for: six bytes of ones, then its address 16 times."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16
