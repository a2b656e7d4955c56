"""Whether one host is there, sleeps or is being woken; its going and coming are told once each."""

from bot.domain.errors import FailureKind
from bot.domain.events import FleetEvent
from bot.domain.hosts import HostState, Report, WakeRecord
from bot.domain.ids import HostName
from bot.policy import breaker
from bot.policy.breaker import Breaker, BreakerRules
from bot.policy.placement import CANNOT_LOAD
from bot.policy.speeds import blend
from bot.policy.waking import ASLEEP, LONGEST, WAKE_RULES, WAKE_S

PROBE_RULES = BreakerRules(threshold=2, base_s=1.0, longest_s=5.0)
"""After a failed probe: again at once, then after 1, 2, 4, 5, 5 ... seconds."""
# A machine that sleeps is called when it is wanted, and some wake at any packet.
ASLEEP_RULES = BreakerRules(threshold=2, base_s=1.0, longest_s=60.0)
"""The same of one that may be asleep."""
REQUEST_RULES = BreakerRules(threshold=3, base_s=5.0, longest_s=300.0)
"""A host that answers probes and fails requests: back in twice, then out for growing pauses."""
FALL_RULES = BreakerRules(threshold=2, base_s=10.0, longest_s=300.0)
"""A host that comes and goes: lost twice soon after it came, it is left out for growing pauses."""
SETTLES_S = 10.0
"""For so long after it came a host may not serve all its interfaces yet."""
STEADY_S = 60.0
"""Up for so long, it does not come and go."""


class HostHealth:
    """One host's health; probes and requests have a breaker each. Its scheduler alone writes it.

    A host may answer every probe and fail every request (a 503 at once looks like an idle host),
    so a good probe forgives failed probes only. Failed requests are forgiven by a served one.
    """

    def __init__(
        self, host: HostName, *, can_wake: bool = False, wake_s: float | None = None
    ) -> None:
        """``can_wake``: when it does not answer, it may be asleep. ``wake_s``: as measured."""
        self._host = host
        self._can_wake = can_wake
        self.may_sleep = False
        """Did it fail the last probe as one that sleeps does, and can it be woken?"""
        self.wake_s = wake_s
        """From the first call to its answer, measured; None where it never was woken."""
        self.woken_at: float | None = None
        """Since when it is being woken."""
        self._wakes = Breaker()
        """Calls in vain."""
        self.state: HostState = "unknown"
        """Unknown, up or down; of draining it knows nothing."""
        self.reason = ""
        """Why it is in this state, in words for people."""
        self.report: Report | None = None
        """What the last good probe found."""
        self.needs_token = False
        self.is_doubted = False
        """Is it down for a failed request alone, with the next probe to decide?"""
        self.silent_since: float | None = None
        """Since when it has told nothing while it is up and at work; None where it tells."""
        self.probes = Breaker()
        self.requests = Breaker()
        """A served request closes it."""
        self._falls = Breaker()
        """Losses soon after it had come; a longer stay closes it."""
        self._settling = Breaker()
        """Looks since it came, a moment ago, that found no interface by which it loads."""
        self._came_at = 0.0
        self.away_since = 0.0
        """From when on it has been down; means something while it is."""

    @property
    def is_in_doubt(self) -> bool:
        """Does the probe that is under way decide whether it serves?"""
        return self.is_doubted or any(
            looks.failures > 0 and looks.open_until is None
            for looks in (self.probes, self._settling)
        )

    @property
    def is_settling(self) -> bool:
        """Did it come a moment ago, by less than it may serve, and is looked at again?"""
        return self._settling.failures > 0

    def away(self) -> str:
        """That nobody can be served here, and why, for whoever asked."""
        return f"{self._host} is away: {self.reason}"

    def is_to_be_called(self, now: float, is_wanted: bool) -> bool:
        """Do calls begin now? A host that is down is called while it may sleep and is wanted."""
        usual_s = WAKE_S if self.wake_s is None else self.wake_s
        if self.woken_at is not None and now - self.woken_at >= LONGEST * usual_s:
            self._wakes = breaker.on_failure(self._wakes, now, WAKE_RULES)
            self.may_sleep = False
            called_s = now - self.woken_at
            self.reason = f"{self._host} was called for {called_s:.0f} s and did not wake."
        if not self.may_sleep:
            self.woken_at = None
        elif is_wanted and self.woken_at is None:
            self.woken_at = now
            return True
        return False

    def next_probe_at(self, now: float) -> float | None:
        """When to probe again without being asked; None when all is well."""
        if self.state == "up":
            looks = self.probes if self.probes.failures else self._settling
            return (
                None
                if not looks.failures
                else now
                if looks.open_until is None
                else looks.open_until
            )
        if self.is_doubted:
            return now
        # A good probe brings no host back whose requests go on failing: their pause counts then.
        pauses = (self.probes,) if self.probes.failures else (self.requests, self._falls)
        return max((p.open_until for p in pauses if p.open_until is not None), default=now)

    def probed(self, now: float, report: Report) -> tuple[FleetEvent | WakeRecord, ...]:
        """The host answered; returns what is news of it, and how long it took to wake."""
        self.report = report
        self.probes, self.silent_since = Breaker(), None
        self.is_doubted = self.needs_token = self.may_sleep = False
        woken: tuple[WakeRecord, ...] = ()
        if self.woken_at is not None:
            self.wake_s = blend(self.wake_s, now - self.woken_at)
            woken = (WakeRecord(self._host, self.wake_s or 0.0),)
            self.woken_at, self._wakes = None, Breaker()
        if breaker.state(self._falls, now) == "open":
            self.reason = f"{self._host} came and went {self._falls.failures:.0f} times in a row."
            return woken
        if breaker.state(self.requests, now) == "open":
            return (*self._go_down(now, self.reason), *woken)
        self.reason = ""
        is_news = self.state != "up"
        self._came_at = now if is_news else self._came_at
        # One that is started opens its doors one after the other, or between two of our knocks: a
        # host whose WebSocket was refused so was one that loads nothing until the next probe.
        loads_nothing = report.interface in CANNOT_LOAD and now - self._came_at < SETTLES_S
        self._settling = (
            breaker.on_failure(self._settling, now, PROBE_RULES) if loads_nothing else Breaker()
        )
        if not is_news:
            return woken
        self.state, interface = "up", str(report.interface)
        found = FleetEvent("host found", self._host, interface=interface, version=report.version)
        return (found, *woken)

    def missed(self, now: float, reason: str, silent_since: float | None) -> None:
        """It works, and had no answer to a probe in time: it stays up, and who looks is told so.

        Args:
            now: Monotonic seconds.
            reason: Of the probe.
            silent_since: None where words of an answer or of a load came meanwhile.
        """
        if silent_since is None:
            self.probes, self.reason = Breaker(), ""
        else:
            self.probes, self.reason = breaker.on_failure(self.probes, now, PROBE_RULES), reason
        self.silent_since = silent_since

    def failed(self, now: float, reason: str, kind: FailureKind) -> tuple[FleetEvent, ...]:
        """The host did not answer a probe."""
        is_deaf = breaker.state(self._wakes, now) == "open"
        self.may_sleep = self._can_wake and kind in ASLEEP and not is_deaf
        # With pauses of a minute, how a host stands was told long after it was back.
        rules = ASLEEP_RULES if self._can_wake and kind in ASLEEP else PROBE_RULES
        self.probes = breaker.on_failure(self.probes, now, rules)
        # Going to sleep is no fall.
        if (self.state == "up" or self.is_doubted) and not self.may_sleep:
            is_fall = now - self._came_at < STEADY_S
            self._falls = breaker.on_failure(self._falls, now, FALL_RULES) if is_fall else Breaker()
        # The probe has said what the doubt asked for.
        self.is_doubted = False
        self.needs_token = kind is FailureKind.AUTH
        return self._go_down(now, reason)

    def doubted(self, now: float, reason: str) -> tuple[FleetEvent, ...]:
        """A request failed there: out at once, the next probe decides."""
        if self.state == "down":
            # One loss breaks every request under way there: it counts once.
            return ()
        self.requests = breaker.on_failure(self.requests, now, REQUEST_RULES)
        self.is_doubted = True
        return self._go_down(now, reason)

    def sought(self, now: float) -> None:
        """Nobody else can serve: the pauses that a good probe does not end are over."""
        self.requests = breaker.sought(self.requests, now)
        self._falls = breaker.sought(self._falls, now)

    def _go_down(self, now: float, reason: str) -> tuple[FleetEvent, ...]:
        is_news = self.state != "down"
        if is_news:
            self.away_since = now if self.silent_since is None else self.silent_since
        self._settling, self.silent_since = Breaker(), None
        self.state, self.reason = "down", reason
        what = "host asleep" if self.may_sleep else "host lost"
        return (FleetEvent(what, self._host, reason=reason),) if is_news else ()
