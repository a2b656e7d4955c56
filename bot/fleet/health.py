"""Whether one host is there and may serve, and the news of its going and coming, each said once."""

from bot.domain.errors import FailureKind
from bot.domain.events import FleetEvent
from bot.domain.hosts import HostState, Report
from bot.domain.ids import HostName
from bot.policy import breaker
from bot.policy.breaker import Breaker, BreakerRules, BreakerState

PROBE_RULES = BreakerRules(threshold=2, base_s=1.0, longest_s=60.0)
"""After a failed probe: again at once, then after 1, 2, 4 ... seconds."""
REQUEST_RULES = BreakerRules(threshold=3, base_s=5.0, longest_s=300.0)
"""A host that answers probes and fails requests: back in twice, then out for growing pauses."""


class HostHealth:
    """One host's standing; probes and requests have a breaker each.

    A host may answer every probe and fail every request (a 503 at once looks like an idle host),
    so a good probe forgives failed probes only. Failed requests are forgiven by a served one.
    """

    def __init__(self, host: HostName) -> None:
        self._host = host
        self._report: Report | None = None
        self._reason = ""
        self._is_known = False
        self._is_up = False
        self._is_doubted = False
        self._probes = Breaker()
        self._requests = Breaker()
        self.needs_token = False

    @property
    def state(self) -> HostState:
        """Unknown, up or down."""
        if not self._is_known:
            return HostState.UNKNOWN
        return HostState.UP if self._is_up else HostState.DOWN

    @property
    def reason(self) -> str:
        """Why it is in this state, in words for people."""
        return self._reason

    @property
    def report(self) -> Report | None:
        """What the last good probe found."""
        return self._report

    @property
    def failures(self) -> int:
        """Consecutive failures of probes and requests."""
        return round(self._probes.failures + self._requests.failures)

    def next_probe_at(self, now: float) -> float | None:
        """When to probe again without being asked; None when all is well."""
        if self._is_up:
            return None
        if not self._is_known or self._is_doubted:
            return now
        if not self._probes.failures:
            return self._requests.open_until or now
        return now if self._probes.open_until is None else self._probes.open_until

    def probed(self, now: float, report: Report) -> FleetEvent | None:
        """The host answered."""
        self._report = report
        self._probes = breaker.on_success(self._probes)
        self._is_known, self._is_doubted, self.needs_token = True, False, False
        if breaker.state(self._requests, now) is BreakerState.OPEN:
            return self._go_down(self._reason)
        self._reason = ""
        if self._is_up:
            return None
        self._is_up = True
        return FleetEvent(
            "host found",
            self._host,
            interface=str(report.interface),
            version=report.version,
        )

    def failed(self, now: float, reason: str, kind: FailureKind) -> FleetEvent | None:
        """The host did not answer a probe."""
        self._probes = breaker.on_failure(self._probes, now, PROBE_RULES)
        self._is_doubted = False
        self.needs_token = kind is FailureKind.AUTH
        return self._go_down(reason)

    def slow(self, reason: str) -> None:
        """A probe timed out while the host is at work for us: slow is not dead."""
        self._reason = reason

    def doubted(self, now: float, reason: str) -> FleetEvent | None:
        """A request failed there: out at once, the next probe decides."""
        if self._is_known and not self._is_up:
            # One loss breaks every request under way there: it counts once.
            return None
        self._requests = breaker.on_failure(self._requests, now, REQUEST_RULES)
        self._is_doubted = True
        return self._go_down(reason)

    def served(self) -> None:
        """A request was answered: everything is forgiven."""
        self._requests = breaker.on_success(self._requests)

    def _go_down(self, reason: str) -> FleetEvent | None:
        is_news = self._is_up or not self._is_known
        self._is_known, self._is_up, self._reason = True, False, reason
        return FleetEvent("host lost", self._host, reason=reason) if is_news else None
